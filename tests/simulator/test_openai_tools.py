from collections.abc import Callable
from typing import Any

import httpx
import pytest

Post = Callable[..., httpx.Response]
OBJECT: dict[str, Any] = {"type": "object", "properties": {}}


def tool(name: str = "get", schema: Any = OBJECT, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": []}, "Invalid 'tools': empty array."),
    ({"tools": {}}, "Invalid type for 'tools'"),
    ({"tools": [tool(f"t{number}") for number in range(129)]}, "Invalid 'tools': array too long."),
    ({"tools": [{"name": "a", "input_schema": {}}]}, "Invalid value: 'None'. Supported values are: 'function'"),
    ({"tools": [{"type": "function"}]}, "Missing required parameter: 'tools[0].function'."),
    ({"tools": [tool("")]}, "Invalid 'tools[0].function.name': empty string."),
    ({"tools": [tool("a b")]}, "Invalid 'tools[0].function.name': string does not match pattern."),
    ({"tools": [tool("x" * 65)]}, "Invalid 'tools[0].function.name': string too long."),
    ({"tools": [tool(cache_control={})]}, "Unknown parameter: 'tools[0].function.cache_control'."),
    ({"tools": [tool(schema={"type": "string"})]}, "Invalid schema for function 'get': schema must be a JSON Schema"),
    ({"tools": [tool(schema={"type": "object", "properties": {"a": {"type": "array"}}})]},
     "Invalid schema for function 'get': In context=('properties', 'a'), array schema missing items."),
    ({"tools": [tool(strict=True)]}, "Invalid schema for function 'get': In context=(), 'additionalProperties'"),
    ({"tools": [tool(schema={**closed(a={}), "required": []}, strict=True)]}, "Invalid schema for function 'get': In"),
    ({"tool_choice": "auto"}, "'tool_choice' is only allowed when 'tools' are specified."),
    ({"parallel_tool_calls": True}, "'parallel_tool_calls' is only allowed when 'tools' are specified."),
    ({"tools": [tool()], "tool_choice": "any"}, "Invalid value: 'any'. Supported values are: 'none', 'auto', and"),
    ({"tools": [tool()], "tool_choice": {"type": "tool", "name": "get"}}, "Invalid value: 'tool'."),
    ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "b"}}}, "Tool choice 'b' not found"),
    ({"tools": [tool()], "tool_choice": {"type": "function"}}, "Missing required parameter: 'tool_choice.function'."),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_tools_the_vendor_refuses_are_refused(chat: Post, fields: dict[str, Any], message: str) -> None:
    reply = chat(**fields)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [tool(schema=closed(a={"type": "array", "items": {"type": "string"}}), strict=True)]},
        {"tools": [tool(), {"type": "custom", "custom": {"name": "patch"}}], "tool_choice": "required"},
        {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "get"}}},
        {"tools": [tool()], "parallel_tool_calls": False},
        {"tools": [tool(schema={})]},
    ],
)
def test_tools_the_vendor_takes_are_taken(chat: Post, fields: dict[str, Any]) -> None:
    reply = chat(**fields)
    assert reply.status_code == 200, reply.text
