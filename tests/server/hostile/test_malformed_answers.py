"""Answers that are none, from providers of every protocol to clients of every protocol, over the wire: each ends in an
error of the client's protocol, or is read where that is right, and the operator can count and find it."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from engine.core.conversation import Text
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import unfold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext
from tests.server.hostile.acting import Opening, run

by_provider = pytest.mark.parametrize("provider", PROTOCOLS)

# One endpoint for each protocol, all at one address; none is left alone for failing.
EVERYONE = """
apiVersion: weave/v1
kind: Catalog
metadata: {{name: everyone}}
endpoints:
""" + "".join(
    f'  {name}: {{{{protocol: {name}, base_url: "{{url}}", api_key_env: KEY}}}}\n' for name in PROTOCOLS
)
EVERYONE += "models:\n" + "".join(
    f"  m-{name}: {{{{tier: frontier, context: 200000, output: 64000, usd: {{{{in: 5, out: 25}}}}, can: [tools], "
    f"served_by: [{{{{endpoint: {name}, id: model}}}}]}}}}\n"
    for name in PROTOCOLS
)

GOOD = Reply("r1", "m", (Text("hello"),), Stop("end_turn"), Usage(3, 2))
CONTEXT = ReplyContext(model="m", id="r1")


def streamed(protocol: Protocol) -> bytes:
    writer = protocol.event_writer(CONTEXT)
    return b"".join([piece for event in unfold(GOOD) for piece in writer.feed(event)] + writer.close())


def whole(protocol: Protocol) -> bytes:
    return json.dumps(protocol.write_reply(GOOD, CONTEXT).body).encode()


SSE, JSON, PAGE = b"text/event-stream", b"application/json", b"text/html"
Answer = tuple[bytes, bytes, bytes]  # body, content-type, further headers
Make = Callable[[Protocol], Answer]

# What a provider answers where a stream was asked for, and whether its client is served all the same.
STREAMS: dict[str, tuple[Make, bool]] = {
    "as plain text": (lambda p: (streamed(p), b"text/plain", b""), True),
    "without a content type": (lambda p: (streamed(p), b"", b""), True),
    "gzip": (lambda p: (gzip.compress(streamed(p)), SSE, b"content-encoding: gzip\r\n"), True),
    "deflate": (lambda p: (zlib.compress(streamed(p)), SSE, b"content-encoding: deflate\r\n"), True),
    "one packed in another": (
        lambda p: (gzip.compress(zlib.compress(streamed(p))), SSE, b"content-encoding: deflate, gzip\r\n"),
        False,
    ),
    "whole": (lambda p: (whole(p), JSON, b""), True),
    "whole as a stream": (lambda p: (whole(p), SSE, b""), True),
    "with a byte order mark": (lambda p: (b"\xef\xbb\xbf" + streamed(p), SSE, b""), True),
    "an encoding nobody asked for": (
        lambda p: (b"\x8b\x03\x80" * 30, SSE, b"content-encoding: br\r\n"),
        False,
    ),
    "cut": (lambda p: (streamed(p)[:60], SSE, b""), False),
    "a page": (lambda p: (b"<!doctype html>\n\n<html>\n\n<p>502</p></html>", PAGE, b""), False),
    "a list": (lambda p: (b"[" + whole(p) + b"]", JSON, b""), False),
    "half a body": (lambda p: (whole(p)[:40], JSON, b""), False),
    "nothing": (lambda p: (b"", SSE, b""), False),
    "no frames": (lambda p: (b"oops\n\nno\n\n", SSE, b""), False),
    "no JSON": (lambda p: (b"data: {oops\n\n", SSE, b""), False),
}
WHOLE: dict[str, tuple[Make, bool]] = {
    "as plain text": (lambda p: (whole(p), b"text/plain", b""), True),
    "gzip": (lambda p: (gzip.compress(whole(p)), JSON, b"content-encoding: gzip\r\n"), True),
    "a stream": (lambda p: (streamed(p), SSE, b""), False),
    "a page": (lambda p: (b"<html><title>Oops</title></html>", PAGE, b""), False),
    "half a body": (lambda p: (whole(p)[:40], JSON, b""), False),
    "nothing": (lambda p: (b"", JSON, b""), False),
    "an empty object": (lambda p: (b"{}", JSON, b""), False),
    "a list": (lambda p: (b"[]", JSON, b""), False),
    "invalid UTF-8": (lambda p: (whole(p).replace(b"hello", b"\xff"), JSON, b""), False),
    "a zero byte": (lambda p: (whole(p).replace(b"hello", b"\x00"), JSON, b""), False),
}
# A provider that hangs up, however neatly, is no malformed one.
HANG_UPS = {"cut", "nothing", "no frames"}


async def asked(client: httpx.AsyncClient, protocol: str, model: str, stream: bool) -> httpx.Response:
    said = [{"role": "user", "content": "hi"}]
    if protocol == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        contents = [{"role": "user", "parts": [{"text": "hi"}]}]
        return await client.post(f"/v1beta/models/{model}:{method}", json={"contents": contents})
    paths: dict[str, tuple[str, dict[str, Any]]] = {
        "anthropic-messages": ("/v1/messages", {"max_tokens": 9, "messages": said}),
        "openai-chat": ("/v1/chat/completions", {"messages": said}),
        "openai-responses": ("/v1/responses", {"input": "hi"}),
    }
    path, body = paths[protocol]
    return await client.post(path, json={"model": model, "stream": stream, **body})


def is_error_of(protocol: str, reply: httpx.Response) -> None:
    assert 500 <= reply.status_code < 600, reply.text
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert error["message"]
    if protocol == "anthropic-messages":
        assert reply.json()["type"] == "error"
    if protocol == "gemini":
        assert (error["code"], bool(error["status"])) == (reply.status_code, True)
    assert "engine made a mistake" not in reply.text


@by_provider
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_what_is_no_answer_is_an_error_of_the_clients_protocol_and_is_counted(
    provider: str, stream: bool, scene: Opening
) -> None:  # G11, G13, G14, G16
    now: list[Answer] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body, kind, more = now[-1]
        told = b"content-type: " + kind + b"\r\n" if kind else b""
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(body)
        writer.write(head + told + more + b"\r\n" + body)

    async def play() -> None:
        malformed = 0
        async with scene(answer, catalog=EVERYONE, breaker=False) as it:
            for name, (make, served) in (STREAMS if stream else WHOLE).items():
                now.append(make(PROTOCOLS[provider]))
                for client in PROTOCOLS:
                    reply = await asked(it.client, client, f"m-{provider}", stream)
                    if served:
                        assert reply.status_code == 200, (name, reply.text)
                        assert "hello" in reply.text
                        assert ("content-length" in reply.headers) != stream
                        assert "content-encoding" not in reply.headers
                    else:
                        is_error_of(client, reply)
                        malformed += name not in HANG_UPS or not stream
            await it.engine.journal.flush()
            ready = (await it.client.get("/ready")).json()
            assert ready["malformed"] == {provider: malformed}
            assert len(await it.lines("malformed")) == malformed
            assert {line["endpoint"] for line in await it.lines("malformed")} == {provider}
            assert not await it.lines("bug")

    run(play())


def test_a_malformed_answer_is_named_in_the_journal(scene: Opening) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def play() -> None:
        async with scene(answer, catalog=EVERYONE) as it:
            reply = await asked(it.client, "openai-chat", "m-gemini", stream=False)
            await it.engine.journal.flush()
            (attempt,) = await it.engine.journal.attempts(reply.headers["x-weave-decision"])
            assert attempt.fault is not None
            assert (attempt.fault.code, attempt.fault.origin) == ("malformed", "provider")

    run(play())


def test_a_redirect_is_an_error_and_nobody_follows_it(scene: Opening) -> None:
    followed: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        followed.append(b"called")
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")

    async def play() -> None:
        async with scene(answer, catalog=EVERYONE) as it:
            for at, client in enumerate(PROTOCOLS, start=1):
                reply = await asked(it.client, client, f"m-{client}", stream=at % 2 == 0)
                is_error_of(client, reply)
                assert "location" not in reply.headers
                assert len(followed) == at

    run(play())
