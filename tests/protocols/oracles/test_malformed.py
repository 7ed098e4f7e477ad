"""Whatever bytes a provider sends, and whatever JSON a client: an answer in the client's protocol with one proper end,
or an error of it. Nothing else is raised, nothing hangs open, and what is no answer is told as malformed.

Every place of a good stream, reply and request is tried with every kind of wrong value; every frame is left out, sent
twice, sent early, cut, and followed by what does not belong there.
"""

import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import Sealed, Text, Thinking, ToolCall
from engine.core.errors import MALFORMED, RequestError, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, Grammar, Stopped, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.pipe import pipe
from engine.protocols.shape import Protocol, ReplyContext
from engine.protocols.sse import LONGEST_FRAME

Json = dict[str, Any]

by_protocol = pytest.mark.parametrize("provider", PROTOCOLS.values(), ids=list(PROTOCOLS))

WRONG: list[Any] = [
    None,
    True,
    -1,
    7.5,
    10**18,
    "",
    "x",
    "\x00",
    [],
    [None],
    [7],
    {},
    {"type": "x"},
    {"": []},
]
ONE_IN = 25  # of the tampered streams that are read, how many are also told to every client

CALLS = (ToolCall("call_1", "Read", '{"path":"a"}'), ToolCall("call_2", "Grep", "{}"))
GOOD = Reply(
    "r1",
    "m",
    (Thinking("why", Sealed("other", {"s": "1"})), Text("so"), *CALLS),
    Stop("tool_use"),
    Usage(9, 5),
)


@pytest.fixture
def good(written: Callable[..., bytes], context: ReplyContext) -> Callable[[Protocol], bytes]:
    return lambda protocol: written(protocol, list(unfold(GOOD)), context)


def framed(stream: bytes) -> list[bytes]:
    """A stream's frames, each with its blank line."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    return [block + end for block in stream.split(end) if block]


def read(provider: Protocol, stream: bytes) -> list[Event]:
    """The events, held to their grammar; what a tap hears of the same bytes ends the same way."""
    reader = provider.event_reader()
    events = [*reader.feed(stream), *reader.close()]
    assert reader.feed(b"data: {}\n\n") == reader.close() == []
    grammar = Grammar()
    for event in events:
        grammar.check(event)
    assert grammar.ended
    tap = provider.tap()
    tap.feed(stream)
    tap.close()
    assert tap.fault is None or isinstance(events[-1], Broke)
    return events


def tampered(value: Any) -> Iterator[Any]:
    """The value with each place in it left out, and with each wrong value in each place."""
    for place in list(_places(value, ())):
        for wrong in WRONG:
            copy, holder = _inside(value, place)
            holder[place[-1]] = wrong
            yield copy
        if isinstance(place[-1], str):
            copy, holder = _inside(value, place)
            del holder[place[-1]]
            yield copy


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _inside(value: Any, place: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of the value, and what in it holds the place."""
    copy = holder = orjson.loads(orjson.dumps(value))
    for step in place[:-1]:
        holder = holder[step]
    return copy, holder


@by_protocol
def test_no_wrong_value_in_any_place_of_a_stream_does_more_than_break_it(
    provider: Protocol, good: Any, order: Any, context: ReplyContext
) -> None:
    blocks = framed(good(provider))
    dice = random.Random(4)
    told = 0
    for at, block in enumerate(blocks):
        head, _, data = block.partition(b"data: ")
        if data.strip() == b"[DONE]":
            continue
        for wrong in tampered(orjson.loads(data)):
            changed = head + b"data: " + orjson.dumps(wrong) + b"\n\n"
            stream = b"".join([*blocks[:at], changed, *blocks[at + 1 :]])
            events = read(provider, stream)
            if dice.randrange(ONE_IN) == 0:
                told_everyone(provider, stream, events, order, context)
                told += 1
    assert told > 40


def told_everyone(
    provider: Protocol, stream: bytes, events: list[Event], order: Any, context: ReplyContext
) -> None:
    ended = "error" if isinstance(events[-1], Broke) else "done"
    for client in PROTOCOLS.values():
        if client is not provider:
            way = pipe(client, provider, context, withhold_usage=False)
            assert order(client, way.feed(stream) + way.close()) == ended, stream


STRAY = {
    "a comment": b": keep-alive\n\n",
    "an event without data": b"event: message\n\n",
    "an id and a retry": b"id: 7\nretry: 5\n\n",
    "an empty line": b"\n",
    "an event nobody knows": b'event: news\ndata: {"type":"news","id":"r1"}\n\n',
}
BREAKING = {
    "JSON that ends early": b'data: {"type":"response.cut","index":\n\n',
    "a list": b"data: []\n\n",
    "a number": b"data: 7\n\n",
    "text": b"data: oops\n\n",
    "a page": b"data: <html><body>502</body></html>\n\n",
    "invalid UTF-8": b'data: {"type":"\xff\xfe","choices":[],"candidates":[]}\n\n',
    "half a character": b'data: {"type":"\\ud83d","choices":[],"candidates":[]}\n\n',
    "a zero byte": b'data: {"type":"\x00","choices":[],"candidates":[]}\n\n',
}


@by_protocol
@pytest.mark.parametrize("what", STRAY)
def test_what_says_nothing_changes_nothing(what: str, provider: Protocol, good: Any) -> None:  # G5
    blocks = framed(good(provider))
    expected = read(provider, b"".join(blocks))
    for at in range(len(blocks)):
        if what == "an event nobody knows" and provider.name in ("openai-chat", "gemini"):
            continue  # their chunks have no kinds: any object is a piece of the reply
        stream = b"".join([*blocks[:at], STRAY[what], *blocks[at:]])
        assert read(provider, stream) == expected


@by_protocol
@pytest.mark.parametrize("what", BREAKING)
def test_what_cannot_be_read_breaks_the_stream_as_malformed(
    what: str, provider: Protocol, good: Any, order: Any, context: ReplyContext
) -> None:  # G10, G16
    blocks = framed(good(provider))
    for at in range(len(blocks) - 1):
        stream = b"".join([*blocks[:at], BREAKING[what], *blocks[at:]])
        events = read(provider, stream)
        broke = events[-1]
        assert isinstance(broke, Broke)
        assert (broke.fault.code, broke.fault.origin, broke.fault.http_status) == (MALFORMED, "provider", 502)
        for client in PROTOCOLS.values():
            way = pipe(client, provider, context, withhold_usage=False)
            told = way.feed(stream) + way.close()
            assert way.fault == broke.fault
            assert BREAKING[what].strip() not in told  # nothing foreign gets through
            if client is not provider:
                assert order(client, told) == "error"


@by_protocol
def test_frames_left_out_twice_or_out_of_order_do_no_more_than_break_the_stream(
    provider: Protocol, good: Any, order: Any, context: ReplyContext
) -> None:  # G20
    blocks = framed(good(provider))
    streams = [b"".join([*blocks[:at], *blocks[at + 1 :]]) for at in range(len(blocks))]
    streams += [b"".join([*blocks[:at], blocks[at], *blocks[at:]]) for at in range(len(blocks))]
    for _ in range(40):
        random.Random(len(streams)).shuffle(blocks)
        streams.append(b"".join(blocks))
    for stream in streams:
        told_everyone(provider, stream, read(provider, stream), order, context)


@by_protocol
def test_a_stream_that_ends_anywhere_is_a_fault_or_complete(
    provider: Protocol, good: Any, order: Any, context: ReplyContext
) -> None:  # W47, G8
    stream = good(provider)
    whole = read(provider, stream)
    for end in sorted({*range(0, len(stream), 7), *(len(stream) - at for at in range(1, 40))}):
        events = read(provider, stream[:end])
        if isinstance(events[-1], Stopped):
            assert [type(event) for event in events] == [type(event) for event in whole]
        else:
            assert isinstance(events[-1], Broke)
            assert events[-1].fault.kind == "connection"
        if end % 49 == 0:
            told_everyone(provider, stream[:end], events, order, context)


@by_protocol
def test_the_mark_of_the_end_in_the_middle_ends_or_is_no_mark(provider: Protocol, good: Any) -> None:  # G7
    blocks = framed(good(provider))
    for at in range(1, len(blocks) - 1):
        events = read(provider, b"".join([*blocks[:at], b"data: [DONE]\n\n", *blocks[at:]]))
        if provider.name == "openai-chat":
            assert isinstance(events[-1], Stopped)
        elif provider.name == "openai-responses":  # some of its providers send it, and it says nothing there
            assert events == read(provider, b"".join(blocks))
        else:
            assert isinstance(events[-1], Broke)


@by_protocol
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_byte_order_mark_and_any_line_ends_are_read(
    newline: bytes, provider: Protocol, good: Any
) -> None:  # G3, G4
    plain = good(provider).replace(b"\r\n", b"\n")
    expected = read(provider, plain)
    assert read(provider, b"\xef\xbb\xbf" + plain.replace(b"\n", newline)) == expected
    assert read(provider, plain.replace(b"data: ", b"data:").replace(b"event: ", b"event:")) == expected


@by_protocol
def test_an_event_of_ten_megabytes_is_not_collected(provider: Protocol, good: Any) -> None:
    blocks = framed(good(provider))
    endless = b'data: {"text":"' + b"x" * LONGEST_FRAME
    reader = provider.event_reader()
    events = [*reader.feed(blocks[0]), *reader.feed(endless[:-9]), *reader.feed(endless), *reader.close()]
    assert isinstance(events[-1], Broke)
    assert events[-1].fault.code == MALFORMED
    assert "10,000,000" in events[-1].fault.message


@by_protocol
def test_a_whole_reply_where_a_stream_was_asked_for_is_read(
    provider: Protocol, context: ReplyContext, order: Any
) -> None:
    body = orjson.dumps(provider.write_reply(GOOD, context).body)
    events = read(provider, body)
    assert isinstance(events[-1], Stopped)
    told_everyone(provider, body, events, order, context)
    for broken in (body[:-20], b"{}", b'{"error":"no"}', b"[1]", b"<html>no</html>", b""):
        events = read(provider, broken)
        assert isinstance(events[-1], Broke), broken
        told_everyone(provider, broken, events, order, context)


@by_protocol
def test_no_wrong_value_in_a_whole_reply_raises_anything_but_a_fault(
    provider: Protocol, context: ReplyContext
) -> None:
    body = orjson.loads(orjson.dumps(provider.write_reply(GOOD, context).body))
    for wrong in tampered(body):
        with suppress(UpstreamError):
            reply = provider.read_reply(wrong)
            for client in PROTOCOLS.values():
                orjson.dumps(client.write_reply(reply, context).body)


ASKED: dict[str, Json] = {
    "anthropic-messages": {
        "model": "m", "max_tokens": 99, "stream": False, "temperature": 0.5, "top_k": 3,
        "stop_sequences": ["x"],
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "Read", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "tool", "name": "Read", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000}, "metadata": {"user_id": "u"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"},
                 "title": "f"},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "tool_use", "id": "t1", "name": "Read", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True,
                 "content": [{"type": "text", "text": "r"}]}
            ]},
        ],
    },
    "openai-chat": {
        "model": "m", "max_tokens": 99, "stream": True, "stream_options": {"include_usage": True},
        "stop": "x",
        "temperature": 0.5, "seed": 1, "user": "u", "reasoning_effort": "high", "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "Read", "description": "d",
        "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "Read"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n",
        "schema": {"type": "object"}}},
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD",
                 "filename": "f.pdf"}},
            ]},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "Read", "arguments": "{\"a\":1}"}}
            ]},
            {"role": "tool", "tool_call_id": "t1", "content": "r"},
        ],
    },
    "openai-responses": {
        "model": "m", "max_output_tokens": 99, "stream": True, "instructions": "s", "temperature": 0.5,
        "store": False,
        "reasoning": {"effort": "high", "summary": "auto"}, "text": {"format": {"type": "text"},
        "verbosity": "low"},
        "tools": [
            {"type": "function", "name": "Read", "parameters": {"type": "object"}, "strict": True},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark",
             "definition": "x"}},
        ],
        "tool_choice": {"type": "function", "name": "Read"}, "parallel_tool_calls": True,
        "input": [
            {"type": "message", "role": "developer", "content": "d"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,QUJD", "filename": "f.pdf"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
             "encrypted_content": "g"},
            {"type": "function_call", "call_id": "t1", "name": "Read", "arguments": "{\"a\":1}",
             "id": "fc_1"},
            {"type": "function_call_output", "call_id": "t1", "output": "r"},
        ],
    },
    "gemini": {
        "model": "m", "stream": False, "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {
            "maxOutputTokens": 99, "temperature": 0.5, "stopSequences": ["x"],
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"}, "thinkingConfig": {"thinkingLevel": "high",
            "includeThoughts": True},
        },
        "tools": [{"functionDeclarations": [{"name": "Read", "description": "d",
        "parameters": {"type": "OBJECT"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["Read"]}},
        "contents": [
            {"role": "user", "parts": [
                {"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x/f.pdf"}},
            ]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": True},
                {"functionCall": {"id": "t1", "name": "Read", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            ]},
            {"role": "user", "parts": [{"functionResponse": {"id": "t1", "name": "Read",
             "response": {"output": "r"}}}]},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_wrong_value_in_a_request_raises_anything_but_a_sentence(name: str, model: Model) -> None:
    client = PROTOCOLS[name]
    read_well = 0
    for wrong in tampered(ASKED[name]):
        raw = orjson.dumps(wrong)
        with suppress(RequestError):
            request = client.read_request(wrong, raw)
            read_well += 1
            client.repairs(request, model, "m", "high")
            for provider in PROTOCOLS.values():
                with suppress(RequestError):
                    orjson.dumps(provider.write_request(request, model, "m").body)
    assert read_well > 100


@by_protocol
def test_an_error_in_any_form_is_a_fault_that_every_client_can_be_told(provider: Protocol) -> None:
    bodies = [
        b"",
        b"null",
        b"7",
        b'"no"',
        b"[]",
        b'[{"error":7}]',
        b'{"error":null}',
        b"<html><title>502</title>",
    ]
    bodies += [orjson.dumps({"error": wrong}) for wrong in WRONG]
    bodies += [orjson.dumps({"error": {"message": a, "code": a, "type": b}}) for a in WRONG for b in WRONG]
    bodies += [b"\xff" * 50, b64encode(b"\x00" * 99), b'{"error":{"message":"\\ud800"}}']
    for body in bodies:
        for status in (301, 400, 429, 500, 529, 999):
            fault = provider.read_fault(status, {"retry-after": "soon"}, body)
            assert fault.message
            for client in PROTOCOLS.values():
                orjson.dumps(client.write_fault(fault))
