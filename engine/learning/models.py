"""The learning algorithms, and the one door to river.

Importing `river.proba` loads numpy and scipy: 0.7 s once. So it is imported when the first learner is built, which
the server does before it takes requests (`State.prepare`), and not at all where no policy has a learner.

What river's Beta can and cannot do, as of 0.26:

* `update(x)` adds 1 by truth value, so `update(-1.0)` counts a success and there are no fractional updates. The
  counts are therefore kept by us (`state.py`), and river's distribution is set to them.
* Its density divides zero by zero from about a thousand counts on; its `cdf` holds. Only `cdf` is used.
* Each instance seeds a random generator of its own, 14 µs and 2.5 KB. One instance is set to the counts that are
  asked about, instead of one instance per posterior.
"""

from collections.abc import Callable
from typing import Any, Protocol

Cumulative = Callable[[float], float]


class Family(Protocol):
    """The distribution an algorithm believes success rates to have."""

    def cumulative(self, alpha: float, beta: float) -> Cumulative:
        """The cumulative distribution with these parameters. It holds until the next call of this method."""
        ...


class BetaFamily:
    """The posterior of a success rate after counted successes and failures."""

    __slots__ = ("_beta",)

    def __init__(self) -> None:
        from river.proba import Beta

        self._beta: Any = Beta(seed=0)

    def cumulative(self, alpha: float, beta: float) -> Cumulative:
        self._beta.alpha, self._beta.beta = alpha, beta
        cdf: Cumulative = self._beta.cdf
        return cdf


LEARNERS: dict[str, Callable[[], Family]] = {"beta": BetaFamily}
