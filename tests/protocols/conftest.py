"""What tests of protocols share: recordings, a model that can do everything, streams in every chunking."""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.core.catalog import Model, Price
from engine.core.errors import Fault
from engine.core.reply import Reply
from engine.core.stream import Event, Grammar, fold
from engine.protocols.shape import Protocol, ReplyContext

Row = dict[str, Any]
Chunkings = Callable[[bytes], list[list[bytes]]]


@pytest.fixture
def model() -> Model:
    can = frozenset({"tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"})
    return Model("able", "frontier", 200_000, 64_000, can, Price(), ())


@pytest.fixture
def context() -> ReplyContext:
    return ReplyContext(model="shown", id="msg_weave_1", created=1_700_000_000)


@pytest.fixture
def recordings() -> Callable[[str], list[Row]]:
    def read(name: str) -> list[Row]:
        folder = os.environ.get("WEAVE_RECORDINGS")
        if not folder:
            pytest.skip("WEAVE_RECORDINGS names no folder of recordings")
        with gzip.open(Path(folder) / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def captures() -> list[Row]:
    """What real agents sent, whichever protocol they speak."""
    folder = os.environ.get("WEAVE_CAPTURES")
    if not folder:
        pytest.skip("WEAVE_CAPTURES names no folder of captured requests")
    rows: list[Row] = []
    for path in sorted(Path(folder).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    return rows


@pytest.fixture
def chunkings() -> Chunkings:
    """A stream whole, byte by byte, and in random bites."""

    def cut(stream: bytes) -> list[list[bytes]]:
        dice = random.Random(len(stream))
        cuts = sorted(dice.choices(range(len(stream) + 1), k=20))
        bites = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        return [[stream], bites, [stream[at : at + 1] for at in range(len(stream))]]

    return cut


@pytest.fixture
def read_stream() -> Callable[[Protocol, list[bytes]], list[Event]]:
    """The events of a stream, with their order checked."""

    def read(protocol: Protocol, chunks: list[bytes]) -> list[Event]:
        reader = protocol.event_reader()
        events = [event for chunk in chunks for event in reader.feed(chunk)]
        events += reader.close()
        assert reader.close() == []
        grammar = Grammar()
        for event in events:
            grammar.check(event)
        assert grammar.ended
        return events

    return read


@pytest.fixture
def reply_of(read_stream: Callable[[Protocol, list[bytes]], list[Event]]) -> Callable[..., Reply | Fault]:
    """What a stream amounts to."""
    return lambda protocol, stream: fold(read_stream(protocol, [stream]))


@pytest.fixture
def write_stream() -> Callable[[Protocol, list[Event], ReplyContext], bytes]:
    def write(protocol: Protocol, events: list[Event], context: ReplyContext) -> bytes:
        writer = protocol.event_writer(context)
        written = [piece for event in events for piece in writer.feed(event)]
        return b"".join([*written, *writer.close()])

    return write
