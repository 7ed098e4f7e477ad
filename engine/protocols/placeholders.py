"""What stands for content that a policy lets go: a word that the model sees, so that it does not answer as if
nothing had been there."""

from dataclasses import replace

from engine.core.catalog import Model
from engine.core.conversation import Document, Image, Loss, Message, Opaque, Part, Request, Text, ToolResult

_HOLDING = frozenset({Image, Document, Opaque, ToolResult})


def placeheld(request: Request, protocol: str, model: Model, losses: list[Loss]) -> Request:
    """The request with a visible word where a user's or a tool's content cannot be carried to this model; the very
    object where everything can."""
    system = _words(request.system, "system", protocol, model, losses)
    messages = tuple(
        _spoken(at, message, protocol, model, losses) for at, message in enumerate(request.messages)
    )
    same = all(new is old for new, old in zip(messages, request.messages, strict=True))
    if same and system is request.system:
        return request
    return replace(request, system=system, messages=messages)


def _spoken(at: int, message: Message, protocol: str, model: Model, losses: list[Loss]) -> Message:
    if message.role == "assistant":
        return message  # no words are put into its mouth
    parts = _words(message.parts, f"messages.{at}.content", protocol, model, losses)
    return message if parts is message.parts else replace(message, parts=parts)


def _words(
    parts: tuple[Part, ...], path: str, protocol: str, model: Model, losses: list[Loss]
) -> tuple[Part, ...]:
    if not any(type(part) in _HOLDING for part in parts):
        return parts
    found = tuple(_word(part, f"{path}.{at}", protocol, model, losses) for at, part in enumerate(parts))
    return parts if all(new is old for new, old in zip(found, parts, strict=True)) else found


def _word(part: Part, path: str, protocol: str, model: Model, losses: list[Loss]) -> Part:
    match part:
        case Image() if "vision" not in model.can:
            why, said = f"{model.name} cannot see", "an image"
        case Document(text="") if "documents" not in model.can:
            why, said = f"{model.name} cannot read documents", part.name or "a document"
        case Opaque(kind=kind, sealed=sealed) if sealed.origin != protocol:
            why, said = (
                f"only {sealed.origin} knows content of the kind {kind}",
                f"content of the kind {kind}",
            )
        case ToolResult(parts=parts):
            inner = _words(parts, f"{path}.content", protocol, model, losses)
            return part if inner is parts else replace(part, parts=inner)
        case _:
            return part
    losses.append(Loss(path, why, stake="content"))
    return Text(f"[{said} that could not be carried]")
