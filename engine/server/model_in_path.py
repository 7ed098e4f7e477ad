"""Gemini's paths say which model is asked and what is wanted of it: `models/NAME:generateContent`.

A stream comes as server-sent events where the query asks for them (`alt=sse`, as every SDK does); otherwise as
one JSON list that grows by an object at a time.
"""

from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.types import Message, Receive, Scope, Send

from engine.core.errors import RequestError
from engine.protocols.shape import Protocol
from engine.protocols.sse import Frames
from engine.server.answer import Answer
from engine.server.counting import CountTokens
from engine.server.engine import Engine
from engine.server.relay import Relay


class ModelInPath:
    """ASGI, behind a route whose parameter `call` is what follows `models/`."""

    def __init__(self, engine: Engine, protocol: Protocol) -> None:
        self._engine = engine
        self._protocol = protocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        model, _, wanted = scope["path_params"]["call"].rpartition(":")
        match wanted:
            case "generateContent":
                told: Mapping[str, object] = {"model": model, "stream": False}
                await Relay(self._engine, self._protocol, told)(scope, receive, send)
            case "streamGenerateContent":
                told = {"model": model, "stream": True}
                query = parse_qs(scope["query_string"].decode("latin-1"))
                out = send if query.get("alt") == ["sse"] else InOneList(send)
                await Relay(self._engine, self._protocol, told)(scope, receive, out)
            case "countTokens":
                told = {"model": model, "stream": False}
                await CountTokens(self._engine, self._protocol, told)(scope, receive, send)
            case _:
                path = scope["path"]
                error = RequestError(f"POST {path} is not something this engine answers", "not_found")
                await Answer(send, self._protocol).fail(error.fault)


class InOneList:
    """Hands an answer on, its stream of events rewritten as one JSON list. Whole answers pass as they are."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._frames: Frames | None = None
        self._before = b"["

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(self._begun(message))
            return
        if self._frames is None:
            await self._send(message)
            return
        body = self._listed(message.get("body", b""), last=not message.get("more_body", False))
        if body:
            await self._send({**message, "body": body})

    def _begun(self, message: Message) -> Message:
        headers = [(name, value) for name, value in message["headers"] if name != b"content-type"]
        kind = dict(message["headers"]).get(b"content-type", b"")
        if not kind.startswith(b"text/event-stream"):
            return message
        self._frames = Frames()
        return {**message, "headers": [(b"content-type", b"application/json; charset=utf-8"), *headers]}

    def _listed(self, piece: bytes, *, last: bool) -> bytes:
        assert self._frames is not None
        frames = self._frames.feed(piece) + (self._frames.close() if last else [])
        written = b""
        for _, data in frames:
            written += self._before + data
            self._before = b",\r\n"
        if not last:
            return written
        return written + (b"[]" if self._before == b"[" else b"]")
