import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message, Scope

from engine.core.errors import RequestError
from engine.protocols import PROTOCOLS
from engine.server.answer import Answer
from engine.server.receiving import GoneError, Watcher, header_map, read_body
from engine.settings import DEFAULTS


class Client:
    """What a client sends, one message at a time; after the last it stays silent."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = list(messages)

    async def receive(self) -> Message:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def pieces(*bodies: bytes) -> list[Message]:
    return [
        {"type": "http.request", "body": body, "more_body": index < len(bodies) - 1}
        for index, body in enumerate(bodies)
    ]


def test_header_names_are_lower_case_and_a_header_sent_twice_is_a_list() -> None:
    scope: Scope = {"headers": [(b"X-Weave-Task", b"plan"), (b"x-weave-task", b"chat")]}
    assert header_map(scope) == {"x-weave-task": "plan, chat"}


async def read(messages: Sequence[Message], most: int = 100, declared: str = "") -> bytes:
    settings = replace(DEFAULTS, max_body_bytes=most)
    return await read_body(
        Client(messages).receive, {"content-length": declared} if declared else {}, settings
    )


def test_a_body_in_pieces_is_put_together() -> None:
    assert asyncio.run(read(pieces(b"ab", b"", b"c"))) == b"abc"


def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(RequestError, match="larger than 100 bytes") as caught:
        asyncio.run(read([], declared="101"))
    assert caught.value.fault.http_status == 413


def test_a_body_that_grows_too_large_is_refused_at_once() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x" * 60, "more_body": True}] * 2
    with pytest.raises(RequestError, match="larger than 100 bytes"):
        asyncio.run(read(messages))


def test_a_client_that_leaves_while_sending_is_noticed() -> None:
    with pytest.raises(GoneError):
        asyncio.run(read([{"type": "http.disconnect"}]))


async def serve_while(messages: Sequence[Message], ended: bool) -> bool:
    """Whether the work was given up."""

    async def send(_: Any) -> None: ...

    answer = Answer(send, PROTOCOLS["openai-chat"])
    answer.ended = ended
    watcher = Watcher(Client(messages).receive, answer)
    try:
        await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        assert watcher.gone
        return True
    finally:
        watcher.stop()
    return False


def test_a_client_that_leaves_ends_the_work_for_it() -> None:
    # G80
    assert asyncio.run(serve_while([{"type": "http.disconnect"}], ended=False))


def test_a_client_that_leaves_after_its_answer_ends_nothing() -> None:
    assert not asyncio.run(serve_while([{"type": "http.disconnect"}], ended=True))
