import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pytest

from engine.core.conversation import Loss
from engine.core.decision import (
    AttemptRecord,
    Candidate,
    Decision,
    Lesson,
    Outcome,
    Result,
    Step,
    StepRun,
)
from engine.core.errors import Fault
from engine.core.policy import Learner
from engine.core.ports import Option, Task
from engine.core.reply import Usage
from engine.learning.reward import lessons as lessons_of
from engine.learning.state import State, fold
from engine.policy.gate import GateCandidate, GateResult, pass_gate
from engine.server.journal import Journal, JournalError

T = TypeVar("T")

DECISION = Decision(
    id="d1",
    at=1000.5,
    policy="default",
    snapshot="abc",
    targets=("haiku", "opus"),
    rule="routine",
    source="learner",
    reason="not worse than opus",
    requested_model="claude-opus-4-5",
    protocol="anthropic-messages",
    session="s1",
    confidence=0.97,
    learner="picker",
    signature="execute/python",
    effort="high",
    propensity=0.98,
    attempts=3,
    features={"context_tokens": 900, "language": "python", "subagent": False},
    hints={"task": "plan"},
    candidates=(Candidate("haiku", True, "proven", 0.97, 240.0, 0.01), Candidate("opus", False, "dearer")),
    trace=(Step("rule", "routine", "matched", "", {"features.tool_count": 3}),),
)
RESULT = Result(
    decision="d1",
    at=1002.0,
    status=200,
    model="opus",
    endpoint="anthropic",
    attempts=2,
    stop="end_turn",
    usage=Usage(1000, 200, cache_read_tokens=800),
    cost_usd=0.0123,
    seconds=1.5,
    first_content_seconds=0.4,
    client_gone=True,
    dropped=(Loss("top_k", "there is no such field"), Loss("tools[1]", "not there", "refused", "content")),
    edits=("model",),
)
ATTEMPT = AttemptRecord(
    "d1", 1, "haiku", "anthropic", "claude-haiku-4-5", 1001.0, 0.2, Fault("overloaded", "busy", 529)
)
OUTCOME = Outcome("o1", 1003.0, session="s1", tests_failed=2, rating=-0.5, labels={"ci": "main"})


def lesson(model: str = "haiku", score: float = 1.0, outcome: str = "o1") -> Lesson:
    steps = (StepRun("opus", 0.5, 0.25, accepted=False), StepRun(model, 0.5))
    return Lesson(
        outcome, 1003.0, "picker", "execute", steps, score, 0.25, "ann", 0.1, {"x": 1.5}, (1, 7), 0.5
    )


def with_journal(use: Callable[[Journal], Awaitable[T]], path: str | Path = ":memory:") -> T:
    async def run() -> T:
        journal = await Journal.open(path)
        try:
            return await use(journal)
        finally:
            await journal.close()

    return asyncio.run(run())


# -- what goes in comes out


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    async def write(journal: Journal) -> None:
        for event in (DECISION, RESULT, ATTEMPT):
            journal.record(event)
        await journal.record_outcome(OUTCOME, [lesson()])

    async def read(journal: Journal) -> None:
        assert await journal.decision("d1") == DECISION
        assert await journal.result("d1") == RESULT
        assert await journal.attempts("d1") == [replace(ATTEMPT, fault=Fault("overloaded", "busy", 529))]
        assert await journal.outcome("o1") == OUTCOME
        assert await journal.lessons() == [lesson()]

    with_journal(write, tmp_path / "weave.db")
    with_journal(read, tmp_path / "weave.db")


def test_a_decision_is_found_before_it_is_committed() -> None:
    async def use(journal: Journal) -> None:
        journal.record(DECISION)
        assert journal.health()["waiting"] == 1
        assert await journal.decision("d1") == DECISION

    with_journal(use)


def test_decisions_are_read_in_pages_in_the_order_of_time() -> None:
    async def use(journal: Journal) -> None:
        for number in (3, 1, 2, 4):
            journal.record(replace(DECISION, id=f"d{number}"))
        first = await journal.decisions(limit=3)
        assert first == [replace(DECISION, id=f"d{number}") for number in (1, 2, 3)]
        assert [decision.id for decision in await journal.decisions(after=first[-1].id)] == ["d4"]
        assert await journal.before_newest(2) == "d2"
        assert await journal.before_newest(4) == ""

    with_journal(use)


def test_results_are_found_by_their_decisions() -> None:
    async def use(journal: Journal) -> None:
        journal.record(RESULT)
        journal.record(replace(RESULT, decision="d2"))
        assert await journal.results([DECISION, replace(DECISION, id="d9")]) == {"d1": RESULT}

    with_journal(use)


def test_what_is_not_there_is_none() -> None:
    async def use(journal: Journal) -> None:
        assert await journal.decision("nope") is None
        assert await journal.result("nope") is None
        assert await journal.outcome("nope") is None
        assert await journal.attempts("nope") == []
        assert await journal.decisions_of_session("nope") == []
        assert await journal.load_learner_state() is None

    with_journal(use)


def test_attempts_come_in_the_order_they_were_made() -> None:
    async def use(journal: Journal) -> None:
        for number in (2, 1, 3):
            journal.record(replace(ATTEMPT, number=number))
        assert [attempt.number for attempt in await journal.attempts("d1")] == [1, 2, 3]

    with_journal(use)


def test_a_session_is_told_without_its_weight() -> None:
    async def use(journal: Journal) -> None:
        for number, session in enumerate(["s1", "other", "s1", ""]):
            journal.record(replace(DECISION, id=f"d{number}", at=100.0 - number, session=session))
        told = await journal.decisions_of_session("s1")
        assert [decision.id for decision in told] == ["d2", "d0"]
        assert told[0] == replace(DECISION, id="d2", at=98.0, features={}, hints={}, candidates=(), trace=())
        assert await journal.decisions_of_session("") == []

    with_journal(use)


def test_the_model_that_answered_is_told_apart_from_the_choice() -> None:
    async def use(journal: Journal) -> None:
        journal.record(RESULT)
        journal.record(replace(RESULT, decision="d2", model=""))
        decisions = [replace(DECISION, id=id) for id in ("d1", "d2", "unfinished")]
        assert await journal.served(decisions) == {"d1": "opus", "d2": ""}

    with_journal(use)


def test_what_json_cannot_hold_is_kept_as_text() -> None:
    async def use(journal: Journal) -> None:
        features = MappingProxyType(
            {"focus": Path("a.py"), "big": 2**70, "inner": MappingProxyType({"x": (1,)})}
        )
        journal.record(replace(DECISION, features=features))
        decision = await journal.decision("d1")
        assert decision is not None
        assert decision.features == {"focus": "a.py", "big": str(2**70), "inner": {"x": [1]}}

    with_journal(use)


def test_a_row_that_cannot_be_written_takes_no_other_with_it() -> None:
    async def use(journal: Journal) -> None:
        journal.record(replace(RESULT, decision="bad", status=2**70))
        journal.record(replace(DECISION, requested_model="\ud800"))
        journal.record(RESULT)
        await journal.flush()
        assert await journal.result("d1") == RESULT
        assert journal.health() == {"status": "ok", "waiting": 0, "lost": 2, "trouble": ""}

    with_journal(use)


def test_a_providers_words_stay_out_because_they_may_quote_the_prompt(tmp_path: Path) -> None:
    secret = "please refactor my secret module"
    fault = Fault("invalid_request", secret, 400, origin="provider", code="bad", detail=secret)
    ours = Fault("timeout", "no content for 60 s", origin="engine", detail=secret)

    async def use(journal: Journal) -> None:
        journal.record(replace(RESULT, fault=fault))
        journal.record(replace(ATTEMPT, fault=ours))
        result = await journal.result("d1")
        assert result is not None
        assert result.fault == replace(fault, message="", detail="")
        assert (await journal.attempts("d1"))[0].fault == replace(ours, detail="")

    path = tmp_path / "weave.db"
    with_journal(use, path)
    assert secret.encode() not in path.read_bytes()


# -- outcomes and lessons


def test_an_outcome_sent_twice_counts_once() -> None:
    async def use(journal: Journal) -> None:
        assert (await journal.record_outcome(OUTCOME, [lesson()])).new
        assert not (await journal.record_outcome(OUTCOME, [lesson(), lesson("opus")])).new
        assert await journal.lessons() == [lesson()]

    with_journal(use)


def test_an_outcome_sent_twice_at_once_counts_once() -> None:
    async def use(journal: Journal) -> None:
        new = await asyncio.gather(*(journal.record_outcome(OUTCOME, [lesson()]) for _ in range(20)))
        assert sum(one.new for one in new) == 1
        assert len(await journal.lessons()) == 1

    with_journal(use)


def test_lessons_are_numbered_without_gaps() -> None:
    async def use(journal: Journal) -> None:
        for number in range(6):
            await journal.record_outcome(replace(OUTCOME, id=f"o{number // 2}"), [lesson(f"m{number}")])
        assert [one.steps[-1].model for one in await journal.lessons()] == ["m0", "m2", "m4"]
        assert [one.steps[-1].model for one in await journal.lessons(after=2)] == ["m4"]

    with_journal(use)


def test_an_outcome_and_its_lessons_are_kept_together_or_not_at_all() -> None:
    async def use(journal: Journal) -> None:
        bad = replace(lesson(), weight=2**70)
        with pytest.raises(JournalError):
            await journal.record_outcome(OUTCOME, [lesson(), bad])
        assert await journal.outcome("o1") is None
        assert await journal.lessons() == []
        assert (await journal.record_outcome(OUTCOME, [lesson()])).new

    with_journal(use)


def test_the_newest_learner_snapshots_are_kept() -> None:
    async def use(journal: Journal) -> None:
        for number in range(14):
            await journal.save_learner_state(number, {"lessons": number}, at=float(number))
        assert await journal.load_learner_state() == (13, {"lessons": 13})

    with_journal(use)


# -- learning, end to end

PICKER = Learner("picker", "beta", ("features.phase",), margin=0.1, min_samples=20)


async def posted_today(journal: Journal, reward: float) -> None:
    """Forty tasks each for two models, decided, answered and valued."""
    for number in range(80):
        model = ("haiku", "opus")[number % 2]
        decision = replace(DECISION, id=f"d{number}", targets=(model,), signature="execute")
        journal.record(decision)
        journal.record(replace(RESULT, decision=decision.id, model=model))
        outcome = Outcome(f"o{number}", 1003.0, decision=decision.id)
        known = await journal.decision(decision.id)
        assert known is not None
        served = await journal.served([known])
        worth = reward if model == "haiku" else 1.0
        await journal.record_outcome(outcome, lessons_of([known], outcome, worth, outcome.at, served))


def decided_by(state: State) -> GateResult:
    opus, haiku = Option("opus", ("opus",)), Option("haiku", ("haiku",))
    candidates = [GateCandidate(opus, (0.1,)), GateCandidate(haiku, (0.01,))]
    return pass_gate(PICKER, candidates, opus, state, Task(("execute",)), 0.5)


@pytest.mark.parametrize(("reward", "model"), [(1.0, "haiku"), (-1.0, "opus")])
def test_an_outcome_posted_today_changes_a_decision_tomorrow_also_after_a_restart(
    tmp_path: Path, reward: float, model: str
) -> None:
    assert decided_by(State()).because == "few_samples"

    async def today(journal: Journal) -> State:
        await posted_today(journal, reward)
        return fold(await journal.lessons())

    async def tomorrow(journal: Journal) -> State:
        return fold(await journal.lessons())

    before = with_journal(today, tmp_path / "weave.db")
    after = with_journal(tomorrow, tmp_path / "weave.db")
    assert decided_by(before).model == model
    assert decided_by(after) == decided_by(before)
    assert after.to_json() == before.to_json()


def test_a_snapshot_and_the_lessons_after_it_give_the_same_state_as_all_lessons(tmp_path: Path) -> None:
    async def first(journal: Journal) -> None:
        await posted_today(journal, -0.3)
        state = fold(await journal.lessons())
        await journal.save_learner_state(state.lessons, state.to_json(), at=1.0)
        await journal.record_outcome(replace(OUTCOME, id="later"), [lesson(), lesson("sonnet", 0.0)])

    async def second(journal: Journal) -> None:
        kept = await journal.load_learner_state()
        assert kept is not None
        later = await journal.lessons(after=kept[0])
        assert len(later) == 2
        resumed = fold(later, State.from_json(kept[1]))
        assert resumed.to_json() == fold(await journal.lessons()).to_json()

    with_journal(first, tmp_path / "weave.db")
    with_journal(second, tmp_path / "weave.db")


# -- when things go wrong


def test_a_full_queue_loses_events_and_says_so() -> None:
    warnings: list[str] = []

    async def run() -> None:
        journal = await Journal.open(":memory:", queued_events=10, warn=warnings.append)
        for number in range(25):  # without a pause, so that the thread cannot keep up
            journal.record(replace(DECISION, id=f"d{number}"))
            if number == 9:
                assert journal.health()["lost"] == 0
        lost = journal.health()["lost"]
        assert lost > 0
        await journal.flush()
        await journal.close()
        assert f"the journal :memory: lost {lost} events" in warnings

    asyncio.run(run())


def test_a_failing_disk_holds_events_until_it_recovers(tmp_path: Path) -> None:
    """A table that is gone stands for a full disk: SQLite answers both with an OperationalError."""
    path, warnings = tmp_path / "weave.db", list[str]()

    async def run() -> None:
        journal = await Journal.open(path, warn=warnings.append)
        with sqlite3.connect(path) as other:
            other.execute("ALTER TABLE decisions RENAME TO away")
        journal.record(DECISION)
        with pytest.raises(JournalError):
            await journal.flush()
        assert journal.health()["status"] == "failing"
        assert journal.health()["waiting"] == 1
        with sqlite3.connect(path) as other:
            other.execute("ALTER TABLE away RENAME TO decisions")
        await journal.flush()
        assert journal.health()["status"] == "ok"
        assert await journal.decision("d1") == DECISION
        await journal.close()
        other.close()

    asyncio.run(run())
    assert len(warnings) == 1


def test_a_full_disk_fails_no_request(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    async def run() -> None:
        journal = await Journal.open(path, queued_events=50)

        def cap(connection: sqlite3.Connection) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 2}")

        await journal.ask(cap)
        for number in range(400):
            journal.record(replace(DECISION, id=f"d{number}"))
            if number % 40 == 0:
                await asyncio.sleep(0.01)
        with pytest.raises(JournalError, match="full"):
            await journal.flush()
        assert "full" in journal.health()["trouble"]
        assert journal.health()["lost"] > 0
        assert await journal.decision("unknown") is None
        await journal.close()

    asyncio.run(run())


def test_recording_after_the_end_is_counted_not_raised() -> None:
    async def run() -> None:
        journal = await Journal.open(":memory:")
        await journal.close()
        journal.record(DECISION)
        assert journal.health()["lost"] == 1
        with pytest.raises(JournalError, match="closed"):
            await journal.decision("d1")

    asyncio.run(run())


def test_closing_commits_what_was_recorded(tmp_path: Path) -> None:
    async def write(journal: Journal) -> None:
        for number in range(5000):
            journal.record(replace(DECISION, id=f"d{number}"))

    async def read(journal: Journal) -> Decision | None:
        return await journal.decision("d4999")

    with_journal(write, tmp_path / "weave.db")
    assert with_journal(read, tmp_path / "weave.db") is not None


def test_a_cancelled_read_disturbs_nobody() -> None:
    async def use(journal: Journal) -> None:
        reads = [asyncio.ensure_future(journal.decision("d1")) for _ in range(20)]
        await asyncio.sleep(0)
        for read in reads[::2]:
            read.cancel()
        journal.record(DECISION)
        assert await journal.decision("d1") == DECISION
        await asyncio.gather(*reads, return_exceptions=True)

    with_journal(use)


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weave.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(JournalError, match=r"weave\.db cannot be used"):
        asyncio.run(Journal.open(path))


def test_a_journal_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE meta (name, value)")
        other.execute("INSERT INTO meta VALUES ('version', '99')")
    with pytest.raises(JournalError, match="version 99"):
        asyncio.run(Journal.open(path))
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("meta",)]
    other.close()


def test_an_older_journal_gains_the_columns_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    async def write(journal: Journal) -> None:
        journal.record(DECISION)

    with_journal(write, path)
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE decisions DROP COLUMN propensity")
        other.execute("ALTER TABLE decisions DROP COLUMN hints")
    other.close()

    async def read(journal: Journal) -> None:
        assert await journal.decision("d1") == replace(DECISION, propensity=1.0, hints={})

    with_journal(read, path)


def test_losses_that_an_older_engine_kept_as_paths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    async def write(journal: Journal) -> None:
        journal.record(RESULT)

    with_journal(write, path)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE results SET dropped = ?", ('["top_k"]',))
    other.close()

    async def read(journal: Journal) -> None:
        assert await journal.result("d1") == replace(RESULT, dropped=(Loss("top_k", ""),))

    with_journal(read, path)


def test_a_journal_opened_for_reading_only_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        asyncio.run(Journal.open(tmp_path / "weave.db", read_only=True))
    assert not list(tmp_path.iterdir())


def test_a_journal_is_read_while_another_process_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a journal?.db"

    async def run() -> None:
        writer = await Journal.open(path)
        writer.record(DECISION)
        await writer.flush()
        reader = await Journal.open(path, read_only=True)
        assert await reader.decision("d1") == DECISION
        with pytest.raises(JournalError):
            await reader.record_outcome(OUTCOME, [])
        await reader.close()
        await writer.close()

    asyncio.run(run())


# -- crashes

CRASHING = """
import asyncio, sys, time
from engine.core.decision import Decision, Lesson, Outcome, StepRun
from engine.server.journal import Journal

async def main(path):
    journal = await Journal.open(path)
    number = 0
    while True:
        for _ in range(5):
            journal.record(Decision(f"d{number}", time.time(), "p", "s", ("haiku",), "r", "rule", "", "opus",
                "openai-chat", features={"number": number, "padding": "x" * 500}))
            print("recorded", number, time.time(), flush=True)
            number += 1
        if number % 50 == 0:
            outcome = Outcome(f"o{number}", time.time(), decision="d1", tests_passed=1)
            lesson = Lesson(outcome.id, time.time(), "picker", "execute", (StepRun("haiku"),), 1.0)
            await journal.record_outcome(outcome, [lesson])
            print("outcome", number, time.time(), flush=True)
        await asyncio.sleep(0.002)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_process_loses_at_most_half_a_second_of_decisions_and_no_outcome(
    tmp_path: Path, seed: int
) -> None:
    path, said = tmp_path / "weave.db", tmp_path / "said"
    root = Path(__file__).parents[2]
    with said.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", CRASHING, str(path)],
            stdout=out,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        deadline = time.monotonic() + 20
        while said.stat().st_size < 20_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0.1, 0.7))
        os.kill(child.pid, signal.SIGKILL)
        killed = time.time()
        child.wait()
    lines = [line.split() for line in said.read_text().splitlines() if line.count(" ") == 2]
    recorded = {f"d{number}": float(at) for kind, number, at in lines if kind == "recorded"}
    told = [f"o{number}" for kind, number, _ in lines if kind == "outcome"]
    assert len(recorded) > 200
    assert told

    async def check(journal: Journal) -> None:
        kept = await journal.ask(
            lambda connection: {row[0] for row in connection.execute("SELECT id FROM decisions")}
        )
        lost = [killed - at for id, at in recorded.items() if id not in kept]
        assert max(lost, default=0.0) < 0.5
        for id in told:
            assert await journal.outcome(id) is not None
        lessons = await journal.lessons()
        assert {one.outcome for one in lessons} >= set(told)
        assert fold(lessons).to_json() == fold(await journal.lessons()).to_json()
        integrity = await journal.ask(
            lambda connection: connection.execute("PRAGMA integrity_check").fetchall()
        )
        assert integrity == [("ok",)]

    with_journal(check, path)


def test_recording_costs_the_event_loop_next_to_nothing() -> None:
    """About 0.1 µs where this was written; the bound only catches work that moved onto the loop."""

    async def use(journal: Journal) -> None:
        began = time.perf_counter()
        for _ in range(2000):
            journal.record(DECISION)
        assert (time.perf_counter() - began) / 2000 < 20e-6

    with_journal(use)
