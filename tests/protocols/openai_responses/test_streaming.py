"""Responses streams become events, however much or little a provider sends of them."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.conversation import Opaque, Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, Grammar, fold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
Recordings = Callable[[str], list[dict[str, Any]]]
Streamed = Callable[..., bytes]
RESPONSES = PROTOCOLS["openai-responses"]
USED = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}


def ended(*output: Any, status: str = "completed", **more: Any) -> tuple[str, dict[str, Any]]:
    return status, {
        "response": {"id": "resp_1", "status": status, "output": list(output), "usage": USED, **more}
    }


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": f"{kind}_1", **fields}


CALL = item("function_call", call_id="c", name="f", arguments="", status="in_progress")


@pytest.fixture
def read(read_stream: ReadStream, streamed: Streamed) -> Callable[..., Reply | Fault]:
    return lambda *events: fold(read_stream(RESPONSES, [streamed(*events)]))


def test_arguments_that_only_the_done_event_holds_are_read(read: Callable[..., Any]) -> None:  # G23
    where = {"output_index": 0, "item_id": "x"}
    done = ("function_call_arguments.done", {**where, "arguments": '{"a":1}'})
    whole = ("output_item.done", {"output_index": 0, "item": {**CALL, "arguments": '{"a":1}'}})
    for middle in ([done], [whole], [done, whole], []):
        output = [{**CALL, "arguments": '{"a":1}'}] if not middle else []
        reply = read(("output_item.added", {"output_index": 0, "item": CALL}), *middle, ended(*output))
        assert reply.parts == (ToolCall("c", "f", '{"a":1}'),)
        assert reply.stop == Stop("tool_use")


@pytest.mark.parametrize(
    ("done", "known"), [("Hi there", "Hi there"), ("Hi", "Hi"), ("Something else", "Hi"), ("", "Hi")]
)
def test_what_the_done_event_says_beyond_the_deltas_is_read(
    done: str, known: str, read: Callable[..., Any]
) -> None:
    at = {"output_index": 0, "content_index": 0}
    delta = ("output_text.delta", {**at, "delta": "Hi"})
    assert read(delta, ("output_text.done", {**at, "text": done}), ended()).parts == (Text(known),)
    part = {"type": "output_text", "text": done}
    assert read(delta, ("content_part.done", {**at, "part": part}), ended()).parts == (Text(known),)


def test_deltas_without_an_announcement_are_a_text(read: Callable[..., Any]) -> None:
    reply = read(("output_text.delta", {"delta": "Hi"}), ("output_text.delta", {"delta": "!"}), ended())
    assert reply.parts == (Text("Hi!"),)


def test_a_stream_that_announces_nothing_but_the_end_is_read(read: Callable[..., Any]) -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
    assert read(ended(message, {**CALL, "arguments": "{}"})).parts == (Text("Hi"), ToolCall("c", "f", "{}"))


def test_a_call_waits_for_its_name(read: Callable[..., Any]) -> None:  # G27, W22
    nameless = {**CALL, "name": ""}
    added = ("output_item.added", {"output_index": 0, "item": nameless})
    named = ("output_item.done", {"output_index": 0, "item": {**CALL, "arguments": "{}"}})
    assert read(added, named, ended()).parts == (ToolCall("c", "f", "{}"),)
    assert isinstance(read(added, ended()), Fault)


def test_a_custom_tools_text_is_the_inside_of_a_string(read: Callable[..., Any]) -> None:  # G47
    call = item("custom_tool_call", call_id="c", name="apply_patch", input="")
    pieces = [
        ("custom_tool_call_input.delta", {"output_index": 0, "delta": piece})
        for piece in ('a "q', '"\n', "é")
    ]
    done = ("output_item.done", {"output_index": 0, "item": {**call, "input": 'a "q"\né'}})
    for middle in ([*pieces, done], [done], pieces):
        reply = read(("output_item.added", {"output_index": 0, "item": call}), *middle, ended())
        assert json.loads(reply.parts[0].arguments) == {"input": 'a "q"\né'}


def test_reasoning_is_read_in_sections(read: Callable[..., Any]) -> None:
    thought = item("reasoning", summary=[])
    sections = [
        ("reasoning_summary_text.delta", {"output_index": 0, "summary_index": at, "delta": text})
        for at, text in ((0, "a"), (0, "b"), (1, "c"))
    ]
    summary = [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}]
    done = {**thought, "summary": summary, "encrypted_content": "x"}
    reply = read(
        ("output_item.added", {"output_index": 0, "item": thought}),
        *sections,
        ("output_item.done", {"output_index": 0, "item": done}),
        ended(done),
    )
    whole = RESPONSES.read_reply({"output": [done], "status": "completed"})
    assert reply.parts == whole.parts
    assert reply.parts[0].text == "ab\n\nc"


def test_reasoning_that_ends_behind_its_answer_comes_before_it(read: Callable[..., Any]) -> None:
    thought = item("reasoning", summary=[])
    shown = {**thought, "content": [{"type": "reasoning_text", "text": "why"}]}
    reply = read(
        ("output_item.added", {"output_index": 0, "item": thought}),
        ("reasoning_text.delta", {"output_index": 0, "content_index": 0, "delta": "why"}),
        ("output_item.added", {"output_index": 1, "item": item("message", content=[])}),
        ("output_text.delta", {"output_index": 1, "content_index": 0, "delta": "so"}),
        ("output_item.done", {"output_index": 0, "item": shown}),
        ended(),
    )
    assert [part.text for part in reply.parts] == ["why", "so"]
    assert isinstance(reply.parts[0], Thinking)


def test_what_runs_at_the_vendor_is_opaque(read: Callable[..., Any]) -> None:
    search = item("web_search_call", status="in_progress")
    done = {**search, "status": "completed"}
    reply = read(
        ("output_item.added", {"output_index": 0, "item": search}),
        ("web_search_call.searching", {"output_index": 0}),
        ("output_item.done", {"output_index": 0, "item": done}),
        ended(),
    )
    assert isinstance(reply.parts[0], Opaque)
    assert reply.parts[0].sealed.data == done


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "max_tokens"),
        ({"reason": "content_filter"}, "refusal"),
        ({"reason": "new"}, "max_tokens"),
        (None, "max_tokens"),
    ],
)
def test_an_incomplete_response_says_why_and_what_it_cost(  # G44, G45
    read: Callable[..., Any], details: Any, reason: Any
) -> None:
    reply = read(
        ("output_text.delta", {"delta": "x"}), ended(status="incomplete", incomplete_details=details)
    )
    assert (reply.stop, reply.usage) == (Stop(reason), Usage(10, 4))


def test_a_failed_response_is_a_fault_and_says_what_it_cost(  # G45
    read_stream: ReadStream, streamed: Streamed
) -> None:
    failed = ended(status="failed", error={"code": "rate_limit_exceeded", "message": "Try again in 2s."})
    stream = streamed(("output_text.delta", {"delta": "x"}), failed)
    last = read_stream(RESPONSES, [stream])[-1]
    assert isinstance(last, Broke)
    assert (last.fault.kind, last.fault.message, last.usage) == (
        "rate_limit",
        "Try again in 2s.",
        Usage(10, 4),
    )
    tap = RESPONSES.tap()
    tap.feed(stream)
    tap.close()
    assert (tap.fault, tap.usage, tap.ended) == (last.fault, Usage(10, 4), True)


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "server_is_overloaded", "message": "busy", "param": None},
        {
            "type": "error",
            "error": {"type": "server_error", "code": "server_is_overloaded", "message": "busy"},
        },
        {"error": {"code": "server_is_overloaded", "message": "busy"}},
    ],
)
def test_an_error_event_is_a_fault_in_each_of_its_forms(  # W46
    read_stream: ReadStream, error: dict[str, Any]
) -> None:
    (broke,) = read_stream(RESPONSES, [b"data: " + orjson.dumps(error) + b"\n\n"])
    assert isinstance(broke, Broke)
    assert (broke.fault.kind, broke.fault.message) == ("overloaded", "busy")


def test_a_stream_without_its_last_event_is_a_fault(read: Callable[..., Any]) -> None:  # W47
    fault = read(("output_text.delta", {"delta": "x"}))
    assert isinstance(fault, Fault)
    assert fault.kind == "connection"


def test_events_nobody_knows_are_passed_over(read: Callable[..., Any]) -> None:
    reply = read(("new.thing", {"x": 1}), ("output_text.delta", {"delta": "x"}), ended())
    assert reply.parts == (Text("x"),)


KINDS = [
    "created", "output_item.added", "output_item.done", "content_part.added", "content_part.done",
    "output_text.delta", "output_text.done", "refusal.delta", "function_call_arguments.delta",
    "function_call_arguments.done", "custom_tool_call_input.delta", "reasoning_summary_text.delta",
    "reasoning_text.delta", "completed", "incomplete", "failed",
]  # fmt: skip
TYPES = ["message", "function_call", "custom_tool_call", "reasoning", "web_search_call"]
VALUES = st.none() | st.integers(0, 2) | st.sampled_from(["", "x", "{", *TYPES])
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        "name": st.just("f"), "call_id": VALUES, "arguments": VALUES, "input": VALUES, "id": VALUES,
        "summary": st.none() | st.lists(st.fixed_dictionaries({"text": VALUES}), max_size=2),
        "content": st.none() | st.lists(
            st.fixed_dictionaries({"type": st.sampled_from(["output_text", "refusal"]), "text": VALUES}), max_size=2
        ),
    },
)  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([f"response.{kind}" for kind in KINDS])},
    optional={
        "output_index": st.integers(0, 2), "content_index": VALUES, "delta": st.sampled_from(["", "x"]),
        "item": ITEMS, "part": st.fixed_dictionaries({"type": st.just("output_text"), "text": st.just("t")}),
        "response": st.fixed_dictionaries({}, optional={"output": st.lists(ITEMS, max_size=2), "usage": VALUES}),
        "arguments": VALUES,
    },
)  # fmt: skip


@given(events=st.lists(EVENTS, max_size=8))
def test_events_in_any_order_come_to_one_end(events: list[dict[str, Any]]) -> None:
    reader = RESPONSES.event_reader()
    found = (
        reader.feed(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)) + reader.close()
    )
    grammar = Grammar()
    for event in found:
        grammar.check(event)
    assert grammar.ended


def test_the_second_collections_streams_read_as_their_last_event_says(
    recordings: Recordings, read_stream: ReadStream
) -> None:
    read = 0
    for row in recordings("dev_vercel_responses"):
        events = [
            event for event in row.get("events") or () if str(event.get("type")).startswith("response.")
        ]
        ends = [event for event in events if event["type"] == "response.completed"]
        if len(ends) != 1 or row["id"].endswith("openai-phase.1.chunks.txt"):  # shortened by hand
            continue
        stream = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
        streamed, whole = fold(read_stream(RESPONSES, [stream])), RESPONSES.read_reply(ends[0]["response"])
        assert isinstance(streamed, Reply)
        assert [type(part) for part in streamed.parts] == [type(part) for part in whole.parts], row["id"]
        for one, other in zip(streamed.parts, whole.parts, strict=True):
            assert getattr(one, "text", "") == getattr(other, "text", ""), row["id"]
            assert getattr(one, "arguments", "") == getattr(other, "arguments", "")
        assert (streamed.stop, streamed.usage) == (whole.stop, whole.usage)
        read += 1
    assert read > 15
