from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task
from engine.policy.gate import GateCandidate, GateResult, pass_gate

LEARNER = Learner("picker", "beta", ("features.phase",), threshold=0.95, min_samples=200)
MODELS = ["opus", "deepseek", "haiku", "local"]

SURE = Belief(0.97, 500)
UNSURE = Belief(0.82, 500)
UNKNOWN = Belief(0.99, 12)


def priced(model: str, usd: float, eligible: bool = True) -> GateCandidate:
    return GateCandidate(Option(model, (model,)), (usd,), eligible)


OPUS = priced("opus", 0.10)
DEEPSEEK = priced("deepseek", 0.02)
HAIKU = priced("haiku", 0.01)


@dataclass(frozen=True)
class Told:
    """Trusts as it was told."""

    told: Mapping[str, Belief]

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        return [self.told.get(option.name, Belief(1.0, 900)) for option in options]


def choose(
    beliefs: Mapping[str, Belief],
    *candidates: GateCandidate,
    draw: float = 0.5,
    rate: float = 0.0,
    learner: Learner = LEARNER,
) -> GateResult:
    listed = candidates or (OPUS, DEEPSEEK, HAIKU)
    exploring = replace(learner, explore_rate=rate)
    return pass_gate(exploring, listed, OPUS.option, Told(beliefs), Task(("execute",)), draw)


def why(result: GateResult, model: str) -> str:
    return next(candidate.why for candidate in result.candidates if candidate.model == model)


def test_the_cheapest_proven_model_serves() -> None:
    result = choose({"deepseek": SURE, "haiku": SURE})
    assert (result.model, result.source, result.confidence) == ("haiku", "learner", 0.97)
    assert result.because == "proven"
    assert result.reason == "not worse than opus with confidence 0.97"
    assert why(result, "deepseek") == "costs more than haiku"
    assert why(result, "opus") == "costs more than haiku"


def test_a_cheaper_model_that_is_not_proven_is_passed_by() -> None:
    result = choose({"deepseek": SURE, "haiku": UNSURE})
    assert result.model == "deepseek"
    assert why(result, "haiku") == "confidence 0.82 is below 0.95"


def test_below_the_threshold_the_frontier_serves() -> None:
    result = choose({"deepseek": UNSURE, "haiku": Belief(0.9497, 500)})
    assert (result.model, result.source, result.confidence) == ("opus", "default", None)
    assert result.because == "below_threshold"
    assert why(result, "haiku") == "confidence 0.949 is below 0.95"


def test_without_enough_samples_the_frontier_serves() -> None:
    result = choose({"deepseek": UNKNOWN, "haiku": Belief(0.99, 199.9)})
    assert (result.model, result.because) == ("opus", "few_samples")
    assert why(result, "deepseek") == "12 of 200 samples"
    assert why(result, "haiku") == "199 of 200 samples"


def test_exactly_the_threshold_and_the_samples_are_enough() -> None:
    assert choose({"deepseek": UNSURE, "haiku": Belief(0.95, 200)}).model == "haiku"


def test_a_confidence_that_is_no_number_proves_nothing() -> None:
    assert choose({"deepseek": UNSURE, "haiku": Belief(float("nan"), 500)}).model == "opus"


def test_a_model_that_cannot_carry_the_request_never_serves() -> None:
    result = choose({"haiku": SURE}, OPUS, priced("haiku", 0.01, eligible=False), rate=1.0, draw=0.1)
    assert result.model == "opus"
    assert why(result, "haiku") == "cannot carry this request"


def test_a_proven_model_that_costs_more_than_the_frontier_is_no_saving() -> None:
    result = choose({"gold": SURE}, OPUS, priced("gold", 0.50))
    assert (result.model, result.source, result.because) == ("opus", "default", "nothing_cheaper")
    assert why(result, "gold") == "costs more than opus"


def test_at_equal_cost_the_frontier_serves() -> None:
    assert choose({"haiku": SURE}, replace(HAIKU, step_usd=(0.10,)), OPUS).model == "opus"


def test_the_frontier_serves_where_only_others_were_listed() -> None:
    assert choose({"haiku": UNSURE}, HAIKU).model == "opus"
    assert choose({}, OPUS).because == "nothing_cheaper"


def test_exploring_tries_what_would_not_have_served() -> None:
    tried = choose({"deepseek": UNSURE, "haiku": UNKNOWN}, draw=0.001, rate=0.02)
    assert (tried.model, tried.source, tried.because) == ("deepseek", "learner", "explored")
    assert tried.propensity == pytest.approx(0.01)
    assert choose({"deepseek": UNSURE, "haiku": UNKNOWN}, draw=0.019, rate=0.02).model == "haiku"
    greedy = choose({"deepseek": UNSURE, "haiku": UNKNOWN}, draw=0.02, rate=0.02)
    assert greedy.model == "opus"
    assert greedy.propensity == pytest.approx(0.98)


def test_exploring_measures_the_frontier_again_now_and_then_once_it_lost_its_traffic() -> None:
    assert choose({"haiku": SURE}, OPUS, HAIKU, draw=0.0021, rate=0.02).model == "haiku"
    result = choose({"haiku": SURE}, OPUS, HAIKU, draw=0.0, rate=0.02)
    assert (result.model, result.source, result.because) == ("opus", "learner", "explored")
    assert why(result, "haiku") == "set aside this once for opus"


def test_a_draw_of_one_forbids_exploring() -> None:
    result = choose({"haiku": UNKNOWN}, OPUS, HAIKU, draw=1.0, rate=1.0)
    assert (result.model, result.propensity) == ("opus", 1.0)


def test_nothing_is_tried_that_is_expected_to_cost_much_quality() -> None:
    worse = Belief(0.3, 50, quality=0.7)
    told = {"opus": Belief(1.0, 900, quality=0.8), "haiku": worse, "deepseek": replace(worse, quality=0.76)}
    assert choose(told, draw=0.0, rate=1.0).model == "deepseek"
    assert choose({**told, "deepseek": worse}, draw=0.0, rate=1.0).model == "opus"


def test_nothing_is_tried_that_is_known_to_be_worse() -> None:
    assert choose({"haiku": Belief(0.04, 500)}, OPUS, HAIKU, draw=0.0, rate=1.0).model == "opus"
    assert choose({"haiku": Belief(0.04, 10)}, OPUS, HAIKU, draw=0.0, rate=1.0).model == "haiku"


def test_only_what_would_be_cheaper_than_what_serves_is_tried() -> None:
    result = choose({"haiku": SURE, "deepseek": UNSURE}, draw=0.5, rate=1.0)
    assert (result.model, result.because) == ("haiku", "proven")


def plan(usd: float) -> GateCandidate:
    return GateCandidate(Option("first-haiku", ("haiku", "opus")), (usd, 0.10))


def test_a_plan_costs_its_steps_as_often_as_they_are_reached() -> None:
    told = {"first-haiku": Belief(0.97, 500, 0.8, (1.0, 0.5)), "opus": Belief(1.0, 900, 0.8, (1.0,))}
    result = choose(told, OPUS, plan(0.01))
    assert (result.option.name, result.model) == ("first-haiku", "haiku")
    assert result.candidates[1].expected_cost_usd == pytest.approx(0.06)
    assert (result.candidates[1].plan, result.candidates[1].model) == ("first-haiku", "haiku")
    assert choose(told, OPUS, plan(0.06)).because == "nothing_cheaper"


def test_what_tasks_cost_outranks_list_prices_where_it_is_known_of_all() -> None:
    paid = {"haiku": Belief(0.97, 500, cost_usd=2.0), "opus": Belief(1.0, 900, cost_usd=1.0)}
    assert choose(paid, OPUS, HAIKU).model == "opus"
    assert choose({**paid, "haiku": SURE}, OPUS, HAIKU).model == "haiku"


def test_where_a_task_done_has_a_worth_quality_is_weighed_against_cost() -> None:
    told = {
        "haiku": Belief(0.97, 500, 0.7),
        "deepseek": Belief(0.97, 500, 0.75),
        "opus": Belief(1.0, 900, 0.8),
    }
    for worth, model in ((0.0, "haiku"), (0.1, "haiku"), (1.0, "deepseek"), (10.0, "opus")):
        assert choose(told, learner=replace(LEARNER, usd_per_quality=worth)).model == model


def test_nothing_dearer_than_the_frontier_is_tried() -> None:
    result = choose({"gold": UNKNOWN}, OPUS, priced("gold", 0.50), draw=0.0, rate=1.0)
    assert (result.model, result.propensity) == ("opus", 1.0)


beliefs = st.builds(
    Belief,
    st.one_of(st.floats(0, 1), st.sampled_from([0.95, 0.96, 1.0])),
    st.sampled_from([0.0, 12.5, 199.9, 200.0, 5000.0]),
)
tables = st.fixed_dictionaries(dict.fromkeys(MODELS[1:], beliefs))
costs = st.sampled_from([0.0, 0.01, 0.02, 0.1, 0.3])
others = st.lists(
    st.builds(priced, st.sampled_from(MODELS[1:]), costs, st.booleans()),
    unique_by=lambda candidate: candidate.option.name,
)
listings = st.builds(
    lambda rest, cost, place: [*rest[:place], priced("opus", cost), *rest[place:]],
    others,
    costs,
    st.integers(0, 3),
)
draws = st.floats(0, 1, exclude_max=True)


@given(tables, listings, draws)
def test_what_serves_without_exploring_is_proven_or_the_frontier(
    table: dict[str, Belief], listed: list[GateCandidate], draw: float
) -> None:
    result = choose(table, *listed, draw=draw)
    assert result.propensity == 1.0
    cost = {candidate.option.name: candidate.step_usd[0] for candidate in listed}
    if result.model == "opus":
        assert (result.source, result.confidence) == ("default", None)
    else:
        belief = table[result.model]
        assert belief.confidence >= LEARNER.threshold
        assert belief.samples >= LEARNER.min_samples
        assert cost[result.model] < cost["opus"]
    for candidate in listed:
        belief = table.get(candidate.option.name, Belief(0.0, 0.0))
        if (
            candidate.eligible
            and belief.confidence >= LEARNER.threshold
            and belief.samples >= LEARNER.min_samples
        ):
            assert cost[result.model] <= candidate.step_usd[0]


@given(tables, listings, draws, st.floats(0, 1))
def test_every_candidate_is_recorded_and_one_is_chosen(
    table: dict[str, Belief], listed: list[GateCandidate], draw: float, rate: float
) -> None:
    result = choose(table, *listed, draw=draw, rate=rate)
    assert [candidate.model for candidate in result.candidates] == [
        candidate.option.name for candidate in listed
    ]
    assert [candidate.model for candidate in result.candidates if candidate.chosen] == [result.model]
    assert all(candidate.why for candidate in result.candidates)
    assert all(candidate.eligible for candidate in listed if candidate.option == result.option)
    assert (result.model == "opus") == (result.confidence is None)


@given(tables, listings, st.floats(0.1, 0.9))
def test_propensities_are_the_chances_choices_had(
    table: dict[str, Belief], listed: list[GateCandidate], rate: float
) -> None:
    steps = 200
    results = [choose(table, *listed, draw=(step + 0.5) / steps, rate=rate) for step in range(steps)]
    chances = {result.model: result.propensity for result in results}
    assert sum(chances.values()) == pytest.approx(1.0)
    for model, chance in chances.items():
        share = sum(result.model == model for result in results) / steps
        assert share == pytest.approx(chance, abs=2 / steps)
