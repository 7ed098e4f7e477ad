"""Which models can be given a request without losing what its policy will not lose, asked before anybody chooses.

Nothing here knows what a vendor takes: the protocols' own writers are asked. What they can only lose of (media,
content of one vendor, tools that are no functions) is picked out of the request and written for each model, with
the texts left out and the media empty; a request that has nothing of the kind is not written at all. Where the
policy refuses to lose tuning, that can be anywhere, and the whole request is written.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from engine.core.catalog import Catalog, Endpoint, Model
from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Lossy,
    Message,
    Opaque,
    Part,
    Request,
    Text,
    Tool,
    ToolResult,
    Tuning,
)
from engine.core.errors import RequestError
from engine.protocols.outbound import told_losses
from engine.protocols.shape import Protocol

Speak = Callable[[Endpoint], Protocol]

_EMPTY = "AAAA"  # base64 that stands for a medium, whose size does not matter here
_GONE = Text("")


def unfit(request: Request, catalog: Catalog, lossy: Lossy, speak: Speak) -> dict[str, str]:
    """Model -> why it cannot be given the request, for those that cannot."""
    probe = _probe(request, lossy)
    if probe is None:
        return {}
    found = ((model, _refused(probe, model, catalog, lossy, speak)) for model in catalog.models.values())
    return {model.name: f"cannot carry {told_losses(losses)}" for model, losses in found if losses}


def carriers(request: Request, lossy: Lossy, protocols: Iterable[Protocol], able: Model) -> list[str]:
    """The protocols in which an able model could be given the request."""
    probe = _probe(request, lossy)
    if probe is None:
        return [protocol.name for protocol in protocols]
    return [protocol.name for protocol in protocols if not _lost(probe, protocol, able, able.name, lossy)]


@dataclass(frozen=True, slots=True)
class Probe:
    """A request, and as much of it as has to be written to see what would be lost."""

    whole: Request
    written: Request


def _probe(request: Request, lossy: Lossy) -> Probe | None:
    if lossy.tuning == "refuse":
        return Probe(request, request)
    part = fragile(request) if "refuse" in (lossy.content, lossy.offer) else None
    return None if part is None else Probe(request, part)


def _refused(probe: Probe, model: Model, catalog: Catalog, lossy: Lossy, speak: Speak) -> list[Loss]:
    """What every way to the model would lose; nothing where one of them carries it all."""
    least: list[Loss] = []
    for binding in model.served_by:
        protocol = speak(catalog.endpoints[binding.endpoint])
        lost = _lost(probe, protocol, model, binding.id, lossy)
        if not lost:
            return []
        least = min(least or lost, lost, key=len)
    return least


def _lost(probe: Probe, protocol: Protocol, model: Model, model_id: str, lossy: Lossy) -> list[Loss]:
    try:
        if probe.whole.protocol == protocol.name:
            losses = protocol.repairs(probe.whole, model, model_id, "").dropped
        else:
            losses = protocol.write_request(probe.written, model, model_id).dropped
    except (RequestError, ValueError):
        return []  # whoever sends it will say so, in better words
    return [loss for loss in losses if lossy.refuses(loss)]


def fragile(request: Request) -> Request | None:
    """The request with nothing in it but what some model cannot be given, each in its place; None where there is
    nothing of the kind."""
    own = any(tool.kind != "function" for tool in request.tools)
    messages = any(_breaks(one.parts) for one in request.messages)
    if not own and not messages and not _breaks(request.system):
        return None
    return replace(
        request,
        system=_kept(request.system) or (),
        messages=tuple(map(_emptied_message, request.messages)) if messages else (),
        tools=tuple(map(_bare, request.tools)) if own else (),
        tuning=Tuning(),
        body={},
    )


def _emptied_message(message: Message) -> Message:
    return Message(message.role, _kept(message.parts) or ())


def _bare(tool: Tool) -> Tool:
    """A function is in the way of nobody; its place and that it is there is all that counts."""
    return Tool(tool.name) if tool.kind == "function" else tool


def _breaks(parts: tuple[Part, ...]) -> bool:
    """Whether any of these is fragile; asked of every part of every request, so it is a plain loop."""
    for part in parts:
        kind = type(part)
        if kind is ToolResult:
            if _breaks(part.parts):  # type: ignore[union-attr]  # the line above says which it is
                return True
        elif kind in _FRAGILE:
            return True
    return False


def _kept(parts: tuple[Part, ...]) -> tuple[Part, ...] | None:
    """The fragile parts, with empty texts between them; None where there are none."""
    if not any(type(part) in _FRAGILE for part in parts):
        return None
    kept = [_emptied(part) for part in parts]
    return tuple(kept) if any(part is not _GONE for part in kept) else None


def _emptied(part: Part) -> Part:
    match part:
        case Image(base64=data) | Document(base64=data) if data:
            return replace(part, base64=_EMPTY)
        case Document(text=text) if text:
            return replace(part, text="-")
        case Image() | Document() | Opaque():
            return part
        case ToolResult(parts=parts):
            inner = _kept(parts)
            return _GONE if inner is None else replace(part, parts=inner)
        case _:
            return _GONE


_FRAGILE = frozenset({Image, Document, Opaque, ToolResult})
