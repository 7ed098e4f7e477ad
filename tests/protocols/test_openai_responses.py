"""OpenAI Responses: what its clients send is read whole, and what they are told has its full lifecycle."""

import json
from typing import Any

import pytest
from openai.types.responses import Response

from engine import wire
from engine.core.catalog import Binding, Model, Price
from engine.core.conversation import Text, ToolCall, ToolResult
from engine.core.errors import Fault, RequestError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, Grammar, fold, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import ReplyContext

RESPONSES, CHAT = PROTOCOLS["openai-responses"], PROTOCOLS["openai-chat"]
CONTEXT = ReplyContext(model="gpt-5.4", id="d1", created=1)
MODEL = Model(
    "gpt",
    "frontier",
    400_000,
    128_000,
    frozenset({"tools", "vision", "thinking"}),
    Price(),
    (Binding("one", "gpt-5.4"),),
)
REPLY = Reply(
    "r1",
    "gpt-5.4",
    (Text("Reading."), ToolCall("call_1", "read", '{"path": "a.py"}'), ToolCall("call_2", "run", "{}")),
    Stop("tool_use"),
    Usage(100, 20, cache_read_tokens=40, reasoning_tokens=5),
)


def read(**fields: Any) -> Any:
    raw = json.dumps({"model": "gpt-5.4", **fields}).encode()
    return RESPONSES.read_request(json.loads(raw), raw)


def written(events: list[Event]) -> list[dict[str, Any]]:
    writer = RESPONSES.event_writer(CONTEXT)
    text = b"".join([piece for event in events for piece in writer.feed(event)] + writer.close())
    return [json.loads(line[5:]) for line in text.decode().splitlines() if line.startswith("data:")]


def test_input_may_be_plain_text() -> None:
    # G51
    (message,) = read(input="hello").messages
    assert message.role == "user"
    assert message.parts == (Text("hello"),)


def test_consecutive_calls_are_one_turn_and_their_results_another() -> None:
    # G52
    request = read(
        input=[
            {"role": "user", "content": "do both"},
            {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "run", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": "two"},
        ]
    )
    roles = [message.role for message in request.messages]
    calls = [part.id for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    results = [
        part.call_id for message in request.messages for part in message.parts if isinstance(part, ToolResult)
    ]
    assert roles.count("assistant") == 1
    assert calls == ["c1", "c2"]
    assert results == ["c1", "c2"]


def test_a_custom_tool_reaches_another_protocol_as_a_function() -> None:
    # G47: apply_patch must not turn into prose
    patch = {"type": "custom", "name": "apply_patch", "description": "edit files", "format": {"type": "text"}}
    request = read(input="fix it", tools=[patch], stream=True)
    body = CHAT.write_request(request, MODEL, "gpt-5.4").body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["apply_patch"]


def test_wrong_types_are_told_with_their_place() -> None:
    with pytest.raises(RequestError, match="input"):
        read(input=3)


def test_a_whole_reply_is_what_the_vendor_s_own_types_expect() -> None:
    body = RESPONSES.write_reply(REPLY, CONTEXT).body
    told = Response.model_validate(body)
    assert told.status == "completed"
    assert [item.type for item in told.output] == ["message", "function_call", "function_call"]
    assert told.usage is not None
    assert told.usage.input_tokens == 100
    assert told.usage.input_tokens_details.cached_tokens == 40
    assert told.usage.output_tokens_details.reasoning_tokens == 5  # G46
    again = RESPONSES.read_reply(wire.loads(wire.dumps(body)))
    assert (again.parts[1:], again.usage) == (REPLY.parts[1:], REPLY.usage)


def test_a_stream_tells_every_item_from_its_beginning_to_its_end() -> None:
    # G42
    events = written(list(unfold(REPLY)))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 3
    assert kinds.index("response.content_part.added") < kinds.index("response.output_text.delta")
    assert len(events[-1]["response"]["output"]) == 3
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_what_was_cut_off_is_told_as_incomplete() -> None:
    # G44
    cut = Reply("r1", "gpt-5.4", (Text("half"),), Stop("max_tokens"), Usage(1, 1))
    last = written(list(unfold(cut)))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"]["reason"] == "max_output_tokens"


def test_a_failure_is_told_as_one() -> None:
    assert written([Broke(Fault("overloaded", "busy"))])[-1]["type"] in ("error", "response.failed")


@pytest.mark.parametrize("bite", [1, 7, 1 << 20])
def test_a_stream_is_read_the_same_in_any_chunking(bite: int) -> None:
    writer = RESPONSES.event_writer(CONTEXT)
    stream = b"".join([piece for event in unfold(REPLY) for piece in writer.feed(event)] + writer.close())
    reader, grammar = RESPONSES.event_reader(), Grammar()
    events = [event for at in range(0, len(stream), bite) for event in reader.feed(stream[at : at + bite])]
    events += reader.close()
    for event in events:
        grammar.check(event)
    reply = fold(events)
    assert isinstance(reply, Reply)
    assert (reply.parts[1:], reply.stop, reply.usage) == (REPLY.parts[1:], REPLY.stop, REPLY.usage)
