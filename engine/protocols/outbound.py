"""A request on its way to one provider: forwarded as it came, or translated.

Where the client and the provider speak the same protocol, the body is forwarded byte for byte but for the few
top-level fields that have to change (the model's name, and the protocol's own repairs), and those are named in
`edits`. Otherwise it is written anew from the canonical form, and what could not be carried is named in `dropped`.
"""

from dataclasses import dataclass, replace
from typing import Any

from engine import wire
from engine.core.catalog import Model
from engine.core.conversation import Reasoning, Request
from engine.core.errors import RequestError
from engine.protocols.forward import REMOVE, forward
from engine.protocols.shape import Protocol


@dataclass(frozen=True, slots=True)
class Outbound:
    """A body ready to send. `edits` and `dropped` are dotted paths; `withhold_usage` says that the usage chunk was
    asked for by the engine, not by the client, who must not see it."""

    body: bytes
    edits: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    withhold_usage: bool = False


def outbound(request: Request, protocol: Protocol, model: Model, model_id: str, effort: str) -> Outbound:
    """`model_id` is the model's name at the provider; `effort` overrides the client's reasoning effort if set.

    Raises RequestError where the request nests deeper than JSON can be written.
    """
    if request.protocol == protocol.name:
        return _forwarded(request, protocol, model, model_id, effort)
    if effort:
        wanted = request.tuning.reasoning or Reasoning()
        mode = "" if wanted.mode == "disabled" else wanted.mode
        reasoning = replace(wanted, mode=mode, effort=effort, budget_tokens=None)
        request = replace(request, tuning=replace(request.tuning, reasoning=reasoning))
    try:
        encoded = protocol.write_request(request, model, model_id)
        body = wire.dumps(encoded.body)
    except ValueError as error:
        raise RequestError(f"the request cannot be written: {error}") from error
    return Outbound(body, dropped=tuple(loss.path for loss in encoded.dropped))


def _forwarded(request: Request, protocol: Protocol, model: Model, model_id: str, effort: str) -> Outbound:
    repairs = protocol.repairs(request, model, model_id, effort)
    edits: dict[str, Any] = {**repairs.edits, **dict.fromkeys(repairs.removed, REMOVE)}
    if request.model != model_id and not protocol.model_in_path:
        edits["model"] = model_id
    try:
        body = forward(request.raw, request.body, edits)
    except ValueError as error:
        raise RequestError(f"the request cannot be forwarded: {error}") from error
    return Outbound(
        body,
        edits=tuple(sorted(edits)),
        dropped=tuple(loss.path for loss in repairs.dropped),
        withhold_usage="stream_options" in edits,
    )
