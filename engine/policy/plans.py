"""Plans: models tried one after another, the next where evidence says that the one before failed."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from engine.core.catalog import TIERS, Catalog
from engine.core.errors import Problem
from engine.core.policy import Plan
from engine.documents import Path, did_you_mean
from engine.policy.catalog import Page


def read_plans(page: Page) -> Mapping[str, Plan]:
    return {
        name: Plan(name, tuple(value["steps"]), value.get("escalate", {}).get("right_below"))
        for name, value in page.section("plans").items()
    }


def check_plans(
    page: Page, models: Sequence[str], catalog: Catalog | None, complete: bool
) -> Iterator[Problem]:
    """`models` are the known ones by name; `complete` is false where names may be missing from them."""
    taken = (*models, *TIERS, "requested")
    used = _used(page)
    for name, value in page.section("plans").items():
        path: Path = ("plans", name)
        if name in taken:
            message = f"{name!r} is a model or a tier already, and a rule that says it would mean that"
            yield page.document.problem(path, "WV330", message, "give the plan another name", at_key=True)
        elif name not in used:
            message = f"no rule uses or offers the plan {name!r}"
            yield page.document.problem(path, "WV314", message, "remove it", at_key=True, severity="warning")
        for number, step in enumerate(value.get("steps") or ()):
            if step is not None and step not in taken and complete:
                yield _unknown(page, (*path, "steps", number), step, taken)
        if catalog is not None:
            yield from _check_rising(page, (*path, "steps"), value.get("steps") or (), catalog)


def _used(page: Page) -> frozenset[str]:
    actions = [page.section("default"), *(rule.get("then") or {} for _, rule in page.items("rules"))]
    return frozenset(
        name for action in actions for name in (action.get("use"), *(action.get("choose") or ()))
    )


def _unknown(page: Page, path: Path, step: str, known: Sequence[str]) -> Problem:
    if step in page.section("plans"):
        return page.document.problem(
            path, "WV330", f"{step!r} is a plan, and plans hold no other plans", "write its steps here"
        )
    return page.document.problem(
        path, "WV301", f"there is no model or tier {step!r}", did_you_mean(step, known)
    )


def _check_rising(page: Page, path: Path, steps: Sequence[str | None], catalog: Catalog) -> Iterator[Problem]:
    """A step is there because the one before failed, so it should not be a lesser one."""
    tiers = [_tier(step or "", catalog) for step in steps]
    for number, (before, after) in enumerate(pairwise(tiers), start=1):
        if before and after and TIERS.index(after) > TIERS.index(before):
            message = f"{steps[number]!r} takes over from {steps[number - 1]!r}, which is of a higher tier"
            hint = "order the steps from the cheapest to the most capable"
            yield page.document.problem((*path, number), "WV331", message, hint, severity="warning")


def _tier(step: str, catalog: Catalog) -> str:
    model = catalog.models.get(step)
    return model.tier if model is not None else step if step in TIERS else ""
