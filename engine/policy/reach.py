"""Rules that no request reaches, and rules whose model cannot carry the requests they are for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.catalog import Catalog, Model
from engine.core.errors import Problem
from engine.documents import Path
from engine.policy.catalog import Page
from engine.policy.implies import All, Atom, Form, OneOf, Range, form, implies
from engine.policy.phrases import Phrases

# Comparing all with all grows with the square; sets above two hundred rules are compared in part.
MOST_PAIRS = 20_000


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule's condition: the rule's number, its text, and what it asks."""

    index: int
    said: str
    form: Form


def check_reach(
    page: Page, phrases: Phrases, catalog: Catalog | None, needs: Mapping[str, str]
) -> Iterator[Problem]:
    """`needs`: feature -> the capability a model needs once that feature is above zero or true."""
    conditions = _conditions(page, phrases)
    yield from _check_hidden(page, conditions)
    if catalog is not None:
        for condition in conditions:
            yield from _check_carried(page, condition, catalog, needs)


def _conditions(page: Page, phrases: Phrases) -> list[Condition]:
    """In the order they are asked: guards first."""
    rules = sorted(page.items("rules"), key=lambda item: item[1].get("guard") is not True)
    return [
        Condition(index, page.document.source(path).strip(), form(phrases.at[path].parsed.node))
        for index, _ in rules
        for path in [("rules", index, "when")]
        if path in phrases.at
    ]


def _check_hidden(page: Page, conditions: Sequence[Condition]) -> Iterator[Problem]:
    """Rules behind one that matches wherever they do. Those that say the same, or always match, are told of
    elsewhere."""
    most = max(1, MOST_PAIRS // max(1, len(conditions)))
    for number, condition in enumerate(conditions):
        for earlier in conditions[: min(number, most)]:
            if earlier.said in (condition.said, "true"):
                break
            if condition.said != "true" and implies(condition.form, earlier.form):
                yield _hidden(page, condition.index, earlier.index)
                break


def _hidden(page: Page, index: int, earlier: int) -> Problem:
    name = page.data["rules"][earlier].get("name", f"rule {earlier + 1}")
    line = page.document.place(("rules", earlier)).line
    message = f"no request reaches this rule: {name!r} on line {line} matches wherever it does"
    hint = "put it above that rule, or remove it"
    return page.document.problem(("rules", index), "WV305", message, hint, severity="warning")


def _check_carried(
    page: Page, condition: Condition, catalog: Catalog, needs: Mapping[str, str]
) -> Iterator[Problem]:
    index, parts = condition.index, list(_conjuncts(condition.form))
    action = page.data["rules"][index].get("then") or {}
    models = _meant(action.get("use"), catalog)
    if not models:
        return
    guard = page.data["rules"][index].get("guard") is True
    come = "they are refused" if guard else "another model serves them"
    path: Path = ("rules", index, "then", "use")
    for feature, capability in needs.items():
        if _asks_for(parts, feature) and all(capability not in model.can for model in models):
            message = f"{action['use']!r} has no {capability}, which all requests of this rule need"
            hint = f"{come}; name a model that can"
            yield page.document.problem(path, "WV323", message, hint, severity="warning")
    most = max(model.context_tokens for model in models)
    if any(_all_above(each, "features.context_tokens", most) for each in parts):
        message = f"{action['use']!r} holds {most:,} tokens, and all requests of this rule have more"
        yield page.document.problem(
            path, "WV323", message, f"{come}; name a larger model", severity="warning"
        )


def _meant(name: Any, catalog: Catalog) -> tuple[Model, ...]:
    if not isinstance(name, str) or name == "requested":
        return ()
    model = catalog.models.get(name)
    return (model,) if model is not None else catalog.of_tier(name)


def _asks_for(parts: Sequence[Atom], feature: str) -> bool:
    """Whether the feature is above zero, or true, wherever all of these hold."""
    about = f"features.{feature}"
    return any(each.text == about or _all_above(each, about, 0) for each in parts)


def _all_above(part: Atom, about: str, bound: float) -> bool:
    """Whether a comparison leaves nothing that is not above the bound."""
    beyond = Range(low=bound, with_low=False)
    return part.about == about and isinstance(part.leaves, Range) and beyond.holds(part.leaves)


def _conjuncts(condition: Form) -> Iterator[Atom]:
    match condition:
        case Atom():
            yield condition
        case All(parts):
            for each in parts:
                yield from _conjuncts(each)
        case OneOf():
            return
