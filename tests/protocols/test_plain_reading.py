"""The short way through a reader, for chunks and parts of the commonest shape, says what the long way says: for
streams of simulated and recorded providers, for requests of made and captured clients, and for all of them with
anything broken in it."""

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from engine import wire
from engine.core.catalog import Model
from engine.core.conversation import Message, Request, Sealed, Text, Thinking, ToolCall, ToolResult, Tuning
from engine.core.errors import RequestError
from engine.core.stream import Broke, Event
from engine.protocols import PROTOCOLS
from engine.protocols.anthropic_messages import blocks
from engine.protocols.gemini import reading as gemini_reading
from engine.protocols.shape import Protocol
from engine.protocols.sse import Frames
from engine.protocols.streams import StreamReader
from engine.simulator.app import WIRES
from engine.simulator.models import MODELS, PROVIDERS
from engine.simulator.prompt import Answer, Call, Prompt, Say, Think, Tokens

Row = dict[str, Any]
RECORDED = {"gemini": "dev_gemini", "openai-chat": "dev_openai_chat"}
ODDITIES: list[Any] = [None, 0, 1, -1, "", "x", [], {}, [1], {"a": 1}, True, False, "assistant"]
KEYS = ["x", "index", "thought", "content", "reasoning", "id", "role", "error", "finish_reason", "usage"]


def readers(name: str) -> tuple[StreamReader, StreamReader]:
    """One that takes the short way where it can, and one that never does."""
    short: Any = PROTOCOLS[name].event_reader()
    careful = type("Careful", (type(short),), {"_read_plain": lambda *_: False})
    assert hasattr(short, "_read_plain")
    return short, careful()


def read(reader: StreamReader, chunks: list[bytes]) -> list[Event]:
    events = [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()
    last = events[-1]
    if isinstance(last, Broke):
        events[-1] = replace(last, fault=replace(last.fault, detail=""))  # which quotes Python
    return events


def simulated(name: str) -> Iterator[list[bytes]]:
    blocks = (
        Think("Let me see what the parser does. "),
        Say("It drops a token. " * 15),
        Call("one", "Read", '{"path": "src/parser.py", "limit": 10}'),
        Call("two", "Bash", '{"command": "pytest -q"}'),
    )
    told = Answer("key", 1_700_000_000, blocks, "tools", None, Tokens(900, 100, 0, 90, 20))
    prompt = Prompt(
        MODELS[0],
        "",
        "",
        "",
        (),
        (),
        (),
        (),
        (),
        "digest",
        stream=True,
        thinking=True,
        summary=True,
        encrypted=True,
    )
    for provider in PROVIDERS.values():
        if provider.protocol == name:
            yield [frame.data for frame in WIRES[name].frames(told, prompt, provider)]


@pytest.mark.parametrize("name", RECORDED)
def test_the_short_way_is_the_long_way(name: str, recordings: Callable[[str], list[Row]]) -> None:
    streams = [row["sse"].encode() for row in recordings(RECORDED[name]) if "sse" in row]
    assert len(streams) > 5
    for stream in streams:
        short, careful = readers(name)
        assert read(short, [stream]) == read(careful, [stream])


@pytest.mark.parametrize("name", RECORDED)
def test_the_short_way_is_taken(name: str) -> None:
    for chunks in simulated(name):
        short, careful = readers(name)
        taken = 0
        plain = short._read_plain  # type: ignore[attr-defined]  # `readers` has made sure of it

        def counted(*given: Any, plain: Callable[..., bool] = plain) -> bool:
            nonlocal taken
            found = plain(*given)
            taken += found
            return found

        short._read_plain = counted  # type: ignore[attr-defined]
        assert read(short, chunks) == read(careful, chunks)
        assert taken > len(chunks) / 2


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_odd_is_read_the_same_both_ways(name: str) -> None:
    dice = random.Random(name)
    streams = list(simulated(name))
    for _ in range(1_000):
        chunks = list(dice.choice(streams))
        for _ in range(dice.choice((1, 1, 1, 3))):
            at = dice.randrange(len(chunks))
            chunks[at] = odd(chunks[at], dice)
        short, careful = readers(name)
        assert read(short, chunks) == read(careful, chunks)


def odd(chunk: bytes, dice: random.Random) -> bytes:
    """The chunk with something in it changed, gone or added."""
    frames = Frames().feed(chunk)
    try:
        value = wire.loads(frames[0][1])
    except (ValueError, IndexError):
        return chunk
    make_odd(value, dice)
    return b"data: " + wire.dumps(value) + b"\n\n"


def make_odd(value: Any, dice: random.Random) -> None:
    holder: Any = dice.choice(list(holders(value)))
    if isinstance(holder, list):
        holder[:] = dice.choice([[], [*holder, *holder], [oddity(dice)], [*holder, oddity(dice)]])
    elif holder and dice.random() < 0.7:
        key = dice.choice(list(holder))
        if dice.random() < 0.2:
            del holder[key]
        else:
            holder[key] = oddity(dice)
    else:
        holder[dice.choice(KEYS)] = oddity(dice)


def oddity(dice: random.Random) -> Any:
    return deepcopy(dice.choice(ODDITIES))


def holders(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from holders(inner)


# Each protocol's short ways through a request: where they are looked up, and under which name.
SHORT_WAYS: dict[str, list[tuple[Any, str]]] = {
    "anthropic-messages": [(blocks, "_read_plain")],
    "gemini": [(gemini_reading, "read_plain"), (gemini_reading, "_read_plain_result")],
}
SIGNATURE = Thinking("", Sealed("gemini", {"thoughtSignature": "c2lnbmVk", "call": "three"}))
CONVERSATION = (
    Message("user", (Text("Fix the parser."),)),
    Message(
        "assistant",
        (Text("Reading."), ToolCall("one", "Read", '{"path":"a"}'), ToolCall("two", "Bash", "{}")),
    ),
    Message(
        "user", (ToolResult("one", (Text("def f(): ..."),)), ToolResult("two", (Text("1 failed"),), True))
    ),
    Message("assistant", (SIGNATURE, ToolCall("three", "Read", '{"path":"b"}'))),
    Message("user", (ToolResult("three", ()), Text("Go on."))),
)


@pytest.mark.parametrize("name", SHORT_WAYS)
def test_the_short_way_through_a_request_is_the_long_way(
    name: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, dice = PROTOCOLS[name], random.Random(name)
    asked = Request(name, "m", (Text("Be brief."),), CONVERSATION, (), Tuning(max_tokens=9), False, b"", {})
    plain = {"model": "m", **protocol.write_request(asked, model, "m").body}
    bodies = [plain]
    for _ in range(1_000):
        body = wire.loads(wire.dumps(plain))
        for _ in range(dice.choice((1, 1, 1, 3))):
            make_odd(body, dice)
        bodies.append(body)
    short = [outcome(protocol, body) for body in bodies]
    for module, way in SHORT_WAYS[name]:
        kept = getattr(module, way)
        taken: list[Any] = []

        def counted(*given: Any, kept: Any = kept, taken: list[Any] = taken) -> Any:
            taken.append(kept(*given))
            return taken[-1]

        monkeypatch.setattr(module, way, counted)
        assert outcome(protocol, plain) == short[0]
        assert any(found is not None for found in taken), f"{way} takes nothing"
        monkeypatch.setattr(module, way, lambda *_: None)
    assert [outcome(protocol, body) for body in bodies] == short


def outcome(protocol: Protocol, body: Row) -> Any:
    try:
        return protocol.read_request(body, b"")
    except RequestError as error:
        return str(error)
