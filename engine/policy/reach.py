"""Rules that nothing reaches, variables that nothing reads, and rules whose model cannot carry the requests they
are for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.core.catalog import Catalog, Model
from engine.core.errors import Problem
from engine.documents import Path, shipped_json
from engine.policy.catalog import Page
from engine.policy.implies import Atom, Form, Range, conjuncts, form, implies, never
from engine.policy.phrases import INPUT_SCHEMA, OUTCOMES_SCHEMA, Phrases

# Comparing all with all grows with the square; sets above two hundred rules are compared in part.
MOST_PAIRS = 20_000


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a rule, of requests or of outcomes: where the rule stands, the text, and what it asks."""

    section: str
    index: int
    said: str
    form: Form

    @property
    def path(self) -> Path:
        return (self.section, self.index)


def check_reach(
    page: Page, phrases: Phrases, catalog: Catalog | None, needs: Mapping[str, str]
) -> Iterator[Problem]:
    """`needs`: feature -> the capability a model needs once that feature is above zero or true."""
    rules = _conditions(page, phrases, "rules")
    outcomes = _conditions(page, phrases, "outcomes")
    yield from _check_possible(page, [*rules, *outcomes])
    yield from _check_hidden(page, rules)
    yield from _check_outcomes(page, outcomes)
    yield from _check_read(page, phrases)
    if catalog is not None:
        for condition in rules:
            yield from _check_carried(page, condition, catalog, needs)


def _conditions(page: Page, phrases: Phrases, section: str) -> list[Condition]:
    """In the order they are asked: guards first."""
    rules = sorted(page.items(section), key=lambda item: item[1].get("guard") is not True)
    return [
        Condition(section, index, page.document.source(path).strip(), form(phrases.at[path].parsed.node))
        for index, _ in rules
        for path in [(section, index, "when")]
        if path in phrases.at
    ]


@cache
def _bounds() -> Mapping[str, Range]:
    """The numbers that what expressions read can be."""
    roots = {**shipped_json(INPUT_SCHEMA)["properties"], "outcome": shipped_json(OUTCOMES_SCHEMA)}
    return {
        f"{root}.{name}": Range(field.get("minimum", -math.inf), field.get("maximum", math.inf))
        for root, schema in roots.items()
        for name, field in schema["properties"].items()
        if "minimum" in field or "maximum" in field
    }


def _check_possible(page: Page, conditions: Sequence[Condition]) -> Iterator[Problem]:
    for condition in conditions:
        if never(condition.form, _bounds()):
            message = "nothing reaches this rule: its condition never holds"
            where = (*condition.path, "when")
            hint = "look for parts that exclude one another, or values out of range; or remove the rule"
            yield page.document.problem(where, "WV305", message, hint, severity="warning")


def _check_hidden(page: Page, conditions: Sequence[Condition]) -> Iterator[Problem]:
    """Rules behind one that matches wherever they do. Those that say the same, or always match, are told of
    elsewhere."""
    most = max(1, MOST_PAIRS // max(1, len(conditions)))
    for number, condition in enumerate(conditions):
        for earlier in conditions[: min(number, most)]:
            if earlier.said in (condition.said, "true"):
                break
            if condition.said != "true" and implies(condition.form, earlier.form):
                yield _hidden(page, condition, earlier, "no request reaches this rule")
                break


def _check_outcomes(page: Page, conditions: Sequence[Condition]) -> Iterator[Problem]:
    for number, condition in enumerate(conditions):
        for earlier in conditions[:number]:
            if earlier.said == "true" or implies(condition.form, earlier.form):
                yield _hidden(page, condition, earlier, "no outcome reaches this")
                break


def _hidden(page: Page, condition: Condition, earlier: Condition, what: str) -> Problem:
    name = page.data[earlier.section][earlier.index].get("name", f"rule {earlier.index + 1}")
    line = page.document.place(earlier.path).line
    message = f"{what}: {name!r} on line {line} matches wherever it does"
    hint = "put it above that rule, or remove it"
    return page.document.problem(condition.path, "WV305", message, hint, severity="warning")


def _check_read(page: Page, phrases: Phrases) -> Iterator[Problem]:
    """Variables that nothing reads, or only variables that nothing reads."""
    if any(problem.severity == "error" for problem in phrases.problems):
        return  # what could not be understood may be what reads them
    read = {name for expression in phrases.at.values() for name in expression.names}
    for variable, expression in reversed(phrases.variables):
        if f"variables.{variable}" in read:
            read |= expression.names
    for index, item in page.items("variables"):
        name = item.get("name")
        if name is not None and "variables" not in read and f"variables.{name}" not in read:
            message = f"no rule reads the variable {name!r}"
            where = ("variables", index, "name")
            yield page.document.problem(where, "WV324", message, "remove it", severity="warning")


def _check_carried(
    page: Page, condition: Condition, catalog: Catalog, needs: Mapping[str, str]
) -> Iterator[Problem]:
    index, parts = condition.index, list(conjuncts(condition.form))
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
