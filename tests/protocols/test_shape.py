"""What every protocol promises, checked on all of them alike."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.catalog import Model, Price
from engine.core.conversation import Part, Request, Text, Thinking, ToolCall
from engine.core.errors import STATUS, Fault, RequestError
from engine.core.reply import Reply, Stop, StopReason, Usage
from engine.core.stream import Broke, Event, Grammar, PartGrew, PartOpened, Started, fold, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]
WriteStream = Callable[[Protocol, list[Event], ReplyContext], bytes]

each = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
# Those whose requests hold a list of `messages`; the others test what is wrong in theirs beside their own code.
OF_MESSAGES = ["anthropic-messages", "openai-chat"]
each_of_messages = pytest.mark.parametrize(
    "protocol", [PROTOCOLS[name] for name in OF_MESSAGES], ids=OF_MESSAGES
)
NO_CACHE_WRITES = {"gemini"}  # there is no field for them
ABLE = Model("able", "frontier", 1000, 1000, frozenset({"thinking", "tools"}), Price(), ())
CONTEXT = ReplyContext("shown", "id_1", 1)
USAGE = Usage(10, 5, 2, 1, 3)
SPOKEN: list[StopReason] = ["end_turn", "max_tokens", "refusal"]
CALLED: list[StopReason] = ["tool_use", "max_tokens"]
HELLO = Reply("r", "m", (Text("hi"), ToolCall("c", "f", "{}")), Stop("tool_use"), USAGE)
KEYS = [
    "type",
    "role",
    "model",
    "content",
    "text",
    "id",
    "name",
    "input",
    "messages",
    "system",
    "tools",
    "error",
    "choices",
    "delta",
    "index",
    "parts",
    "functionCall",
    "functionResponse",
    "inlineData",
    "candidates",
    "args",
    "mimeType",
    "data",
    "properties",
    "anyOf",
    "output",
    "arguments",
    "call_id",
    "summary",
    "response",
    "item",
    "part",
    "output_index",
    "encrypted_content",
]
FIELDS = [
    "model",
    "messages",
    "system",
    "tools",
    "stop",
    "thinking",
    "tool_choice",
    "stream",
    "max_tokens",
    "response_format",
    "metadata",
    "output_config",
    "contents",
    "systemInstruction",
    "generationConfig",
    "toolConfig",
    "input",
    "instructions",
    "text",
    "reasoning",
]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
json_objects = st.dictionaries(texts, st.integers(0, 99) | texts | st.lists(texts, max_size=2), max_size=3)
spoken: st.SearchStrategy[Part] = st.builds(Text, texts)
calling: st.SearchStrategy[Part] = st.builds(
    ToolCall,
    st.from_regex("[a-z]{1,8}", fullmatch=True),
    st.from_regex("[a-z]{1,8}", fullmatch=True),
    json_objects.map(lambda value: json.dumps(value, separators=(",", ":"))),
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """Thinking, text and calls: what every protocol has a place for."""
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(Thinking(draw(texts)))
    parts += draw(st.lists(spoken, max_size=1))
    parts += draw(st.lists(calling, max_size=3, unique_by=lambda call: getattr(call, "id", "")))
    called = any(isinstance(part, ToolCall) for part in parts)
    stop = draw(st.sampled_from(CALLED if called else SPOKEN))
    return Reply("r", "m", tuple(parts), Stop(stop), USAGE)


def gist(reply: Reply | Fault) -> Any:
    assert isinstance(reply, Reply), reply
    plain = [
        (type(part), getattr(part, "text", ""), getattr(part, "name", ""), arguments_of(part))
        for part in reply.parts
    ]
    ids = [part.id for part in reply.parts if isinstance(part, ToolCall)]
    return plain, ids, reply.stop, replace(reply.usage, cache_write_tokens=0)


def has_cache_writes(protocol: Protocol, reply: Reply | Fault) -> bool:
    return isinstance(reply, Reply) and (
        protocol.name in NO_CACHE_WRITES or reply.usage.cache_write_tokens == USAGE.cache_write_tokens
    )


def arguments_of(part: Part) -> Any:
    return json.loads(part.arguments) if isinstance(part, ToolCall) else None


def events_of(protocol: Protocol, chunks: list[bytes]) -> list[Event]:
    reader = protocol.event_reader()
    events = [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()
    grammar = Grammar()
    for event in events:
        grammar.check(event)
    assert grammar.ended
    return events


def stream_of(protocol: Protocol, events: list[Event]) -> bytes:
    writer = protocol.event_writer(CONTEXT)
    return b"".join([*(piece for event in events for piece in writer.feed(event)), *writer.close()])


@each
@given(reply=replies(), data=st.data())
def test_a_reply_survives_its_stream_and_its_whole(
    protocol: Protocol, reply: Reply, data: st.DataObject
) -> None:
    stream = stream_of(protocol, list(unfold(reply)))
    cut = data.draw(st.integers(0, len(stream)))
    streamed = fold(events_of(protocol, [stream[:cut], stream[cut:]]))
    assert gist(streamed) == gist(reply)
    assert has_cache_writes(protocol, streamed)
    whole = orjson.dumps(protocol.write_reply(reply, CONTEXT).body)
    assert has_cache_writes(protocol, protocol.read_reply(orjson.loads(whole)))
    assert gist(protocol.read_reply(orjson.loads(whole))) == gist(reply)


@each
@given(reply=replies(), seed=st.randoms(use_true_random=False))
def test_parts_may_grow_in_any_order(protocol: Protocol, reply: Reply, seed: Any) -> None:
    """The calls of a reply, interleaved at random, are the same calls."""
    called = tuple(part for part in reply.parts if isinstance(part, ToolCall))
    reply = Reply("r", "m", called, Stop("tool_use" if called else "end_turn"), USAGE)
    head, *middle, tail = unfold(reply)
    opens = [event for event in middle if isinstance(event, PartOpened)]
    grows = [
        PartGrew(event.index, event.text[at : at + 3])
        for event in middle
        if isinstance(event, PartGrew)
        for at in range(0, len(event.text), 3)
    ]
    pieces = list(grows)
    seed.shuffle(grows)
    due = {event.index: [g for g in pieces if g.index == event.index] for event in opens}
    grown = [due[event.index].pop(0) for event in grows]
    closes = [event for event in middle if not isinstance(event, PartOpened | PartGrew)]
    events = [head, *opens, *grown, *closes, tail]
    assert gist(fold(events_of(protocol, [stream_of(protocol, events)]))) == gist(reply)


@each
@given(data=st.data())
def test_no_bytes_make_a_reader_raise(protocol: Protocol, data: st.DataObject) -> None:
    stream = bytearray(stream_of(protocol, list(unfold(HELLO))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    events_of(protocol, [bytes(stream)])
    tap = protocol.tap()
    tap.feed(bytes(stream))
    tap.close()
    assert (tap.fault is None) != (tap.stop is None)


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@each
@given(body=st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=6))
def test_any_body_is_a_request_or_says_what_is_wrong(protocol: Protocol, body: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "contents": [], "input": ""} | body
    try:
        request = protocol.read_request(body, b"")
    except RequestError as error:
        assert error.fault.origin == "client"  # noqa: PT017
        return
    for other in PROTOCOLS.values():
        other.write_request(request, ABLE, "some-model")


@each
@given(frames=st.lists(JUNK, max_size=4))
def test_any_json_in_a_stream_comes_to_one_end(protocol: Protocol, frames: list[Any]) -> None:
    events_of(protocol, [b"data: " + orjson.dumps(frame) + b"\n\n" for frame in frames if _fits(frame)])


def _fits(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@each_of_messages
def test_a_request_wrong_in_one_place_is_told_the_place(protocol: Protocol) -> None:
    for at, (content, path) in enumerate(
        [
            (7, "messages.1.content"),
            ([7], "messages.1.content.0"),
            ([{"type": 7}], "messages.1.content.0.type"),
            ([{}], "messages.1.content.0.type"),
            ([{"type": "text", "text": "a"}, {"type": "text"}], "messages.1.content.1.text"),
        ]
    ):
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": content}],
        }
        with pytest.raises(RequestError, match=rf"^{path}: expected .* found ") as caught:
            protocol.read_request(body, b"")
        assert caught.value.fault.http_status == 400, at


@each_of_messages
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "m"),
        ({"model": 1, "messages": []}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": {}}, "messages"),
        ({"model": "m", "messages": ["x"]}, "messages.0"),
        ({"model": "m", "messages": [{"role": "pope"}]}, "messages.0.role"),
        ({"model": "m", "messages": [], "temperature": "hot"}, "temperature"),
        ({"model": "m", "messages": [], "max_tokens": 1.5}, "max_tokens"),
        ({"model": "m", "messages": [], "tools": [1]}, "tools.0"),
        ({"model": "m", "messages": [], "tool_choice": 1}, "tool_choice"),
        ({"model": "m", "messages": [], "stream": "yes"}, "stream"),
    ],
)
def test_a_malformed_request_names_the_field(protocol: Protocol, body: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError, match=f"^{path}"):
        protocol.read_request(body, b"")


@each
def test_a_writer_always_ends_its_stream(protocol: Protocol, read_stream: ReadStream) -> None:
    writer = protocol.event_writer(CONTEXT)
    cut = b"".join([*writer.feed(Started("r", "m")), *writer.feed(PartOpened(0, Text(""))), *writer.close()])
    assert isinstance(read_stream(protocol, [cut])[-1], Broke)
    assert writer.feed(PartGrew(0, "late")) == []
    assert writer.close() == []


@each
def test_a_reply_in_one_json_object_is_read_as_a_stream(
    protocol: Protocol, read_stream: ReadStream, chunkings: Callable[[bytes], list[list[bytes]]]
) -> None:
    reply = Reply("r", "m", (Text("a"),), Stop("end_turn"), USAGE)
    body = orjson.dumps(protocol.write_reply(reply, CONTEXT).body)
    for chunks in chunkings(b"\n " + body):
        assert gist(fold(read_stream(protocol, chunks))) == gist(reply)
    error = orjson.dumps(protocol.write_fault(Fault("overloaded", "busy")))
    fault = fold(read_stream(protocol, [error]))
    assert isinstance(fault, Fault)
    assert fault.kind == "overloaded"


@each
def test_an_event_of_ten_megabytes_is_a_fault(protocol: Protocol, read_stream: ReadStream) -> None:
    for start in (b"data: ", b"{"):
        events = read_stream(protocol, [start, *[b"x" * 1_000_000] * 11])
        assert len(events) == 1
        assert isinstance(events[0], Broke)


@each
@pytest.mark.parametrize("kind", STATUS)
def test_a_fault_told_is_the_fault_read(protocol: Protocol, kind: Any) -> None:
    told = Fault(kind, "what happened")
    body = orjson.dumps(protocol.write_fault(told))
    read = protocol.read_fault(told.http_status, {}, body)
    same = {"connection": "server_error", "incapable": "invalid_request"}  # no protocol has a word for these
    assert read.kind in (kind, same.get(kind))
    assert "what happened" in read.message


@each
def test_a_keep_alive_means_nothing(protocol: Protocol) -> None:  # G5, G6
    reply = Reply("r", "m", (Text("a"),), Stop("end_turn"), USAGE)
    stream = stream_of(protocol, list(unfold(reply)))
    kept = protocol.keep_alive.join(
        [b"", *(frame + b"\n\n" for frame in stream.split(b"\n\n") if frame), b""]
    )
    assert gist(fold(events_of(protocol, [kept]))) == gist(reply)


@each
def test_headers_carry_the_key(protocol: Protocol) -> None:
    assert any("secret" in value for value in protocol.headers("secret").values())


@each
def test_every_protocol_is_known_by_its_name(protocol: Protocol, model: Model) -> None:
    assert PROTOCOLS[protocol.name] is protocol
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "input": "x",
    }
    request: Request = protocol.read_request(body, b"")
    assert request.protocol == protocol.name
    written = protocol.write_request(request, model, "other").body
    named = protocol.address("other", stream=False) if protocol.model_in_path else written["model"]
    assert "other" in named
