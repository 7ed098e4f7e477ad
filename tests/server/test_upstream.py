import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from engine.core.errors import UpstreamError
from engine.server.upstream import Call, Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def provider(handler: Handler) -> AsyncIterator[str]:
    """A provider that does with each connection what the handler says; gives its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    opened = Upstream()
    try:
        yield opened
    finally:
        await opened.close()


def call(url: str, body: bytes = b"{}", read_seconds: float = 5.0) -> Call:
    return Call(
        url, {"content-type": "application/json"}, body, connect_seconds=1.0, read_seconds=read_seconds
    )


async def request_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) if b"ontent-" in head else 0
    return head, await reader.readexactly(length)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def fetch(url: str, read_seconds: float = 5.0, body: bytes = b"{}") -> tuple[int, bytes]:
    async with upstream() as opened:
        response = await opened.open(call(url, body, read_seconds))
        try:
            return response.status, await response.read(1_000_000)
        finally:
            await response.close()


def test_a_call_sends_its_body_and_no_header_of_its_own() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await request_of(reader)
        heads.append(head)
        writer.write(answer(body))

    async def run() -> None:
        async with provider(handle) as url:
            assert await fetch(url, body=b'{"model":"a"}') == (200, b'{"model":"a"}')

    asyncio.run(run())
    assert b"user-agent" not in heads[0].lower()
    assert b"accept-encoding" not in heads[0].lower()


def test_a_large_body_arrives_whole() -> None:
    large = b"x" * 3_000_000
    seen: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size = 0
        while size < len(large):
            size += (await reader.read(1 << 20)).count(b"x")
        seen.append(size)
        writer.write(answer(b"{}"))

    async def run() -> None:
        async with provider(handle) as url:
            assert (await fetch(url, body=large))[0] == 200

    asyncio.run(run())
    assert seen == [3_000_000]


def test_a_compressed_answer_is_read_with_one_decompressor() -> None:
    # G11
    text = b'{"text":"' + b"a" * 5000 + b'"}'

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        packed = answer(gzip.compress(text), b"content-encoding: gzip")
        for start in range(0, len(packed), 40):
            writer.write(packed[start : start + 40])
            await writer.drain()

    async def run() -> None:
        async with provider(handle) as url:
            assert await fetch(url) == (200, text)

    asyncio.run(run())


def test_a_provider_that_is_not_there_is_a_connection_fault() -> None:
    with pytest.raises(UpstreamError) as caught:
        asyncio.run(fetch("http://127.0.0.1:1/v1"))
    assert caught.value.fault.kind == "connection"
    assert caught.value.fault.origin == "provider"


def test_a_provider_that_hangs_up_on_a_fresh_connection_is_not_called_twice() -> None:
    calls: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append((await request_of(reader))[0])

    async def run() -> None:
        async with provider(handle) as url:
            await fetch(url)

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    assert caught.value.fault.kind == "connection"
    assert len(calls) == 1


def test_a_connection_that_went_stale_costs_nothing() -> None:
    """The provider closes a kept-alive connection; the next call must not count that as its failure."""
    served: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        served.append(1)
        writer.write(answer(b"{}"))
        await writer.drain()
        await reader.read(1)  # the next call arrives here, and the connection is cut under it

    async def run() -> None:
        async with provider(handle) as url, upstream() as opened:
            for _ in range(3):
                response = await opened.open(call(url))
                assert await response.read(100) == b"{}"
                await response.close()

    asyncio.run(run())
    assert len(served) == 3


def test_a_silent_provider_is_a_timeout() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await asyncio.sleep(1)

    async def run() -> None:
        async with provider(handle) as url:
            await fetch(url, read_seconds=0.1)

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    assert caught.value.fault.kind == "timeout"


def test_an_answer_cut_in_the_middle_is_a_connection_fault() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    async def run() -> None:
        async with provider(handle) as url:
            await fetch(url)

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    assert caught.value.fault.kind == "connection"
    assert "middle" in caught.value.fault.message


def test_an_answer_larger_than_allowed_is_refused() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer(b"x" * 2_000_000))

    async def run() -> None:
        async with provider(handle) as url:
            await fetch(url)

    with pytest.raises(UpstreamError, match="larger than 1000000 bytes"):
        asyncio.run(run())


def test_cookies_of_one_call_do_not_reach_the_next() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append((await request_of(reader))[0])
            writer.write(answer(b"{}", b"set-cookie: session=ann; Path=/"))
            await writer.drain()

    async def run() -> None:
        async with provider(handle) as url, upstream() as opened:
            for _ in range(2):
                response = await opened.open(call(url))
                await response.read(100)
                await response.close()

    asyncio.run(run())
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()
