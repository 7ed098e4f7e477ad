from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest

from engine.core.catalog import Binding, Catalog, Model, Price
from engine.core.cost import nanos
from engine.core.errors import Fault, UnservableError
from engine.core.policy import Budget, Inputs, Learner
from engine.core.ports import Belief, Option, Spend, Standing, Task, Trust
from engine.documents import check_shape, read, shipped_json
from engine.policy.cases import Decided, Settled, Told, check_cases, run_cases
from engine.policy.catalog import Page

BIG = Model("big", "frontier", 1000, 10, frozenset(), Price(), (Binding("e", "big-1"),))
LITTLE = Model("little", "small", 1000, 10, frozenset(), Price(), (Binding("e", "little-1"),))
CATALOG = Catalog({}, {"big": BIG, "little": LITTLE}, {"big-*": "big"})
HEADER = "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\ndefault: {use: big}\n"


def page(body: str) -> Page:
    document, problems = read(HEADER + body, "p.yaml")
    assert document is not None, problems
    data, shape = check_shape(document, "schemas/policy.v1.schema.json")
    assert not shape
    return Page(document, data)


class Deciding:
    """Decides as told, and remembers what it was asked."""

    def __init__(self, **told: Any) -> None:
        usual = {
            "rule": "r",
            "model": "big",
            "because": "rule",
            "effort": "high",
            "reason": "so",
            "errors": (),
        }
        self.decided = Decided(**{**usual, **told})
        self.asked: list[tuple[Inputs, Trust]] = []

    def __call__(self, inputs: Inputs, trust: Trust, spend: Spend) -> Decided:
        self.spend = spend
        self.asked.append((inputs, trust))
        return self.decided


def asked(body: str) -> Inputs:
    deciding = Deciding()
    list(run_cases(page(body), CATALOG, deciding))
    return deciding.asked[0][0]


def test_a_case_is_a_whole_request() -> None:
    fields = shipped_json("schemas/input.v1.schema.json")["properties"]
    inputs = asked("tests: {cases: [{name: a, expect: {rule: r}}]}")
    assert inputs["features"].keys() == fields["features"]["properties"].keys()
    assert inputs["identity"].keys() == fields["identity"]["properties"].keys()
    assert inputs["hints"] == {}
    assert inputs["features"]["phase"] == "chat"
    assert inputs["features"]["language"] == "none"
    assert inputs["features"]["context_tokens"] == 0


def test_a_case_changes_what_is_given() -> None:
    inputs = asked(
        """\
tests:
  given: {features: {turn: 1, messages: 5}, hints: {task: plan}, identity: {team: core}}
  cases:
    - {name: a, with: {features: {turn: 2}, hints: {private: true}}, expect: {rule: r}}
"""
    )
    assert (inputs["features"]["turn"], inputs["features"]["messages"]) == (2, 5)
    assert inputs["hints"] == {"task": "plan", "private": True}
    assert inputs["identity"]["team"] == "core"


def test_the_tier_asked_for_follows_from_the_model_unless_it_is_said() -> None:
    case = "tests: {{cases: [{{name: a, with: {{features: {{{}}}}}, expect: {{rule: r}}}}]}}"
    assert asked(case.format("requested_model: big-5"))["features"]["requested_tier"] == "frontier"
    assert asked(case.format("requested_model: nobody"))["features"]["requested_tier"] == ""
    assert (
        asked(case.format("requested_model: big, requested_tier: mid"))["features"]["requested_tier"] == "mid"
    )


@pytest.mark.parametrize("key", ["rule", "model", "because", "effort", "reason"])
def test_each_expectation_is_compared(key: str) -> None:
    expected = {"rule": "r", "model": "big", "because": "rule", "effort": "high", "reason": "so"}
    policy = page(f"tests: {{cases: [{{name: a, expect: {{{key}: {expected[key]}}}}}]}}")
    assert list(run_cases(policy, CATALOG, Deciding())) == []
    (problem,) = run_cases(
        policy, CATALOG, Deciding(**{key: "low"}, **({} if key == "rule" else {"rule": "r"}))
    )
    assert problem.code == "WV501"
    assert (problem.line, problem.column) == (5, 36 + len(key) + 2)
    assert problem.message == f"a: expected {key} {expected[key]!r}, got 'low'"


def test_errors_on_the_way_are_told() -> None:
    deciding = Deciding(model="little", errors=("other: division by zero",))
    (problem,) = run_cases(page("tests: {cases: [{name: a, expect: {model: big}}]}"), CATALOG, deciding)
    assert problem.hint == "r decided for little because rule: so; other: division by zero"


def test_a_request_that_cannot_be_served_fails_its_case() -> None:
    def refuse(inputs: Inputs, trust: Trust, spend: Spend) -> Decided:
        raise UnservableError(Fault("invalid_request", "no model here can"))

    (problem,) = run_cases(page("tests: {cases: [{name: a, expect: {model: big}}]}"), CATALOG, refuse)
    assert (problem.code, problem.hint) == ("WV501", "no model here can")


RULES = "rules: [{name: r, when: true, then: {use: big}}, {name: s, when: true, then: {use: big}}]\n"


@pytest.mark.parametrize(("demanded", "codes"), [(50, []), (50.1, ["WV502"]), (100, ["WV502"]), (0, [])])
def test_coverage_counts_the_rules_that_cases_fire(demanded: float, codes: list[str]) -> None:
    policy = page(
        f"{RULES}tests: {{coverage: {{rules: {demanded}}}, cases: [{{name: a, expect: {{rule: r}}}}]}}"
    )
    assert [problem.code for problem in run_cases(policy, CATALOG, Deciding())] == codes


@pytest.mark.parametrize(("demanded", "codes"), [(50, []), (50.1, ["WV505"]), (100, ["WV505"]), (0, [])])
def test_coverage_counts_the_answers_that_cases_find(demanded: float, codes: list[str]) -> None:
    cases = "[{name: a, expect: {rule: r}}, {name: b, expect: {rule: r}}]"
    policy = page(f"{RULES}tests: {{coverage: {{conditions: {demanded}}}, cases: {cases}}}")
    answers: Iterator[Mapping[str, bool | None]] = iter([{"r": False, "s": True}, {"r": None, "s": True}])
    found = list(run_cases(policy, CATALOG, Deciding(), lambda _: next(answers)))
    assert [problem.code for problem in found] == codes
    assert all(problem.hint == "never false: s; never true: r" for problem in found)


def test_learners_believe_what_the_case_says() -> None:
    learner = Learner("l", "beta", ("features.phase",), min_samples=30)
    told = Told(CATALOG, {"little": 0.8, "small": 0.1, "frontier": 0.7})
    little, big, both = (
        Option("little", ("little",)),
        Option("big", ("big",)),
        Option("both", ("little", "big")),
    )
    assert told.beliefs(learner, Task(), [little, big], big) == [
        Belief(0.8, 30, reach=(1.0,)),
        Belief(0.7, 30, reach=(1.0,)),
    ]
    assert Told(CATALOG, {}).beliefs(learner, Task(), [little], big) == [Belief(0.0, 0.0)]
    assert Told(CATALOG, {"both": 0.9}).beliefs(learner, Task(), [both], big) == [
        Belief(0.9, 30, reach=(1.0, 0.25))
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"features": {"turn": "one"}}, "features.turn is of type integer, which 'one' is not"),
        ({"features": {"turn": True}}, "features.turn is of type integer, which true is not"),
        ({"features": {"turn": None}}, "features.turn is of type integer, which nothing is not"),
        ({"features": {"turn": {}}}, "features.turn is of type integer, which a mapping is not"),
        ({"features": {"turn": [1]}}, "features.turn is of type integer, which a list is not"),
        ({"features": {"phase": "planning"}}, "features.phase is never 'planning'"),
        ({"features": {"turn": -1}}, "features.turn is never below 0"),
        ({"features": {"trun": 1}}, "features has no field 'trun'"),
        ({"hints": {"max_cost": "much"}}, "hints.max_cost is of type number, which 'much' is not"),
        ({"identity": {"team": 5}}, "identity.team is of type string, which 5 is not"),
    ],
)
def test_values_no_request_can_have_are_problems(written: Mapping[str, Any], said: str) -> None:
    policy = page(
        f"tests: {{cases: [{{name: a, with: {written!r}, expect: {{rule: default}}}}]}}".replace(
            "True", "true"
        ).replace("None", "null")
    )
    (problem,) = check_cases(policy, ("big",), ("small",))
    assert (problem.code, problem.message) == ("WV503", said)


def test_the_schema_lists_what_can_settle_a_decision() -> None:
    case = shipped_json("schemas/policy.v1.schema.json")["$defs"]["case"]["properties"]
    settled = {word for part in get_args(Settled) for word in (get_args(part) or (part,))}
    assert set(case["expect"]["properties"]["because"]["enum"]) == settled


BUDGETS = "budgets: [{name: day, per: identity.team, usd: 5, window: 24h, over: {use: little}}]\n"


def test_budgets_stand_as_a_case_says() -> None:
    deciding = Deciding()
    case = "{name: a, spent: {day: 4.5}, expect: {rule: r}}"
    list(run_cases(page(f"{BUDGETS}tests: {{cases: [{case}]}}"), CATALOG, deciding))
    day = Budget("day", "identity.team", 5.0, 3600.0, use="little")
    assert deciding.spend.standing(day, "core", 0.0) == Standing(nanos(4.5))
    assert deciding.spend.standing(replace(day, name="other"), "core", 0.0) == Standing()
    assert deciding.spend.room_in(day, "core", nanos(0.5), 0.0) == 0.0
    assert deciding.spend.room_in(day, "core", nanos(0.6), 0.0) == 3600.0
    assert deciding.spend.room_in(day, "core", nanos(5.1), 0.0) is None


def test_a_case_speaks_of_budgets_there_are() -> None:
    case = "{name: a, spent: {dya: 4.5}, expect: {rule: default}}"
    problems = list(check_cases(page(f"{BUDGETS}tests: {{cases: [{case}]}}"), ["big", "little"], ["small"]))
    assert [(problem.code, problem.message, problem.hint) for problem in problems] == [
        ("WV504", "there is no budget 'dya'", "did you mean 'day'?")
    ]


def test_a_case_can_expect_to_be_refused() -> None:
    case = "tests: {cases: [{name: a, expect: {refused: 429, because: budget}}]}"
    refused = Deciding(model="", because="budget", refused=429, reason="day has no room")
    assert not list(run_cases(page(case), CATALOG, refused))
    served = list(run_cases(page(case), CATALOG, Deciding()))
    assert "expected refused 429, got 0" in served[0].message
    model = "tests: {cases: [{name: a, expect: {model: big}}]}"
    (problem,) = run_cases(page(model), CATALOG, refused)
    assert problem.message == "a: expected model 'big', got 'none'"
    assert problem.hint == "it is refused with 429: day has no room"
