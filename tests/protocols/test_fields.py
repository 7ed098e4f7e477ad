"""Reading untrusted JSON: a value of the right type, or the place of the wrong one."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.core.errors import RequestError
from engine.protocols import fields
from engine.protocols.mapping import wire_map


@pytest.mark.parametrize(
    ("read", "good", "bad", "expected"),
    [
        (fields.an_object, {"a": 1}, [], "an object, found a list"),
        (fields.a_list, [1], {}, "a list, found an object"),
        (fields.a_string, "a", 1, "a string, found a number"),
        (fields.an_integer, 1, True, "an integer, found a boolean"),
        (fields.a_string, "", None, "a string, found null"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(
    read: Callable[[Any, str], Any], good: Any, bad: Any, expected: str
) -> None:
    assert read(good, "a.0") == good
    with pytest.raises(RequestError, match=rf"^a\.0: expected {expected}$"):
        read(bad, "a.0")


def test_an_absent_field_has_its_default_or_is_wrong() -> None:
    assert fields.string({}, "k", "p", "x") == "x"
    assert fields.maybe_object({"k": None}, "k", "p") is None
    assert fields.maybe_list({}, "k", "p") == []
    assert fields.maybe_boolean({}, "k", "p") is None
    assert fields.maybe_integer({}, "k", "p") is None
    with pytest.raises(RequestError, match=r"^p\.k: "):
        fields.string({}, "k", "p")


def test_what_is_left_over_holds_something() -> None:
    assert fields.leftover({"a": 1, "b": None, "c": False}, {"a"}) == {"c": False}


def test_knobs_are_read_by_our_names_and_the_first_field_wins() -> None:
    body = {"max_tokens": 5, "max_completion_tokens": 7, "stop": "x", "temperature": 1}
    assert fields.knobs(body, wire_map("openai_chat")) == {
        "max_tokens": 7,
        "stop": ("x",),
        "temperature": 1.0,
    }


@pytest.mark.parametrize(
    "body", [{"stop": [1]}, {"stop": 1}, {"temperature": True}, {"seed": "x"}, {"user": 1}]
)
def test_a_knob_of_the_wrong_type_is_named(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=rf"^{next(iter(body))}"):
        fields.knobs(body, wire_map("openai_chat"))
