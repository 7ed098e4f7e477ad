"""What a request in Gemini's own protocol needs before a Gemini model takes it as it is.

Always: what other vendors sealed into the history leaves it, because Google would refuse it, and calls left
without a signature get the value that stands for one. And where the request goes to another model than it was
written for, or the policy sets an effort: the way of thinking and the length of the answer are fitted.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning, Request
from engine.protocols.gemini.parts import named
from engine.protocols.gemini.reading import NAMES
from engine.protocols.gemini.signatures import SKIP, is_foreign
from engine.protocols.gemini.thinking import plan
from engine.protocols.shape import Repairs


def repairs(request: Request, model: Model, model_id: str, effort: str) -> Repairs:
    """`effort` is what the policy asks for; empty leaves the client's."""
    losses: list[Loss] = []
    edits: dict[str, Any] = {}
    moved = request.model != model_id
    contents = _contents(request.body, NAMES.is_model("signed_calls", model_id), moved, losses)
    if contents is not None:
        edits["contents"] = contents
    if moved or effort:
        _fit_config(request, model, model_id, effort, edits, losses)
    return Repairs(edits, (), tuple(losses))


def _fit_config(
    request: Request, model: Model, model_id: str, effort: str, edits: dict[str, Any], losses: list[Loss]
) -> None:
    key = next((key for key in ("generationConfig", "generation_config") if key in request.body), None)
    sent = named(request.body[key] or {}) if key is not None else {}
    wanted = request.tuning.reasoning
    if effort:
        known = wanted or Reasoning()
        wanted = replace(
            known, mode="" if known.mode == "disabled" else known.mode, effort=effort, budget_tokens=None
        )
    chosen = plan(wanted, request.tuning.max_tokens, model, model_id)
    config = dict(sent)
    if chosen.max_tokens is not None:
        config["maxOutputTokens"] = chosen.max_tokens
    if wanted is not None:
        config.pop("thinkingConfig", None)
        if chosen.thinking is not None:
            config["thinkingConfig"] = _with_the_clients_view(chosen.thinking, sent)
    if config != sent:
        edits[key or "generationConfig"] = config
        losses += chosen.losses


def _with_the_clients_view(thinking: dict[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Whether thoughts are shown stays as the client said."""
    before = sent.get("thinkingConfig")
    before = named(before) if isinstance(before, Mapping) else {}
    rest = {key: value for key, value in before.items() if key not in ("thinkingBudget", "thinkingLevel")}
    told = {key: value for key, value in thinking.items() if key != "includeThoughts" or before == {}}
    return {**rest, **told}


def _contents(body: Mapping[str, Any], signs: bool, moved: bool, losses: list[Loss]) -> list[Any] | None:
    """The contents to send instead; None where those of the client will do. `signs`: the model wants its calls
    signed."""
    contents = body.get("contents")
    if not isinstance(contents, list):
        return None
    repaired = [_content(content, at, signs, moved, losses) for at, content in enumerate(contents)]
    if all(new is old for new, old in zip(repaired, contents, strict=True)):
        return None
    return [content for content in repaired if content is not None]


def _content(content: Any, at: int, signs: bool, moved: bool, losses: list[Loss]) -> Any:
    """The content itself where it needs nothing; None where nothing of it is left."""
    parts = content.get("parts") if isinstance(content, dict) and content.get("role") == "model" else None
    if not isinstance(parts, list):
        return content
    foreign = [_signature(part) for part in parts if is_foreign(_signature(part))]
    calls = [part for part in parts if "functionCall" in part or "function_call" in part]
    bare = bool(calls) and not any(_signature(call) and not is_foreign(_signature(call)) for call in calls)
    if not foreign and not (moved and signs and bare):
        return content
    kept: list[Any] = []
    for place, part in enumerate(parts):
        path = f"contents.{at}.parts.{place}"
        if part.get("thought") is True and (is_foreign(_signature(part)) or foreign):
            losses.append(Loss(path, "thinking goes back to the vendor that signed it alone", stake="sealed"))
            continue
        own = {key: value for key, value in part.items() if not is_foreign(value)}
        if signs and bare and part in calls and not _signature(own):
            own["thoughtSignature"] = SKIP
        if own and own != {"text": ""}:
            kept.append(own)
    return {**content, "parts": kept} if kept else None


def _signature(part: Mapping[str, Any]) -> Any:
    return part.get("thoughtSignature") or part.get("thought_signature")
