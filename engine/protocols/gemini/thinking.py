"""How a model thinks on a request: older Gemini models take a budget of tokens, newer ones a level, none takes
both. Thoughts count against the answer's limit, and many models think unless they are told not to."""

from dataclasses import dataclass, field
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning
from engine.protocols.extras import nearest
from engine.protocols.gemini.reading import NAMES

_LARGEST, _LARGEST_OF_PRO = 24_576, 32_768


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: the `thinkingConfig` and `maxOutputTokens`, each None where nothing is to be said."""

    thinking: dict[str, Any] | None
    max_tokens: int | None
    losses: list[Loss] = field(default_factory=list)


def plan(wanted: Reasoning | None, max_tokens: int | None, model: Model, model_id: str) -> Plan:
    losses: list[Loss] = []
    most = model.output_tokens
    if max_tokens is not None and 0 < most < max_tokens:
        losses.append(Loss("max_tokens", f"lowered to the {most} that {model.name} can write", "converted"))
        max_tokens = most
    config = None if wanted is None else _config(wanted, model, model_id, losses)
    return Plan(config, _room(config, max_tokens, model, model_id, losses), losses)


def _config(wanted: Reasoning, model: Model, model_id: str, losses: list[Loss]) -> dict[str, Any] | None:
    off = wanted.mode == "disabled" or wanted.effort == "none"
    if "thinking" not in model.can:
        if not off:
            losses.append(Loss("thinking", f"{model.name} does not think"))
        return None
    levels = NAMES.is_model("thinking_level", model_id)
    if off and NAMES.is_model("always_thinks", model_id):
        losses.append(Loss("thinking", f"{model.name} cannot be told not to think"))
        return (
            {"thinkingLevel": _level("minimal", model_id)}
            if levels
            else {"thinkingBudget": NAMES.limits.thinking_budget}
        )
    if off:
        return {"thinkingBudget": 0}
    effort = wanted.effort
    if levels:
        if not effort and wanted.budget_tokens is not None:
            effort = NAMES.effort_of(wanted.budget_tokens)
        level = {"thinkingLevel": nearest(wanted.effort, _level(effort, model_id), losses)} if effort else {}
        return {"includeThoughts": True, **level}
    budget = wanted.budget_tokens
    if budget is None and effort:
        budget = NAMES.budgets.get(NAMES.efforts.get(effort, "high"))
    most = _LARGEST_OF_PRO if NAMES.is_model("large_budget", model_id) else _LARGEST
    tokens = -1 if budget is None else min(max(budget, NAMES.limits.thinking_budget), most)
    return {"includeThoughts": True, "thinkingBudget": tokens}


def _level(effort: str, model_id: str) -> str:
    level = NAMES.efforts.get(effort, "high")
    if level == "minimal" and NAMES.is_model("no_minimal", model_id):
        level = "low"
    if level == "medium" and NAMES.is_model("two_levels", model_id):
        level = "high"
    return level


def _room(
    config: dict[str, Any] | None, max_tokens: int | None, model: Model, model_id: str, losses: list[Loss]
) -> int | None:
    """The limit with room for an answer behind the thoughts; a budget that leaves none gives way."""
    if max_tokens is None or "thinking" not in model.can or not NAMES.is_model("thinks", model_id):
        return max_tokens
    budget = (config or {}).get("thinkingBudget")
    if budget == 0:
        return max_tokens
    most = model.output_tokens or max_tokens + (budget or 0) + NAMES.limits.completion_tokens
    if config is not None and budget is not None and budget >= max_tokens:
        raised: int = min(max_tokens + budget, most)
        config["thinkingBudget"] = max(
            min(budget, raised - min(max_tokens, raised // 2)), NAMES.limits.thinking_budget
        )
        if raised != max_tokens:
            why = f"raised to {raised}, because the model thinks inside it"
            losses.append(Loss("max_tokens", why, "converted"))
        return raised
    least = min(NAMES.limits.completion_tokens, most)
    if max_tokens < least:
        # Thoughts count against the limit: with less the model would answer nothing at all.
        losses.append(
            Loss("max_tokens", f"raised to {least}, because the model thinks inside it", "converted")
        )
        return least
    return max_tokens
