"""The books: what counts, for how long, and that nothing is ever lost or counted twice."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.cost import NANOS, nanos
from engine.core.policy import Budget
from engine.core.ports import Standing
from engine.routing.budgets import Changes, Ledger, Scope, Slot, scopes_of, value_of

DAY = Budget("team-day", "identity.team", 50.0, 86_400.0, use="small")
STOP = Budget("hard-stop", "identity.team", 80.0, 86_400.0, reject=429)
HOUR = Budget("hour", "identity.team", 5.0, 3_600.0, reject=429)
MONTH = Budget("month", "identity.team", 500.0, 30 * 86_400.0, reject=429)
CORE: tuple[Scope, ...] = (("identity.team", "core"),)
NOON = 1_000_000_000.0


def ledger(*budgets: Budget) -> Ledger:
    made = Ledger()
    made.follow(budgets)
    return made


def spend(books: Ledger, usd: float, now: float, id: str = "d", scopes: tuple[Scope, ...] = CORE) -> None:
    books.reserve(id, scopes, nanos(usd), now)
    books.settle(id, nanos(usd), now)


INPUTS: Mapping[str, Mapping[str, object]] = {
    "features": {"client_session": "abc", "subagent": True},
    "hints": {},
    "identity": {"team": "core", "data_class": ""},
}


@pytest.mark.parametrize(
    ("per", "value"),
    [
        ("identity.team", "core"),
        ("identity.data_class", ""),
        ("hints.session", ""),
        ("features.subagent", "True"),
        ("session", "s1"),
    ],
)
def test_a_request_is_in_the_books_of_its_value(per: str, value: str) -> None:
    assert value_of(per, INPUTS, "s1") == value
    assert scopes_of([per], INPUTS, "s1") == (((per, value),) if value else ())


def test_what_is_reserved_counts_until_it_is_settled_for_what_it_cost() -> None:
    books = ledger(DAY)
    books.reserve("d1", CORE, nanos(3.0), NOON)
    assert books.standing(DAY, "core", NOON) == Standing(0, nanos(3.0))
    assert books.settle("d1", nanos(0.5), NOON) == CORE
    assert books.standing(DAY, "core", NOON) == Standing(nanos(0.5), 0)
    assert books.standing(DAY, "other", NOON) == Standing()


def test_a_cost_above_the_reservation_is_charged_all_the_same() -> None:
    books = ledger(STOP)
    books.reserve("d1", CORE, nanos(1.0), NOON)
    books.settle("d1", nanos(100.0), NOON)
    assert books.standing(STOP, "core", NOON).spent == nanos(100.0)


def test_requests_that_cost_nothing_leave_no_account_behind() -> None:
    books = ledger(Budget("talk", "session", 1.0, 3_600.0, reject=429))
    for number in range(1_000):
        scopes = (("session", f"s{number}"),)
        books.reserve(f"free{number}", scopes, 0, NOON)
        books.reserve(f"failed{number}", scopes, nanos(0.1), NOON)
        assert books.settle(f"free{number}", 0, NOON) == scopes
        books.release(f"failed{number}")
    assert books.accounts("session", 2_000) == []


def test_a_reservation_ends_once() -> None:
    books = ledger(DAY)
    books.reserve("d1", CORE, nanos(3.0), NOON)
    books.settle("d1", nanos(1.0), NOON)
    assert books.settle("d1", nanos(1.0), NOON) == ()
    books.release("d1")
    assert books.standing(DAY, "core", NOON) == Standing(nanos(1.0), 0)
    books.reserve("d2", CORE, nanos(3.0), NOON)
    books.release("d2")
    assert books.standing(DAY, "core", NOON) == Standing(nanos(1.0), 0)
    assert books.open == 0


def test_nothing_goes_over_a_budget_that_refuses() -> None:
    books = ledger(STOP)
    limits = [(STOP, "core")]
    taken = [books.reserve(f"d{number}", CORE, nanos(1.0), NOON, limits) for number in range(200)]
    assert taken.count(None) == 80
    assert set(taken[80:]) == {(STOP, "core")}
    assert books.open == 80
    books.settle("d0", nanos(0.01), NOON)
    assert books.reserve("e", CORE, nanos(0.99), NOON, limits) is None
    assert books.reserve("f", CORE, 1, NOON, limits) == (STOP, "core")
    assert books.reserve("free", CORE, 0, NOON, limits) is None


def test_spending_counts_for_its_window_and_hardly_longer() -> None:
    books = ledger(HOUR)
    spend(books, 5.0, NOON)
    for after in (0, 1_800, 3_599.9):
        assert books.standing(HOUR, "core", NOON + after).spent == nanos(5.0)
    assert books.standing(HOUR, "core", NOON + 3_661).spent == 0


def test_two_budgets_share_their_books_and_a_change_of_one_counts_with_what_is_spent() -> None:
    books = ledger(DAY)
    spend(books, 4.0, NOON)
    books.follow([STOP, HOUR])
    assert books.standing(STOP, "core", NOON).spent == nanos(4.0)
    assert books.standing(HOUR, "core", NOON).spent == nanos(4.0)
    richer = Budget("team-day", "identity.team", 500.0, 86_400.0, use="small")
    assert books.standing(richer, "core", NOON).spent == nanos(4.0)


def test_what_is_per_something_else_sees_what_is_spent_from_then_on() -> None:
    books = ledger(DAY)
    spend(books, 4.0, NOON)
    person = Budget("person", "identity.name", 1.0, 3_600.0, reject=402)
    books.follow([person])
    assert books.standing(person, "ann", NOON) == Standing()
    spend(books, 1.0, NOON, scopes=(*CORE, ("identity.name", "ann")))
    assert books.standing(person, "ann", NOON).spent == nanos(1.0)
    assert books.standing(DAY, "core", NOON).spent == nanos(5.0)


def test_room_comes_back_when_enough_has_left_the_window() -> None:
    books = ledger(HOUR)
    assert books.room_in(HOUR, "core", nanos(5.0), NOON) == 0.0
    assert books.room_in(HOUR, "core", nanos(5.1), NOON) is None
    spend(books, 3.0, NOON)
    spend(books, 2.0, NOON + 1_200)
    now = NOON + 1_800
    first, both = books.room_in(HOUR, "core", nanos(2.0), now), books.room_in(HOUR, "core", nanos(4.0), now)
    assert first is not None
    assert both is not None
    assert 1_800 <= first <= 1_860
    assert 3_000 <= both <= 3_060
    assert books.standing(HOUR, "core", now + first).spent == nanos(2.0)


def test_an_account_stays_small_and_exact_under_a_long_window_beside_a_short_one() -> None:
    books = ledger(HOUR, MONTH)
    sizes = []
    for minute in range(0, 40 * 24 * 60, 7):
        spend(books, 0.01, NOON + minute * 60)
        sizes.append(len(books._books["identity.team"]["core"].slots))
    assert max(sizes) <= 60 * 3 + 1
    now = NOON + (minute * 60)
    in_hour, in_month = 60 // 7, 30 * 24 * 60 // 7
    assert 0 <= books.standing(HOUR, "core", now).spent / nanos(0.01) - in_hour <= 2
    assert 0 <= books.standing(MONTH, "core", now).spent / nanos(0.01) - in_month <= 12 * 60 // 7 + 2


def test_accounts_go_once_nothing_of_them_counts_and_not_before() -> None:
    books = ledger(HOUR)
    for number in range(500):
        spend(books, 0.01, NOON, scopes=(("identity.team", f"t{number}"),))
    books.reserve("long", (("identity.team", "t3"),), nanos(1.0), NOON)
    for number in range(200):
        spend(books, 0.01, NOON + 600, scopes=(("identity.team", f"u{number}"),))
    assert len(books.accounts("identity.team", 1_000)) == 700
    assert books.accounts("identity.team", 2) == ["u199", "u198"]
    assert books.accounts("identity.name", 2) == []
    for _ in range(1_000):
        spend(books, 0.01, NOON + 4_000)
    left = books.accounts("identity.team", 1_000)
    assert left[-1] == "t3", "what has something reserved waits"
    books.release("long")
    for _ in range(1_000):
        spend(books, 0.01, NOON + 4_000)
    assert {value[0] for value in books.accounts("identity.team", 1_000)} == {"u", "c"}


def test_where_the_clock_goes_back_nothing_is_spent_in_the_future() -> None:
    books = ledger(HOUR)
    spend(books, 2.0, NOON + 365 * 86_400)
    assert books.standing(HOUR, "core", NOON).spent == nanos(2.0)
    spend(books, 1.0, NOON)
    assert books.standing(HOUR, "core", NOON).spent == nanos(3.0)
    assert books.standing(HOUR, "core", NOON + 3_661).spent == 0


class Rows:
    """What is left on disk of changes that were written."""

    def __init__(self) -> None:
        self.slots: dict[Slot, int] = {}
        self.holds: dict[str, int] = {}

    def write(self, changes: Changes) -> None:
        for slot, amount in changes.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + amount
        self.slots = {slot: amount for slot, amount in self.slots.items() if amount}
        for id, hold in changes.made.items():
            self.holds[id] = hold.amount
        for id in changes.ended:
            del self.holds[id]

    @property
    def told(self) -> list[tuple[str, str, int, int]]:
        return sorted((*slot, amount) for slot, amount in self.slots.items())


def in_memory(books: Ledger) -> dict[Slot, int]:
    return {
        (per, value, end): amount
        for per, book in books._books.items()
        for value, account in book.items()
        for end, amount in account.slots.items()
    }


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 9), st.integers(0, 30 * NANOS)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 40 * NANOS)),
        st.tuples(st.just("release"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("later"), st.integers(-600, 9_000), st.just(0)),
        st.tuples(st.just("write"), st.booleans(), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_reservation_ends_once_and_what_is_written_is_what_is_known(
    steps: list[tuple[str, int, int]],
) -> None:
    """Against plain lists: what is open, what was charged when. No budget that refuses is ever gone over by what was
    reserved; what is on disk is what is in memory, however often writing failed."""
    books, rows, now = ledger(HOUR, DAY), Rows(), NOON
    open_: dict[str, int] = {}
    charged: list[tuple[float, int]] = []
    names = iter(range(10_000))
    known: dict[int, str] = {}
    for what, which, amount in steps:
        match what:
            case "reserve":
                id = f"d{next(names)}"
                before = books.standing(HOUR, "core", now)
                refused = books.reserve(id, CORE, amount, now, [(HOUR, "core")])
                assert (refused is None) == (amount == 0 or before.taken + amount <= nanos(HOUR.usd))
                if refused is None:
                    known[which] = id
                    open_[id] = amount
            case "settle":
                id = known.get(which, "")
                was = open_.pop(id, None)
                assert books.settle(id, amount, now) == (() if was is None else CORE)
                if was is not None:
                    charged.append((now, amount))
            case "release":
                books.release(known.get(which, ""))
                open_.pop(known.get(which, ""), None)
            case "later":
                now += which
            case "write":
                changes = books.take()
                if which:
                    rows.write(changes)
                else:
                    books.put_back(changes)
        standing = books.standing(DAY, "core", now)
        assert standing.reserved == sum(open_.values())
        assert standing.spent >= sum(amount for at, amount in charged if now - at < DAY.window_seconds)
        assert standing.spent <= sum(amount for _, amount in charged)
    rows.write(books.take())
    assert rows.slots == in_memory(books)
    assert rows.holds == {id: amount for id, amount in open_.items() if amount}


def test_what_was_written_is_known_again_and_what_was_open_is_charged_in_full() -> None:
    books, rows = ledger(HOUR), Rows()
    spend(books, 1.5, NOON)
    books.reserve("d9", CORE, nanos(2.0), NOON)
    changes = books.take()
    rows.write(changes)
    again = ledger(HOUR)
    again.restore(rows.told)
    assert again.forfeit("d9", changes.made["d9"]) == nanos(2.0)
    assert again.standing(HOUR, "core", NOON) == Standing(nanos(3.5), 0)
    told = ledger(HOUR)
    told.restore(rows.told)
    assert told.forfeit("d9", changes.made["d9"], nanos(0.25)) == nanos(0.25)
    assert told.standing(HOUR, "core", NOON).spent == nanos(1.75)
    rows.write(again.take())
    assert (rows.slots, rows.holds) == (in_memory(again), {})


def test_a_reservation_from_before_a_restart_moves_nothing_that_was_spent_since() -> None:
    books, rows = ledger(HOUR), Rows()
    books.reserve("d9", CORE, nanos(1.0), NOON)
    spend(books, 2.0, NOON + 1_800)
    changes = books.take()
    rows.write(changes)
    again = ledger(HOUR)
    again.restore(rows.told)
    again.forfeit("d9", changes.made["d9"])
    assert again.standing(HOUR, "core", NOON + 3_599).spent == nanos(3.0)
    assert again.standing(HOUR, "core", NOON + 3_700).spent == nanos(2.0)


def test_a_clock_that_ran_ahead_and_was_put_back_hides_nothing_that_was_spent() -> None:
    books = ledger(HOUR)
    spend(books, 2.0, NOON)
    assert books.standing(HOUR, "core", NOON + 10_000).spent == 0
    assert books.standing(HOUR, "core", NOON + 1).spent == nanos(2.0)
