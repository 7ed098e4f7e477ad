"""The tap: what it tells of a stream that nobody reads."""

from collections.abc import Callable

import pytest

from engine.core.conversation import Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, PartGrew, PartOpened, Started, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]

each = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
WORDS = 'He said "error": {"usage": "finish_reason":null} and "name", then [DONE].'
REPLY = Reply(
    "r",
    "m",
    (Thinking(WORDS), Text(WORDS), ToolCall("c", "f", '{"error":"usage"}')),
    Stop("tool_use"),
    Usage(9, 4, 2),
)


@each
def test_a_tap_tells_the_end_whatever_the_model_says(
    protocol: Protocol,
    write_stream: WriteStream,
    context: ReplyContext,
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    stream = write_stream(protocol, list(unfold(REPLY)), context)
    for chunks in chunkings(stream):
        tap = protocol.tap()
        for chunk in chunks:
            tap.feed(chunk)
        tap.close()
        assert (tap.stop, tap.usage, tap.fault, tap.ended) == (REPLY.stop, REPLY.usage, None, True)


@each
def test_content_has_not_started_before_the_first_word(
    protocol: Protocol, write_stream: WriteStream, context: ReplyContext
) -> None:
    writer = protocol.event_writer(context)
    tap = protocol.tap()
    opening: list[Event] = [Started("r", "m"), PartOpened(0, Text(""))]
    for event in opening:
        for piece in writer.feed(event):
            tap.feed(piece + protocol.keep_alive)
    before = tap.content_started
    for piece in writer.feed(PartGrew(0, "a")):
        tap.feed(piece)
    assert (before, tap.content_started) == (False, True)
    tap.close()
    assert tap.fault is not None
    assert tap.fault.kind == "connection"
    assert not tap.ended


@each
def test_a_fault_after_content_is_told(
    protocol: Protocol, write_stream: WriteStream, context: ReplyContext
) -> None:
    events: list[Event] = [
        Started("r", "m"),
        PartOpened(0, Text("")),
        *[PartGrew(0, "a")] * 9,
        Broke(Fault("overloaded", "!")),
    ]
    tap = protocol.tap()
    for frame in write_stream(protocol, events, context).split(b"\n\n"):
        tap.feed(frame + b"\n\n")
    assert tap.ended
    assert tap.fault is not None
    assert tap.fault.kind == "overloaded"
