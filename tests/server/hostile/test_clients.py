"""Clients that misbehave: nothing of it may end in a bug, a stalled event loop, or trouble for others."""

import asyncio
import gc
import gzip
import json
import re
import time
from typing import Any

import pytest

from tests.server.hostile.acting import REPLY, STREAM, Opening, dumped, run, says, sse

OK = says(dumped(REPLY))


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST %b HTTP/1.1" % path.encode(), b"host: localhost", b"connection: close"]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), *headers]) + b"\r\n\r\n" + body


FAULTS = ("status", "html", "drop", "cut", "error", "first_event_error", "malformed", "unended", "empty")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/route", "/v1/outcomes"])
def test_a_compressed_request_is_refused_with_a_sentence(scene: Opening, path: str) -> None:
    async def play() -> None:
        async with scene(OK) as it:
            headers = {"content-encoding": "gzip"}
            reply = await it.client.post(path, content=gzip.compress(b"{}"), headers=headers)
            assert reply.status_code == 400
            assert "content-encoding" in reply.json()["error"]["message"]

    run(play())


def test_a_header_sent_twice_counts_twice(scene: Opening) -> None:
    body = dumped({"model": "claude-x", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]})

    async def play() -> None:
        async with scene(OK) as it:
            twice = (b"x-weave-private: true", b"x-weave-private: false")
            told = json.loads((await it.raw(post("/v1/route", body, *twice))).split(b"\r\n\r\n", 1)[1])
            assert told["hints"] == {"private": True}

    run(play())


@pytest.mark.parametrize(
    "name", ["claude-" + "x" * 400, "claude-\r\nx-evil: 1", "claude-\x1b[31m", "claude-\x00"]
)
def test_a_model_name_that_is_none_is_refused_and_not_repeated_whole(scene: Opening, name: str) -> None:
    async def play() -> None:
        async with scene(OK) as it:
            reply = await it.ask(model=name)
            assert reply.status_code == 400, reply.text
            assert name not in reply.json()["error"]["message"]
            assert len(reply.text) < 400

    run(play())


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/route"])
def test_a_call_that_nests_too_deeply_is_refused(scene: Opening, path: str) -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    turns = b'[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":%b}]}]' % deep
    body = b'{"model":"claude-x","max_tokens":9,"messages":%b}' % turns

    async def play() -> None:
        async with scene(OK) as it:
            reply = await it.client.post(path, content=body, headers={"anthropic-version": "2023-06-01"})
            assert reply.status_code == 400, reply.text
            assert "messages.0.content.0.input nests too deeply" in reply.json()["error"]["message"]

    run(play())


def test_numbers_beyond_64_bits_are_told_too(scene: Opening) -> None:
    async def play() -> None:
        async with scene(OK) as it:
            body = {"model": "claude-x", "max_tokens": 2**70, "messages": [{"role": "user", "content": "hi"}]}
            reply = await it.client.post("/v1/route", json=body)
            assert reply.status_code == 200, reply.text
            served = await it.ask(max_tokens=2**70)
            told = await it.client.get(f"/v1/decisions/{served.headers['x-weave-decision']}")
            assert told.status_code == 200

    run(play())


def test_a_client_that_leaves_while_it_sends_is_nobody_s_error(
    scene: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with scene(OK) as it:
            for path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/route", "/v1/outcomes"):
                host, port = it.client.base_url.host, it.client.base_url.port
                _, writer = await asyncio.open_connection(host, port)
                writer.write(post(path, b"").replace(b"content-length: 0", b"content-length: 50") + b"{")
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.close()
            await asyncio.sleep(0.1)
            assert it.engine.running == 0
            assert (await it.ask()).status_code == 200

    run(play())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_path_with_a_slash_too_many_is_not_redirected_to_whatever_host_was_named(scene: Opening) -> None:
    async def play() -> None:
        async with scene(OK, allowed_hosts=("evil.example",)) as it:
            reply = await it.client.post("/v1/messages/", headers={"host": "evil.example"})
            assert reply.status_code == 404
            assert "evil" not in reply.text

    run(play())


@pytest.mark.parametrize("chat", [False, True])
def test_a_request_of_a_hundred_thousand_messages_does_not_stop_the_others(
    scene: Opening, chat: bool
) -> None:
    """Measured with 300,000: the loop stood still for 2 to 7 seconds."""
    one = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    fields: dict[str, Any] = {"model": "claude-x", "max_tokens": 1, "messages": [one] * 100_000}
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)

    async def play() -> None:
        async with scene(OK) as it:
            body = dumped(fields)
            path = "/v1/chat/completions" if chat else "/v1/messages"
            beating = asyncio.ensure_future(beat())
            reply = await it.client.post(path, content=body, timeout=60)
            beating.cancel()
            assert reply.status_code in (200, 400), reply.text[:300]

    gc.collect()
    gc.freeze()  # as a server does: what other tests left in memory is none of its business
    try:
        run(play(), seconds=60)
    finally:
        gc.unfreeze()
    assert longest < 0.7


def test_a_stream_that_outlasts_the_drain_is_told_so_and_written_down(
    scene: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    async def stalling(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + sse(STREAM[:3]))
        await writer.drain()
        await asyncio.sleep(8)

    body = dumped({"model": "claude-x", "max_tokens": 9, "stream": True, "messages": []})

    async def play() -> None:
        async with scene(stalling, drain_seconds=1) as it:
            host, port = it.client.base_url.host, it.client.base_url.port
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(post("/v1/messages", body))
            await reader.readuntil(b"hello")
        assert b"the engine is shutting down" in await reader.read()
        writer.close()
        (result,) = await it.lines("result")
        assert (result["fault"], result["status"]) == ("overloaded", 200)
        assert it.engine.journal.health()["lost"] == 0

    run(play())
    assert not [record for record in caplog.records if "Exception in ASGI" in record.message]


def test_many_streams_among_all_faults_end_as_their_protocol_says_and_never_hold_another_s_words(
    house: Any,
) -> None:
    async def one(it: Any, number: int) -> None:
        word = f"word{number:03d}x"
        text = (
            f"[[sim: text={word} and some more words, enough of them for any trouble to come before the end]]"
        )
        if number % 2:
            reply = await it.chat(text, stream=True)
        else:
            reply = await it.ask(text, stream=True, headers={"x-weave-session": f"s{number % 20}"})
        if reply.status_code != 200:
            assert reply.json()["error"]["message"]
            return
        told = [line[5:].strip() for line in reply.text.splitlines() if line.startswith("data:")]
        events = [json.loads(data) for data in told if data != "[DONE]"]
        failed = sum("error" in event for event in events)
        if number % 2:
            assert told.count("[DONE]") + failed == 1, reply.text
            deltas = (choice["delta"] for event in events for choice in event.get("choices", ()))
            said = "".join(delta.get("content") or "" for delta in deltas)
        else:
            names = [event["type"] for event in events]
            assert names.count("message_start") == 1 or names == ["error"], reply.text
            assert names.count("message_stop") + failed == 1, reply.text
            assert names[-1] in ("message_stop", "error")
            said = "".join(event["delta"].get("text", "") for event in events if "delta" in event)
        assert failed or word in said
        assert set(re.findall(r"word\d+x", said)) <= {word}

    async def play() -> None:
        async with house() as it:
            for kind in FAULTS:
                it.simulator.fail(kind=kind, rate=0.06, status=529, after=2)
            await asyncio.gather(*(one(it, number) for number in range(200)))
            assert it.engine.running == 0
            assert '"event":"bug"' not in it.log.getvalue()

    run(play())
