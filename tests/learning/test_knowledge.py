import json
import random
from collections.abc import Callable

import pytest

from engine.core.decision import Lesson, StepRun
from engine.learning.joint import value
from engine.learning.knowledge import ANYBODY, Knowledge, patterns_of

MakeLesson = Callable[..., Lesson]
NUMBERS = {"haiku": 0, "opus": 1}


@pytest.mark.parametrize(
    ("steps", "score", "patterns"),
    [
        ("haiku", 1.0, [(((0, 2, 1),), 1.0)]),
        ("haiku+", 0.0, [(((0, 1, 0),), 1.0)]),
        ("haiku", None, [(((0, 2, 2),), 1.0)]),
        ("haiku- opus+", 1.0, [(((0, 0, 2), (1, 1, 1)), 1.0)]),
        ("haiku", 0.25, [(((0, 2, 1),), 0.25), (((0, 2, 0),), 0.75)]),
        ("haiku opus", 1.0, [(((0, 2, 1),), 0.5), (((1, 2, 1),), 0.5)]),
    ],
)
def test_a_lesson_is_what_was_seen(
    lesson: MakeLesson, steps: str, score: float | None, patterns: list[object]
) -> None:
    assert patterns_of(lesson(steps, score), NUMBERS) == patterns


def test_results_of_several_models_on_one_task_are_seen_together() -> None:
    steps = (StepRun("haiku", score=0.0), StepRun("opus", score=1.0))
    seen = patterns_of(Lesson("o", 0.0, "l", "s", steps, None), NUMBERS)
    assert seen == [(((0, 2, 0), (1, 2, 1)), 1.0)]


def quality(known: Knowledge, model: str, signature: str = "execute") -> float:
    kind, numbers = known.kind(signature.split("/")), known.numbers([model])
    return value(numbers, kind.figures(max(numbers))).quality


def told(known: Knowledge, *lessons: Lesson) -> Knowledge:
    for one in lessons:
        known.add(one)
    return known


def test_a_kind_of_task_that_was_never_seen_is_like_the_kinds_above_it_but_less_surely(
    lesson: MakeLesson,
) -> None:
    known = told(
        Knowledge(), *(lesson("haiku", float(n % 10 < 9), signature="execute/go") for n in range(100))
    )
    seen, unseen = known.kind(["execute", "go"]), known.kind(["execute", "rust"])
    assert quality(known, "haiku", "execute/rust") == pytest.approx(0.9, abs=0.08)
    assert unseen.fit.deviations[3] > seen.fit.deviations[3]
    assert seen.samples(0) > 95.0
    assert unseen.samples(0) == 25.0


def test_a_task_costs_what_its_steps_were_paid(lesson: MakeLesson) -> None:
    steps = (StepRun("haiku", cost_usd=0.5, accepted=False), StepRun("opus", cost_usd=2.0, accepted=True))
    known = told(Knowledge(), *(Lesson("o", 0.0, "l", "execute", steps, 1.0) for _ in range(9)))
    assert known.kind(["execute"]).cost_usd((0, 1), (1.0, 0.5)) == pytest.approx(1.5)
    assert known.kind(["execute"]).cost_usd((0, 2), (1.0, 0.5)) is None


def test_a_model_that_turns_worse_starts_from_nothing(lesson: MakeLesson) -> None:
    rng = random.Random(3)
    known = told(Knowledge(), *(lesson("haiku", float(rng.random() < 0.9)) for _ in range(400)))
    before = known.numbers(["haiku"])
    tasks = 0
    while known.numbers(["haiku"]) == before and tasks < 400:
        known.add(lesson("haiku", float(rng.random() < 0.6)))
        tasks += 1
    assert tasks < 200
    assert known.kind(["execute"]).samples(*known.numbers(["haiku"])) <= 1.0


def test_a_model_that_stays_as_it_is_keeps_its_trust(lesson: MakeLesson) -> None:
    rng = random.Random(3)
    known = told(Knowledge(), *(lesson("haiku", float(rng.random() < 0.8)) for _ in range(2_000)))
    assert known.numbers(["haiku"]) == (0,)


def test_one_identity_tells_no_more_than_its_share(lesson: MakeLesson) -> None:
    known = told(Knowledge(), *(lesson("haiku", 1.0, identity="eve") for _ in range(500)))
    assert known.kind(["execute"]).samples(0) <= ANYBODY
    told(known, *(lesson("haiku", 1.0, identity=f"user {n % 10}") for n in range(200)))
    assert known.kind(["execute"]).samples(0) > 150.0
    told(known, *(lesson("haiku", 1.0, identity="eve") for _ in range(500)))
    assert known.kind(["execute"]).samples(0) < 210.0 / 0.8 + 1.0


def test_what_is_written_down_goes_on_as_if_nothing_had_been(lesson: MakeLesson) -> None:
    rng = random.Random(4)

    def one() -> Lesson:
        steps = rng.choice(["haiku- opus+", "haiku+", "opus", "opus-", "haiku"])
        return lesson(steps, rng.choice([0.0, 1.0, 0.5]), signature=rng.choice(["a/b", "a/c", "d"]))

    lessons = [one() for _ in range(700)]
    whole = told(Knowledge(), *lessons)
    half = json.loads(json.dumps(told(Knowledge(), *lessons[:600]).to_json()))
    resumed = told(Knowledge.from_json(half), *lessons[600:])
    assert json.dumps(resumed.to_json()) == json.dumps(whole.to_json())
