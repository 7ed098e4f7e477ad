"""Trying again over sockets: when the only way may do better in a moment, and who waits for it."""

import asyncio
import time
from typing import Any

import pytest

from engine.server.attempt import Dispatch
from tests.server.hostile.acting import run

ALONE = """
apiVersion: weave/v1
kind: Policy
metadata: {name: alone, description: Nobody stands in for anybody.}
input: input.v1
rules: []
default: {use: requested}
pinning: {key: [hints.session], ttl: 30m}
failover: {chains: {}, attempts: 3, deadline: 30s}
"""

ONE_HOME = "claude-haiku-4-5"  # served at one endpoint


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [500, 529])
def test_the_only_way_is_tried_again_and_the_client_sees_one_answer(
    house: Any, stream: bool, status: int
) -> None:
    async def play() -> None:
        async with house(ALONE) as it:
            it.simulator.fail("anthropic", status=status, times=1)
            reply = await it.ask("[[sim: text=finally]]", stream, model=ONE_HOME)
            assert reply.status_code == 200
            assert reply.text.count("message_stop" if stream else "finally") >= 1
            assert "error" not in reply.text
            assert len(it.simulator.received) == 2

    run(play())


@pytest.mark.parametrize(
    ("seconds", "status", "calls"), [(0.6, 200, 2), (3600, 429, 1)], ids=["for a moment", "for an hour"]
)
def test_a_limit_is_waited_for_where_it_is_short(house: Any, seconds: float, status: int, calls: int) -> None:
    # G79: a quota of hours is the client's to wait for, and it is told how long
    async def play() -> None:
        async with house(ALONE) as it:
            it.simulator.fail("anthropic", status=429, retry_after=seconds, times=1)
            began = time.monotonic()
            reply = await it.ask("hello", model=ONE_HOME)
            took = time.monotonic() - began
            assert (reply.status_code, len(it.simulator.received)) == (status, calls)
            if calls == 2:
                assert took >= seconds
            else:
                assert took < 2
                assert reply.headers["retry-after"] == "3600"

    run(play())


def test_a_client_that_leaves_ends_a_pause(house: Any) -> None:
    async def play() -> None:
        async with house(ALONE) as it:
            it.simulator.fail("anthropic", status=429, retry_after=9)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await it.ask("hello", stream=True, model=ONE_HOME)
            async with asyncio.timeout(3):
                while it.engine.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert len(it.simulator.received) == 1
            (decision,) = await it.engine.journal.decisions()
            result = await it.engine.journal.result(decision.id)
            assert result.client_gone
            assert (result.model, result.cost_usd, result.wasted_usd) == ("", 0.0, 0.0), "it was refused"

    run(play())


def test_a_client_that_leaves_while_its_call_is_hung_up_leaves_no_probe_behind(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(dispatch: Dispatch) -> None:
        if dispatch.reached:
            await asyncio.sleep(30)

    async def play() -> None:
        async with house(ALONE) as it:
            it.simulator.fail("anthropic", status=529)
            monkeypatch.setattr(Dispatch, "close", slow)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await it.ask("hello", stream=True, model=ONE_HOME)
            async with asyncio.timeout(3):
                while it.engine.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            (decision,) = await it.engine.journal.decisions()
            (attempt,) = await it.engine.journal.attempts(decision.id)
            assert attempt.abandoned

    run(play())


def test_a_model_that_cannot_see_is_followed_by_one_that_may(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            message = "This model does not support image inputs"
            it.simulator.fail(model="opus", status=400, message=message)
            reply = await it.ask("hello", headers={"x-weave-model": "opus"})
            assert (reply.status_code, reply.headers["x-weave-model"]) == (200, "gpt")

    run(play())
