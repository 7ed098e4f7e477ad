"""The learning algorithms and the detection of drift, and the one door to river.

Importing river loads numpy and scipy: a second or two, once. What is believed is read without it, unless one of river's
own models believes it; so it is imported when such a learner is prepared, or aside, before the first lesson.

River's ADWIN cannot be written down as data, so a watch keeps the values it saw and sees them again after a restart.
That it is the same then is by construction: what it knows is always what the kept values say, for when there are too
many of them the older half is dropped and the rest is seen anew.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from zlib import crc32

KEPT = 512

DIMENSIONS = 48  # that features are hashed into, for algorithms that cannot do with thousands

# How often ADWIN may see a change where there is none.
DELTA = 0.01

# In deviations of what is watched: what is forgiven each time, and the sum that is too much. By Siegmund's
# approximation a mean that stays is suspected once in 300,000 values; one that falls by half a deviation is found out
# after 80.
FORGIVEN, TOO_MUCH = 0.25, 20.0


class Watch:
    """Watches a stream of surprises, counted in deviations of what was expected, whose mean should stay nought.

    ADWIN finds a mean that is not what it was. That takes it hundreds of values, for it knows nothing of what was
    expected; so what is missing is also summed up (Page's test, 1954)."""

    __slots__ = ("_adwin", "missing", "values")

    def __init__(self, values: Sequence[float] = (), missing: float = 0.0) -> None:
        self.values = list(values)
        self.missing = missing
        self._adwin: Any = None  # made when it is needed, so that reading what was learned loads nothing

    def turned_worse(self, value: float) -> bool:
        """Whether, with this value, the mean is known to have fallen."""
        if self._adwin is None:
            self._adwin = _adwin(self.values)
        before = self._adwin.estimation
        self.values.append(value)
        self._adwin.update(value)
        fell = bool(self._adwin.drift_detected and self._adwin.estimation < before)
        self.missing = max(0.0, self.missing - value - FORGIVEN)
        if len(self.values) >= KEPT:
            self.values = self.values[KEPT // 2 :]
            self._adwin = _adwin(self.values)
        return fell or self.missing > TOO_MUCH


def _adwin(values: Sequence[float]) -> Any:
    from river import drift

    adwin: Any = drift.ADWIN  # untyped
    adwin = adwin(delta=DELTA, clock=8)
    for value in values:
        adwin.update(value)
    return adwin


class Estimator(Protocol):
    """How likely a model is to do a task of these features, learned one outcome after another."""

    def learn(self, features: Mapping[str, float], score: float) -> None: ...
    def chance(self, features: Mapping[str, float]) -> float: ...


class _Classifier:
    """One of river's classifiers. A score between 0 and 1 counts as what it is nearer to."""

    __slots__ = ("_model",)

    def __init__(self, model: Any) -> None:
        self._model = model

    def learn(self, features: Mapping[str, float], score: float) -> None:
        self._model.learn_one(features, score >= 0.5)

    def chance(self, features: Mapping[str, float]) -> float:
        return float(self._model.predict_proba_one(features).get(True, 0.5))


class _Logistic(_Classifier):
    """What it believes are log odds from the beginning, so they are asked for as they are."""

    __slots__ = ()

    def log_odds(self, features: Mapping[str, float]) -> float:
        return float(self._model._raw_dot_one(features))  # noqa: SLF001  # river has no public one


class _Linear:
    """River's Bayesian linear regression on few dimensions, into which features are hashed. `optimism` adds so many
    standard deviations of what is known to what is expected, as LinUCB does."""

    __slots__ = ("_model", "_optimism")

    def __init__(self, optimism: float = 0.0) -> None:
        from river import linear_model

        make: Any = linear_model.BayesianLinearRegression  # untyped
        self._model: Any = make(alpha=1.0, beta=4.0)
        self._optimism = optimism

    def learn(self, features: Mapping[str, float], score: float) -> None:
        self._model.learn_one(_dense(features), score - 0.5)

    def chance(self, features: Mapping[str, float]) -> float:
        dense = _dense(features)
        if not self._optimism:
            return float(self._model.predict_one(dense)) + 0.5
        found = self._model.predict_one(dense, with_dist=True)
        return float(found.mu) + self._optimism * float(found.sigma) / 4.0 + 0.5


def _dense(features: Mapping[str, float]) -> dict[int, float]:
    """Features hashed into few dimensions, all of which have a value."""
    dense = dict.fromkeys(range(DIMENSIONS), 0.0)
    for name, weight in features.items():
        hashed = crc32(name.encode())
        dense[hashed % DIMENSIONS] += weight if hashed & 0x10000 else -weight
    return dense


class _Forest:
    """River's adaptive forest. Its trees split on values, so that what is absent must be one."""

    __slots__ = ("_model",)

    def __init__(self) -> None:
        from river import forest

        make: Any = forest.ARFClassifier  # untyped
        self._model: Any = make(n_models=5, seed=0, grace_period=20)

    def learn(self, features: Mapping[str, float], score: float) -> None:
        self._model.learn_one(_dense(features), score >= 0.5)

    def chance(self, features: Mapping[str, float]) -> float:
        return float(self._model.predict_proba_one(_dense(features)).get(True, 0.5))


def log_odds(estimator: Estimator, features: Mapping[str, float]) -> float:
    """Those of `chance`."""
    if isinstance(estimator, _Logistic):
        return estimator.log_odds(features)
    chance = min(max(estimator.chance(features), 1e-9), 1.0 - 1e-9)
    return math.log(chance / (1.0 - chance))


def _logistic() -> Estimator:
    from river import linear_model, optim

    make: Any = linear_model.LogisticRegression
    ada: Any = optim.AdaGrad
    return _Logistic(make(ada(0.1), l2=1e-4))


# By algorithm: what is learned of each model beside how often it did well on each kind of task; beta needs no more.
LEARNERS: Mapping[str, Callable[[], Estimator] | None] = {
    "beta": None,
    "logistic": _logistic,
    "bayesian_linear": _Linear,
    "linucb": lambda: _Linear(1.0),
    "adaptive_forest": _Forest,
}


def prepare(algorithm: str) -> None:
    """Load what an algorithm needs."""
    make = LEARNERS[algorithm]
    if make is not None:
        make()


def warm() -> None:
    """Load what learning from a lesson needs."""
    _adwin(())
