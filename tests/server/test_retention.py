import asyncio
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.core.decision import AttemptRecord, Decision, Outcome, Result
from engine.core.lineage import Lineage
from engine.core.policy import Recording
from engine.core.ports import Pin
from engine.core.reply import Usage
from engine.server import retention
from engine.server.contents import Contents
from engine.server.database import Connection, connect, transaction
from engine.server.journal import Journal
from engine.server.retention import ROWS_AT_ONCE, Retention, even_clock
from engine.server.rows import (
    ATTEMPTS,
    CONTENTS,
    DECISIONS,
    LINEAGES,
    OUTCOMES,
    PINS,
    RESULTS,
    row_of,
)

DAY = 86_400.0
NOW = 1_000 * DAY
RULES = Recording(decisions_seconds=90 * DAY, contents_seconds=7 * DAY)
DECISION = Decision("d", NOW, "p", "s", ("haiku",), "r", "rule", "", "opus", "openai-chat")
RESULT = Result("d", NOW, 200, "haiku", "e", 1, "end_turn", Usage(1, 1), 0.01, 1.0, 0.1)


def add(connection: Connection, number: int, days_ago: float, padding: str = "") -> None:
    id, at = f"d{number:06d}", NOW - days_ago * DAY
    for table, event in (
        (DECISIONS, replace(DECISION, id=id, at=at, reason=padding)),
        (RESULTS, replace(RESULT, decision=id, at=at)),
        (ATTEMPTS, AttemptRecord(id, 1, "haiku", "e", "h", at, 1.0)),
        (CONTENTS, Contents(id, at, user_text="hello")),
        (OUTCOMES, Outcome(f"o{number}", at, decision=id)),
    ):
        connection.execute(table.insert(), row_of(event))


def count(connection: Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def until_done(forget: Retention, connection: Connection) -> int:
    turns = 1
    while forget(connection):
        turns += 1
    return turns


def test_what_is_old_goes_and_what_is_learned_from_stays(tmp_path: Path) -> None:
    with closing(connect(str(tmp_path / "weave.db"), read_only=False)) as connection:
        for number, days in enumerate((100, 91, 89, 8, 6, 0)):
            add(connection, number, days)
        until_done(Retention(lambda: RULES, lambda: NOW), connection)
        assert [count(connection, name) for name in ("decisions", "results", "attempts")] == [4, 4, 4]
        assert count(connection, "contents") == 2
        assert count(connection, "outcomes") == 6


def test_it_is_done_a_little_at_a_time(tmp_path: Path) -> None:
    with closing(connect(str(tmp_path / "weave.db"), read_only=False)) as connection:
        with transaction(connection):
            for number in range(2 * ROWS_AT_ONCE + 10):
                add(connection, number, 100)
        forget = Retention(lambda: RULES, lambda: NOW)
        assert forget(connection)
        assert count(connection, "decisions") == ROWS_AT_ONCE + 10
        assert until_done(forget, connection) == 2
        assert count(connection, "decisions") == 0


def test_the_file_stays_as_large_as_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FREE_PAGES", 50)
    path = tmp_path / "weave.db"
    with closing(connect(str(path), read_only=False)) as connection:
        with transaction(connection):
            for number in range(2_000):
                add(connection, number, 100, "x" * 2_000)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.stat().st_size
        until_done(Retention(lambda: RULES, lambda: NOW), connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < before / 4


def test_pins_that_ended_go_and_sessions_beyond_what_is_held_in_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_PINS", 3)
    monkeypatch.setattr(retention, "MOST_LINEAGES", 2)
    with closing(connect(str(tmp_path / "weave.db"), read_only=False)) as connection:
        for number in range(6):
            pin = Pin("haiku", "r", NOW - 10, NOW + number - 1)
            connection.execute(PINS.insert(), (f"p{number}", *row_of(pin)))
            connection.execute(LINEAGES.insert(), (f"l{number}", NOW + number, *row_of(Lineage("o", "m"))))
        until_done(Retention(lambda: RULES, lambda: NOW), connection)
        assert connection.execute("SELECT key FROM pins ORDER BY key").fetchall() == [
            ("p3",),
            ("p4",),
            ("p5",),
        ]
        assert connection.execute("SELECT key FROM lineages ORDER BY key").fetchall() == [("l4",), ("l5",)]


def test_a_clock_that_is_set_ahead_makes_nothing_old(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = even_clock()
    before = clock()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 365 * DAY)
    assert clock() - before < 60


def test_a_journal_forgets_in_the_background_while_it_is_asked(tmp_path: Path) -> None:
    async def story() -> None:
        tend = Retention(lambda: RULES, lambda: NOW)
        journal = await Journal.open(tmp_path / "weave.db", tend=tend)
        for number in range(900):
            journal.record(replace(DECISION, id=f"d{number}", at=NOW - 100 * DAY))
        journal.record(replace(DECISION, id="new"))
        deadline = time.monotonic() + 20
        while await journal.decision("d0") is not None or await journal.decision("d899") is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert await journal.decision("new") is not None
        await journal.close()

    asyncio.run(story())
