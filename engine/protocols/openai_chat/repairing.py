"""What a request in OpenAI Chat needs before another model takes it as it is.

Where the request goes to another model than it was written for: the field for its length, that length,
and whether the model reasons. Where the policy sets an effort: the effort. And a stream is asked for its
usage.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning, Request
from engine.protocols.efforts import effort_for
from engine.protocols.openai_chat.reading import NAMES
from engine.protocols.shape import Repairs


def repairs(request: Request, model: Model, model_id: str, effort: str) -> Repairs:
    """`effort` is what the policy asks for; empty leaves the client's."""
    body = request.body
    losses: list[Loss] = []
    edits: dict[str, Any] = {}
    removed: list[str] = []
    moved = request.model != model_id
    if moved:
        removed += _fit_length(body, model, model_id, edits, losses)
    if effort or (moved and body.get("reasoning_effort") is not None):
        removed += _fit_effort(body, effort, model, model_id, edits, losses)
    if moved and "thinking" not in model.can:
        others = [field for field in ("reasoning", "thinking") if field in body]
        removed += others
        losses += [Loss(field, f"{model.name} does not think") for field in others]
    if request.stream:
        options = body.get("stream_options")
        options = options if isinstance(options, dict) else {}
        if options.get("include_usage") is not True:
            edits["stream_options"] = {**options, "include_usage": True}
    return Repairs(edits, tuple(removed), tuple(losses))


def _fit_length(
    body: Mapping[str, Any], model: Model, model_id: str, edits: dict[str, Any], losses: list[Loss]
) -> list[str]:
    field = "max_completion_tokens" if type(body.get("max_completion_tokens")) is int else "max_tokens"
    wanted = body.get(field)
    if type(wanted) is not int:
        return []
    if 0 < model.output_tokens < wanted:
        losses.append(
            Loss(field, f"lowered to the {model.output_tokens} that {model.name} can write", "converted")
        )
        edits[field] = wanted = model.output_tokens
    if field == "max_tokens" and NAMES.is_model("completion_tokens", model_id):
        edits.pop(field, None)
        edits["max_completion_tokens"] = wanted
        losses.append(Loss(field, "reasoning models call it max_completion_tokens", "converted"))
        return [field]
    return []


def _fit_effort(
    body: Mapping[str, Any],
    effort: str,
    model: Model,
    model_id: str,
    edits: dict[str, Any],
    losses: list[Loss],
) -> list[str]:
    sent = body.get("reasoning_effort")
    told: list[Loss] = []
    fitting = effort_for(Reasoning(effort=effort or str(sent)), model, model_id, NAMES, told)
    losses += [loss for loss in told if loss.path != "effort"]  # which the edit says
    if not fitting:
        return ["reasoning_effort"] if sent is not None else []
    if fitting != sent:
        edits["reasoning_effort"] = fitting
    return []
