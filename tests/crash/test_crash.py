"""The short course of `make crash`, and that its judge sees what is missing."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.core.decision import Lesson, Outcome, StepRun
from engine.learning.state import fold
from engine.server.journal import Journal
from tests.crash.judge import judge
from tests.crash.load import Known
from tests.crash.run import crash


def test_nothing_that_was_promised_is_gone_after_three_kills(tmp_path: Path) -> None:
    found = asyncio.run(crash(tmp_path, kills=3, seed=7, after=(1.0, 2.0)))
    assert not found["wrong"], found
    assert found["outcomes"] > 0
    assert found["turns"] > 10
    assert found["spent_usd"] > 0


LOSSES = {
    "outcomes_lost": "DELETE FROM outcomes",
    "outcomes_twice": "INSERT INTO lessons (outcome, at, learner, signature, steps, score)"
    " SELECT outcome, at, learner, signature, steps, score FROM lessons",
    "lessons_of_nothing": "UPDATE lessons SET outcome = 'nobody'",
    "learned_otherwise": "UPDATE lessons SET score = 0",
    "spend_lost": "UPDATE spent SET nanos = 1",
}


@pytest.mark.parametrize("kind", LOSSES)
def test_the_judge_sees_what_is_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weave.db"

    async def play() -> None:
        journal = await Journal.open(path)
        lesson = Lesson("o1", 1.0, "picker", "x", (StepRun("haiku"),), 1.0)
        await journal.record_outcome(Outcome("o1", 1.0, decision="d1"), [lesson])
        await journal.save_learner_state(1, fold([lesson]).to_json(), 1.0)
        await journal.close()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE spent (per, value, until, nanos)")
            connection.execute("CREATE TABLE reserved (decision, at, nanos, scopes)")
            connection.execute("INSERT INTO spent VALUES ('identity.team', 'core', 1, 50)")
        known = Known(outcomes={"o1"})
        assert not (await judge(path, known, 0.0, 50)).wrong
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(LOSSES[kind])
        assert kind in (await judge(path, known, 0.0, 50)).wrong

    asyncio.run(play())


def test_the_judge_misses_a_result_that_had_time_to_be_committed(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    async def play() -> None:
        await (await Journal.open(path)).close()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE spent (per, value, until, nanos)")
            connection.execute("CREATE TABLE reserved (decision, at, nanos, scopes)")
        known = Known(finished={"early": 1.0, "late": 9.9})
        assert list((await judge(path, known, 10.0, 0)).wrong) == ["results_lost"]

    asyncio.run(play())
