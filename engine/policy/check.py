"""What a policy document says that cannot be, or should not: names, order, and what its parts do to each other.

The document's shape is known to be right where there is data; what was wrong has been reported and left out.
Names are checked against the whole set, and not at all where a file of the set could not be read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.catalog import TIERS, Catalog, Model
from engine.core.errors import Problem
from engine.documents import Document, Path, did_you_mean, shipped_json
from engine.policy.catalog import Page, said_twice
from engine.policy.phrases import INPUT_SCHEMA
from engine.policy.plans import check_plans


@dataclass(frozen=True, slots=True)
class Known:
    """What the set holds besides the policy: `models` by name, also those with mistakes. `catalog` is None where
    it could not be made; `complete` is false where a file could not be read, so that names may be missing."""

    models: tuple[str, ...]
    catalog: Catalog | None
    complete: bool = True

    @property
    def targets(self) -> tuple[str, ...]:
        return (*self.models, *TIERS, "requested")


def check_policy(page: Page, known: Known) -> Iterator[Problem]:
    yield from _check_names_once(page)
    yield from _check_order(page)
    yield from _check_targets(page, known)
    yield from check_plans(page, known.models, known.catalog, known.complete)
    yield from _check_learners(page)
    yield from _check_values(page)
    if known.catalog is not None:
        yield from _check_chains(page, known.catalog)
        yield from _check_guards(page, known.catalog)


def check_documents(policies: Sequence[Page]) -> Iterator[Problem]:
    """Two policies of one name cannot be told apart."""
    first: dict[str, Page] = {}
    for page in policies:
        name = page.section("metadata").get("name")
        if name is None:
            continue
        earlier = first.setdefault(name, page)
        if earlier is not page:
            path: Path = ("metadata", "name")
            yield said_twice(page.document, path, name, earlier.document, path)


def serving(policies: Sequence[Page], serve: str) -> Page | Problem:
    """The policy that serves: the one named `serve`, else the only one, else the one named default."""
    names = {page.section("metadata").get("name"): page for page in policies}
    if serve:
        found = names.get(serve)
        if found is not None:
            return found
        hint = did_you_mean(serve, [name for name in names if name])
        return _at_name(
            policies[0], "WV310", f"the settings ask for the policy {serve!r}, which is not here", hint
        )
    if len(policies) == 1:
        return policies[0]
    if "default" in names:
        return names["default"]
    message = f"{len(policies)} policies are here, and nothing says which one serves"
    return _at_name(policies[1], "WV310", message, "call one of them default, or name one in the settings")


def _at_name(page: Page, code: str, message: str, hint: str) -> Problem:
    return page.document.problem(("metadata", "name"), code, message, hint)


def _check_names_once(page: Page) -> Iterator[Problem]:
    for section in ("variables", "rules", "outcomes", "budgets", "rate_limits"):
        yield from _once(page.document, page.items(section), (section,))
    cases = page.section("tests").get("cases") or ()
    named = [(index, case) for index, case in enumerate(cases) if isinstance(case, Mapping)]
    yield from _once(page.document, named, ("tests", "cases"))
    for index, rule in page.items("rules"):
        if rule.get("name") == "default":
            message = "'default' is what the decision is called where no rule matches"
            where = ("rules", index, "name")
            yield page.document.problem(where, "WV312", message, "give the rule another name")


def _once(
    document: Document, items: Iterable[tuple[int, Mapping[str, Any]]], path: Path
) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, item in items:
        name = item.get("name")
        if name is None:
            continue
        earlier = first.setdefault(name, index)
        if earlier != index:
            here = (*path, index, "name")
            yield said_twice(document, here, name, document, (*path, earlier, "name"))


def _check_order(page: Page) -> Iterator[Problem]:
    """Guards are asked before all other rules, each kind in the order it is written."""
    rules = [(index, rule) for index, rule in page.items("rules") if "when" in rule]
    ordered = sorted(rules, key=lambda item: item[1].get("guard") is not True)
    always: int | None = None
    hidden = 0
    asked: dict[str, int] = {}
    for index, _ in ordered:
        if always is not None:
            hidden += 1
            continue
        condition = page.document.source(("rules", index, "when")).strip()
        earlier = asked.setdefault(condition, index)
        if earlier != index:
            message = f"no request reaches this rule: {_rule_at(page, earlier)} asks the same"
            yield _unreachable(page, index, message)
        if condition == "true":
            always = index
    if always is not None and hidden:
        follower = ordered[[index for index, _ in ordered].index(always) + 1][0]
        others = f", nor the {hidden - 1} after it" if hidden > 1 else ""
        message = f"no request reaches this rule{others}: {_rule_at(page, always)} always matches"
        yield _unreachable(page, follower, message)


def _unreachable(page: Page, index: int, message: str) -> Problem:
    hint = "put it above that rule, or remove it"
    return page.document.problem(("rules", index), "WV305", message, hint, severity="warning")


def _rule_at(page: Page, index: int) -> str:
    name = page.data["rules"][index].get("name", f"rule {index + 1}")
    return f"{name!r} on line {page.document.place(('rules', index)).line}"


def _check_targets(page: Page, known: Known) -> Iterator[Problem]:
    plans = tuple(page.section("plans"))
    for path, name in _named_targets(page):
        if name in known.targets:
            yield from _check_tier(page, path, name, known)
        elif name in plans:
            yield from _check_plan_here(page, path, name)
        elif known.complete:
            message = (
                f"there is no model, tier or plan {name!r}"
                if plans
                else f"there is no model or tier {name!r}"
            )
            yield page.document.problem(path, "WV301", message, did_you_mean(name, (*known.targets, *plans)))


def _check_plan_here(page: Page, path: Path, name: str) -> Iterator[Problem]:
    """Plans stand where a session's work is given to somebody: in rules, and in the default."""
    if path[0] not in ("rules", "default"):
        message = f"{name!r} is a plan, and this needs a single model"
        yield page.document.problem(path, "WV330", message, "name a model or a tier")
    elif path[0] == "rules" and page.data["rules"][path[1]].get("guard") is True:
        message = f"a guard speaks for one request, and {name!r} is a plan for a whole session"
        yield page.document.problem(path, "WV330", message, "name a model or a tier")


def _named_targets(page: Page) -> Iterator[tuple[Path, str]]:
    """Every place that names a model or a tier, with the name."""
    actions: list[tuple[Path, Mapping[str, Any]]] = [(("default",), page.section("default"))]
    actions += [(("rules", index, "then"), rule.get("then") or {}) for index, rule in page.items("rules")]
    for path, action in actions:
        if "use" in action:
            yield (*path, "use"), action["use"]
        for number, name in enumerate(action.get("choose") or ()):
            if name is not None:
                yield (*path, "choose", number), name
    for learner, value in page.section("learners").items():
        against = (value.get("confidence") or {}).get("against")
        if against is not None:
            yield ("learners", learner, "confidence", "against"), against
    for index, budget in page.items("budgets"):
        if "use" in (budget.get("over") or {}):
            yield ("budgets", index, "over", "use"), budget["over"]["use"]
    for start, followers in (page.section("failover").get("chains") or {}).items():
        yield ("failover", "chains", start), start
        for number, name in enumerate(followers or ()):
            if name is not None:
                yield ("failover", "chains", start, number), name


def _check_tier(page: Page, path: Path, name: str, known: Known) -> Iterator[Problem]:
    if name == "requested" and path[:1] == ("failover",):
        message = "'requested' says nothing here: it is clear only once a request is there"
        yield page.document.problem(path, "WV301", message, "name a model or a tier")
    if name in TIERS and known.catalog is not None and known.models and not known.catalog.of_tier(name):
        message = f"no model is of the tier {name!r}, so the nearest other tier serves"
        yield page.document.problem(path, "WV315", message, severity="warning")


def _check_learners(page: Page) -> Iterator[Problem]:
    written = page.document.data.get("learners")  # also those with mistakes
    learners = tuple(written) if isinstance(written, Mapping) else ()
    readable = written is None or isinstance(written, Mapping)
    asked: set[str] = set()
    for index, rule in page.items("rules"):
        action = rule.get("then") or {}
        name = action.get("by")
        if name is not None:
            asked.add(name)
            if name not in learners and readable:
                message = f"there is no learner {name!r}"
                hint = did_you_mean(name, learners, "declare it under learners")
                yield page.document.problem(("rules", index, "then", "by"), "WV303", message, hint)
        if rule.get("guard") is not True and "failover" in action:
            message = "only a guard can forbid failover: a pin or a learner may outrank this rule"
            hint = "make it a guard, or remove failover"
            where = ("rules", index, "then", "failover")
            yield page.document.problem(where, "WV319", message, hint, at_key=True)
        if rule.get("guard") is True and "choose" in action:
            message = "a guard says where a request goes; it cannot leave that to a learner"
            where = ("rules", index, "then", "choose")
            yield page.document.problem(
                where, "WV316", message, "write use: and one model or tier", at_key=True
            )
    for name in page.section("learners"):
        if name not in asked and asked <= set(learners):  # else the misspelt one is probably this
            message = f"no rule leaves a choice to the learner {name!r}"
            path = ("learners", name)
            yield page.document.problem(path, "WV314", message, "remove it", at_key=True, severity="warning")


def _check_values(page: Page) -> Iterator[Problem]:
    places: list[tuple[Path, Any]] = [
        (("pinning", "key"), page.section("pinning").get("key")),
        (("reuse", "key"), page.section("reuse").get("key")),
    ]
    places += [
        (("learners", name, field), value.get(field))
        for name, value in page.section("learners").items()
        for field in ("signature", "inputs")
    ]
    for path, values in places:
        for index, value in enumerate(values or ()):
            if value is not None:
                yield from _check_value(page, (*path, index), value)
    for index, budget in page.items("budgets"):
        if budget.get("per") not in (None, "session"):
            yield from _check_value(page, ("budgets", index, "per"), budget["per"])


def _check_value(page: Page, path: Path, value: str) -> Iterator[Problem]:
    root, _, name = value.partition(".")
    known = shipped_json(INPUT_SCHEMA)["properties"][root]["properties"]
    if name not in known:
        message = f"{root} has no field {name!r}"
        yield page.document.problem(path, "WV306", message, did_you_mean(name, known))
    elif path[2:3] == ("signature",) and known[name].get("type") in ("integer", "number"):
        message = f"{value} is a number, so nearly every request would be a kind of task of its own"
        hint = "use a value with few different ones, such as features.context_bucket"
        yield page.document.problem(path, "WV318", message, hint, severity="warning")


def _check_chains(page: Page, catalog: Catalog) -> Iterator[Problem]:
    for start, followers in (page.section("failover").get("chains") or {}).items():
        held = min((model.context_tokens for model in _meant(start, catalog)), default=0)
        for number, name in enumerate(followers or ()):
            models = _meant(name, catalog) if name is not None else ()
            most = max((model.context_tokens for model in models), default=held)
            if most < held:
                message = f"{name!r} holds at most {most:,} tokens, {start!r} at least {held:,}"
                hint = "a request that fills the first cannot fail over to this one"
                where = ("failover", "chains", start, number)
                yield page.document.problem(where, "WV307", message, hint, severity="warning")


def _check_guards(page: Page, catalog: Catalog) -> Iterator[Problem]:
    """A guard's request may fail over unless it says none; then its chain must not lead to other endpoints."""
    chains = page.section("failover").get("chains") or {}
    for index, rule in page.items("rules"):
        action = rule.get("then") or {}
        if rule.get("guard") is not True or "use" not in action or "failover" in action:
            continue
        for model in _meant(action["use"], catalog):
            here = {binding.endpoint for binding in model.served_by}
            chain = chains.get(model.name) or chains.get(model.tier) or ()
            away = _first_away(chain, here, catalog)
            if away:
                message = f"when {model.name} fails, this guard's requests go to {away}, at another endpoint"
                hint = "write failover: none in its then"
                yield page.document.problem(
                    ("rules", index, "then"), "WV308", message, hint, at_key=True, severity="warning"
                )
                break


def _first_away(chain: Sequence[str | None], here: set[str], catalog: Catalog) -> str:
    for name in chain:
        for follower in _meant(name or "", catalog):
            if any(binding.endpoint not in here for binding in follower.served_by):
                return follower.name
    return ""


def _meant(name: str, catalog: Catalog) -> tuple[Model, ...]:
    """Every model a name can stand for."""
    if name == "requested":
        return tuple(catalog.models.values())
    model = catalog.models.get(name)
    return (model,) if model is not None else catalog.of_tier(name)
