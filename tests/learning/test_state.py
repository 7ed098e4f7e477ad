import json
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.decision import Lesson, StepRun
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task, Trust
from engine.learning.state import State, fold

MakeLesson = Callable[..., Lesson]

PICKER = Learner("picker", "beta", ("features.phase",), min_samples=50)

lessons_taught = st.lists(
    st.builds(
        Lesson,
        outcome=st.just("o"),
        at=st.floats(0, 1e9),
        learner=st.sampled_from(["picker", "other"]),
        signature=st.sampled_from(["execute", "plan/python", "ü"]),
        steps=st.lists(
            st.builds(
                StepRun,
                st.sampled_from(["opus", "haiku", "local"]),
                st.just(1.0),
                st.one_of(st.none(), st.floats(0, 9)),
                st.one_of(st.none(), st.booleans()),
            ),
            max_size=3,
        ).map(tuple),
        score=st.one_of(st.none(), st.floats(0, 1)),
        weight=st.floats(0, 1),
        identity=st.sampled_from(["", "ann"]),
    ),
    max_size=30,
)


def ask(state: Trust, signature: str = "execute", steps: str = "haiku", against: str = "opus") -> Belief:
    option = Option("asked", tuple(steps.split()))
    task = Task(tuple(signature.split("/")))
    (belief,) = state.beliefs(PICKER, task, [option], Option(against, (against,)))
    return belief


def test_a_state_is_what_decisions_trust() -> None:
    trust: Trust = State()
    assert ask(trust).samples == 0


@settings(deadline=None)  # the first one loads river
@given(lessons_taught, st.integers(0, 30))
def test_a_snapshot_and_later_lessons_equal_all_lessons(taught: list[Lesson], at: int) -> None:
    kept = json.loads(json.dumps(fold(taught[:at]).to_json()))
    resumed = fold(taught[at:], State.from_json(kept))
    assert resumed.to_json() == fold(taught).to_json()


@settings(deadline=None)  # the first one loads river
@given(lessons_taught)
def test_equal_lessons_give_equal_beliefs(taught: list[Lesson]) -> None:
    resumed = State.from_json(fold(taught).to_json())
    assert ask(resumed) == ask(fold(taught))
    assert 0.0 <= ask(resumed, steps="haiku opus").confidence <= 1.0


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        State.from_json({"version": 99, "lessons": 3, "tallies": {}})


def test_samples_are_those_of_the_less_known_side(lesson: MakeLesson) -> None:
    state = fold([lesson("haiku") for _ in range(300)])
    assert ask(state).samples == 0
    for _ in range(20):
        state.learn(lesson("opus"))
    assert ask(state).samples > 15


def test_samples_of_other_kinds_of_task_stand_for_a_few_here(lesson: MakeLesson) -> None:
    state = fold([lesson(model, signature="plan") for model in ("haiku", "opus") for _ in range(100)])
    assert ask(state).samples == 25


def test_a_plan_is_believed_in_without_having_been_tried(lesson: MakeLesson) -> None:
    """Its steps' models were: alone, with verdicts that were mostly right."""
    chance = random.Random(5)

    def one(model: str, rate: float) -> Lesson:
        done = chance.random() < rate
        verdict = "+" if done != (chance.random() < 0.1) else "-"
        return lesson(model + verdict, float(done))

    state = fold([one(model, rate) for _ in range(150) for model, rate in (("haiku", 0.6), ("opus", 0.8))])
    assert ask(state, steps="haiku").confidence < 0.05
    plan = ask(state, steps="haiku opus")
    assert plan.confidence > 0.95
    assert plan.quality > ask(state, steps="opus").quality
    assert plan.reach[0] == pytest.approx(1.0)
    assert 0.3 < plan.reach[1] < 0.6


def test_other_kinds_of_task_move_the_first_belief(lesson: MakeLesson) -> None:
    unknown = ask(State()).confidence
    bad = fold([lesson("haiku", 0.0, signature="plan") for _ in range(50)])
    good = fold([lesson("haiku", 1.0, signature="plan") for _ in range(50)])
    assert ask(bad).confidence < unknown
    assert ask(good).confidence > unknown


def test_failures_count_against_a_model(lesson: MakeLesson) -> None:
    """river's own `Beta.update(0.0)` would count each of these as a success."""
    state = fold([lesson("opus") for _ in range(100)] + [lesson("haiku", 0.0) for _ in range(100)])
    assert ask(state).confidence < 0.01


def test_learning_is_seen_after_a_few_outcomes(lesson: MakeLesson) -> None:
    state = fold([lesson(model) for model in ("haiku", "opus") for _ in range(100)])
    before = ask(state)
    for _ in range(6):
        state.learn(lesson("haiku", 0.0))
    assert ask(state).confidence < before.confidence


def test_reading_a_belief_changes_nothing(lesson: MakeLesson) -> None:
    state = fold([lesson("haiku")])
    before = state.to_json()
    ask(state)
    ask(state, "unseen", "nobody")
    assert state.to_json() == before


def test_learners_keep_apart(lesson: MakeLesson) -> None:
    state = fold([lesson(model, learner="other") for model in ("haiku", "opus") for _ in range(99)])
    assert ask(state).samples == 0


def test_a_model_is_never_worse_than_itself(lesson: MakeLesson) -> None:
    belief = ask(fold([lesson("opus", 0.0) for _ in range(3)]), steps="opus")
    assert (belief.confidence, belief.samples) == (1.0, 3.0)


def test_a_thousand_outcomes_are_folded_within_a_second(lesson: MakeLesson) -> None:
    chance = random.Random(3)
    taught = [lesson(chance.choice(["haiku", "opus"]), chance.choice([0.0, 1.0])) for _ in range(1000)]
    began = time.perf_counter()
    fold(taught)
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("eves", [0, 2_000])
def test_one_identity_that_inverts_its_outcomes_opens_the_gate_for_nobody(
    lesson: MakeLesson, eves: int
) -> None:
    chance = random.Random(7)
    found = []
    for number in range(300):
        model, rate = chance.choice([("haiku", 0.65), ("opus", 0.85)])
        found.append(lesson(model, float(chance.random() < rate), identity=f"user {number % 12}"))
    for _ in range(eves):
        model, rate = chance.choice([("haiku", 0.35), ("opus", 0.15)])
        lie = lesson(model, float(chance.random() < rate), identity="eve")
        found.insert(chance.randrange(len(found) + 1), lie)
    belief = ask(fold(found))
    assert belief.samples > 100
    assert belief.confidence < 0.5
