import random

import pytest

from engine.core.decision import Withdrawal
from engine.server.withdrawals import Withdrawn, first_touched, standing, withdrawn


def outranked(first: int, last: int, after: int, number: int) -> Withdrawal:
    return Withdrawal(1.0, first, last, after, number, "outranked")


@pytest.mark.parametrize(
    ("spans", "gone"),
    [
        ([], []),
        ([(3, 3)], [3]),
        ([(5, 6), (2, 3)], [2, 3, 5, 6]),
        ([(1, 4), (2, 3)], [1, 2, 3, 4]),
        ([(1, 2), (3, 4), (4, 6)], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_spans_in_any_order_withdraw_each_number_once(spans: list[tuple[int, int]], gone: list[int]) -> None:
    found = Withdrawn(spans)
    assert list(found) == [number for number in range(10) if number in found] == gone
    assert len(found) == len(gone)


def test_a_rollback_makes_the_state_what_it_was_and_what_was_outranked_since_counts_again() -> None:
    every = [outranked(2, 2, 4, 0), outranked(3, 3, 6, 1)]
    assert list(withdrawn(every)) == [2, 3]
    rolled = [*every, Withdrawal(9.0, 6, 8, 8, 1, "rolled back to 5")]
    assert list(withdrawn(rolled)) == [2, 6, 7, 8]
    further = [*rolled, Withdrawal(9.5, 2, 8, 8, 0, "rolled back to 1")]
    assert list(withdrawn(further)) == [2, 3, 4, 5, 6, 7, 8]
    undone = [*further, Withdrawal(9.9, 9, 8, 8, 2, "rolled back to the end of the second")]
    assert list(withdrawn(undone)) == [2, 3]


def test_what_is_touched_is_what_counts_differently() -> None:
    every = [outranked(2, 2, 4, 0), outranked(3, 3, 6, 1), Withdrawal(9.0, 6, 8, 8, 1, "rolled back")]
    assert first_touched(every, 0) == 2
    assert first_touched(every, 2) == 3  # the third lesson counts again
    assert first_touched(every[:2], 1) == 3


def test_the_first_that_is_touched_is_never_behind_the_first_difference() -> None:
    chance = random.Random(7)
    for _ in range(300):
        every: list[Withdrawal] = []
        for after in range(1, 30):
            if chance.random() < 0.5:
                first = chance.randint(1, after)
                every.append(outranked(first, chance.randint(first, after), after, len(every)))
            elif chance.random() < 0.3:
                to, stands = chance.randint(0, after), chance.randint(0, len(every))
                every.append(Withdrawal(1.0, to + 1, after, after, stands, "rolled back"))
        known = chance.randint(0, len(every) - 1) if every else 0
        if known == len(every):
            continue
        changed = set(withdrawn(every)) ^ set(withdrawn(every[:known]))
        assert not changed or first_touched(every, known) <= min(changed)


def test_the_newest_comes_first_and_only_what_stands() -> None:
    every = [outranked(2, 2, 4, 0), outranked(3, 3, 6, 1), Withdrawal(9.0, 6, 8, 8, 1, "rolled back")]
    assert list(standing(every)) == [every[2], every[0]]
