"""`weave-engine keys`: who may ask the engine. A running engine takes a change up within a second.

The new key is all that goes to standard output, so that `KEY=$(weave-engine keys add ann)` does what it seems to;
words for people go to standard error.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from engine import wire
from engine.commands import terminal
from engine.commands.visible import visible
from engine.core.errors import RequestError
from engine.core.identity import Identity
from engine.server.identity import OURS
from engine.server.keys import ID, KEY, LABEL, Key, Keys, change, new_key, read_keys
from engine.settings import Settings

DAY_SECONDS = 86_400


def add(
    settings: Settings,
    name: str,
    team: str | None = None,
    data_class: str | None = None,
    expires_seconds: int | None = None,
    *,
    may_force: bool = True,
    json: bool = False,
) -> int:
    """Prints a new key, once. Labels that are left out are those the name has already. Raises RequestError for a name
    that cannot be one, or labels that clash with its living keys."""
    for label, what in ((name, "a name"), (team, "a team"), (data_class, "a data class")):
        _check_label(label, what)
    now = int(time.time())
    expires = None if expires_seconds is None else now + expires_seconds
    made: list[tuple[str, Key]] = []

    def added(keys: Keys) -> Keys:
        known = _living(keys.of_name(name), now)
        identity = _labelled(name, team, data_class, may_force, known)
        made[:] = [new_key(identity, now, expires)]
        return keys.with_key(made[0][1])

    change(settings.keys_file, added)
    text, key = made[0]
    _show(text, key, json=json)
    if not json:
        _tell(f"this is the key of {_described(key)}; it is shown once and kept nowhere: hand it on now")
        _tell(f"kept as a hash in {settings.keys_file}; from now on every request needs a key")
    return 0


def show(settings: Settings, *, json: bool = False) -> int:
    """Prints what is known of every key; the secrets are not among it."""
    now = time.time()
    found = sorted(read_keys(settings.keys_file).by_id.values(), key=lambda key: (key.name, key.created))
    if json:
        print(wire.dumps([_told(key, now) for key in found]).decode())
        return 0
    if not found:
        _tell(
            f"no keys in {settings.keys_file}: the engine is open, on this machine alone; add one with 'keys add NAME'"
        )
        return 0
    rows = [
        (
            f"{OURS}{key.id}…",
            key.name,
            key.team or "–",
            key.data_class or "–",
            _day(key.created),
            _state(key, now),
            "yes" if key.may_force else "no",
        )
        for key in found
    ]
    terminal.table(
        str(settings.keys_file), ("key", "name", "team", "data class", "created", "state", "may force"), rows
    )
    return 0


def rotate(settings: Settings, who: str, grace_seconds: int, *, json: bool = False) -> int:
    """Prints a new key for a name, or in place of one key; those it replaces live on for the grace."""
    now = int(time.time())
    made: list[tuple[str, Key]] = []
    old: list[Key] = []

    def rotated(keys: Keys) -> Keys:
        old[:] = _living(_meant(keys, who, settings), now)
        if not old:
            raise RequestError(f"{visible(who)} has no living key to replace; give it one with 'keys add'")
        newest = max(old, key=lambda key: key.created)
        lifetime = None if newest.expires is None else newest.expires - newest.created
        made[:] = [new_key(newest.identity, now, None if lifetime is None else now + lifetime)]
        end = now + grace_seconds
        for key in old:
            keys = keys.with_key(replace(key, expires=end if key.expires is None else min(key.expires, end)))
        return keys.with_key(made[0][1])

    change(settings.keys_file, rotated)
    text, key = made[0]
    _show(text, key, json=json)
    if not json:
        _tell(f"this is the new key of {_described(key)}; it is shown once and kept nowhere: hand it on now")
        names = ", ".join(f"{OURS}{each.id}" for each in old)
        until = "is dead" if not grace_seconds else f"works until {_minute(now + grace_seconds)}"
        _tell(f"the old one ({names}) {until}; sessions and spend go by the name and stay")
    return 0


def revoke(settings: Settings, who: str) -> int:
    """Ends a key, or all keys of a name, now."""
    now = int(time.time())
    ended: list[Key] = []

    def revoked(keys: Keys) -> Keys:
        meant = _meant(keys, who, settings)
        ended[:] = [key for key in meant if key.revoked is None]
        for key in ended:
            keys = keys.with_key(replace(key, revoked=now))
        return keys

    keys = change(settings.keys_file, revoked)
    if not ended:
        _tell(f"{visible(who)} was revoked before; nothing changed")
        return 0
    names = ", ".join(f"{OURS}{key.id}" for key in ended)
    _tell(f"revoked {names} of {ended[0].name}; a running engine refuses it within a second")
    if not _living(keys.by_id.values(), now):
        _tell(
            "no living key is left, so the engine answers nobody; to open it again, move "
            f"{settings.keys_file} away and start it anew"
        )
    return 0


def _meant(keys: Keys, who: str, settings: Settings) -> list[Key]:
    """A key by its id, as in wk_0123456789ab, or all of a name. A key pasted whole is known by its id."""
    whole = KEY.fullmatch(who)
    id = whole[1] if whole else who.removeprefix(OURS)
    if (key := keys.by_id.get(id)) is not None:
        return [key]
    found = list(keys.of_name(who))
    if not found:
        names = ", ".join(sorted({key.name for key in keys.by_id.values()}))
        there = f"it has keys of {names}" if names else "it has none"
        shown = f"{OURS}{id}" if whole else visible(who[:80])
        raise RequestError(f"no key or name {shown} in {settings.keys_file}; {there}")
    return found


def _living(keys: "Sequence[Key] | Any", now: float) -> list[Key]:
    return [key for key in keys if key.lives(now)]


def _labelled(
    name: str, team: str | None, data_class: str | None, may_force: bool, known: Sequence[Key]
) -> Identity:
    """A name is of one team and data class: spend and policies go by them, whichever of its keys it uses."""
    if not known:
        return Identity(name, team or "", data_class or "", may_force)
    has = known[0].identity
    for said, held, what in ((team, has.team, "team"), (data_class, has.data_class, "data class")):
        if said is not None and said != held:
            raise RequestError(
                f"{name} has a key already, with the {what} {held or 'left empty'}; leave it out to add a key "
                f"like that one, or revoke {name} first"
            )
    return replace(has, may_force=has.may_force and may_force)


def _check_label(text: str | None, what: str) -> None:
    if text is None or (text == "" and what != "a name"):
        return
    if not LABEL.fullmatch(text) or (what == "a name" and (ID.fullmatch(text) or text.startswith(OURS))):
        raise RequestError(
            f"{visible(text[:80])!r} cannot be {what}; it takes up to 64 letters, digits and . _ @ + -, beginning "
            "with a letter or digit, and a name may not look like a key"
        )


def _show(text: str, key: Key, *, json: bool) -> None:
    print(wire.dumps({"key": text, **_told(key, time.time())}).decode() if json else text)


def _told(key: Key, now: float) -> dict[str, Any]:
    told = asdict(key)
    del told["sha256"]
    return {**told, "state": _state(key, now)}


def _described(key: Key) -> str:
    labels = [
        f"team {key.team}" if key.team else "",
        f"data class {key.data_class}" if key.data_class else "",
    ]
    labels += ["" if key.may_force else "may not force a model"]
    labels += [f"until {_minute(key.expires)}" if key.expires is not None else ""]
    said = ", ".join(label for label in labels if label)
    return f"{key.name} ({said})" if said else key.name


def _state(key: Key, now: float) -> str:
    if key.revoked is not None:
        return f"revoked {_day(key.revoked)}"
    if key.expires is None:
        return "lives"
    if now >= key.expires:
        return f"expired {_day(key.expires)}"
    near = key.expires - now < 2 * DAY_SECONDS
    return f"until {_minute(key.expires) if near else _day(key.expires)}"


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _minute(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
