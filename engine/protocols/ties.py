"""What in a request depends on where it came from, and what is taken out where it goes elsewhere.

Most of what vendors seal into a conversation is worth nothing anywhere else and missed by nobody: it is stripped and
reported. Some of it holds its provider. While a tool loop is open its thinking must be replayed; encrypted reasoning
is all that is left of a thought where nothing is stored; a stored reply and a compacted history are the
conversation itself, and nobody else has them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.core.conversation import Loss, Message, Opaque, Part, Request, Thinking, ToolResult
from engine.core.lineage import Tie
from engine.protocols.mapping import protocol_map

RESPONSES = "openai-responses"

# Content that stands for a history only its vendor can open.
COMPACTED = frozenset(
    {"compaction", "compaction_trigger", "compaction_summary", "context_compaction", "item_reference"}
)

# Sealed fields that a vendor checks or decrypts when they come back.
SIGNED = frozenset({"signature", "data", "thoughtSignature", "encrypted_content", "reasoning_details"})


def tie_of(request: Request) -> Tie | None:
    """What ties the request to a provider, the strongest first; None where it is free."""
    return _stored(request) or _compacted(request) or _encrypted(request) or _open_loop(request)


def _stored(request: Request) -> Tie | None:
    extra = request.tuning.extra
    if not extra:
        return None
    for field in protocol_map(request.protocol).stored:
        value = extra.get(field)
        if value is not None:
            what = "it names what is stored at the provider that gave it"
            stored = value if field == "previous_response_id" and isinstance(value, str) else ""
            return Tie(request.protocol, field, what, True, stored)
    return None


def _compacted(request: Request) -> Tie | None:
    for at, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            if type(part) is Opaque and part.kind in COMPACTED:
                what = f"a {part.kind} is read only by the provider that made it"
                return Tie(part.sealed.origin, f"messages.{at}.content.{place}", what, True)
    return None


def _encrypted(request: Request) -> Tie | None:
    if request.protocol != RESPONSES or keeps_replies(request.body):
        return None
    for at, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            if type(part) is Thinking and _signed(part, RESPONSES, "encrypted_content"):
                what = "encrypted reasoning is read only by the provider that wrote it"
                return Tie(RESPONSES, f"messages.{at}.content.{place}", what)
    return None


def _open_loop(request: Request) -> Tie | None:
    """The signed thinking of the user's current turn, where its last message answers calls."""
    answered = False
    for at in range(len(request.messages) - 1, -1, -1):
        message = request.messages[at]
        if message.role == "user":
            if not any(isinstance(part, ToolResult) for part in message.parts):
                return None
            answered = True
        elif message.role == "assistant" and answered:
            for place, part in enumerate(message.parts):
                if (
                    isinstance(part, Thinking)
                    and part.sealed is not None
                    and part.sealed.data.keys() & SIGNED
                ):
                    what = "the open tool loop replays thinking that only its provider can check"
                    return Tie(part.sealed.origin, f"messages.{at}.content.{place}", what)
        elif message.role == "assistant":
            return None
    return None


def _signed(part: Thinking, origin: str, field: str) -> bool:
    sealed = part.sealed
    return sealed is not None and sealed.origin == origin and bool(sealed.data.get(field))


def keeps_replies(body: Mapping[str, Any]) -> bool:
    """Whether the vendor of a Responses request keeps its reply; it does unless it is told not to."""
    return body.get("store") is not False


def estranged(request: Request, protocol: str, before: int, losses: list[Loss]) -> Request:
    """The request without what another provider of this protocol sealed into its first `before` messages; the very
    object where there is nothing of the kind."""
    messages = [
        _estranged(message, at, protocol, losses) if at < before else message
        for at, message in enumerate(request.messages)
    ]
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request
    return replace(request, messages=tuple(messages))


def _estranged(message: Message, at: int, protocol: str, losses: list[Loss]) -> Message:
    kept: list[Part] = []
    for place, part in enumerate(message.parts):
        if isinstance(part, Thinking) and part.sealed is not None and _is_checked(part, protocol):
            why = "another provider of this protocol sealed it"
            losses.append(Loss(f"messages.{at}.content.{place}", why, stake="sealed"))
        else:
            kept.append(part)
    return message if len(kept) == len(message.parts) else replace(message, parts=tuple(kept))


def _is_checked(part: Thinking, protocol: str) -> bool:
    sealed = part.sealed
    return sealed is not None and sealed.origin == protocol and bool(sealed.data.keys() & SIGNED)
