"""Whether one condition holds wherever another does, and whether one never does: yes is always right."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.expression import EvaluationError, Expression, Vocabulary, compile_expression
from engine.policy.implies import Range, form, implies, never

VOCABULARY = Vocabulary.from_schema(
    {
        "properties": {
            "features": {
                "properties": {
                    "turn": {"type": "integer"},
                    "price": {"type": "number"},
                    "phase": {"type": "string"},
                    "stream": {"type": "boolean"},
                },
                "required": ["turn", "price", "phase", "stream"],
            }
        }
    }
)


def expression(text: str) -> Expression:
    found, complaints = compile_expression(text, VOCABULARY, "bool")
    assert found is not None, complaints
    return found


def says(narrow: str, wide: str) -> bool:
    return implies(form(expression(narrow).parsed.node), form(expression(wide).parsed.node))


TURN, PHASE = "features.turn", "features.phase"


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("features.stream", "( features.stream )"),
        ("features.stream && features.turn > 5", "features.stream"),
        ("features.stream && features.turn > 5", "features.turn > 5 && features.stream"),
        ("features.turn > 10", "features.turn > 5"),
        ("features.turn > 5", "features.turn >= 5"),
        ("features.turn == 7", "features.turn > 5"),
        ("7 < features.turn", "features.turn > 5"),
        ("features.turn in [6, 7]", "features.turn > 5"),
        ("features.turn > 5", "features.turn != 5"),
        ("features.turn > 5 && features.turn < 7", "features.turn < 9"),
        ("features.price > 1.5", "features.price > 1"),
        ("features.phase == 'plan'", "features.phase in ['plan', 'chat']"),
        ("features.phase == 'plan'", "features.phase != 'chat'"),
        ("features.phase == 'plan'", "features.phase == 'plan' || features.stream"),
        ("features.phase == 'plan' || features.phase == 'chat'", "features.phase in ['plan', 'chat']"),
        ("!features.stream", "!features.stream"),
        ("features.phase.startsWith('p')", "features.phase.startsWith('p') || features.turn > 3"),
    ],
)
def test_a_wider_condition_is_seen(narrow: str, wide: str) -> None:
    assert says(narrow, wide)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("features.stream", "!features.stream"),
        ("features.turn > 5", "features.turn > 10"),
        ("features.turn >= 5", "features.turn > 5"),
        ("features.turn > 5", "features.price > 5"),
        ("features.phase == 'plan'", "features.phase == 'chat'"),
        ("features.phase in ['plan', 'chat']", "features.phase == 'plan'"),
        ("features.phase != 'chat'", "features.phase == 'plan'"),
        ("features.phase == 'plan' || features.stream", "features.phase == 'plan'"),
        ("features.phase == '1'", "features.phase in ['2']"),
        ("features.phase.startsWith('p')", "features.phase.startsWith('pl')"),
        ("features.turn - 1 > 3", "1 - features.turn > 3"),
    ],
)
def test_a_condition_that_is_not_wider_is_not_taken_for_one(narrow: str, wide: str) -> None:
    assert not says(narrow, wide)


atoms = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from([TURN, "features.price"]),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.integers(0, 4),
    ),
    st.builds("{} < {}".format, st.integers(0, 4), st.just(TURN)),
    st.builds("{} in [{}, {}]".format, st.just(TURN), st.integers(0, 4), st.integers(0, 4)),
    st.builds("{} {} '{}'".format, st.just(PHASE), st.sampled_from(["==", "!="]), st.sampled_from("ab")),
    st.sampled_from(["features.stream", "!features.stream", "10 / features.turn > 3"]),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner),
    max_leaves=4,
)
inputs = st.fixed_dictionaries(
    {
        "turn": st.integers(-1, 5),
        "price": st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5, 4.0, float("nan")]),
        "phase": st.sampled_from(["a", "b", "c"]),
        "stream": st.booleans(),
    }
)


def value(of: Expression, features: dict[str, Any]) -> bool:
    try:
        return of.evaluate({"features": features}) is True
    except EvaluationError:
        return False


@given(conditions, conditions, st.lists(inputs, min_size=20, max_size=20))
@settings(max_examples=400, deadline=None)
def test_where_it_says_yes_no_input_says_no(narrow: str, wide: str, asked: list[dict[str, Any]]) -> None:
    if says(narrow, wide):
        inner, outer = expression(narrow), expression(wide)
        assert all(value(outer, each) for each in asked if value(inner, each))


@given(conditions)
@settings(max_examples=100, deadline=None)
def test_every_condition_implies_itself(text: str) -> None:
    assert says(text, text)


BOUNDS = {TURN: Range(low=-1, high=5)}  # what `inputs` has


def nobody(text: str) -> bool:
    return never(form(expression(text).parsed.node), BOUNDS)


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "features.turn > 5",
        "features.turn < -1",
        "features.turn == 9",
        "features.turn > 3 && features.turn < 3",
        "features.turn > 3 && (features.stream && 3 >= features.turn)",
        "features.price > 3.0 && features.price <= 3.0",
        "features.phase == 'a' && features.phase == 'b'",
        "features.phase == 'a' && features.phase != 'a'",
        "features.phase in ['a', 'b'] && features.phase == 'c'",
        "features.turn in [1, 2] && features.turn > 2",
        "features.stream && !features.stream",
        "features.stream && (features.turn > 5 || features.turn < -1)",
    ],
)
def test_a_condition_that_nothing_fulfils_is_known(text: str) -> None:
    assert nobody(text)


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "features.turn >= 5",
        "features.turn >= 3 && features.turn <= 3",
        "features.turn > 5 || features.stream",
        "features.price > 3.0 && features.turn < 3",
        "features.phase in ['a', 'b'] && features.phase == 'b'",
        "features.phase == 'a' || features.phase == 'b'",
        "features.phase != 'a' && features.phase != 'b'",
        "features.turn - 1 > 9",
    ],
)
def test_a_condition_that_something_fulfils_is_not_called_impossible(text: str) -> None:
    assert not nobody(text)


@given(st.lists(conditions, min_size=1, max_size=3), st.lists(inputs, min_size=20, max_size=20))
@settings(max_examples=400, deadline=None)
def test_where_it_says_never_no_input_fulfils_it(texts: list[str], asked: list[dict[str, Any]]) -> None:
    text = " && ".join(texts)
    if nobody(text):
        whole = expression(text)
        assert not any(value(whole, each) for each in asked)
