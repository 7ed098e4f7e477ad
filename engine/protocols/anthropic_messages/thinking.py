"""How a model thinks on a request: Anthropic has three ways, and each model takes some of them.

Older models think within a budget of tokens that must stay below `max_tokens`, refuse to start inside a
tool loop whose earlier thinking is not replayed, and some know an effort beside it. Newer ones steer
themselves (`adaptive`) and take an effort. None thinks before a tool it is forced to call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Message, Reasoning, Thinking, ToolCall, ToolResult
from engine.protocols.anthropic_messages.blocks import ORIGIN
from engine.protocols.anthropic_messages.reading import NAMES
from engine.protocols.sealing import opened


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: the `thinking` field or None, an effort or nothing, and `max_tokens`. `why` says why the model
    will not think although it should."""

    thinking: Mapping[str, Any] | None
    effort: str
    max_tokens: int
    why: str = ""

    @property
    def thinks(self) -> bool:
        return self.thinking is not None and self.thinking["type"] != "disabled"


def plan(
    wanted: Reasoning, max_tokens: int, forced: bool, unsigned: bool, model: Model, model_id: str
) -> Plan:
    """`forced`: a tool must be called. `unsigned`: an open tool loop cannot replay its thinking."""
    can_think = "thinking" in model.can
    if wanted.mode == "disabled" or wanted.effort == "none":
        return Plan({"type": "disabled"} if can_think else None, "", max_tokens)
    effort = effort_for(wanted.effort, model_id)
    if not can_think:
        return Plan(None, "", max_tokens, f"{model.name} does not think")
    if forced:
        return Plan(None, effort, max_tokens, "a tool is forced, and a model cannot think before that")
    if NAMES.is_model("adaptive_thinking", model_id):
        if not effort and wanted.budget_tokens is not None:
            effort = effort_for(NAMES.effort_of(wanted.budget_tokens), model_id)
        return Plan({"type": "adaptive"}, effort, max_tokens)
    if unsigned:
        why = "the open tool loop has no signed thinking, which would have to be replayed"
        return Plan(None, effort, max_tokens, why)
    budget = wanted.budget_tokens or NAMES.budgets.get(wanted.effort) or NAMES.budgets["medium"]
    return _within_budget(budget, effort, max_tokens, model)


def effort_for(effort: str, model_id: str) -> str:
    """The nearest effort the model knows; none where it knows no efforts."""
    if not NAMES.is_model("effort", model_id):
        return ""
    if effort == "xhigh" and not NAMES.is_model("xhigh", model_id):
        return "high"
    return NAMES.efforts.get(effort, "")


def _within_budget(budget: int, effort: str, max_tokens: int, model: Model) -> Plan:
    """What the client asked for is the answer, so where it leaves no room for thinking the limit is raised; and
    where the model cannot write that much, the budget gives way."""
    least = NAMES.limits.thinking_budget
    budget = max(budget, least)
    if max_tokens <= budget:
        most = model.output_tokens or max_tokens + budget
        raised = min(max_tokens + budget, most)
        budget = max(min(budget, raised - min(max_tokens, raised // 2)), least)
        max_tokens = max(raised, budget + 1)
    return Plan({"type": "enabled", "budget_tokens": budget}, effort, max_tokens)


def in_unsigned_loop(messages: tuple[Message, ...]) -> bool:
    """Whether the last turn answers calls of an assistant whose thinking Anthropic did not sign."""
    for message in reversed(messages):
        if message.role == "assistant":
            calls = any(isinstance(part, ToolCall) for part in message.parts)
            signed = any(opened(part.sealed, ORIGIN) for part in message.parts if isinstance(part, Thinking))
            return calls and not signed
        if message.role == "user" and not any(isinstance(part, ToolResult) for part in message.parts):
            return False
    return False
