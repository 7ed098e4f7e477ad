"""JSON Schemas as the types of expressions."""

from typing import Any

import pytest

from engine.policy.expression import Vocabulary, compile_expression
from engine.policy.expression.types import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    NULL,
    STRING,
    ListOf,
    MapOf,
    Record,
    Scalar,
    from_schema,
    join,
    size_of,
)


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "string"}, STRING),
        ({"type": "integer"}, INT),
        ({"type": "number"}, DOUBLE),
        ({"type": "boolean"}, BOOL),
        ({"type": "null"}, NULL),
        ({"enum": ["a", "b"]}, STRING),
        ({"const": "a"}, STRING),
        ({"enum": ["a", 1]}, DYN),
        ({"type": ["string", "null"]}, DYN),
        ({"anyOf": [{"type": "string"}]}, DYN),
        ({}, DYN),
        ({"type": "array"}, ListOf(DYN)),
        ({"type": "array", "items": {"type": "number"}}, ListOf(DOUBLE)),
        ({"type": "object"}, MapOf(STRING, DYN)),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, MapOf(STRING, INT)),
        ({"$ref": "#/$defs/name", "$defs": {"name": {"type": "string"}}}, STRING),
        ({"$ref": "#/$defs/gone"}, DYN),
        ({"$ref": "#/$defs/loop", "$defs": {"loop": {"$ref": "#/$defs/loop"}}}, DYN),
    ],
)
def test_a_schema_has_a_type(schema: dict[str, Any], wanted: object) -> None:
    assert from_schema(schema) == wanted


def test_an_object_knows_which_fields_are_always_there() -> None:
    found = from_schema(
        {"properties": {"a": {"type": "string", "description": "First."}, "b": {}}, "required": ["a"]}, "x"
    )
    assert isinstance(found, Record)
    assert {name: (str(each.type), each.required) for name, each in found.fields.items()} == {
        "a": ("string", True),
        "b": ("dyn", False),
    }
    assert found.fields["a"].text == "First."


def test_sizes_and_enums_do_not_make_another_type() -> None:
    short = from_schema({"type": "string", "maxLength": 5})
    assert short == STRING
    assert size_of(short) == 5
    one, other = from_schema({"enum": ["a"]}), from_schema({"enum": ["b"]})
    joined = join(one, other)
    assert isinstance(joined, Scalar)
    assert joined.values == frozenset({"a", "b"})
    open_ended = join(one, STRING)
    assert isinstance(open_ended, Scalar)
    assert open_ended.values is None


def test_a_vocabulary_grows_without_changing(vocabulary: Vocabulary) -> None:
    larger = vocabulary.with_variable("task", STRING).with_root(
        "outcome", {"properties": {"rating": {"type": "number"}, "tests_failed": {"type": "integer"}}}
    )
    assert compile_expression("variables.task", larger)[0] is not None
    assert compile_expression("variables.task", vocabulary)[0] is None
    assert compile_expression("has(outcome.rating) && outcome.rating > 0", larger, "bool")[0] is not None
    assert larger.fields("outcome") == ("rating", "tests_failed")
    assert larger.fields("nothing") == ()


def test_the_enum_of_a_variable_reaches_the_comparison(vocabulary: Vocabulary) -> None:
    task, _ = compile_expression("features.subagent ? features.phase : 'debug'", vocabulary)
    assert task is not None
    larger = vocabulary.with_variable("task", task.type)
    assert compile_expression("variables.task in ['plan', 'debug']", larger)[1] == ()
    _, complaints = compile_expression("variables.task in ['plan', 'debgu']", larger)
    assert [(each.code, each.hint) for each in complaints] == [("WV212", "did you mean 'debug'?")]


def test_a_place_behind_a_condition_knows_what_the_condition_proves(vocabulary: Vocabulary) -> None:
    condition, _ = compile_expression(
        "features.turn > 0 && has(hints.task) && !(!has(features.file.lines) || features.subagent)",
        vocabulary,
    )
    assert condition is not None
    assert condition.present == {("hints", "task"), ("features", "file"), ("features", "file", "lines")}
    inside = vocabulary.where(condition.present)
    assert compile_expression("hints.task + string(features.file.lines)", inside, "string")[1] == ()
    assert compile_expression("hints.private", inside)[1][0].code == "WV205"
    assert compile_expression("hints.task", vocabulary)[1][0].code == "WV205"


def test_a_joined_text_is_none_of_the_enum(vocabulary: Vocabulary) -> None:
    for text in (
        "features.phase + '!' == 'plan!'",
        "'a' + features.language == 'ab'",
        "[features.phase].join() == 'x'",
    ):
        assert compile_expression(text, vocabulary)[1] == ()
