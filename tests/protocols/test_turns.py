"""The order vendors insist on."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.conversation import Loss, Message, Part, Text, ToolCall, ToolResult
from engine.protocols.mapping import wire_map
from engine.protocols.turns import CallIds, Turn, in_turns, made_id, valid_id

LIMITS = wire_map("anthropic_messages").limits


def call(call_id: str) -> ToolCall:
    return ToolCall(call_id, "f", "{}")


def result(call_id: str) -> ToolResult:
    return ToolResult(call_id, (Text("ok"),))


def shapes(turns: list[Turn]) -> list[tuple[str, list[str], int]]:
    return [(turn.role, [answer.call_id for _, answer in turn.results], len(turn.parts)) for turn in turns]


def test_a_plain_conversation_stays_as_it_is() -> None:
    messages = [
        Message("user", (Text("a"),)),
        Message("assistant", (call("x"),)),
        Message("user", (result("x"),)),
    ]
    losses: list[Loss] = []
    assert shapes(in_turns(messages, LIMITS, losses, merge=False)) == [
        ("user", [], 1),
        ("assistant", [], 1),
        ("user", ["x"], 0),
    ]
    assert losses == []


def test_neighbours_of_one_role_are_merged_only_when_asked() -> None:
    messages = [
        Message("user", (Text("a"),)),
        Message("user", (Text("b"),)),
        Message("assistant", (Text("c"),)),
    ]
    assert len(in_turns(messages, LIMITS, [], merge=True)) == 2
    assert len(in_turns(messages, LIMITS, [], merge=False)) == 3


def test_calls_of_neighbours_are_answered_behind_both_when_merged() -> None:
    messages = [
        Message("assistant", (call("x"),)),
        Message("assistant", (call("y"),)),
        Message("user", (result("y"), result("x"))),
    ]
    assert shapes(in_turns(messages, LIMITS, [], merge=True)) == [
        ("assistant", [], 2),
        ("user", ["y", "x"], 0),
    ]
    assert shapes(in_turns(messages, LIMITS, [], merge=False)) == [
        ("assistant", [], 1),
        ("user", ["x"], 0),
        ("assistant", [], 1),
        ("user", ["y"], 0),
    ]


def test_an_id_is_given_once() -> None:
    ids = CallIds(LIMITS)
    given = [ids.give(wanted) for wanted in ("a", "a", "a", "b.c", "")]
    assert given[0] == "a"
    assert len(set(given)) == 5
    assert all(valid_id(one, LIMITS) for one in given)
    assert valid_id(made_id("\ud800"), LIMITS)


IDS = st.sampled_from(["a", "b", "bad.id", "", "x" * 70])
PARTS: st.SearchStrategy[Part] = st.builds(Text, st.just("t")) | st.builds(result, IDS)


@given(
    st.lists(
        st.builds(Message, st.just("user"), st.lists(PARTS, max_size=3).map(tuple))
        | st.builds(Message, st.just("assistant"), st.lists(st.builds(call, IDS), max_size=3).map(tuple)),
        max_size=6,
    ),
    st.booleans(),
)
def test_every_call_is_answered_once_in_the_next_turn(messages: list[Message], merge: bool) -> None:
    losses: list[Loss] = []
    turns = in_turns(messages, LIMITS, losses, merge=merge)
    seen: list[str] = []
    for at, turn in enumerate(turns):
        called = [part.id for _, part in turn.parts if isinstance(part, ToolCall)]
        answered = [answer.call_id for _, answer in turns[at + 1].results] if called else []
        assert sorted(called) == sorted(answered)
        assert not any(isinstance(part, ToolResult) for _, part in turn.parts)
        seen += called
    assert len(set(seen)) == len(seen)
    assert len(seen) == sum(isinstance(part, ToolCall) for message in messages for part in message.parts)
    results = sum(isinstance(part, ToolResult) for message in messages for part in message.parts)
    kept = sum(len(turn.results) for turn in turns)
    unanswered = sum("has no result" in loss.why for loss in losses)
    orphans = sum("became text" in loss.why for loss in losses)
    assert results == kept - unanswered + orphans
