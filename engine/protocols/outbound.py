"""A request on its way to one provider: forwarded as it came, or translated.

Where the client and the provider speak the same protocol, the body is forwarded byte for byte but for the few
top-level fields that have to change (the model's name, the policy's effort, the protocol's own repairs, the
engine's accounting), and those are named in `edits`. Otherwise it is written anew from the canonical form.

Either way `losses` says of every field that did not come through as it was what became of it. Where the policy
does not allow one of them, nothing is sent: LossError names what could not be carried, and the next attempt may
do better.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine import wire
from engine.core.catalog import Model
from engine.core.conversation import AS_USUAL, Loss, Lossy, Reasoning, Request
from engine.core.errors import LossError, RequestError
from engine.protocols.forward import REMOVE, forward
from engine.protocols.placeholders import placeheld
from engine.protocols.shape import Protocol, Repairs
from engine.protocols.ties import estranged

SHOWN = 5  # losses that an error names


@dataclass(frozen=True, slots=True)
class Outbound:
    """A body ready to send. `edits` are top-level fields; `withhold_usage` says that the usage chunk was asked for
    by the engine, not by the client, who must not see it."""

    body: bytes
    edits: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    withhold_usage: bool = False


def outbound(
    request: Request,
    protocol: Protocol,
    model: Model,
    model_id: str,
    effort: str,
    lossy: Lossy = AS_USUAL,
    before: int = 0,
) -> Outbound:
    """`model_id` is the model's name at the provider; `effort` overrides the client's reasoning effort if set; what
    is sealed in this protocol in the first `before` messages was sealed by another provider of it.

    Raises RequestError where the request nests deeper than JSON can be written, LossError where it would lose what
    `lossy` does not allow.
    """
    let_go: list[Loss] = []
    whole = request
    if lossy.content == "report":
        request = placeheld(request, protocol.name, model, let_go)
    if before:
        request = estranged(request, protocol.name, before, let_go)
    if request is whole and request.protocol == protocol.name:
        out = _forwarded(request, protocol, model, model_id, effort)
    else:
        out = _translated(request, protocol, model, model_id, effort)
    if let_go:
        out = replace(out, losses=(*let_go, *out.losses))
    check_losses(out.losses, lossy, model)
    return out


def check_losses(losses: Iterable[Loss], lossy: Lossy, model: Model) -> None:
    """Raises LossError where one of these is not allowed."""
    refused = [loss for loss in losses if lossy.refuses(loss)]
    if refused:
        told = told_losses(refused)
        raise LossError(
            f"{model.name} cannot carry this request: {told}",
            [replace(loss, fate="refused") if loss in refused else loss for loss in losses],
        )


def told_losses(losses: Sequence[Loss]) -> str:
    """Losses in words, the first few of them."""
    shown = "; ".join(f"{loss.place} ({loss.why})" for loss in losses[:SHOWN])
    return f"{shown}; and {len(losses) - SHOWN} more" if len(losses) > SHOWN else shown


def _translated(request: Request, protocol: Protocol, model: Model, model_id: str, effort: str) -> Outbound:
    asked: tuple[Loss, ...] = ()
    if effort:
        wanted = request.tuning.reasoning or Reasoning()
        mode = "" if wanted.mode == "disabled" else wanted.mode
        reasoning = replace(wanted, mode=mode, effort=effort, budget_tokens=None)
        asked = _policys_effort(wanted.effort, effort)
        request = replace(request, tuning=replace(request.tuning, reasoning=reasoning))
    try:
        encoded = protocol.write_request(request, model, model_id)
        body = wire.dumps(encoded.body)
    except ValueError as error:
        raise RequestError(f"the request cannot be written: {error}") from error
    return Outbound(body, losses=(*asked, *encoded.dropped))


def _policys_effort(sent: str, effort: str) -> tuple[Loss, ...]:
    return (Loss("effort", f"the policy asks for {effort}", "converted"),) if sent != effort else ()


def _forwarded(request: Request, protocol: Protocol, model: Model, model_id: str, effort: str) -> Outbound:
    repairs = protocol.repairs(request, model, model_id, effort)
    edits: dict[str, Any] = {**repairs.edits, **dict.fromkeys(repairs.removed, REMOVE)}
    losses = _edited(repairs, effort, request.body) if edits else repairs.dropped
    if request.model != model_id and not protocol.model_in_path:
        edits["model"] = model_id
    try:
        body = forward(request.raw, request.body, edits)
    except ValueError as error:
        raise RequestError(f"the request cannot be forwarded: {error}") from error
    return Outbound(
        body,
        edits=tuple(sorted(edits)),
        losses=losses,
        withhold_usage=edits.get("stream_options", REMOVE) is not REMOVE,
    )


def _edited(repairs: Repairs, effort: str, body: Mapping[str, Any]) -> tuple[Loss, ...]:
    """The losses, and a word on each field that was changed without one."""
    named = {loss.path.partition(".")[0] for loss in repairs.dropped}
    whys = {"stream_options": "the engine asks for the usage, and keeps it to itself"}
    usual = f"fitted to the effort that the policy asks for, {effort}" if effort else "fitted to the model"
    changed = [field for field in repairs.edits if field not in named]
    removed = [field for field in repairs.removed if field not in named and body.get(field) is not None]
    return (
        *repairs.dropped,
        *(Loss(field, whys.get(field, usual), "converted") for field in changed),
        *(Loss(field, "the model does not take it") for field in removed),
    )
