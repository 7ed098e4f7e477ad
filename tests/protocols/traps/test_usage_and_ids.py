"""Tokens counted once, and ids that every vendor takes and that are never empty."""

import json
from collections.abc import Callable
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Request, Text, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, Usage
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

Json = dict[str, Any]
ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
USER: Json = {"role": "user", "content": "hi"}


def chunk(delta: Json | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c1", "model": "m", "choices": choices} | more).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
ReplyOf = Callable[[Protocol, bytes], Reply | Fault]


def told(reply: Reply | Fault) -> Reply:
    assert isinstance(reply, Reply), reply
    return reply


def chat_request(*messages: Json, **fields: Any) -> Request:
    return CHAT.read_request({"model": "m", "messages": list(messages)} | fields, b"")


def to_claude(request: Request, model: Model, model_id: str = "claude-sonnet-4-5") -> Json:
    return dict(ANTHROPIC.write_request(request, model, model_id).body)


def call(call_id: str, name: str = "Read", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: Any = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


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
