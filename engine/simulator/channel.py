"""What is sent back and what is remembered of it: one request's record, and the channel its answer leaves
by."""

import json
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from engine.simulator.dice import roll
from engine.simulator.prompt import Answer

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


@dataclass(slots=True)
class Received:
    """One request as it came and what became of it. Changes while it is answered.

    `sent` counts bytes of the reply's body; `done` says all of it was handed over; `client_gone` that the client
    left before that; `trouble` names what went wrong on purpose; `answer` is what the model had to say, once asked.
    """

    number: int
    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    json: Mapping[str, Any] = field(default_factory=dict)
    provider: str = ""
    model: str = ""
    status: int = 0
    sent: int = 0
    done: bool = False
    client_gone: bool = False
    trouble: str = ""
    answer: Answer | None = None

    def summary(self) -> dict[str, Any]:
        """All but the body, for the control endpoint."""
        names = (
            "number",
            "method",
            "path",
            "provider",
            "model",
            "status",
            "sent",
            "done",
            "client_gone",
            "trouble",
        )
        return {name: getattr(self, name) for name in names} | {"body_bytes": len(self.body)}


class HungUp(Exception):  # noqa: N818  # nothing failed; the provider ended the connection as it was told to
    """The answer ends here because the connection was broken on purpose."""


class Channel:
    """Sends one reply. With `bites` the body leaves in pieces of random size, whatever its events are."""

    def __init__(
        self, send: Send, record: Received, hang_up: Callable[[], None], bites: bool, seed: int
    ) -> None:
        self._send = send
        self._record = record
        self._hang_up = hang_up
        self._bites = bites
        self._seed = seed
        self._held = bytearray()
        self._rolls = 0
        self._packer: zlib._Compress | None = None

    async def start(self, status: int, headers: Mapping[str, str], gzip: bool = False) -> None:
        self._record.status = status
        if gzip:
            self._packer = zlib.compressobj(wbits=31)
            headers = {**headers, "content-encoding": "gzip"}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes) -> None:
        if self._packer is not None:
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if not self._bites:
            await self._emit(data)
            return
        self._held += data
        while len(self._held) >= (size := self._bite()):
            piece = bytes(self._held[:size])
            del self._held[:size]
            await self._emit(piece)

    async def send_json(
        self, status: int, value: Any, headers: Mapping[str, str] | None = None, gzip: bool = False
    ) -> None:
        """A whole reply of JSON."""
        body = json.dumps(value).encode()
        await self.send_body(status, body, {"content-type": "application/json", **(headers or {})}, gzip)

    async def send_body(
        self, status: int, body: bytes, headers: Mapping[str, str], gzip: bool = False
    ) -> None:
        """A whole reply. It is done once its length is there, whatever is still to be said of its end."""
        length = {} if gzip else {"content-length": str(len(body))}
        await self.start(status, {**headers, **length}, gzip)
        self._record.done = True
        await self.write(body)
        await self.end()

    async def flush(self) -> None:
        """Let go of what the last bite left over, before a silence."""
        if self._held:
            piece = bytes(self._held)
            self._held.clear()
            await self._emit(piece)

    async def end(self) -> None:
        await self.flush()
        self._record.done = True
        rest = self._packer.flush() if self._packer is not None else b""
        await self._send({"type": "http.response.body", "body": rest, "more_body": False})

    async def hang_up(self) -> None:
        """Break the connection without an ending. Raises HungUp."""
        await self.flush()
        self._record.done = True
        self._hang_up()
        raise HungUp

    def _bite(self) -> int:
        self._rolls += 1
        return 1 + int(roll(self._seed, self._record.number, self._rolls) ** 3 * 90)

    async def _emit(self, data: bytes) -> None:
        self._record.sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
