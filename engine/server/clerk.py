"""The thread that owns the journal: what is to be written waits for it, what is asked is asked of it.

`record` and `keep` put something in a queue and return; the thread turns it into rows and commits at least every
`COMMIT_SECONDS`, so that a crash loses the last moment of events and never a committed row. Everything else is work
handed to the same thread and awaited; what waits is written before it, so that a read sees what was recorded a moment
ago. Works that write and wait together share one commit. What is urgent goes before all of it. What is kept under a
key, and put again before it was written, is written once.

**It never fails a request.** While the disk takes nothing, rows are held and tried again; when the queue is full,
events are counted as lost. `health` and `warn` say so.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.server.database import (
    UNWRITABLE,
    Connection,
    DatabaseError,
    JournalError,
    transaction,
    unusable,
)
from engine.server.journal_file import JournalFile
from engine.server.rows import Row, row_of

COMMIT_SECONDS = 0.2
TEND_SECONDS = 1.0
ROWS_A_COMMIT = 1_000
MOST_KEPT = 200_000  # keys that wait while the disk takes nothing; what they hold is in memory anyway

MOST_ASKS = 10_000

T = TypeVar("T")
Tend = Callable[[Connection], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to be: `lead` are the cells that the value does not hold. The thread makes the rest of it."""

    insert: str
    value: Any
    lead: Row = ()


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    """Work for the thread, and where its result goes."""

    work: Callable[[Connection], T]
    answer: "Future[T]"
    writes: bool


def _nothing(_: Connection) -> bool:
    return False


class Clerk:
    """`tend` looks after what is there, a little at a time; it says whether there is more to do."""

    def __init__(
        self,
        path: str,
        read_only: bool,
        queued_events: int,
        warn: Callable[[str], None],
        tend: Tend = _nothing,
    ) -> None:
        self._path = path
        self._read_only = read_only
        self._queued_events = queued_events
        self._warn = warn
        self._tend = tend
        self._events: deque[Entry] = deque()
        self._batch: list[Entry] = []  # taken from the queue, not yet committed
        self._kept: dict[tuple[str, str], Entry] = {}
        self._keeping: dict[tuple[str, str], Entry] = {}  # of the same batch
        self._asks: deque[_Ask[Any]] = deque()
        self._urgent: deque[_Ask[Any]] = deque()
        self._due = 0.0  # when what is queued is written next
        self._wake = threading.Event()
        self._closing = False
        self._lost = 0
        self._lost_warned = 0
        self._trouble = ""
        self._tended = time.monotonic()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    async def open(self) -> None:
        """Raises JournalError where the journal cannot be used."""
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    def record(self, entry: Entry) -> None:
        """Write this, soon. Never waits and never fails."""
        if self._closing or len(self._events) >= self._queued_events:
            self._lost += 1
            return
        self._events.append(entry)

    def keep(self, key: str, entry: Entry) -> None:
        """Write this, soon, unless another of its key comes first. Never waits and never fails."""
        named = (entry.insert, key)
        if self._closing or (len(self._kept) >= MOST_KEPT and named not in self._kept):
            self._lost += 1
            return
        self._kept[named] = entry

    async def ask(self, work: Callable[[Connection], T], writes: bool = False) -> T:
        """What the work comes to. Raises JournalError where it could not be done."""
        if self._closing:
            raise JournalError(f"the journal {self._path} is closed")
        if len(self._asks) >= MOST_ASKS:
            raise JournalError(f"the journal {self._path} is asked more than it can answer now")
        ask = _Ask(work, Future(), writes)
        self._asks.append(ask)
        self._wake.set()
        return await asyncio.wrap_future(ask.answer)

    async def urge(self, work: Callable[[Connection], T]) -> T:
        """Write this before all that waits, and without waiting for the disk: it is committed when this returns, so
        that a killed process loses nothing of it, and synced by the next commit of what is queued, so that a power cut
        loses the last `COMMIT_SECONDS` of it. Raises JournalError where it could not be written."""
        if self._closing:
            raise JournalError(f"the journal {self._path} is closed")
        ask = _Ask(work, Future(), True)
        self._urgent.append(ask)
        self._wake.set()
        return await asyncio.wrap_future(ask.answer)

    def health(self) -> dict[str, Any]:
        return {
            "status": "failing" if self._trouble else "ok",
            "waiting": self._waiting,
            "lost": self._lost,
            "trouble": self._trouble,
        }

    @property
    def _waiting(self) -> int:
        return len(self._events) + len(self._batch) + len(self._kept) + len(self._keeping)

    async def flush(self) -> None:
        """Wait until everything recorded so far is committed. Raises JournalError where it cannot be."""

        def written(_: Connection) -> None:
            if self._batch or self._keeping:
                raise self._unwritten()

        await self.ask(written)

    async def close(self) -> None:
        """Commit what was recorded, and stop. What cannot be written is lost, and `warn` says so."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._file = JournalFile(self._path, self._read_only, self._warn)
        except Exception as error:  # whoever opens it is told
            failure = error if isinstance(error, JournalError) else unusable(self._path, error)
            self._closing = True
            self._opened.set_exception(failure)
            return
        self._troubled(self._file.trouble)
        self._opened.set_result(None)
        closing = more = False
        while not closing:
            self._wake.wait(0 if more else max(0.0, self._due - time.monotonic()))
            self._wake.clear()
            closing = self._closing  # read first: what was recorded before it was set is still written
            self._look()
            self._answer_urgent()
            if not (closing or more or self._asks) and time.monotonic() < self._due:
                continue
            self._due = time.monotonic() + COMMIT_SECONDS
            self._write()
            self._answer()
            more = not closing and self._look_after(more)
            self._report()
        self._lost += self._waiting
        self._report()
        self._file.close()

    def _look(self) -> None:
        before = self._file.trouble
        self._file.look()
        if before != self._file.trouble:
            self._troubled(self._file.trouble)

    def _write(self) -> None:
        """Commit what is queued. A batch that fails stays, and is tried again at the next turn."""
        while self._waiting and not self._file.trouble:
            while self._events and len(self._batch) < ROWS_A_COMMIT:
                self._batch.append(self._events.popleft())
            while self._kept and len(self._keeping) < ROWS_A_COMMIT:
                key, entry = self._kept.popitem()
                self._keeping[key] = entry
            connection = self._file.connection
            try:
                with transaction(connection):
                    unwritable = sum(not _insert(connection, entry) for entry in self._batch)
                    unwritable += sum(not _insert(connection, entry) for entry in self._keeping.values())
            except DatabaseError as error:
                self._troubled(str(error))
                return
            self._lost += unwritable
            self._batch.clear()
            self._keeping.clear()
            self._troubled("")

    def _answer_urgent(self) -> None:
        asks = _taken(self._urgent)
        if not asks:
            return
        with suppress(DatabaseError):
            self._file.connection.execute("PRAGMA synchronous = NORMAL")
        self._answer_together(asks)
        with suppress(DatabaseError):
            self._file.connection.execute("PRAGMA synchronous = FULL")

    def _answer(self) -> None:
        asks = _taken(self._asks)
        for group in ([ask for ask in asks if ask.writes], *([ask] for ask in asks if not ask.writes)):
            if group:
                self._answer_together(group)

    def _answer_together(self, asks: Sequence[_Ask[Any]]) -> None:
        """All of it in one transaction: committed for everyone who asked, or for none of them."""
        connection, writes = self._file.connection, asks[0].writes
        try:
            if writes and self._file.trouble:
                raise self._unwritten()
            with transaction(connection) if writes else _no_transaction():
                answers = [ask.work(connection) for ask in asks]
        except Exception as error:  # whoever asked is told; the thread goes on
            failure = error if isinstance(error, JournalError) else unusable(self._path, error)
            for ask in asks:
                ask.answer.set_exception(failure)
            return
        for ask, answer in zip(asks, answers, strict=True):
            ask.answer.set_result(answer)

    def _look_after(self, more: bool) -> bool:
        """Whether there is more to do at once."""
        now = time.monotonic()
        if self._trouble or (not more and now - self._tended < TEND_SECONDS):
            return False
        self._tended = now
        try:
            return self._tend(self._file.connection)
        except DatabaseError as error:
            self._warn(f"the journal {self._path} could not be tidied: {error}")
            return False

    def _unwritten(self) -> JournalError:
        return JournalError(
            f"the journal {self._path} cannot be written: {self._trouble or self._file.trouble}"
        )

    def _troubled(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._warn(f"the journal {self._path} cannot be written, and its events wait: {trouble}")
        self._trouble = trouble

    def _report(self) -> None:
        if self._lost > self._lost_warned:
            self._warn(f"the journal {self._path} lost {self._lost - self._lost_warned} events")
            self._lost_warned = self._lost


def _taken(waiting: deque[_Ask[Any]]) -> list[_Ask[Any]]:
    """All of them, but those nobody waits for any more."""
    asks = [waiting.popleft() for _ in range(len(waiting))]
    return [ask for ask in asks if ask.answer.set_running_or_notify_cancel()]


def _insert(connection: Connection, entry: Entry) -> bool:
    """False for what no row can hold."""
    try:
        connection.execute(entry.insert, (*entry.lead, *row_of(entry.value)))
    except UNWRITABLE:
        return False
    return True


@contextmanager
def _no_transaction() -> Iterator[None]:
    yield
