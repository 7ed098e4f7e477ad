"""Bodies that are larger than they look, come slower than they should, or say they are something else."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from tests.server.security.acting import VENDORS, Opening, run

PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1beta/models/at-google:generateContent")
OTHERS = ("/v1/messages/count_tokens", "/v1/route", "/v1/outcomes")
MOST = 100_000


def head(path: str, *headers: bytes) -> bytes:
    return b"\r\n".join([b"POST %b HTTP/1.1" % path.encode(), b"host: localhost", *headers]) + b"\r\n\r\n"


@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_a_body_that_grows_too_large_in_chunks_is_refused(
    site: Opening, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("engine.server.connection.LINGER_SECONDS", 0.1)

    async def play() -> None:
        async with site(max_body_bytes=MOST) as it:
            chunk = b"%x\r\n" % 60_000 + b" " * 60_000 + b"\r\n"
            reply = await it.raw(head(path, b"transfer-encoding: chunked"), chunk, chunk)
            assert reply.startswith(b"HTTP/1.1 413"), reply
            assert b"WEAVE_MAX_BODY_BYTES" in reply

    run(play())


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(site: Opening, path: str) -> None:
    async def play() -> None:
        async with site(max_body_bytes=MOST) as it:
            announced = head(
                path, b"content-length: 100000000", b"expect: 100-continue", b"connection: close"
            )
            reply = await it.raw(announced)
            assert reply.startswith(b"HTTP/1.1 413"), reply

    run(play())


@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_a_body_that_comes_too_slowly_is_not_waited_for(site: Opening, path: str) -> None:
    async def play() -> None:
        async with site(body_seconds=0.3) as it:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(head(path, b"content-length: 100000"))
            told = asyncio.ensure_future(reader.readuntil(b"}"))
            for _ in range(40):
                writer.write(b" ")
                await asyncio.sleep(0.02)
            reply = await told
            writer.close()
            assert reply.startswith(b"HTTP/1.1 408"), reply
            assert b"WEAVE_BODY_TIMEOUT" in reply
            assert it.engine.running == 0

    run(play())


def test_a_large_body_on_a_slow_line_is_waited_for(site: Opening) -> None:
    async def play() -> None:
        async with site(body_seconds=0.3) as it:
            body = json.dumps({"model": "at-openai", "messages": [{"role": "user", "content": "x" * 20_000}]})
            pieces = [body[at : at + 1000].encode() for at in range(0, len(body), 1000)]
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(head("/v1/route", b"content-length: %d" % len(body), b"connection: close"))
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.05)
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()

    run(play())


BOMB = gzip.compress(b" " * 50_000_000)


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "x-gzip"]
)
@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_a_packed_body_is_not_unpacked(site: Opening, path: str, encoding: str) -> None:
    async def play() -> None:
        async with site() as it:
            reply = await it.client.post(path, content=BOMB, headers={"content-encoding": encoding})
            assert reply.status_code == 400, reply.text
            assert "content-encoding" in reply.text

    run(play())


def _packed(encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return BOMB
        case "deflate":
            return zlib.compress(b" " * 50_000_000)
        case _:
            return gzip.compress(BOMB)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "gzip, deflate", "br"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_s_packed_answer_fills_no_memory(
    site: Opening, monkeypatch: pytest.MonkeyPatch, encoding: str, stream: bool
) -> None:
    monkeypatch.setattr("engine.server.attempt.MOST_REPLY_BYTES", 4_000_000)
    body = _packed(encoding)
    lines = ["HTTP/1.1 200 OK", f"content-encoding: {encoding}", f"content-length: {len(body)}"]
    kind = "text/event-stream" if stream else "application/json"
    answer = "\r\n".join([*lines, f"content-type: {kind}", "connection: close", "", ""]).encode() + body

    async def play() -> None:
        async with site() as it:
            it.wires.answer = lambda _: answer
            tracemalloc.start()
            try:
                for speaks in VENDORS[:2]:
                    reply = await it.ask(speaks, f"at-{speaks}", stream=stream)
                    assert reply.status_code >= 500, reply.text
                assert tracemalloc.get_traced_memory()[1] < 30_000_000
            finally:
                tracemalloc.stop()

    run(play())


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_provider_that_packs_its_answer_is_understood(site: Opening, encoding: str) -> None:
    async def play() -> None:
        async with site() as it:
            said: dict[str, Any] = {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
                ],
            }
            raw = json.dumps(said).encode()
            squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            for body in (
                [gzip.compress(raw)]
                if encoding == "gzip"
                else [zlib.compress(raw), squeezer.compress(raw) + squeezer.flush()]
            ):
                top = f"HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n"
                whole = f"{top}content-type: application/json\r\nconnection: close\r\n\r\n".encode() + body
                it.wires.answer = lambda _, whole=whole: whole
                reply = await it.ask("openai", "at-openai")
                assert reply.json()["choices"][0]["message"]["content"] == "hi"

    run(play())


def test_a_client_that_stops_reading_its_stream_is_dropped_and_its_call_given_up(site: Opening) -> None:
    async def play() -> None:
        async with site(unread_seconds=0.4) as it:
            body = json.dumps(
                {
                    "model": "at-openai",
                    "stream": True,
                    "messages": [{"role": "user", "content": "[[sim: words=400000]]"}],
                }
            ).encode()
            _, writer = await asyncio.open_connection("127.0.0.1", it.port, limit=1024)
            writer.write(head("/v1/chat/completions", b"content-length: %d" % len(body)) + body)
            async with asyncio.timeout(20):
                while not it.wires.sent:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                while it.engine.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            writer.close()
            await asyncio.sleep(0.15)
            results = [
                json.loads(line) for line in it.log.getvalue().splitlines() if '"event":"result"' in line
            ]
            assert [one["client_gone"] for one in results] == [True]

    run(play())


def test_a_crowd_is_told_to_come_again_in_the_words_of_its_protocol(site: Opening) -> None:
    async def play() -> None:
        async with site(max_connections=2) as it:
            held = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(2)]
            await asyncio.sleep(0.05)
            reply = await it.ask("anthropic", "at-anthropic")
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
            assert reply.json()["error"]["type"] == "overloaded_error"
            for _, writer in held:
                writer.close()

    run(play())
