"""What another policy would have come to, from a journal in which it did not run.

For each task the journal has what was chosen, the chance that choice had, and how the work went; the other policy says
what it would have chosen. Where both agree, the outcome is evidence for it, the more so the rarer the choice was.

    ips   agreeing outcomes, each divided by its chance (Horvitz and Thompson, 1952)
    snips the same, divided by what the weights sum to: less variance, a little bias (Swaminathan and Joachims, 2015)
    dr    a model of the outcomes, corrected by the weighted surprises where both agree (Dudík, Langford and Li, 2011):
          right where either the chances or the model are

The model is the mean outcome of a choice on that kind of task, drawn towards its mean everywhere; of a task it knows
the other tasks only. The **effective sample size** is how many tasks of weight one would tell as much. Choices that
could not have been made (nobody explored, or never this) leave a bias that no interval shows: `untried` says on what
share of the tasks the other policy chooses what was never chosen for work of that kind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DRAWN = 5.0  # how many outcomes of its kind a choice needs to count half by itself
SMALL = 50.0  # an effective sample size below this is said to be small
SURE = 1.96


@dataclass(frozen=True, slots=True)
class Logged:
    """One task of the past. `other` is what the other policy chooses for it; both are names of models or plans."""

    kind: str
    chosen: str
    propensity: float
    score: float
    cost_usd: float | None
    other: str

    @property
    def weight(self) -> float:
        return 1.0 / self.propensity if self.chosen == self.other and self.propensity > 0 else 0.0


def estimates(tasks: Sequence[Logged]) -> dict[str, Any]:
    """Score and cost of the other policy by each estimator, beside what was; every figure with its 95 % interval."""
    weights = [task.weight for task in tasks]
    seen = {(task.kind, task.chosen) for task in tasks}
    found: dict[str, Any] = {
        "tasks": len(tasks),
        "agreeing": sum(weight > 0 for weight in weights),
        "explored": sum(task.propensity < 1.0 for task in tasks),
        "untried": sum((task.kind, task.other) not in seen for task in tasks) / max(len(tasks), 1),
        "effective_sample_size": effective_sample_size(weights),
        "score": _of(tasks, [task.score for task in tasks]) if tasks else None,
        "cost_usd": None,
    }
    paid = [task for task in tasks if task.cost_usd is not None]
    if paid:
        found["cost_usd"] = _of(paid, [task.cost_usd or 0.0 for task in paid])
    return {**found, "warnings": _warnings(found)}


def effective_sample_size(weights: Sequence[float]) -> float:
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def _of(tasks: Sequence[Logged], values: Sequence[float]) -> dict[str, Any]:
    weights = [task.weight for task in tasks]
    means = _Means(tasks, values)
    robust = []
    for task, value, weight in zip(tasks, values, weights, strict=True):
        expected = means.without(task, value, task.other)
        surprise = value - means.without(task, value, task.chosen)
        robust.append(expected + weight * surprise)
    weighed = [weight * value for weight, value in zip(weights, values, strict=True)]
    return {
        "logged": _mean(values),
        "ips": _mean(weighed),
        "snips": _normalised(weights, values),
        "dr": _mean(robust),
    }


class _Means:
    """The mean of a choice on a kind of task, drawn towards its mean everywhere, and that towards the mean of all."""

    def __init__(self, tasks: Sequence[Logged], values: Sequence[float]) -> None:
        self._sums: dict[tuple[str, ...], list[float]] = {}
        for task, value in zip(tasks, values, strict=True):
            for key in ((), (task.chosen,), (task.kind, task.chosen)):
                total = self._sums.setdefault(key, [0.0, 0.0])
                total[0] += 1.0
                total[1] += value

    def without(self, task: Logged, value: float, choice: str) -> float:
        """What is expected of a choice for this task, from the others alone."""
        own = choice == task.chosen
        mean = 0.0
        for key in ((), (choice,), (task.kind, choice)):
            count, total = self._sums.get(key, (0.0, 0.0))
            if own or not key:
                count, total = count - 1.0, total - value
            mean = (total + DRAWN * mean) / (count + DRAWN) if key else (total / count if count else value)
        return mean


def _mean(values: Sequence[float]) -> dict[str, float]:
    count = len(values)
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / max(count - 1, 1)
    return _interval(mean, math.sqrt(variance / count))


def _normalised(weights: Sequence[float], values: Sequence[float]) -> dict[str, float] | None:
    whole = sum(weights)
    if not whole:
        return None
    mean = sum(weight * value for weight, value in zip(weights, values, strict=True)) / whole
    spread = sum((weight * (value - mean)) ** 2 for weight, value in zip(weights, values, strict=True))
    return _interval(mean, math.sqrt(spread) / whole)


def _interval(value: float, error: float) -> dict[str, float]:
    return {"value": value, "low": value - SURE * error, "high": value + SURE * error}


def _warnings(found: dict[str, Any]) -> list[str]:
    warnings = []
    if not found["tasks"]:
        return ["no task that a learner was asked about has an outcome yet"]
    size = found["effective_sample_size"]
    if size < SMALL:
        warnings.append(f"the effective sample size is {size:.1f}: too small to trust these figures")
    if not found["explored"]:
        warnings.append("nobody explored: of choices that were not made, the journal knows nothing")
    if found["untried"]:
        share = f"{found['untried']:.0%}"
        warnings.append(
            f"for {share} of the tasks it chooses what was never tried on their kind; no interval shows it"
        )
    return warnings
