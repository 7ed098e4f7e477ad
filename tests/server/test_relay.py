"""One request all the way over sockets: served, failed over, broken off, and what is written down of it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from engine.core.decision import Decision, Result
from engine.server.attempt import Dispatch


async def told(house: Any, reply: httpx.Response) -> tuple[Decision, Result]:
    name = reply.headers["x-weave-decision"]
    async with asyncio.timeout(5):
        while (result := await house.engine.journal.result(name)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    decision = await house.engine.journal.decision(name)
    assert decision is not None
    return decision, result


def events(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(line[5:])
        for line in text.splitlines()
        if line.startswith("data:") and "[DONE]" not in line
    ]


async def logged(house: Any, event: str, least: int = 1) -> list[dict[str, Any]]:
    """The lines of one event, once there are so many."""
    async with asyncio.timeout(5):
        while True:
            lines = [json.loads(line) for line in house.log.getvalue().splitlines()]
            found = [line for line in lines if line["event"] == event]
            if len(found) >= least:
                return found
            await asyncio.sleep(0.02)


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_served_and_says_what_was_decided(house: Any, stream: bool) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("[[sim: text=hello there]]", stream)
            assert reply.status_code == 200, reply.text
            assert "hello" in reply.text
            assert reply.headers["x-weave-model"] == "opus"
            assert reply.headers["x-weave-rule"] == "default"
            assert reply.headers["x-weave-reason"]
            decision, result = await told(it, reply)
            assert (decision.model, result.model, result.status) == ("opus", "opus", 200)
            assert result.usage.output_tokens > 0
            assert result.cost_usd > 0
            assert result.stop == "end_turn"
            assert result.first_content_seconds is not None
            assert result.seconds >= result.first_content_seconds

    run(play())


@pytest.mark.parametrize("stream", [False, True])
def test_an_overloaded_provider_is_replaced_before_the_client_sees_anything(house: Any, stream: bool) -> None:
    # G68, G69, G78: the same for whole and streamed replies, because a provider is called before the client is answered
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(model="opus", status=529)
            reply = await it.ask("[[sim: text=still here]]", stream)
            assert reply.status_code == 200, reply.text
            assert "still" in reply.text
            assert reply.headers["x-weave-model"] == "gpt"
            decision, result = await told(it, reply)
            assert decision.model == "opus"
            assert (result.model, result.attempts) == ("gpt", 3)
            *failed, served = await it.engine.journal.attempts(decision.id)
            assert {attempt.endpoint for attempt in failed} == {"anthropic", "openrouter"}
            assert [attempt.fault and attempt.fault.kind for attempt in failed] == [
                "overloaded",
                "overloaded",
            ]
            assert served.fault is None

    run(play())


@pytest.mark.parametrize("kind", ["first_event_error", "drop", "html", "empty", "malformed"])
def test_a_stream_that_fails_before_content_is_replaced(house: Any, kind: str) -> None:
    # G67, W46: message_start and pings are no content
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(model="opus", kind=kind, status=502, after=0)
            reply = await it.ask("[[sim: text=still here]]", stream=True)
            assert reply.headers["x-weave-model"] == "gpt", reply.text
            kinds = [event["type"] for event in events(reply.text)]
            assert kinds.count("message_start") == 1
            assert kinds[-1] == "message_stop"

    run(play())


@pytest.mark.parametrize("kind", ["error", "cut", "unended"])
def test_a_stream_that_fails_after_content_ends_in_an_error_of_its_protocol(house: Any, kind: str) -> None:
    # W47: an end without an end is an error, never a success
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(kind=kind, after=2, seconds=0.2)
            reply = await it.ask("[[sim: text=one two three four five six seven eight]]", stream=True)
            last = events(reply.text)[-1]
            assert last["type"] == "error", reply.text
            assert last["error"]["message"]
            _, result = await told(it, reply)
            assert result.fault is not None
            assert result.attempts == 1
            chat = await it.chat("[[sim: text=one two three four five six seven eight]]", stream=True)
            assert "error" in events(chat.text)[-1], chat.text

    run(play())


def test_when_everybody_fails_the_client_is_told_by_its_own_protocol_and_when_to_come_back(
    house: Any,
) -> None:
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(status=429, retry_after=7)
            reply = await it.ask("hello")
            assert reply.status_code == 429
            assert reply.headers["retry-after"] == "7"
            assert reply.json()["error"]["type"] == "rate_limit_error"
            assert reply.headers["x-weave-decision"]
            _, result = await told(it, reply)
            assert result.fault is not None
            assert (result.status, result.model, result.cost_usd) == (429, "", 0.0)

    run(play())


def test_a_silent_provider_is_given_up_for_another(house: Any) -> None:
    async def play() -> None:
        async with house(first_content_seconds=0.3) as it:
            it.simulator.fail(model="opus", kind="slow_headers", seconds=5)
            reply = await it.ask("[[sim: text=quick]]", stream=True)
            assert reply.headers["x-weave-model"] == "gpt"

    run(play())


def test_headers_wait_for_content_but_not_for_ever_and_another_model_may_still_take_over(house: Any) -> None:
    async def play() -> None:
        async with house(hold_seconds=0.1, stall_seconds=0.5, keep_alive_seconds=0.1) as it:
            it.simulator.fail(model="opus", kind="slow_first_token", seconds=5)
            body = {
                "model": "claude-opus-4-5",
                "max_tokens": 100,
                "stream": True,
                "messages": [{"role": "user", "content": "[[sim: text=late]]"}],
            }
            async with it.client.stream("POST", "/v1/messages", json=body) as reply:
                assert reply.status_code == 200
                assert reply.headers["x-weave-model"] == "opus"
                text = (await reply.aread()).decode()
            kinds = [event["type"] for event in events(text)]
            assert "ping" in kinds
            assert kinds.count("message_start") == 1
            assert kinds[-1] == "message_stop"

    run(play())


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_call_to_the_provider(house: Any, stream: bool) -> None:
    # G80
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(kind="slow_headers" if not stream else "stall", seconds=30, after=1)
            body = {
                "model": "claude-opus-4-5",
                "max_tokens": 100,
                "stream": stream,
                "messages": [{"role": "user", "content": "[[sim: text=one two three four]]"}],
            }
            with pytest.raises(httpx.ReadTimeout):
                await it.client.post("/v1/messages", json=body, timeout=0.4)
            async with asyncio.timeout(3):
                while not it.simulator.received[0].client_gone:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert len(it.simulator.received) == 1
            async with asyncio.timeout(3):
                while it.engine.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            (name,) = {line["decision"] for line in await logged(it, "result")}
            result = await it.engine.journal.result(name)
            assert result is not None
            assert result.client_gone
            (attempt,) = await it.engine.journal.attempts(name)
            assert attempt.abandoned

    run(play())


def test_a_mistake_of_ours_is_told_and_counted_once(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Dispatch) -> None:
        raise KeyError("x")

    monkeypatch.setattr(Dispatch, "deliver", broken)

    async def play() -> None:
        async with house() as it:
            reply = await it.ask("hello")
            assert reply.status_code == 500
            assert "made a mistake" in reply.json()["error"]["message"]
            _, result = await told(it, reply)
            assert result.fault is not None
            assert result.fault.kind == "server_error"
            counted = (await it.client.get("/metrics")).text.splitlines()
            requests = [line for line in counted if line.startswith("weave_requests_total{")]
            assert [line.rpartition(" ")[2] for line in requests] == ["1"]

    run(play())


def test_a_stream_the_client_left_is_not_free(house: Any) -> None:
    # G82
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(kind="stall", seconds=30, after=3)
            body = {
                "model": "claude-opus-4-5",
                "max_tokens": 100,
                "stream": True,
                "messages": [{"role": "user", "content": "[[sim: words=300]]"}],
            }
            async with it.client.stream("POST", "/v1/messages", json=body) as reply:
                async for _ in reply.aiter_bytes():
                    break
            _, result = await told(it, reply)
            assert result.client_gone
            assert result.usage.input_tokens > 0
            assert result.usage.estimated
            assert result.cost_usd > 0

    run(play())


def test_a_session_keeps_its_model(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            session = {"x-weave-session": "s1"}
            first = await it.ask(
                "hello", headers={**session, "x-weave-task": "plan"}, model="claude-haiku-4-5"
            )
            assert first.headers["x-weave-model"] == "opus"
            call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
            told = {"type": "tool_result", "tool_use_id": "t1", "content": "a.py"}
            loop = [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [told]},
            ]
            second = await it.ask("hello", headers=session, model="claude-haiku-4-5", messages=loop)
            assert second.headers["x-weave-model"] == "opus"
            assert second.headers["x-weave-rule"] == "planning-and-debugging"
            other = await it.ask("hello", headers={"x-weave-session": "s2"}, model="claude-haiku-4-5")
            assert other.headers["x-weave-model"] == "haiku"

    run(play())


def test_the_usage_chunk_only_the_engine_asked_for_does_not_reach_the_client(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.chat("[[sim: text=hello]]", stream=True)
            chunks = events(reply.text)
            assert all(chunk["choices"] for chunk in chunks)
            assert reply.text.rstrip().endswith("data: [DONE]")
            _, result = await told(it, reply)
            assert result.usage.output_tokens > 0
            assert not result.usage.estimated
            assert "stream_options" in result.edits
            asked = await it.chat("[[sim: text=hello]]", stream=True, stream_options={"include_usage": True})
            assert events(asked.text)[-1]["choices"] == []

    run(play())


def test_no_prompt_and_no_secret_reaches_the_log(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            await it.ask(
                "a secret plan [[sim: text=a secret answer]]", headers={"x-api-key": "client-secret"}
            )
            assert await logged(it, "decision")
            assert await logged(it, "result")
            assert "secret" not in it.log.getvalue()

    run(play())


@pytest.mark.parametrize("client", ["ask", "chat"])
def test_an_event_cut_short_in_mid_stream_ends_in_an_error_the_client_can_read(
    house: Any, client: str
) -> None:
    # G10: forwarded or translated, what reaches the client is JSON to its end
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(kind="malformed", after=2, seconds=0.2)
            send = it.ask if client == "ask" else it.chat
            reply = await send("[[sim: text=one two three four five six seven eight]]", stream=True)
            assert "error" in events(reply.text)[-1]

    run(play())


def test_a_model_that_keeps_failing_is_not_called_any_more_until_it_may_be_well_again(house: Any) -> None:
    # G77: an open breaker skips the call
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(model="opus", status=500)
            for number in range(24):
                reply = await it.ask("[[sim: text=still here]]", headers={"x-weave-session": f"s{number}"})
                assert reply.headers["x-weave-model"] == "gpt", reply.text
            decision, result = await told(it, reply)
            assert (decision.model, result.attempts) == ("opus", 1)
            unwell = (await it.client.get("/ready")).json()["unwell"]
            assert {(each["endpoint"], each["state"]) for each in unwell} == {
                ("anthropic", "open"),
                ("openrouter", "open"),
            }
            opened = await logged(it, "breaker", least=2)
            assert {line["endpoint"] for line in opened} == {"anthropic", "openrouter"}

    run(play())


def test_where_nothing_is_well_the_client_is_told_at_once_and_when_to_come_back(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(status=500)
            for number in range(40):
                reply = await it.ask("hello", headers={"x-weave-session": f"s{number}"})
            before = len(it.simulator.received)
            reply = await it.ask("hello", stream=True)
            assert len(it.simulator.received) == before
            assert reply.status_code == 503
            assert 1 <= int(reply.headers["retry-after"]) <= 20
            assert reply.json()["error"]["type"] == "overloaded_error"

    run(play())


def test_a_session_goes_on_where_it_was_served_though_its_first_endpoint_is_well_again(house: Any) -> None:
    async def play() -> None:
        async with house() as it:

            async def endpoint() -> str:
                reply = await it.ask("[[sim: text=hello]]", headers={"x-weave-session": "s"})
                _, result = await told(it, reply)
                return str(result.endpoint)

            first = await endpoint()
            other = {"anthropic": "openrouter", "openrouter": "anthropic"}[first]
            it.simulator.fail(provider=first, status=529, times=1)
            assert await endpoint() == other
            assert [await endpoint() for _ in range(5)] == [other] * 5

    run(play())
