"""Real Gemini traffic through every direction: nothing both sides can carry is lost, and the rest is reported."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import anthropic.types
import openai.types.chat
import orjson
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import types as google
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from engine.core.catalog import Model
from engine.core.conversation import Document, Image, Part, Request, Text, Thinking, ToolCall, ToolResult
from engine.core.errors import Fault
from engine.core.reply import Reply
from engine.core.stream import Event, fold, has_content
from engine.protocols import PROTOCOLS
from engine.protocols.forward import forward
from engine.protocols.outbound import outbound
from engine.protocols.sealing import from_signature
from engine.protocols.shape import Protocol, ReplyContext

Row = dict[str, Any]
Recordings = Callable[[str], list[Row]]
ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]
Chunkings = Callable[[bytes], list[list[bytes]]]

GEMINI = PROTOCOLS["gemini"]
MODEL_IDS = {"anthropic-messages": "claude-sonnet-4-5", "gemini": "gemini-3-flash-preview"}
OTHERS = [protocol for protocol in PROTOCOLS.values() if protocol is not GEMINI]
other_protocols = pytest.mark.parametrize("away", OTHERS, ids=[protocol.name for protocol in OTHERS])
PATH = re.compile(r"/models/([^:]+):(\w+)")


def asked(row: Row) -> Request:
    found = PATH.search(row["path"])
    assert found is not None
    told = {"model": found[1], "stream": found[2] == "streamGenerateContent"}
    return GEMINI.read_request({**row["request"], **told}, json.dumps(row["request"], indent=1).encode())


def gist(reply: Reply | Fault) -> tuple[Any, ...]:
    """What all protocols carry of a reply."""
    assert isinstance(reply, Reply), reply
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    calls = [(c.id, c.name, json.loads(c.arguments)) for c in reply.parts if isinstance(c, ToolCall)]
    thinking = "".join(part.text for part in reply.parts if isinstance(part, Thinking))
    return text, thinking, calls, reply.stop.reason, reply.usage


def seals(reply: Reply) -> list[Any]:
    """What Gemini signed."""
    found = [part.sealed for part in reply.parts if isinstance(part, Thinking) and part.sealed is not None]
    # What other clients hear looks like their own vendor's cipher; it is opened when they send it back.
    ciphers = [str(sealed.data.get("signature") or sealed.data.get("encrypted_content")) for sealed in found]
    found = [from_signature(cipher) or sealed for cipher, sealed in zip(ciphers, found, strict=True)]
    return [sealed for sealed in found if sealed.origin == GEMINI.name]


@pytest.fixture
def streams(recordings: Recordings) -> list[bytes]:
    """Every recorded stream, those of the second collection written as Google writes them."""
    found = [row["sse"].encode() for row in recordings("dev_gemini") if "sse" in row]
    for row in recordings("dev_vercel_responses"):
        events = row.get("events") or []
        if row["provider"] == "google" and events and any("candidates" in event for event in events):
            found.append(b"".join(b"data: " + orjson.dumps(event) + b"\r\n\r\n" for event in events))
    assert len(found) > 15
    return found


@pytest.fixture
def replies(recordings: Recordings) -> list[Row]:
    rows = [*recordings("dev_gemini"), *recordings("dev_vercel_responses")]
    found = [row["response"] for row in rows if row.get("status", 200) == 200 and "response" in row]
    found = [body for body in found if "candidates" in body or "promptFeedback" in body]
    assert len(found) > 250
    return found


@other_protocols
def test_a_whole_reply_is_the_same_in_the_other_protocol(
    away: Protocol, replies: list[Row], context: ReplyContext
) -> None:
    for body in replies:
        reply = GEMINI.read_reply(body)
        there = away.read_reply(away.write_reply(reply, context).body)
        assert gist(there) == gist(reply), body
        back = GEMINI.read_reply(GEMINI.write_reply(there, context).body)
        assert gist(back) == gist(reply), body


@other_protocols
def test_signatures_come_home_through_any_client(
    away: Protocol, replies: list[Row], context: ReplyContext
) -> None:  # G84, W35
    signed = 0
    for body in replies:
        reply = GEMINI.read_reply(body)
        there = away.read_reply(away.write_reply(reply, context).body)
        assert seals(there) == seals(reply), body
        signed += len(seals(reply))
    assert signed > 150


def test_a_reply_in_its_own_protocol_keeps_everything(replies: list[Row], context: ReplyContext) -> None:
    for body in replies:
        reply = GEMINI.read_reply(body)
        encoded = GEMINI.write_reply(reply, context)
        assert encoded.dropped == ()
        again = GEMINI.read_reply(orjson.loads(orjson.dumps(encoded.body)))
        assert (again.parts, again.stop, again.usage, again.sealed) == (
            reply.parts,
            reply.stop,
            reply.usage,
            reply.sealed,
        ), body


@other_protocols
def test_a_streamed_reply_is_the_same_in_the_other_protocol(
    away: Protocol,
    streams: list[bytes],
    context: ReplyContext,
    read_stream: ReadStream,
    write_stream: WriteStream,
) -> None:
    for stream in streams:
        events = read_stream(GEMINI, [stream])
        reply = fold(events)
        there = fold(read_stream(away, [write_stream(away, events, context)]))
        assert gist(there) == gist(reply)
        assert isinstance(reply, Reply)
        assert gist(away.read_reply(away.write_reply(reply, context).body)) == gist(reply)
        assert isinstance(there, Reply)
        assert seals(there) == seals(reply)
        home = fold(read_stream(GEMINI, [write_stream(GEMINI, events, context)]))
        assert gist(home) == gist(reply)


def test_a_stream_reads_the_same_in_any_chunking(
    streams: list[bytes], read_stream: ReadStream, chunkings: Chunkings
) -> None:  # G1, G4
    for stream in streams:
        whole, *others = [read_stream(GEMINI, chunks) for chunks in chunkings(stream)]
        for other in others:
            assert other == whole


def test_the_tap_agrees_with_the_reader(
    streams: list[bytes], read_stream: ReadStream, chunkings: Chunkings
) -> None:
    for stream in streams:
        events = read_stream(GEMINI, [stream])
        reply = fold(events)
        assert isinstance(reply, Reply)
        for chunks in chunkings(stream)[:2]:
            tap = GEMINI.tap()
            for chunk in chunks:
                tap.feed(chunk)
            tap.close()
            assert tap.content_started == any(has_content(event) for event in events)
            assert (tap.stop, tap.usage, tap.fault) == (reply.stop, reply.usage, None)


def test_an_error_reply_becomes_a_fault_of_its_status(recordings: Recordings) -> None:
    for row in recordings("dev_gemini"):
        if row["status"] == 200:
            continue
        fault = GEMINI.read_fault(row["status"], {}, orjson.dumps(row["response"]))
        assert fault.http_status == row["status"]
        assert fault.kind == {404: "not_found", 400: "invalid_request"}[row["status"]]
        assert fault.message in str(GEMINI.write_fault(fault))


# ---- requests


def parts_of(request: Request) -> Iterable[tuple[str, Part]]:
    for at, part in enumerate(request.system):
        yield f"system.{at}", part
    for place, message in enumerate(request.messages):
        for at, part in enumerate(message.parts):
            path = f"messages.{place}.content.{at}"
            yield path, part
            if isinstance(part, ToolResult):
                yield from ((f"{path}.content.{i}", inner) for i, inner in enumerate(part.parts))


def calls_of(request: Request) -> list[Any]:
    return [(p.name, json.loads(p.arguments)) for _, p in parts_of(request) if isinstance(p, ToolCall)]


def media_of(placed: Iterable[tuple[str, Part]]) -> Counter[str]:
    found = [part for _, part in placed if isinstance(part, Image | Document)]
    return Counter(part.base64 or part.url for part in found if part.base64 or part.url)


@other_protocols
def test_a_request_says_the_same_in_the_other_protocol(
    away: Protocol, recordings: Recordings, model: Model
) -> None:
    for row in recordings("dev_gemini"):
        request = asked(row)
        encoded = away.write_request(request, model, MODEL_IDS.get(away.name, "gpt-4o"))
        lost = {loss.path for loss in encoded.dropped}
        there = away.read_request({"model": "m", **orjson.loads(orjson.dumps(encoded.body))}, b"")
        said = "\0".join(part.text for _, part in parts_of(there) if isinstance(part, Text))
        for path, part in parts_of(request):
            if isinstance(part, Text) and part.text.strip() and path not in lost:
                assert part.text in said, row["id"]
        assert calls_of(there) == calls_of(request), row["id"]
        answered = [p for _, p in parts_of(there) if isinstance(p, ToolResult)]
        assert len(answered) == len(calls_of(there)), row["id"]
        assert media_of(parts_of(there)) >= media_of(
            placed for placed in parts_of(request) if placed[0] not in lost
        ), row["id"]
        tools = [tool for tool in request.tools if tool.kind == "function"]
        assert [(t.name, t.description) for t in there.tools] == [(t.name, t.description) for t in tools]
        for field in ("temperature", "top_p", "stop", "output_schema"):
            wanted = getattr(request.tuning, field)
            if field not in lost and wanted is not None and wanted != ():
                assert getattr(there.tuning, field) == wanted, row["id"]
        assert there.stream == request.stream


def test_what_a_translation_leaves_out_is_reported(recordings: Recordings, model: Model) -> None:
    for row in recordings("dev_gemini"):
        request = asked(row)
        for away in OTHERS:
            encoded = away.write_request(request, model, MODEL_IDS.get(away.name, "gpt-4o"))
            lost = {loss.path.split(".")[0] for loss in encoded.dropped}
            assert request.tuning.extra.keys() <= lost, row["id"]
            hosted = [at for at, tool in enumerate(request.tools) if tool.kind != "function"]
            assert all(f"tools.{at}" in {loss.path for loss in encoded.dropped} for at in hosted)


def test_a_request_in_its_own_protocol_is_forwarded_byte_for_byte(
    recordings: Recordings, model: Model
) -> None:
    for row in recordings("dev_gemini"):
        request = asked(row)
        sent = outbound(request, GEMINI, model, request.model, "")
        assert (sent.body, sent.edits) == (request.raw, ()), row["id"]
        assert forward(request.raw, request.body, {}) == request.raw


def test_what_real_agents_send_is_forwarded_as_it_is_and_translated(
    captures: list[Row], model: Model
) -> None:
    served = 0
    for row in captures:
        found = PATH.search(row["path"])
        if found is None:
            continue
        body = {**row["body"], "model": found[1], "stream": found[2].startswith("stream")}
        request = GEMINI.read_request(body, orjson.dumps(row["body"]))
        own = outbound(request, GEMINI, model, request.model, "")
        assert (own.body, own.edits, own.losses) == (request.raw, (), ()), row["id"]
        for away in OTHERS:
            written = orjson.loads(outbound(request, away, model, "other", "").body)
            there = away.read_request({"model": "m", **written}, b"")
            assert calls_of(there) == calls_of(request), row["id"]
            results = [p for _, p in parts_of(there) if isinstance(p, ToolResult)]
            assert len(results) == len(calls_of(request)), row["id"]
            assert all(part.text for result in results for part in result.parts if isinstance(part, Text))
        served += 1
    assert served > 8


@pytest.mark.parametrize("file", ["dev_anthropic_messages", "dev_openai_chat"])
def test_other_vendors_requests_and_replies_go_through_gemini(
    file: str,
    recordings: Recordings,
    model: Model,
    context: ReplyContext,
    read_stream: ReadStream,
    write_stream: WriteStream,
) -> None:
    home = PROTOCOLS[{"dev_anthropic_messages": "anthropic-messages"}.get(file, "openai-chat")]
    for row in recordings(file):
        request = home.read_request(row["request"], b"")
        body = orjson.loads(orjson.dumps(GEMINI.write_request(request, model, MODEL_IDS["gemini"]).body))
        assert body["contents"][0]["role"] == "user"  # G86
        is_googles_request(body)
        there = GEMINI.read_request({"model": "m", **body}, b"")
        assert calls_of(there) == calls_of(request), row["id"]
        if row["status"] != 200:
            continue
        if "response" in row:
            reply = home.read_reply(row["response"])
            written = orjson.loads(orjson.dumps(GEMINI.write_reply(reply, context).body))
            google.GenerateContentResponse.model_validate(written)
            assert comparable(GEMINI.read_reply(written)) == comparable(reply), row["id"]
        else:
            events = read_stream(home, [row["sse"].encode()])
            streamed = fold(events)
            stream = write_stream(GEMINI, events, context)
            if isinstance(streamed, Reply):
                is_googles_stream(stream)
                again = fold(read_stream(GEMINI, [stream]))
                assert comparable(again) == comparable(streamed), row["id"]
            else:
                assert b'"error"' in stream


def comparable(reply: Reply | Fault) -> tuple[Any, ...]:
    """What Gemini has a place for."""
    assert isinstance(reply, Reply), reply
    text, thinking, calls, reason, usage = gist(reply)
    calls = [(name, arguments) for _, name, arguments in calls]
    reason = {"stop_sequence": "end_turn", "pause_turn": "end_turn", "context_exceeded": "max_tokens"}.get(
        reason, reason
    )
    return text, thinking, calls, reason, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens


# ---- the vendors' own types

REQUEST_TYPES: dict[str, TypeAdapter[Any]] = {
    "anthropic-messages": TypeAdapter(MessageCreateParamsNonStreaming),
    "openai-chat": TypeAdapter(CompletionCreateParamsNonStreaming),
}


def is_googles_request(body: Row) -> None:
    for content in body["contents"]:
        google.Content.model_validate(content)
    for tool in body.get("tools", ()):
        google.Tool.model_validate(tool)
    google.GenerationConfig.model_validate(body.get("generationConfig", {}))
    google.ToolConfig.model_validate(body.get("toolConfig", {}))


def is_googles_stream(stream: bytes) -> None:
    for block in stream.decode().split("\r\n\r\n"):
        if block:
            google.GenerateContentResponse.model_validate_json(block.removeprefix("data: "))


@other_protocols
def test_what_is_written_are_the_vendors_own_types(
    away: Protocol,
    recordings: Recordings,
    model: Model,
    context: ReplyContext,
) -> None:
    if away.name not in REQUEST_TYPES:
        pytest.skip(f"{away.name} has its own test of its types")
    vendors: dict[str, Any] = {
        "anthropic-messages": anthropic.types.Message,
        "openai-chat": openai.types.chat.ChatCompletion,
    }
    for row in recordings("dev_gemini"):
        encoded = away.write_request(asked(row), model, MODEL_IDS.get(away.name, "gpt-4o"))
        body = orjson.loads(orjson.dumps(encoded.body))
        for unsaid in ("stream", "stream_options"):
            body.pop(unsaid, None)
        REQUEST_TYPES[away.name].validate_python(body)
        if row["status"] == 200 and "response" in row:
            reply = GEMINI.read_reply(row["response"])
            vendors[away.name].model_validate(away.write_reply(reply, context).body)
