"""The expression engine from outside, as its essay tells it. Its parts are tested under `tests/policy/expression/`."""

from typing import Any

import pytest

from engine.policy import expression as cel

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
SCHEMA = {
    "properties": {
        "features": {"properties": {"phase": TEXT, "turn": WHOLE}, "required": ["phase", "turn"]},
        "hints": {"properties": {"task": TEXT}},
    }
}


def test_the_essays_example_runs() -> None:
    vocabulary = cel.Vocabulary.from_schema(SCHEMA)
    task, complaints = cel.compile_expression("has(hints.task) ? hints.task : features.phase", vocabulary)
    assert task is not None
    assert complaints == ()
    vocabulary = vocabulary.with_variable("task", task.type)
    rule, complaints = cel.compile_expression("variables.task == 'plan'", vocabulary, "bool")
    assert rule is not None
    assert complaints == ()
    ladder = cel.compile_ladder([("task", task)], [cel.Rung("planning", rule)])
    assert ladder({"features": {"phase": "plan", "turn": 1}, "hints": {}}) == cel.Match(0)
    assert ladder({"features": {"phase": "plan", "turn": 1}, "hints": {"task": "chat"}}) == cel.Match(None)


def test_a_wrong_expression_gives_complaints_and_nothing_to_run() -> None:
    expression, complaints = cel.compile_expression("features.turns > 0", cel.Vocabulary.from_schema(SCHEMA))
    assert expression is None
    assert complaints == (
        cel.Complaint(1, 1, "WV201", "features has no field 'turns'", "did you mean 'turn'?", "error"),
    )


def test_an_expression_without_a_value_raises_one_kind_of_error() -> None:
    expression, _ = cel.compile_expression("1 / features.turn", cel.Vocabulary.from_schema(SCHEMA), "number")
    assert expression is not None
    assert (expression.source, str(expression.type), expression.compiled) == (
        "1 / features.turn",
        "int",
        True,
    )
    assert expression.names == {"features.turn"}
    assert expression.evaluate({"features": {"phase": "", "turn": 1}}) == 1
    wrong: list[dict[str, Any]] = [
        {"features": {"turn": 0}},
        {"features": {"turn": "x"}},
        {"features": {}},
        {"features": None},
        {},
    ]
    for roots in wrong:
        with pytest.raises(cel.EvaluationError):
            expression.evaluate(roots)
    assert expression.explain({"features": {"turn": 0}}) == {
        "1 / features.turn": "division by zero",
        "features.turn": 0,
    }


def test_every_code_is_explained_in_one_sentence() -> None:
    for code, sentence in cel.CODES.items():
        assert code[:3] in ("WV2", "WV4")
        assert sentence.endswith(".")
