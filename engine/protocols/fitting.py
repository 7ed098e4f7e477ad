"""The top level of a body made fit for a vendor: which fields it takes, under which names, in which bounds.

The same steps serve a body that was written from the canonical form and one that is forwarded: they work on a
shallow copy of its top level, so that a field which nobody had to touch is the very object it was.
"""

from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning, Request
from engine.protocols.dialects import Ask, Rules, asking_fields, known_fields
from engine.protocols.mapping import WireMap

# What every vendor of a protocol takes, whatever its list says.
_ALWAYS = frozenset({"model", "messages", "stream", "tools", "input", "contents", "system"})
_FORMS = ("text", "json_object", "json_schema")


def fit(
    top: dict[str, Any], rules: Rules, names: WireMap, request: Request, model: Model, losses: list[Loss]
) -> None:
    """Changes `top`. Reasoning has been asked for already."""
    _rename(top, rules)
    _take(top, rules, names, request, losses)
    _bound(top, rules, model, losses)
    if names.name == "openai-chat":
        _fit_tool_choice(top, rules, losses)
        _fit_format(top, rules, losses)
        _fit_messages(top, rules)
    for field, value in rules.adds.items():
        top.setdefault(field, value)
    if request.stream:
        for field, value in rules.stream_adds.items():
            top.setdefault(field, value)


def thinks(request: Request, rules: Rules, model: Model) -> bool:
    """Whether the model will think, as far as the request tells."""
    if "thinking" not in model.can:
        return False
    wanted = request.tuning.reasoning
    if wanted is None:
        return rules.ask is None or rules.ask.unasked
    return not _is_off(wanted) or (rules.ask is not None and rules.ask.off is None)


# ---- reasoning


def ask_for_reasoning(
    top: dict[str, Any],
    wanted: Reasoning | None,
    ask: Ask,
    names: WireMap,
    model: Model,
    losses: list[Loss],
) -> None:
    """Asks in the vendor's own fields; those in which other vendors are asked go."""
    for field in asking_fields(names.name) - ask.fields:
        top.pop(field, None)
    if wanted is None:
        return
    for field, value in _asked(wanted, ask, names, model, losses).items():
        old = top.get(field)
        top[field] = {**old, **value} if isinstance(old, Mapping) and isinstance(value, Mapping) else value


def _asked(wanted: Reasoning, ask: Ask, names: WireMap, model: Model, losses: list[Loss]) -> dict[str, Any]:
    off = _is_off(wanted)
    if "thinking" not in model.can:
        if not off:
            losses.append(Loss("thinking", f"{model.name} does not think"))
        return {}
    if off:
        if ask.off is None:
            losses.append(Loss("thinking", f"{model.name} cannot be told not to think"))
        return dict(ask.off or {})
    fields: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in ask.on.items()
    }
    if ask.budget and wanted.budget_tokens is not None and not wanted.effort:
        _put(fields, ask.budget, max(wanted.budget_tokens, ask.least_budget))
        return fields
    effort = wanted.effort or (
        names.effort_of(wanted.budget_tokens) if wanted.budget_tokens is not None else ""
    )
    if not effort:
        return fields
    if not ask.effort:
        if not fields:
            losses.append(Loss("thinking", f"{model.name} cannot be told how much to think"))
        return fields
    fitting = ask.nearest(effort)
    if fitting != effort:
        losses.append(Loss("thinking", f"{model.name} knows the effort {fitting}, not {effort}", "converted"))
    _put(fields, ask.effort, fitting)
    return fields


def _is_off(wanted: Reasoning) -> bool:
    return wanted.mode == "disabled" or wanted.effort == "none"


def _put(fields: dict[str, Any], place: str, value: Any) -> None:
    *outer, last = place.split(".")
    for name in outer:
        fields = fields.setdefault(name, {})
    fields[last] = value


# ---- fields


def _rename(top: dict[str, Any], rules: Rules) -> None:
    for field, name in rules.renames.items():
        if field in top:
            value = top.pop(field)
            top.setdefault(name, value)


def _take(top: dict[str, Any], rules: Rules, names: WireMap, request: Request, losses: list[Loss]) -> None:
    for field in [field for field in top if _is_refused(field, rules, names)]:
        value = top.pop(field)
        if field == "stream_options" or names.is_idle(field, value):
            continue
        losses.append(Loss(field, rules.refuses.get(field, "this vendor has no such field")))
    wanted = request.tuning.top_k
    if wanted is not None and "top_k" in rules.takes and "top_k" not in top and "top_k" not in rules.refuses:
        top["top_k"] = wanted
        losses[:] = [loss for loss in losses if loss.path != "top_k"]
    for field, other in rules.needs.items():
        if field in top and not top.get(other):
            del top[field]
            losses.append(Loss(field, f"this vendor takes it beside {other} alone"))
    for first, second in rules.not_both:
        if first in top and second in top and not names.is_idle(second, top[second]):
            losses.append(Loss(second, f"this vendor does not take it beside {first}"))
        if first in top:
            top.pop(second, None)


def _is_refused(field: str, rules: Rules, names: WireMap) -> bool:
    """A field that no dialect knows is the client's own affair and goes through."""
    if field in rules.refuses:
        return True
    return bool(rules.takes) and field in known_fields(names.name) - rules.takes - _ALWAYS


def _bound(top: dict[str, Any], rules: Rules, model: Model, losses: list[Loss]) -> None:
    for field, (low, high) in rules.ranges.items():
        value: Any = top.get(field)
        if type(value) in (int, float) and not low <= value <= high:
            top[field] = min(max(value, low), high)
            losses.append(Loss(field, f"it is between {low:g} and {high:g} here", "converted"))
    stops = top.get("stop")
    if rules.stops is not None and isinstance(stops, list) and len(stops) > rules.stops:
        top["stop"] = stops[: rules.stops]
        losses.append(Loss("stop", f"at most {rules.stops} stop sequences are taken", "converted"))
    for field in ("max_completion_tokens", "max_tokens"):
        wanted = top.get(field)
        if type(wanted) is int and wanted < rules.least_tokens:
            top[field] = rules.least_tokens
            why = f"raised to {rules.least_tokens}, because {model.name} thinks inside it"
            losses.append(Loss("max_tokens", why, "converted"))


# ---- what only bodies of OpenAI Chat have


def _fit_tool_choice(top: dict[str, Any], rules: Rules, losses: list[Loss]) -> None:
    choice = top.get("tool_choice")
    if choice is None:
        return
    kind = choice if isinstance(choice, str) else "named"
    kind = "required" if kind == "any" else kind
    if kind == "required" and "required" in rules.tool_choice:
        top["tool_choice"] = rules.any_tool
    if kind in rules.tool_choice or not isinstance(choice, str | dict):
        return
    top.pop("tool_choice")
    if kind == "none":
        # A vendor that cannot be told to leave its tools alone is shown none.
        top.pop("tools", None)
        top.pop("parallel_tool_calls", None)
    elif kind != "auto":
        losses.append(Loss("tool_choice", "this vendor lets its models choose for themselves"))


def _fit_format(top: dict[str, Any], rules: Rules, losses: list[Loss]) -> None:
    form = top.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    if kind not in _FORMS or kind in rules.formats:
        return
    if kind == "json_schema" and "json_object" in rules.formats and isinstance(form, dict):
        top["response_format"] = {"type": "json_object"}
        losses.append(
            Loss(
                "output_schema", "this vendor takes no schema: the model is told of it in words", "converted"
            )
        )
        described = form.get("json_schema")
        _tell_schema(top, described.get("schema") if isinstance(described, dict) else None)
        return
    del top["response_format"]
    losses.append(Loss("response_format", "this vendor has no such format"))


def _tell_schema(top: dict[str, Any], schema: Any) -> None:
    text = f"Answer with one JSON object that follows this JSON Schema: {wire.dumps(schema or {}).decode()}"
    messages = list(top.get("messages") or ())
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") == "system" and isinstance(first.get("content"), str):
        messages[0] = {**first, "content": f"{first['content']}\n\n{text}"}
    else:
        messages.insert(0, {"role": "system", "content": text})
    top["messages"] = messages


def _fit_messages(top: dict[str, Any], rules: Rules) -> None:
    messages = top.get("messages")
    if not isinstance(messages, list):
        return
    if rules.roles and any(isinstance(one, dict) and one.get("role") in rules.roles for one in messages):
        messages = [_in_role(one, rules.roles) for one in messages]
    if rules.placeholder and any(_lacks_reasoning(one, rules.replay_field) for one in messages):
        messages = [
            {**one, rules.replay_field: rules.placeholder}
            if _lacks_reasoning(one, rules.replay_field)
            else one
            for one in messages
        ]
    top["messages"] = messages


def _in_role(message: Any, roles: Mapping[str, str]) -> Any:
    if isinstance(message, dict) and message.get("role") in roles:
        return {**message, "role": roles[message["role"]]}
    return message


def _lacks_reasoning(message: Any, field: str) -> bool:
    return isinstance(message, dict) and bool(message.get("tool_calls")) and not message.get(field)
