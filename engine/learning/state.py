"""What learners know: the fold of every lesson, in order.

    state = State()
    for lesson in journal: state.learn(lesson)

There is nothing else in it, so a state can be rebuilt, rolled back, or begun on an old journal by folding again;
a snapshot (`to_json`) only makes the start quicker. Equal lessons give an equal state, to the last digit.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.decision import Lesson
from engine.core.policy import Learner
from engine.core.ports import Belief
from engine.learning.confidence import NOTHING, Posterior, Tally, not_worse, posterior, tally
from engine.learning.models import LEARNERS, Family

VERSION = 1

# Beliefs are remembered by the figures they rest on, so they need no invalidation, only a bound.
REMEMBERED = 10_000


class _Record:
    """One model under one learner: its tally by task signature, and over all of them."""

    __slots__ = ("_known", "by_signature", "pooled")

    def __init__(self) -> None:
        self.by_signature: dict[str, Tally] = {}
        self.pooled = NOTHING
        self._known: dict[str, tuple[float, Posterior]] = {}  # worked out since the last lesson

    def add(self, signature: str, more: Tally) -> None:
        self.by_signature[signature] = self.by_signature.get(signature, NOTHING).plus(more)
        self.pooled = self.pooled.plus(more)
        self._known.clear()

    def known(self, signature: str) -> tuple[float, Posterior]:
        """The samples of a signature, and what is believed there."""
        known = self._known.get(signature)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            here = self.by_signature.get(signature, NOTHING)
            known = self._known[signature] = (here.samples, posterior(here, self.pooled.minus(here)))
        return known


_UNTRIED = (0.0, posterior(NOTHING, NOTHING))


class State:
    """Implements `core.ports.Trust`. One thread owns it: lessons are learned where beliefs are read."""

    __slots__ = ("_families", "_records", "_remembered", "lessons")

    def __init__(self) -> None:
        self.lessons = 0  # how many were folded: the number of the last one in the journal
        self._records: dict[tuple[str, str], _Record] = {}
        self._families: dict[str, Family] = {}
        self._remembered: dict[tuple[str, float, Posterior, Posterior], float] = {}

    def prepare(self, learners: Iterable[Learner]) -> None:
        """Load what these learners' algorithms need: up to a second, once, that no request should wait for."""
        for learner in learners:
            self._family(learner.algorithm)

    def learn(self, lesson: Lesson) -> None:
        """Fold in the next lesson."""
        record = self._records.setdefault((lesson.learner, lesson.model), _Record())
        record.add(lesson.signature, tally(lesson.reward, lesson.weight))
        self.lessons += 1

    def belief(self, learner: Learner, signature: str, candidate: str, against: str) -> Belief:
        samples, ours = self._known(learner.name, candidate, signature)
        if candidate == against:
            return Belief(1.0, samples)
        samples_against, theirs = self._known(learner.name, against, signature)
        return Belief(self._confidence(learner, ours, theirs), min(samples, samples_against))

    def to_json(self) -> dict[str, Any]:
        """A snapshot, as data for JSON: learner -> model -> signature -> successes and failures."""
        tallies: dict[str, dict[str, dict[str, list[int]]]] = {}
        for (learner, model), record in self._records.items():
            tallies.setdefault(learner, {})[model] = {
                signature: [counted.successes, counted.failures]
                for signature, counted in record.by_signature.items()
            }
        return {"version": VERSION, "lessons": self.lessons, "tallies": tallies}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "State":
        """Raises ValueError for a snapshot of another version; the lessons are still there to fold."""
        if data.get("version") != VERSION:
            raise ValueError(
                f"a learner snapshot of version {data.get('version')!r}; this engine reads {VERSION}"
            )
        state = cls()
        state.lessons = data["lessons"]
        for learner, models in data["tallies"].items():
            for model, signatures in models.items():
                record = state._records.setdefault((learner, model), _Record())
                for signature, (successes, failures) in signatures.items():
                    record.add(signature, Tally(successes, failures))
        return state

    def _known(self, learner: str, model: str, signature: str) -> tuple[float, Posterior]:
        record = self._records.get((learner, model))
        return record.known(signature) if record else _UNTRIED

    def _confidence(self, learner: Learner, ours: Posterior, theirs: Posterior) -> float:
        figures = (learner.algorithm, learner.margin, ours, theirs)
        remembered = self._remembered.get(figures)
        if remembered is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            remembered = not_worse(ours, theirs, learner.margin, self._family(learner.algorithm))
            self._remembered[figures] = remembered
        return remembered

    def _family(self, algorithm: str) -> Family:
        family = self._families.get(algorithm)
        if family is None:
            family = self._families[algorithm] = LEARNERS[algorithm]()
        return family


def fold(lessons: Iterable[Lesson], state: State | None = None) -> State:
    """What these lessons teach, on top of a state where one is given."""
    state = State() if state is None else state
    for lesson in lessons:
        state.learn(lesson)
    return state
