"""Providers that lie: none of it may end in a bug of ours, a leaked key or an answer outside the client's protocol."""

import asyncio
import gzip
from typing import Any

import pytest

from tests.server.hostile.acting import KEY, REPLY, Opening, Provider, dumped, run, says, sse

BROKEN: dict[str, Provider] = {
    "a list": says(b"[1]"),
    "null": says(b"null"),
    "nothing": says(b""),
    "a page": says(b"<html>hi</html>", kind=b"text/html"),
    "invalid UTF-8": says(dumped(REPLY).replace(b"hello", b"\xff\xfe")),
    "a redirect": says(dumped(REPLY), b"location: http://127.0.0.1:1/", status=b"302 Found"),
    "a status that does not exist": says(b"{}", status=b"999 Odd"),
    "a header of 200 KB": says(dumped(REPLY), b"x-large: " + b"a" * 200_000),
    "2000 headers": says(dumped(REPLY), *(b"x-%d: a" % number for number in range(2000))),
    "two lengths": says(dumped(REPLY), b"content-length: 5"),
    "no gzip though it says so": says(dumped(REPLY), b"content-encoding: gzip"),
    "a bomb": says(gzip.compress(b" " * 100_000_000), b"content-encoding: gzip"),
    "a broken chunk": says(b"ZZZ\r\nfoo", b"transfer-encoding: chunked"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_provider_that_answers_nonsense_is_its_own_fault_and_no_bug_of_ours(
    scene: Opening, name: str
) -> None:
    async def play() -> None:
        async with scene(BROKEN[name]) as it:
            for stream in (False, True):
                reply = await it.ask(stream)
                # An address that hung up once is left alone for a moment, which is told at once.
                assert reply.status_code in ((502, 503) if stream else (502,)), reply.text
                assert reply.json()["type"] == "error"
                assert "engine made a mistake" not in reply.text
            assert (await it.ask(stream=True, chat=True)).json()["error"]["message"]
            assert not await it.lines("bug")
            assert KEY not in it.log.getvalue()

    run(play())


def test_bytes_that_are_no_http_are_a_connection_fault(scene: Opening) -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01garbage\r\n\r\n")

    async def play() -> None:
        async with scene(garbage) as it:
            assert (await it.ask()).status_code == 502
            assert not await it.lines("bug")
            assert KEY not in it.log.getvalue()

    run(play())


def test_a_key_with_a_line_break_is_refused_and_not_shown(scene: Opening) -> None:
    async def play() -> None:
        async with scene(says(dumped(REPLY)), key=KEY + "\n") as it:
            reply = await it.ask()
            assert reply.status_code == 502, reply.text
            assert not await it.lines("bug")
            assert KEY not in it.log.getvalue() + reply.text

    run(play())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (b"400 Bad", {"type": "error", "error": {"type": "invalid_request_error", "message": f"odd: {KEY}"}}),
        (b"401 No", {"type": "error", "error": {"type": "authentication_error", "message": f"bad {KEY}"}}),
        (b"500 Oops", {"error": f"with {KEY}"}),
    ],
)
def test_a_provider_that_repeats_the_key_does_not_tell_it_to_anyone(
    scene: Opening, status: bytes, body: Any
) -> None:
    async def play() -> None:
        async with scene(says(dumped(body), status=status)) as it:
            for chat in (False, True):
                reply = await it.ask(chat=chat)
                assert reply.status_code == int(status[:3])
                assert KEY not in reply.text
            await it.engine.journal.flush()
            assert await it.lines("result")
            assert KEY not in it.log.getvalue()
            written = b"".join(path.read_bytes() for path in it.journal.parent.glob("weave.db*"))
            assert KEY.encode() not in written

    run(play())


def test_a_key_repeated_in_a_stream_s_first_event_is_not_told_either(scene: Opening) -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": f"key {KEY}"}}

    async def play() -> None:
        async with scene(says(sse([error]), kind=b"text/event-stream")) as it:
            reply = await it.ask(stream=True)
            assert reply.status_code == 500
            assert await it.lines("result")
            assert KEY not in reply.text + it.log.getvalue()

    run(play())


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b"<html><title>400 Bad</title></html>"), (413, b"<html>413</html>"), (400, b"")],
)
def test_what_is_no_word_of_the_protocol_is_not_passed_on_as_one(
    scene: Opening, status: int, body: bytes
) -> None:
    async def play() -> None:
        async with scene(says(body, status=b"%d Bad" % status, kind=b"text/html")) as it:
            reply = await it.ask()
            assert reply.status_code == status
            assert reply.json()["error"]["message"]

    run(play())


@pytest.mark.parametrize("value", [b"1e308", b"nan", b"-5", b"soon"])
def test_a_senseless_retry_after_is_not_repeated(scene: Opening, value: bytes) -> None:
    async def play() -> None:
        async with scene(says(b"{}", b"retry-after: " + value, status=b"429 Slow")) as it:
            reply = await it.ask()
            assert reply.status_code == 429
            assert len(reply.headers.get("retry-after", "")) < 8

    run(play())
