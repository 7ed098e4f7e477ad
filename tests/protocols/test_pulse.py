"""Whether a stream gets on: what counts as saying something, and how long silence is no bad sign."""

import json

import pytest

from engine.core.conversation import Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.stream import Event, PartClosed, PartGrew, PartOpened, Started
from engine.protocols import PROTOCOLS
from engine.protocols.pipe import pipe
from engine.protocols.pulse import Pulse
from engine.protocols.shape import ReplyContext

Row = dict[str, object]

PAIRS = [(client, provider) for client in PROTOCOLS for provider in PROTOCOLS]
each_pair = pytest.mark.parametrize(("client", "provider"), PAIRS)

BEGUN: list[Event] = [
    Started("r", "m"),
    PartOpened(0, Thinking("")),
    PartGrew(0, "let me see"),
    PartClosed(0),
    PartOpened(1, Text("")),
    PartGrew(1, "so it is"),
]


def begun(provider: str, context: ReplyContext) -> bytes:
    writer = PROTOCOLS[provider].event_writer(context)
    return b"".join(piece for event in BEGUN for piece in writer.feed(event))


def chat(delta: Row, **fields: object) -> Row:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **fields}


def grown(delta: Row, index: int = 1) -> Row:
    return {"type": "content_block_delta", "index": index, "delta": delta}


# What providers send to say that they are there, and nothing else.
NOISE: dict[str, list[Row | bytes]] = {
    "anthropic-messages": [
        {"type": "ping"},
        grown({"type": "text_delta", "text": ""}),
        grown({"type": "input_json_delta", "partial_json": ""}),
        {"type": "something_new"},
        b": keep-alive",
    ],
    "openai-chat": [
        b": OPENROUTER PROCESSING",
        chat({}),
        chat({"role": "assistant", "content": ""}),
        chat({"content": None}),
        chat({"content": "", "reasoning_content": ""}),
        chat({"role": "assistant", "content": None}, usage=None),
        {"id": "c", "choices": []},
    ],
    "openai-responses": [
        {"type": "keepalive", "sequence_number": 7},
        {"type": "response.in_progress", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": ""},
        b": keep-alive",
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0}]},
        {"usageMetadata": {"promptTokenCount": 9}},
        b": keep-alive",
    ],
}


def sent(noise: Row | bytes, spaced: bool) -> bytes:
    if isinstance(noise, bytes):
        return noise + b"\n\n"
    separators = None if spaced else (",", ":")
    return b"data: " + json.dumps(noise, separators=separators).encode() + b"\n\n"


@pytest.mark.parametrize("spaced", [False, True])
@each_pair
def test_what_says_nothing_is_no_beat(
    client: str, provider: str, spaced: bool, context: ReplyContext
) -> None:
    # W50: what keeps a connection open is not what keeps a stream alive
    one = pipe(PROTOCOLS[client], PROTOCOLS[provider], context, False)
    one.feed(begun(provider, context))
    assert (one.content_started, one.fault) == (True, None)
    beats = one.pulse.beats
    assert beats > 0
    for noise in NOISE[provider]:
        one.feed(sent(noise, spaced))
        assert (one.pulse.beats, one.pulse.phase, one.fault) == (beats, "speaking", None), noise


SAID: list[tuple[list[Event], str]] = [
    ([Started("r", "m")], "working"),
    ([PartOpened(0, Thinking("")), PartGrew(0, "let me see")], "working"),
    ([PartClosed(0, Sealed("anthropic-messages", {"signature": "s"}))], "working"),
    ([PartOpened(1, Text("")), PartGrew(1, "so it is")], "speaking"),
    ([PartGrew(1, " and so"), PartClosed(1)], "speaking"),
    ([PartOpened(2, ToolCall("c", "f", "")), PartGrew(2, '{"a":')], "working"),
    ([PartGrew(2, "1}")], "working"),
    ([PartClosed(2)], "speaking"),
]


@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("provider", ["anthropic-messages", "openai-chat", "openai-responses"])
def test_a_pulse_beats_with_every_word_and_knows_what_the_model_does(
    client: str, provider: str, context: ReplyContext
) -> None:
    one = pipe(PROTOCOLS[client], PROTOCOLS[provider], context, False)
    writer = PROTOCOLS[provider].event_writer(context)
    assert one.pulse.phase == "silent"
    for events, phase in SAID:
        before = one.pulse.beats
        frames = b"".join(piece for event in events for piece in writer.feed(event))
        one.feed(frames)
        if frames:  # Chat has no frame for an end
            assert one.pulse.beats > before, events
        if provider == "anthropic-messages" or events[-1] != PartClosed(2):
            assert one.pulse.phase == phase, events  # that a call is whole is told by Anthropic at once


def test_gemini_tells_thoughts_from_words(context: ReplyContext) -> None:
    for client in PROTOCOLS:
        one = pipe(PROTOCOLS[client], PROTOCOLS["gemini"], context, False)
        writer = PROTOCOLS["gemini"].event_writer(context)
        phases: list[tuple[str, bool]] = []
        for events in (
            [Started("r", "m"), *BEGUN[1:3]],
            [PartGrew(0, "and see")],
            BEGUN[3:],
            [PartGrew(1, "!")],
        ):
            one.feed(b"".join(piece for event in events for piece in writer.feed(event)))
            phases.append((one.pulse.phase, one.pulse.beats > len(phases)))
        assert phases == [("working", True), ("working", True), ("speaking", True), ("speaking", True)]


def test_a_text_that_ends_in_a_mark_is_no_empty_one(context: ReplyContext) -> None:
    one = pipe(PROTOCOLS["anthropic-messages"], PROTOCOLS["anthropic-messages"], context, False)
    writer = PROTOCOLS["anthropic-messages"].event_writer(context)
    for event in BEGUN:
        one.feed(b"".join(writer.feed(event)))
    for text in ('"', ':"', '"}}', '":""'):
        before = one.pulse.beats
        one.feed(b"".join(writer.feed(PartGrew(1, text))))
        assert one.pulse.beats == before + 1, text


def test_a_call_that_another_part_has_followed_is_not_what_the_model_does_now() -> None:
    calls: list[Event] = [PartOpened(at, ToolCall(f"c{at}", "f", "")) for at in (0, 1)]
    for closed, phase in ((0, "working"), (1, "speaking")):
        pulse = Pulse()
        pulse.note([*calls, PartClosed(closed)])
        assert pulse.phase == phase


@each_pair
def test_why_the_bytes_ended_is_told_where_it_is_known(
    client: str, provider: str, context: ReplyContext
) -> None:
    one = pipe(PROTOCOLS[client], PROTOCOLS[provider], context, False)
    one.feed(begun(provider, context))
    end = one.close(Fault("timeout", "nothing for a while", origin="provider"))
    assert one.fault is not None
    assert one.fault.kind == "timeout"
    assert b"nothing for a while" in end


@pytest.mark.parametrize("client", PROTOCOLS)
def test_a_reply_that_only_lacks_the_mark_of_its_end_did_not_fail(client: str, context: ReplyContext) -> None:
    last = chat({})
    last["choices"] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    one = pipe(PROTOCOLS[client], PROTOCOLS["openai-chat"], context, False)
    one.feed(begun("openai-chat", context) + sent(last, spaced=False))
    end = one.close(Fault("timeout", "nothing for a while", origin="provider"))
    assert (one.fault, one.stop) == (None, "end_turn")
    assert b"nothing for a while" not in end
