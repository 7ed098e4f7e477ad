"""What Responses clients are told: every item in full, and nothing done that was cut off."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.conversation import Image, Opaque, Part, Sealed, Text, Thinking, Tool, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, StopReason, Usage
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.openai_responses.tools import read_tools
from engine.protocols.sealing import from_signature
from engine.protocols.shape import Protocol, ReplyContext

WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]
Told = Callable[[bytes], list[dict[str, Any]]]
Tell = Callable[..., list[dict[str, Any]]]
RESPONSES = PROTOCOLS["openai-responses"]
PATCH = read_tools(
    [
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "exec"}, {"name": "spawn"}]},
    ],
    "tools",
)


def reply(*parts: Part, stop: StopReason = "end_turn") -> Reply:
    return Reply("r", "m", parts, Stop(stop), Usage(10, 4, 2, 1, 3))


@pytest.fixture
def tell(write_stream: WriteStream, told: Told, context: ReplyContext) -> Tell:
    def events(*given: Event, tools: list[Tool] | None = None) -> list[dict[str, Any]]:
        return told(write_stream(RESPONSES, list(given), replace(context, tools=tuple(tools or ()))))

    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_every_item_has_its_whole_life(tell: Tell) -> None:  # G42
    events = tell(*unfold(reply(Thinking("why"), Text("so"), ToolCall("c", "f", '{"a":1}'), stop="tool_use")))
    assert kinds(events) == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == done
    assert {item["id"].split("_")[0] for item in done} == {"rs", "msg", "fc"}
    assert len({event["item_id"] for event in events if "item_id" in event}) == 3


def test_a_reasoning_keeps_one_id_from_its_beginning_to_its_end(tell: Tell) -> None:
    # The SDK refuses an item that ends under another id, and the vendor a cipher that comes back under another.
    own = Sealed("openai-responses", {"id": "rs_1", "encrypted_content": "gAAA"})
    for sealed in (own, Sealed("anthropic-messages", {"signature": "c2ln"}), None):
        events = tell(*unfold(reply(Thinking("why", sealed))))
        ids = {event["item"]["id"] for event in events if "item" in event}
        assert ids == {event["item_id"] for event in events if "item_id" in event}
        assert ("rs_1" in ids) == (sealed is own)
        assert len(ids) == 1


def test_usage_has_its_details_even_where_they_are_nothing(context: ReplyContext) -> None:  # G46
    empty = Reply("r", "m", (), Stop("end_turn"), Usage())
    assert RESPONSES.write_reply(empty, context).body["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


def test_texts_that_follow_one_another_are_one_message(tell: Tell) -> None:
    response = tell(*unfold(reply(Text("a"), Text("b"), ToolCall("c", "f", "{}"), Text("d"))))[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "message"]
    assert [part["text"] for part in response["output"][0]["content"]] == ["a", "b"]


def test_a_call_that_was_cut_off_is_not_told_as_done(tell: Tell) -> None:  # G44
    events = tell(
        Started("r", "m"), PartOpened(0, ToolCall("a", "f", "")), PartGrew(0, "{}"), PartClosed(0),
        PartOpened(1, ToolCall("b", "f", "")), PartGrew(1, '{"a":'), PartClosed(1),
        Stopped(Stop("max_tokens"), Usage()),
    )  # fmt: skip
    done = [event["item"]["call_id"] for event in events if event["type"] == "response.output_item.done"]
    assert done == ["a"]
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_malformed_arguments_of_a_finished_call_are_told(tell: Tell) -> None:  # W25
    events = tell(*unfold(reply(ToolCall("c", "f", '{"a":'), stop="tool_use")))
    assert kinds(events)[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]


def test_a_call_without_arguments_has_an_empty_object(tell: Tell) -> None:  # G24
    events = tell(
        Started("r", "m"),
        PartOpened(0, ToolCall("c", "f", "")),
        PartClosed(0),
        Stopped(Stop("tool_use"), Usage()),
    )
    assert [event["delta"] for event in events if event["type"].endswith(".delta")] == ["{}"]
    assert events[-1]["response"]["output"][0]["arguments"] == "{}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a\\n\\"b\\""}', 'a\n"b"'),
        ('{"patch":"x"}', "x"),
        ('{"a":1,"b":2}', '{"a":1,"b":2}'),
        ("{}", ""),
    ],
)
def test_a_function_called_for_a_custom_tool_is_told_as_one(  # G47, W21
    tell: Tell, arguments: str, text: str
) -> None:
    events = tell(*unfold(reply(ToolCall("c", "apply_patch", arguments), stop="tool_use")), tools=PATCH)
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", text)
    assert item["id"].startswith("ctc_")
    assert [event["delta"] for event in events if event["type"].endswith("input.delta")] == [text]
    assert "arguments" not in json.dumps(events)


def test_a_tool_in_a_namespace_is_told_by_both_its_names(tell: Tell) -> None:
    calls = ToolCall("a", "n__exec", '{"input":"x"}'), ToolCall("b", "n__spawn", "{}")
    output = tell(*unfold(reply(*calls, stop="tool_use")), tools=PATCH)[-1]["response"]["output"]
    assert [(item["type"], item["namespace"], item["name"]) for item in output] == [
        ("custom_tool_call", "n", "exec"),
        ("function_call", "n", "spawn"),
    ]


def test_another_vendors_thinking_is_told_as_a_cipher(tell: Tell) -> None:
    signed = Sealed("anthropic-messages", {"signature": "abc"})
    output = tell(*unfold(reply(Thinking("why", signed), Thinking("so"))))[-1]["response"]["output"]
    assert from_signature(output[0]["encrypted_content"]) == signed
    assert from_signature(output[1]["encrypted_content"]) == Sealed("", {})


def test_a_refusal_is_a_part_or_makes_the_response_incomplete(tell: Tell) -> None:  # G40
    refusal = Text("No.", None, Sealed("openai-chat", {"type": "refusal"}))
    response = tell(*unfold(reply(refusal, stop="refusal")))[-1]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
    response = tell(*unfold(reply(Text("No."), stop="refusal")))[-1]["response"]
    assert response["incomplete_details"] == {"reason": "content_filter"}


def test_what_it_has_no_place_for_is_reported(context: ReplyContext) -> None:
    encoded = RESPONSES.write_reply(
        reply(Opaque("x", Sealed("gemini", {})), Image("image/png", "AAAA")), context
    )
    assert [loss.path for loss in encoded.dropped] == ["content.0"]
    (drawn,) = encoded.body["output"]
    assert (drawn["type"], drawn["result"]) == ("image_generation_call", "AAAA")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("overloaded", "busy"), "server_is_overloaded"),
        (Fault("rate_limit", "slow", retry_after_seconds=2.0), "rate_limit_exceeded"),
        (Fault("context_exceeded", "full"), "context_length_exceeded"),
        (Fault("billing", "no money"), "insufficient_quota"),
        (Fault("server_error", "oops"), "server_error"),
        (Fault("connection", "gone"), "server_error"),
        (Fault("invalid_request", "no"), "invalid_prompt"),
    ],
)
def test_a_stream_that_breaks_ends_in_a_failed_response(tell: Tell, fault: Fault, code: str) -> None:
    for begun in ([], [Started("r", "m"), PartOpened(0, Text("")), PartGrew(0, "half")]):
        last = tell(*begun, Broke(fault))[-1]
        assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
        assert last["response"]["error"]["code"] == code
        assert fault.message in last["response"]["error"]["message"]
        assert last["response"]["output"] == []
    if fault.retry_after_seconds:
        assert last["response"]["error"]["message"].endswith("Please try again in 2s.")
    assert kinds(tell(Broke(fault))) == ["failed"]  # the beginning may have been told by another
