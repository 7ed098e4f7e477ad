"""What a request asks for besides its conversation, fitted to the vendor and the model; and errors across vendors."""

from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request
from engine.core.errors import Fault
from engine.core.reply import Reply
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol

Json = dict[str, Any]
ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
USER: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}
CLAUDE_TOOL: Json = {"name": "Read", "input_schema": {"type": "object"}}


def broken(reply: Reply | Fault) -> Fault:
    assert isinstance(reply, Fault), reply
    return reply


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
