"""What comes from a client, over ASGI: headers, a bounded body, and the moment it leaves."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.types import Receive, Scope

from engine.core.errors import Fault, RequestError, WeaveError
from engine.server.answer import Answer
from engine.settings import Settings

LARGE_BODY_BYTES = 512 * 1024

# What a client has to send of its body in each second beyond the time that every body has.
BYTES_PER_SECOND = 4096

T = TypeVar("T")


class GoneError(Exception):
    """The client hung up before its request was complete."""


def header_map(scope: Scope) -> dict[str, str]:
    """Lower-case names; a header sent twice is one list, as RFC 9110 section 5.3 has it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(receive: Receive, headers: Mapping[str, str], settings: Settings) -> bytes:
    """The whole body. Raises RequestError when it is larger than the settings allow, as soon as that is certain, or
    comes so slowly that its sender seems to want nothing but the connection; GoneError when the client leaves.

    A body that is packed is refused, never unpacked: a few bytes could become gigabytes."""
    most = settings.max_body_bytes
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RequestError(
            f"content-encoding {encoding[:40]!r} is not taken here; send the body as plain JSON"
        )
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    began = asyncio.get_running_loop().time()
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(began + settings.body_seconds) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                piece = message.get("body", b"")
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                pieces.append(piece)
                if not message.get("more_body", False):
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                patience.reschedule(began + settings.body_seconds + size / BYTES_PER_SECOND)
    except TimeoutError:
        raise _too_slow(settings.body_seconds) from None


def _too_slow(seconds: float) -> WeaveError:
    message = (
        f"the body of this request came too slowly: it has {seconds:g} seconds (WEAVE_BODY_TIMEOUT) and one more for"
        f" each {BYTES_PER_SECOND} bytes"
    )
    return WeaveError(Fault("timeout", message, 408, "client"))


def _too_large(most: int) -> RequestError:
    return RequestError(
        f"the request is larger than {most} bytes, the most this engine takes (WEAVE_MAX_BODY_BYTES)",
        "request_too_large",
    )


async def aside(raw: bytes, work: Callable[..., T], *arguments: object) -> T:
    """Pure work on a request: where its body is large, in a thread, so that other requests need not wait for it.

    A body of a hundred thousand small messages takes a second to understand, and another to translate."""
    if len(raw) < LARGE_BODY_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)


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
