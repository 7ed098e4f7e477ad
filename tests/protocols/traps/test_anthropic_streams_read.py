"""Anthropic streams as providers really send them: mistakes that other gateways shipped, and what we do instead."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.conversation import Text, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Usage
from engine.core.stream import (
    Broke,
    Event,
    has_content,
)
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]


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


ReplyOf = Callable[[Protocol, bytes], Reply | Fault]


def told(reply: Reply | Fault) -> Reply:
    assert isinstance(reply, Reply), reply
    return reply


def broken(reply: Reply | Fault) -> Fault:
    assert isinstance(reply, Fault), reply
    return reply


def calls(reply: Reply | Fault) -> list[tuple[str, str, str]]:
    return [(p.id, p.name, p.arguments) for p in told(reply).parts if isinstance(p, ToolCall)]


def test_a_second_message_start_is_tolerated(reply_of: ReplyOf) -> None:  # G20
    stream = (
        message_start(input_tokens=3)
        + message_start(input_tokens=3)
        + text_block("a")
        + ending(output_tokens=1)
    )
    assert told(reply_of(ANTHROPIC, stream)).parts == (Text("a"),)


def test_blocks_that_come_with_the_start_are_read(reply_of: ReplyOf) -> None:
    # A program that a hosted tool runs asks for calls so: there is a start, with a call in it, and a stop.
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    message = {"id": "m1", "model": "c", "content": [block], "stop_reason": "tool_use", "usage": {}}
    reply = reply_of(ANTHROPIC, event("message_start", message=message) + event("message_stop"))
    assert calls(reply) == [("t", "f", '{"a":1}')]
    assert told(reply).stop.reason == "tool_use"


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
