"""Schemas in OpenAI's strict mode."""

from typing import Any

import pytest

from engine.protocols.strict_schema import for_strict

NULL = {"type": "null"}


def an_object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def test_every_field_is_required_and_those_that_were_not_may_be_null() -> None:
    schema = {**an_object(a={"type": "string"}, b={"type": "integer", "description": "d"}), "required": ["a"]}
    assert for_strict(schema) == {
        "type": "object", "additionalProperties": False, "required": ["a", "b"],
        "properties": {
            "a": {"type": "string"},
            "b": {"anyOf": [{"type": "integer"}, NULL], "description": "d"},  # W14: a type stays one word
        },
    }  # fmt: skip


def test_what_may_be_null_is_left_alone() -> None:
    fields = {
        "a": {"type": ["string", "null"]},
        "b": {"anyOf": [{"type": "string"}, NULL]},
        "c": {"enum": [1, None]},
    }
    strict = for_strict(an_object(**fields))
    assert strict is not None
    assert strict["properties"] == fields


def test_inner_objects_and_branches_are_closed_too() -> None:
    inner = {**an_object(x={"type": "string", "format": "uri"}), "required": ["x"]}
    closed = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"],
              "additionalProperties": False}  # fmt: skip
    schema = {
        **an_object(a={"type": "array", "items": inner}, b={"oneOf": [inner, {"type": "string"}]}),
        "required": ["a", "b"], "$schema": "x", "title": "T",
    }  # fmt: skip
    assert for_strict(schema) == {
        "type": "object", "required": ["a", "b"], "additionalProperties": False,
        "properties": {"a": {"type": "array", "items": closed}, "b": {"anyOf": [closed, {"type": "string"}]}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "field",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},  # a map
        {"type": "object"},
        {},  # W11: no type
        {"description": "anything"},
        {"type": "array"},
        {"anyOf": [{"type": "string"}, {}]},  # W11
        {"$ref": "#"},
        True,
    ],
)
def test_what_strict_mode_cannot_say_is_not_said(field: Any) -> None:
    assert for_strict(an_object(a=field)) is None


def test_a_tool_without_parameters_takes_none() -> None:
    closed = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert for_strict({"type": "object"}) == closed


def test_what_is_strict_already_stays_as_it_is() -> None:
    fields = {"next": {"anyOf": [{"$ref": "#"}, NULL]}}
    schema = {"type": "object", "properties": fields, "required": ["next"], "additionalProperties": False}
    assert for_strict(schema) == schema
    assert for_strict(schema | {"additionalProperties": True}) is None


def test_a_schema_that_is_no_object_is_not_strict() -> None:
    assert for_strict({"type": "string"}) is None
    assert for_strict({}) is None
