"""What an Anthropic client asks, read into a Request."""

from collections.abc import Mapping
from typing import Any, Literal

from engine.core.conversation import Message, Reasoning, Request, Role, Tool, ToolChoice, Tuning
from engine.protocols.anthropic_messages.blocks import ORIGIN, read_content
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
from engine.protocols.sealing import seal

NAMES = wire_map("anthropic_messages")

_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_THINKING = frozenset({"type", "budget_tokens"})
_OUTPUT_CONFIG = frozenset({"effort", "format"})
_MODES: Mapping[str, Literal["enabled", "disabled", "adaptive"]] = {
    "enabled": "enabled",
    "disabled": "disabled",
    "adaptive": "adaptive",
}


def read_request(body: Mapping[str, Any], raw: bytes) -> Request:
    """Raises RequestError with the path of what is wrong. `max_tokens` may be missing: counting needs none."""
    system = body.get("system")
    return Request(
        protocol=ORIGIN,
        model=string(body, "model", ""),
        system=() if system is None else read_content(system, "system"),
        messages=_read_messages(body.get("messages")),
        tools=tuple(_read_tool(tool, f"tools.{at}") for at, tool in enumerate(maybe_list(body, "tools", ""))),
        tuning=_read_tuning(body),
        stream=maybe_boolean(body, "stream", "") is True,
        raw=raw,
        body=body,
    )


def _read_messages(value: Any) -> tuple[Message, ...]:
    messages: list[Message] = []
    for at, item in enumerate(a_list(value, "messages")):
        path = f"messages.{at}"
        message = an_object(item, path)
        role = _ROLES.get(string(message, "role", path))
        if role is None:
            raise wrong(f"{path}.role", "`user`, `assistant` or `system`", message["role"])
        messages.append(Message(role, read_content(message.get("content"), f"{path}.content")))
    return tuple(messages)


def _read_tool(value: Any, path: str) -> Tool:
    tool = an_object(value, path)
    kind = string(tool, "type", path, "custom")
    if kind != "custom":
        # A tool that runs at Anthropic, or whose schema only Anthropic knows.
        return Tool(string(tool, "name", path, kind), kind=kind, sealed=seal(ORIGIN, tool))
    return Tool(
        name=string(tool, "name", path),
        description=string(tool, "description", path, ""),
        schema=maybe_object(tool, "input_schema", path) or {},
        strict=maybe_boolean(tool, "strict", path),
        cache_control=maybe_object(tool, "cache_control", path),
        sealed=seal(ORIGIN, leftover(tool, _TOOL)),
    )


def _read_tuning(body: Json) -> Tuning:
    found = knobs(body, NAMES)
    extra = leftover(body, NAMES.request_fields)
    choice = maybe_object(body, "tool_choice", "")
    if choice is not None:
        found["tool_choice"] = _read_choice(choice)
        alone = maybe_boolean(choice, "disable_parallel_tool_use", "tool_choice")
        found["parallel_tools"] = None if alone is None else not alone
    metadata = maybe_object(body, "metadata", "") or {}
    found["user"] = string(metadata, "user_id", "metadata", "")
    thinking = maybe_object(body, "thinking", "") or {}
    config = maybe_object(body, "output_config", "") or {}
    found["reasoning"] = _read_reasoning(thinking, config)
    form = maybe_object(config, "format", "output_config")
    if form is not None and form.get("type") == "json_schema":
        found["output_schema"] = an_object(form.get("schema"), "output_config.format.schema")
    elif form is not None:
        extra["output_config"] = {"format": form}
    for field, holder, known in (
        ("metadata", metadata, {"user_id"}),
        ("thinking", thinking, _THINKING),
        ("output_config", config, _OUTPUT_CONFIG),
    ):
        rest = leftover(holder, known)
        if rest:
            extra[field] = extra.get(field, {}) | rest
    return Tuning(**found, extra=extra)


def _read_choice(choice: Json) -> ToolChoice:
    match string(choice, "type", "tool_choice"):
        case "auto":
            return ToolChoice("auto")
        case "any":
            return ToolChoice("any")
        case "none":
            return ToolChoice("none")
        case "tool":
            return ToolChoice("tool", string(choice, "name", "tool_choice"))
        case _:
            raise wrong("tool_choice.type", "`auto`, `any`, `tool` or `none`", choice["type"])


def _read_reasoning(thinking: Json, config: Json) -> Reasoning | None:
    mode = _MODES.get(string(thinking, "type", "thinking")) if thinking else ""
    if mode is None:
        raise wrong("thinking.type", "`enabled`, `disabled` or `adaptive`", thinking["type"])
    budget = maybe_integer(thinking, "budget_tokens", "thinking")
    effort = string(config, "effort", "output_config", "")
    if not mode and not effort:
        return None
    return Reasoning(mode, budget, effort)
