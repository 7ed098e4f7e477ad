"""Gemini's streams."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.conversation import Opaque, Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped, fold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

GEMINI = PROTOCOLS["gemini"]
ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
StreamOf = Callable[..., bytes]


def read(read_stream: ReadStream, stream: bytes) -> Reply:
    reply = fold(read_stream(GEMINI, [stream]))
    assert isinstance(reply, Reply), reply
    return reply


def broken(read_stream: ReadStream, stream: bytes) -> Fault:
    fault = fold(read_stream(GEMINI, [stream]))
    assert isinstance(fault, Fault)
    return fault


def call(name: str, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "id": name, "args": fields}}


def test_parts_of_one_kind_grow_together(read_stream: ReadStream, stream_of: StreamOf) -> None:
    stream = stream_of(
        [{"text": "h", "thought": True}], [{"text": "m", "thought": True, "thoughtSignature": "S="}],
        [{"text": "a"}], [{"text": "b"}, call("f", x=1), call("g")], [{"text": "", "thoughtSignature": "T="}],
    )  # fmt: skip
    reply = read(read_stream, stream)
    assert reply.parts == (
        Thinking("hm", Sealed("gemini", {"thoughtSignature": "S="})), Text("ab"), ToolCall("f", "f", '{"x":1}'),
        ToolCall("g", "g", "{}"), Thinking("", Sealed("gemini", {"thoughtSignature": "T="})),
    )  # fmt: skip
    assert reply.stop == Stop("tool_use")  # G25


def test_hosted_tools_come_whole(read_stream: ReadStream, stream_of: StreamOf) -> None:
    part = {"executableCode": {"language": "PYTHON", "code": "1"}}
    reply = read(read_stream, stream_of([part], [{"text": "1"}]))
    assert reply.parts == (Opaque("executableCode", Sealed("gemini", part)), Text("1"))


def test_arguments_in_pieces_are_one_call(read_stream: ReadStream, stream_of: StreamOf) -> None:
    pieces = [{"jsonPath": "$.city", "stringValue": "Os", "willContinue": True}]
    stream = stream_of(
        [{"functionCall": {"name": "f", "id": "c", "willContinue": True}, "thoughtSignature": "S="}],
        [{"functionCall": {"partialArgs": pieces, "willContinue": True}}],
        [
            {
                "functionCall": {
                    "partialArgs": [{"jsonPath": "$.city", "stringValue": "lo"}],
                    "willContinue": True,
                }
            }
        ],
        [{"functionCall": {}}],
    )
    signed, made = read(read_stream, stream).parts
    assert made == ToolCall("c", "f", '{"city":"Oslo"}')
    assert signed == Thinking("", Sealed("gemini", {"thoughtSignature": "S=", "call": "c"}))


def test_the_last_usage_counts(read_stream: ReadStream) -> None:  # G31, G41
    chunks = [
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 15}},
        {"candidates": [{"finishReason": "STOP"}],
         "usageMetadata": {"promptTokenCount": 13, "candidatesTokenCount": 8}},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
    ]  # fmt: skip
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)
    assert read(read_stream, stream).usage == Usage(13, 8)


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (b"", "connection"),
        (b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n', "connection"),  # W47
        (b'data: {"error":{"code":503,"status":"UNAVAILABLE","message":"busy"}}\r\n\r\n', "overloaded"),
        (b'data: {"cand\r\n\r\n', "server_error"),
        (b"data: 7\r\n\r\n", "server_error"),
        (b'data: {"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}\r\n\r\n', "server_error"),
        (b"<html>no</html>", "server_error"),
    ],
)
def test_a_stream_that_fails_is_a_fault(read_stream: ReadStream, stream: bytes, kind: str) -> None:
    assert broken(read_stream, stream).kind == kind


def test_a_blocked_prompt_is_a_refusal(read_stream: ReadStream) -> None:
    reply = read(read_stream, b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n')
    assert (reply.parts, reply.stop.reason) == ((), "refusal")


def test_a_tap_reads_on_once_the_end_is_told(stream_of: StreamOf) -> None:
    tap = GEMINI.tap()
    tap.feed(stream_of([{"text": "a"}], [{"text": "b"}]))
    tap.feed(b'data: {"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}}\r\n\r\n')
    tap.close()
    assert (tap.usage, tap.stop, tap.fault) == (Usage(9, 2), Stop("end_turn"), None)
    cut = GEMINI.tap()
    cut.feed(b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n')
    cut.close()
    assert cut.content_started
    assert cut.fault is not None
    assert not cut.ended


def written(context: ReplyContext, *events: Event) -> list[Any]:
    writer = GEMINI.event_writer(context)
    stream = b"".join([piece for event in events for piece in writer.feed(event)])
    assert writer.close() == []
    frames = stream.split(b"\r\n\r\n")
    assert frames.pop() == b""
    assert all(frame.startswith(b"data: {") and b"\n" not in frame for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]


def parts_of(chunk: Any) -> Any:
    return chunk["candidates"][0]["content"]["parts"]


def test_calls_are_written_whole_and_in_order(context: ReplyContext) -> None:
    chunks = written(
        context,
        Started("r", "m", Usage(9)), PartOpened(0, ToolCall("a", "f", "")), PartOpened(1, ToolCall("b", "g", "")),
        PartGrew(1, '{"y"'), PartGrew(0, '{"x":'), PartGrew(1, ":2}"), PartClosed(1), PartGrew(0, "1}"),
        PartClosed(0), Stopped(Stop("tool_use"), Usage(9, 4)),
    )  # fmt: skip
    calls = [part["functionCall"] for chunk in chunks for part in parts_of(chunk) if "functionCall" in part]
    assert [(one["id"], one["args"]) for one in calls] == [("a", {"x": 1}), ("b", {"y": 2})]
    assert chunks[0]["responseId"] == context.id
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert chunks[-1]["usageMetadata"] == {
        "promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13
    }  # fmt: skip


def test_a_signature_of_another_vendor_ends_its_thought(
    context: ReplyContext, read_stream: ReadStream
) -> None:
    seal = Sealed("anthropic-messages", {"signature": "s"})
    writer = GEMINI.event_writer(context)
    events: list[Event] = [
        Started("r", "m"), PartOpened(0, Thinking("")), PartGrew(0, "hm"), PartClosed(0, seal),
        Stopped(Stop("end_turn"), Usage(1, 1)),
    ]  # fmt: skip
    stream = b"".join(piece for event in events for piece in writer.feed(event))
    assert read(read_stream, stream).parts == (Thinking("hm", seal),)


def test_a_failure_is_the_last_thing_written(context: ReplyContext) -> None:
    chunks = written(context, Started("r", "m"), Broke(Fault("overloaded", "busy")))
    assert [chunk["error"]["status"] for chunk in chunks] == ["UNAVAILABLE"]


def test_clients_are_kept_alive_by_nothing() -> None:
    assert GEMINI.keep_alive == b""
