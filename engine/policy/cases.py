"""A policy's own tests: requests as expressions see them, and what must be decided.

A case is decided by the same code that decides real requests, handed in as `Decide`, in a world held still: no
session has a pin, nothing is explored, learners believe what the case says they believe, and budgets stand as it says.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.core.catalog import Catalog
from engine.core.cost import nanos
from engine.core.errors import Problem, WeaveError
from engine.core.policy import Budget, Inputs, Learner
from engine.core.ports import Belief, Option, Spend, Standing, Task, Trust
from engine.documents import Path, did_you_mean, shipped_json
from engine.policy.catalog import Page
from engine.policy.gate import Because
from engine.policy.phrases import INPUT_SCHEMA

# What settled a decision: its source, or where a learner was asked, what came of it.
Settled = Literal["guard", "budget", "forced", "rule", "default"] | Because


@dataclass(frozen=True, slots=True)
class Decided:
    """What a case comes to. `errors` are conditions that had no value on the way; `refused` is the status it was
    refused with, and there is no model then."""

    rule: str
    model: str
    because: str
    effort: str
    reason: str
    errors: tuple[str, ...] = ()
    plan: str = ""
    refused: int = 0


Decide = Callable[[Inputs, Trust, Spend], Decided]

# Rule -> what its condition comes to for a request; None where it has no value.
Ask = Callable[[Inputs], Mapping[str, bool | None]]


def _ask_nothing(_: Inputs) -> Mapping[str, bool | None]:
    return {}


@dataclass(frozen=True, slots=True)
class Told:
    """A Trust that believes what a case says: confidence by plan, model or tier, on as many samples as it takes. Of
    a plan in which somebody has confidence, each next step is taken to be needed in one task of four."""

    catalog: Catalog
    confidence: Mapping[str, float]

    def beliefs(
        self,
        learner: Learner,
        task: Task,  # noqa: ARG002
        options: Sequence[Option],
        against: Option,  # noqa: ARG002
    ) -> Sequence[Belief]:
        return [self._belief(learner, option) for option in options]

    def _belief(self, learner: Learner, option: Option) -> Belief:
        names = [option.name]
        if option.steps == (option.name,):
            names.append(self.catalog.models[option.name].tier)
        told = next((self.confidence[name] for name in names if name in self.confidence), None)
        if told is None:
            return Belief(0.0, 0.0)
        reach = tuple(0.25**number for number in range(len(option.steps)))
        return Belief(told, float(learner.min_samples), reach=reach)


@dataclass(frozen=True, slots=True)
class Spent:
    """A Spend in which each budget stands as a case says, in dollars, whoever asks; nothing is under way."""

    usd: Mapping[str, float]

    def standing(self, budget: Budget, value: str, now: float) -> Standing:  # noqa: ARG002
        return Standing(nanos(self.usd.get(budget.name, 0.0)))

    def room_in(self, budget: Budget, value: str, need: int, now: float) -> float | None:
        if need > nanos(budget.usd):
            return None
        left = nanos(budget.usd) - self.standing(budget, value, now).spent
        return 0.0 if need <= left else budget.window_seconds


def check_cases(page: Page, models: Sequence[str], tiers: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the cases themselves: values no request can have, expectations of what is not there."""
    tests = page.section("tests")
    yield from _check_inputs(page, ("tests", "given"), tests.get("given"))
    yield from _check_forced(page, ("tests", "given"), tests.get("given"), models)
    rules = [rule["name"] for _, rule in page.items("rules") if "name" in rule]
    plans = tuple(page.section("plans"))
    for index, case in _cases(page):
        path = ("tests", "cases", index)
        yield from _check_inputs(page, (*path, "with"), case.get("with"))
        yield from _check_forced(page, (*path, "with"), case.get("with"), models)
        for name in case.get("learner") or {}:
            if name not in models and name not in tiers and name not in plans:
                message = f"there is no model or tier {name!r}"
                hint = did_you_mean(name, (*models, *tiers, *plans))
                yield page.document.problem((*path, "learner", name), "WV504", message, hint, at_key=True)
        budgets = [budget["name"] for _, budget in page.items("budgets") if "name" in budget]
        for name in case.get("spent") or {}:
            if name not in budgets:
                message = f"there is no budget {name!r}"
                hint = did_you_mean(name, budgets)
                yield page.document.problem((*path, "spent", name), "WV504", message, hint, at_key=True)
        expected = case.get("expect") or {}
        for key, known in (("rule", (*rules, "default")), ("model", models), ("plan", (*plans, "none"))):
            name = expected.get(key)
            if name is not None and name not in known:
                message = f"there is no {key} {name!r}"
                yield page.document.problem(
                    (*path, "expect", key), "WV504", message, did_you_mean(name, known)
                )


def usual_inputs(said: Mapping[str, Any], catalog: Catalog) -> dict[str, dict[str, Any]]:
    """A whole request of which only this is known; the rest is what a request has that is nothing special."""
    return _inputs({}, said, catalog)


def run_cases(page: Page, catalog: Catalog, decide: Decide, ask: Ask = _ask_nothing) -> Iterator[Problem]:
    """What the cases found: expectations that do not hold, rules that no case fires, conditions that no case finds
    both true and false. Call it for cases without problems of their own."""
    fired: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    conditions = _demanded(page, "conditions")
    given = page.section("tests").get("given") or {}
    for index, case in _cases(page):
        path = ("tests", "cases", index)
        inputs = _inputs(given, case.get("with") or {}, catalog)
        if conditions is not None:
            seen |= {(rule, holds) for rule, holds in ask(inputs).items() if holds is not None}
        try:
            told = Told(catalog, case.get("learner") or {}), Spent(case.get("spent") or {})
            decided = decide(inputs, *told)
        except WeaveError as error:
            message = f"{case['name']}: the request cannot be served"
            yield page.document.problem((*path, "expect"), "WV501", message, error.fault.message)
            continue
        fired.add(decided.rule)
        yield from _compare(page, path, case, decided)
    yield from _check_fired(page, fired)
    if conditions is not None:
        yield from _check_conditions(page, seen, conditions)


def _cases(page: Page) -> list[tuple[int, Mapping[str, Any]]]:
    cases = enumerate(page.section("tests").get("cases") or ())
    return [(index, case) for index, case in cases if isinstance(case, Mapping)]


def _compare(page: Page, path: Path, case: Mapping[str, Any], decided: Decided) -> Iterator[Problem]:
    got = {
        "rule": decided.rule,
        "model": decided.model or "none",
        "plan": decided.plan or "none",
        "because": decided.because,
        "effort": decided.effort or "none",
        "reason": decided.reason,
        "refused": decided.refused,
    }
    for key, expected in case["expect"].items():
        if got[key] != expected:
            message = f"{case['name']}: expected {key} {expected!r}, got {got[key]!r}"
            yield page.document.problem((*path, "expect", key), "WV501", message, _how(decided))


def _how(decided: Decided) -> str:
    errors = "".join(f"; {error}" for error in decided.errors)
    if decided.refused:
        return f"it is refused with {decided.refused}: {decided.reason}{errors}"
    return f"{decided.rule} decided for {decided.model} because {decided.because}: {decided.reason}{errors}"


def _demanded(page: Page, what: str) -> float | None:
    demanded: float | None = (page.section("tests").get("coverage") or {}).get(what)
    return demanded


def _check_fired(page: Page, fired: set[str]) -> Iterator[Problem]:
    demanded = _demanded(page, "rules")
    rules = [rule["name"] for _, rule in page.items("rules")]
    if demanded is None or not rules:
        return
    missed = [name for name in rules if name not in fired]
    percent = 100 * (len(rules) - len(missed)) / len(rules)
    if percent < demanded:
        message = (
            f"the cases fire {len(rules) - len(missed)} of {len(rules)} rules; {demanded:g} % are demanded"
        )
        hint = f"never fired: {_listed(missed)}"
        yield page.document.problem(("tests", "coverage", "rules"), "WV502", message, hint)


def _check_conditions(page: Page, seen: set[tuple[str, bool]], demanded: float) -> Iterator[Problem]:
    rules = [rule["name"] for _, rule in page.items("rules")]
    whole = 2 * len(rules)
    if not rules or 100 * len(seen) / whole >= demanded:
        return
    message = (
        f"the cases show {len(seen)} of the {whole} answers that conditions have; {demanded:g} % are demanded"
    )
    missed = {answer: [name for name in rules if (name, answer) not in seen] for answer in (False, True)}
    hint = "; ".join(
        f"never {str(answer).lower()}: {_listed(names)}" for answer, names in missed.items() if names
    )
    yield page.document.problem(("tests", "coverage", "conditions"), "WV505", message, hint)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:10])}{', …' if len(names) > 10 else ''}"


_PYTHON: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
}
_NOTHING: Mapping[str, Any] = {"integer": 0, "number": 0.0, "boolean": False, "string": ""}
_NEUTRAL = ("", "none", "other", "chat")  # what an enumeration has for "nothing special", where it has one


def _fields(root: str) -> Mapping[str, Mapping[str, Any]]:
    fields: Mapping[str, Mapping[str, Any]] = shipped_json(INPUT_SCHEMA)["properties"][root]["properties"]
    return fields


def _check_inputs(page: Page, path: Path, written: Mapping[str, Any] | None) -> Iterator[Problem]:
    for root, values in (written or {}).items():
        fields = _fields(root)
        for name, value in values.items():
            here = (*path, root, name)
            if name not in fields:
                message = f"{root} has no field {name!r}"
                yield page.document.problem(here, "WV503", message, did_you_mean(name, fields), at_key=True)
                continue
            wrong = _wrong(fields[name], value)
            if wrong:
                hint = did_you_mean(str(value), fields[name].get("enum", ()))
                yield page.document.problem(here, "WV503", f"{root}.{name} {wrong}", hint)


def _check_forced(
    page: Page, path: Path, written: Mapping[str, Any] | None, models: Sequence[str]
) -> Iterator[Problem]:
    """A client forces a model by its exact name."""
    name = ((written or {}).get("hints") or {}).get("model")
    if isinstance(name, str) and name not in models:
        message = f"there is no model {name!r} to force"
        hint = did_you_mean(name, models)
        yield page.document.problem((*path, "hints", "model"), "WV504", message, hint)


def _wrong(field: Mapping[str, Any], value: Any) -> str:
    kind = field.get("type", "string")
    if not isinstance(value, _PYTHON.get(kind, (object,))) or (isinstance(value, bool) and kind != "boolean"):
        shown = _shown(value)
        return f"is of type {kind}, which {shown} is not"
    if "enum" in field and value not in field["enum"]:
        return f"is never {value!r}"
    low = field.get("minimum")
    return f"is never below {low}" if low is not None and value < low else ""


def _shown(value: Any) -> str:
    match value:
        case list():
            return "a list"
        case Mapping():
            return "a mapping"
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case _:
            return repr(value)


def _inputs(
    given: Mapping[str, Any], changed: Mapping[str, Any], catalog: Catalog
) -> dict[str, dict[str, Any]]:
    """A whole request: what the case says, else what `given` says, else what a request has that is nothing
    special. Hints are only what is said."""
    inputs: dict[str, dict[str, Any]] = {
        root: {**given.get(root, {}), **changed.get(root, {})} for root in ("features", "hints", "identity")
    }
    said = inputs["features"]
    requested = catalog.resolve(said.get("requested_model", ""))
    if requested is not None:
        said.setdefault("requested_tier", requested.tier)
    for root in ("features", "identity"):
        usual = {name: _usual(field) for name, field in _fields(root).items()}
        inputs[root] = {**usual, **inputs[root]}
    return inputs


def _usual(field: Mapping[str, Any]) -> Any:
    if "default" in field:
        return field["default"]
    values = field.get("enum")
    if values:
        return next((word for word in _NEUTRAL if word in values), values[0])
    return _NOTHING.get(field.get("type", "string"), "")
