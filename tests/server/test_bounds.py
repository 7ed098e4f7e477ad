"""Whatever clients send, and however long the disk takes nothing: what the engine has in mind has a bound."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.core.decision import Decision, Result
from engine.core.evidence import TaskEvidence, Tasks
from engine.core.lineage import Lineage
from engine.core.ports import Pin, Warm
from engine.core.reply import Usage
from engine.features import History, history
from engine.routing.holding import MemoryLineages
from engine.routing.pins import MemoryPins
from engine.routing.tasks import MOST_CONVERSATIONS, TaskBook
from engine.routing.warmth import MemoryWarmth
from engine.server import clerk, engine, keeping
from engine.server.journal import Journal, JournalError
from engine.server.keeping import KeptLineages, Stops

MANY, MOST = 500, 50
TASKS = Tasks(TaskEvidence(1))
RESULT = Result("d", 1.0, 200, "m", "e", 1, None, Usage(1, 1), 0.0, 1.0, 0.1)


def pins() -> int:
    store = MemoryPins(MOST)
    for number in range(MANY):
        store.put(f"k{number}", Pin("m", "r", 0.0, 1e12))
    return len(store._pins)


def lineages() -> int:
    store = MemoryLineages(MOST)
    for number in range(MANY):
        store.put(f"k{number}", Lineage("o", "m"))
    return len(store.known)


def warmth() -> int:
    store = MemoryWarmth(MOST)
    for number in range(MANY):
        store.put(f"k{number}", "m", Warm(1, 1.0, "e"))
    return len(store.known)


def tasks() -> int:
    store = TaskBook(MOST)
    for number in range(MANY):
        store.enter(f"s{number}", "c", TASKS, 1.0)
    return len(store)


def conversations() -> int:
    store = TaskBook(MOST)
    for number in range(MANY):
        store.enter("s", f"c{number}", TASKS, 1.0)
    return len(store._sessions["s"].conversations) + MOST - MOST_CONVERSATIONS


def past_calls() -> int:
    store = History()
    for number in range(MANY):
        store.answered(
            {"phase": f"p{number}", "language": f"l{number}", "requested_model": f"m{number}"}, RESULT
        )
    return len(store._groups)


@pytest.mark.parametrize("store", [pins, lineages, warmth, tasks, conversations, past_calls])
def test_a_store_in_memory_forgets_the_oldest(
    store: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST", MOST)
    assert 0 < store() <= MOST


def test_what_is_kept_behind_memory_has_bounds_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_LINEAGES", MOST)
    monkeypatch.setattr(keeping, "MOST_STOPPED", MOST)

    async def story() -> None:
        journal = await Journal.open(tmp_path / "weave.db")
        lineages, stops = KeptLineages(MemoryLineages(MOST), journal), Stops(journal)
        for number in range(MANY):
            lineages.put(f"k{number}", Lineage("o", "m"))
            stops.put(number, "why", 1.0)
        assert len(lineages._written) <= MOST
        assert len(stops._known) <= MOST
        await journal.close()

    asyncio.run(story())


def test_what_waits_for_a_disk_that_takes_nothing_is_bounded_and_what_is_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerk, "MOST_KEPT", MOST)
    monkeypatch.setattr(clerk, "MOST_ASKS", MOST)
    path = tmp_path / "weave.db"
    decision = Decision("d", 1.0, "p", "s", ("m",), "r", "rule", "", "m", "openai-chat")

    async def story() -> None:
        journal = await Journal.open(path, queued_events=MOST)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            journal.record(decision)
            asked = [asyncio.ensure_future(journal.result(f"d{number}")) for number in range(MANY)]
            await asyncio.sleep(0.3)
            lineages = KeptLineages(MemoryLineages(), journal)
            for number in range(MANY):
                journal.record(decision)
                lineages.put(f"k{number}", Lineage("o", "m"))
            health = journal.health()
            assert health["waiting"] <= 3 * MOST
            assert health["lost"] > MANY
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(answer, JournalError) for answer in answers)
        assert any(answer is None for answer in answers)
        await journal.close()

    asyncio.run(story())


def test_work_beside_requests_that_does_not_end_is_not_begun_without_bound(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MOST_CHORES", MOST)

    async def story() -> None:
        async with house() as at:
            stuck = asyncio.Event()

            async def work() -> None:
                await stuck.wait()

            for _ in range(MANY):
                at.engine.beside(work())
            assert len(at.engine.chores) == MOST
            stuck.set()

    asyncio.run(story())
