"""What comes from a client, over ASGI: headers, a bounded body, and the moment it leaves."""

import asyncio
from collections.abc import Mapping

from starlette.types import Receive, Scope

from engine.core.errors import RequestError
from engine.server.answer import Answer


class GoneError(Exception):
    """The client hung up before its request was complete."""


def header_map(scope: Scope) -> dict[str, str]:
    """Lower-case names; of a header sent twice the last counts."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(receive: Receive, headers: Mapping[str, str], most: int) -> bytes:
    """The whole body. Raises RequestError when it is larger than `most` bytes, as soon as that is certain; GoneError
    when the client leaves."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    message = await receive()
    pieces: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise GoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        message = await receive()


def _too_large(most: int) -> RequestError:
    return RequestError(
        f"the request is larger than {most} bytes, the most this engine takes (WEAVE_MAX_BODY_BYTES)",
        "request_too_large",
    )


class Watcher:
    """Cancels the task that made it as soon as the client leaves before its answer is complete."""

    def __init__(self, receive: Receive, answer: Answer) -> None:
        self.gone = False
        self._serving = asyncio.current_task()
        self._task = asyncio.ensure_future(self._watch(receive, answer))

    def stop(self) -> None:
        self._task.cancel()

    async def _watch(self, receive: Receive, answer: Answer) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not answer.ended and self._serving is not None:
            self.gone = True
            self._serving.cancel()
