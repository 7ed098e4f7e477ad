import asyncio
import gzip
from collections.abc import MutableMapping
from typing import Any

import pytest

from engine.simulator.channel import Channel, HungUp, Received


class Wiretap:
    """Takes what a channel sends."""

    def __init__(self, bites: bool = False) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.hung_up = False
        self.record = Received(1, 0.0, "POST", "/", {})
        self.channel = Channel(self.send, self.record, self.hang_up, bites, seed=0)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    def hang_up(self) -> None:
        self.hung_up = True

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def test_what_is_written_is_sent_and_counted() -> None:
    tap = Wiretap()

    async def write() -> None:
        await tap.channel.start(200, {"a": "b"})
        await tap.channel.write(b"one")
        await tap.channel.end()

    asyncio.run(write())
    assert tap.sent[0] == {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
    assert tap.body == b"one"
    assert (tap.record.status, tap.record.sent, tap.record.done) == (200, 3, True)
    assert tap.sent[-1]["more_body"] is False


def test_bites_change_the_pieces_and_not_the_bytes() -> None:
    tap = Wiretap(bites=True)
    frames = [f"data: event number {number}\n\n".encode() for number in range(50)]

    async def write() -> None:
        await tap.channel.start(200, {})
        for frame in frames:
            await tap.channel.write(frame)
        await tap.channel.end()

    asyncio.run(write())
    assert tap.body == b"".join(frames)
    bodies = [message["body"] for message in tap.sent[1:-1]]
    assert min(map(len, bodies)) < 5
    assert not set(bodies) <= set(frames)


def test_a_packed_stream_can_be_read_as_far_as_it_came() -> None:
    tap = Wiretap()

    async def write() -> None:
        await tap.channel.start(200, {}, gzip=True)
        await tap.channel.write(b"one ")
        await tap.channel.write(b"two")
        await tap.channel.end()

    asyncio.run(write())
    assert gzip.decompress(tap.body) == b"one two"
    assert (b"content-encoding", b"gzip") in tap.sent[0]["headers"]


def test_hanging_up_breaks_the_connection_and_ends_the_answer() -> None:
    tap = Wiretap()
    with pytest.raises(HungUp):
        asyncio.run(tap.channel.hang_up())
    assert tap.hung_up
