"""The JSON door: what callers may rely on."""

import pytest

from engine import wire


def test_json_goes_out_compact_and_comes_back() -> None:
    value = {"text": "grüße 🎉", "numbers": [1, 2.5, None, True]}
    assert wire.dumps(value) == '{"text":"grüße 🎉","numbers":[1,2.5,null,true]}'.encode()
    assert wire.loads(wire.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b"[1e400]",
        b"\xff",
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b"[" * 5000,
        "[1,]",
        "{'a': 1}",
    ],
    ids=["empty", "open", "nan", "infinity", "not utf-8", "lone surrogate", "bom", "deep", "comma", "quotes"],
)
def test_what_is_not_one_json_value_is_a_value_error(text: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.loads(text)


def test_of_a_key_given_twice_the_last_value_counts() -> None:
    assert wire.loads(b'{"a":1,"a":2}') == {"a": 2}


def test_an_integer_outside_64_bits_becomes_a_float() -> None:
    assert wire.loads(b"123456789012345678901234567890") == 1.2345678901234568e29
    assert wire.loads(b"18446744073709551615") == 2**64 - 1


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("value", [object(), {1: 2}, "\ud800", 2**70, deep(255)], ids=str)
def test_what_json_cannot_hold_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.dumps(value)


def test_numbers_json_has_no_word_for_become_null() -> None:
    assert wire.dumps([float("nan"), float("inf")]) == b"[null,null]"
