"""The learning algorithms and the detection of drift, and the one door to river.

Importing river loads numpy and scipy: up to a second, once. So it is imported when the first learner is prepared, which
the server does before it takes requests, and not at all where no policy has a learner.

River's ADWIN cannot be written down as data, so a watch keeps the values it saw and sees them again after a restart.
That it is the same then is by construction: what it knows is always what the kept values say, for when there are too
many of them the older half is dropped and the rest is seen anew.
"""

from collections.abc import Sequence
from typing import Any

KEPT = 512


class Watch:
    """Watches a stream of values in -1..1 whose mean should stay where it is."""

    __slots__ = ("_adwin", "values")

    def __init__(self, values: Sequence[float] = ()) -> None:
        self.values = list(values)
        self._adwin = _adwin(self.values)

    def turned_worse(self, value: float) -> bool:
        """Whether, with this value, the mean is known to have fallen."""
        before = self._adwin.estimation
        self.values.append(value)
        self._adwin.update((value + 1.0) / 2.0)
        fell = bool(self._adwin.drift_detected and self._adwin.estimation < before)
        if len(self.values) >= KEPT:
            self.values = self.values[KEPT // 2 :]
            self._adwin = _adwin(self.values)
        return fell


def _adwin(values: Sequence[float]) -> Any:
    from river.drift import ADWIN

    adwin = ADWIN(delta=0.002)
    for value in values:
        adwin.update((value + 1.0) / 2.0)
    return adwin


def prepare(algorithm: str) -> None:
    """Load what an algorithm needs."""
    if algorithm not in LEARNERS:
        raise KeyError(algorithm)
    Watch()


LEARNERS: dict[str, str] = {
    "beta": "",
    "logistic": "",
    "bayesian_linear": "",
    "linucb": "",
    "adaptive_forest": "",
}
