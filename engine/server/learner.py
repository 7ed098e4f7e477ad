"""What the learners believe, kept beside the journal that it is a fold of.

At the start the newest snapshot is read and the lessons after it are folded in; a snapshot this engine cannot read
only makes the start slower. A new snapshot is taken every thousand lessons and when the engine stops.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from engine.core.decision import Lesson, Outcome
from engine.core.policy import Learner
from engine.core.ports import Belief
from engine.learning.state import State, fold
from engine.server.journal import Journal, JournalError

LESSONS_A_SNAPSHOT = 1_000


class Learners:
    """A `Trust` that learns. One event loop owns it."""

    def __init__(self, journal: Journal, state: State) -> None:
        self._journal = journal
        self._state = state
        self._saved = state.lessons
        self._learning = asyncio.Lock()

    @classmethod
    async def from_journal(cls, journal: Journal) -> "Learners":
        stored = await journal.load_learner_state()
        state = State()
        if stored is not None:
            try:
                state = State.from_json(stored[1])
            except ValueError:
                state = State()
        return cls(journal, fold(await journal.lessons(after=state.lessons), state))

    @property
    def lessons(self) -> int:
        return self._state.lessons

    def prepare(self, learners: Iterable[Learner]) -> None:
        """Load what these need; slow the first time, so done before requests come."""
        self._state.prepare(learners)

    def belief(self, learner: Learner, signature: str, candidate: str, against: str) -> Belief:
        return self._state.belief(learner, signature, candidate, against)

    async def take(self, outcome: Outcome, lessons: Sequence[Lesson]) -> bool:
        """Keep an outcome and learn from it: first on disk, then in mind. False where it was known already.

        What is learned is what the journal numbers, in its order, so that a client that hangs up in between, or
        another process that tells outcomes to the same journal, leaves no lesson out and none twice.
        """
        return await asyncio.shield(self._take(outcome, lessons))

    async def _take(self, outcome: Outcome, lessons: Sequence[Lesson]) -> bool:
        async with self._learning:
            new = await self._journal.record_outcome(outcome, lessons)
            fold(await self._journal.lessons(after=self._state.lessons), self._state)
            if self._state.lessons - self._saved >= LESSONS_A_SNAPSHOT:
                await self.save()
        return new

    async def save(self) -> None:
        """Where the disk fails, nothing is lost: the lessons are in the journal, and the next start folds more."""
        lessons = self._state.lessons
        if lessons > self._saved:
            with suppress(JournalError):
                await self._journal.save_learner_state(lessons, self._state.to_json(), time.time())
                self._saved = lessons
