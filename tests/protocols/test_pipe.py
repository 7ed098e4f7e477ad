"""One provider stream on its way to one client."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.core.conversation import Sealed, Text, Tool, ToolCall
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Event, fold, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.pipe import WholeFrames, pipe, told
from engine.protocols.shape import Protocol, ReplyContext

WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]
ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
Chunkings = Callable[[bytes], list[list[bytes]]]

REPLY = Reply("id", "m", (Text("hello"), ToolCall("c", "f", '{"a":1}')), Stop("tool_use"), Usage(9, 4))
PAIRS = [(client, provider) for client in PROTOCOLS for provider in PROTOCOLS]
each_pair = pytest.mark.parametrize(("client", "provider"), PAIRS)


@each_pair
def test_a_pipe_carries_a_reply_in_any_chunking(
    client: str,
    provider: str,
    write_stream: WriteStream,
    read_stream: ReadStream,
    context: ReplyContext,
    chunkings: Chunkings,
) -> None:
    stream = write_stream(PROTOCOLS[provider], list(unfold(REPLY)), context)
    for chunks in chunkings(stream):
        one = pipe(PROTOCOLS[client], PROTOCOLS[provider], context, False)
        out = [one.feed(chunk) for chunk in chunks] + [one.close()]
        assert (one.content_started, one.ended, one.fault) == (True, True, None)
        assert (one.stop, one.usage) == ("tool_use", Usage(9, 4))
        reply = fold(read_stream(PROTOCOLS[client], out))
        assert isinstance(reply, Reply)
        assert (reply.parts, reply.stop, reply.usage) == (REPLY.parts, REPLY.stop, REPLY.usage)
        if client == provider:
            assert b"".join(out) == stream


@each_pair
def test_a_provider_that_hangs_up_is_told_to_the_client(
    client: str, provider: str, write_stream: WriteStream, read_stream: ReadStream, context: ReplyContext
) -> None:
    stream = write_stream(PROTOCOLS[provider], list(unfold(REPLY)), context)
    one = pipe(PROTOCOLS[client], PROTOCOLS[provider], context, False)
    half = one.feed(stream[: stream.index(b"hello") + 9])
    end = one.close()
    assert one.fault is not None
    assert one.fault.kind == "connection"
    assert b"error" in end
    assert half == b"" or half.endswith(b"\n\n")
    assert read_stream(PROTOCOLS[client], [half, end])


COMPLETE = {"openai-chat": b'"usage":{', "anthropic-messages": b'"stop_reason":"tool_use"'}


@pytest.mark.parametrize("cut", [0, 3, 9])
@pytest.mark.parametrize("protocol", COMPLETE)
def test_a_complete_reply_ends_as_its_protocol_does_though_its_provider_hung_up(
    protocol: str, cut: int, write_stream: WriteStream, context: ReplyContext
) -> None:
    # G8: once the last that matters is there, its client is not left without an end
    stream = write_stream(PROTOCOLS[protocol], list(unfold(REPLY)), context)
    complete = stream.index(b"\n\n", stream.index(COMPLETE[protocol])) + 2
    one = pipe(PROTOCOLS[protocol], PROTOCOLS[protocol], context, False)
    assert one.feed(stream[: complete + cut]) + one.close() == stream
    assert one.close() == b""
    assert one.fault is None


AFTERTHOUGHTS = {
    "anthropic-messages": b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"late"}}\n\n',
    "openai-chat": b'data: {"error":{"message":"late","code":500},"choices":[]}\n\n',
    "openai-responses": b'event: error\ndata: {"type":"error","code":"late","message":"late"}\n\n',
}  # Gemini's replies end with their bytes, so nothing comes behind


@pytest.mark.parametrize("late", ["error", "garbage"])
@pytest.mark.parametrize("protocol", AFTERTHOUGHTS)
def test_what_comes_behind_the_end_in_the_same_bytes_is_for_nobody(
    protocol: str, late: str, write_stream: WriteStream, context: ReplyContext
) -> None:
    stream = write_stream(PROTOCOLS[protocol], list(unfold(REPLY)), context)
    thought = AFTERTHOUGHTS[protocol] if late == "error" else b'data: {"half\n\n'
    done = len(stream) if protocol != "openai-chat" else stream.index(b"data: [DONE]")
    one = pipe(PROTOCOLS[protocol], PROTOCOLS[protocol], context, False)
    assert one.feed(stream[:done] + thought + stream[done:]) + one.close() == stream
    assert one.fault is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_last_frame_without_its_blank_line_gets_one(
    protocol: str, write_stream: WriteStream, context: ReplyContext
) -> None:
    stream = write_stream(PROTOCOLS[protocol], list(unfold(REPLY)), context)
    one = pipe(PROTOCOLS[protocol], PROTOCOLS[protocol], context, False)
    told = one.feed(stream.rstrip()) + one.close()
    assert told.replace(b"\r\n", b"\n") == stream.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_event_cut_short_in_the_middle_of_content_is_noticed(
    protocol: str, write_stream: WriteStream, context: ReplyContext
) -> None:
    # G10: what cannot be read never reaches the client, though plain deltas are not read
    end = b"\r\n\r\n" if protocol == "gemini" else b"\n\n"
    stream = write_stream(PROTOCOLS[protocol], list(unfold(REPLY)), context)
    after = stream.index(end, stream.index(b"hello")) + len(end)
    delta = stream[:after].removesuffix(end).split(end)[-1] + end
    one = pipe(PROTOCOLS[protocol], PROTOCOLS[protocol], context, False)
    told = one.feed(stream[:after]) + one.feed(delta[:-20] + end) + one.feed(stream[after:]) + one.close()
    assert one.fault is not None
    assert delta[:-20] + end not in told


def test_what_ends_a_forwarded_response_goes_on_counting(
    write_stream: WriteStream, context: ReplyContext
) -> None:
    responses = PROTOCOLS["openai-responses"]
    stream = write_stream(responses, list(unfold(REPLY)), replace(context, id="resp_theirs"))
    one = pipe(responses, responses, context, False)
    told = one.feed(stream[: stream.index(b"hello") + 40]) + one.close()
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[-1]["type"], events[-1]["response"]["id"]) == ("response.failed", "resp_theirs")


def test_a_usage_only_the_engine_asked_for_is_withheld(
    write_stream: WriteStream, context: ReplyContext, chunkings: Chunkings
) -> None:
    chat = PROTOCOLS["openai-chat"]
    stream = write_stream(chat, list(unfold(REPLY)), context)
    for chunks in chunkings(stream):
        one = pipe(chat, chat, context, True)
        out = b"".join([*(one.feed(chunk) for chunk in chunks), one.close()])
        assert one.usage == Usage(9, 4)
        assert b'"usage"' not in out
        assert out.endswith(b"data: [DONE]\n\n")
        assert all(frame in stream.split(b"\n\n") for frame in out.split(b"\n\n"))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_only_whole_frames_are_handed_on(end: bytes, chunkings: Chunkings) -> None:
    stream = end.join([b"data: a", b"data: b", b"data: c"])
    for chunks in chunkings(stream):
        frames = WholeFrames()
        handed_on = [frames.feed(chunk) for chunk in chunks]
        assert b"".join(handed_on).rstrip() == end.join([b"data: a", b"data: b"])
        assert b"".join([*handed_on, frames.close()]) == stream


CITED = Text("so it is", None, Sealed("anthropic-messages", {"citations": [{"type": "page_location"}]}))
TOOL = Tool("f", schema={"type": "object", "properties": {"a": {"type": "integer"}}})


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "gemini"])
def test_what_a_client_cannot_be_told_of_a_reply_is_reported(
    client: str, streamed: bool, write_stream: WriteStream, context: ReplyContext
) -> None:
    reply = Reply("id", "m", (CITED, ToolCall("c", "f", '{"a":"1"} x')), Stop("tool_use"), Usage(9, 4))
    context = replace(context, tools=(TOOL,))
    if streamed:
        stream = write_stream(PROTOCOLS["anthropic-messages"], list(unfold(reply)), context)
        one = pipe(PROTOCOLS[client], PROTOCOLS["anthropic-messages"], context, False)
        one.feed(stream)
        one.close()
        losses = one.losses
    else:
        losses = told(reply, PROTOCOLS[client], context).dropped
    assert {loss.path: loss.fate for loss in losses} == {
        "content.0.citations": "dropped",
        "content.1.arguments": "converted",
    }


def test_what_is_handed_on_as_it_is_loses_nothing(write_stream: WriteStream, context: ReplyContext) -> None:
    chat = PROTOCOLS["openai-chat"]
    one = pipe(chat, chat, context, False)
    one.feed(write_stream(chat, list(unfold(REPLY)), context))
    assert one.losses == ()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_content_that_was_never_handed_on_is_no_content(
    protocol: Protocol, context: ReplyContext, write_stream: WriteStream
) -> None:
    # All of it comes in one piece and cannot be read: another model may still answer.
    reply = Reply("r", "m", (Text("so"),), Stop("end_turn"), Usage(3, 2))
    stream = write_stream(protocol, list(unfold(reply)), context)
    middle = stream.rindex(b"data: ") if protocol.name != "openai-chat" else stream.index(b'data: {"id"', 20)
    way = pipe(protocol, protocol, context, withhold_usage=False)
    assert way.feed(stream[:middle] + b"data: {oops\n\n") == b""
    assert way.fault is not None
    assert not way.content_started
