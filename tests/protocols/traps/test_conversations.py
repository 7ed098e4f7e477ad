"""Conversations translated: order, places, pictures, thinking. Ids are those of the list of traps."""

import json
from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request, Sealed, Thinking, ToolCall
from engine.core.reply import Reply, Stop, Usage
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

Json = dict[str, Any]
ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
USER: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}
CLAUDE_TOOL: Json = {"name": "Read", "input_schema": {"type": "object"}}


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
