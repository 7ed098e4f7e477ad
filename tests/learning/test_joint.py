"""Models learned together: slopes are those of the probabilities, and figures come back from what they produce."""

import math
import random
from collections import Counter

import pytest

from engine.learning.joint import (
    POINTS,
    SHARED,
    WEIGHTS,
    Fit,
    Pattern,
    _slopes,
    _tables,
    deviation,
    expected,
    fit,
    prior,
    right,
    sigmoid,
    value,
)

FIGURES = [0.6, -1.9, -2.1, 0.5, 0.1, 1.2, -0.2]  # log b, f, r; strength and blindness of two models
STEP = 1e-5


def nudged(index: int, by: float) -> list[float]:
    return [figure + by * (index == at) for at, figure in enumerate(FIGURES)]


def log_chance(pattern: Pattern, figures: list[float]) -> float:
    weights = list(WEIGHTS)
    tables = _tables(figures)
    for model, verdict, score in pattern:
        weights = [w * row[0] for w, row in zip(weights, tables[model][3 * verdict + score], strict=True)]
    return math.log(sum(weights))


@pytest.mark.parametrize(
    "pattern",
    [((0, 2, 1),), ((1, 1, 0),), ((0, 0, 2), (1, 1, 1)), ((0, 2, 1), (1, 2, 0)), ((1, 0, 2), (0, 0, 1))],
)
def test_the_slopes_of_a_pattern_are_those_of_its_probability(pattern: Pattern) -> None:
    indexes, seen = _slopes(pattern, _tables(FIGURES))
    found = dict.fromkeys(range(len(FIGURES)), 0.0)
    for _, slopes in seen:
        for index, slope in zip(indexes, slopes, strict=True):
            found[index] += slope
    for index, slope in found.items():
        up, down = (log_chance(pattern, nudged(index, by)) for by in (STEP, -STEP))
        assert slope == pytest.approx((up - down) / (2 * STEP), abs=1e-6)
    assert sum(math.log(chance) for chance, _ in seen) == pytest.approx(log_chance(pattern, FIGURES))


@pytest.mark.parametrize("steps", [(0,), (0, 1), (1, 0)])
def test_the_slopes_of_a_plan_are_those_of_its_worth(steps: tuple[int, ...]) -> None:
    found = value(steps, FIGURES)
    for index in range(len(FIGURES)):
        up, down = (value(steps, nudged(index, by)).quality for by in (STEP, -STEP))
        assert found.slopes.get(index, 0.0) == pytest.approx((up - down) / (2 * STEP), abs=1e-6)


def test_averages_over_difficulty_are_those_of_a_standard_normal() -> None:
    assert [sum(w * z**power for w, z in zip(WEIGHTS, POINTS, strict=True)) for power in (0, 2, 4)] == (
        pytest.approx([1.0, 1.0, 3.0])
    )


def played(steps: tuple[int, ...], figures: list[float], rng: random.Random) -> tuple[Pattern, bool]:
    """One task, as the model believes tasks to be."""
    z, seen = rng.gauss(0, 1), []
    for at, model in enumerate(steps):
        done = rng.random() < sigmoid(figures[SHARED + 2 * model] + math.exp(figures[0]) * z)
        wrong = sigmoid(figures[2]) if done else sigmoid(figures[1] + figures[SHARED + 2 * model + 1])
        accepted = done != (rng.random() < wrong)
        last = at == len(steps) - 1
        seen.append((model, int(accepted), int(done) if accepted or last else 2))
        if accepted:
            break
    return tuple(seen), done


def learned(count: int, seed: int = 1) -> Fit:
    rng = random.Random(seed)
    told = Counter(played(rng.choice([(0, 1), (1,)]), FIGURES, rng)[0] for _ in range(count))
    known: tuple[float, ...] = ()
    for _ in range(12):
        found = fit(list(told.items()), known, expected(len(FIGURES), None, 0.0))
        known = found.figures
    return found


def test_what_produced_the_outcomes_is_found_in_them() -> None:
    rng = random.Random(2)
    truth = sum(played((0, 1), FIGURES, rng)[1] for _ in range(20_000)) / 20_000
    assert value((0, 1), FIGURES).quality == pytest.approx(truth, abs=0.01)
    known = learned(4_000)
    assert value((0, 1), known.figures).quality == pytest.approx(truth, abs=0.03)
    assert value((1,), known.figures).quality == pytest.approx(value((1,), FIGURES).quality, abs=0.03)


def test_the_error_of_a_difference_shrinks_with_what_was_told_and_covers_the_truth() -> None:
    def difference(figures: tuple[float, ...] | list[float]) -> tuple[float, dict[int, float]]:
        plan, alone = value((0, 1), figures), value((1,), figures)
        slopes = dict(plan.slopes)
        for index, slope in alone.slopes.items():
            slopes[index] = slopes.get(index, 0.0) - slope
        return plan.quality - alone.quality, slopes

    truth, inside, errors = difference(FIGURES)[0], 0, []
    for seed in range(30):
        known = learned(400, seed)
        found, slopes = difference(known.figures)
        error = deviation(slopes, known)
        errors.append(error)
        inside += abs(found - truth) < 1.96 * error
    assert inside >= 26
    known = learned(6_400)
    assert deviation(difference(known.figures)[1], known) < 0.4 * sum(errors) / len(errors)


def test_who_takes_over_after_a_failure_meets_the_harder_tasks() -> None:
    plan = value((0, 1), FIGURES)
    alone = [value((model,), FIGURES).quality for model in (0, 1)]
    as_if_unrelated = 1.0 - (1.0 - alone[0]) * (1.0 - alone[1])
    assert alone[1] < plan.quality < as_if_unrelated


def test_a_kind_of_task_expects_what_others_told_above_it() -> None:
    above = learned(2_000)
    size = len(FIGURES)
    own = expected(size, above, 0.0)
    assert [mean for mean, _ in own] == pytest.approx(list(above.figures))
    alone = expected(size, above, 1.0)
    assert [mean for mean, _ in alone] == pytest.approx([prior(index)[0] for index in range(size)])
    assert expected(size + 2, above, 0.0)[-1] == expected(size + 2, None, 0.0)[-1]


def test_work_that_evidence_rejected_is_less_likely_right_and_less_so_after_others_failed() -> None:
    figures = (math.log(2.0), -2.0, -2.0, 0.6, 0.0, 0.6, 0.0)
    accepted, rejected = (right((0,), verdict, figures) for verdict in (True, False))
    assert rejected < 0.3 < 0.8 < accepted
    assert right((1, 0), True, figures) < accepted
    assert right((1, 0), False, figures) < rejected


def test_a_verifier_that_passes_nearly_all_bad_work_proves_little() -> None:
    blind, strict = (right((0,), True, (math.log(2.0), passes, -2.0, -1.0, 0.0)) for passes in (3.0, -3.0))
    assert blind < 0.5 < strict
