"""What OpenAI's Responses API refuses, in its own words. Checks stop at the first fault, as the vendor's do.

Harder than its older API: ids name their kind, an output answers exactly one call, reasoning comes back
encrypted by this vendor or is looked up, and nothing was stored here to be looked up.
"""

from collections.abc import Mapping
from typing import Any

from engine.simulator.models import SimulatedModel
from engine.simulator.openai_refusals import missing, refuse, too_long, wrong_type
from engine.simulator.openai_tools import check_name
from engine.simulator.wire import Refused

SECRET = "gAAAAAB"  # noqa: S105  # how the vendor's encrypted reasoning begins

_TOP_FIELDS = (
    "background client_metadata context_management conversation include input instructions max_output_tokens "
    "max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key "
    "prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream "
    "stream_options temperature text tool_choice tools top_logprobs top_p truncation user"
)
TOP = frozenset(_TOP_FIELDS.split())
_ROLES = ("assistant", "system", "developer", "user")
_SPOKEN = ("output_text", "refusal")
_READ = ("input_text", "input_image", "input_file")
_ITEMS = [
    "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
    "reasoning", "additional_tools", "web_search_call", "tool_search_call", "tool_search_output",
    "compaction",
]  # fmt: skip
_CALLS = {"function_call": "fc", "custom_tool_call": "ctc"}
_OUTPUTS = {"function_call_output": "function call", "custom_tool_call_output": "custom tool call"}
_HOSTED = frozenset(
    {"web_search", "tool_search", "file_search", "code_interpreter", "image_generation", "mcp"}
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_LEAST = 16


def check(body: Mapping[str, Any], model: SimulatedModel) -> None:
    """Raises Refused for the first thing the vendor would refuse."""
    for field in body:
        if field not in TOP:
            raise refuse(f"Unknown parameter: '{field}'.", field, "unknown_parameter")
    for field in ("previous_response_id", "conversation"):
        if body.get(field) is not None:
            message = f"Previous response with id '{body[field]}' not found."
            raise refuse(message, field, "previous_response_not_found")
    _check_knobs(body, model)
    _check_reasoning(body, model)
    _check_tools(body)
    _check_format(body)
    asked = body.get("input")
    if asked is None:
        raise missing("input")
    if isinstance(asked, str):
        return
    if not isinstance(asked, list):
        raise wrong_type("input", "one of a string or array of input items", asked)
    for index, item in enumerate(asked):
        _check_item(item, f"input[{index}]", body, model)
    _check_pairs(asked)


def _check_knobs(body: Mapping[str, Any], model: SimulatedModel) -> None:
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if "max_completion_tokens" in model.quirks:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise refuse(message, name, "unsupported_parameter")
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
            raise wrong_type(name, "a decimal", value)
    limit = body.get("max_output_tokens")
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise wrong_type("max_output_tokens", "an integer", limit)
    if limit < _LEAST:
        raise refuse(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {_LEAST}, but got "
            f"{limit} instead.",
            "max_output_tokens",
            "integer_below_min_value",
        )


def _check_reasoning(body: Mapping[str, Any], model: SimulatedModel) -> None:
    asked = body.get("reasoning") or {}
    effort = asked.get("effort")
    if effort is not None and not model.reasons:
        message = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        raise refuse(message, "reasoning.effort", "unsupported_parameter")
    if effort is not None and effort not in _EFFORTS:
        allowed = ", ".join(f"'{each}'" for each in _EFFORTS)
        message = f"Invalid value: '{effort}'. Supported values are: {allowed}."
        raise refuse(message, "reasoning.effort", "invalid_value")
    if "reasoning.encrypted_content" in (body.get("include") or ()) and not model.reasons:
        raise refuse("Encrypted content is not supported with this model.", "include")


def _check_tools(body: Mapping[str, Any]) -> None:
    names: list[str] = []
    for index, tool in enumerate(body.get("tools") or ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind in ("function", "custom"):
            check_name(tool.get("name"), f"tools[{index}].name")
            names.append(tool["name"])
            if kind == "function" and "parameters" not in tool:
                raise missing(f"tools[{index}].parameters")
        elif kind != "namespace" and kind not in _HOSTED:
            message = (
                f"Invalid value: '{kind}'. Supported values are: 'function', 'custom', and 'web_search'."
            )
            raise refuse(message, f"tools[{index}].type", "invalid_value")
    _check_choice(body.get("tool_choice"), names)


def _check_choice(choice: Any, names: list[str]) -> None:
    if choice in (None, "none", "auto"):
        return
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        if choice.get("name") not in names:
            raise refuse(f"Tool choice '{choice.get('name')}' not found in 'tools' parameter.", "tool_choice")
        return
    if choice == "required":
        if not names:
            raise refuse("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
        return
    if not isinstance(choice, dict):
        message = f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'."
        raise refuse(message, "tool_choice", "invalid_value")


def _check_format(body: Mapping[str, Any]) -> None:
    wanted = (body.get("text") or {}).get("format")
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind == "json_schema":
        check_name(wanted.get("name"), "text.format.name")
        if "schema" not in wanted:
            raise missing("text.format.schema")
    elif kind == "json_object":
        if "json" not in f"{body.get('input')}{body.get('instructions')}".lower():
            message = "Response input messages must contain the word 'json' in some form to use 'text.format' of type"
            raise refuse(f"{message} 'json_object'.", "input")
    elif kind != "text":
        message = f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'."
        raise refuse(message, "text.format.type", "invalid_value")


def _check_item(item: Any, at: str, body: Mapping[str, Any], model: SimulatedModel) -> None:
    if not isinstance(item, dict):
        raise wrong_type(at, "an input item", item)
    kind = item.get("type", "message")
    if kind not in _ITEMS:
        allowed = ", ".join(f"'{each}'" for each in _ITEMS)
        message = f"Invalid value: '{kind}'. Supported values are: {allowed}."
        raise refuse(message, f"{at}.type", "invalid_value")
    match kind:
        case "message":
            _check_message(item, at, model)
        case "function_call" | "custom_tool_call":
            _check_call(item, kind, at)
        case "function_call_output" | "custom_tool_call_output":
            _check_output(item, at)
        case "reasoning":
            _check_thought(item, at, body)


def _check_id(item: Mapping[str, Any], prefix: str, at: str) -> None:
    name = item.get("id")
    if name is not None and not str(name).startswith(prefix):
        message = f"Invalid '{at}.id': '{name}'. Expected an ID that begins with '{prefix}'."
        raise refuse(message, f"{at}.id", "invalid_value")


def _check_message(item: Mapping[str, Any], at: str, model: SimulatedModel) -> None:
    _check_id(item, "msg", at)
    role = item.get("role")
    if role not in _ROLES:
        allowed = ", ".join(f"'{each}'" for each in _ROLES)
        message = f"Invalid value: '{role}'. Supported values are: {allowed}."
        raise refuse(message, f"{at}.role", "invalid_value")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise missing(f"{at}.content")
    allowed_parts = _SPOKEN if role == "assistant" else _READ
    for number, part in enumerate(content):
        _check_part(part, f"{at}.content[{number}]", allowed_parts, model)


def _check_part(part: Any, at: str, allowed: tuple[str, ...], model: SimulatedModel) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in allowed:
        names = ", ".join(f"'{each}'" for each in allowed)
        message = f"Invalid value: '{kind}'. Supported values are: {names}."
        raise refuse(message, f"{at}.type", "invalid_value")
    if kind in ("input_text", "output_text") and not isinstance(part.get("text"), str):
        raise missing(f"{at}.text")
    if kind == "input_image":
        if "vision" not in model.can:
            raise refuse("Image inputs are not supported with this model.", at, "unsupported_value")
        if not str(part.get("image_url", "")).startswith(("https://", "data:image/")):
            message = (
                f"Invalid '{at}.image_url'. Expected a valid URL, but got a value with an invalid format."
            )
            raise refuse(message, f"{at}.image_url", "invalid_value")


def _check_call(item: Mapping[str, Any], kind: str, at: str) -> None:
    _check_id(item, _CALLS[kind], at)
    check_name(item.get("name"), f"{at}.name")
    for field in ("call_id", "arguments" if kind == "function_call" else "input"):
        if not isinstance(item.get(field), str):
            raise missing(f"{at}.{field}")
    if len(item["call_id"]) > 64:
        raise too_long(f"{at}.call_id", item["call_id"], 64)


def _check_output(item: Mapping[str, Any], at: str) -> None:
    if not isinstance(item.get("call_id"), str):
        raise missing(f"{at}.call_id")
    if not isinstance(item.get("output"), str | list):
        raise missing(f"{at}.output")


def _check_thought(item: Mapping[str, Any], at: str, body: Mapping[str, Any]) -> None:
    _check_id(item, "rs", at)
    if not isinstance(item.get("summary"), list):
        raise missing(f"{at}.summary")
    secret = item.get("encrypted_content")
    if secret is None and item.get("id"):
        why = "" if body.get("store", True) else " Items are not persisted when `store` is set to false."
        raise Refused(
            404, "invalid_request_error", f"Item with id '{item['id']}' not found.{why}", "input", None
        )
    if secret is not None and not str(secret).startswith(SECRET):
        message = f"The encrypted content {str(secret)[:8]}... could not be verified."
        raise refuse(message, None, "invalid_encrypted_content")


def _check_pairs(items: list[Any]) -> None:
    """Each call has one output somewhere behind it, of its own kind; and each output its call."""
    waiting: dict[str, str] = {}
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        if kind in _CALLS:
            waiting[item["call_id"]] = f"{kind}_output"
        elif kind in _OUTPUTS and waiting.pop(item["call_id"], None) != kind:
            message = f"No tool call found for {_OUTPUTS[kind]} output with call_id {item['call_id']}."
            raise refuse(message, "input")
        elif kind == "message" and item["role"] == "user" and waiting and index:
            break
    for call, kind in waiting.items():
        raise refuse(f"No tool output found for {_OUTPUTS[kind]} {call}.", "input")
