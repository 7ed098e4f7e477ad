"""A JSON object with a few top-level fields changed, and every other byte as it was.

A request that leaves in the protocol it came in is not written anew: prompt caches and signatures depend on
bytes, and numbers, escapes and key order would not survive. So the new values are spliced into the raw text.

Most bodies need no scan: if the text holds a key's spelling once, and no letter is written as a `\\u`
escape that could spell it another way, then that place *is* the top-level key that the parsed body shows.
Otherwise a scanner walks the top level and finds every occurrence, however it is spelled; a key given twice
is changed twice. Inside strings a quotation mark is escaped, so a spelling with both its marks is found
inside one only where the string begins or ends there; that makes a second spelling and leads to the scan.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from engine import wire


class Remove(Enum):
    """Stands for "this field goes" where an edit's value is expected."""

    REMOVE = "remove"


REMOVE: Final = Remove.REMOVE

_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_COLON = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*")
_SCALAR = re.compile(_STRING + rb"|[-+.\w]+", re.DOTALL)
_MARK = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_KEY = re.compile(_STRING, re.DOTALL)
_ESCAPE = b"\\u00"
_ESCAPED_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")


def forward(raw: bytes, body: Mapping[str, Any], edits: Mapping[str, Any]) -> bytes:
    """`body` is `raw` parsed. An edit's value is JSON or REMOVE; a field that is not there is put first.

    Raises ValueError where `raw` is not the JSON object that `body` is.
    """
    if not edits:
        return raw
    wanted = {name: value for name, value in edits.items() if value is not REMOVE or name in body}
    members = _members(raw, [name for name in wanted if name in body])
    splices: list[tuple[int, int, bytes]] = []
    removed: list[tuple[int, int]] = []
    for name, key_start, value_start, value_end in members:
        value = wanted[name]
        if value is REMOVE:
            removed.append((key_start, value_end))
        else:
            splices.append((value_start, value_end, wire.dumps(value)))
    added = {name: value for name, value in wanted.items() if name not in body}
    if removed:
        # Commas belong to pairs of members, so what is left is joined anew around the gaps.
        splices += _gaps(raw, removed)
    if added:
        splices.append(_addition(raw, added, empty=len(body) == sum(v is REMOVE for v in wanted.values())))
    return _spliced(raw, splices)


def _spliced(raw: bytes, splices: list[tuple[int, int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for start, end, text in sorted(splices):
        pieces += (raw[at:start], text)
        at = end
    pieces.append(raw[at:])
    return b"".join(pieces)


def _addition(raw: bytes, added: Mapping[str, Any], *, empty: bool) -> tuple[int, int, bytes]:
    start = raw.index(b"{") + 1
    text = wire.dumps(added)[1:-1]
    return start, start, text if empty else text + b","


def _gaps(raw: bytes, removed: list[tuple[int, int]]) -> list[tuple[int, int, bytes]]:
    """What to cut so that the members in `removed` go, each with one of its commas."""
    spans = [(start, end) for _, start, _, end in _scan(raw)]
    gone = set(removed)
    kept = [span for span in spans if span not in gone]
    if not kept:
        return [(spans[0][0], spans[-1][1], b"")]
    gaps: list[tuple[int, int, bytes]] = []
    for place, span in enumerate(spans):
        if span not in gone:
            continue
        if place + 1 < len(spans) and span[0] < kept[-1][0]:
            gaps.append((span[0], spans[place + 1][0], b""))  # with the comma behind it
        else:
            gaps.append((spans[place - 1][1], span[1], b""))  # nothing kept follows: with the comma before it
    return gaps


Member = tuple[str, int, int, int]  # name, where the key starts, where the value starts, where it ends


def _members(raw: bytes, names: list[str]) -> list[Member]:
    """Every top-level member called one of `names`."""
    found: list[Member] = []
    plain = _ESCAPE not in raw or not any(escape in raw for escape in _ESCAPED_LETTERS)
    for name in names:
        key = b'"%b"' % name.encode()
        start = raw.find(key)
        if not plain or start < 0 or raw.find(key, start + 1) >= 0 or not re.fullmatch(r"[A-Za-z_]+", name):
            wanted = set(names)
            return [member for member in _scan(raw) if member[0] in wanted]
        colon = _COLON.match(raw, start + len(key))
        if colon is None:
            raise ValueError("the text is not the body it was parsed from")
        found.append((name, start, colon.end(), _value_end(raw, colon.end())))
    return found


def _scan(raw: bytes) -> Iterator[Member]:
    """Every member of the top level, in order."""
    at = _skip(raw, raw.index(b"{") + 1)
    while raw[at : at + 1] == b'"':
        key = _KEY.match(raw, at)
        colon = _COLON.match(raw, key.end()) if key else None
        if key is None or colon is None:
            raise ValueError(f"a key and a colon were expected at byte {at}")
        end = _value_end(raw, colon.end())
        yield wire.loads(key.group()), at, colon.end(), end
        at = _skip(raw, end)
        if raw[at : at + 1] != b",":
            return
        at = _skip(raw, at + 1)


def _skip(raw: bytes, at: int) -> int:
    space = _SPACE.match(raw, at)
    return space.end() if space else at


def _value_end(raw: bytes, at: int) -> int:
    if raw[at : at + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(raw, at)
        if scalar is None:
            raise ValueError(f"a value was expected at byte {at}")
        return scalar.end()
    depth = 0
    for mark in _MARK.finditer(raw, at):
        char = raw[mark.start()]
        if char in b"{[":
            depth += 1
        elif char in b"}]":
            depth -= 1
            if depth == 0:
                return mark.end()
    raise ValueError(f"the value at byte {at} does not end")
