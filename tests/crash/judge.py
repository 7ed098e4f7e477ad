"""What must be on disk after a process was killed: read from its journal, while no engine runs."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from engine import wire
from engine.core.cost import nanos
from engine.learning.state import State
from engine.server.journal import Journal
from engine.server.learner import Learners, fold_standing
from engine.server.withdrawals import withdrawn
from tests.crash.load import Known

# What was answered this long before a kill is committed: the interval of commits, and a slow machine's share.
COMMITTED_SECONDS = 1.5


@dataclass(slots=True)
class Found:
    """What is wrong, by kind; and how much there is."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    lessons: int = 0
    spent: int = 0  # nano-dollars, with what open reservations are about to be charged

    def add(self, kind: str, what: object) -> None:
        self.wrong.setdefault(kind, []).append(str(what))


async def judge(path: Path, known: Known, killed_at: float, spent_before: int) -> Found:
    found = Found()
    with closing(sqlite3.connect(path)) as connection:
        _integrity(connection, found)
        _outcomes(connection, known, found)
        _decisions(connection, known, killed_at, found)
        _spend(connection, spent_before, found)
    await _learned(path, found)
    return found


def _integrity(connection: sqlite3.Connection, found: Found) -> None:
    told = connection.execute("PRAGMA integrity_check").fetchall()
    if told != [("ok",)]:
        found.add("integrity", told)


def _outcomes(connection: sqlite3.Connection, known: Known, found: Found) -> None:
    there = {row[0] for row in connection.execute("SELECT id FROM outcomes")}
    for id in sorted(known.outcomes - there):
        found.add("outcomes_lost", id)
    twice = "SELECT outcome, count(*) FROM lessons GROUP BY outcome, learner HAVING count(*) > 1"
    for row in connection.execute(twice):
        found.add("outcomes_twice", row)
    alone = "SELECT outcome FROM lessons WHERE outcome NOT IN (SELECT id FROM outcomes)"
    for row in connection.execute(alone):
        found.add("lessons_of_nothing", row)


def _decisions(connection: sqlite3.Connection, known: Known, killed_at: float, found: Found) -> None:
    there = {row[0] for row in connection.execute("SELECT decision FROM results")}
    for id in [id for id in known.finished if id not in there]:
        before = killed_at - known.finished.pop(id)  # what was lost once is told once
        if before > COMMITTED_SECONDS:
            found.add("results_lost", f"{id}, {before:.2f} s before")


def _spend(connection: sqlite3.Connection, spent_before: int, found: Found) -> None:
    """By team alone: every request has one. What is reserved is charged with its result's cost, or in full."""
    spent = connection.execute("SELECT coalesce(sum(nanos), 0) FROM spent WHERE per = 'identity.team'")
    total = int(spent.fetchone()[0])
    opened = (
        "SELECT nanos, cost_usd, coalesce(wasted_usd, 0) FROM reserved"
        " LEFT JOIN results ON results.decision = reserved.decision"
    )
    for held, cost_usd, wasted_usd in connection.execute(opened):
        total += held if cost_usd is None else nanos(cost_usd + wasted_usd)
    cost = sum(nanos(row[0]) for row in connection.execute("SELECT cost_usd FROM results"))
    if total < cost:
        found.add("spend_lost", f"{cost - total} nano-dollars of {cost}")
    if total < spent_before:
        found.add("spend_lost", f"{spent_before - total} nano-dollars since the last time")
    found.spent = total


async def _learned(path: Path, found: Found) -> None:
    """The snapshot and what came after it make what all the lessons make, to the last digit."""
    journal = await Journal.open(path, read_only=True)
    try:
        learners = await Learners.from_journal(journal)
        lessons = await journal.lessons()
        state = State()
        fold_standing(state, lessons, withdrawn(await journal.withdrawals()))
        if wire.dumps(state.to_json()) != wire.dumps(learners.to_json()):
            found.add("learned_otherwise", f"{len(lessons)} lessons")
        found.lessons = len(lessons)
    finally:
        await journal.close()
