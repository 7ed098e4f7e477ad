"""What a request in Responses needs before a provider takes it as it is.

Where it goes to another model than it was written for: its length, and whether that model reasons. Where the
policy sets an effort: the effort. And the input, where it holds what only other vendors' models wrote: a
thinking that was shown to this client as a reasoning item cannot be read here, and OpenAI looks a reasoning
up by its id where it was not stored.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning, Request
from engine.protocols.efforts import effort_for
from engine.protocols.openai_responses.names import NAMES
from engine.protocols.sealing import is_ours
from engine.protocols.shape import Repairs


def repairs(request: Request, model: Model, model_id: str, effort: str) -> Repairs:
    """`effort` is what the policy asks for; empty leaves the client's."""
    body = request.body
    losses: list[Loss] = []
    edits: dict[str, Any] = {}
    removed: tuple[str, ...] = ()
    moved = request.model != model_id
    wanted = body.get("max_output_tokens")
    if moved and type(wanted) is int and 0 < model.output_tokens < wanted:
        losses.append(
            Loss(
                "max_output_tokens",
                f"lowered to the {model.output_tokens} that {model.name} can write",
                "converted",
            )
        )
        edits["max_output_tokens"] = model.output_tokens
    if effort or (moved and body.get("reasoning") is not None):
        removed = _fit_reasoning(body, effort, model, model_id, edits, losses)
    items = _fit_input(body, losses)
    if items is not None:
        edits["input"] = items
    return Repairs(edits, removed, tuple(losses))


def _fit_reasoning(
    body: Mapping[str, Any],
    effort: str,
    model: Model,
    model_id: str,
    edits: dict[str, Any],
    losses: list[Loss],
) -> tuple[str, ...]:
    sent = body.get("reasoning")
    asked: dict[str, Any] = dict(sent) if isinstance(sent, dict) else {}
    if "thinking" not in model.can:
        if asked:
            losses.append(Loss("reasoning", f"{model.name} does not think"))
        return ("reasoning",) if sent is not None else ()
    wanted = effort or asked.get("effort")
    if not isinstance(wanted, str):
        return ()
    told: list[Loss] = []
    fitting = effort_for(Reasoning(effort=wanted), model, model_id, NAMES, told)
    losses += [loss for loss in told if loss.path != "effort"]  # which the edit says
    fitted = {key: value for key, value in asked.items() if key != "effort"}
    if fitting:
        fitted["effort"] = fitting
    if fitted != asked:
        edits["reasoning"] = fitted
    return ()


def _fit_input(body: Mapping[str, Any], losses: list[Loss]) -> list[Any] | None:
    """The input without what this vendor cannot take; None where it can take it all."""
    items = body.get("input")
    if not isinstance(items, list):
        return None
    unstored = body.get("store") is False
    fitted: list[Any] = []
    changed = False
    for at, item in enumerate(items):
        if not isinstance(item, dict) or item.get("type") != "reasoning":
            fitted.append(item)
            continue
        secret = item.get("encrypted_content")
        if isinstance(secret, str) and is_ours(secret):
            losses.append(Loss(f"input.{at}", "thinking belongs to the vendor that wrote it", stake="sealed"))
            changed = True
        elif unstored and not secret and "id" in item:
            fitted.append({key: value for key, value in item.items() if key != "id"})
            changed = True
        else:
            fitted.append(item)
    return fitted if changed else None
