"""What vendors refuse who copied OpenAI's Chat Completions API, each in its own words.

Written from what the vendors document and answer, not from how the engine speaks to them: the one is held against
the other in tests. Who is not in the table passes over what it does not know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.simulator.openai_refusals import refuse
from engine.simulator.wire import Refused


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_COMMON = _words("model messages max_tokens temperature top_p stop stream tools tool_choice response_format")


@dataclass(frozen=True, slots=True)
class Vendor:
    """`fields` are all top-level fields there are, where others are refused. `choices` are the tool choices that it
    takes, `thinking_choices` those while it thinks."""

    fields: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    message_fields: frozenset[str] = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
    closed_messages: bool = False
    parts: tuple[str, ...] = ("text", "image_url")
    choices: tuple[str, ...] = ("auto", "none", "required", "named")
    thinking_choices: tuple[str, ...] = ()  # empty: the same
    formats: tuple[str, ...] = ("text", "json_object", "json_schema")
    stops: int = 4
    temperature: float = 2.0
    call_id: str = ""
    tool_name: str = ""
    strict_tools: bool = True
    marks: bool = False
    status: int = 400


def _fields(names: str) -> frozenset[str]:
    return _COMMON | _words(names)


VENDORS: Mapping[str, Vendor] = {
    "deepseek": Vendor(
        parts=("text",), formats=("text", "json_object"), stops=16,
        thinking_choices=("auto", "none"),
    ),
    "glm": Vendor(
        _fields("request_id do_sample thinking tool_stream user_id reasoning_effort"),
        choices=("auto",), formats=("text", "json_object"), stops=1, temperature=1.0, strict_tools=False,
    ),
    "kimi": Vendor(
        _fields(
            "n presence_penalty frequency_penalty stream_options thinking prompt_cache_key safety_identifier "
            "max_completion_tokens"
        ),
        choices=("auto", "none"), formats=("text", "json_object"), stops=5, temperature=1.0,
        tool_name=r"[a-zA-Z_][a-zA-Z0-9-_]{2,63}",
    ),
    "qwen": Vendor(
        choices=("auto", "none", "named"), thinking_choices=("auto", "none"), marks=True, temperature=1.9999,
    ),
    "mistral": Vendor(
        _fields(
            "frequency_penalty presence_penalty n random_seed safe_prompt prediction parallel_tool_calls "
            "prompt_mode reasoning_effort metadata"
        ) - {"stream_options"},
        message_fields=frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "prefix"}),
        closed_messages=True, parts=("text", "image_url", "document_url", "thinking"),
        choices=("auto", "none", "any", "required", "named"), temperature=1.5, call_id=r"[a-zA-Z0-9]{9}", status=422,
    ),
    "groq": Vendor(
        _fields(
            "frequency_penalty presence_penalty max_completion_tokens n parallel_tool_calls reasoning_effort "
            "reasoning_format include_reasoning seed service_tier store stream_options user metadata "
            "search_settings compound_custom documents citation_options disable_tool_validation"
        ),
        message_fields=frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning"}), closed_messages=True,
    ),
    "cerebras": Vendor(
        _fields(
            "max_completion_tokens reasoning_effort clear_thinking parallel_tool_calls seed stream_options user "
            "logprobs top_logprobs"
        ) - {"max_tokens"},
        message_fields=frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning"}), closed_messages=True,
        parts=("text",),
    ),
    "xai": Vendor(refused=frozenset({"logit_bias", "top_k"})),
    "fireworks": Vendor(),
    "ollama": Vendor(),
    "lmstudio": Vendor(choices=("auto", "none", "required"), formats=("text", "json_schema")),
}  # fmt: skip

# What each refuses of a model that thinks, and how it is known that it does.
_WHILE_THINKING: Mapping[str, tuple[str, ...]] = {
    "xai": ("presence_penalty", "frequency_penalty", "stop"),
    "kimi": ("temperature", "top_p", "n", "presence_penalty", "frequency_penalty"),
}


def check_vendor(body: Mapping[str, Any], name: str, *, thinks: bool) -> None:
    """Raises Refused for the first thing the vendor would refuse."""
    vendor = VENDORS.get(name)
    if vendor is None:
        return
    _check_fields(body, name, vendor, thinks)
    for at, message in enumerate(body.get("messages") or ()):
        _check_message(message, f"messages[{at}]", vendor)
    _check_tools(body, vendor, thinks)
    form = (body.get("response_format") or {}).get("type", "text")
    if form not in vendor.formats:
        raise _no(vendor, f"'response_format.type' must be one of {', '.join(vendor.formats)}")
    if name == "fireworks":
        _check_conflicts(body)


def _no(vendor: Vendor, message: str) -> Refused:
    refused = refuse(message)
    refused.status = vendor.status
    return refused


def _check_fields(body: Mapping[str, Any], name: str, vendor: Vendor, thinks: bool) -> None:
    for field in body:
        if field in vendor.refused or (vendor.fields and field not in vendor.fields | {"stream"}):
            raise _no(vendor, f"property '{field}' is unsupported")
        if thinks and field in _WHILE_THINKING.get(name, ()):
            raise _no(vendor, f"Argument not supported on this model: {field}")
    stops = body.get("stop")
    if isinstance(stops, list) and len(stops) > vendor.stops:
        raise _no(vendor, f"stop: at most {vendor.stops}")
    if (body.get("temperature") or 0) > vendor.temperature:
        raise _no(vendor, f"temperature: at most {vendor.temperature:g}")


def _check_message(message: Mapping[str, Any], at: str, vendor: Vendor) -> None:
    if message["role"] not in ("system", "user", "assistant", "tool"):
        raise _no(vendor, f"{at}.role: unknown role {message['role']}")
    for field in message:
        if vendor.closed_messages and field not in vendor.message_fields:
            raise _no(vendor, f"'{at}' : property '{field}' is unsupported")
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if part["type"] not in vendor.parts:
            raise _no(vendor, f"{at}.content: unknown type {part['type']}")
        if "cache_control" in part and not vendor.marks:
            raise _no(vendor, f"{at}.content: property 'cache_control' is unsupported")
    for call in message.get("tool_calls") or ():
        if vendor.call_id and not re.fullmatch(vendor.call_id, call["id"]):
            raise _no(vendor, f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9.")


def _check_tools(body: Mapping[str, Any], vendor: Vendor, thinks: bool) -> None:
    for tool in body.get("tools") or ():
        function = tool.get("function") or {}
        if vendor.tool_name and not re.fullmatch(vendor.tool_name, function["name"]):
            raise _no(vendor, f"function name is invalid: {function['name']}")
        if "strict" in function and not vendor.strict_tools:
            raise _no(vendor, "property 'strict' is unsupported")
        if "cache_control" in tool and not vendor.marks:
            raise _no(vendor, "property 'cache_control' is unsupported")
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice if isinstance(choice, str) else "named"
    if kind not in (vendor.thinking_choices if thinks and vendor.thinking_choices else vendor.choices):
        raise _no(vendor, f"tool_choice {kind} is not supported")


def _check_conflicts(body: Mapping[str, Any]) -> None:
    if "repetition_penalty" in body and "presence_penalty" in body:
        raise refuse("Only one of repetition_penalty and presence_penalty may be set")
    patterns: dict[str, Any] = {}
    for tool in body.get("tools") or ():
        for name, schema in (tool["function"].get("parameters") or {}).get("properties", {}).items():
            if patterns.setdefault(name, schema.get("pattern")) != schema.get("pattern"):
                raise refuse(f"Conflict in schema definitions: {name}")
