"""Splicing: only the named top-level fields change."""

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocols.forward import REMOVE, forward


def forwarded(raw: str, **edits: Any) -> str:
    data = raw.encode()
    return forward(data, orjson.loads(data), edits).decode()


CASES = [
    ("value alone", '{"model": "a",\n "x" : 1.50}', {"model": "b"}, '{"model": "b",\n "x" : 1.50}'),
    ("number spelling", '{"t":1e0,"model":"a","u":0.10}', {"model": "b"}, '{"t":1e0,"model":"b","u":0.10}'),
    ("nested keys", '{"a":{"model":"n"},"model":"a"}', {"model": "b"}, '{"a":{"model":"n"},"model":"b"}'),
    ("a key given twice", '{"model":"a","model":"c"}', {"model": "b"}, '{"model":"b","model":"b"}'),
    ("an escaped key", '{"mod\\u0065l":"a","x":{"model":"a"}}', {"model": "b"},
     '{"mod\\u0065l":"b","x":{"model":"a"}}'),
    ("a string that ends like the key", '{"x":"\\"model\\"","y":"a\\"model","model":"a"}', {"model": "b"},
     '{"x":"\\"model\\"","y":"a\\"model","model":"b"}'),
    ("a value like the key", '{"x":"model","model":"a"}', {"model": "b"}, '{"x":"model","model":"b"}'),
    ("brackets in strings", '{"x":["}]\\"{",{"y":"]"}],"model":"a"}', {"model": "b"},
     '{"x":["}]\\"{",{"y":"]"}],"model":"b"}'),
    ("an absent key comes first", '{ "model":"a"}', {"seed": 1}, '{"seed":1, "model":"a"}'),
    ("an absent key in an empty object", "{ }", {"seed": 1}, '{"seed":1 }'),
    ("objects are replaced whole", '{"o":{"p":[1,{"q":"}"}]},"z":1}', {"o": {"n": 2}}, '{"o":{"n":2},"z":1}'),
    ("the first field goes", '{"a":1, "b":2}', {"a": REMOVE}, '{"b":2}'),
    ("the last field goes", '{"a":1, "b":2 }', {"b": REMOVE}, '{"a":1 }'),
    ("all fields go", '{ "a":1, "b":2 }', {"a": REMOVE, "b": REMOVE}, "{  }"),
    ("neighbours go", '{"a":1,"b":2,"c":3}', {"b": REMOVE, "c": REMOVE}, '{"a":1}'),
    ("an absent field cannot go", '{"a":1}', {"b": REMOVE}, '{"a":1}'),
    ("going and coming at once", '{"a":1}', {"a": REMOVE, "b": 2}, '{"b":2}'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "edits", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_only_the_named_fields_change(raw: str, edits: dict[str, Any], expected: str) -> None:
    assert forwarded(raw, **edits) == expected


def test_nothing_to_edit_returns_the_very_bytes() -> None:
    raw = b' {"model" : "a" } '
    assert forward(raw, {"model": "a"}, {}) is raw


KEYS = st.sampled_from(["model", "messages", "x", 'mo"del', "modél", "a{b", "tools"]) | st.text(max_size=5)
JSONS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """An object in some spelling: spaces, escapes, keys given twice."""
    pairs = draw(st.lists(st.tuples(KEYS, JSONS), max_size=6))
    space = draw(st.sampled_from(["", " ", "\n\t "]))
    ascii_only = draw(st.booleans())

    def member(key: str, value: Any) -> str:
        spelling = json.dumps(key, ensure_ascii=ascii_only)
        if key == "model" and draw(st.booleans()):
            spelling = '"\\u006dodel"'
        return f"{spelling}{space}:{space}{json.dumps(value, ensure_ascii=ascii_only)}"

    return (
        space + "{" + space + f"{space},{space}".join(member(*pair) for pair in pairs) + space + "}" + space
    )


@given(spelled(), st.dictionaries(KEYS, JSONS | st.just(REMOVE), max_size=4))
def test_the_result_is_the_body_with_the_edits(raw: str, edits: dict[str, Any]) -> None:
    body = orjson.loads(raw)
    expected = {key: value for key, value in (body | edits).items() if value is not REMOVE}
    assert orjson.loads(forward(raw.encode(), body, edits)) == expected


@given(spelled(), JSONS)
def test_the_bytes_around_a_new_value_are_the_old_ones(raw: str, value: Any) -> None:
    data = raw.encode()
    body = orjson.loads(data)
    if "model" not in body:
        return
    marked = forward(data, body, {"model": "\x7fMARK"})
    pieces = marked.split(orjson.dumps("\x7fMARK"))
    assert forward(data, body, {"model": value}) == orjson.dumps(value).join(pieces)
    at = 0
    for piece in pieces:
        assert data.find(piece, at) >= 0
        at = data.find(piece, at) + len(piece)


@pytest.mark.parametrize("filler", ['"x', "\\u0065\\u0066", '{\\"model\\":[', "é"])
def test_a_megabyte_is_forwarded_in_milliseconds(filler: str) -> None:
    text = filler.replace('"', '\\"') if filler.startswith('"') else filler
    raw = ('{"messages":["' + text * (1_000_000 // len(text)) + '"],"model":"a"}').encode()
    body = orjson.loads(raw)
    began = time.perf_counter()
    result = forward(raw, body, {"model": "b"})
    assert time.perf_counter() - began < 0.5
    assert orjson.loads(result)["model"] == "b"
