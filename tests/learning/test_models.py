import subprocess
import sys

import pytest

from engine.learning.models import LEARNERS


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_every_learner_gives_a_distribution_over_success_rates(algorithm: str) -> None:
    family = LEARNERS[algorithm]()
    for alpha, beta in ((1.0, 1.0), (1.25, 7.5), (5000.0, 3000.0)):
        cumulative = family.cumulative(alpha, beta)
        values = [cumulative(rate / 20) for rate in range(21)]
        assert values == sorted(values)
        assert values[0] == 0.0
        assert values[-1] == 1.0


def test_the_beta_learner_takes_fractions_of_an_outcome() -> None:
    family = LEARNERS["beta"]()
    below_half = [family.cumulative(alpha, 2.0)(0.5) for alpha in (2.0, 2.25, 2.5)]
    assert below_half == sorted(below_half, reverse=True)
    assert below_half[0] == pytest.approx(0.5)


def test_river_stays_unloaded_until_a_learner_is_built() -> None:
    """It takes most of a second, which a command that only validates should not wait for."""
    program = "import sys, engine.learning.state; sys.exit('river' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
