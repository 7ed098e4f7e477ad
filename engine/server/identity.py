"""Who is asking: the key of a request becomes an Identity, or the request goes no further.

While there is no file of keys the engine is open, which is why it then listens on loopback alone. Once there was one
it is closed and stays so until it is started anew: a file that is gone or damaged leaves the last good keys in force.
The file is looked at once a second, beside the requests; a request only looks into memory.

A key is taken from the first of these that has one of ours: `x-weave-key`, `x-api-key`, `authorization: Bearer`,
`x-goog-api-key`, `?key=`. Where `x-weave-key` is there it alone counts, and the others are the client's own
credentials for its vendor.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from engine.core.errors import Fault, WeaveError
from engine.core.identity import LOCAL, Identity
from engine.server.keys import NO_KEYS, Key, Keys, KeysError, open_to_others, read_keys
from engine.server.log import Logger

if TYPE_CHECKING:
    from engine.server.engine import Engine

LOOK_SECONDS = 1.0

OURS = "wk_"
OWN_HEADER = "x-weave-key"

# Queries hold a key and a few words; what is longer is not looked through.
LONGEST_QUERY = 8_192

Signature = tuple[int, int, int] | None


class Keyring:
    """The keys in force. `closed`: requests need one. `trouble`: why the file on disk is not what is in force."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises KeysError: an engine never starts on keys it cannot read."""
        self._path = path
        self.keys = NO_KEYS
        self.trouble = ""
        self._seen: Signature = None
        if path is not None:
            self._seen = _signature(path)
            self.keys = read_keys(path)
        self.closed = bool(self.keys.by_id)

    @property
    def path(self) -> Path | None:
        return self._path

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who ever had a key, and who asks without one."""
        return tuple(dict.fromkeys((LOCAL.name, *(key.name for key in self.keys.by_id.values()))))

    def health(self, now: float) -> Mapping[str, Any]:
        """What operators see: no key, and no name."""
        live = sum(key.lives(now) for key in self.keys.by_id.values())
        return {"needed": self.closed, "live": live, "trouble": self.trouble or None}

    def look(self) -> bool:
        """Take up what changed on disk; whether anything did. Touches the disk, and never raises."""
        if self._path is None:
            return False
        signature = _signature(self._path)
        if signature == self._seen:
            return False
        self._seen = signature
        try:
            keys = read_keys(self._path)
        except KeysError as error:
            self.trouble = error.fault.message
            self.closed = True  # somebody wanted keys
            return True
        if self.closed and signature is None:
            self.trouble = (
                f"{self._path} is gone; the keys it held stay in force until the engine is started anew"
            )
            return True
        self.keys, self.trouble = keys, ""
        self.closed = self.closed or bool(keys.by_id)
        return True

    async def follow(self, log: Logger) -> None:
        """Look once a second, for as long as the task runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if await asyncio.to_thread(self.look):
                self.tell(log)

    def tell(self, log: Logger) -> None:
        if self.trouble:
            log("keys", level="error", trouble=self.trouble)
            return
        if not self.closed or self._path is None:
            return
        log("keys", file=str(self._path), keys=len(self.keys.by_id))
        if wrong := open_to_others(self._path):
            log("keys", level="warning", trouble=wrong)


def _signature(path: Path) -> Signature:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino


def identify(engine: "Engine", headers: Mapping[str, str], query: str | bytes = b"") -> Identity:
    """Who asks. Raises WeaveError of the kind `authentication` where that is nobody. Header names are lower-case."""
    ring = engine.keyring
    if not ring.closed:
        return LOCAL
    now = time.time()
    key = _presented(ring.keys, headers, query)
    if key is None:
        raise WeaveError(_unknown(headers, query))
    if not key.lives(now):
        raise WeaveError(_dead(key))
    return key.identity


def may_know(engine: "Engine", headers: Mapping[str, str], query: str | bytes = b"") -> bool:
    """Whether who asks may see more than that the engine is there."""
    try:
        identify(engine, headers, query)
    except WeaveError:
        return False
    return True


def _presented(keys: Keys, headers: Mapping[str, str], query: str | bytes) -> Key | None:
    if (named := headers.get(OWN_HEADER)) is not None:
        return keys.find(named.strip())
    ours = next((text for text in _credentials(headers, query) if text.startswith(OURS)), None)
    return keys.find(ours) if ours is not None else None


def _credentials(headers: Mapping[str, str], query: str | bytes) -> Iterator[str]:
    """Everything that may be a key, in the order of their rank."""
    if (key := headers.get("x-api-key")) is not None:
        yield key.strip()
    if (header := headers.get("authorization")) is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip()
    if (key := headers.get("x-goog-api-key")) is not None:
        yield key.strip()
    if (key := query_key(query)) is not None:
        yield key


def query_key(query: str | bytes) -> str | None:
    """What `?key=` holds, as Gemini's clients may send it. It must not reach a log."""
    text = query.decode("latin-1") if isinstance(query, bytes) else query
    if "key=" not in text or len(text) > LONGEST_QUERY:
        return None
    return next((value for name, value in parse_qsl(text) if name == "key"), None)


def key_in_query(headers: Mapping[str, str], query: str | bytes) -> Mapping[str, str]:
    """A key that came in the query, as the header it stands for; nothing where the header is there."""
    key = query_key(query) if "x-goog-api-key" not in headers else None
    return {"x-goog-api-key": key} if key is not None and key.isascii() and key.isprintable() else {}


HOW = (
    "send it as x-weave-key, x-api-key, 'authorization: Bearer' or x-goog-api-key; "
    "whoever runs the engine makes one with 'weave-engine keys add NAME'"
)


def _unknown(headers: Mapping[str, str], query: str | bytes) -> Fault:
    """Says nothing of which part of a key is wrong, and never repeats it."""
    if OWN_HEADER in headers:
        message = f"the key in {OWN_HEADER} is none of this engine's; ask whoever runs it for one"
    elif any(text.startswith(OURS) for text in _credentials(headers, query)):
        message = "this key is none of this engine's; ask whoever runs it for one"
    else:
        message = f"this engine wants a key of its own (wk_…): {HOW}"
    return Fault("authentication", message, origin="client")


def _dead(key: Key) -> Fault:
    """Told to who has the secret alone, so that it may say more."""
    moment = key.revoked if key.revoked is not None else key.expires
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
    what = "was revoked" if key.revoked is not None else "expired"
    message = (
        f"the key {OURS}{key.id} of {key.name} {what} on {when}; ask whoever runs the engine for a new one"
    )
    return Fault("authentication", message, origin="client")
