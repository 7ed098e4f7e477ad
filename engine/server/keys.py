"""Client keys at rest: a file with what each key stands for, and the SHA-256 of the key, never the key.

    wk_<id>_<secret>      id: 12 hex digits, to find it by; secret: 256 random bits as 64 hex digits

A fast hash is enough for a secret nobody can guess. The file is replaced whole (written beside, synced, renamed), so
that whoever reads it sees the old one or the new one, and two commands at a time take turns. A key that was revoked
stays in the file, so that its holder can be told, and so that an engine whose last key is gone does not open up.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine import wire
from engine.core.errors import Fault, WeaveError
from engine.core.identity import Identity

if sys.platform != "win32":
    import fcntl

VERSION = 1
MOST_BYTES = 64 * 1024 * 1024

KEY = re.compile(r"wk_([0-9a-f]{12})_[0-9a-f]{64}")
LONGEST_KEY = 3 + 12 + 1 + 64
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
ID = re.compile(r"[0-9a-f]{12}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class KeysError(WeaveError):
    """The file of keys cannot be used, or does not hold what was asked for; the message says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault("server_error", message))


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key. Times are seconds since the epoch; `expires` and `revoked` are None for never."""

    id: str
    sha256: str
    name: str
    team: str = ""
    data_class: str = ""
    may_force: bool = True
    created: int = 0
    expires: int | None = None
    revoked: int | None = None

    @property
    def identity(self) -> Identity:
        return Identity(self.name, self.team, self.data_class, self.may_force)

    def lives(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


REQUIRED = frozenset({"id", "sha256", "name"})
FIELDS = frozenset(field.name for field in fields(Key))

# What an unknown id is compared with, so that it takes as long as a known one. No key has this hash.
NOBODY = Key("", "0" * 64, "")


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a file, by id."""

    by_id: Mapping[str, Key]

    def find(self, text: str) -> Key | None:
        """The key whose secret this is, dead or alive; None where it is nobody's."""
        shaped = KEY.fullmatch(text) if len(text) == LONGEST_KEY else None
        if shaped is None:
            return None
        key = self.by_id.get(shaped[1], NOBODY)
        same = hmac.compare_digest(key.sha256, digest_of(text))
        return key if same and key is not NOBODY else None

    def of_name(self, name: str) -> tuple[Key, ...]:
        return tuple(key for key in self.by_id.values() if key.name == name)

    def with_key(self, key: Key) -> "Keys":
        return Keys({**self.by_id, key.id: key})


NO_KEYS = Keys({})


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(identity: Identity, created: int, expires: int | None) -> tuple[str, Key]:
    """The key, which is shown once, and what is kept of it."""
    id = secrets.token_hex(6)
    text = f"wk_{id}_{secrets.token_hex(32)}"
    key = Key(
        id,
        digest_of(text),
        identity.name,
        identity.team,
        identity.data_class,
        identity.may_force,
        created,
        expires,
    )
    return text, key


# The file -----------------------------------------------------------------------------------------------------------


def read_keys(path: Path) -> Keys:
    """No keys where there is no file. Raises KeysError for one that cannot be read whole: half of the keys would
    lock people out, and none would let everybody in."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return NO_KEYS
    except OSError as error:
        raise KeysError(f"{path}: the keys cannot be read: {error.strerror or error}") from error
    return parse(raw, str(path))


def parse(raw: bytes, file: str) -> Keys:
    """Raises KeysError that names `file`."""
    try:
        told = wire.loads(raw) if len(raw) <= MOST_BYTES else None
        if not isinstance(told, dict) or not isinstance(told.get("keys"), list):
            raise ValueError("it holds no list of keys")
        if told.get("version") != VERSION:
            raise ValueError(f"its version is {told.get('version')!r}, and this engine reads {VERSION}")
        found = [_key(entry, number) for number, entry in enumerate(told["keys"], 1)]
    except ValueError as error:
        raise KeysError(
            f"{file}: this file of keys is damaged: {error}; put back a copy of it, or move it away and add keys anew"
        ) from error
    by_id = {key.id: key for key in found}
    if len(by_id) != len(found):
        raise KeysError(f"{file}: this file of keys is damaged: an id is there twice")
    return Keys(by_id)


def _key(entry: Any, number: int) -> Key:
    """Raises ValueError for what is not exactly a key: a field that is not understood might have forbidden
    something."""
    if not isinstance(entry, dict) or not REQUIRED <= entry.keys() <= FIELDS:
        raise ValueError(f"entry {number} is no key, or one of a newer engine's")
    key = Key(**entry)
    whole = all(
        isinstance(value, str) for value in (key.id, key.sha256, key.name, key.team, key.data_class)
    ) and all(type(value) is int or value is None for value in (key.expires, key.revoked))
    if not whole or type(key.created) is not int or type(key.may_force) is not bool:
        raise ValueError(f"entry {number} has a field of the wrong kind")
    if not (ID.fullmatch(key.id) and DIGEST.fullmatch(key.sha256) and LABEL.fullmatch(key.name)):
        raise ValueError(f"entry {number} has an id, hash or name that no key has")
    return key


def change(path: Path, changed: Callable[[Keys], Keys]) -> Keys:
    """Read, change and write the keys, while no other command does. Raises KeysError, also from `changed`."""
    with _alone(path.parent):
        keys = changed(read_keys(path))
        try:
            _write(path, keys)
        except OSError as error:
            raise KeysError(f"{path}: the keys cannot be written: {error.strerror or error}") from error
        return keys


def _write(path: Path, keys: Keys) -> None:
    told = {"version": VERSION, "keys": [asdict(key) for key in keys.by_id.values()]}
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_back(file.fileno(), path)
            file.write(wire.dumps(told))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    _sync(path.parent)


def _give_back(descriptor: int, path: Path) -> None:
    """A command run by root leaves the file to whose it, or its folder, was, so that the engine can read it."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = path.stat() if path.exists() else path.parent.stat()
    os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync(folder: Path) -> None:
    """A rename is on disk once its folder is."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder while the file in it changes: two changes at once would lose one."""
    if sys.platform == "win32":
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise KeysError(f"{folder}: there is no such folder to keep keys in") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_to_others(path: Path) -> str:
    """What is wrong with who may touch the file, in words; empty where only its owner may."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if sys.platform == "win32" or not mode & 0o077:
        return ""
    what = "changed" if mode & 0o022 else "read"
    return f"{path} can be {what} by others (mode {mode:o}): chmod 600 it"
