"""Requests, events and streams of this protocol, made short."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.conversation import Request
from engine.protocols import PROTOCOLS

Row = dict[str, Any]
RESPONSES = PROTOCOLS["openai-responses"]


@pytest.fixture
def asked() -> Callable[..., Request]:
    """A request with these items, and other fields by name."""

    def ask(*items: Any, **fields: Any) -> Request:
        body = {"model": "m", "input": list(items), **fields}
        return RESPONSES.read_request(body, json.dumps(body).encode())

    return ask


@pytest.fixture
def streamed() -> Callable[..., bytes]:
    """A stream of these events, begun and numbered; a kind and its fields each."""

    def stream(*events: tuple[str, Row]) -> bytes:
        begun = ("created", {"response": {"id": "resp_1", "model": "gpt", "status": "in_progress"}})
        frames = [
            json.dumps({"type": f"response.{kind}", **fields, "sequence_number": number})
            for number, (kind, fields) in enumerate([begun, *events])
        ]
        return "".join(f"data: {frame}\n\n" for frame in frames).encode()

    return stream


@pytest.fixture
def told() -> Callable[[bytes], list[Row]]:
    """The events in a written stream."""

    def events(stream: bytes) -> list[Row]:
        blocks = [block for block in stream.decode().split("\n\n") if block]
        found = [json.loads(block.partition("data: ")[2]) for block in blocks]
        for block, event in zip(blocks, found, strict=True):
            assert block.startswith(f"event: {event['type']}\n")
        assert [event["sequence_number"] for event in found] == list(range(len(found)))
        return found

    return events
