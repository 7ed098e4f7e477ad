"""Budgets, reuse, rollout and what may be lost: what a policy document says of them, checked and read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from engine.core.conversation import Lossy
from engine.core.errors import Problem
from engine.core.policy import Budget, Canary, RateLimit, Recording, Reuse, Rollout, Shadow
from engine.documents import Path, did_you_mean
from engine.policy.catalog import Page, seconds


def check_declared(page: Page, policies: Sequence[Page], complete: bool) -> Iterator[Problem]:
    """`complete` is false where a file of the set could not be read, so that a policy may be missing."""
    yield from _check_lengths(page)
    yield from _check_rollout(page, policies, complete)


def read_budgets(page: Page) -> tuple[Budget, ...]:
    return tuple(
        Budget(
            name=item["name"],
            per=item["per"],
            usd=float(item["usd"]),
            window_seconds=seconds(item["window"]),
            use=item["over"].get("use", ""),
            reject=item["over"].get("reject", 0),
        )
        for _, item in page.items("budgets")
    )


def read_rate_limits(page: Page) -> tuple[RateLimit, ...]:
    return tuple(
        RateLimit(
            name=item["name"],
            per=item["per"],
            window_seconds=seconds(item.get("window", "1m")),
            requests=item.get("requests"),
            tokens=item.get("tokens"),
            concurrent=item.get("concurrent"),
        )
        for _, item in page.items("rate_limits")
    )


def read_reuse(page: Page) -> Reuse | None:
    value = page.section("reuse")
    return Reuse(seconds(value["for"]), tuple(value["key"])) if value else None


def read_recording(page: Page) -> Recording:
    usual, kept = Recording(), page.section("retention")
    return Recording(
        page.data.get("record", usual.prompts),
        seconds(kept["decisions"]) if "decisions" in kept else usual.decisions_seconds,
        seconds(kept["contents"]) if "contents" in kept else usual.contents_seconds,
    )


def read_rollout(page: Page) -> Rollout:
    value = page.section("rollout")
    shadow, canary = value.get("shadow"), value.get("canary")
    return Rollout(
        None if shadow is None else Shadow(shadow["policy"], float(shadow.get("sample", 1.0))),
        None if canary is None else _canary(page, canary),
    )


def read_lossy(page: Page) -> Lossy:
    """One word for everything, or a word for each kind of loss."""
    value = page.data.get("lossy")
    if isinstance(value, str):
        return Lossy(content=_word(value), offer=_word(value), tuning=_word(value))
    return Lossy(**{kind: _word(word) for kind, word in page.section("lossy").items()})


def _word(word: str) -> Literal["refuse", "report"]:
    return "report" if word == "report" else "refuse"


def _canary(page: Page, value: Mapping[str, Any]) -> Canary:
    usual = Canary(value["policy"], float(value["percent"]))
    asked = page.document.source(("rollout", "canary", "abort_when")) if "abort_when" in value else ""
    return Canary(
        usual.policy,
        usual.percent,
        value.get("by", usual.by),
        asked.strip(),
        value.get("min_requests", usual.min_requests),
    )


def _check_lengths(page: Page) -> Iterator[Problem]:
    """A window, a deadline or a time to live of nothing would be read as another wish than it says."""
    places: list[tuple[Path, Any]] = [
        (("limits", "deadline"), page.section("limits").get("deadline")),
        (("reuse", "for"), page.section("reuse").get("for")),
    ]
    places += [(("retention", key), value) for key, value in page.section("retention").items()]
    breaker = page.section("failover").get("breaker") or {}
    places += [
        (("failover", "breaker", key), breaker.get(key)) for key in ("slower_than", "window", "cooldown")
    ]
    places += [(("budgets", index, "window"), item.get("window")) for index, item in page.items("budgets")]
    places += [
        (("rate_limits", index, "window"), item.get("window")) for index, item in page.items("rate_limits")
    ]
    for path, value in places:
        if value is not None and not seconds(value):
            message = f"{str(path[-1])!r} is no time at all"
            yield page.document.problem(path, "WV114", message, "write a length of time above 0")


def _check_rollout(page: Page, policies: Sequence[Page], complete: bool) -> Iterator[Problem]:
    here = page.section("metadata").get("name")
    others = {each.section("metadata").get("name"): each for each in policies}
    names = [name for name in others if name is not None and name != here]
    for part, value in page.section("rollout").items():
        name = value.get("policy") if isinstance(value, Mapping) else None
        path: Path = ("rollout", part, "policy")
        if name is None:
            continue
        if name == here:
            message = "a policy is not tried beside itself"
            yield page.document.problem(path, "WV320", message, "name another policy of this set")
        elif name in names and part == "canary":
            yield from _check_guards(page, path, others[name])
            yield from _check_budgets(page, path, others[name])
        elif name not in names and complete:
            message = f"there is no policy {name!r}"
            yield page.document.problem(path, "WV320", message, did_you_mean(name, names))


def _check_guards(page: Page, path: Path, canary: Page) -> Iterator[Problem]:
    missing = [name for name in _guards(page) if name not in _guards(canary)]
    if missing:
        message = f"the canary has no guard {missing[0]!r}, so what it serves is not held by it"
        hint = "give it a guard of that name, in the same words"
        yield page.document.problem(path, "WV322", message, hint, severity="warning")


def _check_budgets(page: Page, path: Path, canary: Page) -> Iterator[Problem]:
    held = {budget.get("name") for _, budget in canary.items("budgets")}
    missing = [
        budget["name"] for _, budget in page.items("budgets") if budget.get("name", "") not in {"", *held}
    ]
    if missing:
        message = (
            f"the canary has no budget {missing[0]!r}, so what it serves is charged there and not held by it"
        )
        hint = "give it a budget of that name, in the same words"
        yield page.document.problem(path, "WV322", message, hint, severity="warning")


def _guards(page: Page) -> list[str]:
    return [rule["name"] for _, rule in page.items("rules") if rule.get("guard") is True and "name" in rule]
