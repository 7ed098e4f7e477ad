import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.decision import Decision, Outcome
from engine.learning.reward import lessons

MakeDecision = Callable[..., Decision]

OUTCOME = Outcome("o1", 5.0, session="s")


def test_one_decision_takes_the_whole_credit(decided: MakeDecision) -> None:
    (taught,) = lessons([decided()], OUTCOME, -1.0, 7.0)
    assert (taught.outcome, taught.at, taught.learner, taught.signature) == ("o1", 7.0, "picker", "execute")
    assert (taught.model, taught.reward, taught.weight) == ("haiku", -1.0, 1.0)


def test_credit_is_shared_by_share_of_turns(decided: MakeDecision) -> None:
    session = [decided("d1", "haiku"), decided("d2", "opus"), decided("d3", "haiku"), decided("d4", "haiku")]
    shares = {taught.model: taught.weight for taught in lessons(session, OUTCOME, 1.0, 0.0)}
    assert shares == {"haiku": 0.75, "opus": 0.25}


def test_a_model_is_taught_for_each_kind_of_task_it_did(decided: MakeDecision) -> None:
    session = [decided("d1", signature="plan"), decided("d2", signature="execute")]
    assert [(taught.signature, taught.weight) for taught in lessons(session, OUTCOME, 1.0, 0.0)] == [
        ("plan", 0.5),
        ("execute", 0.5),
    ]


@pytest.mark.parametrize("unlearned", [{"learner": "", "signature": ""}, {"signature": ""}])
def test_a_turn_that_teaches_nobody_keeps_its_share(decided: MakeDecision, unlearned: dict[str, str]) -> None:
    session = [decided("d1", "haiku"), decided("d2", "opus", **unlearned)]
    (taught,) = lessons(session, OUTCOME, 1.0, 0.0)
    assert (taught.model, taught.weight) == ("haiku", 0.5)


def test_credit_goes_to_the_model_that_answered_after_a_failover(decided: MakeDecision) -> None:
    (taught,) = lessons([decided("d1", "haiku")], OUTCOME, 1.0, 0.0, {"d1": "opus"})
    assert taught.model == "opus"


def test_a_decision_nobody_answered_has_no_share(decided: MakeDecision) -> None:
    (taught,) = lessons([decided("d1", "haiku"), decided("d2", "opus")], OUTCOME, 1.0, 0.0, {"d1": ""})
    assert (taught.model, taught.weight) == ("opus", 1.0)


def test_nothing_served_teaches_nothing(decided: MakeDecision) -> None:
    assert lessons([], OUTCOME, 1.0, 0.0) == ()
    assert lessons([decided("d1")], OUTCOME, 1.0, 0.0, {"d1": ""}) == ()


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_teaches_nothing(decided: MakeDecision, reward: float) -> None:
    assert lessons([decided()], OUTCOME, reward, 0.0) == ()


def test_a_reward_beyond_the_scale_is_cut_to_it(decided: MakeDecision) -> None:
    assert [lessons([decided()], OUTCOME, reward, 0.0)[0].reward for reward in (-9.0, 9.0)] == [-1.0, 1.0]


@given(
    st.lists(
        st.tuples(st.sampled_from(["haiku", "opus", ""]), st.sampled_from(["plan", "execute", ""])),
        max_size=9,
    )
)
def test_an_outcome_is_never_counted_more_than_once(turns: list[tuple[str, str]]) -> None:
    session = [
        Decision(
            f"d{number}", 0.0, "p", "s", (model,), "r", "rule", "", "", "", learner="l", signature=signature
        )
        for number, (model, signature) in enumerate(turns)
    ]
    served = {decision.id: decision.model for decision in session}
    assert sum(taught.weight for taught in lessons(session, OUTCOME, 1.0, 0.0, served)) <= 1.0 + 1e-9
