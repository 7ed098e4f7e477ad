"""Random streams: events in any legal order to every client, and frames in any order at all from every provider.

Nothing is raised, every stream ends once and properly, nothing a model said is lost without being named, and what a
client is told as a stream is what it would have been told whole. It runs the same each time; `make fuzz` runs longer.
"""

import os
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from engine.core.conversation import Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, StopReason, Usage
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
    unfold,
)
from engine.protocols import PROTOCOLS
from engine.protocols.pipe import pipe
from engine.protocols.shape import Protocol, ReplyContext

EXAMPLES = int(os.environ.get("WEAVE_FUZZ_EXAMPLES", "60"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    derandomize="WEAVE_FUZZ_EXAMPLES" not in os.environ,
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
CONTEXT = ReplyContext(model="m", id="r1")
REASONS: list[StopReason] = [
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "refusal",
    "pause_turn",
    "context_exceeded",
]
SEALS = [
    None,
    Sealed("anthropic-messages", {"signature": "c2ln"}),
    Sealed("gemini", {"thoughtSignature": "c2ln"}),
    Sealed("openai-chat", {"field": "reasoning_content"}),
]
HOSTED = Opaque(
    "web_search_call", Sealed("openai-responses", {"type": "web_search_call", "status": "completed"})
)
REFUSAL = Text("", None, Sealed("openai-chat", {"type": "refusal"}))


def events_machine(order: Any) -> type[RuleBasedStateMachine]:
    class Events(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self._events: list[Event] = [Started("r", "m", Usage(5))]
            self._open: dict[int, Part] = {}
            self._count = 0
            self._said = 0
            self._reason: StopReason | None = "end_turn"

        def _end_thoughts(self, but: int) -> None:
            """Models think a thought to its end before they go on with anything."""
            for index, part in list(self._open.items()):
                if isinstance(part, Thinking) and index != but:
                    self._close(index, None)

        def _opens(self, part: Part) -> None:
            self._end_thoughts(but=-1)
            self._events.append(PartOpened(self._count, part))
            self._open[self._count] = part
            self._count += 1

        @rule(kind=st.sampled_from([Text(""), Thinking(""), REFUSAL, HOSTED]))
        def a_part_opens(self, kind: Part) -> None:
            self._opens(kind)

        @rule()
        def a_reasoning_of_openai_opens(self) -> None:
            self._opens(Thinking("", Sealed("openai-responses", {"id": f"rs_{self._count}"})))

        @rule(call_id=st.sampled_from(["", "c", "c.d", "x" * 90]))
        def a_call_opens(self, call_id: str) -> None:
            self._opens(ToolCall(call_id, "Read", ""))

        @precondition(lambda self: bool(self._open))
        @rule(pick=st.integers(0, 9), empty=st.booleans())
        def a_part_grows(self, pick: int, empty: bool) -> None:
            index = list(self._open)[pick % len(self._open)]
            part = self._open[index]
            if isinstance(part, Opaque):
                return
            self._end_thoughts(but=index)
            self._said += 1
            grown = any(isinstance(one, PartGrew) and one.index == index and one.text for one in self._events)
            text = f"w{self._said}w "
            if isinstance(part, ToolCall):
                text = f', "k{self._said}": "w"' if grown else f'{{"k{self._said}": "w"'
            self._events.append(PartGrew(index, "" if empty else text))

        @precondition(lambda self: bool(self._open))
        @rule(pick=st.integers(0, 9), seal=st.sampled_from(SEALS))
        def a_part_closes(self, pick: int, seal: Sealed | None) -> None:
            index = list(self._open)[pick % len(self._open)]
            self._close(index, seal)

        def _close(self, index: int, seal: Sealed | None) -> None:
            part = self._open.pop(index)
            if isinstance(part, Thinking) and part.sealed is not None:  # it keeps the id it was announced by
                seal = Sealed(part.sealed.origin, {**part.sealed.data, "encrypted_content": "gA"})
            grown = any(isinstance(one, PartGrew) and one.index == index and one.text for one in self._events)
            if isinstance(part, ToolCall) and grown:
                self._events.append(PartGrew(index, "}"))
            self._events.append(PartClosed(index, seal if isinstance(part, Thinking) else None))

        @rule(reason=st.sampled_from([None, *REASONS]))
        def its_end_is_settled(self, reason: StopReason | None) -> None:
            self._reason = reason

        def _end(self) -> None:
            if self._reason is None:
                self._events.append(Broke(Fault("overloaded", "busy"), Usage(5, 1)))
                return
            for index in list(self._open):
                self._close(index, None)
            called = any(
                isinstance(one, PartOpened) and isinstance(one.part, ToolCall) for one in self._events
            )
            self._events.append(Stopped(Stop("tool_use" if called else self._reason), Usage(5, 7)))

        def teardown(self) -> None:
            self._end()
            for client in PROTOCOLS.values():
                self._tell(client)

        def _tell(self, client: Protocol) -> None:
            writer = client.event_writer(CONTEXT)
            pieces = [piece for event in self._events for piece in writer.feed(event)]
            stream = b"".join([*pieces, *writer.close()])
            assert writer.close() == []
            last = self._events[-1]
            assert order(client, stream) == ("done" if isinstance(last, Stopped) else "error")
            for event in self._events:
                if isinstance(event, PartGrew) and event.text and isinstance(last, Stopped):
                    word = orjson.dumps(event.text.strip().strip("{}, ")).decode()[1:-1]
                    dropped = any(loss.path == f"content.{event.index}" for loss in writer.dropped)
                    assert plain(word) in plain(stream.decode()) or dropped, (client.name, word, stream)
            if isinstance(last, Stopped):
                reply = fold(self._events)
                assert isinstance(reply, Reply)
                whole = client.read_reply(client.write_reply(reply, CONTEXT).body)
                reader = client.event_reader()
                assert told(fold([*reader.feed(stream), *reader.close()])) == told(whole), client.name

    return Events


def plain(text: str) -> str:
    """Without what JSON inside JSON is written with."""
    return text.replace("\\", "").replace('"', "").replace(" ", "")


def told(reply: Reply | Fault) -> Any:
    assert isinstance(reply, Reply)
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    thought = "".join(part.text for part in reply.parts if isinstance(part, Thinking))
    seals = [part.sealed for part in reply.parts if isinstance(part, Thinking) and part.sealed is not None]
    told = [
        str(sealed) for sealed in seals if sealed.data.keys() != {"id"}
    ]  # which is told first, and says nothing
    calls = [(one.name, orjson.loads(one.arguments)) for one in reply.parts if isinstance(one, ToolCall)]
    # Where several grow at once, a client that knows one text is told their pieces as they come.
    return (
        sorted(text.split()),
        sorted(thought.split()),
        sorted(told),
        sorted(calls, key=str),
        reply.stop,
        reply.usage,
    )


def test_events_in_any_legal_order_are_told_to_every_client(order: Any) -> None:  # G18, G37, G38, G42
    run_state_machine_as_test(events_machine(order), settings=SETTINGS)


def bank_of(protocol: Protocol) -> list[bytes]:
    """Frames of this protocol, of several replies; for some of their numbers, all that providers made of them."""
    first, second = Thinking("why", Sealed("other", {"s": "1"})), ToolCall("call_2", "Grep", "{}")
    call = ToolCall("call_1", "Read", '{"a":1}')
    replies = [
        Reply("r1", "m", (first, Text("so"), call, second), Stop("tool_use"), Usage(9, 5)),
        Reply("r2", "m", (Text("one"), Text("two")), Stop("max_tokens"), Usage(9, 5)),
        Reply("", "", (), Stop("end_turn"), Usage()),
    ]
    bank: list[bytes] = []
    for reply in replies:
        writer = protocol.event_writer(CONTEXT)
        bank += [piece for event in unfold(reply) for piece in writer.feed(event)]
    writer = protocol.event_writer(CONTEXT)
    bank += writer.feed(Broke(Fault("rate_limit", "slow down")))
    numbers = {b'"index":0': b'"index":-1', b'"index":1': b'"index":99999999999', b'index":2': b'index":"2"'}
    for old, new in numbers.items():
        bank += [frame.replace(old, new) for frame in bank if old in frame]
    bank += [
        b"data: [DONE]\n\n",
        b": ping\n\n",
        b"data: {}\n\n",
        b"data: null\n\n",
        b'data: {"choices":null}\n\n',
    ]
    return list(dict.fromkeys(bank))


def frames_machine(provider: Protocol, order: Any) -> type[RuleBasedStateMachine]:
    bank = bank_of(provider)

    class Frames(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self._reader = provider.event_reader()
            self._grammar = Grammar()
            self._sent: list[bytes] = []

        @rule(frame=st.sampled_from(bank))
        def a_frame_comes(self, frame: bytes) -> None:
            self._sent.append(frame)
            self._hear(self._reader.feed(frame))

        @rule(at=st.integers(0, 12), length=st.integers(1, 8))
        def some_come_in_their_order(self, at: int, length: int) -> None:
            for frame in bank[at : at + length]:
                self.a_frame_comes(frame)

        def _hear(self, events: list[Event]) -> None:
            for event in events:
                self._grammar.check(event)

        def teardown(self) -> None:
            self._hear(self._reader.close())
            assert self._grammar.ended
            assert self._reader.close() == []
            stream = b"".join(self._sent)
            for client in PROTOCOLS.values():
                way = pipe(client, provider, CONTEXT, withhold_usage=False)
                written = way.feed(stream) + way.close()
                if client is not provider:
                    assert order(client, written) == ("error" if way.fault is not None else "done")

    return Frames


@pytest.mark.parametrize("provider", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_frames_in_any_order_end_in_one_end(provider: Protocol, order: Any) -> None:  # G10, G20
    run_state_machine_as_test(frames_machine(provider, order), settings=SETTINGS)
