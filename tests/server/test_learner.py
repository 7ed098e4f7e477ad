import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine.core.decision import Lesson, Outcome, StepRun
from engine.core.policy import Learner
from engine.core.ports import Option, Task
from engine.learning.state import State
from engine.server import learner as learner_module
from engine.server.journal import Journal, JournalError
from engine.server.learner import Learners, fold_standing
from engine.server.withdrawals import withdrawn

ROOT = Path(__file__).parents[2]

LEARNER = Learner("picker", "beta", ("features.phase",), margin=0.1, min_samples=5)


def outcome(number: int) -> tuple[Outcome, list[Lesson]]:
    name = f"o{number}"
    lessons = [
        Lesson(name, float(number), "picker", "execute", (StepRun(model),), 1.0)
        for model in ("small", "frontier")
    ]
    return Outcome(name, float(number), decision="d1", rating=1.0), lessons


def with_journal(path: Path, play: Callable[[Journal], Awaitable[None]]) -> None:
    async def run() -> None:
        journal = await Journal.open(path)
        try:
            async with asyncio.timeout(30):
                await play(journal)
        finally:
            await journal.close()

    asyncio.run(run())


def confidence(learners: Learners) -> float:
    small, frontier = Option("small", ("small",)), Option("frontier", ("frontier",))
    (belief,) = learners.beliefs(LEARNER, Task(("execute",)), [small], frontier)
    return belief.confidence


def test_what_was_learned_is_there_again_after_a_restart(tmp_path: Path) -> None:
    before: list[float] = []

    async def first(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        for number in range(10):
            assert (await learners.take(*outcome(number))).new
        before.append(confidence(learners))

    async def second(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        assert learners.lessons == 20
        assert confidence(learners) == before[0]

    with_journal(tmp_path / "weave.db", first)
    with_journal(tmp_path / "weave.db", second)


def test_an_engine_begins_with_the_snapshot_and_takes_in_the_rest_at_the_first_look(tmp_path: Path) -> None:
    async def play(journal: Journal) -> None:
        before = await Learners.from_journal(journal)
        await before.take(*outcome(1))
        await before.save()
        await before.take(*outcome(2))
        learners = await Learners.begin(journal)
        assert learners.lessons == 2
        await learners.take(*outcome(3))
        assert learners.lessons == 6
        assert learners.to_json() == (await Learners.from_journal(journal)).to_json()

    with_journal(tmp_path / "weave.db", play)


def test_beginning_loads_no_algorithm(tmp_path: Path) -> None:
    """River takes a second or two to load, and whoever waits for a restart waits for that."""
    path = str(tmp_path / "weave.db")

    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        await learners.take(*outcome(1))
        await learners.save()

    with_journal(Path(path), play)
    script = f"""
import asyncio, sys
import engine.commands.serve
from engine.core.policy import Learner
from engine.server.journal import Journal
from engine.server.learner import Learners
async def begin():
    journal = await Journal.open({path!r})
    learners = await Learners.begin(journal)
    learners.prepare([Learner("picker", "beta", ("features.phase",))])
    assert learners.lessons == 2
    await journal.close()
asyncio.run(begin())
assert not {{"river", "scipy", "numpy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=ROOT)


def test_a_snapshot_and_the_lessons_after_it_make_the_same_state(tmp_path: Path) -> None:
    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        await learners.take(*outcome(1))
        await learners.save()
        await learners.take(*outcome(2))
        again = await Learners.from_journal(journal)
        assert again.lessons == learners.lessons == 4
        assert confidence(again) == confidence(learners)

    with_journal(tmp_path / "weave.db", play)


def test_a_known_outcome_teaches_nothing_again(tmp_path: Path) -> None:
    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        assert (await learners.take(*outcome(1))).new
        assert not (await learners.take(*outcome(1))).new
        assert learners.lessons == 2

    with_journal(tmp_path / "weave.db", play)


def test_outcomes_told_by_another_process_are_learned_too_and_none_twice(tmp_path: Path) -> None:
    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        await journal.record_outcome(*outcome(1))
        await learners.take(*outcome(2))
        assert learners.lessons == 4

    with_journal(tmp_path / "weave.db", play)


def test_a_caller_that_gives_up_leaves_no_lesson_behind(tmp_path: Path) -> None:
    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        task = asyncio.ensure_future(learners.take(*outcome(1)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await learners.take(*outcome(2))
        assert learners.lessons == len(await journal.lessons()) == 4

    with_journal(tmp_path / "weave.db", play)


def test_a_snapshot_that_cannot_be_written_fails_nobody_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    async def full(_: Journal, *__: object) -> None:
        raise JournalError("disk full")

    async def free(_: Journal, lessons: int, *__: object) -> None:
        saved.append(lessons)

    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        await learners.take(*outcome(1))
        monkeypatch.setattr(Journal, "save_learner_state", full)
        await learners.save()
        monkeypatch.setattr(Journal, "save_learner_state", free)
        await learners.save()
        assert saved == [2]

    with_journal(tmp_path / "weave.db", play)


def test_what_is_outranked_or_rolled_back_leaves_the_state_of_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far back it lies: before the marks in memory, before the snapshots, or just now."""
    monkeypatch.setattr(learner_module, "LESSONS_A_MARK", 5)
    monkeypatch.setattr(learner_module, "MARKS_KEPT", 3)
    monkeypatch.setattr(learner_module, "LESSONS_A_SNAPSHOT", 11)
    chance = random.Random(11)

    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        for number in range(80):
            about = f"s{chance.randint(max(0, number - 30), number)}"
            told = Outcome(f"o{number}", float(number), subject=about, worth=1.0)
            step = StepRun(chance.choice(("small", "frontier")))
            lesson = Lesson(told.id, told.at, "picker", "execute", (step,), chance.choice((0.0, 1.0)))
            await learners.take(told, [lesson])
            if number % 25 == 24:
                await journal.roll_back(
                    number - 10, len(await journal.withdrawals()) // 2, 1.0, "rolled back"
                )
                await learners.catch_up()
            anew = State()
            fold_standing(anew, await journal.lessons(), withdrawn(await journal.withdrawals()))
            assert learners.to_json() == anew.to_json(), number

    with_journal(tmp_path / "weave.db", play)


def test_what_another_process_withdraws_is_followed(tmp_path: Path) -> None:
    async def play(journal: Journal) -> None:
        learners = await Learners.from_journal(journal)
        before = learners.to_json()
        await learners.take(*outcome(1))
        following = asyncio.ensure_future(learners.follow())
        await journal.roll_back(0, 0, 1.0, "rolled back")
        while learners.to_json()["learners"] != before["learners"]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        following.cancel()

    with_journal(tmp_path / "weave.db", play)
