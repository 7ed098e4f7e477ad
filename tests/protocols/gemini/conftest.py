"""Gemini's requests and chunks in few words, and reading them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request
from engine.core.stream import Event
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Encoded, Protocol

ReadStream = Callable[[Protocol, list[bytes]], list[Event]]


@pytest.fixture
def asked() -> Callable[..., Request]:
    """A Gemini request of these contents, or of one text."""

    def ask(*contents: Any, **fields: Any) -> Request:
        turns = list(contents) or [{"role": "user", "parts": [{"text": "hi"}]}]
        body = {"model": "gemini-3-flash-preview", "stream": False, "contents": turns} | fields
        sent = {key: value for key, value in body.items() if key not in ("model", "stream")}
        return PROTOCOLS["gemini"].read_request(body, json.dumps(sent).encode())

    return ask


@pytest.fixture
def claude() -> Callable[..., Request]:
    """An Anthropic request of these messages, or of one text."""

    def ask(*messages: Any, **fields: Any) -> Request:
        turns = list(messages) or [{"role": "user", "content": "hi"}]
        body = {"model": "claude", "max_tokens": 2000, "messages": turns} | fields
        return PROTOCOLS["anthropic-messages"].read_request(body, json.dumps(body).encode())

    return ask


@pytest.fixture
def to_gemini(model: Model) -> Callable[..., Encoded]:
    def write(request: Request, model_id: str = "gemini-3-flash-preview", able: Model = model) -> Encoded:
        return PROTOCOLS["gemini"].write_request(request, able, model_id)

    return write


@pytest.fixture
def stream_of() -> Callable[..., bytes]:
    """A stream of chunks, each given as its parts and whatever else a candidate has."""

    def stream(*chunks: Any, **ending: Any) -> bytes:
        written = b""
        for at, parts in enumerate(chunks):
            candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}}
            if at == len(chunks) - 1:
                candidate |= {"finishReason": "STOP"} | ending
            body = {"candidates": [candidate], "responseId": "r", "modelVersion": "m"}
            written += b"data: " + json.dumps(body).encode() + b"\r\n\r\n"
        return written

    return stream
