"""Limits on how fast somebody may ask."""

import random
from collections import defaultdict

import pytest

from engine.core.policy import RateLimit
from engine.routing.rates import BUSY_SECONDS, NOBODY_HELD, SLOTS, Entry, Over, Rates

ANN = {"name": "ann", "team": "core", "data_class": ""}
BOB = {"name": "bob", "team": "core", "data_class": ""}
ALONE = {"name": "kim", "team": "", "data_class": ""}

PER_PERSON = RateLimit("people", "identity.name", 60.0, requests=3)
PER_TEAM = RateLimit("teams", "identity.team", 60.0, requests=4)


def entered(found: Entry | Over) -> Entry:
    assert isinstance(found, Entry), found
    return found


def test_what_is_above_the_limit_is_refused_with_when_to_ask_again() -> None:
    rates = Rates()
    for _ in range(3):
        entered(rates.enter([PER_PERSON], ANN, 10.0))
    over = rates.enter([PER_PERSON], ANN, 20.0)
    assert over == Over(PER_PERSON, "ann", "requests", 52.0)  # the slot from 10 to 12 leaves the window at 72
    assert isinstance(rates.enter([PER_PERSON], ANN, 71.9), Over)
    for _ in range(3):
        entered(rates.enter([PER_PERSON], ANN, 72.0))
    assert isinstance(rates.enter([PER_PERSON], ANN, 72.0), Over)


def test_each_value_has_a_limit_of_its_own_and_all_limits_apply() -> None:
    rates = Rates()
    for _ in range(3):
        entered(rates.enter([PER_PERSON, PER_TEAM], ANN, 1.0))
    entered(rates.enter([PER_PERSON, PER_TEAM], BOB, 1.0))
    over = rates.enter([PER_PERSON, PER_TEAM], BOB, 1.0)
    assert isinstance(over, Over)
    assert (over.limit, over.value) == (PER_TEAM, "core")


def test_a_limit_holds_nobody_who_has_no_such_value() -> None:
    rates = Rates()
    for _ in range(10):
        assert rates.enter([PER_TEAM], ALONE, 1.0) is NOBODY_HELD
    rates.leave(NOBODY_HELD, 5, 1.0)


def test_what_is_refused_counts_against_no_limit() -> None:
    rates = Rates()
    for _ in range(4):
        entered(rates.enter([PER_TEAM], BOB, 1.0))
    for _ in range(50):
        assert isinstance(rates.enter([PER_PERSON, PER_TEAM], ANN, 1.0), Over)
    entered(rates.enter([PER_PERSON], ANN, 1.0))
    assert [use.requests for use in rates.uses([PER_PERSON], 1.0)] == [1]


def test_a_request_that_is_refused_for_its_tokens_is_not_counted_as_one() -> None:
    both = RateLimit("both", "identity.name", 60.0, requests=3, tokens=100)
    rates = Rates()
    large = entered(rates.enter([both], ANN, 1.0))
    assert rates.expect(large, 90, 1.0) is None
    for _ in range(20):
        again = entered(rates.enter([both], ANN, 1.0))
        assert isinstance(rates.expect(again, 50, 1.0), Over)
        rates.leave(again, 0, 1.0)
    small = entered(rates.enter([both], ANN, 1.0))
    assert rates.expect(small, 10, 1.0) is None
    assert [(use.requests, use.tokens, use.running) for use in rates.uses([both], 1.0)] == [(2, 100, 2)]


@pytest.mark.parametrize("seed", range(5))
def test_no_stretch_as_long_as_the_window_holds_more_than_the_limit_and_waiting_is_enough(seed: int) -> None:
    chance = random.Random(seed)
    limit = RateLimit("l", "identity.name", 10.0, requests=7)
    rates, now, let_in = Rates(), 0.0, []
    for _ in range(2_000):
        found = rates.enter([limit], ANN, now)
        if isinstance(found, Entry):
            let_in.append(now)
            now += chance.expovariate(2.0)
        elif chance.random() < 0.5:
            now += found.seconds
            assert isinstance(rates.enter([limit], ANN, now), Entry)
            let_in.append(now)
        else:
            now += chance.random() * found.seconds * 0.9
    for place, first in enumerate(let_in):
        assert sum(first <= at < first + 10.0 for at in let_in[place : place + 20]) <= 7
    assert len(let_in) / now > 7 / (10.0 + 2 * 10.0 / SLOTS) * 0.5


def test_so_many_run_at_a_time() -> None:
    limit = RateLimit("l", "identity.name", concurrent=2)
    rates = Rates()
    first, _ = (entered(rates.enter([limit], ANN, 1.0)) for _ in range(2))
    assert rates.enter([limit], ANN, 500.0) == Over(limit, "ann", "concurrent", BUSY_SECONDS)
    entered(rates.enter([limit], BOB, 500.0))
    rates.leave(first, 0, 500.0)
    entered(rates.enter([limit], ANN, 500.0))


TOKENS = RateLimit("t", "identity.name", 60.0, tokens=1_000)


def test_tokens_are_counted_as_expected_and_then_as_they_were() -> None:
    rates = Rates()
    entry = entered(rates.enter([TOKENS], ANN, 1.0))
    assert rates.expect(entry, 800, 1.0) is None
    second = entered(rates.enter([TOKENS], ANN, 2.0))
    over = rates.expect(second, 300, 2.0)
    assert isinstance(over, Over)
    assert (over.what, over.seconds) == ("tokens", 60.0)  # the slot from 0 to 2 leaves at 62
    rates.leave(second, 0, 2.0)
    rates.leave(entry, 200, 30.0)  # it took less: the rest is free at once
    third = entered(rates.enter([TOKENS], ANN, 30.0))
    assert rates.expect(third, 700, 30.0) is None
    rates.leave(third, 5_000, 40.0)  # it took more, and that counts from when it is known
    fourth = entered(rates.enter([TOKENS], ANN, 95.0))
    assert isinstance(rates.expect(fourth, 1, 95.0), Over)
    assert rates.expect(fourth, 1, 102.0) is None


def test_a_request_larger_than_the_limit_waits_for_an_empty_window_and_no_longer() -> None:
    rates = Rates()
    first = entered(rates.enter([TOKENS], ANN, 1.0))
    assert rates.expect(first, 10, 1.0) is None
    large = entered(rates.enter([TOKENS], ANN, 1.0))
    over = rates.expect(large, 5_000, 1.0)
    assert isinstance(over, Over)
    assert rates.expect(large, 5_000, 1.0 + over.seconds) is None


def test_what_is_given_back_after_its_slot_has_left_changes_nothing() -> None:
    rates = Rates()
    entry = entered(rates.enter([TOKENS], ANN, 1.0))
    assert rates.expect(entry, 900, 1.0) is None
    rates.leave(entry, 0, 500.0)
    entry = entered(rates.enter([TOKENS], ANN, 500.0))
    assert rates.expect(entry, 1_000, 500.0) is None
    assert isinstance(rates.expect(entry, 1, 500.0), Over)


@pytest.mark.parametrize("seed", range(3))
def test_sums_never_drift_from_what_the_slots_hold(seed: int) -> None:
    chance = random.Random(seed)
    limit = RateLimit("l", "identity.name", 5.0, requests=50, tokens=10_000, concurrent=9)
    rates, now, running = Rates(), 0.0, []
    for _ in range(3_000):
        now += chance.expovariate(3.0)
        found = rates.enter([limit], ANN, now)
        if isinstance(found, Entry):
            rates.expect(found, chance.randrange(2_000), now)
            running.append(found)
        if running and chance.random() < 0.6:
            rates.leave(running.pop(chance.randrange(len(running))), chance.randrange(3_000), now)
        for window in rates._windows.values():
            assert window.requests == sum(slot.requests for slot in window._slots)
            assert window.tokens == sum(slot.tokens for slot in window._slots) >= 0
            assert len(window._slots) <= SLOTS + 2
            assert window.running == len(running)


def test_memory_is_bounded_and_who_runs_is_not_forgotten() -> None:
    limit = RateLimit("l", "identity.name", 60.0, requests=1, concurrent=1)
    rates = Rates(most=10)
    runs = entered(rates.enter([limit], ANN, 1.0))
    for number in range(100):
        rates.leave(entered(rates.enter([limit], {"name": f"n{number}"}, 1.0)), 0, 1.0)
    assert len(rates._windows) == 10
    assert isinstance(rates.enter([limit], ANN, 1.0), Over)
    rates.leave(runs, 0, 1.0)


def test_a_limit_whose_figures_change_goes_on_counting() -> None:
    rates = Rates()
    for _ in range(3):
        entered(rates.enter([PER_PERSON], ANN, 1.0))
    higher = RateLimit("people", "identity.name", 60.0, requests=4)
    entered(rates.enter([higher], ANN, 1.0))
    assert isinstance(rates.enter([higher], ANN, 1.0), Over)


def test_uses_are_of_the_limits_asked_for() -> None:
    rates = Rates()
    entered(rates.enter([PER_PERSON, PER_TEAM], ANN, 1.0))
    entered(rates.enter([PER_TEAM], BOB, 1.0))
    told = defaultdict(list)
    for use in rates.uses([PER_PERSON, PER_TEAM], 1.0):
        told[use.limit.name].append((use.value, use.requests, use.running))
    assert told == {"people": [("ann", 1, 1)], "teams": [("core", 2, 2)]}
    assert [use.limit for use in rates.uses([PER_PERSON], 1.0)] == [PER_PERSON]
