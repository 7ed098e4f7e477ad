"""What an OpenAI Chat client asks, read into a Request.

System messages at the beginning are the system prompt; later ones keep their place. Tool messages that
follow one another answer one assistant message and become one message of results.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import (
    Message,
    Part,
    Reasoning,
    Request,
    Sealed,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    Tuning,
)
from engine.protocols.fields import (
    Json,
    a_list,
    an_object,
    knobs,
    leftover,
    maybe_boolean,
    maybe_integer,
    maybe_list,
    maybe_object,
    string,
    wrong,
)
from engine.protocols.mapping import wire_map
from engine.protocols.openai_chat.parts import (
    ORIGIN,
    REASONING_FIELDS,
    read_calls,
    read_content,
    read_reasoning,
)
from engine.protocols.sealing import seal

NAMES = wire_map("openai_chat")

_MESSAGE = frozenset({"role", "content"})
_TOOL_MESSAGE = frozenset({"role", "content", "tool_call_id", "name"})
_ASSISTANT = frozenset(
    {"role", "content", "tool_calls", "function_call", "refusal", "reasoning_details", *REASONING_FIELDS}
)
_TOOL = frozenset({"type", "function", "cache_control"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_FORMAT = frozenset({"name", "schema", "strict"})


def read_request(body: Mapping[str, Any], raw: bytes) -> Request:
    """Raises RequestError with the path of what is wrong."""
    system, messages = _read_messages(a_list(body.get("messages"), "messages"))
    return Request(
        protocol=ORIGIN,
        model=string(body, "model", ""),
        system=system,
        messages=messages,
        tools=tuple(_read_tool(tool, f"tools.{at}") for at, tool in enumerate(maybe_list(body, "tools", ""))),
        tuning=_read_tuning(body),
        stream=maybe_boolean(body, "stream", "") is True,
        raw=raw,
        body=body,
    )


def _read_messages(items: list[Any]) -> tuple[tuple[Part, ...], tuple[Message, ...]]:
    system: list[Part] = []
    messages: list[Message] = []
    results: list[Part] = []
    for at, item in enumerate(items):
        path = f"messages.{at}"
        message = an_object(item, path)
        role = string(message, "role", path)
        if role in ("tool", "function"):
            results.append(_read_result(message, path, role))
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        match role:
            case "system" | "developer" if not messages:
                system += _with_rest(
                    read_content(message.get("content"), f"{path}.content"), message, _MESSAGE
                )
            case "system" | "developer":
                messages.append(Message("system", _read_plain(message, path)))
            case "user":
                messages.append(Message("user", _read_plain(message, path)))
            case "assistant":
                messages.append(Message("assistant", _read_assistant(message, path)))
            case _:
                raise wrong(f"{path}.role", "`system`, `developer`, `user`, `assistant` or `tool`", role)
    if results:
        messages.append(Message("user", tuple(results)))
    return tuple(system), tuple(messages)


def _read_plain(message: Json, path: str) -> tuple[Part, ...]:
    return _with_rest(read_content(message.get("content"), f"{path}.content"), message, _MESSAGE)


def _read_assistant(message: Json, path: str) -> tuple[Part, ...]:
    parts: list[Part] = list(read_reasoning(message))
    parts += read_content(message.get("content"), f"{path}.content")
    refusal = string(message, "refusal", path, "")
    if refusal:
        parts.append(Text(refusal, None, Sealed(ORIGIN, {"type": "refusal"})))
    parts += read_calls(message, path)
    return _with_rest(tuple(parts), message, _ASSISTANT)


def _with_rest(parts: tuple[Part, ...], message: Json, known: frozenset[str]) -> tuple[Part, ...]:
    """A message's own further fields (`name`, `prefix`) ride on its first text, sealed."""
    if message.keys() <= known or not parts or not isinstance(parts[0], Text):
        return parts
    rest = {key: value for key, value in leftover(message, known).items() if value not in ([], False)}
    if not rest:
        return parts
    first = parts[0]
    data = dict(first.sealed.data) if first.sealed is not None else {}
    return (Text(first.text, first.cache_control, Sealed(ORIGIN, data | {"message": rest})), *parts[1:])


def _read_result(message: Json, path: str, role: str) -> ToolResult:
    key = "name" if role == "function" else "tool_call_id"
    return ToolResult(
        string(message, key, path),
        read_content(message.get("content"), f"{path}.content"),
        sealed=seal(ORIGIN, leftover(message, _TOOL_MESSAGE)),
    )


def _read_tool(value: Any, path: str) -> Tool:
    tool = an_object(value, path)
    kind = string(tool, "type", path, "function")
    if kind != "function":
        described = tool.get(kind)
        name = described.get("name") if isinstance(described, dict) else None
        return Tool(name if isinstance(name, str) else kind, kind=kind, sealed=seal(ORIGIN, tool))
    function = an_object(tool.get("function"), f"{path}.function")
    rest = leftover(tool, _TOOL)
    more = leftover(function, _FUNCTION)
    if more:
        rest["function"] = more
    return Tool(
        name=string(function, "name", f"{path}.function"),
        description=string(function, "description", f"{path}.function", ""),
        schema=maybe_object(function, "parameters", f"{path}.function") or {},
        strict=maybe_boolean(function, "strict", f"{path}.function"),
        cache_control=maybe_object(tool, "cache_control", path),
        sealed=seal(ORIGIN, rest),
    )


def _read_tuning(body: Json) -> Tuning:
    found = knobs(body, NAMES)
    extra = leftover(body, NAMES.request_fields - NAMES.kept)
    if body.get("max_completion_tokens") is not None and body.get("max_tokens") is not None:
        extra["max_tokens"] = body["max_tokens"]
    choice = body.get("tool_choice")
    if choice is not None:
        found["tool_choice"] = _read_choice(choice, extra)
    found["reasoning"] = _read_reasoning(body)
    form = maybe_object(body, "response_format", "")
    if form is not None:
        _read_format(form, found, extra)
    return Tuning(**found, extra=extra)


def _read_choice(choice: Any, extra: dict[str, Any]) -> ToolChoice:
    if type(choice) is str:
        match choice:
            case "auto":
                return ToolChoice("auto")
            case "none":
                return ToolChoice("none")
            case "required" | "any":
                return ToolChoice("any")
            case _:
                raise wrong("tool_choice", "`auto`, `none`, `required` or an object", choice)
    choice = an_object(choice, "tool_choice")
    match string(choice, "type", "tool_choice"):
        case "function" | "custom" as kind:
            named = an_object(choice.get(kind), f"tool_choice.{kind}")
            return ToolChoice("tool", string(named, "name", f"tool_choice.{kind}"))
        case "allowed_tools":
            extra["tool_choice"] = choice
            allowed = maybe_object(choice, "allowed_tools", "tool_choice") or {}
            return ToolChoice("any" if allowed.get("mode") == "required" else "auto")
        case _:
            raise wrong("tool_choice.type", "`function`, `custom` or `allowed_tools`", choice["type"])


def _read_reasoning(body: Json) -> Reasoning | None:
    """OpenAI's effort, OpenRouter's `reasoning`, the `thinking` of DeepSeek and Z.AI, or Qwen's `enable_thinking`."""
    effort = string(body, "reasoning_effort", "", "")
    if effort:
        return Reasoning(effort=effort)
    wanted = maybe_object(body, "reasoning", "")
    if wanted is not None:
        off = wanted.get("enabled") is False
        effort = string(wanted, "effort", "reasoning", "")
        budget = maybe_integer(wanted, "max_tokens", "reasoning")
        return Reasoning("disabled" if off else "enabled" if budget else "", budget, effort)
    switch = body.get("enable_thinking")
    if type(switch) is bool:
        return (
            Reasoning("enabled", maybe_integer(body, "thinking_budget", ""))
            if switch
            else Reasoning("disabled")
        )
    thinking = maybe_object(body, "thinking", "")
    if thinking is None:
        return None
    match thinking.get("type"):
        case "enabled":
            return Reasoning("enabled", maybe_integer(thinking, "budget_tokens", "thinking"))
        case "disabled":
            return Reasoning("disabled")
        case _:
            return None


def _read_format(form: Json, found: dict[str, Any], extra: dict[str, Any]) -> None:
    match string(form, "type", "response_format"):
        case "text":
            return
        case "json_object":
            found["json_mode"] = True
        case "json_schema":
            named = an_object(form.get("json_schema"), "response_format.json_schema")
            found["output_schema"] = maybe_object(named, "schema", "response_format.json_schema") or {}
            found["output_schema_name"] = string(named, "name", "response_format.json_schema", "")
            found["output_schema_strict"] = maybe_boolean(named, "strict", "response_format.json_schema")
            rest = leftover(named, _FORMAT)
            if rest:
                extra["response_format"] = {"json_schema": rest}
        case _:
            extra["response_format"] = form
