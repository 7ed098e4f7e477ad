"""What a request says beside its kind, and what an algorithm makes of that: a better guess for each model.

The algorithms are river's, and their states are no data. So what is kept are the outcomes they learn from (`Row`),
of which there are at most `KEPT_ROWS`; then the older half is forgotten and the rest learned anew. An estimator is
always what the kept rows make of it, on every machine and after every restart.

A guess moves what is believed of a model on this kind of task by as much as the guess differs from it, in log odds,
and no further than `FURTHEST`; the fewer outcomes it rests on, the less.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from engine.core.decision import Lesson
from engine.core.ports import Task
from engine.learning.models import LEARNERS, Estimator
from engine.learning.models import log_odds as models_log_odds

KEPT_ROWS = 20_000
FURTHEST = 2.0  # in log odds
SUREST = math.log(0.98 / 0.02)  # in log odds
HALFWAY = 50.0  # outcomes after which a guess counts half

# The input that says how large a request is; a learner that names it knows that large requests cost more.
SIZE = "features.context_tokens"

# The signature, the inputs, the grams, the model, its score and what it cost.
Row = tuple[str, dict[str, float | str | bool], list[int], str, float, float | None]


def rows_of(lesson: Lesson) -> list[Row]:
    """What each step's model did; a verdict stands for a score that nobody knows."""
    if not lesson.inputs and not lesson.grams:
        return []
    found: list[Row] = []
    for at, step in enumerate(lesson.steps):
        score = lesson.score if step.score is None and at == len(lesson.steps) - 1 else step.score
        if score is None and step.accepted is not None:
            score = float(step.accepted)
        if score is not None:
            inputs = dict(lesson.inputs)
            found.append((lesson.signature, inputs, list(lesson.grams), step.model, score, step.cost_usd))
    return found


def features_of(
    signature: str, inputs: Mapping[str, float | str | bool], grams: Sequence[int]
) -> dict[str, float]:
    """Named numbers of a like size: what estimators read."""
    found = {"1": 1.0, f"={signature}": 1.0}
    for name, value in inputs.items():
        if isinstance(value, str):
            found[f"{name}={value}"] = 1.0
        elif isinstance(value, bool):
            found[name] = float(value)
        else:
            found[name] = math.copysign(math.log1p(abs(value)), value) / 5.0
    if grams:
        weight = 2.0 / math.sqrt(len(grams))
        for gram in grams:
            found[str(gram)] = weight
    return found


class _Line:
    """A straight line through points: dollars over tokens, by least squares."""

    __slots__ = ("count", "x", "xx", "xy", "y")

    def __init__(self) -> None:
        self.count = self.x = self.y = self.xx = self.xy = 0.0

    def add(self, x: float, y: float) -> None:
        self.count += 1.0
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y

    def beyond_mean(self, x: float) -> float:
        """How much more than the mean is expected at x; less than nothing is never paid."""
        if self.count < 10.0:
            return 0.0
        mean_x, mean_y = self.x / self.count, self.y / self.count
        spread = self.xx / self.count - mean_x * mean_x
        if spread <= 0.0:
            return 0.0
        slope = (self.xy / self.count - mean_x * mean_y) / spread
        return max(slope * (x - mean_x), -0.9 * mean_y)


class Reading:
    """One algorithm's estimators, one for each model."""

    __slots__ = ("_costs", "_estimators", "_make", "_rows")

    def __init__(self, algorithm: str, rows: Sequence[Row] = ()) -> None:
        make = LEARNERS[algorithm]
        assert make is not None
        self._make: Callable[[], Estimator] = make
        self._estimators: dict[str, Estimator] = {}
        self._rows: dict[str, int] = {}
        self._costs: dict[tuple[str, str], _Line] = {}  # signature and model
        for row in rows:
            self.learn(row)

    def learn(self, row: Row) -> None:
        signature, inputs, grams, model, score, cost_usd = row
        size = inputs.get(SIZE)
        if cost_usd is not None and isinstance(size, int | float):
            self._costs.setdefault((signature, model), _Line()).add(float(size), cost_usd)
        estimator = self._estimators.get(model)
        if estimator is None:
            estimator = self._estimators[model] = self._make()
        self._rows[model] = self._rows.get(model, 0) + 1
        estimator.learn(features_of(signature, inputs, grams), score)

    def moves(self, task: Task, models: Sequence[str], usual: Sequence[float]) -> Sequence[float]:
        """By how much the log odds of each of the models differ from those that are `usual` for it on this kind of
        task."""
        features = features_of("/".join(task.signature), task.inputs, task.grams)
        found = []
        for model, odds in zip(models, usual, strict=True):
            estimator = self._estimators.get(model)
            if estimator is None:
                found.append(0.0)
                continue
            rows = self._rows[model]
            guess = models_log_odds(estimator, features)
            guess = -SUREST if guess < -SUREST else SUREST if guess > SUREST else guess
            move = guess - odds
            move = -FURTHEST if move < -FURTHEST else FURTHEST if move > FURTHEST else move
            found.append(move * rows / (rows + HALFWAY))
        return found

    def dearer(self, task: Task, models: Sequence[str]) -> Sequence[float] | None:
        """By how many dollars a request of this size costs more with each of the models than is usual for its kind, as
        far as that is known; None where the size is not."""
        size = task.inputs.get(SIZE)
        if not isinstance(size, int | float):
            return None
        signature = "/".join(task.signature)
        lines = [self._costs.get((signature, model)) for model in models]
        return [line.beyond_mean(float(size)) if line is not None else 0.0 for line in lines]


def log_odds(chance: float) -> float:
    chance = 0.02 if chance < 0.02 else 0.98 if chance > 0.98 else chance
    return math.log(chance / (1.0 - chance))
