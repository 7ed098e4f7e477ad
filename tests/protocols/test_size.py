"""What a request costs grows with its size and no faster, however it is made up: conversations that once took the
square of their length, and those that well might."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from engine import wire
from engine.core.catalog import Model
from engine.protocols import PROTOCOLS
from engine.protocols.sse import frame

MANY = 8_000
SECONDS = 3.0  # of CPU time; a tenth of it is enough, and a square needs more
Body = dict[str, Any]


def gemini(*contents: Body) -> Body:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}, *contents]}


def gemini_calls(many: int, field: str) -> Body:
    """One message of calls, answered in the opposite order, by `field` alone."""
    calls = [{"id": f"a{n}", "name": f"b{n}", "args": {}} for n in range(many)]
    results = [{field: call[field], "response": {"output": "x"}} for call in reversed(calls)]
    return gemini(
        {"role": "model", "parts": [{"functionCall": call} for call in calls]},
        {"role": "user", "parts": [{"functionResponse": result} for result in results]},
    )


def gemini_pieces(many: int, **fields: Any) -> Body:
    """A model's turn as a client keeps it that streams: each piece a content of its own."""
    return gemini(*({"role": "model", "parts": [{"text": "so ", **fields}]} for _ in range(many)))


def anthropic_same_id(many: int) -> Body:
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}
    return {"messages": [{"role": "user", "content": "hi"}, *([called, result] * many)], "max_tokens": 5}


def chat_calls(many: int) -> Body:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(many)
    ]
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": "x"} for n in reversed(range(many))]
    return {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": calls}, *results]
    }


def responses_texts(many: int) -> Body:
    reasoning = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}
    return {"input": [reasoning, {"type": "message", "role": "assistant", "content": "hello"}] * many}


CASES: list[tuple[str, str, Callable[[int], Body]]] = [
    ("calls answered by id", "gemini", lambda many: gemini_calls(many, "id")),
    ("calls answered by name", "gemini", lambda many: gemini_calls(many, "name")),
    ("calls without results", "gemini", lambda many: gemini(gemini_calls(many, "id")["contents"][1])),
    ("a text in pieces", "gemini", gemini_pieces),
    ("a thought in pieces", "gemini", lambda many: gemini_pieces(many, thought=True)),
    ("one id for every call", "anthropic-messages", anthropic_same_id),
    ("parallel calls", "openai-chat", chat_calls),
    ("reasoning and texts", "openai-responses", responses_texts),
]


@pytest.mark.parametrize(("name", "make"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("target", ["anthropic-messages", "gemini"])
def test_a_long_conversation_takes_no_more_than_its_share(
    name: str, make: Callable[[int], Body], target: str, model: Model
) -> None:
    body = {"model": "m", **make(MANY)}
    began = time.process_time()
    request = PROTOCOLS[name].read_request(body, b"")
    wire.dumps(PROTOCOLS[target].write_request(request, model, "gemini-3-pro").body)
    assert time.process_time() - began < SECONDS


def test_a_stream_of_calls_that_stay_open_takes_no_more_than_its_share() -> None:
    reader = PROTOCOLS["openai-chat"].event_reader()
    called = {"type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    began = time.process_time()
    for number in range(MANY):
        delta = {"tool_calls": [{"index": number, "id": f"c{number}", **called}]}
        reader.feed(frame(wire.dumps({"id": "x", "choices": [{"index": 0, "delta": delta}]})))
    assert time.process_time() - began < SECONDS
