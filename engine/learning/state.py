"""What learners know: the fold of every lesson, in order.

    state = State()
    for lesson in journal: state.learn(lesson)

There is nothing else in it, so a state can be rebuilt, rolled back, or begun on an old journal by folding again;
a snapshot (`to_json`) only makes the start quicker. Equal lessons give an equal state, to the last digit.

Beliefs rest on what was known when a kind of task was last fitted, which is after every few lessons; in between
they are remembered. That is part of the fold too, so it matters to nobody when beliefs are asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.decision import Lesson
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task
from engine.learning.joint import deviation, normal, value
from engine.learning.knowledge import Kind, Knowledge
from engine.learning.models import prepare

VERSION = 2

REMEMBERED = 10_000


class State:
    """Implements `core.ports.Trust`. One thread owns it: lessons are learned where beliefs are read."""

    __slots__ = ("_knowledge", "_remembered", "lessons")

    def __init__(self) -> None:
        self.lessons = 0  # how many were folded: the number of the last one in the journal
        self._knowledge: dict[str, Knowledge] = {}
        self._remembered: dict[Any, Sequence[Belief]] = {}

    def prepare(self, learners: Iterable[Learner]) -> None:
        """Load what these learners' algorithms need: up to a second, once, that no request should wait for, and
        what the fold goes by: policies may change it, and lessons told before keep what they counted for."""
        for learner in learners:
            prepare(learner.algorithm)

    def learn(self, lesson: Lesson) -> None:
        """Fold in the next lesson."""
        self.lessons += 1
        if self._known(lesson.learner).add(lesson):
            self._remembered.clear()

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        steps = tuple(option.steps for option in options)
        key = (learner.name, learner.margin, task.signature, steps, against.steps)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            found = self._remembered[key] = self._believe(learner, task, options, against)
        return found

    def _believe(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        knowledge = self._known(learner.name)
        kind = knowledge.kind(task.signature)
        return [_belief(learner, knowledge, kind, option, against) for option in options]

    def _known(self, learner: str) -> Knowledge:
        known = self._knowledge.get(learner)
        if known is None:
            known = self._knowledge[learner] = Knowledge()
        return known

    def to_json(self) -> dict[str, Any]:
        """A snapshot, as data for JSON."""
        return {
            "version": VERSION,
            "lessons": self.lessons,
            "learners": {name: knowledge.to_json() for name, knowledge in self._knowledge.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "State":
        """Raises ValueError for a snapshot of another version; the lessons are still there to fold."""
        if data.get("version") != VERSION:
            raise ValueError(
                f"a learner snapshot of version {data.get('version')!r}; this engine reads {VERSION}"
            )
        state = cls()
        state.lessons = data["lessons"]
        state._knowledge = {name: Knowledge.from_json(told) for name, told in data["learners"].items()}
        return state


def _belief(learner: Learner, knowledge: Knowledge, kind: Kind, option: Option, against: Option) -> Belief:
    both = knowledge.numbers((*option.steps, *against.steps))
    numbers, others = both[: len(option.steps)], both[len(option.steps) :]
    figures = kind.figures(max(*numbers, *others))
    ours, theirs = value(numbers, figures), value(others, figures)
    samples = min(kind.samples(number) for number in (*numbers, *others))
    cost = kind.cost_usd(numbers, ours.reach)
    if numbers == others:
        return Belief(1.0, samples, ours.quality, ours.reach, cost)
    slopes = dict(ours.slopes)
    for index, slope in theirs.slopes.items():
        slopes[index] = slopes.get(index, 0.0) - slope
    error = deviation(slopes, kind.fit)
    confidence = normal((ours.quality - theirs.quality + learner.margin) / error)
    return Belief(confidence, samples, ours.quality, ours.reach, cost)


def fold(lessons: Iterable[Lesson], state: State | None = None) -> State:
    """What these lessons teach, on top of a state where one is given."""
    state = State() if state is None else state
    for lesson in lessons:
        state.learn(lesson)
    return state
