"""The journal's file: opening it, what is in it, and reading rows back. The one door to SQLite.

Tables have a column for each field of their type in `core/decision.py`; what SQLite has no type for is JSON.
A field that a newer engine adds becomes a column when it opens an older journal; an older row has its default.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

from engine.core.errors import Fault, WeaveError
from engine.server.rows import LESSONS, TABLES, Row, Table, event_of

VERSION = "1"
MEMORY = ":memory:"
RETRY_SECONDS = 5.0  # after which who needs the journal may ask again
LOCK_SECONDS = 2.0  # how long another process's write is waited for

Connection = sqlite3.Connection
DatabaseError = sqlite3.Error

# What there is besides the tables of events, by name.
OTHERS = {
    "learner_states": "TABLE {} (lessons INTEGER PRIMARY KEY, at, state)",
    "decisions_by_session": "INDEX {} ON decisions (session, at)",
    "decisions_by_time": "INDEX {} ON decisions (at)",
    "outcomes_by_subject": "INDEX {} ON outcomes (subject)",
    "withdrawals_by_first": "INDEX {} ON withdrawals (first)",
    "rollbacks": "INDEX {} ON withdrawals (stands) WHERE stands < number - 1",
    "lessons_by_outcome": "INDEX {} ON lessons (outcome)",
    "pins_by_end": "INDEX {} ON pins (expires)",
    "contents_by_time": "INDEX {} ON contents (at)",
    "lineages_by_time": "INDEX {} ON lineages (at)",
}

# Older engines kept a lesson about one model and its reward in -1..1.
LESSONS_OF_OLD = """UPDATE lessons SET score = (reward + 1) / 2.0,
    steps = json_array(json_object('model', model, 'share', 1.0)) WHERE steps IS NULL"""

LOST = "what was decided, learned and spent"

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


class JournalError(WeaveError):
    """The journal cannot be opened, read or written; the message says which and why."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault("overloaded", message, 503, retry_after_seconds=RETRY_SECONDS))


def unusable(path: str, error: Exception) -> JournalError:
    remedy = "" if passes(error) else f"; restore a copy of it, or move it away to begin without {LOST}"
    failure = JournalError(f"the journal {path} cannot be used: {error}{remedy}")
    failure.__cause__ = error
    return failure


def connect(path: str, read_only: bool) -> Connection:
    """Raises JournalError for a journal of another version, DatabaseError where the file cannot be used."""
    if read_only and path != MEMORY:
        return _checked(_opened_at(path, "mode=ro"), path)
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return _checked(connection, path)


def connect_reading(path: str) -> Connection:
    """A journal that can only be read, as it stands: on a disk that takes not even the file that locks need."""
    try:
        return _checked(_opened_at(path, "mode=ro"), path)
    except sqlite3.OperationalError:
        return _checked(_opened_at(path, "mode=ro&immutable=1"), path)


def copy_to(connection: Connection, path: str) -> None:
    """All of it into a new file."""
    with closing(sqlite3.connect(path)) as other:
        connection.backup(other)


def passes(error: BaseException) -> bool:
    """Whether a fault may be gone later: a disk that is full or read-only, a lock. A damaged file stays damaged."""
    return isinstance(error, sqlite3.OperationalError)


def _opened_at(path: str, how: str) -> Connection:
    return sqlite3.connect(f"file:{quote(path)}?{how}", timeout=LOCK_SECONDS, uri=True, isolation_level=None)


def _checked(connection: Connection, path: str) -> Connection:
    try:
        version = _told(connection, "version")
        if version != VERSION:
            raise JournalError(
                f"the journal {path} is of version {version}; this engine reads version {VERSION}"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: Connection) -> None:
    """Make what is missing. Leaves a journal of another version as it is, and one of this engine's unwritten."""
    if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a new file takes it
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL syncs each commit, so a committed row survives a power cut too; it is our thread that waits.
    connection.execute("PRAGMA synchronous = FULL")
    if _whole(connection):
        return
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        if _told(connection, "version") is None:
            connection.execute("INSERT INTO meta VALUES ('version', ?)", (VERSION,))
        if _told(connection, "version") != VERSION:
            return
        for table in TABLES:
            _create(connection, table)
        if "reward" in _columns(connection, LESSONS):
            connection.execute(LESSONS_OF_OLD)
        for name, what in OTHERS.items():
            connection.execute(f"CREATE {what.format(f'IF NOT EXISTS {name}')}")


def _whole(connection: Connection) -> bool:
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    named = {"meta", *OTHERS, *(table.name for table in TABLES)}
    return named <= there and not any(_lacking(connection, table) for table in TABLES)


def _told(connection: Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _create(connection: Connection, table: Table) -> None:
    number = "number INTEGER PRIMARY KEY, " if table.numbered else ""
    key = f", PRIMARY KEY ({table.key})" if table.key else ""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({number}{', '.join(table.columns)}{key})")
    for column in _lacking(connection, table):
        connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {column}")


def _lacking(connection: Connection, table: Table) -> list[str]:
    there = _columns(connection, table)
    return [column for column in table.columns if column not in there]


def _columns(connection: Connection, table: Table) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def select(
    connection: Connection, table: Table, where: str, value: Any, without: Sequence[str] = ()
) -> list[Any]:
    columns = [column for column in table.columns if column not in without]
    query = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {where}"  # noqa: S608 - names are ours
    return [event_of(table.of, columns, row) for row in connection.execute(query, (value,))]


def kept(connection: Connection, table: Table, most: int, by: str, above: float) -> dict[str, Row]:
    """The rows of what is kept by key, as they lie there: by an index it would take three times as long."""
    where = f"WHERE +{by} > ? LIMIT {most:d}"
    query = f"SELECT {', '.join(table.columns)} FROM {table.name} {where}"  # noqa: S608 - names are ours
    return {row[0]: row for row in connection.execute(query, (above,))}


def first_of(events: Sequence[Any]) -> Any:
    return events[0] if events else None
