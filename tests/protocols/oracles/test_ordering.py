"""Every stream is told in the order its protocol promises, and the same in any chunking; to its own protocol as it
came."""

import random
from typing import Any

import pytest

from engine.core.errors import Fault
from engine.core.stream import fold
from engine.protocols import PROTOCOLS
from engine.protocols.pipe import pipe
from engine.protocols.shape import Protocol

DIRECTIONS = [(home, away) for home in PROTOCOLS.values() for away in PROTOCOLS.values()]
by_direction = pytest.mark.parametrize(
    ("home", "away"), DIRECTIONS, ids=[f"{home.name}>{away.name}" for home, away in DIRECTIONS]
)
LONG = 12_000  # bytes; longer streams are not told byte by byte


def bites(stream: bytes) -> list[bytes]:
    dice = random.Random(len(stream))
    cuts = sorted(dice.choices(range(len(stream) + 1), k=25))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@by_direction
def test_a_stream_is_told_in_order_and_the_same_in_any_chunking(
    home: Protocol, away: Protocol, recorded: list[Any], order: Any
) -> None:
    checked = 0
    for row in recorded:
        if row.home is not home or not row.stream:
            continue
        stream, context = row.stream, row.context
        chunkings = [[stream], bites(stream)]
        if len(stream) < LONG:
            chunkings.append([stream[at : at + 1] for at in range(len(stream))])
        told = [translated(home, away, chunks, context) for chunks in chunkings]
        failed = isinstance(fold(row.events), Fault)
        if home is away:  # what is handed on before a break depends on when it came
            assert set(told) == {stream} or failed, row
        else:
            assert set(told) == {told[0]}, row
            assert order(away, told[0]) == ("error" if failed else "done"), row
        checked += 1
    assert checked > 15


def translated(home: Protocol, away: Protocol, chunks: list[bytes], context: Any) -> bytes:
    stream = pipe(away, home, context, withhold_usage=False)
    return b"".join([*map(stream.feed, chunks), stream.close()])
