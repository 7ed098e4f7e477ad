# ruff: noqa: E501 - one row per mistake reads better than folded rows
import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine.documents import check_shape, did_you_mean, read, shape

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind"],
    "properties": {
        "kind": {"description": "What it is.", "enum": ["Cat", "Dog"]},
        "version": {"const": "v1"},
        "age": {"type": "integer", "minimum": 0, "maximum": 30},
        "name": {"type": "string"},
        "indoor": {"type": "boolean"},
        "toys": {"type": "array", "uniqueItems": True, "maxItems": 4, "items": {"enum": ["ball", 429]}},
        "friends": {
            "type": "object",
            "propertyNames": {
                "pattern": "^[a-z]+$",
                "x-problem": {"message": "is no name", "hint": "small letters"},
            },
            "maxProperties": 3,
            "additionalProperties": {"type": "string"},
        },
        "feed": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"with": {"type": "string"}, "pick": {"type": "string"}, "by": {"type": "string"}},
            "oneOf": [{"required": ["with"]}, {"required": ["pick"]}],
            "dependentRequired": {"pick": ["by"]},
            "x-problem": {"message": "needs 'with' or 'pick'"},
        },
    },
}


@pytest.fixture(autouse=True)
def _schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shape, "shipped_json", lambda path: json.loads(json.dumps(SCHEMA)))
    shape._validator.cache_clear()
    yield
    shape._validator.cache_clear()


def found(text: str) -> list[str]:
    document, _ = read(text, "f.yaml")
    assert document is not None
    return [str(problem) for problem in check_shape(document, "pets.json")[1]]


def test_what_holds_has_no_problems() -> None:
    assert found("{kind: Cat, age: 3, toys: [ball, 429], friends: {rex: Dog}, feed: {with: fish}}") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Cat\nnmae: Tom\n", "f.yaml:2:1  WV110 error  the document has no key 'nmae'; did you mean 'name'?"),
        ("kidn: Cat\n", "f.yaml:1:1  WV110 error  the document has no key 'kidn'; did you mean 'kind'?"),
        ("name: Tom\n", "f.yaml:1:1  WV111 error  the document lacks 'kind', which is required; What it is"),
        ("kind: cat\n", "f.yaml:1:7  WV113 error  'kind' cannot be 'cat'; did you mean 'Cat'?"),
        ("kind: Cat\nversion: v2\n", "f.yaml:2:10  WV113 error  'version' cannot be 'v2'; write v1"),
        ("kind: Cat\nage: old\n", "f.yaml:2:6  WV112 error  'age' must be a whole number, not text"),
        ("kind: Cat\nage: 1_0\n", "f.yaml:2:6  WV112 error  'age' must be a whole number, not text; write 10"),
        ("kind: Cat\nage: 31\n", "f.yaml:2:6  WV114 error  'age' is 31; it must be at most 30"),
        ("kind: Cat\nname: 5\n", "f.yaml:2:7  WV112 error  'name' must be text, not a number; put it in quotes: \"5\""),
        ("kind: Cat\nname:\n", "f.yaml:2:6  WV112 error  'name' must be text, not empty; write a value after the ':', or remove the key"),
        ("kind: Cat\nindoor: yes\n", "f.yaml:2:9  WV112 error  'indoor' must be true or false, not text; write true"),
        ("kind: Cat\ntoys: ball\n", "f.yaml:2:7  WV112 error  'toys' must be a list, not text; put it in brackets: [ball]"),
        ("kind: Cat\ntoys: [bal]\n", "f.yaml:2:8  WV113 error  item 1 of 'toys' cannot be 'bal'; did you mean 'ball'?"),
        ("kind: Cat\ntoys: ['429']\n", "f.yaml:2:8  WV113 error  item 1 of 'toys' must be a number here, not text; write 429 without quotes"),
        ("kind: Cat\ntoys: [ball, ball]\n", "f.yaml:2:7  WV114 error  'toys' names the same thing twice"),
        ("kind: Cat\nfriends: {Rex: Dog}\n", "f.yaml:2:11  WV114 error  'Rex' is no name; small letters"),
        ("kind: Cat\nfeed: {}\n", "f.yaml:2:1  WV111 error  'feed' needs 'with' or 'pick'"),
        ("kind: Cat\nfeed: {with: a, pick: b, by: c}\n", "f.yaml:2:1  WV111 error  'feed' needs 'with' or 'pick'"),
        ("kind: Cat\nfeed: {pick: b}\n", "f.yaml:2:8  WV111 error  'pick' needs 'by' beside it"),
        ("kind: Cat\nfeed: {wiht: b}\n", "f.yaml:2:8  WV110 error  'feed' has no key 'wiht'; did you mean 'with'?"),
        ("- Cat\n", "f.yaml:1:1  WV112 error  the document must be a mapping, not a list"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem(text: str, said: str) -> None:
    assert found(text) == [said]


def test_every_mistake_is_reported_in_order() -> None:
    text = "kind: Bird\nnmae: Tom\nage: -1\ntoys: [stick, 5]\nfeed: {}\n"
    assert [line.split()[0] + line.split()[1] for line in found(text)] == [
        "f.yaml:1:7WV113",
        "f.yaml:2:1WV110",
        "f.yaml:3:6WV114",
        "f.yaml:4:8WV113",
        "f.yaml:4:15WV113",
        "f.yaml:5:1WV111",
    ]


def test_what_is_wrong_is_left_out_and_the_rest_stays() -> None:
    document, _ = read("kind: Bird\nnmae: Tom\nage: 3\ntoys: [stick, ball]\nfriends: {rex: [1]}\n", "f.yaml")
    assert document is not None
    data, problems = check_shape(document, "pets.json")
    assert len(problems) == 4
    assert data == {"age": 3, "toys": [None, "ball"], "friends": {}}
    assert document.data["kind"] == "Bird"


def test_what_holds_too_much_is_not_looked_into() -> None:
    assert found("{kind: Cat, toys: [a, b, c, d, e], friends: {A: 1, B: 2, C: 3, D: 4}}") == [
        "f.yaml:1:19  WV114 error  'toys' has more than 4 items",
        "f.yaml:1:45  WV114 error  'friends' has more than 3 entries",
    ]


def test_hints_name_what_is_near_or_everything_that_is_known() -> None:
    assert did_you_mean("frontir", ["frontier", "mid"]) == "did you mean 'frontier'?"
    assert did_you_mean("tool-cuont", ["tool_count"]) == "did you mean 'tool_count'?"
    assert did_you_mean("xyz", ["mid", "frontier"]) == "known: frontier, mid"
    assert did_you_mean("xyz", [str(number) for number in range(50)]) == ""
