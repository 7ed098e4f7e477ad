"""What is written are the vendors' own types, taken strictly, and the vendors' own accumulators make of a stream what
our fold makes of it."""

import json
from typing import Any

import pytest

from engine.core.conversation import Opaque, Part, Text, Thinking, ToolCall
from engine.core.errors import Fault
from engine.core.reply import Reply
from engine.core.stream import fold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol

DIRECTIONS = [(home, away) for home in PROTOCOLS.values() for away in PROTOCOLS.values() if home is not away]
by_direction = pytest.mark.parametrize(
    ("home", "away"), DIRECTIONS, ids=[f"{home.name}>{away.name}" for home, away in DIRECTIONS]
)
by_home = pytest.mark.parametrize("home", PROTOCOLS.values(), ids=list(PROTOCOLS))

# Recorded streams that the vendor's own SDK cannot put together, and why.
BEYOND_THE_SDK = {
    "spliced-message-start": "two replies spliced into one stream: for us an error, for the SDK a mixture",
    "groq_model_web_search_tool_stream": "the usage is under `x_groq`, which the SDK leaves out",
    "mistral-reasoning": "content in a list has no index",
    "web_search_annotations_stream": "annotations have no index",
    "stream_error": "the stream breaks",
    "error_streaming": "the stream breaks",
    "openai-client-tool-search.1": "an item ends under another id",
    "github-copilot-id-rotation": "every event has another id",
    "stream-tool-call-arguments": "arguments in pieces are nobody's to join but ours",
    "stream-no-args-tool-call": "the same",
    "raw_cot_stream_openrouter": "an item ends under another id",
    "openai-phase.1": "deltas were cut out of the recording",
}


@by_direction
def test_whole_replies_are_the_vendors_own_types(
    home: Protocol, away: Protocol, recorded: list[Any], vendors: Any
) -> None:
    for row in recorded:
        if row.home is home and row.status == 200 and row.body is not None:
            vendors.check_reply(away, away.write_reply(home.read_reply(row.body), row.context).body)


@by_direction
def test_the_events_of_streams_are_the_vendors_own_types(
    home: Protocol, away: Protocol, recorded: list[Any], vendors: Any, told: Any
) -> None:
    for row in recorded:
        if row.home is home and row.stream and isinstance(fold(row.events), Reply):
            for data in told(away, row.events, row.context):
                if data != b"[DONE]":
                    vendors.check_event(away, data)


@by_direction
def test_the_vendors_sdk_makes_the_same_reply_of_a_written_stream(
    home: Protocol, away: Protocol, recorded: list[Any], vendors: Any, written: Any
) -> None:
    for row in recorded:
        reply = fold(row.events) if row.home is home and row.stream else None
        if not isinstance(reply, Reply) or len(row.events) > 150:
            continue
        made = away.read_reply(vendors.accumulated(away, written(away, row.events, row.context)))
        whole = away.read_reply(away.write_reply(reply, row.context).body)
        assert gist(made) == gist(whole), row


@by_home
@pytest.mark.filterwarnings(
    "ignore:Pydantic serializer warnings"
)  # vendors' new blocks are unknown to their SDKs
def test_a_recorded_stream_is_read_as_the_vendors_sdk_reads_it(
    home: Protocol, recorded: list[Any], vendors: Any
) -> None:
    checked = 0
    for row in recorded:
        if row.home is not home or not row.stream or any(name in row.id for name in BEYOND_THE_SDK):
            continue
        reply = fold(row.events)
        assert not isinstance(reply, Fault), row
        assert gist(reply) == gist(home.read_reply(vendors.accumulated(home, row.stream))), row
        checked += 1
    assert checked > 10


def gist(reply: Reply) -> tuple[Any, ...]:
    """What a reply says; texts that follow one another are one, as Google's chunks are."""
    said: list[tuple[str, Any]] = []
    for part in reply.parts:
        kind, content = _said(part)
        if said and kind in ("text", "thinking") and said[-1][0] == kind:
            said[-1] = (kind, said[-1][1] + content)
        elif content != "":
            said.append((kind, content))
    return said, reply.stop, reply.usage.output_tokens


def _said(part: Part) -> tuple[str, Any]:
    match part:
        case Text(text=text):
            return "text", text
        case Thinking(text=text):
            return "thinking", text
        case ToolCall(name=name, arguments=arguments):
            return "call", (name, json.loads(arguments))
        case Opaque(kind=kind):
            return "opaque", kind
        case _:
            return type(part).__name__, part
