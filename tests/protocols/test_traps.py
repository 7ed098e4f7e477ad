"""Mistakes that other gateways shipped, each as the behaviour we keep instead. Ids are those of the list of traps."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request, Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault, UpstreamError
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
    has_content,
    unfold,
)
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]
Json = dict[str, Any]

ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
USER: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}
CLAUDE_TOOL: Json = {"name": "Read", "input_schema": {"type": "object"}}


def chunk(delta: Json | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c1", "model": "m", "choices": choices} | more).encode() + b"\n\n"


def calling(index: int, arguments: str = "", **more: Any) -> bytes:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return chunk({"tool_calls": [{"index": index, "function": function} | more]})


DONE = b"data: [DONE]\n\n"
USAGE: Json = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def message_start(**usage: int) -> bytes:
    return event("message_start", message={"id": "m1", "model": "c", "content": [], "usage": usage})


def text_block(text: str, index: int = 0) -> bytes:
    return (
        event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})
        + event("content_block_stop", index=index)
    )


def ending(reason: str = "end_turn", **usage: int) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage) + event("message_stop")


@pytest.fixture
def reply_of(read_stream: ReadStream) -> Callable[[Protocol, bytes], Reply | Fault]:
    return lambda protocol, stream: fold(read_stream(protocol, [stream]))


ReplyOf = Callable[[Protocol, bytes], Reply | Fault]


def told(reply: Reply | Fault) -> Reply:
    assert isinstance(reply, Reply), reply
    return reply


def broken(reply: Reply | Fault) -> Fault:
    assert isinstance(reply, Fault), reply
    return reply


def calls(reply: Reply | Fault) -> list[tuple[str, str, str]]:
    return [(p.id, p.name, p.arguments) for p in told(reply).parts if isinstance(p, ToolCall)]


def chat_request(*messages: Json, **fields: Any) -> Request:
    return CHAT.read_request({"model": "m", "messages": list(messages)} | fields, b"")


def claude_request(*messages: Json, **fields: Any) -> Request:
    return ANTHROPIC.read_request({"model": "m", "max_tokens": 100, "messages": list(messages)} | fields, b"")


def to_claude(request: Request, model: Model, model_id: str = "claude-sonnet-4-5") -> Json:
    return dict(ANTHROPIC.write_request(request, model, model_id).body)


def to_chat(request: Request, model: Model, model_id: str = "gpt-4o") -> Json:
    return dict(CHAT.write_request(request, model, model_id).body)


def lost(protocol: Protocol, request: Request, model: Model, model_id: str = "") -> set[str]:
    return {loss.path for loss in protocol.write_request(request, model, model_id).dropped}


def call(call_id: str, name: str = "Read", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: Any = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# ---- reading chat streams


def test_what_follows_done_is_ignored(reply_of: ReplyOf) -> None:  # G7
    stream = chunk({"content": "a"}, "stop") + DONE + chunk({"content": "b"}) + DONE
    assert told(reply_of(CHAT, stream)).parts == (Text("a"),)


def test_done_without_a_finish_reason_ends_the_reply(reply_of: ReplyOf) -> None:  # G8
    assert told(reply_of(CHAT, chunk({"content": "a"}) + DONE)).stop.reason == "end_turn"
    assert told(reply_of(CHAT, calling(0, "{}", id="x", name="f") + DONE)).stop.reason == "tool_use"


def test_one_malformed_event_breaks_the_stream_once(reply_of: ReplyOf) -> None:  # G10
    for bad in (
        b"data: {oops\n\n",
        b"data: 7\n\n",
        b'data: {"choices":[7]}\n\n',
        b'data: {"choices":"x"}\n\n',
    ):
        fault = broken(reply_of(CHAT, chunk({"content": "a"}) + bad + chunk({"content": "b"}, "stop") + DONE))
        assert fault.kind == "server_error"
        assert fault.origin == "provider"


def test_an_empty_list_of_tool_calls_is_no_tool_call(reply_of: ReplyOf) -> None:  # G21
    stream = chunk({"role": "assistant", "content": "a", "tool_calls": []}) + chunk({}, "stop") + DONE
    reply = told(reply_of(CHAT, stream))
    assert reply.parts == (Text("a"),)
    assert reply.stop.reason == "end_turn"


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "function_call", "eos"])
def test_a_reply_with_a_call_stops_for_tools(reason: str, reply_of: ReplyOf) -> None:  # G25, W24
    stream = calling(0, "{}", id="x", name="f") + chunk({}, reason) + DONE
    assert told(reply_of(CHAT, stream)).stop.reason == "tool_use"


def test_a_late_finish_reason_still_stops_for_tools(
    read_stream: ReadStream, write_stream: WriteStream, context: ReplyContext
) -> None:  # G25
    stream = calling(0, "{}", id="x", name="f") + chunk({"content": "done"}) + chunk({}, "stop") + DONE
    written = write_stream(ANTHROPIC, read_stream(CHAT, [stream]), context)
    assert b'"stop_reason":"tool_use"' in written


def test_a_call_waits_for_its_name(reply_of: ReplyOf) -> None:  # G27
    stream = (
        calling(0, '{"a"', id="x") + calling(0, ":1}") + calling(0, name="f") + chunk({}, "tool_calls") + DONE
    )
    assert calls(reply_of(CHAT, stream)) == [("x", "f", '{"a":1}')]


def test_a_call_that_never_gets_a_name_breaks_the_stream(reply_of: ReplyOf) -> None:  # W22
    assert (
        broken(reply_of(CHAT, calling(0, "{}", id="x") + chunk({}, "tool_calls") + DONE)).origin == "provider"
    )


def test_a_whole_reply_with_a_nameless_call_is_malformed() -> None:  # W22
    message = {"role": "assistant", "tool_calls": [call("x", name="")]}
    with pytest.raises(UpstreamError, match="name"):
        CHAT.read_reply({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


def test_a_call_without_an_id_gets_one_that_stays_the_same(reply_of: ReplyOf) -> None:  # G29
    stream = calling(0, "{}", name="f") + calling(1, "{}", name="g") + chunk({}, "tool_calls") + DONE
    first, second = calls(reply_of(CHAT, stream))
    assert first[0] != second[0]
    assert calls(reply_of(CHAT, stream)) == [first, second]
    message = {"tool_calls": [call("", "f"), call("", "g")]}
    whole = {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    assert calls(CHAT.read_reply(whole)) == [first, second]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_becomes_thinking_wherever_it_comes(field: str, reply_of: ReplyOf) -> None:  # G30
    stream = chunk({field: "hm"}) + chunk({field: "m"}) + chunk({"content": "a"}, "stop") + DONE
    assert [getattr(part, "text", "") for part in told(reply_of(CHAT, stream)).parts] == ["hmm", "a"]


def test_reasoning_details_alone_become_thinking(reply_of: ReplyOf) -> None:  # G30
    details = [{"type": "reasoning.text", "text": "hm", "index": 0}]
    stream = chunk({"reasoning_details": details}) + chunk({"content": "a"}, "stop") + DONE
    thinking = told(reply_of(CHAT, stream)).parts[0]
    assert isinstance(thinking, Thinking)
    assert thinking.text == "hm"


def test_choices_may_be_null(reply_of: ReplyOf) -> None:  # G39
    stream = chunk({"content": "a"}) + b'data: {"id":"c1","choices":null}\n\n' + chunk({}, "stop") + DONE
    assert told(reply_of(CHAT, stream)).parts == (Text("a"),)


def test_a_usage_of_zeros_is_a_placeholder(reply_of: ReplyOf) -> None:  # G41
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    stream = (
        chunk({"content": "a"}, usage=zeros)
        + chunk({}, "stop", usage=zeros)
        + chunk(None, usage=USAGE)
        + DONE
    )
    assert told(reply_of(CHAT, stream)).usage == Usage(7, 5)


def test_usage_after_the_finish_reason_is_waited_for(read_stream: ReadStream) -> None:
    events = read_stream(CHAT, [chunk({"content": "a"}, "stop"), chunk(None, usage=USAGE), DONE])
    assert events[-1] == Stopped(Stop("end_turn"), Usage(7, 5))


def test_interleaved_calls_are_told_apart(reply_of: ReplyOf) -> None:
    stream = (
        calling(0, '{"a":', id="x", name="f")
        + calling(1, '{"b":', id="y", name="g")
        + calling(0, "1}")
        + calling(1, "2}")
        + chunk({}, "tool_calls")
        + DONE
    )
    assert calls(reply_of(CHAT, stream)) == [("x", "f", '{"a":1}'), ("y", "g", '{"b":2}')]


def test_calls_with_gaps_between_their_indices_are_kept(reply_of: ReplyOf) -> None:  # W27
    stream = (
        calling(3, "{}", id="x", name="f") + calling(7, "{}", id="y", name="g") + chunk({}, "stop") + DONE
    )
    assert [name for _, name, _ in calls(reply_of(CHAT, stream))] == ["f", "g"]


def test_calls_that_share_an_index_are_told_apart_by_id(reply_of: ReplyOf) -> None:
    stream = (
        calling(0, "{}", id="x", name="f") + calling(0, "{}", id="y", name="g") + chunk({}, "stop") + DONE
    )
    assert [call_id for call_id, *_ in calls(reply_of(CHAT, stream))] == ["x", "y"]


def test_an_error_inside_a_200_stream_is_a_fault(read_stream: ReadStream) -> None:  # W46, W47
    error = b'data: {"error":{"message":"busy","type":"server_error","code":503}}\n\n'
    [only] = read_stream(CHAT, [error])
    assert isinstance(only, Broke)
    assert (only.fault.kind, only.fault.http_status) == ("overloaded", 503)
    tap = CHAT.tap()
    tap.feed(error)
    assert (tap.content_started, tap.ended) == (False, True)
    assert tap.fault is not None


@pytest.mark.parametrize("protocol", [ANTHROPIC, CHAT], ids=["anthropic", "chat"])
def test_bytes_that_end_too_early_are_a_fault(protocol: Protocol, reply_of: ReplyOf) -> None:  # W47
    stream = chunk({"content": "a"}) if protocol is CHAT else message_start() + text_block("a")
    for cut in (b"", stream):
        assert broken(reply_of(protocol, cut)).kind == "connection"


# ---- reading Anthropic streams


def test_a_second_message_start_is_tolerated(reply_of: ReplyOf) -> None:  # G20
    stream = (
        message_start(input_tokens=3)
        + message_start(input_tokens=3)
        + text_block("a")
        + ending(output_tokens=1)
    )
    assert told(reply_of(ANTHROPIC, stream)).parts == (Text("a"),)


def test_pings_and_unknown_events_say_nothing(reply_of: ReplyOf) -> None:
    stream = event("ping") + message_start() + event("news", x=1) + text_block("a") + event("ping") + ending()
    assert told(reply_of(ANTHROPIC, stream)).parts == (Text("a"),)


def test_an_empty_input_delta_yields_an_empty_object(reply_of: ReplyOf) -> None:  # G24
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    stream = (
        message_start()
        + event("content_block_start", index=0, content_block=block)
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": ""})
        + event("content_block_stop", index=0)
        + ending("tool_use")
    )
    assert calls(reply_of(ANTHROPIC, stream)) == [("t", "f", "{}")]


def test_usage_in_message_delta_replaces_what_was_known(reply_of: ReplyOf) -> None:  # G31
    stream = message_start(input_tokens=10, output_tokens=1) + ending(input_tokens=10, output_tokens=9)
    assert told(reply_of(ANTHROPIC, stream)).usage == Usage(10, 9)


def test_usage_that_comes_only_at_the_end_counts(reply_of: ReplyOf) -> None:  # G32
    stream = message_start(input_tokens=0, output_tokens=0) + ending(
        input_tokens=8, cache_read_input_tokens=4, output_tokens=2
    )
    assert told(reply_of(ANTHROPIC, stream)).usage == Usage(12, 2, cache_read_tokens=4)


def test_a_zero_at_the_end_does_not_erase_a_figure(reply_of: ReplyOf) -> None:  # G32
    stream = message_start(input_tokens=8) + ending(input_tokens=0, output_tokens=2)
    assert told(reply_of(ANTHROPIC, stream)).usage == Usage(8, 2)


def test_a_missing_message_stop_is_tolerated_once_the_reason_is_known(reply_of: ReplyOf) -> None:
    stream = message_start() + text_block("a") + event("message_delta", delta={"stop_reason": "end_turn"})
    assert told(reply_of(ANTHROPIC, stream)).stop.reason == "end_turn"


@pytest.mark.parametrize(
    "stream",
    [
        text_block("a"),
        message_start() + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}),
        message_start() + event("content_block_stop", index=0),
        message_start() + event("content_block_start", index=0, content_block={"type": "text"}),
        message_start() + event("content_block_start", index="x", content_block={"type": "text", "text": ""}),
        message_start() + b"data: {\n\n",
        message_start() + b"data: []\n\n",
        event("message_start", message=7),
        event("message_start", message={"id": 7}),
        event("message_stop"),
    ],
)
def test_a_wrong_order_or_type_is_one_fault(stream: bytes, reply_of: ReplyOf) -> None:  # G10
    assert broken(reply_of(ANTHROPIC, stream + ending())).kind == "server_error"


def test_an_overload_in_a_200_stream_shows_before_content(read_stream: ReadStream) -> None:  # W46, G67
    stream = (
        message_start() + event("ping") + event("error", error={"type": "overloaded_error", "message": "!"})
    )
    events = read_stream(ANTHROPIC, [stream])
    assert not any(has_content(one) for one in events)
    assert isinstance(events[-1], Broke)
    assert events[-1].fault.kind == "overloaded"


# ---- writing Anthropic streams


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


# ---- writing chat streams


def chunks_of(stream: bytes) -> list[Json]:
    lines = [line[6:] for line in stream.decode().split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


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


# ---- usage


def test_cached_tokens_are_counted_once_under_each_convention(context: ReplyContext) -> None:  # G34
    usage = Usage(100, 20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=5)
    reply = Reply("", "m", (Text("a"),), Stop("end_turn"), usage)
    claude = ANTHROPIC.write_reply(reply, context).body["usage"]
    assert (claude["input_tokens"], claude["cache_read_input_tokens"]) == (30, 60)
    chat = CHAT.write_reply(reply, context).body["usage"]
    assert (chat["prompt_tokens"], chat["prompt_tokens_details"]["cached_tokens"]) == (100, 60)
    for protocol in (ANTHROPIC, CHAT):
        assert protocol.read_reply(protocol.write_reply(reply, context).body).usage == usage


def test_reasoning_left_out_of_the_completion_is_added(reply_of: ReplyOf) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 20}
    stream = chunk({"content": "a"}, "stop", usage=usage) + DONE
    assert told(reply_of(CHAT, stream)).usage == Usage(10, 10, reasoning_tokens=6)


# ---- ids


def test_ids_a_vendor_refuses_are_replaced_in_pairs(model: Model) -> None:  # W18, W19
    for bad in ("call.with:dots", "x" * 65, "ünïcode", ""):
        request = chat_request(
            USER, {"role": "assistant", "tool_calls": [call(bad)]}, result(bad) if bad else USER
        )
        body = to_claude(request, model)
        made = body["messages"][1]["content"][0]["id"]
        assert body["messages"][2]["content"][0]["tool_use_id"] == made
        assert len(made) <= 64
        assert made.replace("_", "").isalnum()
        assert to_claude(request, model) == body


def test_an_id_used_twice_is_made_unique_in_pairs(model: Model) -> None:  # W19
    turn = [{"role": "assistant", "tool_calls": [call("c0")]}, result("c0")]
    body = to_claude(chat_request(USER, *turn, *turn), model)
    used = [block["id"] for m in body["messages"] for block in m["content"] if block["type"] == "tool_use"]
    answered = [
        b["tool_use_id"] for m in body["messages"] for b in m["content"] if b["type"] == "tool_result"
    ]
    assert used == answered
    assert len(set(used)) == 2


def test_every_reply_has_an_id_of_its_own(context: ReplyContext) -> None:  # W49
    reply = Reply("", "m", (ToolCall("", "f", "{}"), ToolCall("", "g", "{}")), Stop("tool_use"), Usage())
    claude = ANTHROPIC.write_reply(reply, context).body
    assert claude["id"] == context.id
    assert len({block["id"] for block in claude["content"]}) == 2
    chat = CHAT.write_reply(reply, context).body
    assert chat["id"] == context.id
    assert len({one["id"] for one in chat["choices"][0]["message"]["tool_calls"]}) == 2


# ---- requests


def test_tool_results_come_before_text(model: Model) -> None:  # G55
    block = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    answer = [{"type": "text", "text": "look"}, {"type": "tool_result", "tool_use_id": "t", "content": "ok"}]
    request = claude_request(
        USER, {"role": "assistant", "content": [block]}, {"role": "user", "content": answer}
    )
    roles = [message["role"] for message in to_chat(request, model)["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]
    moved = replace(request, protocol="another")
    kinds = [one["type"] for one in to_claude(moved, model)["messages"][2]["content"]]
    assert kinds == ["tool_result", "text"]


def test_late_results_return_behind_their_calls(model: Model) -> None:  # G56
    request = chat_request(
        USER, {"role": "assistant", "tool_calls": [call("a"), call("b")]}, result("b"), USER, result("a")
    )
    ids = [message.get("tool_call_id") for message in to_chat(request, model)["messages"]]
    assert ids == [None, None, "b", "a", None]
    blocks = to_claude(request, model)["messages"][2]["content"]
    assert [block["type"] for block in blocks] == ["tool_result", "tool_result", "text"]


def test_a_call_without_a_result_is_answered_and_reported(model: Model) -> None:
    request = chat_request(USER, {"role": "assistant", "tool_calls": [call("a")]}, USER)
    assert to_claude(request, model)["messages"][2]["content"][0]["tool_use_id"] == "a"
    assert "messages.1.content.0" in lost(ANTHROPIC, request, model)


def test_a_result_without_a_call_becomes_text_and_is_reported(model: Model) -> None:
    request = chat_request(USER, result("nobody", "still said"))
    assert "still said" in json.dumps(to_claude(request, model))
    assert "messages.1.content.0" in lost(ANTHROPIC, request, model)


def test_images_inside_tool_results_are_carried(model: Model) -> None:  # G58, W29
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    block = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t", "content": [image, {"type": "text", "text": "shot"}]}
    request = claude_request(
        USER, {"role": "assistant", "content": [block]}, {"role": "user", "content": [answer]}
    )
    messages = to_chat(request, model)["messages"]
    assert messages[2] == {"role": "tool", "tool_call_id": "t", "content": "shot"}
    assert messages[3]["content"][1]["image_url"]["url"] == "data:image/png;base64,QUJD"
    assert lost(CHAT, request, model) == set()


def test_text_and_images_keep_their_order(model: Model) -> None:  # G59
    content = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "text", "text": "two"},
    ]
    blocks = to_claude(chat_request({"role": "user", "content": content}), model)["messages"][0]["content"]
    assert [block["type"] for block in blocks] == ["text", "image", "text"]


def test_system_blocks_stay_blocks_with_their_cache_marks(model: Model) -> None:  # G60
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": mark}]
    request = claude_request(USER, system=system)
    assert to_claude(request, model)["system"] == system
    assert [part["text"] for part in to_chat(request, model)["messages"][0]["content"]] == ["a", "b"]
    assert "system.1.cache_control" in lost(CHAT, request, model)


def test_a_system_message_in_the_middle_keeps_its_place(model: Model) -> None:  # G61, W43
    request = chat_request(
        USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "now"}, USER
    )
    body = to_claude(request, model)
    assert "system" not in body
    assert "now" in body["messages"][2]["content"][0]["text"]
    newer = to_claude(request, model, "claude-opus-5-5")
    assert [message["role"] for message in newer["messages"]] == ["user", "assistant", "system", "user"]


def test_a_forwarded_system_message_is_fitted_to_an_older_model(model: Model) -> None:  # W43
    request = claude_request(USER, {"role": "system", "content": "now"})
    assert ANTHROPIC.repairs(request, model, "m", "").edits == {}
    fixed = ANTHROPIC.repairs(request, model, "claude-haiku-4-5", "").edits["messages"]
    assert fixed[1]["role"] == "user"
    assert "now" in fixed[1]["content"][0]["text"]


def test_cache_marks_on_tools_and_results_survive_at_home(model: Model) -> None:  # G63
    mark = {"type": "ephemeral"}
    answer = {"type": "tool_result", "tool_use_id": "t", "content": "ok", "cache_control": mark}
    block = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    request = claude_request(
        USER,
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [answer]},
        tools=[CLAUDE_TOOL | {"cache_control": mark}],
    )
    body = to_claude(request, model)
    assert body["tools"][0]["cache_control"] == mark
    assert body["messages"][2]["content"][0]["cache_control"] == mark
    assert {"tools.0.cache_control", "messages.2.content.0.cache_control"} <= lost(CHAT, request, model)


@pytest.mark.parametrize("signature", [None, ""])
def test_unsigned_thinking_is_not_replayed_to_anthropic(
    signature: str | None, model: Model
) -> None:  # G64, W34
    thinking = {"type": "thinking", "thinking": "hm"} | (
        {} if signature is None else {"signature": signature}
    )
    spoken = {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}
    request = claude_request(USER, spoken, USER)
    kinds = [block["type"] for block in to_claude(request, model)["messages"][1]["content"]]
    assert kinds == ["text"]
    repairs = ANTHROPIC.repairs(request, model, "m", "")
    assert repairs.edits["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    assert [loss.path for loss in repairs.dropped] == ["messages.1.content.0"]


def test_a_thinking_of_nothing_but_its_signature_is_kept(model: Model) -> None:  # G64
    thinking = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    request = claude_request(
        USER, {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}
    )
    assert to_claude(request, model)["messages"][1]["content"][0] == thinking
    assert ANTHROPIC.repairs(request, model, "m", "").edits == {}


def test_a_vendors_thinking_returns_to_it_through_another_vendors_client(
    model: Model, context: ReplyContext
) -> None:  # G65, W33, W35, W36
    for home, away, sealed in (
        (CHAT, ANTHROPIC, Sealed("openai-chat", {"field": "reasoning_content"})),
        (ANTHROPIC, CHAT, Sealed("anthropic-messages", {"signature": "c2ln"})),
    ):
        parts = (Thinking("hm", sealed), ToolCall("t1", "Read", "{}"))
        shown = away.write_reply(Reply("r", "m", parts, Stop("tool_use"), Usage()), context).body
        if away is ANTHROPIC:
            spoken: Json = {"role": "assistant", "content": shown["content"]}
            request = claude_request(USER, spoken, tools=[CLAUDE_TOOL])
        else:
            request = chat_request(USER, shown["choices"][0]["message"], tools=[TOOL])
        assert request.messages[1].parts[0] == parts[0]
        again = json.dumps(home.write_request(request, model, "").body)
        assert "hm" in again
        # The client's own vendor never sees it.
        assert "weave." not in json.dumps(away.write_request(request, model, "").body)


def test_a_numeric_error_code_is_understood() -> None:  # G70
    fault = CHAT.read_fault(400, {}, b'{"error":{"message":"no","code":400}}')
    assert (fault.kind, fault.code) == ("invalid_request", "400")


def test_a_choice_of_a_tool_that_is_not_there_becomes_auto(model: Model) -> None:  # G88
    choice = {"type": "function", "function": {"name": "Gone"}}
    request = chat_request(USER, tools=[TOOL], tool_choice=choice)
    assert to_claude(request, model)["tool_choice"] == {"type": "auto"}
    assert "tool_choice" in lost(ANTHROPIC, request, model)


@pytest.mark.parametrize(
    ("chat", "claude"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "Read"}}, {"type": "tool", "name": "Read"}),
    ],
)
def test_tool_choice_is_translated_in_every_form(chat: Any, claude: Json, model: Model) -> None:  # G88
    assert to_claude(chat_request(USER, tools=[TOOL], tool_choice=chat), model)["tool_choice"] == claude
    assert (
        to_chat(claude_request(USER, tools=[CLAUDE_TOOL], tool_choice=claude), model)["tool_choice"] == chat
    )


def test_tool_settings_without_tools_are_left_out(model: Model) -> None:  # G89
    request = chat_request(USER, tool_choice="auto", parallel_tool_calls=False)
    assert not {"tool_choice", "tools"} & to_claude(request, model).keys()
    assert not {"tool_choice", "parallel_tool_calls"} & to_chat(request, model).keys()


def test_parallel_calls_are_allowed_or_not_in_both(model: Model) -> None:
    request = chat_request(USER, tools=[TOOL], parallel_tool_calls=False)
    assert to_claude(request, model)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert (
        to_chat(claude_request(USER, tools=[CLAUDE_TOOL], tool_choice=choice), model)["parallel_tool_calls"]
        is False
    )


def test_reasoning_models_get_the_field_they_know(model: Model) -> None:  # G90
    request = claude_request(USER, max_tokens=5000)
    assert to_chat(request, model, "gpt-4o")["max_tokens"] == 5000
    assert to_chat(request, model, "gpt-5.1")["max_completion_tokens"] == 5000
    moved = CHAT.repairs(chat_request(USER, max_tokens=5000), model, "o3-mini", "")
    assert (moved.edits, moved.removed) == ({"max_completion_tokens": 5000}, ("max_tokens",))


def test_max_tokens_leaves_room_for_thinking(model: Model) -> None:  # G91, W42
    request = chat_request(USER, max_tokens=500, reasoning_effort="high")
    body = to_claude(request, model)
    assert body["thinking"]["budget_tokens"] + 500 <= body["max_tokens"]
    for limit in (1, 500, 60_000, 64_000):
        body = to_claude(chat_request(USER, max_tokens=limit, reasoning_effort="high"), model)
        assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"] <= 64_000


def test_a_tiny_limit_does_not_starve_a_reasoning_model(model: Model) -> None:  # W42
    request = claude_request(USER, max_tokens=16)
    assert to_chat(request, model, "gpt-5.1")["max_completion_tokens"] == 1024
    assert "max_tokens" in lost(CHAT, request, model, "gpt-5.1")


def test_empty_assistant_messages_are_skipped(model: Model) -> None:  # G93
    empty = {"role": "assistant", "content": ""}
    assert [m["role"] for m in to_chat(chat_request(USER, empty, USER), model)["messages"]] == [
        "user",
        "user",
    ]
    assert [m["role"] for m in to_claude(chat_request(USER, empty, USER), model)["messages"]] == ["user"]


@pytest.mark.parametrize("arguments", ['"text"', "[1]", "{broken", "7"])
def test_arguments_that_are_no_object_stay_readable(arguments: str, model: Model) -> None:  # G93, W25
    request = chat_request(
        USER, {"role": "assistant", "tool_calls": [call("a", arguments=arguments)]}, result("a")
    )
    given = to_claude(request, model)["messages"][1]["content"][0]["input"]
    assert given.keys() == {"input"}
    assert "messages.1.content.0.arguments" in lost(ANTHROPIC, request, model)
    at_home = to_chat(request, model)["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert at_home == arguments


def test_an_assistants_content_with_calls_is_one_string(model: Model) -> None:  # W30
    blocks = [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "t", "name": "Read", "input": {}},
    ]
    message = to_chat(claude_request(USER, {"role": "assistant", "content": blocks}), model)["messages"][1]
    assert message["content"] == "ab"


def test_efforts_are_fitted_to_the_model(model: Model) -> None:  # W38, W40
    request = claude_request(USER, thinking={"type": "adaptive"}, output_config={"effort": "max"})
    assert to_chat(request, model, "gpt-5.4")["reasoning_effort"] == "xhigh"
    assert to_chat(request, model, "o3")["reasoning_effort"] == "high"
    assert ANTHROPIC.repairs(request, model, "claude-opus-4-6", "xhigh").edits["output_config"] == {
        "effort": "high"
    }
    off = claude_request(USER, thinking={"type": "disabled"})
    assert "reasoning_effort" not in to_chat(off, model, "o3")
    assert to_chat(off, model, "gpt-5.4")["reasoning_effort"] == "none"


def test_a_full_context_is_recognised_across_vendors() -> None:
    chat = b'{"error":{"message":"maximum context length is 8192 tokens","type":"invalid_request_error"}}'
    fault = CHAT.read_fault(400, {}, chat)
    assert fault.kind == "context_exceeded"
    assert ANTHROPIC.write_fault(fault)["error"]["message"].startswith("prompt is too long")
    claude = (
        b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}'
    )
    assert (
        CHAT.write_fault(ANTHROPIC.read_fault(400, {}, claude))["error"]["code"] == "context_length_exceeded"
    )
