"""A request on its way to one provider: forwarded as it came, or translated.

Where the client and the provider speak the same protocol, the body is forwarded byte for byte but for the few
top-level fields that have to change, and those are named in `edits`. Otherwise it is written anew from the
canonical form, and what could not be carried is named in `dropped`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine import wire
from engine.core.catalog import Model
from engine.core.conversation import Reasoning, Request
from engine.protocols.forward import REMOVE, forward
from engine.protocols.shape import Protocol

# Fields that limit how much a model writes, by protocol.
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Outbound:
    """A body ready to send. `edits` and `dropped` are dotted paths; `withhold_usage` says that the usage chunk was
    asked for by the engine, not by the client, who must not see it."""

    body: bytes
    edits: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    withhold_usage: bool = False


def outbound(request: Request, protocol: Protocol, model: Model, model_id: str, effort: str) -> Outbound:
    """`model_id` is the model's name at the provider; `effort` overrides the client's reasoning effort if set."""
    if request.protocol == protocol.name:
        repairs = protocol.repairs(request, model, model_id)
        edits = {
            **_edits(request, model, model_id, effort),
            **repairs.edits,
            **dict.fromkeys(repairs.removed, REMOVE),
        }
        return Outbound(
            forward(request.raw, request.body, edits),
            edits=tuple(sorted(edits)),
            dropped=tuple(loss.path for loss in repairs.dropped),
            withhold_usage="stream_options" in edits,
        )
    if effort:
        reasoning = replace(request.tuning.reasoning or Reasoning(), effort=effort)
        request = replace(request, tuning=replace(request.tuning, reasoning=reasoning))
    encoded = protocol.write_request(request, model, model_id)
    return Outbound(wire.dumps(encoded.body), dropped=tuple(loss.path for loss in encoded.dropped))


def _edits(request: Request, model: Model, model_id: str, effort: str) -> dict[str, Any]:
    body = request.body
    edits: dict[str, Any] = {}
    if body.get("model") != model_id:
        edits["model"] = model_id
        edits |= _fitted(body, model)
    if request.protocol == "openai-chat":
        if effort and body.get("reasoning_effort") != effort:
            edits["reasoning_effort"] = effort
        if request.stream and not _wants_usage(body):
            options = body.get("stream_options")
            edits["stream_options"] = {
                **(options if isinstance(options, dict) else {}),
                "include_usage": True,
            }
    elif effort and _effort(body) != effort:
        config = body.get("output_config")
        edits["output_config"] = {**(config if isinstance(config, dict) else {}), "effort": effort}
    return edits


def _fitted(body: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """What another model than the one asked for cannot take as it stands."""
    edits: dict[str, Any] = {}
    for field in LENGTH_FIELDS:
        limit = body.get(field)
        if isinstance(limit, int) and limit > model.output_tokens:
            edits[field] = model.output_tokens
    if "thinking" not in model.can:
        edits |= {field: REMOVE for field in ("thinking", "reasoning_effort", "reasoning") if field in body}
    elif "max_tokens" in edits and isinstance(thinking := body.get("thinking"), dict):
        budget = thinking.get("budget_tokens")
        if isinstance(budget, int) and budget >= model.output_tokens:
            edits["thinking"] = {**thinking, "budget_tokens": model.output_tokens // 2}
    return edits


def _wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _effort(body: Mapping[str, Any]) -> str:
    config = body.get("output_config")
    return str(config.get("effort", "")) if isinstance(config, dict) else ""
