"""Schemas in Gemini's subset, and back."""

from typing import Any

import pytest
from google.genai import types as google
from hypothesis import given
from hypothesis import strategies as st

from engine.protocols.gemini.schema import for_gemini, from_gemini

TEXT = {"type": "string"}
NAMED_AS_KEYWORDS = dict.fromkeys(["const", "$ref", "propertyNames", "additionalProperties", "format"], TEXT)
CASES: list[tuple[str, Any, Any]] = [
    ("W1: exclusive bounds of integers", {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
     {"type": "integer", "minimum": 1, "maximum": 8}),
    ("W1: exclusive bounds of numbers", {"type": "number", "exclusiveMinimum": 0},
     {"type": "number", "minimum": 0}),
    ("exclusive bounds as older drafts have them", {"type": "number", "minimum": 3, "exclusiveMinimum": True},
     {"type": "number", "minimum": 3}),
    ("W2: keywords that are refused",
     {"$schema": "x", "$id": "y", "$comment": "z", "type": "object", "additionalProperties": False,
      "propertyNames": TEXT, "properties": {"a": TEXT}, "examples": [1], "default": {}},
     {"type": "object", "properties": {"a": TEXT}}),
    ("G87: properties of the same names stay",
     {"type": "object", "properties": NAMED_AS_KEYWORDS,
      "required": ["$ref", "const"]},
     {"type": "object", "properties": NAMED_AS_KEYWORDS,
      "required": ["$ref", "const"]}),
    ("G87: const", {"const": "a"}, {"type": "string", "enum": ["a"]}),
    ("W3: numbers in an enum are told", {"type": "integer", "enum": [1, 7], "description": "Which."},
     {"type": "integer", "description": "Which. One of: 1, 7."}),
    ("W3: a const that is a number", {"const": 7}, {"type": "integer", "description": "One of: 7."}),
    ("empty words are not listed", {"type": "string", "enum": ["", "a"]}, {"type": "string"}),
    ("W4: an array without items", {"type": "array"}, {"type": "array", "items": TEXT}),
    ("W4: an array of anything", {"type": "array", "items": True}, {"type": "array", "items": TEXT}),
    ("a tuple", {"type": "array", "prefixItems": [TEXT, {"type": "integer"}], "minItems": 2},
     {"type": "array", "items": {"anyOf": [TEXT, {"type": "integer"}]}, "minItems": 2}),
    ("W6: formats nobody knows", {"type": "string", "format": "uri"}, TEXT),
    ("W6: formats that are known", {"type": "string", "format": "date-time"},
     {"type": "string", "format": "date-time"}),
    ("W7: required names what is there", {"type": "object", "properties": {"a": TEXT}, "required": ["a", "b"]},
     {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}),
    ("W8: allOf is merged",
     {"allOf": [{"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]},
     {"type": "object", "properties": {"a": TEXT, "b": {"type": "integer"}}, "required": ["a", "b"]}),
    ("W8: a contradiction widens",
     {"allOf": [{"properties": {"a": {"type": "string", "minLength": 3}}},
                {"properties": {"a": {"type": "string", "maxLength": 2}}}]},
     {"type": "object", "properties": {"a": TEXT}}),
    ("W10: a reference with words beside it",
     {"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "description": "mine"}},
      "$defs": {"A": {"type": "string", "description": "theirs"}}},
     {"type": "object", "properties": {"a": {"type": "string", "description": "mine"}}}),
    ("a reference into itself is cut",
     {"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}},
     {"type": "object", "properties": {"next": {"type": "object"}}}),
    ("a reference to nowhere", {"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}},
     {"type": "object", "properties": {"a": TEXT}}),
    ("a type and null", {"type": ["integer", "null"]}, {"type": "integer", "nullable": True}),
    ("several types", {"type": ["string", "integer"], "description": "d"},
     {"anyOf": [TEXT, {"type": "integer"}], "description": "d"}),
    ("W11: null as a branch", {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}], "title": "T"},
     {"type": "string", "title": "T", "nullable": True}),
    ("W11: no type at all", {"description": "anything"}, {"type": "string", "description": "anything"}),
    ("oneOf", {"oneOf": [TEXT, {"type": "boolean"}]}, {"anyOf": [TEXT, {"type": "boolean"}]}),
    ("words to choose from", {"oneOf": [{"const": "a"}, {"enum": ["b", "a"]}]},
     {"type": "string", "enum": ["a", "b"]}),
    ("branches that only say what goes together",
     {"type": "object", "properties": {"a": TEXT}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
     {"type": "object", "properties": {"a": TEXT}}),
    ("fields beside branches go into each",
     {"type": "object", "properties": {"a": TEXT},
      "anyOf": [{"properties": {"b": TEXT}}, {"properties": {"c": TEXT}}]},
     {"anyOf": [{"type": "object", "properties": {"a": TEXT, "b": TEXT}},
                {"type": "object", "properties": {"a": TEXT, "c": TEXT}}]}),
    ("lookarounds are no pattern here", {"type": "string", "pattern": "^(?!x)"}, TEXT),
    ("bounds of another type", {"type": "string", "minimum": 3, "minItems": 2, "minLength": 1},
     {"type": "string", "minLength": 1}),
    ("true and false", {"type": "object", "properties": {"a": True, "b": False}},
     {"type": "object", "properties": {"a": TEXT}}),
    ("no schema", {}, TEXT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_schema_says_it_in_geminis_words(schema: Any, expected: Any) -> None:
    before = repr(schema)
    assert for_gemini(schema) == expected
    assert repr(schema) == before


def test_references_that_multiply_are_cut() -> None:
    steps = {f"S{at}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/S{at + 1}"} for side in "abc"}}
             for at in range(40)}  # fmt: skip
    assert len(str(for_gemini({"$ref": "#/$defs/S0", "$defs": steps}))) < 2_000_000


KEYWORDS = [
    "type", "properties", "items", "anyOf", "oneOf", "allOf", "enum", "const", "$ref", "required", "nullable", "format",
    "minimum", "exclusiveMinimum", "maxLength", "prefixItems", "additionalProperties", "pattern", "not", "default",
]  # fmt: skip
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3)
    | st.sampled_from(["string", "object", "array", "null", "#", "#/$defs/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
ALLOWED = set(google.Schema.model_fields) | {"anyOf", "minLength", "maxLength", "minItems", "maxItems",
                                             "minProperties", "maxProperties", "propertyOrdering"}  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYWORDS), JUNK, max_size=5))
def test_whatever_comes_in_only_known_keywords_come_out(schema: dict[str, Any]) -> None:
    known(for_gemini(schema))


def known(schema: Any) -> None:
    assert schema.keys() <= ALLOWED
    assert "type" in schema or schema["anyOf"]
    assert all(isinstance(word, str) for word in schema.get("enum", ()))
    if schema.get("type") == "array":
        known(schema["items"])
    assert set(schema.get("required", ())) <= schema.get("properties", {}).keys()
    for inner in [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]:
        known(inner)


def test_googles_spelling_is_read_as_json_schema() -> None:
    google_schema = {
        "type": "OBJECT", "property_ordering": ["a"], "required": ["type"],
        "properties": {
            "type": {"type": "STRING", "enum": ["x"], "format": "enum", "nullable": True},
            "n": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "maxItems": "3"},
            "u": {"any_of": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": True},
        },
    }  # fmt: skip
    assert from_gemini(google_schema) == {
        "type": "object", "required": ["type"],
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["x", None]},
            "n": {"type": "array", "items": {"type": "integer", "format": "int32"}, "maxItems": 3},
            "u": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
        },
    }  # fmt: skip
