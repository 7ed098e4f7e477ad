"""One reply on its way to the client, over ASGI: headers once, a body whole or in pieces, one end.

A silent stream is kept open by the protocol's keep-alive bytes, but only between two frames, so that they never
land inside one. One timer per stream does it, not one per piece.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from starlette.types import Send

from engine import wire
from engine.core.errors import Fault
from engine.protocols.shape import Protocol

Headers = list[tuple[bytes, bytes]]

# What a provider asks a client to wait is passed on up to here.
LONGEST_WAIT_SECONDS = 24 * 3600.0

# Clients ask again after these, and one of them (Codex, after a 429) only where it is told when.
RETRIED = (429, 503, 529)
USUAL_WAIT_SECONDS = 5.0

MOST_COPIED = 256 * 1024


def header_value(text: str, most: int = 300) -> bytes:
    """Text made fit for a header: one line of printable ASCII; what is not becomes `?`."""
    line = "".join(char if " " <= char <= "~" else " " if char in "\r\n\t" else "?" for char in text[:most])
    return line.strip().encode("ascii")


class Answer:
    """`started`: headers are out. `ended`: the body is complete. `sent`: body bytes so far."""

    def __init__(self, send: Send, protocol: Protocol) -> None:
        self._send = send
        self._protocol = protocol
        self._between_frames = True
        self._quiet = True
        self._timer: asyncio.TimerHandle | None = None
        self._pending: asyncio.Task[None] | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None
        self.headers: Headers = []
        self.started = False
        self.ended = False
        self.sent = 0
        self.status = 0
        self.copied: bytearray | None = None  # the body's beginning, where somebody wants to keep it

    async def whole(self, status: int, body: bytes, content_type: bytes = b"application/json") -> None:
        await self._start(status, [(b"content-type", content_type), (b"content-length", b"%d" % len(body))])
        await self._body(body, more=False)

    async def fail(self, fault: Fault, verbatim: bytes | None = None) -> None:
        """Tell the client of a fault, in its protocol: as an HTTP error, or inside a stream that has begun."""
        if self.ended:
            return
        if self.started:
            await self.end(fault_frame(self._protocol, fault))
            return
        wait = fault.retry_after_seconds
        if wait is None and fault.http_status in RETRIED:
            wait = USUAL_WAIT_SECONDS
        if wait is not None:
            seconds = math.ceil(min(max(1.0, wait), LONGEST_WAIT_SECONDS))
            self.headers.append((b"retry-after", b"%d" % seconds))
        body = verbatim if verbatim is not None else wire.dumps(self._protocol.write_fault(fault))
        # Providers answer with redirects and with statuses that do not exist; neither is for the client.
        await self.whole(fault.http_status if 400 <= fault.http_status < 600 else 502, body)

    def hold(self, seconds: float, keep_alive_seconds: float) -> None:
        """Headers wait for content, but no longer than this: then the stream starts without."""
        self._holding = asyncio.get_running_loop().call_later(seconds, self._show_life, keep_alive_seconds)

    def _show_life(self, keep_alive_seconds: float) -> None:
        if not self.started:
            self._starting = asyncio.ensure_future(self._start_stream(keep_alive_seconds))

    async def start_stream(self, keep_alive_seconds: float) -> None:
        """Once; where anything was sent already, nothing happens."""
        if self._starting is not None:
            await self._starting
        await self._start_stream(keep_alive_seconds)

    async def _start_stream(self, keep_alive_seconds: float) -> None:
        if self.started:
            return
        await self._start(
            200,
            [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
            ],
        )
        if self._protocol.keep_alive:
            self._wait(keep_alive_seconds)

    async def write(self, piece: bytes) -> None:
        if not piece:
            return
        self._quiet = False
        self._between_frames = piece.endswith((b"\n\n", b"\r\n\r\n"))
        await self._body(piece, more=True)

    async def end(self, piece: bytes = b"") -> None:
        await self._body(piece, more=False)

    def release(self) -> None:
        """Stop the timers; always called, however the request ended."""
        for timer in (self._timer, self._holding):
            if timer is not None:
                timer.cancel()
        if self._pending is not None:
            self._pending.cancel()

    async def _start(self, status: int, headers: Headers) -> None:
        self.started = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self.headers})

    async def _body(self, piece: bytes, more: bool) -> None:
        self.sent += len(piece)
        if self.copied is not None and len(self.copied) < MOST_COPIED:
            self.copied += piece
        if not more:
            self.ended = True
            self.release()
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._tick, seconds)

    def _tick(self, seconds: float) -> None:
        waiting = self._pending is not None and not self._pending.done()  # for a client that does not read
        if self._quiet and self._between_frames and not self.ended and not waiting:
            self._pending = asyncio.ensure_future(self._body(self._protocol.keep_alive, more=True))
        self._quiet = True
        self._wait(seconds)


def fault_frame(protocol: Protocol, fault: Fault) -> bytes:
    """A fault as the last thing in a stream."""
    from engine.core.stream import Broke
    from engine.protocols.shape import ReplyContext

    writer = protocol.event_writer(ReplyContext(model="", id=""))
    return b"".join([*writer.feed(Broke(fault)), *writer.close()])


def json_answer(value: Mapping[str, Any]) -> bytes:
    return wire.dumps(value)
