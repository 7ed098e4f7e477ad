"""References written out and demands merged."""

from typing import Any

import pytest

from engine.protocols.json_schema import (
    LONGEST_REMEMBERED,
    Schema,
    flat,
    merged,
    pointed,
    remembered,
    types_of,
)


def test_references_are_written_out_and_their_definitions_go() -> None:  # W10
    root = {
        "$defs": {"A": {"type": "string"}, "a/b~c": {"type": "integer"}},
        "definitions": {"C": {"const": 1}},
        "properties": {
            "a": {"$ref": "#/$defs/A", "minLength": 2}, "b": {"$ref": "#/$defs/a~1b~0c"},
            "c": {"items": {"$ref": "#/definitions/C"}}, "$ref": {"type": "string"},
        },
    }  # fmt: skip
    assert flat(root) == {
        "properties": {
            "a": {"type": "string", "minLength": 2}, "b": {"type": "integer"}, "c": {"items": {"const": 1}},
            "$ref": {"type": "string"},
        }
    }  # fmt: skip


def test_a_cycle_ends_in_an_object_whatever_its_length() -> None:
    root: dict[str, Any] = {"$ref": "#/$defs/A", "$defs": {
        "A": {"properties": {"b": {"$ref": "#/$defs/B", "description": "d"}}},
        "B": {"properties": {"a": {"$ref": "#/$defs/A"}}},
    }}  # fmt: skip
    assert flat(root) == {"properties": {"b": {"properties": {"a": {"type": "object"}}, "description": "d"}}}
    assert flat({"properties": {"me": {"$ref": "#"}}})["properties"]["me"]["properties"] == {
        "me": {"type": "object"}
    }


def test_both_of_two_schemas_hold() -> None:
    one = {"type": ["string", "integer"], "minimum": 1, "enum": [1, 2], "required": ["a"], "title": "one"}
    other = {
        "type": "integer",
        "minimum": 3,
        "maximum": 9,
        "enum": [2, 3],
        "required": ["b"],
        "title": "other",
    }
    assert merged(one, other) == {
        "type": "integer", "minimum": 3, "maximum": 9, "enum": [2], "required": ["a", "b"], "title": "one"
    }  # fmt: skip
    assert merged({"type": "number"}, {"type": "integer"}) == {"type": "integer"}


def test_two_schemas_that_exclude_each_other_are_widened() -> None:  # W8, W13
    assert merged({"type": "string"}, {"type": "object"}) == {}
    assert merged({"pattern": "^a"}, {"pattern": "^b"}) == {}
    assert merged({"minimum": 5}, {"maximum": 3}) == {}
    assert merged({"enum": ["a"]}, {"enum": ["b"]}) == {"enum": ["a", "b"]}
    closed = {"additionalProperties": False, "properties": {"a": {}}}
    assert merged(closed, {"additionalProperties": True, "properties": {"b": {}}}) == {
        "properties": {"a": {}, "b": {}}
    }


def test_pointers_and_types() -> None:
    root = {"a": [{"b": 1}]}
    assert pointed(root, "#/a/0/b") == 1
    assert pointed(root, "#/a/7") == pointed(root, "other.json#/a") == {}
    assert types_of("a") == ["a"]
    assert types_of(["a", 7]) == ["a"]


def test_what_became_of_a_schema_is_remembered_by_its_text() -> None:
    asked: list[Any] = []

    @remembered
    def rewritten(schema: Schema) -> dict[str, Any]:
        asked.append(schema)
        return {"was": schema}

    for _ in range(3):
        assert rewritten({"type": "object", "title": "ä"}) == {"was": {"type": "object", "title": "ä"}}
        assert rewritten({"type": "array"}) == {"was": {"type": "array"}}
    assert asked == [{"type": "object", "title": "ä"}, {"type": "array"}]


@pytest.mark.parametrize("schema", [{"title": "x" * LONGEST_REMEMBERED}, {"maximum": 2**70}, {"const": {1}}])
def test_schemas_that_are_huge_or_no_json_are_rewritten_each_time(schema: Schema) -> None:
    asked: list[Any] = []
    rewritten = remembered(asked.append)
    rewritten(schema)
    rewritten(schema)
    assert asked == [schema, schema]
