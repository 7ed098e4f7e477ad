"""Chat streams as providers really send them: mistakes that other gateways shipped, each as the behaviour we keep."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.conversation import Text, Thinking, ToolCall
from engine.core.errors import Fault, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import (
    Broke,
    Event,
    Stopped,
)
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]
Json = dict[str, Any]
ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]


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


ReplyOf = Callable[[Protocol, bytes], Reply | Fault]


def told(reply: Reply | Fault) -> Reply:
    assert isinstance(reply, Reply), reply
    return reply


def broken(reply: Reply | Fault) -> Fault:
    assert isinstance(reply, Fault), reply
    return reply


def calls(reply: Reply | Fault) -> list[tuple[str, str, str]]:
    return [(p.id, p.name, p.arguments) for p in told(reply).parts if isinstance(p, ToolCall)]


def call(call_id: str, name: str = "Read", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


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
