"""Deadlines: rules are judged in blocks, and what happens when time runs out is the safe thing."""

from collections.abc import Iterator
from typing import Any

import pytest

from engine.core.policy import Clock, Policy, Verdict
from engine.policy import limits
from engine.snapshot import build

CATALOG = """\
apiVersion: weave/v1
kind: Catalog
metadata: {name: default}
endpoints: {here: {protocol: openai-chat, base_url: "http://127.0.0.1:1"}}
models: {m: {tier: frontier, context: 9, output: 9, usd: {in: 0, out: 0}, served_by: [{endpoint: here, id: m}]}}
"""
BODY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
default: {use: m}
variables:
  - {name: ratio, expr: features.turn / features.messages}
rules:
  - {name: first, when: variables.ratio > 100, then: {use: m}}
  - {name: secret, guard: true, when: features.stream, then: {use: m}, reason: "'streams'"}
  - {name: sealed, guard: true, when: "has(hints.private) && features.turn / features.messages > 0", then: {use: m}}
  - {name: second, when: features.turn == 7, then: {use: m}, reason: "'turn ' + string(features.turn)"}
  - {name: third, when: variables.ratio > 5, then: {use: m}}
"""


def policy(limits: str) -> Policy:
    return build({"catalog.yaml": CATALOG, "p.yaml": BODY + limits}).policy


@pytest.fixture
def each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at between any two rules."""
    monkeypatch.setattr(limits, "BLOCK_COST", 0)


def inputs(hints: dict[str, Any] | None = None, **features: Any) -> dict[str, dict[str, Any]]:
    usual = {"turn": 1, "messages": 1, "stream": False}
    return {"features": {**usual, **features}, "hints": hints or {}, "identity": {}}


def ticking(step: float) -> Clock:
    """A clock that goes on by so many seconds each time it is looked at."""
    looks = iter(range(1_000))
    return lambda: next(looks) * step


def told(verdict: Verdict) -> list[tuple[str, str]]:
    return [(step.name, step.result) for step in verdict.trace]


CASES = [
    inputs(),
    inputs(stream=True),
    inputs(turn=7),
    inputs(turn=1000, messages=2),
    inputs(messages=0),
    inputs({"private": True}, messages=0),
    {"features": {}, "hints": {}, "identity": {}},
]


@pytest.mark.parametrize("asked", CASES, ids=str)
@pytest.mark.parametrize("cost", [0, 5, 1_000])
def test_in_time_the_verdict_is_the_same_however_the_rules_are_cut(
    asked: dict[str, dict[str, Any]], cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOCK_COST", cost)
    timed = policy("limits: {deadline: 5ms}\n")
    assert timed.judge(asked, ticking(0.0)) == policy("").judge(asked)
    assert timed.judge(asked) == policy("").judge(asked)


@pytest.mark.usefixtures("each_alone")
def test_a_guard_that_was_not_asked_in_time_counts_as_a_match() -> None:
    verdict = policy("limits: {deadline: 5ms}\n").judge(inputs(), ticking(0.01))
    assert (verdict.rule, verdict.source, verdict.reason) == ("secret", "guard", "secret")
    assert told(verdict) == [("secret", "error"), ("secret", "matched")]
    assert verdict.trace[0].detail == "the deadline of 5 ms passed, which counts as a match"


@pytest.mark.usefixtures("each_alone")
def test_after_the_guards_the_default_decides_and_says_why() -> None:
    verdict = policy("limits: {deadline: 5ms}\n").judge(inputs(turn=7), ticking(0.002))
    assert (verdict.rule, verdict.source) == ("default", "default")
    assert verdict.reason == "the deadline of 5 ms passed"
    assert told(verdict) == [("first", "skipped"), ("default", "matched")]
    why = "the deadline of 5 ms passed before it was asked, as were the 2 after it"
    assert verdict.trace[0].detail == why


@pytest.mark.usefixtures("each_alone")
def test_errors_before_the_deadline_stay_in_the_trace() -> None:
    verdict = policy("limits: {deadline: 5ms}\n").judge(inputs(messages=0), ticking(0.0015))
    assert told(verdict) == [("first", "error"), ("second", "skipped"), ("default", "matched")]


@pytest.mark.usefixtures("each_alone")
def test_a_rule_that_was_asked_in_time_decides() -> None:
    verdict = policy("limits: {deadline: 5ms}\n").judge(inputs(turn=7), ticking(0.001))
    assert (verdict.rule, verdict.reason) == ("second", "turn 7")


def test_cheap_rules_share_a_block_and_dear_ones_have_their_own() -> None:
    def sizes(*costs: int) -> Iterator[int]:
        return limits._sizes(costs)

    assert list(sizes()) == []
    assert list(sizes(*[10] * 250)) == [100, 100, 50]
    assert list(sizes(10, 5_000, 10, 10)) == [1, 1, 2]


def test_no_deadline_cuts_nothing() -> None:
    assert limits.deadline(0.0, (), ()) is None
