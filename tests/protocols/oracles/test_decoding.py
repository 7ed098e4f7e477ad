"""Every leaf of what was recorded is in the canonical form, or stands in `carries_nothing.yaml` with the reason why it
says nothing.

Of requests the leaves are looked for in the `Request` itself, since vendors' bounds bend what is written again; of
replies they are looked for at their own place in the reply written again from nothing but the canonical form.
"""

import dataclasses
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from engine.core.conversation import Request
from engine.core.reply import Reply
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

Leaf = tuple[str, Any]  # its path, list items as `#`, and what stands there

TABLE = yaml.safe_load((Path(__file__).parents[2] / "cases/protocols/carries_nothing.yaml").read_text())
NOTHING: tuple[Any, ...] = (None, "", [], {}, "{}", "[]")
DATA_URL = re.compile(r"data:[^;,]*;base64,")
by_protocol = pytest.mark.parametrize("home", PROTOCOLS.values(), ids=list(PROTOCOLS))


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """The leaves that hold something. A call's arguments are JSON of their own."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}.#")
    elif path.endswith("arguments") and _parsed(value) is not None:
        yield from leaves(_parsed(value), path)
    elif value not in NOTHING and not (value == 0 and "usage" in path):
        yield path, _plain(value)


def _parsed(value: Any) -> Any:
    try:
        found = orjson.loads(value)
    except (ValueError, TypeError):
        return None
    return found if isinstance(found, dict | list) else None


def _plain(value: Any) -> Any:
    """40.0 is 40, and base64 has two alphabets and two places."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        value = DATA_URL.sub("", value, count=1) if value.startswith("data:") else value
        if len(value) > 200 and re.fullmatch(r"[\w-]+=*", value):
            return value.translate(str.maketrans("-_", "+/")).rstrip("=")
        return value.rstrip("=") if len(value) > 200 else value
    return value


def _decoded(value: str) -> str:
    """A text that came in base64."""
    try:
        return b64decode(value, validate=True).decode()
    except ValueError:
        return ""


def scalars(value: Any) -> Iterator[Any]:
    """What a canonical value holds, without what it was read from."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if field.name == "arguments" and _parsed(inner) is not None:
                inner = _parsed(inner)
            if field.name not in ("raw", "body"):
                yield from scalars(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from scalars(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from scalars(inner)
    elif value not in NOTHING:
        yield _plain(value)


class Excused:
    """The rows of the table for one protocol, and which of them were ever needed."""

    def __init__(self, what: str, home: Protocol) -> None:
        self._rows = [pattern for row in TABLE[what].get(home.name, ()) for pattern in row["fields"]]
        self._plain = {pattern for pattern in self._rows if "*" not in pattern}
        self._wild = [pattern for pattern in self._rows if "*" in pattern]
        self._used: set[str] = set()
        self._known: dict[str, bool] = {}

    def __call__(self, path: str) -> bool:
        if path not in self._known:
            found = {path} & self._plain | {p for p in self._wild if fnmatchcase(path, p)}
            self._used |= found
            self._known[path] = bool(found)
        return self._known[path]

    @property
    def unused(self) -> list[str]:
        return [row for row in self._rows if row not in self._used]


def missing(found: list[Leaf], held: Counter[Any]) -> list[Leaf]:
    """Leaves that are not held; a text may be a piece of a longer one (a tool's result told as JSON)."""
    lost: list[Leaf] = []
    texts: list[str] | None = None
    for leaf in found:
        value = leaf[1]
        if held[value] > 0:
            held[value] -= 1
            continue
        if isinstance(value, str) and len(value) > 2:
            if held[_decoded(value)] > 0:
                continue
            texts = texts or [text for text in held if isinstance(text, str)]
            inside = orjson.dumps(value).decode()[1:-1]
            if any(text != value and (value in text or inside in text) for text in texts):
                continue
        lost.append(leaf)
    return lost


@by_protocol
def test_every_leaf_of_a_request_is_read(home: Protocol, recorded: list[Any]) -> None:
    excused, checked = Excused("requests", home), 0
    for row in recorded:
        if row.home is not home or row.asked is None or not row.asked.get("model"):
            continue
        request: Request = row.request
        found = [leaf for leaf in leaves(row.asked) if not excused(leaf[0])]
        assert missing(found, Counter(scalars(request))) == [], row.id
        checked += 1
    assert checked > 150
    assert excused.unused == []


@by_protocol
def test_every_leaf_of_a_whole_reply_is_read(home: Protocol, recorded: list[Any]) -> None:
    excused, checked = Excused("replies", home), 0
    for row in recorded:
        if row.home is not home or row.status != 200 or row.body is None:
            continue
        reply = home.read_reply(row.body)
        again = written_again(home, reply, row.body)
        held = Counter(leaves(again))
        found = Counter(leaf for leaf in leaves(row.body) if not excused(leaf[0]))
        assert list((found - held).elements()) == [], row.id
        checked += 1
    assert checked > 150
    assert excused.unused == []


def written_again(home: Protocol, reply: Reply, body: Any) -> Any:
    """The reply as its own protocol writes it, under its own name and date."""
    created = body.get("created") or body.get("created_at") or 0
    encoded = home.write_reply(reply, ReplyContext(model=reply.model, id=reply.id, created=created))
    assert encoded.dropped == ()
    return orjson.loads(orjson.dumps(encoded.body))
