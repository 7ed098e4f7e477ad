"""The CEL specification's own cases, by the compiled path and by the interpreted one."""

import math
from typing import Any

import pytest

from engine.policy.expression import EvaluationError, Vocabulary, compile_expression
from engine.policy.expression.interpreted import FUNCTIONS, NAMESPACES
from engine.policy.expression.parse import interpret

Case = dict[str, Any]

# Forms the interpreter lacks; an expression that would need it for them is refused.
ONLY_COMPILED = ("map(n, n > 1, ",)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def test_a_case_of_the_specification_holds(specification_case: Case) -> None:
    case = specification_case
    if "absent" in case:
        return
    expression, complaints = compile_expression(case["expr"], Vocabulary())
    if "refused" in case:
        assert expression is None
        assert case["refused"] in [each.code for each in complaints]
        return
    assert expression is not None, complaints
    if case.get("fails"):
        with pytest.raises(EvaluationError):
            expression.evaluate({})
        return
    assert same(expression.evaluate({}), case["value"])


def test_the_interpreter_gives_the_same(specification_case: Case) -> None:
    case = specification_case
    if "absent" in case or "refused" in case or any(form in case["expr"] for form in ONLY_COMPILED):
        return
    if case.get("fails"):
        with pytest.raises(EvaluationError):
            interpret(case["expr"], NAMESPACES, FUNCTIONS)
        return
    assert same(interpret(case["expr"], NAMESPACES, FUNCTIONS), case["value"])
