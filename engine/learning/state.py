"""What learners know: the fold of every lesson, in order.

    state = State()
    for lesson in journal: state.learn(lesson)

There is nothing else in it, so a state can be rebuilt, rolled back, or begun on an old journal by folding again;
a snapshot (`to_json`) only makes the start quicker. Equal lessons give an equal state, to the last digit.

Beliefs rest on what was known when a kind of task was last fitted, which is after every few lessons; in between
they are remembered. That is part of the fold too, so it matters to nobody when beliefs are asked for.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.decision import Lesson
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task
from engine.learning.joint import SHARED, deviation, normal, right, sigmoid, value
from engine.learning.knowledge import Kind, Knowledge
from engine.learning.models import LEARNERS, prepare
from engine.learning.reading import KEPT_ROWS, Reading, Row, log_odds, rows_of

VERSION = 2

REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Usual:
    """An option as its kind of task makes it, and how it follows each model's odds."""

    belief: Belief
    ahead: float  # of what it is compared with
    error: float
    steps: tuple[str, ...]
    quality_by_model: Mapping[str, float]
    ahead_by_model: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Movable:
    """The same, with models by their numbers in `_Movables`, and without those whose odds change nothing of it."""

    belief: Belief
    ahead: float
    error: float
    alone: int  # the only step's model, or -1
    steps: tuple[int, ...]
    quality_by_model: tuple[tuple[int, float], ...]
    ahead_by_model: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class _Movables:
    """Options of a kind of task, and each of their models with its log odds there."""

    models: tuple[str, ...]
    log_odds: tuple[float, ...]
    options: tuple[_Movable, ...]


class State:
    """Implements `core.ports.Trust`. One thread owns it: lessons are learned where beliefs are read."""

    __slots__ = ("_knowledge", "_readings", "_remembered", "_rows", "_usual", "lessons")

    def __init__(self) -> None:
        self.lessons = 0  # how many were folded: the number of the last one in the journal
        self._knowledge: dict[str, Knowledge] = {}
        self._rows: dict[str, list[Row]] = {}
        self._readings: dict[
            tuple[str, str], Reading
        ] = {}  # learner and algorithm; made when first asked for
        self._usual: dict[Any, _Movables] = {}
        self._remembered: dict[Any, Sequence[Belief]] = {}

    def prepare(self, learners: Iterable[Learner]) -> None:
        """Load what these learners' algorithms need, and let them read what is known: a second or more, once, that
        no request should wait for."""
        for learner in learners:
            prepare(learner.algorithm)
            self._reading(learner)

    def learn(self, lesson: Lesson) -> None:
        """Fold in the next lesson."""
        self.lessons += 1
        if self._known(lesson.learner).add(lesson):
            self._usual.clear()
            self._remembered.clear()
        for row in rows_of(lesson):
            self._read(lesson.learner, row)

    def _read(self, learner: str, row: Row) -> None:
        rows = self._rows.setdefault(learner, [])
        rows.append(row)
        for (name, _), reading in self._readings.items():
            if name == learner:
                reading.learn(row)
        if len(rows) >= KEPT_ROWS:
            del rows[: KEPT_ROWS // 2]
            for key in [key for key in self._readings if key[0] == learner]:
                self._readings[key] = Reading(key[1], rows)

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        key = (
            learner.name,
            learner.margin,
            task.signature,
            tuple([option.steps for option in options]),
            against.steps,
        )
        if LEARNERS[learner.algorithm] is None:
            found = self._remembered.get(key)
            if found is None:
                _bound(self._remembered)
                found = [one.belief for one in self._usually(learner, task, options, against)]
                self._remembered[key] = found
            return found
        movables = self._usual.get(key)
        if movables is None:
            _bound(self._usual)
            movables = self._usual[key] = _movables(self._usually(learner, task, options, against))
        return self._moved(learner, task, movables)

    def right(self, learner: Learner, task: Task, steps: Sequence[str], accepted: bool) -> float:
        """Implements `core.ports.Hindsight`."""
        knowledge = self._known(learner.name)
        numbers = knowledge.numbers(steps)
        return right(numbers, accepted, knowledge.kind(task.signature).figures(max(numbers)))

    def _usually(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[_Usual]:
        knowledge = self._known(learner.name)
        kind = knowledge.kind(task.signature)
        return [_usual(learner, knowledge, kind, option, against) for option in options]

    def _moved(self, learner: Learner, task: Task, usual: _Movables) -> Sequence[Belief]:
        """What is believed of options, once the request has been read."""
        reading = self._reading(learner)
        moves = reading.moves(task, usual.models, usual.log_odds)
        dearer = reading.dearer(task, usual.models)
        found = []
        for one in usual.options:
            belief, ahead = one.belief, one.ahead
            if one.alone >= 0:
                quality = _shifted(belief.quality, moves[one.alone])
            else:
                quality = belief.quality
                for model, slope in one.quality_by_model:
                    quality += slope * moves[model]
                quality = 0.0 if quality < 0.0 else min(quality, 1.0)
            for model, slope in one.ahead_by_model:
                ahead += slope * moves[model]
            confidence = normal((ahead + learner.margin) / one.error) if one.error else 1.0
            cost = belief.cost_usd
            if cost is not None and dearer is not None:
                for model, chance in zip(one.steps, belief.reach, strict=True):
                    cost += chance * dearer[model]
            found.append(Belief(confidence, belief.samples, quality, belief.reach, cost))
        return found

    def _reading(self, learner: Learner) -> Reading:
        key = (learner.name, learner.algorithm)
        reading = self._readings.get(key)
        if reading is None and LEARNERS[learner.algorithm] is not None:
            reading = self._readings[key] = Reading(learner.algorithm, self._rows.get(learner.name, ()))
        return reading  # type: ignore[return-value]  # asked only of algorithms that read

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
            "rows": self._rows,
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
        state._rows = {name: [_row(told) for told in rows] for name, rows in data["rows"].items()}
        return state


def _row(told: Sequence[Any]) -> Row:
    signature, inputs, grams, model, score, cost_usd = told
    return signature, inputs, grams, model, score, cost_usd


def _bound(remembered: dict[Any, Any]) -> None:
    if len(remembered) >= REMEMBERED:
        remembered.clear()


def _shifted(chance: float, move: float) -> float:
    """A probability, its log odds moved."""
    if not move:
        return chance
    chance = min(max(chance, 1e-6), 1.0 - 1e-6)
    return sigmoid(math.log(chance / (1.0 - chance)) + move)


def _usual(learner: Learner, knowledge: Knowledge, kind: Kind, option: Option, against: Option) -> _Usual:
    names = (*option.steps, *against.steps)
    both = knowledge.numbers(names)
    numbers, others = both[: len(option.steps)], both[len(option.steps) :]
    figures = kind.figures(max(both))
    ours, theirs = value(numbers, figures), value(others, figures)
    # Who begins must have been seen; that later steps are less known, the confidence says.
    samples = min(kind.samples(numbers[0]), kind.samples(others[0]))
    cost = kind.cost_usd(numbers, ours.reach)
    slopes = dict(ours.slopes)
    for index, slope in theirs.slopes.items():
        slopes[index] = slopes.get(index, 0.0) - slope
    same = numbers == others
    error = 0.0 if same else deviation(slopes, kind.fit)
    ahead = ours.quality - theirs.quality
    confidence = 1.0 if same else normal((ahead + learner.margin) / error)
    belief = Belief(confidence, samples, ours.quality, ours.reach, cost)
    # Log odds of a model's mean success move less than its strength, which is for a task of a given difficulty.
    scale = math.sqrt(1.0 + math.pi * math.exp(2.0 * figures[0]) / 8.0)
    models = dict(zip(names, both, strict=True)).items()
    return _Usual(
        belief,
        ahead,
        error,
        option.steps,
        {name: scale * ours.slopes.get(SHARED + 2 * number, 0.0) for name, number in models},
        {} if same else {name: scale * slopes.get(SHARED + 2 * number, 0.0) for name, number in models},
    )


def _movables(usual: Sequence[_Usual]) -> _Movables:
    alone = {one.steps[0]: one.belief.quality for one in usual if len(one.steps) == 1}
    models = tuple(dict.fromkeys(name for one in usual for name in one.steps))
    numbers = {name: number for number, name in enumerate(models)}

    def numbered(slopes: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
        return tuple((numbers[name], slope) for name, slope in slopes.items() if slope and name in numbers)

    return _Movables(
        models,
        tuple(log_odds(alone.get(name, 0.5)) for name in models),
        tuple(
            _Movable(
                one.belief,
                one.ahead,
                one.error,
                numbers[one.steps[0]] if len(one.steps) == 1 else -1,
                tuple(numbers[name] for name in one.steps),
                numbered(one.quality_by_model),
                numbered(one.ahead_by_model),
            )
            for one in usual
        ),
    )


def fold(lessons: Iterable[Lesson], state: State | None = None) -> State:
    """What these lessons teach, on top of a state where one is given."""
    state = State() if state is None else state
    for lesson in lessons:
        state.learn(lesson)
    return state
