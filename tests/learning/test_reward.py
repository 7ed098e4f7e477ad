import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.decision import Decision, Outcome, StepRun
from engine.learning.reward import lessons

MakeDecision = Callable[..., Decision]

OUTCOME = Outcome("o1", 5.0, session="s")


def test_one_decision_takes_the_whole_credit(decided: MakeDecision) -> None:
    (taught,) = lessons([decided()], OUTCOME, -1.0, 7.0, identity="ann")
    assert (taught.outcome, taught.at, taught.learner, taught.signature) == ("o1", 7.0, "picker", "execute")
    assert (taught.steps, taught.score, taught.weight) == ((StepRun("haiku"),), 0.0, 1.0)
    assert taught.identity == "ann"


def test_credit_is_shared_by_share_of_turns(decided: MakeDecision) -> None:
    session = [decided("d1", "haiku"), decided("d2", "opus"), decided("d3", "haiku"), decided("d4", "haiku")]
    (taught,) = lessons(session, OUTCOME, 1.0, 0.0)
    assert [(step.model, step.share) for step in taught.steps] == [("haiku", 0.75), ("opus", 0.25)]
    assert [step.accepted for step in taught.steps] == [None, None]


def test_work_that_an_escalation_took_away_was_rejected(decided: MakeDecision) -> None:
    session = [decided("d1", "haiku"), decided("d2", "opus", source="escalation")]
    (taught,) = lessons(session, OUTCOME, 1.0, 0.0, accepted=True)
    assert [step.accepted for step in taught.steps] == [False, True]


def test_the_kind_of_task_is_what_it_was_when_the_work_began(decided: MakeDecision) -> None:
    session = [decided("d1", signature="plan"), decided("d2", signature="execute")]
    (taught,) = lessons(session, OUTCOME, 1.0, 0.0)
    assert (taught.signature, taught.weight) == ("plan", 1.0)


def test_each_learner_is_taught_by_its_own_turns(decided: MakeDecision) -> None:
    session = [decided("d1", "haiku"), decided("d2", "opus", learner="other"), decided("d3", "haiku")]
    taught = lessons(session, OUTCOME, 1.0, 0.0)
    assert [(one.learner, one.steps[0].model) for one in taught] == [("picker", "haiku"), ("other", "opus")]
    assert [one.weight for one in taught] == pytest.approx([2 / 3, 1 / 3])


def test_a_step_costs_what_its_turns_cost_where_all_are_known(decided: MakeDecision) -> None:
    session = [decided("d1", "haiku"), decided("d2", "haiku"), decided("d3", "opus")]
    (taught,) = lessons(session, OUTCOME, 1.0, 0.0, costs_usd={"d1": 0.25, "d2": 0.5})
    assert [step.cost_usd for step in taught.steps] == [0.75, None]


def test_a_turn_that_teaches_nobody_keeps_its_share(decided: MakeDecision) -> None:
    session = [decided("d1", "haiku"), decided("d2", "opus", learner="", signature="")]
    (taught,) = lessons(session, OUTCOME, 1.0, 0.0)
    assert ([step.model for step in taught.steps], taught.weight) == (["haiku"], 0.5)


def test_credit_goes_to_the_model_that_answered_after_a_failover(decided: MakeDecision) -> None:
    (taught,) = lessons([decided("d1", "haiku")], OUTCOME, 1.0, 0.0, {"d1": "opus"})
    assert taught.steps[0].model == "opus"


def test_a_decision_nobody_answered_has_no_share(decided: MakeDecision) -> None:
    (taught,) = lessons([decided("d1", "haiku"), decided("d2", "opus")], OUTCOME, 1.0, 0.0, {"d1": ""})
    assert ([step.model for step in taught.steps], taught.weight) == (["opus"], 1.0)


def test_nothing_served_teaches_nothing(decided: MakeDecision) -> None:
    assert lessons([], OUTCOME, 1.0, 0.0) == ()
    assert lessons([decided("d1")], OUTCOME, 1.0, 0.0, {"d1": ""}) == ()


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_teaches_nothing(decided: MakeDecision, reward: float) -> None:
    assert lessons([decided()], OUTCOME, reward, 0.0) == ()


def test_a_reward_beyond_the_scale_is_cut_to_it(decided: MakeDecision) -> None:
    assert [lessons([decided()], OUTCOME, reward, 0.0)[0].score for reward in (-9.0, 9.0)] == [0.0, 1.0]


@given(
    st.lists(st.tuples(st.sampled_from(["haiku", "opus", ""]), st.sampled_from(["l", "m", ""])), max_size=9)
)
def test_an_outcome_is_never_counted_more_than_once(turns: list[tuple[str, str]]) -> None:
    session = [
        Decision(
            f"d{number}", 0.0, "p", "s", (model,), "r", "rule", "", "", "", learner=learner, signature="x"
        )
        for number, (model, learner) in enumerate(turns)
    ]
    served = {decision.id: decision.model for decision in session}
    taught = lessons(session, OUTCOME, 1.0, 0.0, served)
    assert sum(lesson.weight for lesson in taught) <= 1.0 + 1e-9
    assert all(sum(step.share for step in lesson.steps) == pytest.approx(1.0) for lesson in taught)
