from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.policy import Policy
from engine.policy.evaluate import CompiledPolicy
from engine.snapshot import build

CATALOG = """\
apiVersion: weave/v1
kind: Catalog
metadata: {name: default}
endpoints: {here: {protocol: openai-chat, base_url: "http://127.0.0.1:1"}}
models: {m: {tier: frontier, context: 9, output: 9, usd: {in: 0, out: 0}, served_by: [{endpoint: here, id: m}]}}
"""


def policy(body: str) -> Policy:
    header = "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\ndefault: {use: m}\n"
    return build({"catalog.yaml": CATALOG, "policy.yaml": header + body}).policy


def inputs(hints: Mapping[str, Any] | None = None, **features: Any) -> dict[str, dict[str, Any]]:
    usual = {"turn": 0, "messages": 1, "stream": False, "phase": "chat", "tool_count": 0}
    return {
        "features": {**usual, **features},
        "hints": dict(hints or {}),
        "identity": {"name": "", "team": "", "data_class": ""},
    }


RULES = policy(
    """\
variables:
  - {name: ratio, expr: features.turn / features.messages}
  - {name: busy, expr: features.tool_count > 3}
rules:
  - {name: busy-work, when: variables.busy, then: {use: m, effort: high}}
  - {name: many-turns, when: variables.ratio >= 2, then: {use: m}, reason: "string(variables.ratio) + ' turns a message'"}
  - {name: streams-only, guard: true, when: features.stream && features.turn / features.messages >= 0, then: {use: m, failover: none}}
  - {name: hinted, when: has(hints.task), then: {use: m}, reason: "hints.task + string(1 / features.turn)"}
"""  # noqa: E501
)


def trace(verdict: Any) -> list[tuple[str, str]]:
    return [(step.name, step.result) for step in verdict.trace]


def test_a_guard_outranks_the_rules_above_it() -> None:
    verdict = RULES.judge(inputs(stream=True, tool_count=9))
    assert (verdict.rule, verdict.source, verdict.reason) == ("streams-only", "guard", "streams only")
    assert trace(verdict) == [("streams-only", "matched")]


def test_the_first_rule_that_matches_decides() -> None:
    verdict = RULES.judge(inputs(tool_count=9, turn=9))
    assert (verdict.rule, verdict.source, verdict.action.effort) == ("busy-work", "rule", "high")


def test_where_no_rule_matches_the_default_decides() -> None:
    verdict = RULES.judge(inputs())
    assert (verdict.rule, verdict.source, verdict.reason) == ("default", "default", "no rule matched")
    assert trace(verdict) == [("default", "matched")]


def test_an_error_in_a_guard_counts_as_a_match() -> None:
    verdict = RULES.judge(inputs(stream=True, messages=0))
    assert (verdict.rule, verdict.source) == ("streams-only", "guard")
    assert trace(verdict) == [("streams-only", "error"), ("streams-only", "matched")]
    assert "zero" in verdict.trace[0].detail
    assert verdict.trace[0].detail.endswith("which counts as a match")


def test_an_error_in_a_rule_is_kept_and_the_next_rule_is_asked() -> None:
    verdict = RULES.judge(inputs({"task": "plan"}, messages=0, turn=1))
    assert verdict.rule == "hinted"
    assert trace(verdict) == [("many-turns", "error"), ("hinted", "matched")]


def test_an_error_before_the_default_is_kept_too() -> None:
    assert trace(RULES.judge(inputs(messages=0))) == [("many-turns", "error"), ("default", "matched")]


def test_a_reason_is_worked_out() -> None:
    assert RULES.judge(inputs(turn=6, messages=2)).reason == "3 turns a message"
    assert RULES.judge(inputs({"task": "plan"}, turn=1)).reason == "plan1"


def test_a_reason_without_a_value_falls_back_to_the_name_and_says_so() -> None:
    verdict = RULES.judge(inputs({"task": "plan"}))
    assert verdict.reason == "hinted"
    assert trace(verdict) == [("hinted", "matched"), ("hinted", "error")]
    assert "reason" in verdict.trace[1].detail


def test_explain_asks_every_rule_and_shows_the_values_of_its_parts() -> None:
    verdict = RULES.explain(inputs({"task": "plan"}, turn=6, messages=2))
    assert (verdict.rule, verdict.reason) == ("many-turns", "3 turns a message")
    assert [(step.name, step.result, step.detail) for step in verdict.trace] == [
        ("streams-only", "passed", ""),
        ("busy-work", "passed", ""),
        ("many-turns", "matched", ""),
        ("hinted", "skipped", "many-turns matched before it"),
    ]
    assert verdict.trace[2].values == {"variables.ratio >= 2": True, "variables.ratio": 3}


def test_explain_ends_with_the_default_where_it_decides() -> None:
    assert trace(RULES.explain(inputs()))[-1] == ("default", "matched")


@given(
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([{}, {"task": "plan"}]),
)
def test_explain_and_judge_say_the_same(
    stream: bool, messages: int, turn: int, tools: int, hints: dict[str, Any]
) -> None:
    asked = inputs(hints, stream=stream, messages=messages, turn=turn, tool_count=tools)
    quick, whole = RULES.judge(asked), RULES.explain(asked)
    assert (quick.rule, quick.source, quick.action, quick.reason) == (
        whole.rule,
        whole.source,
        whole.action,
        whole.reason,
    )


def test_inputs_of_the_wrong_type_are_errors_of_rules_never_exceptions() -> None:
    asked = inputs(turn="many", stream="yes", tool_count=None)
    assert RULES.judge(asked).rule == "streams-only"
    assert RULES.judge({"features": {}, "hints": {}, "identity": {}}).rule == "streams-only"
    assert RULES.explain({"features": {}, "hints": {}, "identity": {}}).rule == "streams-only"


WORTH = policy(
    """\
outcomes:
  - {name: divided, when: outcome.tests_passed / outcome.tool_errors > 5, reward: 1}
  - {name: rated, when: has(outcome.rating), reward: outcome.rating}
  - {name: failed, when: outcome.tests_failed > 0, reward: -0.5}
  - {name: ratio, when: outcome.tests_passed > 0, reward: "double(outcome.tests_passed) / 2.0"}
  - {name: nothing, when: outcome.tool_errors > 7, reward: "0.0 / 0.0"}
"""
)


@pytest.mark.parametrize(
    ("outcome", "worth"),
    [
        ({}, None),
        ({"tests_failed": 1}, ("failed", -0.5)),
        ({"rating": 0.25, "tests_failed": 1}, ("rated", 0.25)),
        ({"rating": -7.0}, ("rated", -1.0)),
        ({"tests_passed": 1}, ("ratio", 0.5)),
        ({"tests_passed": 9}, ("ratio", 1.0)),
        ({"tool_errors": 8}, None),
        ({"tests_passed": 9, "tool_errors": 1}, ("divided", 1.0)),
    ],
)
def test_an_outcome_is_worth_what_its_first_match_says_within_bounds(
    outcome: dict[str, Any], worth: tuple[str, float] | None
) -> None:
    usual = {"tests_passed": 0, "tests_failed": 0, "tool_errors": 0, "labels": {}}
    assert WORTH.reward({**usual, **outcome}) == worth


def test_a_learner_explores_where_its_condition_holds() -> None:
    explorers = policy(
        """\
variables: [{name: early, expr: features.turn / features.messages < 2}]
rules:
  - {name: r, when: features.stream, then: {choose: [m], by: careful}}
  - {name: s, when: features.turn > 1, then: {choose: [m], by: always}}
learners:
  careful: {algorithm: beta, signature: [features.phase], explore: {rate: 0.1, when: variables.early}}
  always: {algorithm: beta, signature: [features.phase], explore: {rate: 0.1}}
"""
    )
    assert explorers.may_explore("careful", inputs(turn=1))
    assert not explorers.may_explore("careful", inputs(turn=2))
    assert not explorers.may_explore("careful", inputs(messages=0))  # an error forbids it
    assert explorers.may_explore("always", inputs(messages=0))
    assert not explorers.may_explore("nobody", inputs())


def test_a_session_is_locked_while_its_condition_holds_and_where_that_has_no_value() -> None:
    said = "variables: [{name: busy, expr: features.tool_count > 3}]\n"
    locking = policy(f"{said}pinning: {{lock_while: variables.busy || features.stream}}\n")
    assert locking.locked(inputs(tool_count=4))
    assert not locking.locked(inputs(tool_count=3))
    assert not policy("").locked(inputs(tool_count=4))
    broken = policy("pinning: {lock_while: features.turn / (features.messages - 1) > 5}\n")
    assert broken.locked(inputs(messages=1))
    assert not broken.locked(inputs(messages=2))


def test_each_condition_is_asked_by_itself() -> None:
    assert isinstance(RULES, CompiledPolicy)
    assert RULES.asked(inputs(tool_count=9, messages=0, hints={"task": "plan"})) == {
        "streams-only": False,
        "busy-work": True,
        "many-turns": None,  # a division by zero
        "hinted": True,
    }
