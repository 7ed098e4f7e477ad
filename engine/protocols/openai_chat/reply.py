"""Whole replies in OpenAI Chat, and the many ways of counting tokens in it."""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Loss, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import MALFORMED, Fault, RequestError, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols.faults import fault_in_stream
from engine.protocols.fields import Json, an_object, leftover, string
from engine.protocols.openai_chat.parts import (
    ORIGIN,
    REASONING_FIELDS,
    read_calls,
    read_content,
    read_reasoning,
    write_call,
    write_detail,
)
from engine.protocols.openai_chat.reading import NAMES
from engine.protocols.sealing import opened, report_foreign, seal
from engine.protocols.shape import Encoded, ReplyContext
from engine.protocols.turns import CallIds, made_id

MESSAGE_FIELDS = frozenset(
    {
        "role", "content", "tool_calls", "function_call", "refusal", "reasoning_details", "channel",
        "thought_signature", *REASONING_FIELDS,
    }
)  # fmt: skip
CHOICE_FIELDS = frozenset({"index", "message", "delta", "finish_reason"})


def read_reply(body: Mapping[str, Any]) -> Reply:
    """Raises UpstreamError where the body is an error, or no reply."""
    if body.get("error"):
        raise UpstreamError(fault_in_stream(NAMES, body["error"]))
    try:
        return _read(body)
    except RequestError as error:
        message = f"the provider's reply is malformed: {error}"
        raise UpstreamError(Fault("server_error", message, 502, "provider", MALFORMED)) from error


def _read(body: Json) -> Reply:
    choices = body.get("choices")
    if type(choices) is not list or not choices:
        raise RequestError("choices: expected a list with a choice")
    choice = an_object(choices[0], "choices.0")
    message = an_object(choice.get("message"), "choices.0.message")
    reply_id = string(body, "id", "", "")
    parts: list[Part] = list(read_reasoning(message))
    parts += read_content(message.get("content"), "choices.0.message.content")
    refusal = message.get("refusal")
    if type(refusal) is str and refusal:
        parts.append(Text(refusal, None, Sealed(ORIGIN, {"type": "refusal"})))
    calls = read_calls(message, "choices.0.message", call_seed(body))
    parts += calls
    left = leftover(body, NAMES.reply_fields)
    rest_of_choice = leftover(choice, CHOICE_FIELDS | NAMES.reply_fields)
    rest_of_message = {
        key: value for key, value in leftover(message, MESSAGE_FIELDS).items() if _says_something(value)
    }
    if rest_of_choice:
        left["choice"] = rest_of_choice
    if rest_of_message:
        left["message"] = rest_of_message
    if len(choices) > 1:
        left["choices"] = choices[1:]
    stop = read_stop(choice.get("finish_reason"), bool(calls), bool(refusal))
    return Reply(
        reply_id, string(body, "model", "", ""), tuple(parts), stop, read_usage(body), seal(ORIGIN, left)
    )


def _says_something(value: Any) -> bool:
    """Some vendors fill every field of the protocol, with nothing in it."""
    if isinstance(value, dict):
        return any(_says_something(inner) for inner in value.values())
    return bool(value)


def call_seed(body: Json) -> str:
    """What makes ids for calls that came without: the same whole or streamed, another in every reply."""
    return f"{body.get('id')}\0{body.get('created')}"


def read_stop(reason: Any, has_calls: bool, refused: bool) -> Stop:
    found = NAMES.stop_read.get(reason, "end_turn") if isinstance(reason, str) else "end_turn"
    if found in ("end_turn", "tool_use"):
        found = "tool_use" if has_calls else "refusal" if refused else "end_turn"
    return Stop(found)


def read_usage(body: Json) -> Usage:
    """OpenAI counts cache reads within the prompt and reasoning within the completion.

    The cached share has four names; where a total exceeds both counts, the difference is reasoning that was left
    out of the completion (Gemini, xAI).
    """
    usage = body.get("usage")
    if not isinstance(usage, dict):
        groq = body.get("x_groq")
        usage = groq.get("usage") if isinstance(groq, dict) else None
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    inputs, outputs = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    unsaid = max(_count(usage, "total_tokens") - prompt - completion, 0)
    cached = (
        _count(inputs, "cached_tokens")
        or _count(usage, "cached_tokens")
        or _count(usage, "num_cached_tokens")
        or _count(usage, "prompt_cache_hit_tokens")
    )
    return Usage(
        input_tokens=prompt,
        output_tokens=completion + unsaid,
        cache_read_tokens=min(cached, prompt),
        cache_write_tokens=min(_count(inputs, "cache_write_tokens"), prompt),
        reasoning_tokens=_count(outputs, "reasoning_tokens") or unsaid,
    )


def _count(usage: Json, key: str) -> int:
    value = usage.get(key)
    return value if type(value) is int and value > 0 else 0


def write_usage(usage: Usage) -> dict[str, Any]:
    details = {"cached_tokens": usage.cache_read_tokens}
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def write_stop(stop: Stop, has_calls: bool) -> str:
    # A client runs tools only on `tool_calls`, whatever a vendor said at the end.
    reason = "tool_use" if has_calls and stop.reason == "end_turn" else stop.reason
    return NAMES.stop_write[reason]


def write_reply(reply: Reply, context: ReplyContext) -> Encoded:
    losses: list[Loss] = []
    own = dict(opened(reply.sealed, ORIGIN))
    report_foreign(reply.sealed, ORIGIN, "", losses)
    message = _message(reply, context, losses) | own.pop("message", {})
    stop = write_stop(reply.stop, "tool_calls" in message)
    choice = {"index": 0, "message": message, "finish_reason": stop, "logprobs": None} | own.pop("choice", {})
    body: dict[str, Any] = {
        "id": context.id or reply.id,
        "object": "chat.completion",
        "created": context.created,
        "model": context.model,
        "choices": [choice, *own.pop("choices", ())],
        "usage": write_usage(reply.usage),
    }
    return Encoded(body | own, tuple(losses))


def _message(reply: Reply, context: ReplyContext, losses: list[Loss]) -> dict[str, Any]:
    ids = CallIds(NAMES.limits)
    texts: list[str] = []
    refusals: list[str] = []
    reasoning: list[str] = []
    details: list[Any] = []
    calls: list[dict[str, Any]] = []
    for at, part in enumerate(reply.parts):
        match part:
            case Text(text=text) if opened(part.sealed, ORIGIN).get("type") == "refusal":
                refusals.append(text)
            case Text(text=text):
                texts.append(text)
                report_foreign(part.sealed, ORIGIN, f"content.{at}", losses)
            case Thinking(text=text):
                reasoning.append(text)
                detail = write_detail(part, len(details))
                details += (
                    opened(part.sealed, ORIGIN).get("reasoning_details", ()) if detail is None else [detail]
                )
            case ToolCall(id=call_id):
                calls.append(write_call(part, ids.give(call_id or made_id(f"{context.id}\0{at}"))))
                report_foreign(part.sealed, ORIGIN, f"content.{at}", losses)
            case _:
                losses.append(no_place(part, f"content.{at}"))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    message["refusal"] = "".join(refusals) or None
    if any(reasoning):
        message["reasoning_content"] = "".join(reasoning)
    if details:
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = calls
    return message


def no_place(part: Part, path: str) -> Loss:
    if isinstance(part, Opaque):
        return Loss(path, f"only {part.sealed.origin} knows content of the kind {part.kind}", stake="content")
    return Loss(path, "an assistant's message has no place for it here", stake="content")
