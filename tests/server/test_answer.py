import asyncio
from typing import Any

import pytest
from starlette.types import Message

from engine import wire
from engine.core.errors import Fault
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol
from engine.server.answer import Answer, header_value

ANTHROPIC, OPENAI = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]


class Recorder:
    """What an ASGI server was told to send."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> Any:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("long-context", b"long-context"),
        ("two\r\nx-evil: 1", b"two  x-evil: 1"),
        ("naïve — 中", b"na?ve ? ?"),  # G99
        ("x" * 1000, b"x" * 300),
    ],
)
def test_a_header_value_is_one_short_line_of_ascii(text: str, value: bytes) -> None:
    assert header_value(text) == value


@pytest.mark.parametrize("protocol", [ANTHROPIC, OPENAI], ids=lambda protocol: protocol.name)
def test_a_fault_before_anything_is_an_http_error_in_the_clients_protocol(protocol: Protocol) -> None:
    recorder = Recorder()
    answer = Answer(recorder.send, protocol)
    asyncio.run(answer.fail(Fault("rate_limit", "slow down", retry_after_seconds=6.6)))
    assert recorder.status == 429
    assert recorder.headers[b"retry-after"] == b"7"
    assert wire.loads(recorder.body)["error"]["message"] == "slow down"
    assert recorder.messages[-1]["more_body"] is False


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Fault("rate_limit", "slow down"), b"5"),  # Codex gives up after a 429 without it
        (Fault("overloaded", "too much", 503), b"5"),
        (Fault("overloaded", "too much"), b"5"),
        (Fault("overloaded", "too much", retry_after_seconds=0.2), b"1"),
        (Fault("rate_limit", "slow down", retry_after_seconds=1e9), b"86400"),
        (Fault("server_error", "broken"), None),
        (Fault("invalid_request", "no"), None),
    ],
)
def test_who_may_ask_again_is_told_when(fault: Fault, seconds: bytes | None) -> None:
    recorder = Recorder()
    asyncio.run(Answer(recorder.send, OPENAI).fail(fault))
    assert recorder.headers.get(b"retry-after") == seconds


@pytest.mark.parametrize("protocol", [ANTHROPIC, OPENAI], ids=lambda protocol: protocol.name)
def test_a_fault_in_a_stream_that_has_begun_is_its_last_event(protocol: Protocol) -> None:
    async def run() -> Recorder:
        recorder = Recorder()
        answer = Answer(recorder.send, protocol)
        await answer.start_stream(keep_alive_seconds=10)
        await answer.fail(Fault("overloaded", "too much"))
        return recorder

    recorder = asyncio.run(run())
    assert recorder.status == 200
    assert b"too much" in recorder.body
    assert recorder.body.endswith(b"\n\n")
    assert recorder.messages[-1]["more_body"] is False


def test_what_the_vendor_said_of_its_own_protocol_is_passed_on_verbatim() -> None:
    recorder = Recorder()
    asyncio.run(Answer(recorder.send, OPENAI).fail(Fault("invalid_request", "no"), b'{"error": {"odd": 1}}'))
    assert recorder.status == 400
    assert recorder.body == b'{"error": {"odd": 1}}'


async def quiet_stream(protocol: Protocol, *pieces: bytes) -> bytes:
    recorder = Recorder()
    answer = Answer(recorder.send, protocol)
    await answer.start_stream(keep_alive_seconds=0.02)
    for piece in pieces:
        await answer.write(piece)
    await asyncio.sleep(0.1)
    await answer.end()
    answer.release()
    return recorder.body


def test_a_silent_stream_is_kept_alive() -> None:
    # G6
    assert asyncio.run(quiet_stream(ANTHROPIC)).count(ANTHROPIC.keep_alive) >= 2


def test_a_keep_alive_never_lands_inside_a_frame() -> None:
    body = asyncio.run(quiet_stream(ANTHROPIC, b"event: ping\ndata: {", b'"type": "pi'))
    assert body == b'event: ping\ndata: {"type": "pi'


def test_keep_alives_do_not_pile_up_before_a_client_that_does_not_read() -> None:
    sent: list[Message] = []
    reading = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await reading.wait()
        sent.append(message)

    async def play() -> None:
        answer = Answer(send, ANTHROPIC)
        await answer.start_stream(0.01)
        await asyncio.sleep(0.1)
        reading.set()
        await answer.end()

    asyncio.run(play())
    assert len(sent) <= 3


def test_a_stream_starts_once_and_not_after_an_error() -> None:
    recorder = Recorder()

    async def play() -> None:
        answer = Answer(recorder.send, ANTHROPIC)
        await answer.fail(Fault("overloaded", "full"))
        await answer.start_stream(1)

    asyncio.run(play())
    assert [message["type"] for message in recorder.messages] == ["http.response.start", "http.response.body"]
