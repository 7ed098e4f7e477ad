"""Whole replies read, and OpenAI's way of counting tokens."""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Part, Text, ToolCall
from engine.core.errors import MALFORMED, Fault, RequestError, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols.faults import fault_in_stream
from engine.protocols.fields import Json, a_list, an_object, leftover, string
from engine.protocols.openai_responses.content import is_refusal
from engine.protocols.openai_responses.items import read_item
from engine.protocols.openai_responses.names import NAMES, ORIGIN
from engine.protocols.sealing import seal

_FAILED = ("failed", "cancelled")


def read_reply(body: Mapping[str, Any]) -> Reply:
    """Raises UpstreamError where the body is an error, or no reply."""
    if body.get("error") or body.get("status") in _FAILED:
        raise UpstreamError(fault_of(body))
    try:
        parts: list[Part] = []
        for at, value in enumerate(a_list(body.get("output"), "output")):
            item = an_object(value, f"output.{at}")
            parts += read_item(item, string(item, "type", f"output.{at}", "message"), f"output.{at}")
        return Reply(
            string(body, "id", "", ""),
            string(body, "model", "", ""),
            tuple(parts),
            read_stop(body, parts),
            read_usage(body),
            seal(ORIGIN, leftover(body, NAMES.reply_fields)),
        )
    except RequestError as error:
        message = f"the provider's reply is malformed: {error}"
        raise UpstreamError(Fault("server_error", message, 502, "provider", MALFORMED)) from error


def fault_of(response: Json) -> Fault:
    """Why a response failed."""
    error = response.get("error")
    if error:
        return fault_in_stream(NAMES, error)
    return Fault("server_error", f"the provider's response was {response.get('status')}", 0, "provider")


def read_stop(response: Json, parts: list[Part]) -> Stop:
    return stop_of(
        response,
        any(isinstance(part, ToolCall) for part in parts),
        any(isinstance(part, Text) and is_refusal(part) for part in parts),
    )


def stop_of(response: Json, has_calls: bool, refused: bool) -> Stop:
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return Stop(NAMES.stop_read.get(reason, "max_tokens") if isinstance(reason, str) else "max_tokens")
    return Stop("tool_use" if has_calls else "refusal" if refused else "end_turn")


def read_usage(response: Json) -> Usage:
    """OpenAI counts cache reads and writes within the input, and reasoning within the output."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    inputs, outputs = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    prompt, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cache_read_tokens=min(_count(inputs, "cached_tokens"), prompt),
        cache_write_tokens=min(_count(inputs, "cache_write_tokens"), prompt),
        reasoning_tokens=_count(outputs, "reasoning_tokens"),
    )


def _count(usage: Json, key: str) -> int:
    value = usage.get(key)
    return value if type(value) is int and value > 0 else 0


def write_usage(usage: Usage) -> dict[str, Any]:
    """Clients read the details without asking whether they are there."""
    details = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
