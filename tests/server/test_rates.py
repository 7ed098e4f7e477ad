"""Rate limits as clients of a running engine meet them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.core.identity import LOCAL, Identity
from engine.core.policy import RateLimit
from engine.routing.rates import Rates
from engine.server.keys import change, new_key
from engine.server.rates import Admission, _span, told


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def policy(limit: str) -> str:
    return f"""
apiVersion: weave/v1
kind: Policy
metadata: {{name: limited}}
input: input.v1
default: {{use: requested}}
rate_limits:
  - {limit}
"""


MESSAGE = {"role": "user", "content": "hello"}
ASKED: dict[str, tuple[str, dict[str, Any], Callable[[Any], str]]] = {
    "anthropic": (
        "/v1/messages",
        {"model": "opus", "max_tokens": 9, "messages": [MESSAGE]},
        lambda told: told["error"]["type"],
    ),
    "chat": (
        "/v1/chat/completions",
        {"model": "gpt", "messages": [MESSAGE]},
        lambda told: told["error"]["type"],
    ),
    "responses": ("/v1/responses", {"model": "gpt", "input": "hello"}, lambda told: told["error"]["type"]),
    "gemini": (
        "/v1beta/models/gpt:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        lambda told: told["error"]["status"],
    ),
}


@pytest.mark.parametrize(("path", "body", "words"), ASKED.values(), ids=ASKED)
def test_who_asks_too_fast_is_told_so_in_their_protocol_and_when_to_come_back(
    path: str, body: dict[str, Any], words: Callable[[Any], str], house: Any
) -> None:
    async def play() -> None:
        limit = "{name: slowly, per: identity.name, requests: 2, window: 1h}"
        async with house(policy(limit)) as it:
            for _ in range(2):
                assert (await it.client.post(path, json=body)).status_code == 200
            refused = await it.client.post(path, json=body)
            assert refused.status_code == 429
            assert 3_590 < int(refused.headers["retry-after"]) <= 3_720
            assert words(refused.json()) in ("rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED")
            assert "'slowly' is used up: 2 requests in 1h" in refused.text
            assert len(it.simulator.received) == 2
            ready = (await it.client.get("/ready")).json()
            assert ready["rate_limits"] == [
                {"name": "slowly", "per": "identity.name", "asking": 1, "fullest": 1.0}
            ]

    run(play())


def test_each_has_a_limit_of_their_own_whichever_of_their_keys_they_use(house: Any, tmp_path: Path) -> None:
    def key(name: str) -> dict[str, str]:
        text, kept = new_key(Identity(name, "core"), int(time.time()), None)
        change(tmp_path / "weave-keys.json", lambda keys: keys.with_key(kept))
        return {"x-weave-key": text}

    first, second, other = key("ann"), key("ann"), key("bob")

    async def play() -> None:
        async with house(policy("{name: slowly, per: identity.name, requests: 2, window: 1h}")) as it:
            asked = [
                (await it.ask("hello", headers=who)).status_code for who in (first, second, first, other)
            ]
            assert asked == [200, 200, 429, 200]

    run(play())


def test_tokens_count_as_the_provider_counted_them(house: Any) -> None:
    async def play() -> None:
        async with house(policy("{name: few, per: identity.name, tokens: 3000, window: 1h}")) as it:
            long = "word " * 2_500
            assert (await it.ask(long)).status_code == 200
            refused = await it.ask(long)
            assert refused.status_code == 429
            assert "3000 tokens in 1h" in refused.text
            taken = it.engine.rates.uses(it.engine.policies.snapshot.policy.rate_limits, time.monotonic())
            assert 2_000 < taken[0].tokens < 4_000
            assert taken[0].running == 0

    run(play())


def test_so_many_requests_run_at_a_time_and_one_that_ends_makes_room(house: Any) -> None:
    async def play() -> None:
        async with house(policy("{name: one, per: identity.name, concurrent: 1}")) as it:
            it.simulator.fail(kind="slow_headers", seconds=0.5, times=1)
            slow = asyncio.ensure_future(it.ask("hello"))
            await asyncio.sleep(0.2)
            refused = await it.ask("hello")
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert (await slow).status_code == 200
            assert (await it.ask("hello")).status_code == 200

    run(play())


def test_room_is_made_again_however_a_request_ends(house: Any) -> None:
    async def play() -> None:
        async with house(policy("{name: one, per: identity.name, concurrent: 1, tokens: 100000}")) as it:
            assert (await it.client.post("/v1/messages", content=b"{")).status_code == 400
            it.simulator.fail(status=400, times=1)
            assert (await it.ask("hello")).status_code == 400
            assert (await it.ask("hello", stream=True)).status_code == 200
            uses = it.engine.rates.uses(it.engine.policies.snapshot.policy.rate_limits, time.monotonic())
            assert [use.running for use in uses] == [0]

    run(play())


def test_an_engine_without_limits_counts_nothing() -> None:
    rates = Rates()
    admission = Admission(rates, ())
    admission.enter(LOCAL)
    admission.expect(10**9)
    admission.leave()
    assert told(rates, ()) == []
    assert not rates._windows


def test_fullness_is_that_of_the_limit_nearest_its_end() -> None:
    rates = Rates()
    limit = RateLimit("l", "identity.name", 60.0, requests=10, tokens=100, concurrent=4)
    admission = Admission(rates, [limit])
    admission.enter(LOCAL)
    admission.expect(90)
    assert told(rates, [limit])[0]["fullest"] == 0.9
    admission.leave()
    assert told(rates, [limit])[0]["fullest"] == 0.1


@pytest.mark.parametrize(
    ("seconds", "said"), [(60, "1m"), (3_600, "1h"), (86_400, "1d"), (90, "90s"), (0.5, "0.5s")]
)
def test_a_window_is_said_as_it_is_written(seconds: float, said: str) -> None:
    assert _span(seconds) == said
