"""The journal in trouble under a live engine: requests are served all along, `/ready` says so, and it recovers."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.core.policy import Recording
from engine.server.database import Connection
from engine.server.retention import Retention


async def until(said: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 15
    while not await said():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def journal_of(at: Any) -> dict[str, Any]:
    told: dict[str, Any] = (await at.client.get("/ready")).json()["journal"]
    return told


async def works(at: Any) -> str:
    reply = await at.ask("What is a monad?", headers={"x-weave-session": "mine"})
    assert reply.status_code == 200
    return str(reply.headers["x-weave-decision"])


def pages(most: int) -> Callable[[Connection], None]:
    def cap(connection: Connection) -> None:
        there = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {there + most}")

    return cap


def test_on_a_full_disk_requests_are_served_and_nothing_is_lost_once_there_is_room(house: Any) -> None:
    async def story() -> None:
        async with house() as at:
            await works(at)
            await at.engine.journal.flush()
            await at.engine.journal.ask(pages(0))
            ids = [await works(at) for _ in range(60)]

            async def failing() -> bool:
                return bool((await journal_of(at))["status"] == "failing")

            await until(failing)
            assert "full" in (await journal_of(at))["trouble"]
            ids.append(await works(at))
            await at.engine.journal.ask(pages(100_000))
            await at.engine.journal.flush()
            assert (await journal_of(at))["status"] == "ok"
            for id in ids:
                assert await at.engine.journal.decision(id) is not None
            assert (await journal_of(at))["lost"] == 0

    asyncio.run(story())


def test_a_journal_that_somebody_locks_keeps_nobody_waiting(house: Any) -> None:
    async def story() -> None:
        async with house() as at:
            first = await works(at)
            await at.engine.journal.flush()
            with closing(sqlite3.connect(house._journal, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                began = time.monotonic()
                ids = [await works(at) for _ in range(5)]
                assert time.monotonic() - began < 2

                async def locked() -> bool:
                    return "locked" in (await journal_of(at))["trouble"]

                await until(locked)
                told = {"decision": first, "tests_passed": 1}
                reply = await at.client.post("/v1/outcomes", json=told)
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            await at.engine.journal.flush()
            assert await at.engine.journal.decision(ids[-1]) is not None
            assert (await at.client.post("/v1/outcomes", json=told)).status_code == 200

    asyncio.run(story())


@pytest.mark.parametrize("what", ["deleted", "moved away"])
def test_a_journal_that_is_gone_is_there_again_with_everything(house: Any, what: str) -> None:
    async def story() -> None:
        path: Path = house._journal
        async with house() as at:
            before = await works(at)
            await at.engine.journal.flush()
            if what == "deleted":
                os.unlink(path)
            else:
                os.rename(path, f"{path}.old")
            after = await works(at)
            await at.engine.journal.flush()
        async with house() as at:
            for id in (before, after):
                assert (await at.client.get(f"/v1/decisions/{id}")).status_code == 200

    asyncio.run(story())


def test_a_decision_that_was_forgotten_is_told_apart_from_a_mistake(house: Any) -> None:
    async def story() -> None:
        async with house() as at:
            id = await works(at)
            await at.engine.journal.flush()
            late = Retention(lambda: Recording(), lambda: time.time() + 91 * 86_400.0)
            await at.engine.journal.ask(late)
            reply = await at.client.get(f"/v1/decisions/{id}")
            assert reply.status_code == 404
            assert "older than the 90 days" in reply.json()["error"]["message"]

    asyncio.run(story())
