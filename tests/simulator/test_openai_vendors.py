"""What vendors refuse who copied OpenAI's format: each refusal has a body that meets it, beside one that passes."""

from typing import Any, get_args

import pytest

from engine.simulator.models import Dialect, SimulatedModel, Usd
from engine.simulator.openai_rules import check
from engine.simulator.openai_vendors import VENDORS
from engine.simulator.wire import Refused

Json = dict[str, Any]
USER: Json = {"role": "user", "content": "hi"}
ABLE = ("tools", "parallel_tools", "vision", "documents", "thinking", "structured_output")
MODEL = SimulatedModel("m", "mid", "p", "m-1", 100_000, 8_192, ABLE, Usd(1, 1, 1, 1), 0.1, 0.01)


def tool(name: str = "Read", **more: Any) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **more}}


def called(call_id: str, **more: Any) -> list[Json]:
    call = {"id": call_id, "type": "function", "function": {"name": "Read", "arguments": "{}"}}
    answer = {"role": "tool", "tool_call_id": call_id, "content": "ok"}
    return [USER, {"role": "assistant", "content": None, "tool_calls": [call], **more}, answer]


SCHEMA: Json = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
PATTERNS = [
    tool(parameters={"type": "object", "properties": {"path": {"type": "string", "pattern": pattern}}})
    for pattern in ("^/", "^[.]")
]
MARKED: list[Json] = [
    {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}
]
JSON: list[Json] = [{"role": "user", "content": "json"}]
NAMED: Json = {"type": "function", "function": {"name": "Read"}}

REFUSED: list[tuple[str, Json, str]] = [
    ("deepseek", {"response_format": SCHEMA}, "response_format"),
    ("glm", {"tools": [tool(strict=True)]}, "strict"),
    ("deepseek", {"thinking": {"type": "enabled"}, "tools": [tool()], "tool_choice": "required"}, "tool_choice"),
    ("deepseek", {"stop": [str(n) for n in range(17)]}, "stop"),
    ("glm", {"seed": 1}, "seed"),
    ("glm", {"max_completion_tokens": 5}, "max_completion_tokens"),
    ("glm", {"tools": [tool()], "tool_choice": "none"}, "tool_choice"),
    ("glm", {"stop": ["a", "b"]}, "stop"),
    ("glm", {"temperature": 1.2}, "temperature"),
    ("kimi", {"tools": [tool("7up")]}, "function name"),
    ("kimi", {"thinking": {"type": "enabled"}, "temperature": 0.5}, "temperature"),
    ("kimi", {"tools": [tool()], "tool_choice": "required"}, "tool_choice"),
    ("qwen", {"enable_thinking": True, "tools": [tool()], "tool_choice": NAMED}, "tool_choice"),
    ("mistral", {"messages": called("call_12345")}, "length of 9"),
    ("mistral", {"stream": True, "stream_options": {"include_usage": True}}, "stream_options"),
    ("mistral", {"seed": 1}, "seed"),
    ("groq", {"messages": called("c", reasoning_content="hm")}, "reasoning_content"),
    ("groq", {"logprobs": True}, "logprobs"),
    ("cerebras", {"messages": called("c", reasoning_content="hm")}, "reasoning_content"),
    ("xai", {"reasoning_effort": "high", "stop": ["a"]}, "stop"),
    ("fireworks", {"presence_penalty": 1, "repetition_penalty": 1}, "repetition_penalty"),
    ("fireworks", {"tools": PATTERNS}, "Conflict in schema definitions"),
    ("lmstudio", {"response_format": {"type": "json_object"}, "messages": JSON}, "json_schema"),
    ("lmstudio", {"tools": [tool()], "tool_choice": NAMED}, "tool_choice"),
    ("ollama", {"messages": MARKED}, "cache_control"),
]  # fmt: skip

TAKEN: list[tuple[str, Json]] = [
    ("deepseek", {"tools": [tool()], "tool_choice": "required"}),
    ("glm", {"stop": ["a"], "thinking": {"type": "enabled"}, "tools": [tool()], "tool_choice": "auto"}),
    ("qwen", {"messages": MARKED, "tools": [tool()], "tool_choice": NAMED}),
    ("mistral", {"messages": called("abcDEF123"), "tools": [tool()], "tool_choice": "any", "random_seed": 1}),
    (
        "mistral",
        {"messages": [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": []}]}, USER]},
    ),
    ("groq", {"messages": called("c", reasoning="hm"), "reasoning_format": "parsed"}),
    ("xai", {"stop": ["a"]}),
    ("fireworks", {"repetition_penalty": 1}),
]


def body_with(fields: Json) -> Json:
    return {"model": "m-1", "messages": [USER], **fields}


@pytest.mark.parametrize(("name", "fields", "why"), REFUSED)
def test_a_vendor_refuses_what_it_refuses(name: Dialect, fields: Json, why: str) -> None:
    with pytest.raises(Refused) as refused:
        check(body_with(fields), MODEL, name)
    assert why in refused.value.message
    assert refused.value.status == VENDORS[name].status


@pytest.mark.parametrize(("name", "fields"), TAKEN)
def test_a_vendor_takes_what_it_takes(name: Dialect, fields: Json) -> None:
    check(body_with(fields), MODEL, name)


def test_every_vendor_is_a_dialect_and_has_a_refusal() -> None:
    assert VENDORS.keys() <= set(get_args(Dialect))
    assert {name for name, _, _ in REFUSED} == VENDORS.keys()
