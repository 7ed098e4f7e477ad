"""What a provider of the hostile tests says, and how a test plays its scene within a bound of time."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Opening = Callable[..., Any]
Provider = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

KEY = "sk-key-of-the-engine-1234567890"

REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-5",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}

STREAM: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {**REPLY, "content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
]


def says(
    body: bytes, *headers: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json"
) -> Provider:
    """A provider that answers everything alike."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [b"HTTP/1.1 " + status, b"content-type: " + kind, b"content-length: %d" % len(body), *headers]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    return answer


def sse(events: list[dict[str, Any]], newline: bytes = b"\n") -> bytes:
    frames = (
        b"event: %b%bdata: %b" % (event["type"].encode(), newline, json.dumps(event).encode())
        for event in events
    )
    return b"".join(frame + newline * 2 for frame in frames)


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def run(play: Awaitable[None], seconds: float = 60.0) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await play

    asyncio.run(bounded())
