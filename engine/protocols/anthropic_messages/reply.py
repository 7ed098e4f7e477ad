"""Anthropic's whole replies, and its way of counting tokens."""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Loss, Part, Text, Thinking, ToolCall
from engine.core.errors import MALFORMED, Fault, RequestError, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols.anthropic_messages.blocks import ORIGIN, read_block, write_block
from engine.protocols.anthropic_messages.reading import NAMES
from engine.protocols.faults import fault_in_stream
from engine.protocols.fields import Json, a_list, leftover, string
from engine.protocols.sealing import opened, report_foreign, seal, to_signature
from engine.protocols.shape import Encoded, ReplyContext
from engine.protocols.turns import CallIds, made_id


def read_reply(body: Mapping[str, Any]) -> Reply:
    """Raises UpstreamError where the body is an error, or no reply."""
    if body.get("error") is not None:
        raise UpstreamError(fault_in_stream(NAMES, body["error"]))
    try:
        parts = tuple(
            read_block(block, "content", at)
            for at, block in enumerate(a_list(body.get("content"), "content"))
        )
        reason, sequence = body.get("stop_reason"), body.get("stop_sequence")
        usage = body.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return Reply(
            string(body, "id", "", ""),
            string(body, "model", "", ""),
            parts,
            read_stop(reason, sequence, any(isinstance(part, ToolCall) for part in parts)),
            read_usage(usage),
            seal(ORIGIN, left_of_reply(body, usage)),
        )
    except RequestError as error:
        message = f"the provider's reply is malformed: {error}"
        raise UpstreamError(Fault("server_error", message, 502, "provider", MALFORMED)) from error


def read_stop(reason: Any, sequence: Any, has_calls: bool) -> Stop:
    found = NAMES.stop_read.get(reason, "end_turn") if isinstance(reason, str) else "end_turn"
    if has_calls and found == "end_turn":
        found = "tool_use"
    return Stop(found, sequence if isinstance(sequence, str) else None)


def left_of_reply(body: Json, usage: Json) -> dict[str, Any]:
    rest = leftover(body, NAMES.reply_fields)
    rest_of_usage = leftover(usage, NAMES.usage_fields)
    if rest_of_usage:
        rest["usage"] = rest_of_usage
    return rest


def read_usage(usage: Json) -> Usage:
    """Anthropic counts cache reads and writes beside the input, and thinking within the output."""
    details = usage.get("output_tokens_details")
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + read + written,
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=_count(details, "thinking_tokens") if isinstance(details, dict) else 0,
    )


def _count(usage: Json, key: str) -> int:
    value = usage.get(key)
    return value if type(value) is int and value > 0 else 0


def write_usage(usage: Usage) -> dict[str, Any]:
    written: dict[str, Any] = {
        "input_tokens": max(usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return written


def write_reply(reply: Reply, context: ReplyContext) -> Encoded:
    losses: list[Loss] = []
    ids = CallIds(NAMES.limits)
    content: list[Mapping[str, Any]] = []
    for at, part in enumerate(reply.parts):
        block = client_block(part, f"content.{at}", losses)
        if block is None:
            continue
        if isinstance(part, ToolCall):
            block["id"] = ids.give(part.id or made_id(f"{context.id}\0{at}"))
        content.append(block)
    own = dict(opened(reply.sealed, ORIGIN))
    body: dict[str, Any] = {
        "id": context.id or reply.id,
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": content,
        "stop_reason": write_stop(reply.stop, any(isinstance(part, ToolCall) for part in reply.parts)),
        "stop_sequence": reply.stop.sequence,
        "usage": write_usage(reply.usage) | own.pop("usage", {}),
    }
    report_foreign(reply.sealed, ORIGIN, "", losses)
    return Encoded(body | own, tuple(losses))


def write_stop(stop: Stop, has_calls: bool) -> str:
    # A client runs tools only on `tool_use`, whatever a vendor said at the end.
    reason = "tool_use" if has_calls and stop.reason == "end_turn" else stop.reason
    return NAMES.stop_write[reason]


def client_block(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    """A part as a block for a client: unlike a provider, it may see thinking that Anthropic did not sign."""
    if isinstance(part, Thinking) and not opened(part.sealed, ORIGIN):
        signature = to_signature(part.sealed) if part.sealed is not None else ""
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    if isinstance(part, Text) and not part.text.strip():
        return {"type": "text", "text": part.text}
    return write_block(part, path, losses)
