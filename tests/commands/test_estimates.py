"""Estimates of a policy that was not run, held against worlds whose truth is known."""

import random

import pytest

from engine.commands.estimates import Logged, effective_sample_size, estimates

TRUTH = {("easy", "cheap"): 0.9, ("easy", "dear"): 0.95, ("hard", "cheap"): 0.3, ("hard", "dear"): 0.8}
USD = {"cheap": 0.1, "dear": 1.0}


def world(count: int, explored: float, seed: int) -> list[Logged]:
    """The past chose `dear`, or with the given chance `cheap`; the other policy takes `cheap` for what is easy."""
    chance = random.Random(seed)
    tasks = []
    for _ in range(count):
        kind = chance.choice(("easy", "hard"))
        chosen = "cheap" if chance.random() < explored else "dear"
        score = float(chance.random() < TRUTH[kind, chosen])
        propensity = explored if chosen == "cheap" else 1.0 - explored
        other = "cheap" if kind == "easy" else "dear"
        tasks.append(Logged(kind, chosen, propensity, score, USD[chosen], other))
    return tasks


@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
@pytest.mark.parametrize(("what", "truth"), [("score", (0.9 + 0.8) / 2), ("cost_usd", (0.1 + 1.0) / 2)])
def test_the_interval_holds_the_truth_in_most_worlds(estimator: str, what: str, truth: float) -> None:
    held = 0
    for seed in range(100):
        found = estimates(world(600, 0.2, seed))[what][estimator]
        held += found["low"] <= truth <= found["high"]
    assert held >= 88


def test_the_doubly_robust_estimate_is_surer_than_weighing_alone() -> None:
    def width(estimator: str) -> float:
        found = estimates(world(600, 0.2, 1))["score"][estimator]
        return float(found["high"] - found["low"])

    assert width("dr") < width("snips") < width("ips")


def test_the_doubly_robust_estimate_bears_chances_that_were_recorded_wrong() -> None:
    wrong = [
        Logged(task.kind, task.chosen, 0.4, task.score, task.cost_usd, task.other)
        for task in world(20_000, 0.2, 3)
    ]
    found = estimates(wrong)["score"]
    assert abs(found["dr"]["value"] - 0.85) < 0.01
    assert abs(found["ips"]["value"] - 0.85) > 0.1


def test_the_same_policy_comes_to_what_was() -> None:
    same = [
        Logged(task.kind, task.chosen, 1.0, task.score, task.cost_usd, task.chosen)
        for task in world(200, 0.5, 2)
    ]
    found = estimates(same)
    assert found["score"]["ips"]["value"] == pytest.approx(found["score"]["logged"]["value"])
    assert found["score"]["snips"]["value"] == pytest.approx(found["score"]["logged"]["value"])
    assert found["score"]["dr"]["value"] == pytest.approx(found["score"]["logged"]["value"])
    assert found["effective_sample_size"] == pytest.approx(200)


def test_what_cannot_be_known_is_said() -> None:
    nobody = estimates(world(300, 0.0, 1))
    assert "nobody explored" in " ".join(nobody["warnings"])
    assert "never tried" in " ".join(nobody["warnings"])
    few = estimates(world(40, 0.1, 1))
    assert "too small to trust" in " ".join(few["warnings"])
    assert estimates([])["warnings"] == ["no task that a learner was asked about has an outcome yet"]
    assert estimates(world(2_000, 0.2, 1))["warnings"] == []


def test_the_effective_sample_size_counts_equal_weights_whole_and_one_that_outweighs_all_once() -> None:
    assert effective_sample_size([2.0] * 10) == 10.0
    assert effective_sample_size([1e9, 1.0, 1.0]) == pytest.approx(1.0)
    assert effective_sample_size([0.0]) == 0.0


def test_tasks_whose_cost_nobody_knows_count_for_the_score_alone() -> None:
    found = estimates([Logged("easy", "dear", 1.0, 1.0, None, "dear")])
    assert found["cost_usd"] is None
    assert found["score"]["dr"]["value"] == 1.0
