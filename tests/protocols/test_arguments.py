"""Arguments held against the client's own schema."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.conversation import Loss, Text, Tool, ToolCall
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Event, Grammar, PartGrew, PartOpened, fold, unfold
from engine.protocols.arguments import ArgumentRepair, JsonEnd, as_object, repaired, repaired_reply

SCHEMA = {
    "type": "object",
    "required": ["path"],
    "properties": {
        "path": {"type": "string"}, "limit": {"type": "integer"}, "note": {"type": "string"},
        "kind": {"enum": ["a", "b"]}, "deep": {"type": ["boolean", "null"]},
        "when": {"type": "string", "format": "date"},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}},
        "any": {}, "either": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
    },
}  # fmt: skip
CASES: list[tuple[str, str, Any]] = [
    ("nothing to do", '{"path": "a",  "limit": 1}', None),
    ("W25: more behind it", '{"path":"a"}</tool_call>', {"path": "a"}),
    ("W25: twice", '{"path":"a"}{"path":"a"}', {"path": "a"}),
    ("W25: JSON in a string", '"{\\"path\\":\\"a\\"}"', {"path": "a"}),
    ("W25: cut off, and left as it is", '{"path": "a', None),
    ("W25: no object", "[1]", None),
    ("W26: null where it may be left out", '{"path":"a","limit":null,"kind":null}', {"path": "a"}),
    ("W26: null where it may be null", '{"path":"a","deep":null,"any":null}', None),
    ("W26: null where it is required", '{"path":null}', None),
    ("W26: empty where it cannot be", '{"path":"a","limit":"","kind":"","when":"","either":""}', {"path": "a"}),
    ("W26: empty where it can be", '{"path":"","note":""}', None),
    ("W3: numbers as words", '{"path":"7","limit":"7","rows":[{"n":"1.5"}],"deep":"true"}',
     {"path": "7", "limit": 7, "rows": [{"n": 1.5}], "deep": True}),
    ("words where numbers should be", '{"path":"a","limit":"many"}', None),
    ("fields nobody knows", '{"path":"a","x":null}', None),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_arguments_are_put_right(sent: str, expected: Any) -> None:
    found = repaired(sent, SCHEMA)
    if expected is None:
        assert found == sent
    else:
        assert json.loads(found) == expected


def test_a_references_target_counts() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}}
    assert repaired('{"a":null}', schema) == "{}"


TOOLS = (
    Tool("Read", schema=SCHEMA),
    Tool("Write", schema={"properties": {"text": {"type": "string"}}, "required": ["text"]}),
    Tool("free", kind="custom", schema=SCHEMA),
)
REPLY = Reply(
    "r", "m",
    (Text("hi"), ToolCall("1", "Read", '{"path":"a","limit":null} ok'), ToolCall("2", "Write", '{"text":"}\\"{"} ok'),
     ToolCall("3", "free", "x"), ToolCall("4", "unknown", '{"limit":null}')),
    Stop("tool_use"), Usage(),
)  # fmt: skip


def test_a_whole_reply_and_its_stream_are_put_right_alike() -> None:
    whole = [part.arguments for part in repaired_reply(REPLY, TOOLS).parts if isinstance(part, ToolCall)]
    assert whole == ['{"path":"a"}', '{"text":"}\\"{"}', "x", '{"limit":null}']
    for size in (1, 5, 1000):
        repair, grammar = ArgumentRepair(TOOLS), Grammar()
        events: list[Event] = []
        for event in unfold(REPLY):
            pieces: list[Event] = [event]
            if isinstance(event, PartGrew):
                pieces = [
                    PartGrew(event.index, event.text[at : at + size])
                    for at in range(0, len(event.text), size)
                ]
            events += repair.feed(pieces)
        for event in events:
            grammar.check(event)
        streamed = fold(events)
        assert isinstance(streamed, Reply)
        assert [part.arguments for part in streamed.parts if isinstance(part, ToolCall)] == whole


def test_arguments_of_required_fields_stay_a_stream() -> None:
    repair = ArgumentRepair(TOOLS)
    repair.feed([PartOpened(0, ToolCall("2", "Write", ""))])
    assert repair.feed([PartGrew(0, '{"te')]) == [PartGrew(0, '{"te')]
    assert repair.feed([PartGrew(0, 'xt":"a"} and')]) == [PartGrew(0, 'xt":"a"}')]
    assert repair.feed([PartGrew(0, " more")]) == []


def test_without_tools_nothing_is_touched() -> None:
    events = list(unfold(REPLY))
    assert ArgumentRepair(()).feed(events) is events
    assert repaired_reply(REPLY, ()) is REPLY


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\{}[] é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\{', max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), st.text(max_size=5), st.integers(1, 4))
def test_an_objects_end_is_found_in_any_chunking(value: Any, garbage: str, size: int) -> None:
    text = json.dumps(value)
    end = JsonEnd()
    sent = text + garbage
    assert "".join(end.feed(sent[at : at + size]) for at in range(0, len(sent), size)) == text


@pytest.mark.parametrize(
    ("arguments", "expected", "reported"),
    [("", {}, 0), ("{}", {}, 0), ('{"a":1}', {"a": 1}, 0), ("null", {}, 0), ("[1]", {"input": [1]}, 1),
     ('{"a":', {"input": '{"a":'}, 1)],
)  # fmt: skip
def test_arguments_are_an_object_whatever_was_written(
    arguments: str, expected: object, reported: int
) -> None:  # G93
    losses: list[Loss] = []
    assert as_object(arguments, "p", losses) == expected
    assert len(losses) == reported
