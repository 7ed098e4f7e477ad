import random
from bisect import bisect_left
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.learning.confidence import (
    MILLION,
    NOTHING,
    SHRINKAGE,
    Posterior,
    Tally,
    not_worse,
    posterior,
    tally,
)
from engine.learning.models import BetaFamily

FAMILY = BetaFamily()

counts = st.floats(1.0, 3000.0)
posteriors = st.builds(Posterior, counts, counts)
margins = st.floats(0.0, 0.2)
tallies = st.builds(Tally, st.integers(0, 10**10), st.integers(0, 10**10))


def whole(successes: int, failures: int) -> Tally:
    return Tally(successes * MILLION, failures * MILLION)


def integral(candidate: Posterior, against: Posterior, margin: float) -> float:
    """The same probability by brute force: both densities on a fine grid, as masses."""
    cells = 8000

    def masses(shape: Posterior) -> list[float]:
        cumulative = FAMILY.cumulative(*shape)
        edges = [cumulative(cell / cells) for cell in range(cells + 1)]
        return [upper - lower for lower, upper in pairwise(edges)]

    below, total = [], 0.0
    for mass in masses(against):
        total += mass
        below.append(total)
    shift = round(margin * cells)
    return sum(mass * below[min(cell + shift, cells - 1)] for cell, mass in enumerate(masses(candidate)))


GRID = [
    (successes, failures)
    for samples, rate in product((0, 4, 20, 200, 2000), (0.0, 0.02, 0.5, 0.8, 1.0))
    for successes, failures in [(samples * rate, samples * (1 - rate))]
]


def test_the_sum_agrees_with_the_integral() -> None:
    """Measured here: 0.003 at worst, where both rates are near 0 or 1 and little is known."""
    chosen = random.Random(7).sample(list(product(GRID, GRID, (0.0, 0.02, 0.05))), 40)
    for ours, theirs, margin in chosen:
        candidate = Posterior(1 + ours[0], 1 + ours[1])
        against = Posterior(1 + theirs[0], 1 + theirs[1])
        found = not_worse(candidate, against, margin, FAMILY)
        assert found == pytest.approx(integral(candidate, against, margin), abs=0.006)


def test_the_sum_agrees_with_sampling_at_the_threshold() -> None:
    """Near 0.95 is where an error would open or close the gate."""
    draw = random.Random(11).betavariate
    for candidate, against, margin in (
        (Posterior(185, 17), Posterior(360, 42), 0.02),
        (Posterior(241, 11), Posterior(241, 14), 0.02),
        (Posterior(1450, 560), Posterior(1450, 570), 0.02),
    ):
        rates = sorted(draw(*candidate) for _ in range(40_000))
        wins = sum(len(rates) - bisect_left(rates, draw(*against) - margin) for _ in range(4_000))
        assert not_worse(candidate, against, margin, FAMILY) == pytest.approx(
            wins / 40_000 / 4_000, abs=0.008
        )


@given(posteriors, posteriors, margins)
def test_a_probability_stays_a_probability(candidate: Posterior, against: Posterior, margin: float) -> None:
    assert 0.0 <= not_worse(candidate, against, margin, FAMILY) <= 1.0


@given(posteriors, posteriors, margins)
def test_a_wider_margin_never_lowers_confidence(
    candidate: Posterior, against: Posterior, margin: float
) -> None:
    narrow = not_worse(candidate, against, margin, FAMILY)
    assert not_worse(candidate, against, margin + 0.05, FAMILY) >= narrow - 1e-9


@given(posteriors, posteriors)
def test_without_a_margin_two_models_share_the_certainty(one: Posterior, other: Posterior) -> None:
    assert not_worse(one, other, 0.0, FAMILY) + not_worse(other, one, 0.0, FAMILY) == pytest.approx(
        1.0, abs=0.01
    )


@given(posteriors, posteriors, margins)
def test_one_more_success_never_lowers_confidence(
    candidate: Posterior, against: Posterior, margin: float
) -> None:
    before = not_worse(candidate, against, margin, FAMILY)
    better = Posterior(candidate.alpha + 1, candidate.beta)
    assert not_worse(better, against, margin, FAMILY) >= before - 0.006


def test_a_reward_becomes_shares_of_success_and_failure() -> None:
    assert tally(1.0, 1.0) == whole(1, 0)
    assert tally(-1.0, 1.0) == whole(0, 1)
    assert tally(0.0, 1.0) == Tally(500_000, 500_000)
    assert tally(-0.3, 0.5) == Tally(175_000, 325_000)


@given(st.floats(-1.0, 1.0), st.floats(0.0, 1.0))
def test_a_lesson_counts_as_much_as_its_weight(reward: float, weight: float) -> None:
    counted = tally(reward, weight)
    assert counted.successes >= 0
    assert counted.failures >= 0
    assert counted.samples == pytest.approx(weight, abs=1e-6)


def test_an_untried_model_starts_uniform() -> None:
    assert posterior(NOTHING, NOTHING) == Posterior(1.0, 1.0)


def test_other_kinds_of_task_count_little_however_many_there_were() -> None:
    assert posterior(NOTHING, whole(9000, 1000)) == pytest.approx((1.0 + 9.0, 1.0 + 1.0))
    assert posterior(NOTHING, whole(1, 0)) == pytest.approx((2.0, 1.0))


@given(tallies, tallies)
def test_the_prior_is_bounded(here: Tally, elsewhere: Tally) -> None:
    shaped = posterior(here, elsewhere)
    beyond = shaped.alpha + shaped.beta - 2.0 - here.samples
    assert -1e-6 <= beyond <= SHRINKAGE + 1e-6
