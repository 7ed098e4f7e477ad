"""What clients of streams trip over: mistakes that other gateways shipped, each as the behaviour we keep instead."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.conversation import Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import (
    Broke,
    Event,
    PartClosed,
    PartGrew,
    PartOpened,
    Started,
    Stopped,
    fold,
    unfold,
)
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]
Json = dict[str, Any]
ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
DONE = b"data: [DONE]\n\n"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def message_start(**usage: int) -> bytes:
    return event("message_start", message={"id": "m1", "model": "c", "content": [], "usage": usage})


def told(reply: Reply | Fault) -> Reply:
    assert isinstance(reply, Reply), reply
    return reply


def chunks_of(stream: bytes) -> list[Json]:
    lines = [line[6:] for line in stream.decode().split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_a_block_opens_with_its_part_and_not_before(
    write_stream: WriteStream, context: ReplyContext
) -> None:  # G18
    reply = Reply("", "m", (ToolCall("t", "f", "{}"),), Stop("tool_use"), Usage())
    written = write_stream(ANTHROPIC, list(unfold(reply)), context)
    assert written.count(b"event: content_block_start") == 1
    assert b'"type":"text"' not in written


def test_a_written_stream_has_one_start_and_one_complete_end(
    write_stream: WriteStream, context: ReplyContext
) -> None:  # G20
    reply = Reply("", "m", (Text("a"), ToolCall("t", "f", "{}")), Stop("end_turn"), Usage(3, 2))
    written = write_stream(ANTHROPIC, list(unfold(reply)), context)
    names = [line[7:] for line in written.decode().splitlines() if line.startswith("event: ")]
    assert names == [
        "message_start",
        *["content_block_start", "content_block_delta", "content_block_stop"] * 2,
        "message_delta",
        "message_stop",
    ]
    assert b'"stop_reason":"tool_use"' in written  # G25


def test_parts_that_interleave_are_written_one_after_the_other(
    write_stream: WriteStream, read_stream: ReadStream, context: ReplyContext
) -> None:
    events: list[Event] = [
        Started("", "m"),
        PartOpened(0, ToolCall("x", "f", "")),
        PartOpened(1, ToolCall("y", "g", "")),
        PartGrew(1, '{"b":'),
        PartGrew(0, '{"a":1}'),
        PartOpened(2, Text("")),
        PartGrew(2, "t"),
        PartGrew(1, "2}"),
        PartClosed(1),
        PartClosed(0),
        PartClosed(2),
        Stopped(Stop("tool_use"), Usage()),
    ]
    written = write_stream(ANTHROPIC, events, context)
    open_blocks = 0
    for line in written.decode().splitlines():
        open_blocks += (line == "event: content_block_start") - (line == "event: content_block_stop")
        assert open_blocks in (0, 1)
    assert fold(read_stream(ANTHROPIC, [written])) == replace(
        told(fold(events)), id="msg_weave_1", model="shown"
    )


def test_a_starting_tool_use_has_an_empty_input(
    write_stream: WriteStream, context: ReplyContext
) -> None:  # G35
    reply = Reply("", "m", (ToolCall("t", "f", '{"a":1}'),), Stop("tool_use"), Usage())
    written = write_stream(ANTHROPIC, list(unfold(reply)), context)
    assert b'"input":{}' in written
    assert json.dumps(json.dumps({"a": 1}, separators=(",", ":"))).encode() in written


def test_an_error_becomes_the_protocols_own_error_event(
    write_stream: WriteStream, context: ReplyContext
) -> None:
    events: list[Event] = [Started("", "m"), Broke(Fault("overloaded", "busy"))]
    for protocol in PROTOCOLS.values():
        written = write_stream(protocol, events, context)
        assert b"busy" in written
        assert b"[DONE]" not in written
        assert b"message_stop" not in written
    assert b"event: error\n" in write_stream(ANTHROPIC, events, context)


def test_the_first_delta_says_the_role(write_stream: WriteStream, context: ReplyContext) -> None:  # G37
    reply = Reply("", "m", (Text("a"),), Stop("end_turn"), Usage())
    first = chunks_of(write_stream(CHAT, list(unfold(reply)), context))[0]
    assert first["choices"][0]["delta"]["role"] == "assistant"


def test_usage_comes_in_a_chunk_of_its_own(write_stream: WriteStream, context: ReplyContext) -> None:  # G38
    reply = Reply("", "m", (Text("a"),), Stop("end_turn"), Usage(7, 5))
    *others, last = chunks_of(write_stream(CHAT, list(unfold(reply)), context))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 12
    assert not any("usage" in other for other in others)
    without = write_stream(CHAT, list(unfold(reply)), replace(context, include_usage=False))
    assert b'"usage"' not in without
    assert without.count(b"[DONE]") == 1  # G7


def test_calls_of_a_chat_stream_have_index_id_and_whole_json(
    write_stream: WriteStream, context: ReplyContext
) -> None:  # G35, G24
    parts = (ToolCall("x", "f", '{"a":1}'), ToolCall("y", "g", ""))
    events = list(unfold(Reply("", "m", parts, Stop("tool_use"), Usage())))
    deltas = [
        one["choices"][0]["delta"] for one in chunks_of(write_stream(CHAT, events, context)) if one["choices"]
    ]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", ())]
    assert [(p["index"], p["id"], p["function"]["name"]) for p in pieces if "id" in p] == [
        (0, "x", "f"),
        (1, "y", "g"),
    ]
    for index, expected in ((0, '{"a":1}'), (1, "{}")):
        assert "".join(p["function"]["arguments"] for p in pieces if p["index"] == index) == expected


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("context_exceeded", "length"),
        ("max_tokens", "length"),
    ],
)
def test_every_stop_reason_has_a_finish_reason(
    reason: Any, finish: str, context: ReplyContext
) -> None:  # G40
    reply = Reply("", "m", (Text("a"),), Stop(reason), Usage())
    assert CHAT.write_reply(reply, context).body["choices"][0]["finish_reason"] == finish
    assert ANTHROPIC.write_reply(reply, context).body["stop_reason"]


def test_thoughts_stay_apart_whichever_of_them_is_sealed(
    write_stream: WriteStream, read_stream: ReadStream, context: ReplyContext
) -> None:  # G84
    # Gemini shows thoughts without a signature and signs what follows them.
    signed = Sealed("gemini", {"thoughtSignature": "c2ln", "call": "t"})
    parts = (Thinking("one", None), Thinking("", signed), ToolCall("t", "f", "{}"))
    reply = Reply("", "m", parts, Stop("tool_use"), Usage())
    whole = CHAT.read_reply(CHAT.write_reply(reply, context).body)
    streamed = told(fold(read_stream(CHAT, [write_stream(CHAT, list(unfold(reply)), context)])))
    assert whole.parts == streamed.parts == parts
