import json
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.decision import Lesson
from engine.core.policy import Learner
from engine.core.ports import Trust
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
        model=st.sampled_from(["opus", "haiku", "local"]),
        reward=st.floats(-1, 1),
        weight=st.floats(0, 1),
    ),
    max_size=30,
)


def test_a_state_is_what_decisions_trust() -> None:
    trust: Trust = State()
    assert trust.belief(PICKER, "execute", "haiku", "opus").samples == 0


@given(lessons_taught, st.integers(0, 30))
def test_a_snapshot_and_later_lessons_equal_all_lessons(taught: list[Lesson], at: int) -> None:
    kept = json.loads(json.dumps(fold(taught[:at]).to_json()))
    resumed = fold(taught[at:], State.from_json(kept))
    assert resumed.to_json() == fold(taught).to_json()


@given(lessons_taught, st.randoms(use_true_random=False))
def test_figures_do_not_depend_on_the_order_of_lessons(taught: list[Lesson], chance: random.Random) -> None:
    shuffled = list(taught)
    chance.shuffle(shuffled)
    assert fold(shuffled).to_json() == fold(taught).to_json()


@given(lessons_taught)
def test_equal_lessons_give_equal_beliefs(taught: list[Lesson]) -> None:
    asked = ("execute", "haiku", "opus")
    resumed = State.from_json(fold(taught).to_json())
    assert resumed.belief(PICKER, *asked) == fold(taught).belief(PICKER, *asked)


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        State.from_json({"version": 99, "lessons": 3, "tallies": {}})


def test_samples_are_those_of_the_less_known_side(lesson: MakeLesson) -> None:
    state = fold([lesson("haiku") for _ in range(300)])
    assert state.belief(PICKER, "execute", "haiku", "opus").samples == 0
    for _ in range(20):
        state.learn(lesson("opus"))
    assert state.belief(PICKER, "execute", "haiku", "opus").samples == 20


def test_samples_of_other_kinds_of_task_are_no_samples_here(lesson: MakeLesson) -> None:
    state = fold([lesson(model, signature="plan") for model in ("haiku", "opus") for _ in range(300)])
    assert state.belief(PICKER, "execute", "haiku", "opus").samples == 0


def test_other_kinds_of_task_move_the_first_belief(lesson: MakeLesson) -> None:
    unknown = State().belief(PICKER, "execute", "haiku", "opus").confidence
    bad = fold([lesson("haiku", -1.0, signature="plan") for _ in range(50)])
    good = fold([lesson("haiku", 1.0, signature="plan") for _ in range(50)])
    assert bad.belief(PICKER, "execute", "haiku", "opus").confidence < unknown
    assert good.belief(PICKER, "execute", "haiku", "opus").confidence > unknown


def test_failures_count_against_a_model(lesson: MakeLesson) -> None:
    """river's own `Beta.update(-1.0)` would count each of these as a success."""
    state = fold([lesson("opus") for _ in range(100)] + [lesson("haiku", -1.0) for _ in range(100)])
    assert state.belief(PICKER, "execute", "haiku", "opus").confidence < 0.01


def test_learning_is_seen_at_once(lesson: MakeLesson) -> None:
    state = fold([lesson(model) for model in ("haiku", "opus") for _ in range(100)])
    before = state.belief(PICKER, "execute", "haiku", "opus")
    state.learn(lesson("haiku", -1.0))
    assert state.belief(PICKER, "execute", "haiku", "opus").confidence < before.confidence


def test_reading_a_belief_changes_nothing(lesson: MakeLesson) -> None:
    state = fold([lesson("haiku")])
    before = state.to_json()
    state.belief(PICKER, "execute", "haiku", "opus")
    state.belief(PICKER, "unseen", "nobody", "opus")
    assert state.to_json() == before


def test_learners_keep_apart(lesson: MakeLesson) -> None:
    state = fold([lesson(model, learner="other") for model in ("haiku", "opus") for _ in range(99)])
    assert state.belief(PICKER, "execute", "haiku", "opus").samples == 0


def test_a_model_is_never_worse_than_itself(lesson: MakeLesson) -> None:
    belief = fold([lesson("opus", -1.0)]).belief(PICKER, "execute", "opus", "opus")
    assert (belief.confidence, belief.samples) == (1.0, 1.0)


def test_a_thousand_outcomes_are_folded_well_within_a_second(lesson: MakeLesson) -> None:
    chance = random.Random(3)
    taught = [lesson(chance.choice(["haiku", "opus"]), chance.choice([-1.0, 1.0])) for _ in range(1000)]
    began = time.perf_counter()
    fold(taught)
    assert time.perf_counter() - began < 0.5
