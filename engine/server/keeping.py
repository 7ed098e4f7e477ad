"""What the engine has in mind of its sessions, kept in the journal too, so that a restart loses none of it: which
model a session has, who sealed what is in a conversation, and which canaries were switched off.

Memory is asked; the journal is written behind it, with the last moment's decisions, and read once, at the start: the
rows of a hundred thousand sessions in a moment, of which those become objects whose session comes back.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from engine.core.lineage import Lineage, Lineages
from engine.core.ports import Pin, PinStore
from engine.server.journal import Journal
from engine.server.rows import LINEAGES, PINS, STOPPED, Row, Stopped, of_kept

MOST_PINS = 100_000
MOST_LINEAGES = 200_000
MOST_STOPPED = 1_000
LINEAGE_SECONDS = (
    3_600.0  # a lineage that stays as it was is written again after so long, to stay among the newest
)

Now = Callable[[], float]
Kept = dict[str, Row]


class KeptPins:
    """A PinStore in front of another one. What was kept before the start is a row until it is asked for."""

    def __init__(
        self, pins: PinStore, journal: Journal, kept: Kept | None = None, began: float = 0.0
    ) -> None:
        self._pins = pins
        self._journal = journal
        self._kept = kept or {}
        self._began = began

    @classmethod
    async def load(cls, pins: PinStore, journal: Journal, now: float) -> "KeptPins":
        return cls(pins, journal, await journal.kept(PINS, MOST_PINS, "expires", now), now)

    def get(self, key: str, now: float) -> Pin | None:
        row = self._kept.pop(key, None)
        if row is not None:
            self._pins.put(key, _in_time(of_kept(PINS, row), self._began))
        return self._pins.get(key, now)

    def put(self, key: str, pin: Pin) -> None:
        self._kept.pop(key, None)
        self._pins.put(key, pin)
        self._journal.keep(PINS, (key,), pin)


def _in_time(pin: Pin, now: float) -> Pin:
    """A pin that was made when the clock was ahead does not hold longer than one that is made now."""
    ahead = pin.since - now
    return pin if ahead <= 0 else replace(pin, since=now, expires=pin.expires - ahead)


class KeptLineages:
    """Lineages in front of another store of them. Most of them stay as they were from turn to turn."""

    def __init__(
        self, lineages: Lineages, journal: Journal, kept: Kept | None = None, now: Now = time.time
    ) -> None:
        self._lineages = lineages
        self._journal = journal
        self._kept = kept or {}
        self._now = now
        self._began = now()
        self._written: dict[str, float] = {}  # in the last while

    @classmethod
    async def load(cls, lineages: Lineages, journal: Journal, now: Now = time.time) -> "KeptLineages":
        return cls(lineages, journal, await journal.kept(LINEAGES, MOST_LINEAGES), now)

    def get(self, key: str) -> Lineage | None:
        row = self._kept.pop(key, None)
        if row is not None:
            self._lineages.put(key, of_kept(LINEAGES, row))
        return self._lineages.get(key)

    def put(self, key: str, lineage: Lineage) -> None:
        known, now = self.get(key), self._now()
        self._lineages.put(key, lineage)
        if not 0 <= now - self._began < LINEAGE_SECONDS:
            self._began, self._written = now, {}
        if lineage != known or key not in self._written:
            if len(self._written) < MOST_LINEAGES:
                self._written[key] = now
            self._journal.keep(LINEAGES, (key, now), lineage)


class Stops:
    """Why canaries were switched off, by what they were about."""

    def __init__(self, journal: Journal, known: Mapping[str, Stopped] | None = None) -> None:
        self._journal = journal
        self._known = dict(known or {})

    @classmethod
    async def load(cls, journal: Journal) -> "Stops":
        kept = await journal.kept(STOPPED, MOST_STOPPED)
        return cls(journal, {key: of_kept(STOPPED, row) for key, row in kept.items()})

    def why(self, about: Any) -> str:
        """Empty where none was."""
        found = self._known.get(_name(about))
        return found.why if found is not None else ""

    def put(self, about: Any, why: str, at: float) -> None:
        stopped = Stopped(at, why)
        self._known[_name(about)] = stopped
        while len(self._known) > MOST_STOPPED:
            del self._known[next(iter(self._known))]
        self._journal.keep(STOPPED, (_name(about),), stopped)


def _name(about: Any) -> str:
    """A canary is known by what its trial is about: the policies concerned, as they are written."""
    return hashlib.blake2b(repr(about).encode(), digest_size=12).hexdigest()
