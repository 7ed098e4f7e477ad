"""How sure we are that one model is not worse than another: P(candidate > against - margin).

Both success rates are Beta posteriors. The probability is an integral over one of them of the cumulative
distribution of the other. It has no closed form with a margin, so it is a sum, the same on every machine and every
run: the *narrower* posterior is laid out on a few points, where the other's cumulative distribution is smooth. In
log odds a Beta density is bell-shaped and analytic, and for such a function evenly spaced points converge
exponentially (Trefethen and Weideman, "The exponentially convergent trapezoidal rule", 2014). Eleven of them
stay within 0.003 of the integral; the tests measure it.

**The prior.** A model nobody has tried on a kind of task starts uniform, Beta(1, 1), plus what it did on the other
kinds of task, which count as at most `SHRINKAGE` outcomes however many there were. That is a guess about where to
begin and no evidence: `samples` counts outcomes of this signature alone, and of the less known side, because a
model cannot be said to be as good as a frontier that was never measured on the same work. A gate that asks for
samples therefore stays shut while either side is unknown.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from engine.learning.models import Cumulative, Family

SHRINKAGE = 10.0

POINTS_EACH_SIDE = 5
SPACING = 0.9  # in standard deviations

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """Successes and failures, in millionths of an outcome.

    Whole numbers, because they add up the same in any order: a state folded twice is identical, not similar.
    """

    successes: int = 0
    failures: int = 0

    def plus(self, other: "Tally") -> "Tally":
        return Tally(self.successes + other.successes, self.failures + other.failures)

    def minus(self, other: "Tally") -> "Tally":
        return Tally(self.successes - other.successes, self.failures - other.failures)

    @property
    def samples(self) -> float:
        return (self.successes + self.failures) / MILLION


NOTHING = Tally()


class Posterior(NamedTuple):
    """The parameters of a Beta distribution."""

    alpha: float
    beta: float

    @property
    def variance(self) -> float:
        count = self.alpha + self.beta
        return self.alpha * self.beta / (count * count * (count + 1.0))


def tally(reward: float, weight: float) -> Tally:
    """A reward in -1..1 as shares of success and failure: 1 is a success, -1 a failure, 0 half of each."""
    counted = round(weight * MILLION)
    successes = round(weight * (1.0 + reward) / 2.0 * MILLION)
    return Tally(successes, counted - successes)


def posterior(here: Tally, elsewhere: Tally) -> Posterior:
    """What is believed of a success rate after outcomes of this kind of task and of other kinds.

    The rate elsewhere is taken to the nearest percent, so that one more outcome there does not move every belief.
    """
    alpha, beta = 1.0 + here.successes / MILLION, 1.0 + here.failures / MILLION
    total = elsewhere.successes + elsewhere.failures
    if total:
        strength = min(total / MILLION, SHRINKAGE)
        rate = round(elsewhere.successes / total, 2)
        alpha += strength * rate
        beta += strength * (1.0 - rate)
    return Posterior(alpha, beta)


def not_worse(candidate: Posterior, against: Posterior, margin: float, family: Family) -> float:
    """P(candidate > against - margin), in 0..1."""
    if candidate.variance <= against.variance:
        return _average(candidate, family.cumulative(*against), margin)
    return 1.0 - _average(against, family.cumulative(*candidate), -margin)


def _average(over: Posterior, cumulative: Cumulative, shift: float) -> float:
    """The mean of `cumulative(rate + shift)` over the rates a posterior expects."""
    alpha, beta = over
    count = alpha + beta
    peak = math.log(alpha / beta)
    step = SPACING * math.sqrt(1.0 / alpha + 1.0 / beta)
    height = beta * peak + count * math.log1p(math.exp(-peak))
    total = mean = 0.0
    for number in range(-POINTS_EACH_SIDE, POINTS_EACH_SIDE + 1):
        log_odds = peak + number * step
        odds_against = math.exp(-log_odds)
        density = math.exp(height - beta * log_odds - count * math.log1p(odds_against))
        rate = 1.0 / (1.0 + odds_against) + shift
        total += density
        mean += density * (0.0 if rate <= 0.0 else 1.0 if rate >= 1.0 else cumulative(rate))
    return min(max(mean / total, 0.0), 1.0)
