"""A→B→A: what both protocols can carry comes home as it left. What a pair cannot carry stands in
`cannot_carry.yaml`, each with its reason, and no more than that is lost; all but
what says nothing is reported."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from engine.core.conversation import Opaque, Part, Text, Thinking, ToolCall
from engine.core.reply import Reply
from engine.core.stream import fold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol

TABLE = yaml.safe_load((Path(__file__).parents[2] / "cases/protocols/cannot_carry.yaml").read_text())
DIRECTIONS = [(home, away) for home in PROTOCOLS.values() for away in PROTOCOLS.values() if home is not away]
by_direction = pytest.mark.parametrize(
    ("home", "away"), DIRECTIONS, ids=[f"{home.name}>{away.name}" for home, away in DIRECTIONS]
)


def declared(what: str, home: Protocol, away: Protocol) -> dict[str, str]:
    """The facets this pair loses, and whether each loss is `reported` or passes as `quiet`."""
    return {
        facet: row["loss"]
        for row in TABLE[what]
        if home.name in row["from"] and away.name in row.get("to", PROTOCOLS)
        for facet in row["facets"]
    }


@by_direction
def test_a_reply_comes_home_as_it_left(home: Protocol, away: Protocol, recorded: list[Any]) -> None:
    known = declared("replies", home, away)
    seen: Counter[str] = Counter()
    for row in recorded:
        if row.home is not home or row.status != 200:
            continue
        reply = home.read_reply(row.body) if row.body is not None else fold(row.events)
        if not isinstance(reply, Reply):
            continue
        encoded = away.write_reply(reply, row.context)
        there = away.read_reply(orjson.loads(orjson.dumps(encoded.body)))
        back = home.read_reply(orjson.loads(orjson.dumps(home.write_reply(there, row.context).body)))
        reported = {loss.path for loss in encoded.dropped}
        lost = dict(differences(reply, there))
        for facet, path in lost.items():
            assert facet in known, (row, facet, path)
            assert known[facet] == "quiet" or any(one.startswith(path) for one in reported), (
                row,
                facet,
                path,
            )
            seen[facet] += 1
        assert words(back) == words(there), row
    assert seen.keys() == known.keys()


def differences(before: Reply, after: Reply) -> Iterator[tuple[str, str]]:
    """What `after` lacks: the facet, and the path under which it is to be reported."""
    for at, part in enumerate(before.parts):
        if isinstance(part, Opaque):
            if part not in after.parts:
                yield "opaque", f"content.{at}"
        elif not isinstance(part, Thinking):
            yield from _seals(part, at, after)
    ours, theirs = said(before), said(after)
    if ours != theirs:
        yield (
            ("order", "")
            if sorted(map(str, merged(ours))) == sorted(map(str, merged(theirs)))
            else ("content", "?")
        )
    if before.stop.sequence != after.stop.sequence:
        yield "stop.sequence", "stop"
    if before.stop.reason != after.stop.reason and before.stop.sequence is None:
        yield f"stop.{before.stop.reason}", "stop"
    for field in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    ):
        if getattr(before.usage, field) != getattr(after.usage, field):
            yield f"usage.{field}", f"usage.{field}"
    if before.sealed is not None:
        for field in before.sealed.data:
            yield f"reply.{field}", field


def _seals(part: Part, at: int, after: Reply) -> Iterator[tuple[str, str]]:
    sealed = part.sealed
    if sealed is None or any(getattr(one, "sealed", None) == sealed for one in after.parts):
        return
    for field in sealed.data:
        yield f"{type(part).__name__}.{field}", f"content.{at}"


def said(reply: Reply) -> list[tuple[str, Any]]:
    """The parts that every protocol has, in order."""
    found: list[tuple[str, Any]] = []
    for part in reply.parts:
        match part:
            case Text(text=text) if text:
                found.append(("text", text))
            case Thinking(text=text, sealed=sealed):
                found.append(("thinking", (text, sealed)))
            case ToolCall(id=call_id, name=name, arguments=arguments):
                found.append(("call", (call_id, name, json.loads(arguments))))
            case Opaque() | Text():
                continue
            case _:
                found.append((type(part).__name__, part))
    return found


def words(reply: Reply) -> tuple[Any, ...]:
    """What is told, wherever one part ends and the next begins."""
    parts = said(reply)
    text = "".join(content for kind, content in parts if kind == "text")
    thought = "".join(content[0] for kind, content in parts if kind == "thinking")
    return text, thought, [content for kind, content in parts if kind == "call"], reply.stop.reason


def merged(parts: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    text = "".join(content for kind, content in parts if kind == "text")
    return [*(part for part in parts if part[0] != "text"), ("text", text)]
