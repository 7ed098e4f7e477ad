"""A client of HTTP/1.1 as small as can be, which keeps all it was sent: also what came before it was cut off.

Nothing of the engine's own libraries stands between the engine and its judges.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.judges import Answer
from tests.chaos.plan import PEOPLE, Ask

MOST_TOKENS = 400  # which is what budgets hold for a request
HISTORY = "I will ask for something, turn after turn."


@dataclass(slots=True)
class Line:
    """One connection to the engine, and the answer that is being read from it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    idle_since: float = 0.0

    @classmethod
    async def open(cls, host: str, port: int) -> "Line":
        return cls(*await asyncio.open_connection(host, port))

    @property
    def answer(self) -> Answer:
        return Answer(self.status, dict(self.headers), bytes(self.body), self.ended)

    async def send(self, data: bytes) -> None:
        self.status, self.headers, self.body, self.ended = 0, {}, bytearray(), False
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> None:
        """Raises EOFError where the engine hangs up first."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ", 2)[1])
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    async def read_body(self, most: float = float("inf")) -> None:
        """To its end, or until it is longer than `most`. Being cut off is no error, but leaves `ended` false."""
        try:
            if "chunked" in self.headers.get("transfer-encoding", ""):
                await self._read_chunks(most)
            else:
                length = int(self.headers["content-length"])
                while len(self.body) < length and len(self.body) <= most:
                    piece = await self.reader.read(length - len(self.body))
                    if not piece:
                        return
                    self.body += piece
                self.ended = len(self.body) == length
        except (EOFError, ConnectionError):
            return

    async def _read_chunks(self, most: float) -> None:
        while len(self.body) <= most:
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            chunk = await self.reader.readexactly(size + 2)
            if size == 0:
                self.ended = True
                return
            self.body += chunk[:-2]

    @property
    def reusable(self) -> bool:
        return self.ended and self.headers.get("connection", "").lower() != "close"

    @property
    def is_over(self) -> bool:
        """Whether the engine has hung up since, as it may with who does not ask for long."""
        return self.reader.at_eof() or self.writer.is_closing()

    def drop(self) -> None:
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


def post(path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    """A request's head and body."""
    raw = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"content-length: {len(raw)}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), raw


def request(ask: Ask, key: str = "") -> tuple[bytes, bytes]:
    """What a session sends for its turn, in its protocol."""
    path, body = _BODIES[ask.speech](ask, _prompt(ask))
    headers = {"x-weave-session": f"session-{ask.session // PEOPLE}"}
    if ask.private:
        headers["x-weave-private"] = "true"
    if ask.speech == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    if key:
        headers["authorization"] = f"Bearer {key}"
    return post(path, body, headers)


def _prompt(ask: Ask) -> str:
    told = json.dumps({"text": ask.text})
    says = f"tool=look {told}" if ask.tool else f"text={ask.text}"
    directives = " ".join(f"[[sim: {directive}]]" for directive in (says, *ask.troubles))
    return f"{directives} {'word ' * (ask.padding // 5)}"


PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ABOUT = "Looks at a text."


def _anthropic(ask: Ask, prompt: str) -> tuple[str, dict[str, Any]]:
    tools = [{"name": "look", "description": ABOUT, "input_schema": PARAMETERS}]
    return "/v1/messages", {
        "model": ask.model,
        "max_tokens": MOST_TOKENS,
        "stream": ask.stream,
        "messages": _messages(ask, prompt),
        **({"tools": tools} if ask.tool else {}),
    }


def _messages(ask: Ask, prompt: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"{HISTORY} {ask.session // PEOPLE}"},
        {"role": "assistant", "content": "Do."},
        {"role": "user", "content": prompt},
    ]


def _chat(ask: Ask, prompt: str) -> tuple[str, dict[str, Any]]:
    function = {"name": "look", "description": ABOUT, "parameters": PARAMETERS}
    return "/v1/chat/completions", {
        "model": ask.model,
        "stream": ask.stream,
        "messages": _messages(ask, prompt),
        "max_completion_tokens": MOST_TOKENS,
        **({"stream_options": {"include_usage": True}} if ask.stream else {}),
        **({"tools": [{"type": "function", "function": function}]} if ask.tool else {}),
    }


def _responses(ask: Ask, prompt: str) -> tuple[str, dict[str, Any]]:
    tools = [{"type": "function", "name": "look", "description": ABOUT, "parameters": PARAMETERS}]
    return "/v1/responses", {
        "model": ask.model,
        "stream": ask.stream,
        "input": _messages(ask, prompt),
        "max_output_tokens": MOST_TOKENS,
        **({"store": False} if ask.turn % 2 else {}),
        **({"tools": tools} if ask.tool else {}),
    }


def _gemini(ask: Ask, prompt: str) -> tuple[str, dict[str, Any]]:
    call = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
    declared = [{"name": "look", "description": ABOUT, "parameters": PARAMETERS}]
    roles = {"user": "user", "assistant": "model"}
    return f"/v1beta/models/{ask.model}:{call}", {
        "contents": [
            {"role": roles[message["role"]], "parts": [{"text": message["content"]}]}
            for message in _messages(ask, prompt)
        ],
        "generationConfig": {"maxOutputTokens": MOST_TOKENS},
        **({"tools": [{"functionDeclarations": declared}]} if ask.tool else {}),
    }


_BODIES = {"anthropic": _anthropic, "chat": _chat, "responses": _responses, "gemini": _gemini}
