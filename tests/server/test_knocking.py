"""An address that nobody can reach is found to be back beside the requests, and at no client's cost."""

import asyncio
import socket
import time
from contextlib import closing

import pytest

from engine.core.catalog import Binding
from engine.core.errors import Fault
from engine.core.policy import Breaker
from engine.routing.health import Condition, Health
from engine.server.knocking import Knocks, answers
from tests.server.hostile.acting import run

HERE, RULES = Binding("one", "m"), Breaker()
GONE = Fault("connection", "cannot be reached", 0, "provider")


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
    return port


async def settled(health: Health, state: str) -> None:
    async with asyncio.timeout(8):
        while [condition.state for condition in health.conditions(time.monotonic())] != [state]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_requests_are_let_through_once_a_connection_worked() -> None:
    async def play() -> None:
        port, health, knocks, told = closed_port(), Health(), Knocks(), list[Condition]()
        now = time.monotonic()
        health.ended(HERE, GONE, 0.0, RULES, now, reached=False)
        knocks.begin("one", lambda: f"http://127.0.0.1:{port}", health, 1.0, told.append)
        await asyncio.sleep(1.2)  # the first knock was in vain, and the breaker opened again for longer
        assert health.waits(HERE, time.monotonic()) > 1.0
        assert not health.admits(HERE, RULES, time.monotonic())
        with closing(socket.create_server(("127.0.0.1", port))):
            await settled(health, "returning")
        assert [change.state for change in told] == ["open", "returning"][-len(told) :]
        knocks.stop()

    run(play())


def test_nobody_knocks_at_an_address_that_an_edit_took_away() -> None:
    async def play() -> None:
        health, knocks = Health(), Knocks()
        health.ended(HERE, GONE, 0.0, RULES, time.monotonic(), reached=False)
        knocks.begin("one", lambda: "", health, 1.0, lambda _: None)
        await asyncio.sleep(1.3)
        assert health.admits(HERE, RULES, time.monotonic())

    run(play())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://name.invalid:80", "http://[:", "nonsense"])
def test_what_cannot_be_reached_does_not_answer(url: str) -> None:
    async def play() -> None:
        assert not await answers(url, 0.5)

    run(play())
