"""What is spent, by whom: the books that budgets are held against.

**Accounts.** One for each value of each `per`: what the team core spends is one account, however many budgets are on
teams, and stays it when a budget's figures change. An account is a row of slots, each with what was spent up to its
end, and what requests under way have reserved. Sums are of whole nano-dollars, so nothing drifts.

**A window that moves.** A slot is a sixtieth of the shortest window that its `per` is followed for, and counts in full
until the window has left its end: spending counts for its window and up to a sixtieth more, never less. Where a longer
window is followed too, what the shorter one has left behind is merged by sixtieths of the longer one, into the latest
slot of each, so an account has some sixty slots for each length of window. A slot never gets an end that a shorter
window would count again. Where the clock goes back, what was spent in the future was spent now.

**Reserve, then settle.** A request reserves the most it can cost before it is sent, and is settled for what it did
cost; the reservation is gone in the same step. Where a budget refuses, the check and the reservation are one step too,
and there is one event loop: what is spent and reserved never goes over it. A true cost above the reservation is
charged all the same, because it was spent.

**What must be kept** is collected in `Changes`, to be written down by whoever can; applied in any number of portions
they leave the same rows. Accounts are dropped once nothing of them counts any more, and never before.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter

from engine.core.cost import nanos
from engine.core.policy import Budget, Inputs
from engine.core.ports import Standing

SLOTS = 60  # of a window
HOUR = 3_600_000  # the window of what nobody follows any more
LONGEST_VALUE = 200  # characters

SESSION = "session"

Scope = tuple[str, str]  # what a budget is per, and of what value: ("identity.team", "core")
Slot = tuple[str, str, int]  # the scope, and when the slot ends, in milliseconds since the epoch


def value_of(per: str, inputs: Inputs, session: str) -> str:
    """Whose books a request is in; empty where it has no such value, and then no budget of this `per` holds it."""
    if per == SESSION:
        return session
    root, _, name = per.partition(".")
    value = inputs[root].get(name)
    return "" if value is None else str(value)[:LONGEST_VALUE].encode("utf-8", "replace").decode()


def scopes_of(pers: Iterable[str], inputs: Inputs, session: str) -> tuple[Scope, ...]:
    """The accounts that a request is charged to."""
    return tuple((per, value) for per in pers if (value := value_of(per, inputs, session)))


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation. `at` is in milliseconds since the epoch."""

    scopes: tuple[Scope, ...]
    amount: int
    at: int


@dataclass(slots=True)
class Changes:
    """What happened to the books and is to be written down: amounts to add to slots, reservations made and ended."""

    slots: dict[Slot, int] = field(default_factory=dict)
    made: dict[str, Hold] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.slots or self.made or self.ended)

    def add(self, slot: Slot, amount: int) -> None:
        total = self.slots.get(slot, 0) + amount
        if total:
            self.slots[slot] = total
        else:
            self.slots.pop(slot, None)

    def end(self, id: str) -> None:
        """A reservation that was never written need not be struck out."""
        if self.made.pop(id, None) is None:
            self.ended.add(id)

    def before(self, later: "Changes") -> "Changes":
        """These, which could not be written, and what happened since."""
        for slot, amount in later.slots.items():
            self.add(slot, amount)
        for id in later.ended:
            self.end(id)
        self.made.update(later.made)
        return self


class _Account:
    """What one value has spent. Times and windows are in milliseconds."""

    __slots__ = ("_sums", "latest", "reserved", "slots", "waiting")

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.latest = 0  # no slot ends later
        self.reserved = 0
        self.waiting = 0  # requests under way
        # window -> what is in it, since when and until when
        self._sums: dict[int, tuple[int, int, float]] = {}

    def spent(self, window: int, now: int) -> int:
        known = self._sums.get(window)
        if known is None or not known[1] <= now < known[2]:  # a clock that was put back counts anew
            counted = [end for end in self.slots if end + window > now]
            total = sum([self.slots[end] for end in counted])
            known = self._sums[window] = total, now, min(counted) + window if counted else float("inf")
        return known[0]

    def add(self, end: int, amount: int) -> None:
        self.slots[end] = self.slots.get(end, 0) + amount
        self.latest = max(self.latest, end)
        for window, (total, since, until) in self._sums.items():
            self._sums[window] = total + amount, since, min(until, end + window)

    def remove(self, end: int) -> None:
        del self.slots[end]
        self._sums.clear()


class Ledger:
    """All accounts and open reservations. One event loop owns it. A Spend."""

    def __init__(self) -> None:
        self._books: dict[str, OrderedDict[str, _Account]] = {}  # the least recently charged account first
        self._windows: dict[str, tuple[int, ...]] = {}  # by per, the shortest first
        self._open: dict[str, Hold] = {}
        self._changes = Changes()

    @property
    def pers(self) -> Sequence[str]:
        """What is followed."""
        return tuple(self._windows)

    @property
    def open(self) -> int:
        """How many reservations there are."""
        return len(self._open)

    def follow(self, budgets: Iterable[Budget]) -> None:
        """Keep books for these budgets from now on. What was followed before still is, so that a budget which is
        taken out by mistake and put back finds what was spent."""
        for budget in budgets:
            windows = {*self._windows.get(budget.per, ()), _window(budget)}
            self._windows[budget.per] = tuple(sorted(windows))
            self._books.setdefault(budget.per, OrderedDict())

    def standing(self, budget: Budget, value: str, now: float) -> Standing:
        account = self._books[budget.per].get(value) if budget.per in self._books else None
        if account is None:
            return Standing()
        return Standing(account.spent(_window(budget), _milliseconds(now)), account.reserved)

    def room_in(self, budget: Budget, value: str, need: int, now: float) -> float | None:
        most = nanos(budget.usd) - need
        if most < 0:
            return None
        account = self._books[budget.per].get(value) if budget.per in self._books else None
        if account is None:
            return 0.0
        window, moment = _window(budget), _milliseconds(now)
        spent = account.spent(window, moment)
        wait = 0
        for end in sorted(account.slots):
            if spent <= most:
                break
            if end + window > moment:
                spent -= account.slots[end]
                wait = end + window - moment
        return wait / 1000

    def accounts(self, per: str, most: int) -> list[str]:
        """The values there are books of, those charged last first."""
        book = self._books.get(per)
        return list(islice(reversed(book), most)) if book else []

    def reserve(
        self,
        id: str,
        scopes: Sequence[Scope],
        amount: int,
        now: float,
        limits: Iterable[tuple[Budget, str]] = (),
    ) -> tuple[Budget, str] | None:
        """Hold the most that a request may cost. The first of the limits that would be gone over, and then nothing
        is held; None where it is held."""
        for budget, value in limits:
            if amount and self.standing(budget, value, now).taken + amount > nanos(budget.usd):
                return budget, value
        hold = Hold(tuple(scopes), amount, _milliseconds(now))
        self._open[id] = hold
        for per, value in scopes:
            account = self._account(per, value)
            account.reserved += amount
            account.waiting += 1
        if amount:
            self._changes.made[id] = hold
        return None

    def settle(self, id: str, amount: int, now: float) -> Sequence[Scope]:
        """Charge what a request did cost to everyone it was reserved for; who that is. Without a reservation nothing
        is charged, so settling twice charges once."""
        hold = self._end(id)
        if hold is None:
            return ()
        if amount:
            self._charge(hold.scopes, amount, _milliseconds(now))
        return hold.scopes

    def release(self, id: str) -> None:
        """End a reservation without a charge; one that has ended stays so."""
        self._end(id)

    def forfeit(self, id: str, hold: Hold, amount: int | None = None) -> int:
        """Charge a reservation from before a restart, and end it: all of it, where nobody knows what the request came
        to. What is charged."""
        amount = hold.amount if amount is None else amount
        if amount:
            self._charge(hold.scopes, amount, hold.at, late=True)
        self._changes.end(id)
        return amount

    def restore(self, slots: Iterable[tuple[str, str, int, int]]) -> None:
        """What was written down: per, value, the slot's end and the amount, those of an account together. The least
        recently charged account is first then, as it was."""
        accounts: dict[tuple[str, str], _Account] = {}
        last: list[tuple[int, str, str]] = []
        for scope, rows in groupby(slots, itemgetter(0, 1)):
            account = accounts[scope] = _Account()
            account.slots = {end: amount for _, _, end, amount in rows}
            account.latest = max(account.slots)
            last.append((account.latest, *scope))
        for _, per, value in sorted(last):
            self._books.setdefault(per, OrderedDict())[value] = accounts[per, value]

    @property
    def changed(self) -> bool:
        return bool(self._changes)

    def is_unwritten(self, id: str) -> bool:
        """Whether a reservation is still to be written down."""
        return id in self._changes.made

    def take(self) -> Changes:
        """What happened since it was asked for last."""
        taken, self._changes = self._changes, Changes()
        return taken

    def put_back(self, changes: Changes) -> None:
        """These could not be written; they come again with the next."""
        self._changes = changes.before(self._changes)

    def _account(self, per: str, value: str) -> _Account:
        book = self._books.setdefault(per, OrderedDict())
        account = book.get(value)
        if account is None:
            account = book[value] = _Account()
        return account

    def _end(self, id: str) -> Hold | None:
        hold = self._open.pop(id, None)
        if hold is None:
            return None
        for per, value in hold.scopes:
            account = self._books[per][value]
            account.reserved -= hold.amount
            account.waiting -= 1
            # It was free or it failed, and no charge will come by to drop what is empty.
            if not account.waiting and not account.slots:
                del self._books[per][value]
        if hold.amount:
            self._changes.end(id)
        return hold

    def _charge(self, scopes: Iterable[Scope], amount: int, now: int, late: bool = False) -> None:
        """What is charged `late` says nothing about the clock: what was spent after it stays where it is."""
        for per, value in scopes:
            account = self._account(per, value)
            self._books[per].move_to_end(value)
            windows = self._windows.get(per, (HOUR,))
            end = _end_of_slot(now, windows[0])
            account.add(end, amount)
            self._changes.add((per, value, end), amount)
            if account.latest > end and not late:
                self._bring_back((per, value), account, end)
            if len(account.slots) > SLOTS * (len(windows) + 1):
                self._merge((per, value), account, windows, now)
            self._drop_first(per, windows[-1], now)

    def _bring_back(self, scope: Scope, account: _Account, end: int) -> None:
        """What is in the future, because the clock was, is in this slot now."""
        for late in [other for other in account.slots if other > end]:
            self._move(scope, account, late, end)
        account.latest = end

    def _merge(self, scope: Scope, account: _Account, windows: Sequence[int], now: int) -> None:
        """Forget what no window counts, and put together what only longer ones do."""
        together: dict[tuple[int, int], list[int]] = {}
        for end in sorted(account.slots):
            window = next((window for window in windows if end + window > now), 0)
            if window != windows[0]:
                together.setdefault((window, end // _width(window)), []).append(end)
        for (window, _), ends in together.items():
            for end in ends:
                self._move(scope, account, end, ends[-1] if window else None)

    def _move(self, scope: Scope, account: _Account, end: int, to: int | None) -> None:
        """What was in a slot is in another one now, or counts no more."""
        if end == to:
            return
        amount = account.slots[end]
        account.remove(end)
        self._changes.add((*scope, end), -amount)
        if to is not None:
            account.add(to, amount)
            self._changes.add((*scope, to), amount)

    def _drop_first(self, per: str, longest: int, now: int) -> None:
        """Accounts of which nothing counts any more: at most two at a time, which is more than come."""
        book = self._books[per]
        for value in list(islice(book, 2)):
            account = book[value]
            if account.waiting or any(end + longest > now for end in account.slots):
                return
            for end, amount in account.slots.items():
                self._changes.add((per, value, end), -amount)
            del book[value]


def _end_of_slot(now: int, window: int) -> int:
    return (now // _width(window) + 1) * _width(window)


def _width(window: int) -> int:
    return max(window // SLOTS, 1)


def _window(budget: Budget) -> int:
    return _milliseconds(budget.window_seconds)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
