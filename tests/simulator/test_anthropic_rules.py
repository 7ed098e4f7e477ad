"""What Anthropic refuses. Each row is a body that differs from a valid one, and how its refusal begins or
reads."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from engine.simulator.anthropic_rules import signature

Post = Callable[..., httpx.Response]


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks) or "hello"}


def model(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def call(id: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "get", "input": {}, **more}


def result(id: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": "ok", **more}


def image(media: str = "image/png", data: str = "iVBORw0KGgo=") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def tool(name: str = "get", **more: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}, **more}


def thought(text: str = "hm", seal: str | None = None) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature(text) if seal is None else seal}


THINK = {"type": "enabled", "budget_tokens": 1_024}
MARK: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater"),
    ({"max_tokens": 99_999}, "max_tokens: 99999 > 64000"),
    ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ({"max_completion_tokens": 9}, "max_completion_tokens: Extra inputs are not permitted"),
    ({"context_management": {}}, "context_management: Extra inputs are not permitted"),
    ({"messages": None}, "messages: Field required"),
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": "hi"}, "messages: Input should be a valid list"),
    ({"messages": ["hi"]}, "messages.0: Input should be a valid dictionary"),
    (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages.0.role: Input should be 'user' or 'assistant'",
    ),
    ({"messages": [user(), {"role": "system", "content": "x"}]}, 'messages: Unexpected role "system"'),
    ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    (
        {"messages": [{"role": "user", "content": ""}]},
        "messages.0: user messages must have non-empty content",
    ),
    (
        {"messages": [{"role": "user", "content": []}]},
        "messages.0: user messages must have non-empty content",
    ),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name: Extra inputs"),
    ({"messages": [user(said(""))]}, "messages: text content blocks must be non-empty"),
    ({"messages": [user(said(" \n"))]}, "messages: text content blocks must contain non-whitespace text"),
    (
        {"messages": [user(said("x", thought_signature="y"))]},
        "messages.0.content.0.text.thought_signature: Extra",
    ),
    (
        {"messages": [user({"type": "image_url", "image_url": {}})]},
        "messages.0.content.0: Input tag 'image_url'",
    ),
    ({"messages": [user(thought())]}, "messages.0.content.0: Input tag 'thinking'"),
    (
        {"messages": [user(), model(said("so "))]},
        "messages: final assistant content cannot end with trailing",
    ),
    ({"messages": [user(image("image/tiff"))]}, "messages.0.content.0.image.source.base64.media_type"),
    ({"messages": [user(image(data="%"))]}, "messages.0.content.0.image.source.base64: invalid base64 data"),
    (
        {"messages": [user(image("image/jpeg"))]},
        "messages.0.content.0.image.source.base64.data: The image was",
    ),
    (
        {"messages": [user({"type": "image", "source": {"type": "url", "url": "x"}})]},
        "messages.0.content.0.image",
    ),
    ({"messages": [user(), model(call())]}, "messages.1: `tool_use` ids were found without `tool_result`"),
    ({"messages": [user(), model(call()), user(said("x"))]}, "messages.1: `tool_use` ids were found without"),
    (
        {"messages": [user(), model(call()), user(said("x"), result())]},
        "messages.1: `tool_use` ids were found",
    ),
    (
        {"messages": [user(), model(call(), call("b")), user(result())]},
        "messages.1: `tool_use` ids were found",
    ),
    ({"messages": [user(result())]}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result`"),
    (
        {"messages": [user(), model(call()), user(result("b"))]},
        "messages.2.content.0: unexpected `tool_use_id`",
    ),
    (
        {"messages": [user(), model(call(), call()), user(result())]},
        "messages: `tool_use` ids must be unique",
    ),
    (
        {"messages": [user(), model(call()), user(result(), result())]},
        "messages.2.content: each tool_use must have",
    ),
    (
        {"messages": [user(), model(call("a.b")), user(result("a.b"))]},
        "messages.1.content.0.tool_use.id: String",
    ),
    (
        {"messages": [user(), model(call(input="{}")), user(result())]},
        "messages.1.content.0.tool_use.input: Input",
    ),
    ({"messages": [user(), model(thought(seal="")), user()]}, "messages.1.content.0: Invalid `signature`"),
    (
        {"messages": [user(), model(thought(seal="QUJD")), user()]},
        "messages.1.content.0: Invalid `signature`",
    ),
    (
        {"messages": [user(), model({"type": "thinking", "thinking": "x"}), user()]},
        "messages.1.content.0.thinking.sig",
    ),
    (
        {"messages": [user(*(said(str(n), **MARK) for n in range(5)))]},
        "A maximum of 4 blocks with cache_control",
    ),
    (
        {"messages": [user(said("x", cache_control={"type": "for ever"}))]},
        "cache_control.type: Input should be",
    ),
    (
        {"messages": [user(said("x", cache_control={"type": "ephemeral", "ttl": "2h"}))]},
        "cache_control.ephemeral.ttl",
    ),
    ({"system": [said("")]}, "system: text content blocks must be non-empty"),
    ({"system": [image()]}, "system.0: Input tag 'image'"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"temperature": 0.5, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified"),
    ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    ({"metadata": {"team": "x"}}, "metadata.team: Extra inputs are not permitted"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice: may only be specified while providing tools"),
    ({"tools": [tool()], "tool_choice": "auto"}, "tool_choice: Input tag"),
    (
        {"tools": [tool()], "tool_choice": {"type": "tool", "name": "b"}},
        "Tool 'b' not found in provided tools",
    ),
    ({"tools": [tool(), tool()]}, "tools: Tool names must be unique."),
    ({"tools": [tool("a.b")]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [tool(parameters={})]}, "tools.0.custom.parameters: Extra inputs are not permitted"),
    ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{"type": "function", "name": "a"}]}, "tools.0: Input tag 'function'"),
    (
        {"tools": [tool()], "thinking": THINK, "max_tokens": 2_000, "tool_choice": {"type": "any"}},
        "Thinking may not",
    ),
    ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        "thinking.enabled.budget_tokens: Input should be",
    ),
    ({"thinking": THINK}, "`max_tokens` must be greater than `thinking.budget_tokens`"),
    ({"thinking": THINK, "max_tokens": 2_000, "temperature": 0.2}, "`temperature` may only be set to 1"),
    ({"thinking": THINK, "max_tokens": 2_000, "top_k": 3}, "`top_k` must be unset when thinking is enabled"),
    ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported on this model"),
    ({"thinking": {"effort": "high"}}, "thinking: Input tag does not match"),
    (
        {"messages": [{"role": "user", "content": "x" * 900_000}]},
        "prompt is too long: 225002 tokens > 200000",
    ),
    ({"model": None}, "model: Field required"),
    (
        {"model": "claude-opus-5-5", "messages": [user(), model(said("so"))]},
        "This model does not support assistant",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_the_vendor_refuses_is_refused_in_its_words(
    messages: Post, fields: dict[str, Any], message: str
) -> None:
    reply = messages(**fields)
    assert reply.status_code == 400
    body = reply.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith(message)
    assert body["request_id"] == reply.headers["request-id"]


ALLOWED: list[dict[str, Any]] = [
    {"messages": [user(), user(said("again"))]},
    {"messages": [model(said("I begin")), user()]},
    {"messages": [user(), model(said("It is"))]},
    {"messages": [user(), model(call("a"), call("b")), user(result("b"), result("a"), said("and"))]},
    {"messages": [user(), model(call("a")), user(result("a")), model(call("a")), user(result("a"))]},
    {"messages": [user(), model(thought(), call()), user(result(is_error=True, content=[said("x"), image()]))]},
    {"messages": [user(), model(thought("", seal=signature("withheld")), said("x")), user()]},
    {"messages": [user(said("x", **MARK))], "system": [said("s", **MARK)], "tools": [tool(**MARK)]},
    {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
    {"thinking": THINK, "max_tokens": 2_000, "tools": [tool()], "tool_choice": {"type": "auto"}},
    {"model": "claude-opus-5-5", "thinking": {"type": "adaptive"},
     "messages": [user(), {"role": "system", "content": "Be brief."}, user()]},
]  # fmt: skip


@pytest.mark.parametrize("fields", ALLOWED)
def test_what_the_vendor_takes_is_taken(messages: Post, fields: dict[str, Any]) -> None:
    reply = messages(**fields)
    assert reply.status_code == 200, reply.text


def test_a_beta_field_is_taken_with_its_beta_header(messages: Post) -> None:
    headers = {
        "x-api-key": "k",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "context-management-2025-06-27",
    }
    assert messages(headers=headers, context_management={"edits": []}).status_code == 200


def test_a_tool_loop_that_lost_its_thinking_is_answered_without_any(messages: Post) -> None:
    fields: dict[str, Any] = {"thinking": THINK, "max_tokens": 2_000}
    kept = messages(**fields, messages=[user(), model(thought(), call()), user(result())])
    lost = messages(**fields, messages=[user(), model(call()), user(result())])
    assert [block["type"] for block in kept.json()["content"]] == ["thinking", "text"]
    assert [block["type"] for block in lost.json()["content"]] == ["text"]
