"""What OpenAI refuses. Each row is a body that differs from a valid one, and how its refusal begins."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

Post = Callable[..., httpx.Response]


def user(content: Any = "hello") -> dict[str, Any]:
    return {"role": "user", "content": content}


def calls(*ids: str, **more: Any) -> dict[str, Any]:
    made = [{"id": id, "type": "function", "function": {"name": "get", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": made, **more}


def result(id: str, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def calling(**function: Any) -> dict[str, Any]:
    made = {"id": "a", "type": "function", "function": {"name": "get", "arguments": "{}"} | function}
    return {"role": "assistant", "tool_calls": [made]}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


TOOLS = [
    {"type": "function", "function": {"name": "get", "parameters": {"type": "object", "properties": {}}}}
]
GPT = {"model": "gpt-5.4"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "you must provide a model parameter"),
    ({"messages": None}, "Missing required parameter: 'messages'."),
    ({"messages": []}, "Invalid 'messages': empty array."),
    ({"messages": {}}, "Invalid type for 'messages'"),
    ({"messages": ["hi"]}, "Invalid type for 'messages[0]'"),
    ({"system": "x"}, "Unknown parameter: 'system'."),
    ({"thinking": {}}, "Unknown parameter: 'thinking'."),
    ({"stream_options": {"include_usage": True}}, "The 'stream_options' parameter is only allowed when"),
    ({"messages": [{"content": "x"}]}, "Missing required parameter: 'messages[0].role'."),
    ({"messages": [{"role": "model", "content": "x"}]}, "Invalid value: 'model'. Supported values are: 'system'"),
    ({"messages": [{"role": "user"}]}, "Missing required parameter: 'messages[0].content'."),
    ({"messages": [user(None)]}, "Invalid value for 'content': expected a string, got null."),
    ({"messages": [user([])]}, "Invalid 'messages[0].content': empty array."),
    ({"messages": [user([text("x", cache_control={})])]}, "Unknown parameter: 'messages[0].content[0].cache_control'"),
    ({"messages": [user([{"type": "image", "source": {}}])]}, "Invalid value: 'image'. Supported values are: 'text'"),
    ({"messages": [user([image("data:text/plain;base64,eA==")])]}, "Invalid MIME type."),
    ({"messages": [user([image("data:image/png;base64,%")])]}, "Invalid base64 image_url."),
    ({"messages": [user(), calls("a"), result("a", [image("https://x/y.png")])]}, "Invalid 'messages[2]'. Image URLs"),
    ({"messages": [user(), {"role": "assistant", "content": "x", "reasoning_content": "y"}, user()]},
     "Unknown parameter: 'messages[1].reasoning_content'."),
    ({"messages": [user(), result("a")]}, "Invalid parameter: messages with role 'tool' must be a response to"),
    ({"messages": [user(), {"role": "tool", "content": "x"}]}, "Missing required parameter: 'messages[1].tool_call"),
    ({"messages": [user(), calls("a")]}, "An assistant message with 'tool_calls' must be followed by tool messages"),
    ({"messages": [user(), calls("a"), user(), result("a")]}, "An assistant message with 'tool_calls' must be"),
    ({"messages": [user(), calls("a", "b"), result("a"), user()]}, "An assistant message with 'tool_calls' must be"),
    ({"messages": [user(), calls("a"), result("b")]}, "Invalid parameter: 'tool_call_id' of 'b' not found"),
    ({"messages": [user(), calls("a"), result("a"), result("a")]}, "Duplicate value for 'tool_call_id' of 'a'"),
    ({"messages": [user(), calls(), user()]}, "Invalid 'messages[1].tool_calls': empty array."),
    ({"messages": [user(), calls("x" * 41), result("x" * 41)]}, "Invalid 'messages[1].tool_calls[0].id': string too"),
    ({"messages": [user(), calling(arguments={}), result("a")]}, "Invalid type for 'messages[1].tool_calls[0].func"),
    ({"messages": [user(), calling(name="a.b"), result("a")]}, "Invalid 'messages[1].tool_calls[0].function.name'"),
    ({"temperature": 3}, "Invalid 'temperature': decimal above maximum value."),
    ({"temperature": "hot"}, "Invalid type for 'temperature'"),
    ({"max_tokens": 0}, "Invalid 'max_tokens': integer below minimum value."),
    ({"max_tokens": 40_000}, "max_tokens is too large: 40000."),
    ({"stop": ["a", "b", "c", "d", "e"]}, "Invalid 'stop': array too long."),
    ({"n": 2}, "This simulated model answers with one choice."),
    ({"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort"),
    ({**GPT, "reasoning_effort": "huge"}, "Invalid value: 'huge'."),
    ({**GPT, "max_tokens": 5}, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_comp"),
    ({**GPT, "stop": "x"}, "Unsupported parameter: 'stop' is not supported with this model."),
    ({**GPT, "temperature": 0.2, "reasoning_effort": "low"}, "Unsupported value: 'temperature' does not support 0.2"),
    ({"model": "gpt-5", "top_p": 0.2}, "Unsupported value: 'top_p' does not support 0.2 with this model."),
    ({"response_format": {"type": "json"}}, "Invalid value: 'json'."),
    ({"response_format": {"type": "json_schema"}}, "Missing required parameter: 'response_format.json_schema'."),
    ({"response_format": {"type": "json_schema", "json_schema": {}}},
     "Missing required parameter: 'response_format.json_schema.name'."),
    ({"response_format": {"type": "json_object"}}, "'messages' must contain the word 'json' in some form"),
    ({"messages": [user("x" * 4_200_000)]}, "This model's maximum context length is 1047576 tokens."),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_the_vendor_refuses_is_refused_in_its_words(
    chat: Post, fields: dict[str, Any], message: str
) -> None:
    reply = chat(**fields)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["message"].startswith(message)
    assert error["type"] == "invalid_request_error"
    assert error.keys() == {"message", "type", "param", "code"}


ALLOWED: list[dict[str, Any]] = [
    {"messages": [{"role": "system", "content": "s"}, {"role": "developer", "content": [text("d")]}, user()]},
    {"messages": [user(), calls("a", "b"), result("b"), result("a", [text("x")]), user()]},
    {"messages": [user(), calls("a"), result("a"), calls("a"), result("a")], "tools": TOOLS},
    {"messages": [user([text("x"), image("https://x/y.png"), image("data:image/png;base64,iVBO")])]},
    {"messages": [{"role": "assistant", "content": "I begin"}, user(), user()]},
    {"max_tokens": 5, "stop": ["a"], "temperature": 0.2, "top_p": 0.5, "seed": 3, "user": "u"},
    {**GPT, "temperature": 0.2},
    {**GPT, "temperature": 0.2, "reasoning_effort": "none", "max_completion_tokens": 50},
    {**GPT, "messages": [user(), calls("x" * 64), result("x" * 64)]},
]


@pytest.mark.parametrize("fields", ALLOWED)
def test_what_the_vendor_takes_is_taken(chat: Post, fields: dict[str, Any]) -> None:
    reply = chat(**fields)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    ("provider", "model", "fields", "message"),
    [
        ("deepseek", "deepseek-chat", {"messages": [user([image("https://x/y.png")])]}, "Failed to deserialize"),
        ("deepseek", "deepseek-chat", {"messages": [{"role": "developer", "content": "x"}]}, "Failed to deserialize"),
        ("deepseek", "deepseek-chat",
         {"thinking": {"type": "enabled"}, "messages": [user(), calls("a"), result("a")]}, "The `reasoning_con"),
        ("openrouter", "anthropic/claude-opus-4.5", {"messages": [user(), result("a")]}, "Invalid parameter: messages"),
    ],
)  # fmt: skip
def test_those_who_copied_the_format_refuse_what_they_refuse(
    chat: Post, provider: str, model: str, fields: dict[str, Any], message: str
) -> None:
    reply = chat(provider=provider, model=model, **fields)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("provider", "model", "fields"),
    [
        ("openrouter", "anthropic/claude-opus-4.5", {"messages": [user([text("x", cache_control={})])]}),
        ("deepseek", "deepseek-chat",
         {"thinking": {"type": "enabled"}, "messages": [user(), calls("a", reasoning_content="r"), result("a")]}),
        ("onprem", "qwen-coder", {"tools": [], "top_k": 5, "repetition_penalty": 1.1}),
    ],
)  # fmt: skip
def test_those_who_copied_the_format_take_fields_of_their_own(
    chat: Post, provider: str, model: str, fields: dict[str, Any]
) -> None:
    assert chat(provider=provider, model=model, **fields).status_code == 200
