import asyncio
from typing import Any

import pytest

from engine.core.ports import Pin
from engine.routing.pins import MemoryPins
from engine.server.clock import EvenClock
from engine.server.engine import Ids

HOUR, DAY = 3_600.0, 86_400.0


class Machine:
    """Two clocks, of which somebody sets one."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_000_000.0, 50.0
        self.clock = EvenClock(lambda: self.wall, lambda: self.monotonic)

    def wait(self, seconds: float) -> float:
        self.wall += seconds
        self.monotonic += seconds
        return self.clock()


@pytest.mark.parametrize("jump", [-HOUR, DAY, -0.2, 0.2])
def test_a_clock_that_is_set_is_followed_slowly_until_both_agree(jump: float) -> None:
    machine = Machine()
    before = machine.wait(10)
    machine.wall += jump
    after = machine.wait(1)
    assert 0.5 <= after - before <= 1.5
    for _ in range(1_000):
        now = machine.wait(abs(jump) / 400 + 0.1)
        assert now >= after
        after = now
    assert machine.clock() == pytest.approx(machine.wall)


def test_undisturbed_it_is_the_time_of_day() -> None:
    machine = Machine()
    for _ in range(100):
        assert machine.wait(7.0) == pytest.approx(machine.wall)


@pytest.mark.parametrize("jump", [-HOUR, DAY])
def test_a_session_neither_loses_its_model_nor_keeps_it_for_ever(jump: float) -> None:
    machine, pins = Machine(), MemoryPins()
    now = machine.clock()
    pins.put("s", Pin("opus", "r", now, now + 1_800.0))
    machine.wall += jump
    assert pins.get("s", machine.wait(600)) is not None
    for _ in range(60):
        now = machine.wait(60)
    assert pins.get("s", now) is None


def test_decisions_have_names_of_their_own_that_sort_by_time_whatever_the_clock_does() -> None:
    ids, now = Ids(), 1_000_000.0
    named = [ids.new(now + step) for step in (0.0, 0.01, -HOUR, -HOUR + 0.01, -HOUR + 0.02, 0.1)]
    assert named == sorted(named)
    assert len({*named, *(ids.new(now) for _ in range(5_000))}) == 5_006


def test_after_a_restart_names_go_on_behind_those_of_a_clock_that_was_ahead() -> None:
    before, ids = Ids().new(1_000_000.0 + DAY), Ids()
    ids.after(before)
    named = [ids.new(1_000_000.0 + step) for step in range(5)]
    assert [before, *named] == sorted([before, *named])
    ids.after("no name of ours")
    ids.after("")


def test_an_engine_goes_by_a_clock_that_nobody_sets(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day ahead and an hour back: the session keeps its model, and pages of decisions tell each once, in order."""

    async def story() -> None:
        async with house() as at:
            wall = [0.0]
            real = at.engine.clock._wall
            at.engine.clock._wall = lambda: real() + wall[0]
            session, ids = {"x-weave-session": "mine"}, []
            for jump in (0.0, DAY, DAY - HOUR, -HOUR):
                wall[0] = jump
                reply = await at.ask("What is a monad?", headers=session)
                ids.append(reply.headers["x-weave-decision"])
            told = [await at.engine.journal.decision(id) for id in ids]
            assert [one.source for one in told[1:]] == ["pin"] * 3
            page = [one.id for one in await at.engine.journal.decisions()]
            assert page == ids

    asyncio.run(story())
