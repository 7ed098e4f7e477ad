"""What was lost, as the journal and the header tell it."""

import asyncio
from typing import Any

import pytest

from engine.core.conversation import Loss
from engine.core.decision import Result
from engine.server.losses import HEADER, LONGEST_HEADER, MOST_LOSSES, header, recorded

PDF = {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}


def test_what_was_dropped_is_named_and_what_was_converted_is_not() -> None:
    request = [Loss("tools.2.strict", "no way"), Loss("max_tokens", "lowered", "converted")]
    assert header(request, [Loss("content.0.citations", "unknown")]) == [
        (HEADER, b"tools[2].strict, reply.content[0].citations")
    ]
    assert header(request[1:]) == []


def test_the_header_is_short_and_plain_whatever_the_client_called_its_fields() -> None:  # G99
    places = [Loss(f"é,\r\nx-evil: 1 {at}" + "y" * 90, "unknown") for at in range(500)]
    ((_, value),) = header(places)
    assert len(value) <= LONGEST_HEADER + 20
    assert value.endswith(b" more")
    assert value.count(b",") < 10
    assert value.decode("ascii").isprintable()


def test_the_journal_keeps_a_bounded_number_of_losses() -> None:
    many = [Loss(f"messages.{at}.content.0", "gone") for at in range(MOST_LOSSES + 5)]
    kept = recorded(many, [Loss("content.1", "gone")])
    assert len(kept) == MOST_LOSSES + 1
    assert kept[0].path == "messages[0].content[0]"
    assert kept[-1].why == "and 6 more"
    assert [loss.path for loss in recorded([], [Loss("content.1", "gone")])] == ["reply.content[1]"]


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


async def result_of(it: Any, name: str) -> Result:
    async with asyncio.timeout(5):
        while (result := await it.engine.journal.result(name)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    found: Result = result
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_is_told_what_its_request_lost_on_the_way(house: Any, stream: bool) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("hi", stream, model="gpt", top_k=7, max_tokens=999_999)
            assert reply.status_code == 200, reply.text
            assert reply.headers["x-weave-dropped"] == "top_k"
            result = await result_of(it, reply.headers["x-weave-decision"])
            assert {loss.path: loss.fate for loss in result.dropped} == {
                "top_k": "dropped",
                "max_tokens": "converted",
            }
            plain = await it.ask("hi", stream)
            assert "x-weave-dropped" not in plain.headers

    run(play())


def test_a_policy_that_lets_nothing_be_lost_asks_a_model_that_loses_nothing(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            strict = it.policy.read_text() + "\nlossy: {tuning: refuse}\n"
        async with house(strict) as it:
            kept = await it.ask("hi", model="gpt", top_k=7)
            assert (kept.status_code, kept.headers["x-weave-model"]) == (200, "opus")
            assert "x-weave-dropped" not in kept.headers
            here = await it.ask("hi", container="c", headers={"x-weave-private": "1"})
            assert here.status_code == 400
            assert here.json()["type"] == "error"
            assert (
                "local cannot carry container (only anthropic-messages knows it)"
                in here.json()["error"]["message"]
            )
            assert len(it.simulator.received) == 1

    run(play())


AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
ASKED = {"model": "haiku", "messages": [{"role": "user", "content": [AUDIO]}]}


def test_content_goes_to_a_model_that_can_be_given_it(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.client.post("/v1/chat/completions", json=ASKED)
            assert reply.status_code == 200, reply.text
            assert (
                reply.headers["x-weave-model"] != "haiku"
            )  # which was asked for, and could not have heard it
            assert "x-weave-dropped" not in reply.headers
            opus = await it.client.post("/v1/chat/completions", json={**ASKED, "model": "opus"})
            assert opus.headers["x-weave-model"] == "opus"  # where it is served by one who can be given it
            result = await result_of(it, opus.headers["x-weave-decision"])
            assert (result.model, result.endpoint) == ("opus", "openrouter")

    run(play())


def test_content_that_no_model_can_be_given_is_refused_in_the_clients_protocol(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            hosted = {"type": "document", "source": {"type": "file", "file_id": "f1"}}
            body = {"model": "gpt", "max_tokens": 99, "messages": [{"role": "user", "content": [hosted]}]}
            private = {"x-weave-private": "1"}
            reply = await it.client.post("/v1/messages", json=body, headers=private)
            assert reply.status_code == 400
            told = reply.json()
            assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
            assert "local" in told["error"]["message"]
            assert not it.simulator.received

    run(play())


def test_content_that_a_policy_lets_go_leaves_a_word_and_a_report(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            loose = it.policy.read_text() + "\nlossy: {content: report}\n"
        async with house(loose) as it:
            reply = await it.client.post("/v1/chat/completions", json=ASKED)
            assert (reply.status_code, reply.headers["x-weave-model"]) == (200, "haiku")
            assert reply.headers["x-weave-dropped"] == "messages[0].content[0]"
            (received,) = it.simulator.received
            assert "[content of the kind input_audio that could not be carried]" in received.body.decode()
            result = await result_of(it, reply.headers["x-weave-decision"])
            assert [(loss.path, loss.stake) for loss in result.dropped] == [
                ("messages[0].content[0]", "content")
            ]

    run(play())
