"""Streams that do not behave: endless, late, cut, lingering, whole where pieces were asked for."""

import asyncio
import json
import time

import pytest

from tests.server.hostile.acting import REPLY, STREAM, Opening, dumped, run, says, sse


def kinds(text: str) -> list[str]:
    return [json.loads(line[5:])["type"] for line in text.splitlines() if line.startswith("data:")]


@pytest.mark.parametrize("kind", [b"application/json", b"application/json; charset=utf-8"])
def test_a_whole_answer_to_a_stream_request_reaches_the_client_as_a_stream(
    scene: Opening, kind: bytes
) -> None:
    # opencode asks again without end where it gets a JSON body for a stream; Claude Code asks twice
    async def play() -> None:
        async with scene(says(dumped(REPLY), kind=kind)) as it:
            told = kinds((await it.ask(stream=True)).text)
            assert told[0] == "message_start"
            assert told[-1] == "message_stop"
            assert "hello" in (await it.ask(stream=True, chat=True)).text

    run(play())


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_any_line_ending_is_forwarded_as_it_came(scene: Opening, newline: bytes) -> None:
    async def play() -> None:
        body = sse(STREAM, newline)
        async with scene(says(body, kind=b"text/event-stream")) as it:
            assert (await it.ask(stream=True)).content == body

    run(play())


def test_an_event_without_end_is_given_up(scene: Opening) -> None:
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "h" * 10_500_000},
    }

    async def play() -> None:
        body = sse([*STREAM[:2], delta])
        async with scene(says(body, kind=b"text/event-stream")) as it:
            reply = await it.ask(stream=True)
            assert reply.status_code == 502
            assert "10,000,000 bytes" in reply.text

    run(play())


def test_comments_without_end_before_the_first_content_do_not_fill_the_memory(scene: Opening) -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b": " + b"x" * 1_000_000 + b"\n\n")
            await writer.drain()
            sent += 1

    async def play() -> None:
        async with scene(endless) as it:
            reply = await it.ask(stream=True)
            assert reply.status_code == 502
            assert sent < 80

    run(play())


def test_an_answer_that_is_complete_does_not_wait_for_the_provider_to_hang_up(scene: Opening) -> None:
    async def lingering(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + sse(STREAM))
        await writer.drain()
        await asyncio.sleep(8)

    async def play() -> None:
        async with scene(lingering) as it:
            for chat in (False, True):
                began = time.monotonic()
                reply = await it.ask(stream=True, chat=chat)
                assert "hello" in reply.text
                assert time.monotonic() - began < 0.9
            await asyncio.sleep(1.2)
            results = await it.lines("result")
            assert [result["stop"] for result in results] == ["end_turn", "end_turn"]

    run(play())


def test_a_provider_slow_with_its_headers_is_silent_too(scene: Opening) -> None:
    async def silent(_: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(8)

    async def play() -> None:
        async with scene(silent, first_content_seconds=0.3) as it:
            began = time.monotonic()
            reply = await it.ask(stream=True)
            assert reply.status_code == 504
            assert "no content for 0.3 seconds" in reply.text
            assert time.monotonic() - began < 3

    run(play())


def test_headers_go_out_in_time_though_the_provider_sent_none(scene: Opening) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.0)
        await says(sse(STREAM), kind=b"text/event-stream")(reader, writer)

    async def play() -> None:
        async with scene(slow, hold_seconds=0.1, keep_alive_seconds=0.1) as it:
            told = kinds((await it.ask(stream=True)).text)
            assert told[0] == "ping"
            assert told.count("message_start") == 1
            assert told[-1] == "message_stop"

    run(play())


def test_an_error_body_that_never_ends_is_not_waited_for(
    scene: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.upstream.ERROR_BODY_SECONDS", 0.3)

    async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\n\r\n")
        for _byte in range(80):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def play() -> None:
        async with scene(dripping) as it:
            began = time.monotonic()
            assert (await it.ask()).status_code == 500
            assert time.monotonic() - began < 3

    run(play())
