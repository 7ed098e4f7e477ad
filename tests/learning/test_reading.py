import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.core.decision import Lesson
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task
from engine.learning.grams import grams_of
from engine.learning.models import LEARNERS
from engine.learning.reading import FURTHEST, SIZE, Reading, Row, features_of, log_odds, rows_of
from engine.learning.state import State, fold

MakeLesson = Callable[..., Lesson]

READING = [name for name, make in LEARNERS.items() if make is not None]
EASY, HARD = "rename the variable", "prove the theorem"


def told(count: int, lesson: MakeLesson) -> list[Lesson]:
    """The small model can rename and cannot prove; the large one can do both."""
    rng = random.Random(1)
    found = []
    for _ in range(count):
        words, model = rng.choice([EASY, HARD]), rng.choice(["haiku", "opus"])
        done = rng.random() < (0.1 if (model, words) == ("haiku", HARD) else 0.9)
        size = 100.0 * rng.randint(1, 20)
        one = lesson(model, float(done))
        step = replace(one.steps[0], cost_usd=size / 1000)
        found.append(replace(one, steps=(step,), inputs={SIZE: size}, grams=grams_of(words)))
    return found


def ask(state: State, algorithm: str, words: str, size: float = 1000.0) -> Belief:
    learner = Learner("picker", algorithm, ("features.phase",), margin=0.05, text=True)
    task = Task(("execute",), {SIZE: size}, grams_of(words))
    haiku, opus = (Option(name, (name,)) for name in ("haiku", "opus"))
    return state.beliefs(learner, task, [haiku], opus)[0]


@pytest.mark.parametrize("algorithm", READING)
def test_words_tell_what_a_model_can_do(lesson: MakeLesson, algorithm: str) -> None:
    state = fold(told(400, lesson))
    easy, hard = (ask(state, algorithm, words) for words in (EASY, HARD))
    assert easy.quality > hard.quality + 0.25
    assert easy.confidence > hard.confidence
    assert ask(state, "beta", EASY) == ask(state, "beta", HARD)


@pytest.mark.parametrize("algorithm", READING)
def test_a_snapshot_believes_the_same(lesson: MakeLesson, algorithm: str) -> None:
    state = fold(told(120, lesson))
    resumed = State.from_json(json.loads(json.dumps(state.to_json())))
    assert ask(resumed, algorithm, EASY) == ask(state, algorithm, EASY)


def test_it_matters_to_nobody_when_beliefs_are_asked_for(lesson: MakeLesson) -> None:
    state = State()
    for one in told(120, lesson):
        state.learn(one)
        ask(state, "logistic", EASY)
    assert ask(state, "logistic", HARD) == ask(fold(told(120, lesson)), "logistic", HARD)


def test_a_large_request_costs_more_than_is_usual(lesson: MakeLesson) -> None:
    state = fold(told(400, lesson))
    small, large = (ask(state, "logistic", EASY, size).cost_usd for size in (200.0, 1800.0))
    assert small == pytest.approx(0.2, abs=0.08)
    assert large == pytest.approx(1.8, abs=0.08)


def test_a_lesson_without_inputs_or_words_is_nothing_to_read(lesson: MakeLesson) -> None:
    assert rows_of(lesson("haiku")) == []


def test_a_verdict_stands_for_a_score_that_nobody_knows(lesson: MakeLesson) -> None:
    one = replace(lesson("haiku- opus"), inputs={"x": 1})
    assert [(row[3], row[4]) for row in rows_of(one)] == [("haiku", 0.0), ("opus", 1.0)]


def test_inputs_of_each_kind_become_numbers_of_a_like_size() -> None:
    found = features_of("execute", {"a": "x", "b": True, "c": 1_000_000}, (5, 9))
    assert found["a=x"] == found["b"] == found["=execute"] == 1.0
    assert 2.0 < found["c"] < 3.0
    assert found["5"] == found["9"]


def test_a_guess_moves_a_belief_only_so_far_and_less_on_few_outcomes() -> None:
    rows: list[Row] = [("s", {"x": 1.0}, [], "haiku", 0.0, None)] * 1_000
    task = Task(("s",), {"x": 1.0})
    few, many = (
        Reading("logistic", some).moves(task, ["haiku"], [log_odds(0.9)])[0] for some in (rows[:10], rows)
    )
    assert -FURTHEST <= many < few < 0.0
    assert Reading("logistic").moves(task, ["haiku"], [log_odds(0.9)]) == [0.0]
