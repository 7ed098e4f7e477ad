"""The journal: what was decided, tried, answered, and told later. The one door to SQLite.

It is the truth the learners are folded from, and the answer to "why did this request go there".

**One thread owns the connection.** `record` puts an event in a queue and returns; the thread turns it into a row
and commits at least every `COMMIT_SECONDS`, so that a crash loses the last moment of decisions and never a
committed row. Everything else (reads, outcomes, snapshots) is work handed to the same thread and awaited; queued
events are written before it, so a read sees what was recorded a moment ago. An outcome is on disk, synced, before
`record_outcome` returns; outcomes that wait together share one commit.

**The journal never fails a request.** While the disk fails, rows are held and tried again; when the queue is full,
events are counted as lost. `health` and `warn` say so.

**Prompts stay out.** Features, hints and traces carry figures and names. A provider's error message may quote the
prompt, so of a fault that is not ours only its kind and codes are kept.

Tables have a column for each field of their type in `core/decision.py`; what SQLite has no type for is JSON.
A field that a newer engine adds becomes a column when it opens an older journal; an older row has its default.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from engine import wire
from engine.core.decision import AttemptRecord, Decision, Lesson, Outcome, Result, Withdrawal
from engine.core.errors import Fault, WeaveError
from engine.server.precedence import Settled, root, settle
from engine.server.rows import (
    ATTEMPTS,
    DECISIONS,
    LESSONS,
    OUTCOMES,
    RESULTS,
    TABLES,
    WITHDRAWALS,
    Row,
    Table,
    event_of,
    row_of,
)
from engine.server.withdrawals import NEVER, Span, first_touched, withdrawn

VERSION = "1"
COMMIT_SECONDS = 0.2
QUEUED_EVENTS = 20_000
ROWS_A_COMMIT = 1_000
SNAPSHOTS_KEPT = 10

Recorded = Decision | AttemptRecord | Result
T = TypeVar("T")


class JournalError(WeaveError):
    """The journal cannot be opened, read or written; the message says which and why."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault("server_error", message))


INSERT: dict[type, str] = {table.of: table.insert("REPLACE") for table in (DECISIONS, ATTEMPTS, RESULTS)}
INSERT_OUTCOME = OUTCOMES.insert()
INSERT_LESSON = LESSONS.insert()
INSERT_WITHDRAWAL = WITHDRAWALS.insert()
NUMBERED = "number > ? ORDER BY number"
SPANS = (
    "SELECT min(number), max(number) FROM lessons"
    " WHERE outcome IN (SELECT value FROM json_each(?)) GROUP BY outcome"
)

# A snapshot that was made before lessons were withdrawn is not kept.
INSERT_SNAPSHOT = (
    "INSERT OR REPLACE INTO learner_states SELECT ?, ?, ? WHERE ? = (SELECT count(*) FROM withdrawals)"
)
NEWEST_SNAPSHOT = "SELECT lessons, state FROM learner_states ORDER BY at DESC, lessons DESC LIMIT 1"
FORGET_SNAPSHOTS = (
    "DELETE FROM learner_states WHERE lessons NOT IN"
    " (SELECT lessons FROM learner_states ORDER BY at DESC, lessons DESC LIMIT ?)"
)

# What a session's turns are asked for does not need these, and they are most of a decision's weight.
HEAVY = ("features", "hints", "candidates", "trace")

# Older engines kept a lesson about one model and its reward in -1..1.
LESSONS_OF_OLD = """UPDATE lessons SET score = (reward + 1) / 2.0,
    steps = json_array(json_object('model', model, 'share', 1.0)) WHERE steps IS NULL"""

# A row with one of these faults can never be written; any other error is the disk's, and passes.
UNWRITABLE = (
    ValueError,
    TypeError,
    OverflowError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    """Work for the thread that owns the connection, and where its result goes."""

    work: Callable[[sqlite3.Connection], T]
    answer: "Future[T]"
    writes: bool


class Journal:
    def __init__(self, path: str, read_only: bool, queued_events: int, warn: Callable[[str], None]) -> None:
        """Not for callers: see `open`."""
        self._path = path
        self._read_only = read_only
        self._queued_events = queued_events
        self._warn = warn
        self._events: deque[Recorded] = deque()
        self._batch: list[Recorded] = []  # taken from the queue, not yet committed
        self._asks: deque[_Ask[Any]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._lost = 0
        self._lost_warned = 0
        self._trouble = ""
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        read_only: bool = False,
        queued_events: int = QUEUED_EVENTS,
        warn: Callable[[str], None] = lambda _: None,
    ) -> "Journal":
        """The journal in a file, made where there is none, or in memory for `:memory:`.

        `warn` is called from the journal's thread. Raises JournalError where the file cannot be used.
        """
        journal = cls(str(path), read_only, queued_events, warn)
        journal._thread.start()
        await asyncio.wrap_future(journal._opened)
        return journal

    # -- recording ----------------------------------------------------------------------------------------------

    def record(self, event: Recorded) -> None:
        """Keep an event, soon. Never waits and never fails."""
        if self._closing or len(self._events) >= self._queued_events:
            self._lost += 1
            return
        self._events.append(event)

    async def record_outcome(self, outcome: Outcome, lessons: Sequence[Lesson]) -> Settled:
        """Keep an outcome and what it teaches, both or neither, as far as `settle` lets it; what it outranks is
        withdrawn.

        On disk when it returns. Raises JournalError where it could not be written.
        """

        def write(connection: sqlite3.Connection) -> Settled:
            known = _select(connection, OUTCOMES, "id = ?", outcome.id) if outcome.id else []
            earlier = _about(connection, root(outcome.subject)) if outcome.subject else []
            settled = settle(outcome, lessons, _first(known), earlier)
            if not settled.new:
                return settled
            connection.execute(INSERT_OUTCOME, row_of(settled.outcome))
            connection.executemany(INSERT_LESSON, [row_of(lesson) for lesson in settled.lessons])
            if settled.outranked:
                spans = connection.execute(SPANS, (wire.dumps(settled.outranked).decode(),)).fetchall()
                _withdraw(connection, outcome.at, spans, f"outranked by {settled.outcome.id}")
            return settled

        return await self._ask(write, writes=True)

    async def roll_back(self, to: int, stands: int, at: float, why: str) -> None:
        """Let only the first `to` lessons count, and of their withdrawals the first `stands`."""
        await self._ask(
            lambda connection: _withdraw(connection, at, [(to + 1, _lessons(connection))], why, stands),
            writes=True,
        )

    async def save_learner_state(
        self, lessons: int, state: Mapping[str, Any], at: float, withdrawals: int = 0
    ) -> None:
        """Keep a learner snapshot that holds the first `lessons` lessons, of which so many withdrawals took some."""
        text = wire.dumps(state).decode()

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(INSERT_SNAPSHOT, (lessons, at, text, withdrawals))
            connection.execute(FORGET_SNAPSHOTS, (SNAPSHOTS_KEPT,))

        await self._ask(write, writes=True)

    # -- reading ------------------------------------------------------------------------------------------------

    async def decision(self, id: str) -> Decision | None:
        return await self._ask(lambda connection: _first(_select(connection, DECISIONS, "id = ?", id)))

    async def attempts(self, decision: str) -> list[AttemptRecord]:
        """In the order they were made."""
        where = "decision = ? ORDER BY number"
        return await self._ask(lambda connection: _select(connection, ATTEMPTS, where, decision))

    async def result(self, decision: str) -> Result | None:
        return await self._ask(
            lambda connection: _first(_select(connection, RESULTS, "decision = ?", decision))
        )

    async def outcome(self, id: str) -> Outcome | None:
        return await self._ask(lambda connection: _first(_select(connection, OUTCOMES, "id = ?", id)))

    async def decisions(self, after: str = "", limit: int = 1_000) -> list[Decision]:
        """The first of those behind this id, whole, in the order of their ids, which is that of time."""
        where = f"id > ? ORDER BY id LIMIT {limit:d}"
        return await self._ask(lambda connection: _select(connection, DECISIONS, where, after))

    async def before_newest(self, count: int) -> str:
        """The id behind which the newest `count` decisions lie; empty where there are no more than these."""
        query = "SELECT id FROM decisions ORDER BY id DESC LIMIT 1 OFFSET ?"
        row = await self._ask(lambda connection: connection.execute(query, (count,)).fetchone())
        return "" if row is None else str(row[0])

    async def results(self, decisions: Sequence[Decision]) -> dict[str, Result]:
        """How these ended, by decision id. Unfinished requests are not in it."""
        ids = wire.dumps([decision.id for decision in decisions]).decode()
        where = "decision IN (SELECT value FROM json_each(?))"
        found = await self._ask(lambda connection: _select(connection, RESULTS, where, ids))
        return {result.decision: result for result in found}

    async def decisions_of_session(self, session: str) -> list[Decision]:
        """In the order they were made, without features, hints, candidates and trace."""
        where = "session = ? AND session <> '' ORDER BY at, rowid"
        return await self._ask(
            lambda connection: _select(connection, DECISIONS, where, session, without=HEAVY)
        )

    async def served(self, decisions: Sequence[Decision]) -> dict[str, str]:
        """The model that answered, by decision id; empty where none did. Unfinished requests are not in it."""
        ids = wire.dumps([decision.id for decision in decisions]).decode()
        query = "SELECT decision, model FROM results WHERE decision IN (SELECT value FROM json_each(?))"
        return await self._ask(lambda connection: dict(connection.execute(query, (ids,)).fetchall()))

    async def lessons(self, after: int = 0) -> list[Lesson]:
        """Every lesson but the first `after`, in the order they were committed."""
        return await self._ask(lambda connection: _select(connection, LESSONS, NUMBERED, after))

    async def withdrawals(self) -> list[Withdrawal]:
        """In the order they were committed."""
        return await self._ask(lambda connection: _select(connection, WITHDRAWALS, NUMBERED, 0))

    async def taught(self, lessons: int, withdrawals: int) -> tuple[list[Lesson], list[Withdrawal]]:
        """The lessons and the withdrawals after so many of each."""
        return await self._ask(
            lambda connection: (
                _select(connection, LESSONS, NUMBERED, lessons),
                _select(connection, WITHDRAWALS, NUMBERED, withdrawals),
            )
        )

    async def outcomes(self, about: str) -> list[Outcome]:
        """Those about this subject or a part of it, in the order they were told."""
        return await self._ask(lambda connection: _about(connection, about))

    async def told(self) -> list[Outcome]:
        """Every outcome, in the order they were told."""
        return await self._ask(
            lambda connection: _select(connection, OUTCOMES, "rowid > ? ORDER BY rowid", 0)
        )

    async def lessons_of(self, outcome: str) -> list[Lesson]:
        """What an outcome taught, whether it still counts or not."""
        where = "outcome = ? ORDER BY number"
        return await self._ask(lambda connection: _select(connection, LESSONS, where, outcome))

    async def rows(self, query: str, value: Any = None) -> list[Row]:
        """Of a query of one value over the tables above, for reports."""
        values = () if value is None else (value,)
        return await self._ask(lambda connection: connection.execute(query, values).fetchall())

    async def load_learner_state(self) -> tuple[int, dict[str, Any]] | None:
        """The newest snapshot, and how many lessons it holds."""
        row = await self._ask(lambda connection: connection.execute(NEWEST_SNAPSHOT).fetchone())
        return None if row is None else (row[0], wire.loads(row[1]))

    # -- life ---------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """How it fares: events waiting, events lost since the start, and what is wrong with the disk, if anything."""
        waiting = len(self._events) + len(self._batch)
        return {
            "status": "failing" if self._trouble else "ok",
            "waiting": waiting,
            "lost": self._lost,
            "trouble": self._trouble,
        }

    async def flush(self) -> None:
        """Wait until everything recorded so far is committed. Raises JournalError where it cannot be."""

        def written(_: sqlite3.Connection) -> None:
            if self._batch:
                raise JournalError(f"the journal {self._path} cannot be written: {self._trouble}")

        await self._ask(written)

    async def close(self) -> None:
        """Commit what was recorded, and stop. What cannot be written is lost, and `warn` says so."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    # -- the journal's thread -----------------------------------------------------------------------------------

    async def _ask(self, work: Callable[[sqlite3.Connection], T], writes: bool = False) -> T:
        if self._closing:
            raise JournalError(f"the journal {self._path} is closed")
        ask = _Ask(work, Future(), writes)
        self._asks.append(ask)
        self._wake.set()
        return await asyncio.wrap_future(ask.answer)

    def _run(self) -> None:
        try:
            connection = _connect(self._path, self._read_only)
        except Exception as error:  # whoever opens it is told
            failure = error if isinstance(error, JournalError) else _unusable(self._path, error)
            self._closing = True
            self._opened.set_exception(failure)
            return
        self._opened.set_result(None)
        closing = False
        while not closing:
            self._wake.wait(COMMIT_SECONDS)
            self._wake.clear()
            closing = self._closing  # read first: what was recorded before it was set is still written
            self._write(connection)
            self._answer(connection)
            self._report()
        self._lost += len(self._batch) + len(self._events)
        self._report()
        connection.close()

    def _write(self, connection: sqlite3.Connection) -> None:
        """Commit what is queued. A batch that fails stays, and is tried again at the next turn."""
        while self._batch or self._events:
            while self._events and len(self._batch) < ROWS_A_COMMIT:
                self._batch.append(self._events.popleft())
            try:
                with _transaction(connection):
                    unwritable = sum(not _insert(connection, event) for event in self._batch)
            except sqlite3.Error as error:
                self._troubled(str(error))
                return
            self._lost += unwritable
            self._batch.clear()
            self._troubled("")

    def _answer(self, connection: sqlite3.Connection) -> None:
        asks = [self._asks.popleft() for _ in range(len(self._asks))]
        asks = [ask for ask in asks if ask.answer.set_running_or_notify_cancel()]
        for group in ([ask for ask in asks if ask.writes], *([ask] for ask in asks if not ask.writes)):
            if group:
                self._answer_together(connection, group)

    def _answer_together(self, connection: sqlite3.Connection, asks: Sequence[_Ask[Any]]) -> None:
        """All of it in one transaction: committed for everyone who asked, or for none of them."""
        try:
            with _transaction(connection) if asks[0].writes else _no_transaction():
                answers = [ask.work(connection) for ask in asks]
        except Exception as error:  # whoever asked is told; the thread goes on
            failure = error if isinstance(error, JournalError) else _unusable(self._path, error)
            for ask in asks:
                ask.answer.set_exception(failure)
            return
        for ask, answer in zip(asks, answers, strict=True):
            ask.answer.set_result(answer)

    def _troubled(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._warn(f"the journal {self._path} cannot be written, and its events wait: {trouble}")
        self._trouble = trouble

    def _report(self) -> None:
        if self._lost > self._lost_warned:
            self._warn(f"the journal {self._path} lost {self._lost - self._lost_warned} events")
            self._lost_warned = self._lost


def _unusable(path: str, error: Exception) -> JournalError:
    failure = JournalError(f"the journal {path} cannot be used: {error}")
    failure.__cause__ = error
    return failure


# -- the file -------------------------------------------------------------------------------------------------------


def _connect(path: str, read_only: bool) -> sqlite3.Connection:
    if read_only and path != ":memory:":
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
    else:
        connection = sqlite3.connect(path, isolation_level=None)
    try:
        if not read_only or path == ":memory:":
            _prepare(connection)
        _check_version(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Make what is missing. Leaves a journal of another version as it is."""
    # FULL syncs each commit, so a committed row survives a power cut too; it is our thread that waits.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    with _transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        if _version(connection) is None:
            connection.execute("INSERT INTO meta VALUES ('version', ?)", (VERSION,))
        if _version(connection) != VERSION:
            return
        for table in TABLES:
            _create(connection, table)
        if _has_column(connection, LESSONS, "reward"):
            connection.execute(LESSONS_OF_OLD)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS learner_states (lessons INTEGER PRIMARY KEY, at, state)"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS decisions_by_session ON decisions (session, at)")
        connection.execute("CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (at)")
        connection.execute("CREATE INDEX IF NOT EXISTS outcomes_by_subject ON outcomes (subject)")
        connection.execute("CREATE INDEX IF NOT EXISTS withdrawals_by_first ON withdrawals (first)")
        connection.execute(
            "CREATE INDEX IF NOT EXISTS rollbacks ON withdrawals (stands) WHERE stands < number - 1"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS lessons_by_outcome ON lessons (outcome)")


def _version(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return None if row is None else str(row[0])


def _check_version(connection: sqlite3.Connection, path: str) -> None:
    version = _version(connection)
    if version != VERSION:
        raise JournalError(f"the journal {path} is of version {version}; this engine reads version {VERSION}")


def _create(connection: sqlite3.Connection, table: Table) -> None:
    number = "number INTEGER PRIMARY KEY, " if table.numbered else ""
    key = f", PRIMARY KEY ({table.key})" if table.key else ""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({number}{', '.join(table.columns)}{key})")
    for column in table.columns:
        if not _has_column(connection, table, column):
            connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {column}")


def _has_column(connection: sqlite3.Connection, table: Table, column: str) -> bool:
    return any(row[1] == column for row in connection.execute(f"PRAGMA table_info({table.name})"))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _no_transaction() -> Iterator[None]:
    yield


def _insert(connection: sqlite3.Connection, event: Recorded) -> bool:
    """False for an event that no row can hold."""
    try:
        connection.execute(INSERT[type(event)], row_of(event))
    except UNWRITABLE:
        return False
    return True


def _withdraw(
    connection: sqlite3.Connection, at: float, spans: Sequence[Span], why: str, stands: int | None = None
) -> None:
    """Withdraws what counts of these, and the snapshots that hold it."""
    before = int(connection.execute("SELECT count(*) FROM withdrawals").fetchone()[0])
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
        stale = first_touched(_select(connection, WITHDRAWALS, NUMBERED, 0), before)
    connection.execute("DELETE FROM learner_states WHERE lessons >= ?", (stale,))


def _gone(connection: sqlite3.Connection, spans: Sequence[Span]) -> Collection[int]:
    """Of the first lessons of these spans, those that count no more. Where nobody has rolled back, who was outranked
    is found by its number."""
    if connection.execute("SELECT 1 FROM withdrawals WHERE stands < number - 1 LIMIT 1").fetchone():
        return withdrawn(_select(connection, WITHDRAWALS, NUMBERED, 0))
    firsts = wire.dumps([first for first, _ in spans]).decode()
    query = "SELECT first FROM withdrawals WHERE first IN (SELECT value FROM json_each(?))"
    return {row[0] for row in connection.execute(query, (firsts,))}


def _about(connection: sqlite3.Connection, subject: str) -> list[Outcome]:
    where = "subject = ?1 OR (subject >= ?1 || '/' AND subject < ?1 || '0') ORDER BY rowid"
    return _select(connection, OUTCOMES, where, subject)


def _lessons(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM lessons").fetchone()[0])


# -- reading ---------------------------------------------------------------------------------------------------------


def _select(
    connection: sqlite3.Connection, table: Table, where: str, value: Any, without: Sequence[str] = ()
) -> list[Any]:
    columns = [column for column in table.columns if column not in without]
    query = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {where}"  # noqa: S608 - names are ours
    return [event_of(table.of, columns, row) for row in connection.execute(query, (value,))]


def _first(events: Sequence[Any]) -> Any:
    return events[0] if events else None
