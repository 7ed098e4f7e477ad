from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.policy import Learner
from engine.core.ports import Belief
from engine.policy.gate import GateCandidate, GateResult, pass_gate

LEARNER = Learner("picker", "beta", ("features.phase",), threshold=0.95, min_samples=200)
MODELS = ["opus", "deepseek", "haiku", "local"]

SURE = Belief(0.97, 500)
UNSURE = Belief(0.82, 500)
UNKNOWN = Belief(0.99, 12)

OPUS = GateCandidate("opus", 0.10)
DEEPSEEK = GateCandidate("deepseek", 0.02)
HAIKU = GateCandidate("haiku", 0.01)


@dataclass(frozen=True)
class Told:
    """Trusts as it was told."""

    beliefs: Mapping[str, Belief]

    def belief(self, learner: Learner, signature: str, candidate: str, against: str) -> Belief:
        return self.beliefs.get(candidate, Belief(1.0, 900))


def choose(
    beliefs: Mapping[str, Belief],
    *candidates: GateCandidate,
    draw: float = 0.5,
    rate: float = 0.0,
    learner: Learner = LEARNER,
) -> GateResult:
    listed = candidates or (OPUS, DEEPSEEK, HAIKU)
    return pass_gate(replace(learner, explore_rate=rate), listed, "opus", Told(beliefs), "execute", draw)


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
    result = choose({"haiku": SURE}, OPUS, GateCandidate("haiku", 0.01, eligible=False), rate=1.0, draw=0.1)
    assert result.model == "opus"
    assert why(result, "haiku") == "cannot carry this request"


def test_a_proven_model_that_costs_more_than_the_frontier_is_no_saving() -> None:
    result = choose({"gold": SURE}, OPUS, GateCandidate("gold", 0.50))
    assert (result.model, result.source, result.because) == ("opus", "default", "nothing_cheaper")
    assert why(result, "gold") == "costs more than opus"


def test_at_equal_cost_the_frontier_serves() -> None:
    assert choose({"haiku": SURE}, replace(HAIKU, expected_cost_usd=0.10), OPUS).model == "opus"


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


def test_exploring_measures_the_frontier_again_once_it_lost_its_traffic() -> None:
    result = choose({"haiku": SURE}, OPUS, HAIKU, draw=0.0, rate=0.02)
    assert (result.model, result.source, result.because) == ("opus", "learner", "explored")
    assert why(result, "haiku") == "set aside this once for opus"


def test_a_draw_of_one_forbids_exploring() -> None:
    result = choose({"haiku": UNKNOWN}, OPUS, HAIKU, draw=1.0, rate=1.0)
    assert (result.model, result.propensity) == ("opus", 1.0)


def test_nothing_dearer_than_the_frontier_is_tried() -> None:
    result = choose({"gold": UNKNOWN}, OPUS, GateCandidate("gold", 0.50), draw=0.0, rate=1.0)
    assert (result.model, result.propensity) == ("opus", 1.0)


beliefs = st.builds(
    Belief,
    st.one_of(st.floats(0, 1), st.sampled_from([0.95, 0.96, 1.0])),
    st.sampled_from([0.0, 12.5, 199.9, 200.0, 5000.0]),
)
tables = st.fixed_dictionaries(dict.fromkeys(MODELS[1:], beliefs))
costs = st.sampled_from([0.0, 0.01, 0.02, 0.1, 0.3])
others = st.lists(
    st.builds(GateCandidate, st.sampled_from(MODELS[1:]), costs, st.booleans()),
    unique_by=lambda candidate: candidate.model,
)
listings = st.builds(
    lambda rest, cost, place: [*rest[:place], GateCandidate("opus", cost), *rest[place:]],
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
    cost = {candidate.model: candidate.expected_cost_usd for candidate in listed}
    if result.model == "opus":
        assert (result.source, result.confidence) == ("default", None)
    else:
        belief = table[result.model]
        assert belief.confidence >= LEARNER.threshold
        assert belief.samples >= LEARNER.min_samples
        assert cost[result.model] < cost["opus"]
    for candidate in listed:
        belief = table.get(candidate.model, Belief(0.0, 0.0))
        if (
            candidate.eligible
            and belief.confidence >= LEARNER.threshold
            and belief.samples >= LEARNER.min_samples
        ):
            assert cost[result.model] <= candidate.expected_cost_usd


@given(tables, listings, draws, st.floats(0, 1))
def test_every_candidate_is_recorded_and_one_is_chosen(
    table: dict[str, Belief], listed: list[GateCandidate], draw: float, rate: float
) -> None:
    result = choose(table, *listed, draw=draw, rate=rate)
    assert [candidate.model for candidate in result.candidates] == [candidate.model for candidate in listed]
    assert [candidate.model for candidate in result.candidates if candidate.chosen] == [result.model]
    assert all(candidate.why for candidate in result.candidates)
    assert all(candidate.eligible for candidate in listed if candidate.model == result.model)
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
