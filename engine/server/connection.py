"""One client's connection: uvicorn's, with bounds on what a client may send before it has said what it wants, and on
how slowly it may send and read.

    head     its bytes and its seconds are bounded; what comes in time but is too much is refused by the door
    body     its pace is the business of `receiving.read_body`; here, what frames it may not outweigh it
    answer   a client that stops reading is dropped, and what it asked for is given up with it
    between  an idle connection is closed after a while; one that sends what begins no request, sooner

Traps. What follows a chunked body (trailers) is told by the parser as if it were headers: it is not, and goes nowhere.
The parser skips the body of a request that offers another protocol (`Upgrade: h2c`, as Java's client does), though
RFC 9110 section 7.8 lets a server ignore the offer: the body is read by a second parser. A request that is answered
before its body was read keeps its connection for a moment, since closing at once would destroy the answer on its way.
A client that closes only its sending half looks like one that is gone, and is taken for it: to give up costly calls
for those who left is worth more than to serve those who say so early that they have no more to ask.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

# What frames a body (sizes of chunks, their extensions, trailers) may be this much, and this many times the body.
MOST_FRAMING_BYTES = 64 * 1024
FRAMING_SHARE = 8

# How long what is left of a body that nobody reads is taken in, so that the answer arrives.
LINGER_SECONDS = 2.0

# How long one that was refused may take to read why.
FAREWELL_SECONDS = 1.0

# Connections beyond the bound are told so, up to this share of it; the rest is not let in at all.
TOLD_SHARE = 0.25

REFUSED = b'{"error":{"type":"invalid_request_error","message":"%b"}}'

CROWDED = "crowded"  # the key in a request's state that says so to the door


@dataclass(frozen=True, slots=True)
class Bounds:
    """`unread_seconds` is how long a client may leave unread what it was sent."""

    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    unread_seconds: float = 60.0
    connections: int = 4096


class Connection(HttpToolsProtocol):
    """Make a class of your own bounds with `bounded`."""

    bounds: ClassVar[Bounds] = Bounds()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_body = False
        self._heads = 0  # that began so far
        self._head_bytes = 0  # of the one under way, as far as it came in pieces of its own
        self._framing = 0
        self._refused = False
        self._offered = False  # another protocol, and a body with it: a second parser reads it
        self._served: RequestResponseCycle | None = None  # which of several requests in a row is under way
        self._patience: asyncio.TimerHandle | None = None  # for what the client has to send
        self._reading: asyncio.TimerHandle | None = None  # for what it has to read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        crowd = len(self.connections) - self.bounds.connections
        if crowd > max(8, TOLD_SHARE * self.bounds.connections):
            transport.abort()
        elif crowd > 0:
            self.app_state = {**self.app_state, CROWDED: True}
        self._wait(self.bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        heads, ends_body = self._heads, self._in_body
        if self._in_body:
            self._framing += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "this is not HTTP as it has to be")
        if self.transport.is_closing() or self._refused:
            return
        if self._in_head and self._heads == heads:  # nothing but this head is in the piece
            self._head_bytes += len(data)
        if self._head_bytes > self.bounds.head_bytes:
            self._refuse(431, "the head of this request is too large")
        elif self._framing > MOST_FRAMING_BYTES:
            self._refuse(400, "the body of this request is mostly framing")
        elif not self._in_body and not self._busy and (self._in_head or not ends_body):
            self._wait(self.bounds.head_seconds)  # the end of a body that nobody read begins no request

    def eof_received(self) -> None:
        """The client has left, or says no more; see above."""

    def on_message_begin(self) -> None:
        if self._offered:  # the second parser's own head
            return
        super().on_message_begin()
        self._heads += 1
        self._in_head, self._head_bytes, self._framing = True, 0, 0

    def on_url(self, url: bytes) -> None:
        if not self._offered:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._offered:
            return
        self._in_head, self._in_body = False, True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing -= (1 + FRAMING_SHARE) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._offered and self.parser.should_upgrade() and self._body_headers():
            return
        self._in_body = self._offered = False
        super().on_message_complete()
        if self.cycle.response_complete:  # the rest of a body that nobody read has come
            self._stop_waiting()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body:
            self._unset_keepalive_if_required()
            self._wait(LINGER_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(self.bounds.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        if self._reading is None and self.transport.get_write_buffer_size():
            self._reading = self.loop.call_later(self.bounds.unread_seconds, self.transport.abort)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """An offer that is not taken is nothing to warn of; the request behind it is served as it is."""

    @property
    def _busy(self) -> bool:
        """Whether an answer is still to come, or under way."""
        return self._served is not None and not self._served.response_complete

    def _wait(self, seconds: float) -> None:
        """Close in so many seconds, unless what is awaited comes before. What is awaited already has its time."""
        if self._patience is None:
            self._patience = self.loop.call_later(seconds, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._refused:
            self.transport.abort()
        elif self._in_head:
            self._refuse(408, "the head of this request took too long")
        elif self._in_body:
            self.transport.abort()
        else:
            self.transport.close()

    def _decline(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, with the body of the request that offered something else."""
        self.parser = httptools.HttpRequestParser(self)
        framing = self._body_headers()
        if framing:
            self._offered = True
            lines = (name + b": " + value + b"\r\n" for name, value in framing)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n")
        if rest:
            self.data_received(rest)

    def _body_headers(self) -> list[tuple[bytes, bytes]]:
        """What frames the body of the request under way; empty where it has none."""
        framing = (b"content-length", b"transfer-encoding")
        return [(name, value) for name, value in self.headers if name in framing and value != b"0"]

    def _refuse(self, status: int, why: str) -> None:
        """Say why in plain HTTP, and hang up. In the middle of an answer nothing can be said."""
        self._refused = True
        if self._busy and self._served is not None and self._served.response_started:
            self.transport.abort()
            return
        for cycle in (self._served, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        body = REFUSED % why.encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.write_eof()  # closed at once, what was sent but not read would destroy the answer
        self._stop_waiting()
        self._wait(FAREWELL_SECONDS)


def bounded(bounds: Bounds) -> type[Connection]:
    """Connections within these bounds, as uvicorn wants them: a class."""
    return type("Connection", (Connection,), {"bounds": bounds})
