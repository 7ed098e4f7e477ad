"""What the learners believe, kept beside the journal that it is a fold of.

At the start the newest snapshot is read, and requests are served by it; the lessons after it are folded in aside, and
so is everything where there is no snapshot that this engine can read. Nobody waits for that but who tells an outcome.
A new snapshot is taken every few hundred lessons and when the engine stops.

Where lessons are withdrawn that were folded in already, the state is folded anew from the last snapshot before them,
aside, while requests are served by the old one.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from engine import wire
from engine.core.decision import Lesson, Outcome, Withdrawal
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task
from engine.learning.models import warm
from engine.learning.state import State
from engine.server.journal import Journal, JournalError
from engine.server.precedence import Settled
from engine.server.withdrawals import NEVER, Withdrawn, first_touched, withdrawn

LESSONS_A_SNAPSHOT = 250
LESSONS_A_MARK = 100
MARKS_KEPT = 10
LOOK_SECONDS = 0.5


class Learners:
    """A `Trust` that learns. One event loop owns it."""

    def __init__(self, journal: Journal) -> None:
        """Not for callers: see `from_journal`."""
        self._journal = journal
        self._state = State()
        self._withdrawals: list[Withdrawal] = []
        self._gone = Withdrawn()
        self._saved = 0
        self._looks = 0
        self._behind = True  # nothing was folded in since the start
        self._recent: dict[int, bytes] = {}  # lessons -> the state that they came to, not long ago
        self._learning = asyncio.Lock()
        self._prepared: dict[str, Learner] = {}

    @classmethod
    async def from_journal(cls, journal: Journal) -> "Learners":
        """With everything that the journal teaches."""
        learners = await cls.begin(journal)
        await learners.catch_up()
        return learners

    @classmethod
    async def begin(cls, journal: Journal) -> "Learners":
        """With what the newest snapshot holds; the first look takes in the rest."""
        learners = cls(journal)
        learners._withdrawals = await journal.withdrawals()
        learners._gone = withdrawn(learners._withdrawals)
        learners._state = await learners._stored()
        learners._saved = learners._state.lessons
        return learners

    @property
    def lessons(self) -> int:
        return self._state.lessons

    def prepare(self, learners: Iterable[Learner]) -> None:
        """Load what these need; slow the first time, so done before requests come."""
        self._prepared = {learner.name: learner for learner in learners}
        self._state.prepare(self._prepared.values())

    def right(self, learner: Learner, task: Task, steps: Sequence[str], accepted: bool) -> float:
        return self._state.right(learner, task, steps, accepted)

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        return self._state.beliefs(learner, task, options, against)

    async def take(self, outcome: Outcome, lessons: Sequence[Lesson]) -> Settled:
        """Keep an outcome and learn from it: first on disk, then in mind.

        What is learned is what the journal numbers, in its order, so that a client that hangs up in between, or
        another process that tells outcomes to the same journal, leaves no lesson out and none twice.
        """
        return await asyncio.shield(self._take(outcome, lessons))

    async def _take(self, outcome: Outcome, lessons: Sequence[Lesson]) -> Settled:
        settled = await self._journal.record_outcome(outcome, lessons)
        await self.catch_up()
        return settled

    async def catch_up(self) -> None:
        """Learn what the journal has and we have not: of many outcomes at once, or of what another process told it.
        Whoever waits for a look that begins after their outcome was kept need not look again."""
        mine = self._looks + 1
        async with self._learning:
            if self._looks >= mine:
                return
            self._looks += 1
            if self._behind:
                await self._fold_anew(NEVER)
                self._behind = False
                return
            lessons, withdrawals = await self._journal.taught(self._state.lessons, len(self._withdrawals))
            known = len(self._withdrawals)
            touched = self._withdraw(withdrawals) if withdrawals else NEVER
            if touched <= self._state.lessons:
                try:
                    await self._fold_anew(touched)
                except JournalError:  # the next look finds them again
                    self._withdrawals = self._withdrawals[:known]
                    self._gone = withdrawn(self._withdrawals)
                    raise
            else:
                fold_standing(self._state, lessons, self._gone)
            self._remember()
            if self._state.lessons - self._saved >= LESSONS_A_SNAPSHOT:
                await self.save()

    def _withdraw(self, new: Sequence[Withdrawal]) -> int:
        """The first lesson that may count differently."""
        known = len(self._withdrawals)
        self._withdrawals += new
        if all(one.stands == number for number, one in enumerate(new, start=known)):
            for one in new:
                self._gone.add(one.first, one.last)
            return min(one.first for one in new)
        self._gone = withdrawn(self._withdrawals)
        return first_touched(self._withdrawals, known)

    async def follow(self) -> None:
        """Take in what other processes write to the journal (an import, a rollback), until cancelled."""
        while True:
            with suppress(JournalError):  # the journal tells of its troubles itself
                await self.catch_up()
            await asyncio.sleep(LOOK_SECONDS)

    def _remember(self) -> None:
        """Keep where we are now and then, so that what is withdrawn soon after it was told costs little."""
        last = next(reversed(self._recent), 0)
        if self._state.lessons - last >= LESSONS_A_MARK:
            self._recent[self._state.lessons] = wire.dumps(self._state.to_json())
            while len(self._recent) > MARKS_KEPT:
                del self._recent[next(iter(self._recent))]

    async def _fold_anew(self, touched: int) -> None:
        """From the last point before that lesson."""
        self._recent = {lessons: text for lessons, text in self._recent.items() if lessons < touched}
        if self._recent:
            state = State.from_json(wire.loads(self._recent[max(self._recent)]))
            self._saved = min(self._saved, state.lessons)
        else:
            state = await self._stored()
            self._saved = state.lessons
        lessons = await self._journal.lessons(after=state.lessons)
        await asyncio.to_thread(self._fold, state, lessons)
        self._state = state

    def _fold(self, state: State, lessons: Sequence[Lesson]) -> None:
        """In a thread: what lessons are folded with takes a second or two to load, the first time."""
        if self._prepared or lessons:
            warm()
        state.prepare(self._prepared.values())
        fold_standing(state, lessons, self._gone)

    async def _stored(self) -> State:
        """The newest snapshot; nothing where there is none that this engine can read."""
        stored = await self._journal.load_learner_state()
        with suppress(ValueError):
            if stored is not None:
                return State.from_json(stored[1])
        return State()

    def to_json(self) -> dict[str, Any]:
        """What they believe, as data: equal states are equal here."""
        return self._state.to_json()

    async def save(self) -> None:
        """Where the disk fails, nothing is lost: the lessons are in the journal, and the next start folds more."""
        lessons = self._state.lessons
        if lessons > self._saved:
            with suppress(JournalError):
                known = len(self._withdrawals)
                await self._journal.save_learner_state(lessons, self._state.to_json(), time.time(), known)
                self._saved = lessons


def fold_standing(state: State, lessons: Iterable[Lesson], gone: Collection[int]) -> None:
    """Fold in the lessons that count, and count them all: a state knows how far in the journal it is."""
    for lesson in lessons:
        if state.lessons + 1 in gone:
            state.lessons += 1
        else:
            state.learn(lesson)
