import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from engine.core.lineage import Lineage
from engine.core.ports import Pin
from engine.routing.holding import MemoryLineages
from engine.routing.pins import MemoryPins
from engine.server.journal import Journal
from engine.server.keeping import LINEAGE_SECONDS, KeptLineages, KeptPins, Stops
from engine.server.rows import LINEAGES, PINS, of_kept

T = TypeVar("T")

PIN = Pin("opus", "routine", 1000.0, 2800.0, "cheap-first", 1, {"test_failures": 2}, raised=True, moved=900.0)

TWO_RULES = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: default}
rules:
  - {name: tools-are-cheap, when: features.tool_count > 0, then: {use: small}}
default: {use: frontier}
"""
TOOL = {"name": "edit", "description": "", "input_schema": {"type": "object"}}


def with_journal(path: Path, use: Callable[[Journal], Awaitable[T]]) -> T:
    async def run() -> T:
        journal = await Journal.open(path)
        try:
            return await use(journal)
        finally:
            await journal.close()

    return asyncio.run(run())


def test_a_session_has_its_model_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "weave.db"

    async def before(journal: Journal) -> None:
        pins = await KeptPins.load(MemoryPins(), journal, 1000.0)
        pins.put("s/opus", Pin("haiku", "routine", 990.0, 2790.0))
        pins.put("s/opus", PIN)
        assert pins.get("s/opus", 1001.0) == PIN

    async def after(journal: Journal) -> None:
        pins = await KeptPins.load(MemoryPins(), journal, 1001.0)
        assert pins.get("s/opus", 1001.0) == PIN

    async def too_late(journal: Journal) -> None:
        pins = await KeptPins.load(MemoryPins(), journal, 2800.0)
        assert pins.get("s/opus", 1001.0) is None

    for use in (before, after, too_late):
        with_journal(path, use)


def test_a_pin_that_was_made_by_a_clock_that_was_ahead_holds_as_long_as_any(tmp_path: Path) -> None:
    async def use(journal: Journal) -> None:
        journal.keep(PINS, ("s",), Pin("opus", "r", 90_000.0, 91_800.0))
        pins = await KeptPins.load(MemoryPins(), journal, 1000.0)
        assert pins.get("s", 2799.0) is not None
        assert pins.get("s", 2801.0) is None

    with_journal(tmp_path / "weave.db", use)


def test_who_sealed_a_conversation_is_known_after_a_restart(tmp_path: Path) -> None:
    path, lineage = tmp_path / "weave.db", Lineage("https://a#key", "opus", 4)

    async def before(journal: Journal) -> None:
        (await KeptLineages.load(MemoryLineages(), journal)).put("s/1/anthropic-messages", lineage)

    async def after(journal: Journal) -> None:
        lineages = await KeptLineages.load(MemoryLineages(), journal)
        assert lineages.get("s/1/anthropic-messages") == lineage
        assert lineages.get("another") is None

    with_journal(path, before)
    with_journal(path, after)


def test_a_lineage_that_stays_as_it_was_is_written_now_and_then(tmp_path: Path) -> None:
    """So that a conversation that goes on is not among the oldest, and costs nothing with each turn."""
    clock, lineage = [1000.0], Lineage("https://a#key", "opus")

    async def use(journal: Journal) -> None:
        lineages = KeptLineages(MemoryLineages(), journal, now=lambda: clock[0])

        async def written_at(wait: float) -> Any:
            clock[0] += wait
            lineages.put("k", lineage)
            return (await journal.rows("SELECT at FROM lineages"))[0][0]

        assert await written_at(0) == 1000.0
        assert await written_at(60) == 1000.0
        assert await written_at(LINEAGE_SECONDS) == 1060.0 + LINEAGE_SECONDS
        lineages.put("k", Lineage("https://b#key", "gpt"))
        assert of_kept(LINEAGES, (await journal.kept(LINEAGES, 1))["k"]).model == "gpt"

    with_journal(tmp_path / "weave.db", use)


def test_a_canary_that_was_switched_off_is_known_by_what_it_was_about(tmp_path: Path) -> None:
    path, about = tmp_path / "weave.db", ("serving", ("canary", 5), ("a1", "b2"))

    async def before(journal: Journal) -> None:
        stops = await Stops.load(journal)
        assert stops.why(about) == ""
        stops.put(about, "errors", 1.0)
        assert stops.why(about) == "errors"

    async def after(journal: Journal) -> None:
        stops = await Stops.load(journal)
        assert stops.why(about) == "errors"
        assert stops.why(("serving", ("canary", 5), ("a1", "edited"))) == ""

    with_journal(path, before)
    with_journal(path, after)


def test_keeping_a_pin_costs_the_event_loop_next_to_nothing(tmp_path: Path) -> None:
    """About a microsecond where this was written; the bound only catches work that moved onto the loop."""

    async def use(journal: Journal) -> None:
        pins = KeptPins(MemoryPins(), journal)
        began = time.perf_counter()
        for number in range(5_000):
            pins.put(f"s{number % 100}", PIN)
        assert (time.perf_counter() - began) / 5_000 < 30e-6

    with_journal(tmp_path / "weave.db", use)


def test_a_session_goes_on_with_its_model_in_the_engine_that_comes_after(house: Any) -> None:
    async def story() -> None:
        session = {"x-weave-session": "mine"}
        async with house(TWO_RULES) as at:
            assert (await at.ask("plan it", headers=session)).headers["x-weave-model"] == "opus"
        async with house() as at:
            reply = await at.ask("and now do it", headers=session, tools=[TOOL])
            assert reply.headers["x-weave-model"] == "opus"
            told = (await at.client.get(f"/v1/decisions/{reply.headers['x-weave-decision']}")).json()
            assert told["source"] == "pin"
            other = await at.ask("and now do it", headers={"x-weave-session": "other"}, tools=[TOOL])
            assert other.headers["x-weave-model"] == "haiku"

    asyncio.run(story())
