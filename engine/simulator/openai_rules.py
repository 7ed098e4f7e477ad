"""What OpenAI's Chat Completions API refuses, in its own words, and what vendors who copied it refuse
differently.

`openai` itself is strict about every field. `openrouter` and `vllm` pass over what they do not know,
`deepseek` knows text only. Checks stop at the first fault, as the vendor's do.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from engine.simulator.models import Dialect, SimulatedModel
from engine.simulator.openai_refusals import empty, missing, refuse, too_long, wrong_type
from engine.simulator.openai_tools import check_name, check_tools
from engine.simulator.openai_vendors import VENDORS, check_vendor

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")

_TOP_FIELDS = (
    "messages model audio frequency_penalty function_call functions logit_bias logprobs "
    "max_completion_tokens "
    "max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty "
    "prompt_cache_key "
    "prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed "
    "service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user "
    "verbosity "
    "web_search_options"
)
TOP = frozenset(_TOP_FIELDS.split())
_MESSAGE = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset(
        {"role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "annotations"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id"}),
    "function": frozenset({"role", "content", "name"}),
}
_PART = {
    "text": frozenset({"type", "text", "prompt_cache_breakpoint"}),
    "image_url": frozenset({"type", "image_url"}),
    "input_audio": frozenset({"type", "input_audio"}),
    "file": frozenset({"type", "file"}),
    "refusal": frozenset({"type", "refusal"}),
}
_PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}


def check(body: Mapping[str, Any], model: SimulatedModel, dialect: Dialect) -> None:
    """Raises Refused for the first thing the vendor would refuse."""
    _check_fields(body, dialect)
    _check_knobs(body, model, dialect)
    check_tools(body, dialect)
    _check_format(body)
    for index, message in enumerate(body["messages"]):
        _check_message(message, f"messages[{index}]", model, dialect)
    _check_pairs(body["messages"])
    check_vendor(body, dialect, thinks=_is_asked_to_think(body, model))
    if "replays_reasoning" in model.quirks and (body.get("thinking") or {}).get("type") == "enabled":
        _check_replay(body["messages"])


def _is_asked_to_think(body: Mapping[str, Any], model: SimulatedModel) -> bool:
    switch = body.get("thinking") or {}
    asked = (
        switch.get("type") == "enabled"
        or body.get("enable_thinking")
        or body.get("reasoning_effort", "none") != "none"
    )
    return model.reasons and (bool(asked) or "reasons_unasked" in model.quirks)


def _check_fields(body: Mapping[str, Any], dialect: Dialect) -> None:
    if dialect == "openai":
        for field in body:
            if field not in TOP:
                raise refuse(f"Unknown parameter: '{field}'.", field, "unknown_parameter")
    if "messages" not in body:
        raise refuse("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(body["messages"], list):
        raise wrong_type("messages", "an array of objects", body["messages"])
    if not body["messages"]:
        raise empty("messages")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise refuse(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )


def _check_knobs(body: Mapping[str, Any], model: SimulatedModel, dialect: Dialect) -> None:
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise wrong_type(name, "a decimal", value)
        if not 0 <= value <= most:
            bound, side = (most, "above maximum") if value > most else (0, "below minimum")
            sign = "<=" if value > most else ">="
            raise refuse(
                f"Invalid '{name}': decimal {side} value. Expected a value {sign} {bound}, but got {value} "
                "instead.",
                name,
                "decimal_above_max_value" if value > most else "decimal_below_min_value",
            )
    for name in ("max_tokens", "max_completion_tokens"):
        _check_limit(body.get(name), name, model)
    stops = body.get("stop")
    if isinstance(stops, list) and len(stops) > 4 and dialect not in VENDORS:
        raise refuse(
            f"Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with "
            f"length {len(stops)} instead.",
            "stop",
            "array_above_max_length",
        )
    if body.get("n") not in (None, 1):
        raise refuse("This simulated model answers with one choice.", "n", "unsupported_value")
    if dialect == "openai":
        _check_reasoning_knobs(body, model)


def _check_limit(value: Any, name: str, model: SimulatedModel) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    if value < 1:
        raise refuse(
            f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead.",
            name,
            "integer_below_min_value",
        )
    if value > model.output_tokens:
        raise refuse(
            f"max_tokens is too large: {value}. This model supports at most {model.output_tokens} completion "
            f"tokens, whereas you provided {value}.",
            name,
            "invalid_value",
        )


def _check_reasoning_knobs(body: Mapping[str, Any], model: SimulatedModel) -> None:
    effort = body.get("reasoning_effort")
    if effort is not None and not model.reasons:
        raise refuse("Unrecognized request argument supplied: reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        allowed = ", ".join(f"'{each}'" for each in _EFFORTS)
        raise refuse(
            f"Invalid value: '{effort}'. Supported values are: {allowed}.",
            "reasoning_effort",
            "invalid_value",
        )
    if "max_completion_tokens" not in model.quirks:
        return
    for name, instead in (("max_tokens", " Use 'max_completion_tokens' instead."), ("stop", "")):
        if body.get(name) is not None:
            raise refuse(
                f"Unsupported parameter: '{name}' is not supported with this model.{instead}",
                name,
                "unsupported_parameter",
            )
    reasons = "reasons_unasked" in model.quirks if effort is None else effort != "none"
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if reasons and value not in (None, 1):
            raise refuse(
                f"Unsupported value: '{name}' does not support {value} with this model. "
                "Only the default (1) value is supported.",
                name,
                "unsupported_value",
            )


def _check_format(body: Mapping[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise refuse(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            "response_format.type",
            "invalid_value",
        )
    if kind == "json_schema":
        described = wanted.get("json_schema")
        if not isinstance(described, dict):
            raise missing("response_format.json_schema")
        check_name(described.get("name"), "response_format.json_schema.name")
    if kind == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        raise refuse(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            "messages",
        )


def _check_message(message: Any, at: str, model: SimulatedModel, dialect: Dialect) -> None:
    if not isinstance(message, dict):
        raise wrong_type(at, "an object", message)
    role = message.get("role")
    if role is None:
        raise missing(f"{at}.role")
    if role not in _ROLES:
        allowed = ", ".join(f"'{each}'" for each in _ROLES[:-1])
        raise refuse(
            f"Invalid value: '{role}'. Supported values are: {allowed}, and 'developer'.",
            f"{at}.role",
            "invalid_value",
        )
    if role == "developer" and dialect in ("deepseek", "vllm"):
        raise refuse(
            f"Failed to deserialize the JSON body into the target type: {at}.role: unknown variant "
            "`developer`, "
            "expected one of `system`, `user`, `assistant`, `tool`"
        )
    if dialect == "openai":
        for field in message:
            if field not in _MESSAGE[role]:
                raise refuse(f"Unknown parameter: '{at}.{field}'.", f"{at}.{field}", "unknown_parameter")
    calls = message.get("tool_calls")
    if role == "assistant" and calls is not None:
        _check_calls(calls, f"{at}.tool_calls", model)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise missing(f"{at}.tool_call_id")
    _check_content(message, at, model, dialect)


def _check_calls(calls: Any, at: str, model: SimulatedModel) -> None:
    if not isinstance(calls, list):
        raise wrong_type(at, "an array of objects", calls)
    if not calls:
        raise empty(at)
    longest = 64 if "long_tool_ids" in model.quirks else 40
    for index, call in enumerate(calls):
        here = f"{at}[{index}]"
        if not isinstance(call.get("id"), str):
            raise missing(f"{here}.id")
        if len(call["id"]) > longest:
            raise too_long(f"{here}.id", call["id"], longest)
        kind = call.get("type")
        if kind is None:
            raise missing(f"{here}.type")
        if kind == "custom":
            continue
        if kind != "function" or not isinstance(call.get("function"), dict):
            raise missing(f"{here}.function")
        check_name(call["function"].get("name"), f"{here}.function.name")
        arguments = call["function"].get("arguments")
        if not isinstance(arguments, str):
            where = f"{here}.function.arguments"
            raise missing(where) if arguments is None else wrong_type(where, "a string", arguments)


def _check_content(message: Mapping[str, Any], at: str, model: SimulatedModel, dialect: Dialect) -> None:
    role, content = message["role"], message.get("content")
    if content is None:
        if role == "assistant" and (
            message.get("tool_calls") or message.get("refusal") or message.get("audio")
        ):
            return
        if "content" not in message:
            raise missing(f"{at}.content")
        raise refuse("Invalid value for 'content': expected a string, got null.", f"{at}.content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if not content:
        raise empty(f"{at}.content")
    for number, part in enumerate(content):
        _check_part(part, role, at, number, model, dialect)


def _check_part(part: Any, role: str, at: str, number: int, model: SimulatedModel, dialect: Dialect) -> None:
    here = f"{at}.content[{number}]"
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image_url" and role != "user" and dialect != "openrouter":
        raise refuse(
            f"Invalid '{at}'. Image URLs are only allowed for messages with role 'user', but this message "
            "with role "
            f"'{role}' contains an image URL.",
            at,
            "invalid_value",
        )
    if dialect == "openrouter" and kind in ("file", "input_audio", "video_url"):
        return
    if kind not in _PART and dialect in VENDORS and kind in VENDORS[dialect].parts:
        return
    allowed = _PARTS.get(role, ("text",)) if dialect != "openrouter" else tuple(_PART)
    if kind not in allowed:
        names = ", ".join(f"'{each}'" for each in allowed)
        raise refuse(
            f"Invalid value: '{kind}'. Supported values are: {names}.", f"{here}.type", "invalid_value"
        )
    if kind == "image_url" and "vision" not in model.can:
        raise refuse(
            f"Failed to deserialize the JSON body into the target type: {at}: unknown variant `image_url`, "
            "expected `text`"
        )
    if dialect == "openai":
        for field in part:
            if field not in _PART[kind]:
                raise refuse(f"Unknown parameter: '{here}.{field}'.", f"{here}.{field}", "unknown_parameter")
    if kind == "text" and not isinstance(part.get("text"), str):
        raise missing(f"{here}.text")
    if kind == "image_url":
        _check_image(part.get("image_url"), f"{here}.image_url")


def _check_image(image: Any, at: str) -> None:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        raise missing(f"{at}.url")
    if url.startswith(("https://", "http://")):
        return
    head, _, data = url.partition(";base64,")
    if not head.startswith("data:image/"):
        raise refuse("Invalid MIME type. Only image types are supported.", at, "invalid_image_format")
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise refuse("Invalid base64 image_url.", at, "invalid_base64")


def _check_pairs(messages: list[Any]) -> None:
    """After calls come their results, all of them and nothing between; nowhere else may a result stand."""
    called: set[str] = set()
    waiting: set[str] = set()
    answering = False
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            _check_answer(message["tool_call_id"], index, answering, called, waiting)
            waiting.discard(message["tool_call_id"])
            continue
        _check_answered(waiting, index)
        called = {call["id"] for call in message.get("tool_calls") or ()}
        waiting = set(called)
        answering = bool(called)
    _check_answered(waiting, len(messages))


def _check_answer(call: str, index: int, answering: bool, called: set[str], waiting: set[str]) -> None:
    if not answering:
        raise refuse(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'.",
            f"messages.[{index}].role",
        )
    if call not in called:
        raise refuse(
            f"Invalid parameter: 'tool_call_id' of '{call}' not found in 'tool_calls' of previous message.",
            f"messages.[{index}].tool_call_id",
        )
    if call not in waiting:
        raise refuse(f"Duplicate value for 'tool_call_id' of '{call}'.", f"messages.[{index}].tool_call_id")


def _check_answered(waiting: set[str], index: int) -> None:
    if waiting:
        raise refuse(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(sorted(waiting))}",
            f"messages.[{index}].role",
        )


def _check_replay(messages: list[Any]) -> None:
    """DeepSeek wants the reasoning of the open tool loop back with its calls."""
    last = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=0)
    for message in messages[last:]:
        if message.get("tool_calls") and not isinstance(message.get("reasoning_content"), str):
            raise refuse("The `reasoning_content` in the thinking mode must be passed back to the API.")
