"""The time of day for sessions: it goes on evenly, though somebody sets the machine's clock.

A clock that jumps an hour back would hold sessions to their models an hour longer, and let new decisions sort before
old ones; one that jumps a day ahead would end every session at once. So time goes by the clock that nobody can set, and
follows the other at no more than half a second a second, until they agree again: what lasts thirty minutes lasts
between twenty and sixty of them. While a machine sleeps neither goes, and what is missing then is caught up likewise.
"""

import time
from collections.abc import Callable

FOLLOWS = 0.5  # seconds a second
AGREES_SECONDS = 0.25  # as far apart, they are the same


class EvenClock:
    """Call it for seconds since the epoch. It never goes back."""

    __slots__ = ("_at", "_monotonic", "_now", "_wall")

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._at = monotonic()
        self._now = wall()

    def __call__(self) -> float:
        at = self._monotonic()
        gone = at - self._at
        self._at = at
        self._now += gone
        apart = self._wall() - self._now
        if abs(apart) <= AGREES_SECONDS:
            self._now += max(apart, -gone)
        else:
            self._now += max(-FOLLOWS * gone, min(FOLLOWS * gone, apart))
        return self._now
