"""What an operator sets outside the policies: environment and flags, read once into one frozen value.

Secrets are not here. A provider's key is read from the environment variable its endpoint names, at the moment a
call is made, and is kept nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which and what it takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`policy` names the policy that serves; empty leaves it to the files. `journal` is a path, or `:memory:`."""

    host: str = "127.0.0.1"
    port: int = 8484
    policies: Path = Path("policies")
    policy: str = ""
    journal: str = "weave.db"
    keys: str = ""  # the file of client keys; empty puts it beside the journal
    max_body_bytes: int = 32 * MEBIBYTE
    max_connections: int = 4096
    head_seconds: float = 10.0  # how long a client may take to say what it wants
    body_seconds: float = 20.0  # and to send its body, beyond a second for each few KiB of it
    unread_seconds: float = 60.0  # how long it may leave unread what it was sent
    idle_seconds: float = 75.0  # how long a connection is kept open for its next request
    allowed_hosts: tuple[str, ...] = ()  # by which an engine without client keys is asked, besides its own
    ca_file: str = ""  # certificates to trust in providers, besides the usual ones
    connect_timeout_seconds: float = 5.0
    first_content_seconds: float = 60.0  # how long a provider may be silent before it begins its answer
    thinking_seconds: float = (
        300.0  # how long a model that has begun may be silent, because it may be thinking
    )
    stall_seconds: float = 120.0  # and between two pieces of content
    hold_seconds: float = 20.0  # response headers wait for content this long, then go out
    keep_alive_seconds: float = 15.0
    drain_seconds: float = 30.0  # how long a shutdown waits for running requests
    simulate: bool = False
    log_json: bool | None = None  # None: JSON unless the log goes to a terminal

    @property
    def keys_file(self) -> Path:
        if self.keys:
            return Path(self.keys)
        return (Path() if self.journal == ":memory:" else Path(self.journal).parent) / "weave-keys.json"


DEFAULTS = Settings()


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from `WEAVE_*` variables; what is not set keeps its default. Raises SettingsError."""
    return Settings(
        host=environment.get("WEAVE_HOST", DEFAULTS.host),
        port=_whole(environment, "WEAVE_PORT", DEFAULTS.port),
        policies=Path(environment.get("WEAVE_POLICIES", str(DEFAULTS.policies))),
        policy=environment.get("WEAVE_POLICY", DEFAULTS.policy),
        journal=environment.get("WEAVE_JOURNAL", DEFAULTS.journal),
        keys=environment.get("WEAVE_KEYS", DEFAULTS.keys),
        max_body_bytes=_whole(environment, "WEAVE_MAX_BODY_BYTES", DEFAULTS.max_body_bytes),
        max_connections=_whole(environment, "WEAVE_MAX_CONNECTIONS", DEFAULTS.max_connections),
        head_seconds=_seconds(environment, "WEAVE_HEADER_TIMEOUT", DEFAULTS.head_seconds),
        body_seconds=_seconds(environment, "WEAVE_BODY_TIMEOUT", DEFAULTS.body_seconds),
        unread_seconds=_seconds(environment, "WEAVE_UNREAD_TIMEOUT", DEFAULTS.unread_seconds),
        idle_seconds=_seconds(environment, "WEAVE_IDLE_TIMEOUT", DEFAULTS.idle_seconds),
        allowed_hosts=_names(environment.get("WEAVE_ALLOWED_HOSTS", "")),
        ca_file=environment.get("WEAVE_CA_FILE", DEFAULTS.ca_file),
        connect_timeout_seconds=_seconds(
            environment, "WEAVE_CONNECT_TIMEOUT", DEFAULTS.connect_timeout_seconds
        ),
        first_content_seconds=_seconds(
            environment, "WEAVE_FIRST_CONTENT_TIMEOUT", DEFAULTS.first_content_seconds
        ),
        thinking_seconds=_seconds(environment, "WEAVE_THINKING_TIMEOUT", DEFAULTS.thinking_seconds),
        stall_seconds=_seconds(environment, "WEAVE_STALL_TIMEOUT", DEFAULTS.stall_seconds),
        drain_seconds=_seconds(environment, "WEAVE_DRAIN_TIMEOUT", DEFAULTS.drain_seconds),
    )


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise SettingsError(f"{name} is {text!r}; it takes a whole number, such as {default}")
    return int(text)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"{name} is {text!r}; it takes a number of seconds above 0, such as {default:g}")
    return seconds
