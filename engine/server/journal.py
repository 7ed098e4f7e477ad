"""The journal: what was decided, tried, answered, and told later; what is written to it, and what can be asked of it.

It is the truth the learners are folded from, and the answer to "why did this request go there". `clerk.py` tells how
it is written without making anybody wait, `database.py` what is in the file.

An outcome is on disk, synced, before `record_outcome` returns; outcomes that wait together share one commit.

**Prompts stay out.** Features, hints and traces carry figures and names. A provider's error message may quote the
prompt, so of a fault that is not ours only its kind and codes are kept.
"""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from engine import wire
from engine.core.decision import AttemptRecord, Decision, Lesson, Outcome, Result, Withdrawal
from engine.server.clerk import Clerk, Entry
from engine.server.contents import Contents
from engine.server.database import Connection, JournalError, first_of, kept, select
from engine.server.precedence import Settled, root, settle
from engine.server.rows import (
    ATTEMPTS,
    CONTENTS,
    DECISIONS,
    LESSONS,
    OUTCOMES,
    RESULTS,
    TABLES,
    WITHDRAWALS,
    Row,
    Table,
    row_of,
)
from engine.server.withdrawals import NEVER, Span, first_touched, withdrawn

__all__ = ["Journal", "JournalError"]

QUEUED_EVENTS = 20_000
QUEUED_CONTENTS = 2_000
SNAPSHOTS_KEPT = 10
NEVER_BEFORE = float("-inf")

Recorded = Decision | AttemptRecord | Result
T = TypeVar("T")

INSERT: dict[type, str] = {table.of: table.insert("REPLACE") for table in (DECISIONS, ATTEMPTS, RESULTS)}
KEEP: dict[str, str] = {table.name: table.insert("REPLACE") for table in TABLES}
INSERT_OUTCOME = OUTCOMES.insert()
INSERT_LESSON = LESSONS.insert()
INSERT_WITHDRAWAL = WITHDRAWALS.insert()
NUMBERED = "number > ? ORDER BY number"
MAKE_KEY = "INSERT OR IGNORE INTO meta VALUES ('contents_key', ?)"
THE_KEY = "SELECT value FROM meta WHERE name = 'contents_key'"
SPANS = (
    "SELECT min(number), max(number) FROM lessons"
    " WHERE outcome IN (SELECT value FROM json_each(?)) GROUP BY outcome"
)

# A snapshot that was made before lessons were withdrawn is not kept.
INSERT_SNAPSHOT = (
    "INSERT OR REPLACE INTO learner_states SELECT ?, ?, ?"
    " WHERE ? = (SELECT coalesce(max(number), 0) FROM withdrawals)"
)
NEWEST_SNAPSHOT = "SELECT lessons, state FROM learner_states ORDER BY at DESC, lessons DESC LIMIT 1"
FORGET_SNAPSHOTS = (
    "DELETE FROM learner_states WHERE lessons NOT IN"
    " (SELECT lessons FROM learner_states ORDER BY at DESC, lessons DESC LIMIT ?)"
)

# What a session's turns are asked for does not need these, and they are most of a decision's weight.
HEAVY = ("features", "hints", "candidates", "trace")


class Journal:
    def __init__(self, clerk: Clerk) -> None:
        """Not for callers: see `open`."""
        self._clerk = clerk
        self.ask = clerk.ask
        self.urge = clerk.urge
        self.health = clerk.health
        self.flush = clerk.flush
        self.close = clerk.close

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        read_only: bool = False,
        queued_events: int = QUEUED_EVENTS,
        warn: Callable[[str], None] = lambda _: None,
        tend: Callable[[Connection], bool] = lambda _: False,
    ) -> "Journal":
        """The journal in a file, made where there is none, or in memory for `:memory:`.

        `warn` is called from the journal's thread, and so is `tend`, every second: it looks after what is there, a
        little at a time, and says whether there is more to do. Raises JournalError where the file cannot be used.
        """
        clerk = Clerk(str(path), read_only, queued_events, warn, tend)
        await clerk.open()
        return cls(clerk)

    # -- recording ----------------------------------------------------------------------------------------------

    def record(self, event: Recorded) -> None:
        """Keep an event, soon. Never waits and never fails."""
        self._clerk.record(Entry(INSERT[type(event)], event))

    def record_contents(self, contents: Contents) -> None:
        """Keep what was said, soon, if no more than a little of it waits: texts are large."""
        if self.health()["waiting"] < QUEUED_CONTENTS:
            self._clerk.record(Entry(KEEP[CONTENTS.name], contents))

    def keep(self, table: Table, lead: Row, value: Any) -> None:
        """Keep the newest of a key, soon: `lead` are the cells that the value does not hold, the key first."""
        self._clerk.keep(lead[0], Entry(KEEP[table.name], value, lead))

    async def record_outcome(self, outcome: Outcome, lessons: Sequence[Lesson]) -> Settled:
        """Keep an outcome and what it teaches, both or neither, as far as `settle` lets it; what it outranks is
        withdrawn.

        On disk when it returns. Raises JournalError where it could not be written.
        """

        def write(connection: Connection) -> Settled:
            known = select(connection, OUTCOMES, "id = ?", outcome.id) if outcome.id else []
            earlier = _about(connection, root(outcome.subject)) if outcome.subject else []
            settled = settle(outcome, lessons, first_of(known), earlier)
            if not settled.new:
                return settled
            connection.execute(INSERT_OUTCOME, row_of(settled.outcome))
            connection.executemany(INSERT_LESSON, [row_of(lesson) for lesson in settled.lessons])
            if settled.outranked:
                spans = connection.execute(SPANS, (wire.dumps(settled.outranked).decode(),)).fetchall()
                _withdraw(connection, outcome.at, spans, f"outranked by {settled.outcome.id}")
            return settled

        return await self.ask(write, writes=True)

    async def roll_back(self, to: int, stands: int, at: float, why: str) -> None:
        """Let only the first `to` lessons count, and of their withdrawals the first `stands`."""
        await self.ask(
            lambda connection: _withdraw(connection, at, [(to + 1, _lessons(connection))], why, stands),
            writes=True,
        )

    async def save_learner_state(
        self, lessons: int, state: Mapping[str, Any], at: float, withdrawals: int = 0
    ) -> None:
        """Keep a learner snapshot that holds the first `lessons` lessons, of which so many withdrawals took some."""
        text = wire.dumps(state).decode()

        def write(connection: Connection) -> None:
            connection.execute(INSERT_SNAPSHOT, (lessons, at, text, withdrawals))
            connection.execute(FORGET_SNAPSHOTS, (SNAPSHOTS_KEPT,))

        await self.ask(write, writes=True)

    # -- reading ------------------------------------------------------------------------------------------------

    async def decision(self, id: str) -> Decision | None:
        return await self.ask(lambda connection: first_of(select(connection, DECISIONS, "id = ?", id)))

    async def attempts(self, decision: str) -> list[AttemptRecord]:
        """In the order they were made."""
        where = "decision = ? ORDER BY number"
        return await self.ask(lambda connection: select(connection, ATTEMPTS, where, decision))

    async def result(self, decision: str) -> Result | None:
        return await self.ask(
            lambda connection: first_of(select(connection, RESULTS, "decision = ?", decision))
        )

    async def outcome(self, id: str) -> Outcome | None:
        return await self.ask(lambda connection: first_of(select(connection, OUTCOMES, "id = ?", id)))

    async def contents(self, decision: str) -> Contents | None:
        """What was said, where a policy asked for it to be kept and it was not forgotten since."""
        where = "decision = ?"
        return await self.ask(lambda connection: first_of(select(connection, CONTENTS, where, decision)))

    async def contents_key(self) -> bytes:
        """What hashes of this journal are keyed with, made the first time it is asked for."""

        def known(connection: Connection) -> bytes:
            row = connection.execute(THE_KEY).fetchone()
            return bytes.fromhex(row[0]) if row else b""

        def made(connection: Connection) -> bytes:
            connection.execute(MAKE_KEY, (secrets.token_hex(32),))
            return known(connection)

        return await self.ask(known) or await self.ask(made, writes=True)

    async def decisions(self, after: str = "", limit: int = 1_000) -> list[Decision]:
        """The first of those behind this id, whole, in the order of their ids, which is that of time."""
        where = f"id > ? ORDER BY id LIMIT {limit:d}"
        return await self.ask(lambda connection: select(connection, DECISIONS, where, after))

    async def before_newest(self, count: int) -> str:
        """The id behind which the newest `count` decisions lie; empty where there are no more than these."""
        query = "SELECT id FROM decisions ORDER BY id DESC LIMIT 1 OFFSET ?"
        row = await self.ask(lambda connection: connection.execute(query, (count,)).fetchone())
        return "" if row is None else str(row[0])

    async def results(self, decisions: Sequence[Decision]) -> dict[str, Result]:
        """How these ended, by decision id. Unfinished requests are not in it."""
        ids = wire.dumps([decision.id for decision in decisions]).decode()
        where = "decision IN (SELECT value FROM json_each(?))"
        found = await self.ask(lambda connection: select(connection, RESULTS, where, ids))
        return {result.decision: result for result in found}

    async def decisions_of_session(self, session: str) -> list[Decision]:
        """In the order they were made, without features, hints, candidates and trace."""
        where = "session = ? AND session <> '' ORDER BY at, rowid"
        return await self.ask(lambda connection: select(connection, DECISIONS, where, session, without=HEAVY))

    async def served(self, decisions: Sequence[Decision]) -> dict[str, str]:
        """The model that answered, by decision id; empty where none did. Unfinished requests are not in it."""
        ids = wire.dumps([decision.id for decision in decisions]).decode()
        query = "SELECT decision, model FROM results WHERE decision IN (SELECT value FROM json_each(?))"
        return await self.ask(lambda connection: dict(connection.execute(query, (ids,)).fetchall()))

    async def lessons(self, after: int = 0) -> list[Lesson]:
        """Every lesson but the first `after`, in the order they were committed."""
        return await self.ask(lambda connection: select(connection, LESSONS, NUMBERED, after))

    async def withdrawals(self) -> list[Withdrawal]:
        """In the order they were committed."""
        return await self.ask(lambda connection: select(connection, WITHDRAWALS, NUMBERED, 0))

    async def taught(self, lessons: int, withdrawals: int) -> tuple[list[Lesson], list[Withdrawal]]:
        """The lessons and the withdrawals after so many of each."""
        return await self.ask(
            lambda connection: (
                select(connection, LESSONS, NUMBERED, lessons),
                select(connection, WITHDRAWALS, NUMBERED, withdrawals),
            )
        )

    async def outcomes(self, about: str) -> list[Outcome]:
        """Those about this subject or a part of it, in the order they were told."""
        return await self.ask(lambda connection: _about(connection, about))

    async def told(self) -> list[Outcome]:
        """Every outcome, in the order they were told."""
        return await self.ask(lambda connection: select(connection, OUTCOMES, "rowid > ? ORDER BY rowid", 0))

    async def lessons_of(self, outcome: str) -> list[Lesson]:
        """What an outcome taught, whether it still counts or not."""
        where = "outcome = ? ORDER BY number"
        return await self.ask(lambda connection: select(connection, LESSONS, where, outcome))

    async def kept(
        self, table: Table, most: int, by: str = "at", above: float = NEVER_BEFORE
    ) -> dict[str, Row]:
        """What is kept by key, as rows: so many of those of which this column is above that."""
        return await self.ask(lambda connection: kept(connection, table, most, by, above))

    async def rows(self, query: str, value: Any = None) -> list[Row]:
        """Of a query of one value over the tables above, for reports."""
        values = () if value is None else (value,)
        return await self.ask(lambda connection: connection.execute(query, values).fetchall())

    async def load_learner_state(self) -> tuple[int, dict[str, Any]] | None:
        """The newest snapshot, and how many lessons it holds."""
        row = await self.ask(lambda connection: connection.execute(NEWEST_SNAPSHOT).fetchone())
        return None if row is None else (row[0], wire.loads(row[1]))


def _withdraw(
    connection: Connection, at: float, spans: Sequence[Span], why: str, stands: int | None = None
) -> None:
    """Withdraws what counts of these, and the snapshots that hold it."""
    before = int(connection.execute("SELECT coalesce(max(number), 0) FROM withdrawals").fetchone()[0])
    gone, after = _gone(connection, spans) if stands is None else (), _lessons(connection)
    count = before
    for first, last in spans:
        if first in gone:
            continue
        one = Withdrawal(at, first, last, after, count if stands is None else stands, why)
        connection.execute(INSERT_WITHDRAWAL, row_of(one))
        count += 1
    if stands is None:
        stale = min((first for first, _ in spans), default=NEVER)
    else:
        stale = first_touched(select(connection, WITHDRAWALS, NUMBERED, 0), before)
    connection.execute("DELETE FROM learner_states WHERE lessons >= ?", (stale,))


def _gone(connection: Connection, spans: Sequence[Span]) -> Collection[int]:
    """Of the first lessons of these spans, those that count no more. Where nobody has rolled back, who was outranked
    is found by its number."""
    if connection.execute("SELECT 1 FROM withdrawals WHERE stands < number - 1 LIMIT 1").fetchone():
        return withdrawn(select(connection, WITHDRAWALS, NUMBERED, 0))
    firsts = wire.dumps([first for first, _ in spans]).decode()
    query = "SELECT first FROM withdrawals WHERE first IN (SELECT value FROM json_each(?))"
    return {row[0] for row in connection.execute(query, (firsts,))}


def _about(connection: Connection, subject: str) -> list[Outcome]:
    where = "subject = ?1 OR (subject >= ?1 || '/' AND subject < ?1 || '0') ORDER BY rowid"
    return select(connection, OUTCOMES, where, subject)


def _lessons(connection: Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM lessons").fetchone()[0])
