"""Expressions as a whole: what they give, what they say when they are wrong, how they explain themselves."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celpy
import pytest
from celpy.evaluation import CELEvalError

from engine.policy.expression import CODES, EvaluationError, Expression, Vocabulary, compile_expression
from engine.policy.expression.parse import plain

Case = dict[str, Any]


def compiled(text: str, vocabulary: Vocabulary, expect: str = "any") -> Expression:
    expression, complaints = compile_expression(text, vocabulary, expect)
    assert expression is not None, complaints
    return expression


def changed(inputs: Case, case: Case) -> Case:
    return {root: {**fields, **case.get("with", {}).get(root, {})} for root, fields in inputs.items()}


def test_an_expression_gives_its_value(values_case: Case, vocabulary: Vocabulary, inputs: Case) -> None:
    expression = compiled(values_case["expr"], vocabulary)
    assert expression.compiled is values_case.get("compiled", True)
    roots = changed(inputs, values_case)
    if "fails" in values_case:
        with pytest.raises(EvaluationError, match=r".") as raised:
            expression.evaluate(roots)
        assert raised.value.fault.message == values_case["fails"]
        return
    value = expression.evaluate(roots)
    assert value == values_case["value"]
    assert type(value) is type(values_case["value"])


def test_a_complaint_stands_at_its_place(complaints_case: Case, vocabulary: Vocabulary) -> None:
    case = complaints_case
    for name, text in case.get("variables", {}).items():
        vocabulary = vocabulary.with_variable(name, compiled(text, vocabulary).type)
    text = case["expr"] * case.get("times", 1) + case.get("then", "")
    expression, complaints = compile_expression(text, vocabulary, case.get("expect", "any"))
    assert [(f"{each.line}:{each.column}", each.code) for each in complaints] == [
        (each["at"], each["code"]) for each in case["complaints"]
    ]
    for said, wanted in zip(complaints, case["complaints"], strict=True):
        assert wanted["says"] in said.message
        assert wanted.get("hint", "") in said.hint
        warning = said.code in ("WV211", "WV212") and "severity" not in case
        assert said.severity == ("warning" if warning else "error")
    assert (expression is None) is any(each.severity == "error" for each in complaints)


def test_every_code_has_a_failing_case() -> None:
    from pathlib import Path

    import yaml

    path = Path(__file__).parents[2] / "cases" / "expression" / "complaints.yaml"
    seen = {each["code"] for case in yaml.safe_load(path.read_text()) for each in case["complaints"]}
    assert seen == CODES.keys()


def test_a_departure_from_the_reference_is_still_one(departures_case: Case) -> None:
    case = departures_case
    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
    theirs: Any
    try:
        theirs = plain(celpy.InterpretedRunner(environment, environment.compile(case["expr"])).evaluate({}))
    except CELEvalError:
        theirs = "error"
    except Exception:
        theirs = "python error"
    if isinstance(theirs, str) and "\ud83d" in theirs:
        theirs = "a lone surrogate"
    expression, complaints = compile_expression(case["expr"], Vocabulary())
    ours: Any
    if expression is None:
        ours = complaints[0].code
    else:
        try:
            ours = expression.evaluate({})
        except EvaluationError:
            ours = "error"
    assert alike(theirs, case["theirs"])
    assert alike(ours, case["ours"])
    assert not (alike(ours, theirs) and ours != "error")


def alike(left: Any, right: Any) -> bool:
    if isinstance(left, float) and math.isnan(left):
        return isinstance(right, float) and math.isnan(right)
    return type(left) is type(right) and bool(left == right)


@pytest.mark.parametrize(
    "form", ["true && {}", "{} || false", "{} ? 1 > 0 : false", "!!({})", "has(hints.task) || {}"]
)
def test_an_error_in_a_place_that_decides_is_an_error(
    form: str, vocabulary: Vocabulary, inputs: Case
) -> None:
    expression = compiled(form.format("1 / features.turn > 0"), vocabulary)
    with pytest.raises(EvaluationError, match="division by zero"):
        expression.evaluate(inputs)


def test_an_expression_says_what_it_reads(vocabulary: Vocabulary) -> None:
    vocabulary = vocabulary.with_variable("task", compiled("features.phase", vocabulary).type)
    text = (
        "has(hints.task) && variables.task == identity['team'] && features.file.name == '' && size(hints) > 0"
    )
    assert compiled(text, vocabulary).names == {
        "hints.task", "hints", "variables.task", "identity.team", "features.file",
    }  # fmt: skip


def test_an_expression_explains_its_parts(vocabulary: Vocabulary, inputs: Case) -> None:
    text = "features.tool_count > 5 || features.tools.exists(t, t == 'Edit') && 1 / features.turn > 0"
    assert compiled(text, vocabulary).explain({**inputs, "features": {**inputs["features"]}}) == {
        text: "division by zero",
        "features.tool_count > 5": False,
        "features.tool_count": 3,
        "features.tools.exists(t, t == 'Edit') && 1 / features.turn > 0": "division by zero",
        "features.tools.exists(t, t == 'Edit')": True,
        "features.tools": ["Read", "Edit", "Bash"],
        "1 / features.turn > 0": "division by zero",
        "1 / features.turn": "division by zero",
        "features.turn": 0,
    }


def test_what_the_text_says_already_is_not_explained(vocabulary: Vocabulary, inputs: Case) -> None:
    explained = compiled(
        "features.phase in ['plan', 'chat'] && features.turn in [features.turn, 2]", vocabulary
    )
    parts = explained.explain(inputs)
    assert "['plan', 'chat']" not in parts
    assert parts["[features.turn, 2]"] == [0, 2]


def test_an_interpreted_expression_explains_its_parts_too(vocabulary: Vocabulary, inputs: Case) -> None:
    explained = compiled("features.anything[0] == 1 && features.turn == 0", vocabulary).explain(inputs)
    assert explained["features.anything[0]"] == 1
    assert explained["features.turn == 0"] is True


def test_inputs_that_break_the_schema_are_an_error_not_a_traceback(
    vocabulary: Vocabulary, inputs: Case
) -> None:
    inputs["features"]["language"] = 5
    with pytest.raises(EvaluationError, match="another type than the schema says"):
        compiled("features.language.startsWith('a')", vocabulary).evaluate(inputs)
    with pytest.raises(EvaluationError, match="no such key: 'features'"):
        compiled("features.turn > 0", vocabulary).evaluate({})


def test_a_value_of_unknown_type_must_turn_out_a_bool(vocabulary: Vocabulary, inputs: Case) -> None:
    expression = compiled("dyn(features.turn)", vocabulary, "bool")
    with pytest.raises(EvaluationError, match="no bool"):
        expression.evaluate(inputs)


def test_costs_grow_with_what_is_gone_over(vocabulary: Vocabulary) -> None:
    once = compiled("features.turn > 0", vocabulary).cost
    loop = compiled("features.tools.exists(t, t == 'a')", vocabulary).cost
    nested = compiled("features.tools.exists(t, features.tools.exists(u, u == t))", vocabulary).cost
    assert once < 10 < 100 < loop < 500 < 20 * loop < nested
    _, complaints = compile_expression("features.tools.exists(t, t == 'a')", vocabulary, cost_limit=100)
    assert [each.code for each in complaints] == ["WV401"]


def test_doubling_texts_through_variables_is_found_by_the_cost(vocabulary: Vocabulary) -> None:
    text = "features.language"
    for step in range(40):
        expression, complaints = compile_expression(f"{text} + {text}", vocabulary)
        if expression is None:
            assert [each.code for each in complaints] == ["WV401"]
            return
        vocabulary = vocabulary.with_variable(f"v{step}", expression.type)
        text = f"variables.v{step}"
    pytest.fail("a text of 2**40 times the input was let through")


def test_text_stops_growing_when_it_runs(vocabulary: Vocabulary, inputs: Case) -> None:
    inputs["features"]["language"] = "a" * 600_000
    for text in (
        "features.language + features.language",
        "features.language.replace('a', 'bb')",
        "[features.language, features.language].join()",
    ):
        with pytest.raises(EvaluationError, match="longer than"):
            compiled(text, vocabulary).evaluate(inputs)


def test_many_threads_may_parse_and_interpret_at_once(vocabulary: Vocabulary, inputs: Case) -> None:
    def one(number: int) -> Any:
        fast = compiled(f"features.tool_count + {number}", vocabulary).evaluate(inputs)
        slow = compiled(f"features.anything[0] == {number}", vocabulary).evaluate(inputs)
        return fast - 3, slow

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(200)))
    assert found == [(number, number == 1) for number in range(200)]


def test_an_unknown_expectation_is_a_mistake_of_ours(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match="expected to be"):
        compile_expression("true", vocabulary, "boolean")
