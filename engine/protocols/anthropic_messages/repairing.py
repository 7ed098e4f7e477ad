"""What a request in Anthropic's own protocol needs before another Anthropic model takes it as it is.

Always: thinking that Anthropic did not sign leaves the history, because it is refused there. And where
the request goes to another model than it was written for, or the policy sets an effort: the way of
thinking, the effort, the length of the answer, and system messages inside the conversation are fitted to
the model.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Loss, Message, Reasoning, Request, Text, Thinking
from engine.protocols.anthropic_messages.blocks import ORIGIN
from engine.protocols.anthropic_messages.thinking import Plan, in_unsigned_loop, plan
from engine.protocols.anthropic_messages.writing import takes_system_messages
from engine.protocols.sealing import opened
from engine.protocols.shape import Repairs


def repairs(request: Request, model: Model, model_id: str, effort: str) -> Repairs:
    """`effort` is what the policy asks for; empty leaves the client's."""
    body = request.body
    losses: list[Loss] = []
    edits: dict[str, Any] = {}
    moved = request.model != model_id
    messages = _messages(request, moved and not takes_system_messages(model, model_id), losses)
    if messages is not None:
        edits["messages"] = messages
    limit = body.get("max_tokens")
    limit = limit if type(limit) is int else 0
    if moved and 0 < model.output_tokens < limit:
        limit = edits["max_tokens"] = model.output_tokens
        losses.append(Loss("max_tokens", f"lowered to the {limit} that {model.name} can write", "converted"))
    wanted = request.tuning.reasoning
    if (wanted is None and not effort) or not (moved or effort or messages is not None):
        return Repairs(edits, dropped=tuple(losses))
    wanted = wanted or Reasoning()
    if effort:
        mode = "" if wanted.mode == "disabled" else wanted.mode
        wanted = replace(wanted, mode=mode, effort=effort, budget_tokens=None)
    chosen = plan(wanted, limit, _forces_a_tool(request), in_unsigned_loop(request.messages), model, model_id)
    if not wanted.mode and not effort:
        chosen = Plan(None, chosen.effort, limit)  # an effort without thinking asks for none
    if chosen.why:
        losses.append(Loss("thinking", chosen.why))
    if limit and chosen.max_tokens != limit:
        why = f"raised to {chosen.max_tokens}, because the model thinks inside it"
        losses.append(Loss("max_tokens", why, "converted"))
        edits["max_tokens"] = chosen.max_tokens
    removed = [*_fit_thinking(body, chosen, edits), *_fit_effort(body, chosen.effort, edits, losses)]
    if not chosen.thinks:
        removed += _fit_context(body, edits)
    return Repairs(edits, tuple(removed), tuple(losses))


def _forces_a_tool(request: Request) -> bool:
    choice = request.tuning.tool_choice
    return choice is not None and choice.mode in ("any", "tool")


def _fit_thinking(body: Mapping[str, Any], chosen: Plan, edits: dict[str, Any]) -> list[str]:
    sent = body.get("thinking")
    if chosen.thinking is None:
        return ["thinking"] if sent is not None else []
    if not isinstance(sent, dict) or not chosen.thinking.items() <= sent.items():
        edits["thinking"] = chosen.thinking
    return []


def _fit_effort(body: Mapping[str, Any], effort: str, edits: dict[str, Any], losses: list[Loss]) -> list[str]:
    sent = body.get("output_config")
    config = dict(sent) if isinstance(sent, dict) else {}
    if config.get("effort", "") == effort:
        return []
    if not effort:
        losses.append(Loss("output_config.effort", "the model knows no efforts"))
        del config["effort"]
        if not config:
            return ["output_config"]
    else:
        config["effort"] = effort
    edits["output_config"] = config
    return []


def _fit_context(body: Mapping[str, Any], edits: dict[str, Any]) -> list[str]:
    """Clearing old thinking is refused where there is none to come."""
    sent = body.get("context_management")
    rules = sent.get("edits") if isinstance(sent, dict) else None
    if not isinstance(rules, list):
        return []
    kept = [rule for rule in rules if not (isinstance(rule, dict) and _clears_thinking(rule))]
    if len(kept) == len(rules):
        return []
    if not kept:
        return ["context_management"]
    edits["context_management"] = {**sent, "edits": kept} if isinstance(sent, dict) else None
    return []


def _clears_thinking(rule: Mapping[str, Any]) -> bool:
    return str(rule.get("type")).startswith("clear_thinking")


def _messages(request: Request, fold_system: bool, losses: list[Loss]) -> list[Any] | None:
    """The messages to send instead; None where those of the client will do."""
    if not any(_needs_repair(message, fold_system) for message in request.messages):
        return None
    messages: list[Any] = []
    for at, (message, sent) in enumerate(zip(request.messages, request.body["messages"], strict=True)):
        if not _needs_repair(message, fold_system):
            messages.append(sent)
            continue
        if message.role == "system":
            messages.append({"role": "user", "content": _spoken_by_user(message, sent)})
            continue
        foreign = {place for place, part in enumerate(message.parts) if _is_foreign(part)}
        losses += [
            Loss(
                f"messages.{at}.content.{place}",
                "thinking without Anthropic's signature is refused there",
                stake="sealed",
            )
            for place in sorted(foreign)
        ]
        blocks = [block for place, block in enumerate(sent["content"]) if place not in foreign]
        if blocks:
            messages.append({**sent, "content": blocks})
    return messages


def _spoken_by_user(message: Message, sent: Mapping[str, Any]) -> list[Any]:
    content = sent["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [
        {**block, "text": f"<system>\n{part.text}\n</system>"} if isinstance(part, Text) else block
        for part, block in zip(message.parts, blocks, strict=True)
    ]


def _needs_repair(message: Message, fold_system: bool) -> bool:
    if message.role == "system":
        return fold_system and bool(message.parts)
    return any(_is_foreign(part) for part in message.parts)


def _is_foreign(part: object) -> bool:
    return isinstance(part, Thinking) and not opened(part.sealed, ORIGIN)
