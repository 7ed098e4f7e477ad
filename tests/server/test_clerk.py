"""What waits for the journal's thread. What it writes, and how it fares in trouble, is told in test_journal.py."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine.core.lineage import Lineage
from engine.server.clerk import Clerk, Entry
from engine.server.database import Connection, JournalError
from engine.server.rows import LINEAGES

INSERT = LINEAGES.insert("REPLACE")


def silent(_: str) -> None:
    """Nobody listens."""


def with_clerk(path: Path, use: Callable[[Clerk], Awaitable[None]], events: int = 1_000) -> None:
    async def run() -> None:
        clerk = Clerk(str(path), False, events, silent)
        await clerk.open()
        try:
            await use(clerk)
        finally:
            await clerk.close()

    asyncio.run(run())


def entry(key: str, origin: str) -> Entry:
    return Entry(INSERT, Lineage(origin, "m"), (key, 1.0))


def origins(connection: Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT key, origin FROM lineages ORDER BY key").fetchall()


def test_what_is_kept_again_before_it_was_written_is_written_once(tmp_path: Path) -> None:
    async def use(clerk: Clerk) -> None:
        for number in range(500):
            clerk.keep(f"k{number % 2}", entry(f"k{number % 2}", f"o{number}"))
        assert clerk.health()["waiting"] <= 4  # what the thread has taken, and what came since
        await clerk.flush()
        assert await clerk.ask(origins) == [("k0", "o498"), ("k1", "o499")]

    with_clerk(tmp_path / "weave.db", use)


def test_what_waited_for_the_disk_does_not_replace_what_is_newer(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    async def use(clerk: Clerk) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("ALTER TABLE lineages RENAME TO away")
        clerk.keep("k", entry("k", "old"))
        with pytest.raises(JournalError):
            await clerk.flush()
        clerk.keep("k", entry("k", "new"))
        other.execute("ALTER TABLE away RENAME TO lineages")
        other.close()
        await clerk.flush()
        assert await clerk.ask(origins) == [("k", "new")]

    with_clerk(path, use)


def test_work_that_waits_together_is_committed_together_or_not_at_all(tmp_path: Path) -> None:
    async def use(clerk: Clerk) -> None:
        def good(connection: Connection) -> None:
            connection.execute(INSERT, ("k", 1.0, "o", "m", 0))

        def bad(connection: Connection) -> None:
            connection.execute("INSERT INTO nowhere VALUES (1)")

        asked = await asyncio.gather(
            clerk.ask(good, writes=True), clerk.ask(bad, writes=True), return_exceptions=True
        )
        assert [type(one) for one in asked] == [JournalError, JournalError]
        assert await clerk.ask(origins) == []

    with_clerk(tmp_path / "weave.db", use)


def test_what_is_there_is_looked_after_until_there_is_nothing_more_to_do(tmp_path: Path) -> None:
    left = [3]

    def tend(_: Connection) -> bool:
        left[0] -= 1
        return left[0] > 0

    async def run() -> None:
        clerk = Clerk(str(tmp_path / "weave.db"), False, 10, silent, tend)
        await clerk.open()
        for _ in range(100):
            if left[0] == 0:
                break
            await asyncio.sleep(0.05)
        assert left[0] == 0  # and a second passes before it is asked again
        await clerk.close()

    asyncio.run(run())


def test_work_that_fails_leaves_the_thread_alive(tmp_path: Path) -> None:
    async def use(clerk: Clerk) -> None:
        def bug(_: Connection) -> None:
            raise ZeroDivisionError

        with pytest.raises(JournalError):
            await clerk.ask(bug)
        assert await clerk.ask(origins) == []

    with_clerk(tmp_path / "weave.db", use)


def test_what_is_urgent_is_committed_before_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    def write(connection: Connection) -> int:
        connection.execute("INSERT INTO meta VALUES ('urgent', 'yes')")
        return connection.execute("PRAGMA synchronous").fetchone()[0]  # type: ignore[no-any-return]

    async def use(clerk: Clerk) -> None:
        await clerk.ask(origins)  # the thread has just written, so it is in no hurry
        clerk.keep("k", entry("k", "o"))
        assert await clerk.urge(write) == 1, "a commit that is not synced"
        other = sqlite3.connect(path)
        assert other.execute("SELECT value FROM meta WHERE name = 'urgent'").fetchone() == ("yes",)
        other.close()
        assert await clerk.ask(origins) == [("k", "o")]
        synced = await clerk.ask(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0])
        assert synced == 2, "everything else is synced as before"

    with_clerk(path, use)


def test_what_is_urgent_and_wrong_is_told_to_who_asked(tmp_path: Path) -> None:
    async def use(clerk: Clerk) -> None:
        with pytest.raises(JournalError, match="no such table"):
            await clerk.urge(lambda connection: connection.execute("INSERT INTO nowhere VALUES (1)"))
        assert await clerk.urge(lambda _: 7) == 7

    with_clerk(tmp_path / "weave.db", use)
    closed = Clerk(str(tmp_path / "weave.db"), False, 1, silent)
    closed._closing = True
    with pytest.raises(JournalError, match="closed"):
        asyncio.run(closed.urge(lambda _: 7))
