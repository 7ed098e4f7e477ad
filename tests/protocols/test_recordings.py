"""Real traffic through every direction: nothing that both sides can carry is lost, and the rest is reported."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import anthropic.types
import openai.types.chat
import openai.types.responses
import orjson
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import types as google
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from engine.core.catalog import Model
from engine.core.conversation import Document, Image, Part, Request, Text, Thinking, ToolCall, ToolResult
from engine.core.errors import Fault
from engine.core.reply import Reply
from engine.core.stream import Event, fold, has_content
from engine.protocols import PROTOCOLS
from engine.protocols.forward import forward
from engine.protocols.outbound import outbound
from engine.protocols.shape import Protocol, ReplyContext

Row = dict[str, Any]
Recordings = Callable[[str], list[Row]]
ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]

ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
RESPONSES, GEMINI = PROTOCOLS["openai-responses"], PROTOCOLS["gemini"]
FILES = {
    "dev_anthropic_messages": ANTHROPIC,
    "dev_openai_chat": CHAT,
    "dev_openai_responses": RESPONSES,  # Gemini's have their own tests: half of a request is in its path
}
DIRECTIONS = [
    (file, home, away) for file, home in FILES.items() for away in PROTOCOLS.values() if away is not home
]
MODEL_IDS = {
    "anthropic-messages": "claude-sonnet-4-5",
    "openai-chat": "gpt-4o",
    "openai-responses": "gpt-4o",
    "gemini": "gemini-2.5-pro",
}
by_direction = pytest.mark.parametrize(
    ("file", "home", "away"), DIRECTIONS, ids=[f"{home.name}>{away.name}" for _, home, away in DIRECTIONS]
)

by_home = pytest.mark.parametrize(("file", "home"), FILES.items(), ids=[home.name for home in FILES.values()])


def gist(reply: Reply | Fault, *through: Protocol) -> tuple[Any, ...]:
    """What both protocols carry of a reply. Which stop sequence was met, only Anthropic says, and what was written
    into a cache, all but Gemini."""
    assert isinstance(reply, Reply), reply
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    calls = [(c.id, c.name, json.loads(c.arguments)) for c in reply.parts if isinstance(c, ToolCall)]
    thinking = "".join(part.text for part in reply.parts if isinstance(part, Thinking))
    reason = {"stop_sequence": "end_turn", "pause_turn": "end_turn"}.get(reply.stop.reason, reply.stop.reason)
    usage = replace(reply.usage, cache_write_tokens=0) if GEMINI in through else reply.usage
    return text, thinking, calls, reason, usage


@by_direction
def test_a_whole_reply_is_the_same_in_the_other_protocol(
    file: str, home: Protocol, away: Protocol, recordings: Recordings, context: ReplyContext
) -> None:
    rows = [row for row in recordings(file) if row["status"] == 200 and "response" in row]
    assert len(rows) > 100
    for row in rows:
        reply = home.read_reply(row["response"])
        there = away.read_reply(away.write_reply(reply, context).body)
        assert gist(there, away) == gist(reply, away), row["id"]
        back = home.read_reply(home.write_reply(there, context).body)
        assert gist(back, away) == gist(reply, away), row["id"]


@by_home
def test_a_reply_in_its_own_protocol_keeps_everything(
    file: str, home: Protocol, recordings: Recordings, context: ReplyContext
) -> None:
    for row in recordings(file):
        if row["status"] != 200 or "response" not in row:
            continue
        reply = home.read_reply(row["response"])
        encoded = home.write_reply(reply, context)
        assert encoded.dropped == ()
        again = home.read_reply(encoded.body)
        assert gist(again) == gist(reply), row["id"]
        assert [type(part) for part in again.parts] == [type(part) for part in reply.parts]
        if home is ANTHROPIC:
            assert (again.parts, again.stop, again.sealed) == (reply.parts, reply.stop, reply.sealed), row[
                "id"
            ]


@by_direction
def test_a_streamed_reply_is_the_same_in_the_other_protocol(
    file: str,
    home: Protocol,
    away: Protocol,
    recordings: Recordings,
    context: ReplyContext,
    read_stream: ReadStream,
    write_stream: WriteStream,
) -> None:
    faults = 0
    for row in recordings(file):
        if "sse" not in row:
            continue
        events = read_stream(home, [row["sse"].encode()])
        reply = fold(events)
        if isinstance(reply, Fault):
            faults += 1
            assert b'"error":{' in write_stream(away, events, context)
            continue
        stream = write_stream(away, events, context)
        assert gist(fold(read_stream(away, [stream])), away) == gist(reply, away), row["id"]
        # The whole reply and the stream say the same.
        assert gist(away.read_reply(away.write_reply(reply, context).body), away) == gist(reply, away)
    assert faults == (2 if home is CHAT else 0)


@by_home
def test_a_stream_reads_the_same_in_any_chunking(
    file: str,
    home: Protocol,
    recordings: Recordings,
    read_stream: ReadStream,
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    for row in recordings(file):
        if "sse" not in row:
            continue
        whole, *others = [read_stream(home, chunks) for chunks in chunkings(row["sse"].encode())]
        for other in others:
            assert other == whole, row["id"]


@by_home
def test_the_tap_agrees_with_the_reader(
    file: str,
    home: Protocol,
    recordings: Recordings,
    read_stream: ReadStream,
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    for row in recordings(file):
        if "sse" not in row:
            continue
        stream = row["sse"].encode()
        events = read_stream(home, [stream])
        reply = fold(events)
        for chunks in chunkings(stream):
            tap = home.tap()
            for chunk in chunks:
                tap.feed(chunk)
            tap.close()
            assert tap.content_started == any(has_content(event) for event in events)
            assert tap.ended
            if isinstance(reply, Fault):
                assert tap.fault == reply
            else:
                assert (tap.stop, tap.usage, tap.fault) == (reply.stop, reply.usage, None), row["id"]


@by_direction
def test_an_error_reply_becomes_a_fault_of_its_status(
    file: str, home: Protocol, away: Protocol, recordings: Recordings
) -> None:
    for row in recordings(file):
        if row["status"] == 200:
            continue
        fault = home.read_fault(row["status"], {}, orjson.dumps(row["response"]))
        assert fault.http_status == row["status"]
        unknown_model = row["status"] == 404 or fault.code == "model_not_found"
        assert fault.kind == ("not_found" if unknown_model else "invalid_request")
        assert fault.message in str(away.write_fault(fault))


def requests_in(rows: list[Row]) -> Iterable[Row]:
    """Those that say all there is to say: what is stored at its vendor cannot be asked of another."""
    for row in rows:
        stored = {"previous_response_id", "conversation"} & row["request"].keys()
        if not stored and row["request"].get("model"):
            yield row


def parts_of(request: Request) -> Iterable[tuple[str, str, Part]]:
    """Every part with its place and the role it is spoken in."""
    for at, part in enumerate(request.system):
        yield f"system.{at}", "system", part
    for place, message in enumerate(request.messages):
        for at, part in enumerate(message.parts):
            path = f"messages.{place}.content.{at}"
            yield path, message.role, part
            if isinstance(part, ToolResult):
                for inner_at, inner in enumerate(part.parts):
                    yield f"{path}.content.{inner_at}", "result", inner


def read_again(protocol: Protocol, body: Mapping[str, Any], request: Request) -> Request:
    """Gemini's model and whether it streams are in the path."""
    told = {"model": request.model, "stream": request.stream} if protocol.model_in_path else {}
    return protocol.read_request({**orjson.loads(orjson.dumps(body)), **told}, b"")


def everything_said(request: Request) -> str:
    return "\0".join(part.text for _, _, part in parts_of(request) if isinstance(part, Text))


@by_direction
def test_a_request_says_the_same_in_the_other_protocol(
    file: str, home: Protocol, away: Protocol, recordings: Recordings, model: Model
) -> None:
    for row in requests_in(recordings(file)):
        request = home.read_request(row["request"], b"")
        encoded = away.write_request(request, model, MODEL_IDS[away.name])
        lost = {loss.path for loss in encoded.dropped}
        there = read_again(away, encoded.body, request)
        kept = [(path, role, part) for path, role, part in parts_of(request) if path not in lost]
        said = everything_said(there)
        for _, _, part in kept:
            if isinstance(part, Text) and part.text.strip():
                assert part.text in said, row["id"]
            if isinstance(part, Document) and part.text:
                assert part.text in said or any(
                    isinstance(p, Document) and p.text == part.text for _, _, p in parts_of(there)
                )
            if isinstance(part, Document) and part.base64 and part.media_type.startswith("text/"):
                documents = [p for *_, p in parts_of(there) if isinstance(p, Document)]
                assert words_of(part) in said or words_of(part) in map(words_of, documents)
        calls = calls_of(request)
        assert [call[1:] for call in calls_of(there)] == [call[1:] for call in calls], row["id"]
        ids = {call_id for call_id, *_ in calls}
        if len(ids) == len(calls) and all(len(call_id) <= 40 for call_id in ids):  # others are made valid
            assert calls_of(there) == calls, row["id"]
            called = [call_id for call_id in results_of(request) if call_id in ids]
            assert results_of(there) == called, row["id"]
        assert pictures(part for *_, part in parts_of(there)) == pictures(part for *_, _, part in kept)
        tools = [tool for tool in request.tools if tool.kind == "function"]
        assert [(t.name, t.description) for t in there.tools] == [(t.name, t.description) for t in tools]
        for field in (
            "temperature",
            "top_p",
            "tool_choice",
            "parallel_tools",
            "user",
            "stop",
        ):
            if field not in lost and (there.tools or field not in ("tool_choice", "parallel_tools")):
                wanted, found = getattr(request.tuning, field), getattr(there.tuning, field)
                assert found == wanted or wanted is None or (field, wanted) == ("temperature", 1), row["id"]
        if away is not GEMINI:  # which knows a part of JSON Schema
            assert there.tuning.output_schema == request.tuning.output_schema or "output_schema" in lost
        assert there.stream == request.stream


def calls_of(request: Request) -> list[tuple[str, str, Any]]:
    found = [part for *_, part in parts_of(request) if isinstance(part, ToolCall)]
    return [(call.id, call.name, json.loads(call.arguments)) for call in found]


def results_of(request: Request) -> list[str]:
    return [part.call_id for *_, part in parts_of(request) if isinstance(part, ToolResult)]


def words_of(document: Document) -> str:
    """A document's text, which some protocols carry in base64 and others as it is."""
    return document.text or b64decode(document.base64).decode("utf-8", "replace")


def pictures(parts: Iterable[Part]) -> Counter[str]:
    inline = (
        part.base64 or part.url
        for part in parts
        if isinstance(part, Image | Document) and not part.media_type.startswith(("audio/", "text/"))
    )
    return Counter(text for text in inline if text)


@by_direction
def test_what_a_translation_leaves_out_is_reported(
    file: str, home: Protocol, away: Protocol, recordings: Recordings, model: Model
) -> None:
    known = {"model", "messages", "input", "system", "tools", "stream", "stream_options", "max_tokens"}
    for row in requests_in(recordings(file)):
        request = home.read_request(row["request"], b"")
        encoded = away.write_request(request, model, MODEL_IDS[away.name])
        lost = {loss.path.split(".")[0] for loss in encoded.dropped}
        for field in request.tuning.extra:
            asks_nothing = request.tuning.extra[field] in ([], "auto", ["reasoning.encrypted_content"])
            value = encoded.body.get("verbosity" if field == "text" else field)
            carried = value is not None and value in (request.tuning.extra[field], "low", "medium")
            assert field in lost | {"reasoning", "thinking", "n"} or asks_nothing or carried
        assert known & row["request"].keys()
        hosted = [at for at, tool in enumerate(request.tools) if tool.kind != "function"]
        assert all(f"tools.{at}" in {loss.path for loss in encoded.dropped} for at in hosted)


@by_home
def test_a_request_in_its_own_protocol_is_forwarded_byte_for_byte(
    file: str, home: Protocol, recordings: Recordings, model: Model
) -> None:
    for row in recordings(file):
        if not row["request"].get("model"):
            continue
        raw = json.dumps(row["request"], indent=1).encode()
        request = home.read_request(row["request"], raw)
        model_id = request.model
        fixes = home.repairs(request, model, model_id, "")
        assert fixes.removed == ()
        assert fixes.edits.keys() <= {"stream_options"}, row["id"]
        sent = forward(raw, request.body, {"model": "another-model"})
        assert sent == raw.replace(orjson.dumps(model_id), b'"another-model"', 1), row["id"]


def test_what_real_agents_send_is_forwarded_as_it_is_and_translated(
    captures: list[Row], model: Model
) -> None:
    served: Counter[str] = Counter()
    for row in captures:
        path = row["path"].partition("?")[0]
        home = {"/v1/messages": ANTHROPIC, "/v1/chat/completions": CHAT, "/v1/responses": RESPONSES}.get(path)
        if home is None or row["body"] is None:
            continue
        raw = orjson.dumps(row["body"])
        request = home.read_request(row["body"], raw)
        own = outbound(request, home, model, request.model, "")
        assert own.edits in ((), ("stream_options",)), row["id"]
        served[home.name] += 1
        if "previous_response_id" in row["body"]:
            continue
        for away in PROTOCOLS.values():
            there = read_again(away, away.write_request(request, model, "other").body, request)
            assert calls_of(there) == calls_of(request), row["id"]
            assert results_of(there) == results_of(request), row["id"]
            functions = [tool.name for tool in request.tools if tool.kind == "function"]
            assert [tool.name for tool in there.tools if tool.kind == "function"] == functions
    assert served["anthropic-messages"] > 50
    assert served["openai-chat"] > 5
    assert served["openai-responses"] > 40


# ---- the vendors' own types

REQUEST_TYPES: dict[str, TypeAdapter[Any]] = {
    "anthropic-messages": TypeAdapter(MessageCreateParamsNonStreaming),
    "openai-chat": TypeAdapter(CompletionCreateParamsNonStreaming),
    "openai-responses": TypeAdapter(ResponseCreateParamsNonStreaming),
}
REPLY_TYPES: dict[str, Any] = {
    "anthropic-messages": anthropic.types.Message,
    "openai-chat": openai.types.chat.ChatCompletion,
    "openai-responses": openai.types.responses.Response,
    "gemini": google.GenerateContentResponse,
}
EVENT_TYPES: dict[str, TypeAdapter[Any]] = {
    "anthropic-messages": TypeAdapter(anthropic.types.RawMessageStreamEvent),
    "openai-chat": TypeAdapter(openai.types.chat.ChatCompletionChunk),
    "openai-responses": TypeAdapter(openai.types.responses.ResponseStreamEvent),
    "gemini": TypeAdapter(google.GenerateContentResponse),
}


def is_vendors_request(protocol: Protocol, body: Any) -> None:
    if protocol.name in REQUEST_TYPES:
        exhaust(REQUEST_TYPES[protocol.name].validate_python(body))
        return
    for content in body["contents"]:
        google.Content.model_validate(content)


def is_vendors_reply(protocol: Protocol, body: Any) -> None:
    REPLY_TYPES[protocol.name].model_validate(body)


def is_vendors_stream(protocol: Protocol, stream: bytes) -> None:
    for block in stream.decode().replace("\r\n", "\n").split("\n\n"):
        data = block.partition("data: ")[2]
        if data.strip() and data != "[DONE]":
            EVENT_TYPES[protocol.name].validate_json(data)


@by_direction
def test_what_is_written_are_the_vendors_own_types(
    file: str,
    home: Protocol,
    away: Protocol,
    recordings: Recordings,
    model: Model,
    context: ReplyContext,
    read_stream: ReadStream,
    write_stream: WriteStream,
) -> None:
    for row in requests_in(recordings(file)):
        request = home.read_request(row["request"], b"")
        body = orjson.loads(orjson.dumps(away.write_request(request, model, MODEL_IDS[away.name]).body))
        for unsaid in ("stream", "stream_options"):
            body.pop(unsaid, None)
        is_vendors_request(away, body)
        if row["status"] != 200:
            continue
        if "response" in row:
            is_vendors_reply(away, away.write_reply(home.read_reply(row["response"]), context).body)
        else:
            events = read_stream(home, [row["sse"].encode()])
            if isinstance(fold(events), Reply):
                is_vendors_stream(away, write_stream(away, events, context))


def exhaust(value: Any) -> None:
    """Pydantic checks the items of an iterable only as they are taken."""
    if isinstance(value, dict):
        for inner in value.values():
            exhaust(inner)
    elif not isinstance(value, str) and isinstance(value, Iterable):
        for inner in value:
            exhaust(inner)
