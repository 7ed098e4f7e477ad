import math
import random
import subprocess
import sys

import pytest

from engine.learning.models import KEPT, LEARNERS, Watch, log_odds


def test_river_stays_unloaded_until_a_learner_is_built() -> None:
    """It takes most of a second, which a command that only validates should not wait for."""
    program = "import sys, engine.learning.state; sys.exit('river' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_mean_that_falls_is_noticed_and_one_that_rises_is_not() -> None:
    rng = random.Random(1)
    for after, noticed in ((-0.4, True), (0.4, False)):
        watch = Watch()
        assert not any(watch.turned_worse(rng.uniform(-0.3, 0.3)) for _ in range(300))
        assert any(watch.turned_worse(after + rng.uniform(-0.3, 0.3)) for _ in range(200)) is noticed


def test_a_watch_is_what_its_values_say() -> None:
    rng = random.Random(2)
    values = [rng.uniform(-1, 1) - (number > 1_200) * 0.5 for number in range(1_500)]
    first = Watch()
    before = [first.turned_worse(value) for value in values[:1_100]]
    again = Watch(first.values)
    rest = [(first.turned_worse(value), again.turned_worse(value)) for value in values[1_100:]]
    assert not any(before)
    assert any(one for one, _ in rest)
    assert all(one == other for one, other in rest)
    assert len(first.values) < KEPT


def test_the_logistic_learner_reads_its_log_odds_off_river() -> None:
    make = LEARNERS["logistic"]
    assert make is not None
    estimator = make()
    for number in range(50):
        estimator.learn({"1": 1.0, "x": float(number % 3)}, float(number % 3 == 0))
    chance = estimator.chance({"1": 1.0, "x": 2.0})
    assert log_odds(estimator, {"1": 1.0, "x": 2.0}) == pytest.approx(math.log(chance / (1.0 - chance)))
