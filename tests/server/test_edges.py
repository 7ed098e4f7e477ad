"""What holds at the edges of a request: what a provider's answer may bring along, what an attempt leaves for the next
one, whose fault is whose, and what waits for nobody."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from engine.server.routes import routes

# All that a client may see of how an answer came about.
ANSWER_HEADERS = {
    "content-type",
    "content-length",
    "date",
    "cache-control",
    "transfer-encoding",
    "retry-after",
    "connection",
    "x-accel-buffering",
}


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


@pytest.mark.parametrize("stream", [False, True])
def test_no_header_of_a_provider_reaches_the_client(house: Any, stream: bool) -> None:
    # G97: an allowlist, not a denylist; G14: and so no length of another body
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("[[sim: text=hello]]", stream)
            told = {name for name in reply.headers if not name.startswith("x-weave-")}
            assert told <= ANSWER_HEADERS
            assert ("content-length" in told) != stream

    run(play())


def test_nothing_compresses_a_stream_on_its_way(house: Any) -> None:
    # G15: a compressor would hold events back until its buffer is full
    async def play() -> None:
        async with house() as it:
            assert routes(it.engine).user_middleware == []
            headers = {"accept-encoding": "gzip, br, deflate"}
            reply = await it.ask("[[sim: words=500]]", stream=True, headers=headers)
            assert "content-encoding" not in reply.headers

    run(play())


def test_each_attempt_begins_with_the_request_as_it_came(house: Any) -> None:
    # G72: what the first provider was sent leaves no trace in what the second one is
    tool = {"name": "look", "description": "look", "input_schema": {"type": "object", "properties": {}}}
    fields: dict[str, Any] = {
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "tools": [tool],
        "stop_sequences": ["END"],
        "temperature": 0.3,
    }

    async def play() -> None:
        async with house() as it:
            direct = {"x-weave-model": "gpt"}
            await it.ask("hello", True, headers=direct, **fields)
            alone = json.loads(it.simulator.received[-1].body)
            it.simulator.fail(model="opus", status=529)
            # forced, because a learner now and then tries another model
            reply = await it.ask("hello", True, headers={"x-weave-model": "opus"}, **fields)
            assert reply.headers["x-weave-model"] == "gpt"
            assert len(it.simulator.received) == 4
            assert json.loads(it.simulator.received[-1].body) == alone

    run(play())


def test_what_the_engine_refuses_itself_counts_against_nobody(house: Any) -> None:
    # G71: the engine's own errors are told once, in the client's protocol, and are no provider's
    async def play() -> None:
        async with house() as it:
            for _ in range(20):
                reply = await it.ask("hello", model="no-such-model")
                assert reply.status_code == 404
                assert reply.json()["error"]["type"] == "not_found_error"
            assert (await it.client.get("/ready")).json()["unwell"] == []
            assert (await it.ask("[[sim: text=hello]]")).status_code == 200
            assert len(it.simulator.received) == 1

    run(play())


def test_a_stream_the_client_left_teaches_no_learner_and_still_counts_as_a_try(house: Any) -> None:
    # G83: exploration goes on; no reward is made up
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(kind="stall", seconds=30, after=3)
            asked = {"role": "user", "content": "[[sim: words=300]]"}
            tool = {"name": "Edit", "description": "edit", "input_schema": {"type": "object"}}
            body = {
                "model": "claude-opus-4-5",
                "max_tokens": 500,
                "messages": [asked],
                "stream": True,
                "tools": [tool],
            }
            async with it.client.stream("POST", "/v1/messages", json=body) as reply:
                async for _ in reply.aiter_bytes():
                    break
            name = reply.headers["x-weave-decision"]
            async with asyncio.timeout(5):
                while (result := await it.engine.journal.result(name)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            decision = await it.engine.journal.decision(name)
            assert result.client_gone
            assert decision.learner == "tier-picker"
            assert 0 < decision.propensity <= 1
            assert await it.engine.journal.lessons() == []

    run(play())


def test_a_whole_answer_may_take_longer_than_a_stream_s_first_content(house: Any) -> None:
    # W51: nothing is heard of a whole answer until it is finished
    async def play() -> None:
        async with house(first_content_seconds=0.2, stall_seconds=0.2, hold_seconds=0.1) as it:
            it.simulator.fail(kind="slow_headers", seconds=0.8)
            for answer in (await it.ask("[[sim: text=hello]]"), await responses(it)):
                assert answer.status_code == 200, answer.text
                assert "hello" in answer.text

    run(play())


async def responses(it: Any) -> httpx.Response:
    reply: httpx.Response = await it.client.post(
        "/v1/responses", json={"model": "gpt-5.4", "input": "[[sim: text=hello]]"}
    )
    return reply


def test_providers_that_are_not_there_hold_up_neither_start_nor_reload(house: Any) -> None:
    # G102: nobody is asked for a list of models; who cannot be reached stays in the catalog
    async def play() -> None:
        async with house() as it:
            await it.simulator.stop()
            edited = it.policy.read_text().replace("deadline: 90s", "deadline: 80s")
            before = it.engine.policies.snapshot.fingerprint
            it.policy.write_text(edited)
            async with asyncio.timeout(5):
                while it.engine.policies.snapshot.fingerprint == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            listed = (await it.client.get("/v1/models")).json()["data"]
            assert {"opus", "gpt", "haiku"} <= {model["id"] for model in listed}

    run(play())
