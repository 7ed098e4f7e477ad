"""Rules compared with those before them, and what they read; each warning has its case among the problems."""

import time

import pytest

from engine.documents import shipped_text
from engine.policy import reach
from engine.snapshot import check

HEAD = "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\ndefault: {use: frontier}\nrules:\n"


def found(rules: str) -> list[tuple[str, int]]:
    files = {"catalog.yaml": shipped_text("policies/catalog.yaml"), "p.yaml": HEAD + rules}
    return [(problem.code, problem.line) for problem in check(files)[1]]


def test_an_optional_read_is_no_wider_than_another() -> None:
    rules = """\
  - {name: a, when: has(hints.task) && hints.task == 'plan', then: {use: small}}
  - {name: b, when: has(hints.task), then: {use: small}}
  - {name: c, when: has(hints.task) && hints.task == 'debug', then: {use: small}}
"""
    assert found(rules) == [("WV305", 8)]


def test_each_hidden_rule_is_told_once() -> None:
    rules = """\
  - {name: a, when: features.turn > 1, then: {use: small}}
  - {name: b, when: features.turn > 2, then: {use: small}}
  - {name: c, when: features.turn > 3, then: {use: small}}
"""
    assert found(rules) == [("WV305", 7), ("WV305", 8)]


def test_very_many_rules_are_compared_in_part_and_in_time() -> None:
    count = 1_500
    rules = "".join(
        f"  - {{name: r{n}, when: features.turn == {n} || features.messages == {n}, then: {{use: small}}}}\n"
        for n in range(count)
    )
    start = time.process_time()
    assert found(rules) == []
    assert time.process_time() - start < 20  # measured: 2 s
    assert reach.MOST_PAIRS // count < count


VARIABLES = "variables: [{name: a, expr: features.turn}, {name: b, expr: variables.a + 1}]\n"
PLAN = "plans: {p: {steps: [small, mid], escalate: {when: variables.b > 1}}}\n"
LEARNER = "learners: {l: {algorithm: beta, signature: [features.phase], explore: {rate: 0.1, when: variables.b > 1}}}\n"
CATALOG = shipped_text("policies/catalog.yaml")


def unread(body: str) -> list[str]:
    text = HEAD.removesuffix("rules:\n") + VARIABLES + body
    problems = check({"catalog.yaml": CATALOG, "p.yaml": text})[1]
    return [problem.message for problem in problems if problem.code == "WV324"]


@pytest.mark.parametrize(
    "body",
    [
        "rules: [{name: r, when: variables.b > 1, then: {use: small}}]",
        "rules: [{name: r, when: features.stream, then: {use: small}, reason: string(variables.b)}]",
        PLAN + "rules: [{name: r, when: features.stream, then: {use: p}}]",
        LEARNER + "rules: [{name: r, when: features.stream, then: {choose: [small], by: l}}]",
        "rules: [{name: r, when: \"variables == {'a': 1}\", then: {use: small}}]",
        "rules: [{name: r, when: variabels.b > 1, then: {use: small}}]",
    ],
    ids=["condition", "reason", "plan", "explore", "all of them", "misspelt"],
)
def test_a_variable_is_read_wherever_an_expression_may_stand(body: str) -> None:
    assert unread(body) == []


def test_a_variable_that_only_unread_ones_read_is_unread() -> None:
    assert unread("rules: [{name: r, when: variables.a > 1, then: {use: small}}]") == [
        "no rule reads the variable 'b'"
    ]
    assert len(unread("")) == 2
