"""The short way through a reader, for chunks of the commonest shape, says what the long way says: for streams of
simulated and recorded providers, and for such streams with anything broken in them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine import wire
from engine.core.stream import Broke, Event
from engine.protocols import PROTOCOLS
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
    for _ in range(1_500):
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
    holder: Any = dice.choice(list(holders(value)))
    if isinstance(holder, list):
        holder[:] = dice.choice(
            [[], [*holder, *holder], [dice.choice(ODDITIES)], [*holder, dice.choice(ODDITIES)]]
        )
    elif holder and dice.random() < 0.7:
        key = dice.choice(list(holder))
        if dice.random() < 0.2:
            del holder[key]
        else:
            holder[key] = dice.choice(ODDITIES)
    else:
        holder[dice.choice(KEYS)] = dice.choice(ODDITIES)
    return b"data: " + wire.dumps(value) + b"\n\n"


def holders(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from holders(inner)
