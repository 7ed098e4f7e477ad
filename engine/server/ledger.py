"""The books on disk: what is spent survives whatever becomes of the process.

**Before a request is sent, its reservation is committed**; requests that come at the same time share a commit. What a
request came to is committed with the next one, or within `COMMIT_SECONDS`. A process that is killed in between leaves
the reservation behind, and the next one charges it: with what the journal says that the request came to, if its result
got there, else in full. So nothing that was spent is forgotten, and at worst more is charged than was spent.

**On disk** are the slots of the ledger and its open reservations, not its requests: starting reads as many rows as
there are slots within the windows, however long the journal is. Both tables change in one transaction. A commit is not
synced by itself, so that nobody waits for a disk to turn: a killed process loses nothing of it, a power cut what the
journal's own commits, five a second, have not taken along.

**While the journal cannot be written** the ledger goes on in memory, and what is to be written waits; requests are not
kept waiting for it.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from engine import wire
from engine.core.cost import nanos, usd_of
from engine.core.decision import Decision, Result
from engine.core.errors import REFUSALS, BudgetError, Fault
from engine.core.policy import Budget, Inputs, Policy
from engine.routing.budgets import Changes, Hold, Ledger, Scope, scopes_of, value_of
from engine.server.journal import Journal, JournalError
from engine.server.log import Logger
from engine.snapshot import Snapshot
from engine.turn import Facts

COMMIT_SECONDS = 0.2
PATIENCE_SECONDS = 2.0  # how long a request waits for its reservation to be committed
KEPT_MILLISECONDS = 31 * 86_400_000  # slots of what nobody follows any more
LONGEST_RETRY_SECONDS = 60.0
MOST_REACHED = 10_000
MOST_TOLD = 1_000

SPENT = (
    "CREATE TABLE IF NOT EXISTS spent (per TEXT NOT NULL, value TEXT NOT NULL, until INTEGER NOT NULL,"
    " nanos INTEGER NOT NULL, PRIMARY KEY (per, value, until)) WITHOUT ROWID"
)
RESERVED = (
    "CREATE TABLE IF NOT EXISTS reserved (decision TEXT PRIMARY KEY, at INTEGER NOT NULL,"
    " nanos INTEGER NOT NULL, scopes TEXT NOT NULL) WITHOUT ROWID"
)
ADD = (
    "INSERT INTO spent VALUES (?, ?, ?, ?)"
    " ON CONFLICT (per, value, until) DO UPDATE SET nanos = nanos + excluded.nanos"
)
CLEAR = "DELETE FROM spent WHERE per = ? AND value = ? AND until = ? AND nanos = 0"
FORGET = "DELETE FROM spent WHERE until < ?"
MAKE = "INSERT OR REPLACE INTO reserved VALUES (?, ?, ?, ?)"
END = "DELETE FROM reserved WHERE decision = ?"
SLOTS = "SELECT per, value, until, nanos FROM spent ORDER BY per, value, until"
OPEN = (
    "SELECT reserved.decision, reserved.at, nanos, scopes,"
    " CASE WHEN credential = 'client' THEN 0.0 ELSE cost_usd END, coalesce(wasted_usd, 0)"
    " FROM reserved LEFT JOIN results ON results.decision = reserved.decision"
)


class Connection(Protocol):
    """As much of a database as this needs."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any: ...
    def executemany(self, sql: str, parameters: Any, /) -> Any: ...


class Books:
    """The ledger of a running engine, and its rows in the journal."""

    def __init__(self, journal: Journal, log: Logger) -> None:
        self.ledger = Ledger()
        self._journal = journal
        self._log = log
        self._policies: Mapping[str, Policy] = {}  # those whose budgets are followed
        self._running: asyncio.Future[None] | None = None  # the commit under way
        self._next: asyncio.Future[None] | None = None  # and the one that takes what changed since
        self._failing = False
        self._reached: set[tuple[str, str]] = set()  # budgets by value, as they were told

    @classmethod
    async def open(cls, journal: Journal, snapshot: Snapshot, log: Logger) -> "Books":
        """The books as they were left, what was still open charged. Raises JournalError where they cannot be read."""
        books = cls(journal, log)
        books._follow(snapshot)
        longest = max((budget.window_seconds for budget in _budgets(snapshot)), default=0.0)
        forget_before = _now() - max(int(longest * 1000), KEPT_MILLISECONDS)
        try:
            await journal.ask(lambda connection: _tidy(connection, forget_before), writes=True)
        except JournalError as error:
            books._trouble(error.fault.message)
        slots, holds = await journal.ask(_read)
        books.ledger.restore(slots)
        if holds:
            charged = [books.ledger.forfeit(id, hold, amount) for id, hold, amount in holds]
            unknown = sum(amount is None for _, _, amount in holds)
            log("budgets", level="warning", unsettled=unknown, charged_usd=usd_of(sum(charged)))
            await books.commit()
        return books

    def hold(self, facts: Facts, decision: Decision, snapshot: Snapshot) -> None:
        """Reserve what a request may cost, for everyone it is charged to. In the same step of the event loop as the
        decision, so that what was room then still is. Raises BudgetError where it is not."""
        self._follow(snapshot)
        scopes = scopes_of(self.ledger.pers, facts.inputs, facts.session)
        if not scopes:
            return
        limits = (
            ()
            if decision.source == "guard"
            else _limits(snapshot.policy.budgets, facts.inputs, facts.session)
        )
        amount = nanos(decision.reserved_usd)
        refused = self.ledger.reserve(decision.id, scopes, amount, decision.at, limits)
        if refused is not None:
            budget, value = refused
            message = f"budget {budget.name!r} of {budget.per} {value!r} has no room any more"
            raise BudgetError(
                Fault(REFUSALS[budget.reject], message, budget.reject, "engine", "budget"), budget.name, value
            )

    def settle(self, result: Result, snapshot: Snapshot) -> None:
        """Charge what a request came to, of which a client's own credential pays its answer."""
        now = result.at
        paid = 0.0 if result.credential == "client" else result.cost_usd
        amount = nanos(paid) + nanos(result.wasted_usd)
        scopes = self.ledger.settle(result.decision, amount, now)
        if amount and scopes:
            self._tell_reached(snapshot.policy.budgets, scopes, now)

    def release(self, decision: str) -> None:
        """Whatever became of a request, nothing is held for it any more."""
        self.ledger.release(decision)

    async def committed(self, decision: str) -> None:
        """Wait until what was just reserved is on disk, unless the disk does not take it."""
        if self._failing or not self.ledger.is_unwritten(decision):
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.commit()
        except TimeoutError:
            self._trouble(f"it did not take what is reserved within {PATIENCE_SECONDS:g} seconds")

    async def commit(self) -> None:
        """Write what has changed, together with everyone who asks for it meanwhile."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._commit_after(self._running))
        await asyncio.shield(self._next)

    async def follow(self) -> None:
        """Write what changes, as long as the engine runs."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            if self.ledger.changed:
                await self.commit()

    def health(self) -> dict[str, Any]:
        """How many requests hold money, and whether what is spent is on disk."""
        return {"open": self.ledger.open, "status": "failing" if self._failing else "ok"}

    def told(
        self, snapshot: Snapshot, now: float, only: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """How the budgets that serve stand, the fullest first, of those who spent last; of one identity, where it is
        not for everybody."""
        told = [
            self._told(budget, value, now)
            for budget in snapshot.policy.budgets
            for value in (
                self.ledger.accounts(budget.per, MOST_TOLD) if only is None else [only.get(budget.per)]
            )
            if value
        ]
        return sorted(told, key=lambda each: -each["share"])[:MOST_TOLD]

    def _told(self, budget: Budget, value: str, now: float) -> dict[str, Any]:
        standing = self.ledger.standing(budget, value, now)
        most = nanos(budget.usd)
        return {
            "budget": budget.name,
            "per": budget.per,
            "value": value,
            "spent_usd": usd_of(standing.spent),
            "reserved_usd": usd_of(standing.reserved),
            "limit_usd": budget.usd,
            "share": round(standing.taken / most, 4),
            "window_seconds": budget.window_seconds,
            "over": {"use": budget.use} if budget.use else {"reject": budget.reject},
            "reached": standing.taken >= most,
            "empty_in_seconds": self.ledger.room_in(budget, value, most, now),
        }

    def _tell_reached(self, budgets: Iterable[Budget], scopes: Iterable[Scope], now: float) -> None:
        values = dict(scopes)
        for budget in budgets:
            value = values.get(budget.per)
            if value is None:
                continue
            standing, name = self.ledger.standing(budget, value, now), (budget.name, value)
            if standing.spent < nanos(budget.usd):
                self._reached.discard(name)
            elif name not in self._reached and len(self._reached) < MOST_REACHED:
                self._reached.add(name)
                self._log(
                    "budget",
                    level="warning",
                    budget=budget.name,
                    per=budget.per,
                    value=value,
                    spent_usd=usd_of(standing.spent),
                    limit_usd=budget.usd,
                    over=budget.use or budget.reject,
                )

    def _follow(self, snapshot: Snapshot) -> None:
        if snapshot.policies is not self._policies:
            self._policies = snapshot.policies
            self.ledger.follow(_budgets(snapshot))

    async def _commit_after(self, running: "asyncio.Future[None] | None") -> None:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        changes = self.ledger.take()
        if not changes:
            return
        try:
            await self._journal.urge(lambda connection: write(connection, changes))
        except JournalError as error:
            self.ledger.put_back(changes)
            self._trouble(error.fault.message)
            return
        if self._failing:
            self._failing = False
            self._log("budgets", journal="what is spent is on disk again")

    def _trouble(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            self._log("budgets", level="warning", journal=f"what is spent is in memory alone: {why}")


def retry_advice(fault: Fault) -> list[tuple[bytes, bytes]]:
    """For clients that ask again by themselves, as Anthropic's and OpenAI's libraries do: not where room takes longer
    than they would wait."""
    wait = fault.retry_after_seconds
    return [] if wait is not None and wait <= LONGEST_RETRY_SECONDS else [(b"x-should-retry", b"false")]


def write(connection: Connection, changes: Changes) -> None:
    """Changes as rows."""
    _make_tables(connection)
    connection.executemany(ADD, [(*slot, amount) for slot, amount in changes.slots.items()])
    connection.executemany(CLEAR, [slot for slot, amount in changes.slots.items() if amount < 0])
    connection.executemany(MAKE, [_row(id, hold) for id, hold in changes.made.items()])
    connection.executemany(END, [(id,) for id in changes.ended])


def _row(id: str, hold: Hold) -> tuple[str, int, int, str]:
    return id, hold.at, hold.amount, wire.dumps(hold.scopes).decode()


def _make_tables(connection: Connection) -> None:
    connection.execute(SPENT)
    connection.execute(RESERVED)


def _tidy(connection: Connection, forget_before: int) -> None:
    _make_tables(connection)
    connection.execute(FORGET, (forget_before,))


def _read(
    connection: Connection,
) -> tuple[list[tuple[str, str, int, int]], list[tuple[str, Hold, int | None]]]:
    """The slots, and what is open with what it came to, where that is known."""
    there = connection.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('spent', 'reserved')")
    if there.fetchone()[0] < 2:
        return [], []
    return connection.execute(SLOTS).fetchall(), [_open(*row) for row in connection.execute(OPEN)]


def _open(
    id: str, at: int, amount: int, scopes: str, cost_usd: float | None, wasted_usd: float
) -> tuple[str, Hold, int | None]:
    hold = Hold(tuple((per, value) for per, value in wire.loads(scopes)), amount, at)
    return id, hold, None if cost_usd is None else nanos(cost_usd) + nanos(wasted_usd)


def _budgets(snapshot: Snapshot) -> list[Budget]:
    """Of every policy of the set: those on trial charge the same accounts."""
    return [budget for policy in snapshot.policies.values() for budget in policy.budgets]


def _limits(budgets: Iterable[Budget], inputs: Inputs, session: str) -> list[tuple[Budget, str]]:
    refusing = [(budget, value_of(budget.per, inputs, session)) for budget in budgets if budget.reject]
    return [(budget, value) for budget, value in refusing if value]


def _now() -> int:
    return int(time.time() * 1000)
