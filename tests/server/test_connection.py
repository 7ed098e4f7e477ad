"""Connections on loopback sockets, in front of an application that repeats what it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from engine.server.connection import CROWDED, FAREWELL_SECONDS, MOST_FRAMING_BYTES, Bounds, bounded

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Repeats; a query of `deaf` answers without reading the body, one of `flood` answers without end."""
    body = b""
    if scope["query_string"] != b"deaf":
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
    told = {
        "headers": [name.decode() for name, _ in scope["headers"]],
        "body": body.decode(),
        "crowded": scope["state"].get(CROWDED, False),
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["query_string"] == b"flood":
        for _ in range(100_000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


@dataclass(slots=True)
class Line:
    state: ServerState
    port: int

    async def say(self, *pieces: bytes, wait: float = 5.0, pause: float = 0.02) -> bytes:
        """Everything that comes back until the other side hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def line(idle_seconds: int = 5, **bounds: Any) -> AsyncIterator[Line]:
    config = uvicorn.Config(
        echo,
        http=bounded(Bounds(**bounds)),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=idle_seconds,
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()

    def connection() -> Any:
        protocol: Any = config.http_protocol_class
        return protocol(config=config, server_state=state, app_state={})

    server = await loop.create_server(connection, "127.0.0.1", 0)
    try:
        yield Line(state, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for one in list(state.connections):
            one.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=2)


def run(play: Callable[[], Awaitable[None]]) -> None:
    async def bounded_in_time() -> None:
        async with asyncio.timeout(20):
            await play()

    asyncio.run(bounded_in_time())


def told(reply: bytes) -> dict[str, Any]:
    """The body of the last answer, which is in one chunk."""
    found: dict[str, Any] = json.loads(reply.rsplit(b"\r\n\r\n", 2)[-2].split(b"\r\n")[1])
    return found


CLOSE = b"connection: close\r\n"


def test_an_endless_head_is_cut_off() -> None:
    async def play() -> None:
        async with line(head_bytes=10_000) as it:
            reply = await it.say(HEAD, *[b"x-a: " + b"a" * 3000 + b"\r\n"] * 5)
            assert reply.startswith(b"HTTP/1.1 431")
            one_header = await it.say(HEAD + b"x-a: ", *[b"a" * 3000] * 5)
            assert one_header.startswith(b"HTTP/1.1 431")
            address = await it.say(b"GET /", *[b"a" * 3000] * 5)
            assert address.startswith(b"HTTP/1.1 431")

    run(play)


def test_a_head_that_takes_too_long_is_not_waited_for() -> None:
    async def play() -> None:
        async with line(head_seconds=0.3) as it:
            reply = await it.say(*[HEAD, *[b"x-a: a\r\n"] * 40], pause=0.02)
            assert reply.startswith(b"HTTP/1.1 408")
            assert b'"message":"the head of this request took too long"' in reply

    run(play)


@pytest.mark.parametrize("first", [b"", b"\r\n\r\n"])
def test_a_connection_that_asks_nothing_is_closed(first: bytes) -> None:
    async def play() -> None:
        async with line(head_seconds=0.2) as it:
            assert await it.say(first, wait=2) == b""

    run(play)


def test_line_breaks_between_requests_do_not_keep_a_connection() -> None:
    async def play() -> None:
        async with line(head_seconds=0.2, idle_seconds=60) as it:
            reply = await it.say(HEAD + b"content-length: 2\r\n\r\nhi", b"\r\n", wait=2)
            assert told(reply)["body"] == "hi"

    run(play)


def test_an_idle_connection_is_closed_after_a_while() -> None:
    async def play() -> None:
        async with line(head_seconds=30, idle_seconds=1) as it:
            reply = await it.say(HEAD + b"content-length: 2\r\n\r\nhi", wait=3)
            assert reply.count(b"HTTP/1.1 200") == 1

    run(play)


def test_a_patient_client_of_several_requests_is_served() -> None:
    async def play() -> None:
        async with line(head_seconds=0.2) as it:
            one = HEAD + b"content-length: 2\r\n\r\nhi"
            reply = await it.say(one, one, HEAD + CLOSE + b"content-length: 2\r\n\r\nho", pause=0.3)
            assert reply.count(b"HTTP/1.1 200") == 3

    run(play)


def test_thousands_of_requests_in_a_row_are_no_large_head() -> None:
    async def play() -> None:
        async with line() as it:
            one = HEAD + b"content-length: 2\r\n\r\nhi"
            reply = await it.say(one * 6000 + HEAD + CLOSE + b"content-length: 0\r\n\r\n", wait=15)
            assert reply.count(b"HTTP/1.1 200") == 6001

    run(play)


def test_what_follows_a_body_is_no_header() -> None:
    """Whole in one piece it would be among the headers before the application looks at them."""

    async def play() -> None:
        async with line() as it:
            request = (
                HEAD
                + CLOSE
                + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-weave-model: opus\r\n\r\n"
            )
            for pieces in ([request], [request[:-20], request[-20:]]):
                reply = told(await it.say(*pieces))
                assert reply["body"] == "hi"
                assert "x-weave-model" not in reply["headers"]

    run(play)


@pytest.mark.parametrize(
    "framing",
    [
        b"2;" + b"a" * 4000 + b"\r\nhi\r\n",
        b"0\r\nx-trailer: " + b"a" * 4000,
        b"2\r\nhi\r\n0\r\n" + b"a: b\r\n" * 700,
    ],
)
def test_a_body_that_is_mostly_framing_is_cut_off(framing: bytes) -> None:
    async def play() -> None:
        async with line() as it:
            pieces = [
                framing,
                *[framing[3:] if framing[0:1] == b"0" else framing] * (MOST_FRAMING_BYTES // 3000),
            ]
            reply = await it.say(HEAD + b"transfer-encoding: chunked\r\n\r\n", *pieces, pause=0)
            assert reply.startswith(b"HTTP/1.1 400"), reply

    run(play)


def test_small_chunks_are_no_abuse() -> None:
    async def play() -> None:
        async with line() as it:
            reply = await it.say(
                HEAD + CLOSE + b"transfer-encoding: chunked\r\n\r\n",
                *[b"1\r\na\r\n" * 5000] * 8,
                b"0\r\n\r\n",
                pause=0,
            )
            assert told(reply)["body"] == "a" * 40_000

    run(play)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_body_of_a_request_that_offers_another_protocol_is_read(chunked: bool, split: bool) -> None:
    async def play() -> None:
        async with line() as it:
            offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
            framed = (
                (b"transfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n")
                if chunked
                else (b"content-length: 5\r\n\r\n", b"hello")
            )
            offering = (HEAD + offer + framed[0], framed[1])
            after = HEAD + CLOSE + b"content-length: 2\r\n\r\nho"
            reply = await it.say(*(offering if split else [b"".join(offering)]), after)
            assert reply.count(b"HTTP/1.1 200") == 2
            assert b'"body": "hello"' in reply
            assert told(reply)["body"] == "ho"

    run(play)


def test_an_offer_of_another_protocol_without_a_body_is_an_ordinary_request() -> None:
    async def play() -> None:
        async with line() as it:
            offer = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            reply = await it.say(offer, HEAD + CLOSE + b"content-length: 2\r\n\r\nho")
            assert reply.count(b"HTTP/1.1 200") == 2

    run(play)


def test_an_answer_arrives_though_the_body_was_not_read() -> None:
    async def play() -> None:
        async with line() as it:
            head = b"POST /?deaf HTTP/1.1\r\nhost: x\r\n"
            whole = await it.say(
                head + b"content-length: 1000000\r\n\r\n", b"x" * 1_000_000, HEAD + CLOSE + b"\r\n"
            )
            assert whole.count(b"HTTP/1.1 200") == 2

    run(play)


def test_an_answer_that_came_before_the_body_leaves_the_connection_for_the_next_request() -> None:
    async def play() -> None:
        async with line(head_seconds=0.2) as it:
            head = b"POST /?deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"
            whole = await it.say(head + b"bo", b"dy", HEAD + CLOSE + b"\r\n", pause=0.5)
            assert whole.count(b"HTTP/1.1 200") == 2

    run(play)


def test_the_rest_of_a_body_that_nobody_reads_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.connection.LINGER_SECONDS", 0.3)

    async def play() -> None:
        async with line() as it:
            with pytest.raises(ConnectionError):
                await it.say(
                    b"POST /?deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n", *[b"x"] * 60
                )

    run(play)


def test_a_client_that_stops_reading_is_dropped() -> None:
    async def play() -> None:
        async with line(unread_seconds=0.3) as it:
            _, writer = await asyncio.open_connection("127.0.0.1", it.port, limit=1024)
            writer.write(b"GET /?flood HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(0.1)
            assert len(it.state.tasks) == 1
            async with asyncio.timeout(5):
                while it.state.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert not it.state.connections
            writer.close()

    run(play)


def test_who_comes_when_it_is_crowded_is_told_so_and_when_it_is_packed_is_not_let_in() -> None:
    async def play() -> None:
        async with line(connections=2) as it:
            held = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(2)]
            await asyncio.sleep(0.05)
            crowded = await it.say(HEAD + CLOSE + b"content-length: 0\r\n\r\n")
            assert told(crowded)["crowded"]
            held += [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(8)]
            await asyncio.sleep(0.05)
            with suppress(ConnectionError):
                assert await it.say(HEAD + CLOSE + b"content-length: 0\r\n\r\n") == b""
            for _, writer in held:
                writer.close()
            await asyncio.sleep(0.05)
            assert not told(await it.say(HEAD + CLOSE + b"content-length: 0\r\n\r\n"))["crowded"]

    run(play)


def test_requests_in_a_row_end_with_the_connection() -> None:
    async def play() -> None:
        async with line() as it:
            _, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(HEAD + b"content-length: 2\r\n\r\n")
            await asyncio.sleep(0.05)
            writer.write(b"h")
            await asyncio.sleep(0.05)
            assert len(it.state.tasks) == 1
            writer.close()
            await asyncio.sleep(0.1)
            assert not it.state.tasks

    run(play)


# Each is ambiguous: read one way by a proxy and another way by the engine, it would hide a request in another's body.
SMUGGLED = {
    "both lengths": b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, other order": b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    "a list of lengths": b"content-length: 2, 3\r\n\r\nabc",
    "a signed length": b"content-length: +2\r\n\r\nab",
    "a length in hex": b"content-length: 0x2\r\n\r\nab",
    "a negative length": b"content-length: -1\r\n\r\n",
    "a huge length": b"content-length: 99999999999999999999999\r\n\r\n",
    "a folded header": b"x-a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "bare line feeds": b"x-a: b\ncontent-length: 0\n\n",
    "a bare carriage return": b"x-a: b\rcontent-length: 0\r\n\r\n",
    "a space before the colon": b"content-length : 2\r\n\r\nab",
    "a chunk of no length": b"transfer-encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n",
    "a chunk of negative length": b"transfer-encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
    "a chunk in hex with a prefix": b"transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "a chunk that overflows": b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n",
    "a chunk longer than it says": b"transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "a chunk ended by a line feed": b"transfer-encoding: chunked\r\n\r\n1\na\n0\n\n",
    "chunked is not last": b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked is misspelt": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a zero byte in a header": b"x-a: b\x00c\r\ncontent-length: 0\r\n\r\n",
    "a header without a name": b": b\r\ncontent-length: 0\r\n\r\n",
    "a name with a space": b"x a: b\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_a_request_that_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    rest: bytes,
) -> None:
    async def play() -> None:
        async with line(head_seconds=1) as it:
            reply = await it.say(HEAD + rest + HEAD + CLOSE + b"content-length: 0\r\n\r\n", wait=3)
            assert reply.startswith(b"HTTP/1.1 400"), reply
            assert reply.count(b"HTTP/1.1 ") == 1, reply

    run(play)


def test_one_that_was_refused_has_a_moment_to_read_why() -> None:
    async def play() -> None:
        async with line() as it:
            began = asyncio.get_running_loop().time()
            reply = await it.say(b"nonsense\r\n\r\n", b"x" * 100_000, b"x" * 100_000)
            assert reply.startswith(b"HTTP/1.1 400")
            assert b"connection: close" in reply
            async with asyncio.timeout(FAREWELL_SECONDS * 2):
                while it.state.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert asyncio.get_running_loop().time() - began < 3

    run(play)
