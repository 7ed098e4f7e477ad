"""Events and replies say the same, and events come in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.conversation import Image, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault, StreamOrderError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import (
    Broke,
    Event,
    Grammar,
    PartClosed,
    PartGrew,
    PartOpened,
    Started,
    Stopped,
    fold,
    has_content,
    unfold,
)

SEAL = Sealed("a", {"x": 1})
START, END = Started("r", "m"), Stopped(Stop("end_turn"), Usage())

parts: st.SearchStrategy[Part] = (
    st.builds(Text, st.text(), st.none() | st.just({"type": "ephemeral"}), st.none() | st.just(SEAL))
    | st.builds(Thinking, st.text(), st.none() | st.just(SEAL))
    | st.builds(ToolCall, st.text(), st.text(), st.text(min_size=1), sealed=st.none() | st.just(SEAL))
    | st.builds(Opaque, st.text(), st.just(SEAL))
    | st.just(Image(url="u"))
)


@given(st.lists(parts, max_size=5), st.none() | st.just(SEAL))
def test_a_reply_unfolded_and_folded_is_itself(some: list[Part], sealed: Sealed | None) -> None:
    reply = Reply("r", "m", tuple(some), Stop("stop_sequence", "x"), Usage(1, 2), sealed)
    grammar = Grammar()
    for event in unfold(reply):
        grammar.check(event)
    assert grammar.ended
    assert fold(unfold(reply)) == reply


def test_a_call_that_grew_by_nothing_has_no_arguments() -> None:
    folded = fold([START, PartOpened(0, ToolCall("c", "f", "")), PartClosed(0), END])
    assert isinstance(folded, Reply)
    assert folded.parts == (ToolCall("c", "f", "{}"),)


def test_a_stream_that_broke_folds_to_its_fault() -> None:
    assert fold([START, PartOpened(0, Text("")), Broke(Fault("timeout", "t"))]) == Fault("timeout", "t")


def follow(events: list[Event]) -> None:
    grammar = Grammar()
    for event in events:
        grammar.check(event)
    fold(events)


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([END], "before Started"),
        ([START, START], "starts twice"),
        ([START, PartOpened(1, Text(""))], "part 0 was due"),
        ([START, PartGrew(0, "a")], "not open"),
        ([START, PartClosed(0)], "not open"),
        ([START, PartOpened(0, Text("")), PartClosed(0), PartGrew(0, "a")], "not open"),
        ([START, PartOpened(0, Text("")), END], "are open"),
        ([START, END, END], "after the end"),
        ([Broke(Fault("timeout", "t")), START], "after the end"),
        ([START], "without Stopped or Broke"),
    ],
)
def test_events_out_of_order_are_refused(events: list[Event], complaint: str) -> None:
    with pytest.raises(StreamOrderError, match=complaint):
        follow(events)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (START, False),
        (PartOpened(0, Text("")), False),
        (PartOpened(0, Text("whole")), True),
        (PartOpened(0, Thinking("")), False),
        (PartOpened(0, Thinking("", SEAL)), True),
        (PartOpened(0, Thinking("hm")), True),
        (PartOpened(0, ToolCall("c", "f", "")), True),
        (PartOpened(0, Opaque("k", SEAL)), True),
        (PartOpened(0, Image(url="u")), True),
        (PartGrew(0, ""), False),
        (PartGrew(0, "a"), True),
        (PartClosed(0), False),
        (END, False),
        (Broke(Fault("timeout", "t")), False),
    ],
)
def test_content_is_what_a_client_would_have_seen(event: Event, expected: bool) -> None:
    assert has_content(event) is expected
