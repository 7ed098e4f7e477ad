import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.commands.testing import RuleReach

Weave = Callable[..., Any]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def told(weave: Weave, policies: Path) -> Any:
    return json.loads(weave("test", policies, "--format", "json").out)["policies"][0]


def test_every_case_is_told_by_name(weave: Weave, policies: Path) -> None:
    ran = weave("test", policies)
    assert ran.code == 0
    assert ran.out == (
        f"house  {policies}/house.yaml\n"
        "  ✔ private stays\n"
        "  ✔ a title is a chore\n"
        "  ✔ work goes to who is proven\n"
        "  ✔ the rest is left alone\n"
        "  rules fired 100 %, conditions seen both ways 100 %\n"
        "4 cases, all passed\n"
    )


def test_the_shipped_policies_pass_and_are_covered(weave: Weave) -> None:
    ran = weave("test", Path(__file__).parents[2] / "policies")
    assert ran.code == 0
    assert "rules fired 100 %, conditions seen both ways 100 %" in ran.out


def test_a_case_that_fails_tells_what_was_expected_and_what_came(weave: Weave, policies: Path) -> None:
    edit(
        policies / "house.yaml",
        "expect: {rule: chores, model: little}",
        "expect: {rule: working, model: large}",
    )
    ran = weave("test", policies)
    assert ran.code == 4
    assert "  ✘ a title is a chore\n      expected rule 'working', got 'chores'\n" in ran.out
    assert "      expected model 'large', got 'little'\n" in ran.out
    assert "      chores decided for little because rule: chores\n" in ran.out
    assert f"      at {policies}/house.yaml:28\n" in ran.out
    assert "  ✔ the rest is left alone" in ran.out, "the others are told all the same"
    assert ran.out.endswith("4 cases, 1 failed\n")


def test_learners_believe_what_a_case_says_and_nothing_is_explored(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "min_samples: 3}", "min_samples: 3}\n    explore: {rate: 0.2}")
    edit(policies / "house.yaml", "learner: {mid: 0.95}", "learner: {mid: 0.89}")
    for _ in range(5):
        case = told(weave, policies)["cases"][2]
        assert not case["passed"]
        assert (case["got"]["model"], case["got"]["because"]) == ("large", "below_threshold")


def test_a_request_that_nothing_can_serve_is_a_failed_case(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "with: {}, expect", "with: {features: {context_tokens: 9000000}}, expect")
    case = told(weave, policies)["cases"][3]
    assert case["got"] is None
    assert "no model here can carry this request" in case["failures"][0]["hint"]


def test_rules_that_no_case_fires_are_named(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "    - {name: private stays", "    # - {name: private stays")
    ran = weave("test", policies)
    assert ran.code == 0, "nobody demands more"
    assert "  – guard private: never fired\n" in ran.out
    assert "rules fired 66.7 %, conditions seen both ways 83.3 %" in ran.out


def test_coverage_that_is_demanded_and_not_there_has_its_exit_code(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "  cases:\n", "  coverage: {rules: 100}\n  cases:\n")
    edit(policies / "house.yaml", "    - {name: private stays", "    # - {name: private stays")
    ran = weave("test", policies)
    assert ran.code == 5
    assert "the cases fire 2 of 3 rules; 100 % are demanded; never fired: private" in ran.out


def test_answers_that_are_demanded_and_never_seen_have_the_same_exit_code(
    weave: Weave, policies: Path
) -> None:
    edit(policies / "house.yaml", "  cases:\n", "  coverage: {conditions: 100}\n  cases:\n")
    assert weave("test", policies).code == 0
    edit(policies / "house.yaml", "    - {name: private stays", "    # - {name: private stays")
    for command in ("test", "validate"):
        ran = weave(command, policies)
        assert ran.code == 5
        assert "the cases show 5 of the 6 answers that conditions have; 100 % are demanded" in ran.out
        assert "never true: private" in ran.out


@pytest.mark.parametrize(
    ("fired", "true", "false", "gap"),
    [
        (0, 0, 0, "never asked"),
        (0, 0, 3, "never fired"),
        (0, 2, 3, "held, but an earlier rule always decided"),
        (1, 1, 0, "never false"),
        (1, 1, 1, ""),
    ],
)
def test_what_the_cases_have_not_shown_of_a_rule(fired: int, true: int, false: int, gap: str) -> None:
    assert RuleReach("r", "rule", 1, fired, true, false).gap == gap


def test_conditions_count_as_seen_whichever_rule_decides(weave: Weave, policies: Path) -> None:
    rules = {rule["name"]: rule for rule in told(weave, policies)["rules"]}
    assert (rules["private"]["true"], rules["private"]["false"]) == (1, 3)
    assert (rules["chores"]["fired"], rules["chores"]["true"], rules["chores"]["line"]) == (1, 1, 10)


def test_a_condition_without_a_value_is_counted(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "features.tool_count > 0", "10 / features.tool_count > 0")
    ran = weave("test", policies)
    assert "– rule working: no value in 3 cases" in ran.out


def test_every_policy_of_the_set_is_tested(weave: Weave, policies: Path) -> None:
    text = (policies / "house.yaml").read_text().replace("name: house", "name: default")
    (policies / "other.yaml").write_text(text.replace("model: middle", "model: large"))
    ran = weave("test", policies)
    assert ran.code == 4
    assert ran.out.endswith("8 cases, 1 failed\n")


def test_a_policy_without_cases_says_how_to_get_some(weave: Weave, policies: Path) -> None:
    text = (policies / "house.yaml").read_text()
    (policies / "house.yaml").write_text(text[: text.index("tests:")])
    ran = weave("test", policies)
    assert ran.code == 0
    assert "– rule chores: never asked" in ran.out
    assert "no cases: write some under tests.cases" in ran.out


@pytest.mark.parametrize("form", ["pretty", "json", "junit"])
def test_policies_that_do_not_hold_are_not_tested(weave: Weave, policies: Path, form: str) -> None:
    edit(policies / "house.yaml", "features.phase ==", "features.phse ==")
    ran = weave("test", policies, "--format", form)
    assert ran.code == 3
    assert "features has no field" in ran.out
    assert "✔" not in ran.out


def test_junit_has_a_case_for_each(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "expect: {rule: chores, model: little}", "expect: {model: large}")
    root = ElementTree.fromstring(weave("test", policies, "--format", "junit").out)
    assert (root.get("name"), root.get("tests"), root.get("failures")) == ("weave-engine test", "4", "1")
    failed = [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None]
    assert failed == ["a title is a chore"]
