"""What the journal forgets: rows whose time is over, a few at a time, so that nobody waits for it.

Forgotten are decisions with their attempts and results, what was said, pins that ended, and who sealed conversations
that nobody went on with. Never forgotten is what the learners are a fold of: lessons, withdrawals, and the outcomes
that settle which of them count. Nor is what was spent, which has a time of its own.

The clock that says what is old goes evenly from the start of the engine: one that is set a year ahead under it makes
nothing old.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.core.policy import Recording
from engine.server.database import Connection, transaction

ROWS_AT_ONCE = 400
PAGES_AT_ONCE = 200
FREE_PAGES = 1_000  # are kept for what comes next
MOST_PINS = 100_000
MOST_LINEAGES = 200_000

OLD_DECISIONS = "SELECT id FROM decisions WHERE at < ? ORDER BY at LIMIT ?"
# Of each decision; the decision goes last, so that what is interrupted is found again.
OF_DECISIONS = (
    "DELETE FROM attempts WHERE decision = ?",
    "DELETE FROM results WHERE decision = ?",
    "DELETE FROM contents WHERE decision = ?",
    "DELETE FROM decisions WHERE id = ?",
)
OLD_CONTENTS = "DELETE FROM contents WHERE decision IN (SELECT decision FROM contents WHERE at < ? LIMIT ?)"
ENDED_PINS = "DELETE FROM pins WHERE key IN (SELECT key FROM pins WHERE expires <= ? LIMIT ?)"
PINS_TOO_MANY = "DELETE FROM pins WHERE key IN (SELECT key FROM pins ORDER BY expires LIMIT ?)"
LINEAGES_TOO_MANY = "DELETE FROM lineages WHERE key IN (SELECT key FROM lineages ORDER BY at LIMIT ?)"


def even_clock() -> Callable[[], float]:
    """Seconds since the epoch, as it was when this was made and has gone on since."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


@dataclass(slots=True)
class Retention:
    """Asked by the journal's thread. `recording` says what serves now."""

    recording: Callable[[], Recording]
    clock: Callable[[], float]
    counted: float = -1e9

    def __call__(self, connection: Connection) -> bool:
        """Whether there is more to do."""
        now, rules = self.clock(), self.recording()
        with transaction(connection):
            old = connection.execute(OLD_DECISIONS, (now - rules.decisions_seconds, ROWS_AT_ONCE)).fetchall()
            for statement in OF_DECISIONS:
                connection.executemany(statement, old)
            gone = [
                len(old),
                connection.execute(OLD_CONTENTS, (now - rules.contents_seconds, ROWS_AT_ONCE)).rowcount,
                connection.execute(ENDED_PINS, (now, ROWS_AT_ONCE)).rowcount,
                *self._too_many(connection, now),
            ]
        return max(gone) >= ROWS_AT_ONCE or _shrunk(connection)

    def _too_many(self, connection: Connection, now: float) -> list[int]:
        """Beyond what an engine has in mind. Counting takes a moment, so it is done now and then."""
        if now - self.counted < 60.0:
            return []
        gone = []
        for table, most, statement in (
            ("pins", MOST_PINS, PINS_TOO_MANY),
            ("lineages", MOST_LINEAGES, LINEAGES_TOO_MANY),
        ):
            count = int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - ours
            over = min(count - most, ROWS_AT_ONCE)
            gone.append(connection.execute(statement, (over,)).rowcount if over > 0 else 0)
        if max(gone) < ROWS_AT_ONCE:
            self.counted = now
        return gone


def _shrunk(connection: Connection) -> bool:
    """Give some of what is free back to the disk. A journal older than this keeps its size, and fills it again."""
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    if free <= FREE_PAGES or not connection.execute("PRAGMA auto_vacuum").fetchone()[0]:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({min(free - FREE_PAGES, PAGES_AT_ONCE)})").fetchall()
    return free - FREE_PAGES > PAGES_AT_ONCE
