"""Gemini's whole replies, and its way of counting tokens."""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Loss, Part, Thinking, ToolCall
from engine.core.errors import MALFORMED, Fault, RequestError, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols.fields import Json, a_list, an_object, leftover, maybe_list, string
from engine.protocols.gemini.errors import fault_in_stream
from engine.protocols.gemini.parts import maybe_named, named, write_call, write_part
from engine.protocols.gemini.reading import NAMES, read_model_parts
from engine.protocols.gemini.signatures import ORIGIN, SKIP, signed_call, thought_signature
from engine.protocols.sealing import opened, report_foreign, seal
from engine.protocols.shape import Encoded, ReplyContext
from engine.protocols.turns import CallIds, made_id

CANDIDATE_FIELDS = frozenset({"content", "finishReason", "index", "avgLogprobs", "tokenCount"})


def read_reply(body: Mapping[str, Any]) -> Reply:
    """Raises UpstreamError where the body is an error, or no reply."""
    if body.get("error"):
        raise UpstreamError(fault_in_stream(body["error"]))
    try:
        return _read(named(an_object(body, "")))
    except RequestError as error:
        message = f"the provider's reply is malformed: {error}"
        raise UpstreamError(Fault("server_error", message, 502, "provider", MALFORMED)) from error


def _read(body: Json) -> Reply:
    candidates = maybe_list(body, "candidates", "")
    feedback = maybe_named(body, "promptFeedback", "")
    candidate = named(an_object(candidates[0], "candidates.0")) if candidates else {}
    if not candidates and not is_blocked(feedback):
        raise RequestError("candidates: expected a list with a candidate")
    content = maybe_named(candidate, "content", "candidates.0") or {}
    values = a_list(content.get("parts") or [], "candidates.0.content.parts")
    parts = read_model_parts(values, "candidates.0.content.parts", call_seed(body))
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    reason = candidate.get("finishReason")
    stop = read_stop(reason, candidate.get("finishMessage"), has_calls, bool(parts), is_blocked(feedback))
    left = left_of(body, candidate)
    if feedback:
        left["promptFeedback"] = feedback
    if len(candidates) > 1:
        left["candidates"] = candidates[1:]
    return Reply(
        string(body, "responseId", "", ""),
        string(body, "modelVersion", "", ""),
        tuple(parts),
        stop,
        read_usage(body.get("usageMetadata")),
        seal(ORIGIN, left),
    )


def is_blocked(feedback: Json | None) -> bool:
    """Whether the prompt was refused before a model saw it."""
    return feedback is not None and bool(feedback.get("blockReason"))


def left_of(body: Json, candidate: Json) -> dict[str, Any]:
    """What of a reply has no common meaning: searches it rests on, log probabilities, ratings."""
    left = leftover(body, NAMES.reply_fields)
    rest = leftover(candidate, CANDIDATE_FIELDS)
    rest = {key: value for key, value in rest.items() if value not in ([], {}) and key != "finishMessage"}
    if rest:
        left["candidate"] = rest
    return left


def call_seed(body: Json) -> str:
    """What makes ids for calls that came without: the same whole or streamed, another in every reply."""
    return str(body.get("responseId") or body.get("createTime") or "")


def read_stop(reason: Any, message: Any, has_calls: bool, has_parts: bool, blocked: bool) -> Stop:
    """Raises UpstreamError where the model failed and left nothing: a call it could not write, and the like. Another
    attempt, or another model, may do better, and an empty answer would look as if it were one."""
    if blocked and reason is None:
        return Stop("refusal")
    found = NAMES.stop_read.get(reason) if isinstance(reason, str) else None
    if found is None and isinstance(reason, str) and not has_parts and reason not in ("", "OTHER"):
        told = f"the model stopped with {reason}" + (f": {message}" if isinstance(message, str) else "")
        raise UpstreamError(Fault("server_error", told[:500], 502, "provider", reason))
    found = found or "end_turn"
    return Stop("tool_use" if has_calls and found == "end_turn" else found)


def read_usage(value: Any) -> Usage:
    """Google counts cache reads within the prompt, what hosted tools brought beside it, and thoughts beside the
    answer."""
    usage = named(value) if isinstance(value, Mapping) else {}
    prompt = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    thoughts = _count(usage, "thoughtsTokenCount")
    return Usage(
        input_tokens=prompt,
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        cache_read_tokens=min(_count(usage, "cachedContentTokenCount"), prompt),
        reasoning_tokens=thoughts,
    )


def _count(usage: Json, key: str) -> int:
    value = usage.get(key)
    return value if type(value) is int and value > 0 else 0


def write_usage(usage: Usage) -> dict[str, Any]:
    written = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(usage.output_tokens - usage.reasoning_tokens, 0),
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.cache_read_tokens:
        written["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.reasoning_tokens:
        written["thoughtsTokenCount"] = usage.reasoning_tokens
    return written


def report_usage(usage: Usage, losses: list[Loss]) -> None:
    if usage.cache_write_tokens:
        losses.append(Loss("usage.cache_write_tokens", "there is no field for it"))


def write_reply(reply: Reply, context: ReplyContext) -> Encoded:
    losses: list[Loss] = []
    parts = ReplyParts(context, losses)
    written = [one for at, part in enumerate(reply.parts) for one in parts.written(part, f"content.{at}", at)]
    own = dict(opened(reply.sealed, ORIGIN))
    report_foreign(reply.sealed, ORIGIN, "", losses)
    report_usage(reply.usage, losses)
    candidate = {
        "content": {"parts": written, "role": "model"},
        "finishReason": NAMES.stop_write[reply.stop.reason],
        "index": 0,
    } | own.pop("candidate", {})
    body: dict[str, Any] = {
        "candidates": [candidate, *own.pop("candidates", ())],
        "usageMetadata": write_usage(reply.usage),
        "modelVersion": context.model,
        "responseId": context.id or reply.id,
    }
    return Encoded(body | own, tuple(losses))


class ReplyParts:
    """Writes the parts of one reply for a client."""

    def __init__(self, context: ReplyContext, losses: list[Loss]) -> None:
        self._context = context
        self._losses = losses
        self._ids = CallIds(NAMES.limits)
        self._signatures: dict[str, str] = {}  # of calls to come, by their ids

    def written(self, part: Part, path: str, at: int) -> list[dict[str, Any]]:
        match part:
            case Thinking():
                return self.thinking(part)
            case ToolCall(id=call_id):
                own = self._ids.give(call_id or made_id(f"{self._context.id}\0{at}"))
                # The client replays it, and Gemini may be the next to read it: a call of another model is marked.
                signature = self._signatures.pop(call_id, SKIP)
                named_call = ToolCall(own, part.name, part.arguments, part.cache_control, part.sealed)
                return [write_call(named_call, path, signature, self._losses)]
            case _:
                one = write_part(part, path, self._losses)
                return [] if one is None else [one]

    def thinking(self, part: Thinking) -> list[dict[str, Any]]:
        sealed = part.sealed
        call = signed_call(part)
        if call is not None and sealed is not None:
            self._signatures[call] = thought_signature(sealed)
            return [{"text": part.text, "thought": True}] if part.text else []
        written: dict[str, Any] = {"text": part.text, "thought": True}
        if sealed is None:
            return [written] if part.text else []
        if not part.text and sealed.origin == ORIGIN:
            return [{"text": "", "thoughtSignature": thought_signature(sealed)}]
        return [written | {"thoughtSignature": thought_signature(sealed)}]
