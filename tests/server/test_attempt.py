"""One call of one provider: what it is sent, what may still be thrown away, how long it is waited for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.server.hostile.acting import KEY, STREAM, Provider, run, sse
from tests.server.hostile.conftest import CATALOG, opened

FAULT = {"type": "error", "error": {"type": "overloaded_error", "message": f"busy; your key is {KEY}"}}
PING = sse([{"type": "ping"}])


def plays(script: list[bytes | float]) -> Provider:
    """A provider that sends a stream piece by piece, with pauses between."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for step in script:
            await writer.drain()
            if isinstance(step, bytes):
                writer.write(step)
            else:
                await asyncio.sleep(step)

    return answer


def test_a_vendor_s_word_about_its_own_protocol_is_passed_on_unchanged(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            it.simulator.fail("anthropic", status=400, message="messages.0: odd")
            reply = await it.ask("hello")
            assert reply.status_code == 400
            assert reply.json()["error"]["message"] == "messages.0: odd"
            assert len(it.simulator.received) == 1

    run(play())


def test_credentials_of_the_client_do_not_reach_a_provider(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            headers = {
                "x-api-key": "client-secret",
                "authorization": "Bearer client-secret",
                "cookie": "a=b",
                "x-secret": "c",
            }
            await it.ask("hello", headers=headers)
            sent = {name.lower(): value for name, value in dict(it.simulator.received[0].headers).items()}
            assert "client-secret" not in str(sent)
            assert "cookie" not in sent
            assert "x-secret" not in sent
            assert "x-weave-session" not in sent

    run(play())


def pinging(seconds: float) -> list[bytes | float]:
    return [PING, 0.1] * round(seconds * 10)


SAID, UNSAID = sse(STREAM[:3]), sse(STREAM[:2])
WATCHED: dict[str, tuple[list[bytes | float], int, str]] = {
    "keep-alives of nobody": ([b": processing\n\n", *pinging(3)], 504, "no content for 0.5 seconds"),
    "begun and silent": ([sse(STREAM[:1]), *pinging(4)], 504, "said nothing for 1.5 seconds"),
    "silent thought is spared": ([sse(STREAM[:1]), *pinging(1.0), sse(STREAM[1:])], 200, "message_stop"),
    "words and pings": ([SAID, *pinging(4)], 200, "no content for 0.8 seconds"),
    "slow words": (
        [SAID, 0.4, sse(STREAM[2:3]), 0.4, sse(STREAM[2:3]), 0.4, sse(STREAM[3:])],
        200,
        "message_stop",
    ),
}


@pytest.mark.parametrize(("script", "status", "end"), WATCHED.values(), ids=WATCHED)
def test_a_stream_is_watched_by_its_content(
    tmp_path: Path, script: list[bytes | float], status: int, end: str
) -> None:
    # W50
    async def play() -> None:
        provider = plays(script)
        async with opened(
            tmp_path, provider, first_content_seconds=0.5, thinking_seconds=1.5, stall_seconds=0.8
        ) as it:
            reply = await it.ask(stream=True)
            assert reply.status_code == status
            assert end in reply.text.splitlines()[-2 if status == 200 else -1]

    run(play())


HIDDEN = [b": processing\n\n", *pinging(0.9), sse(STREAM)]


@pytest.mark.parametrize(
    ("thinking", "can", "status"),
    [
        ({"type": "adaptive"}, True, 200),
        ({"type": "disabled"}, True, 504),
        (None, True, 504),
        ({"type": "adaptive"}, False, 504),
    ],
)
def test_who_was_asked_to_think_may_do_so_without_a_sign(
    tmp_path: Path, thinking: dict[str, str] | None, can: bool, status: int
) -> None:
    # W50
    async def play() -> None:
        catalog = CATALOG.replace("vision]", "vision, thinking]") if can else CATALOG
        asked: dict[str, Any] = {"thinking": thinking} if thinking else {}
        async with opened(
            tmp_path, plays(HIDDEN), catalog=catalog, first_content_seconds=0.4, thinking_seconds=5
        ) as it:
            assert (await it.ask(stream=True, **asked)).status_code == status

    run(play())


def test_an_error_in_one_piece_with_content_comes_before_anybody_saw_it(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path, plays([sse([*STREAM[:3], FAULT])])) as it:
            reply = await it.ask(stream=True)
            assert reply.status_code == 529
            assert "hello" not in reply.text

    run(play())


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("first", [UNSAID, SAID], ids=["before content", "after content"])
def test_a_key_that_a_provider_repeats_stays_here(tmp_path: Path, chat: bool, first: bytes) -> None:
    async def play() -> None:
        frames = sse([FAULT])
        async with opened(tmp_path, plays([first, 0.1, frames[:70], 0.1, frames[70:]])) as it:
            reply = await it.ask(stream=True, chat=chat)
            assert "your key is ***" in reply.text
            assert KEY not in reply.text
            assert KEY not in str(await it.lines("result"))

    run(play())


def test_blanks_are_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # W50: DeepSeek sends empty lines for as long as a call waits its turn
    monkeypatch.setattr("engine.server.attempt.WHOLE_READ_SECONDS", 0.5)

    async def blanks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        for _line in range(40):
            writer.write(b"\n")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def play() -> None:
        async with opened(tmp_path, blanks) as it:
            assert (await it.ask()).status_code == 504

    run(play())
