"""Which lessons count. The journal forgets nothing, so what must not be believed any more is withdrawn: the state of
the learners is the fold of the lessons that no withdrawal covers, in their order.

An outcome that is outranked has its lessons withdrawn. A rollback to a moment withdraws the lessons since then, and
with them the withdrawals since then, so that the state is exactly what it was: a lesson that had been outranked
later counts again. Both are events, so a restart, another process and a copy of the journal come to the same.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence

from engine.core.decision import Withdrawal

Span = tuple[int, int]  # the first and the last number, both included

NEVER = 2**63 - 1


class Withdrawn(Collection[int]):
    """The numbers of the lessons that do not count."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in sorted(spans):
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Withdraw these too; what they touch becomes one span with them."""
        low = bisect_left(self._ends, first - 1)
        high = bisect_right(self._starts, last + 1)
        if low < high:
            first, last = min(first, self._starts[low]), max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def __iter__(self) -> Iterator[int]:
        for first, last in zip(self._starts, self._ends, strict=True):
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in zip(self._starts, self._ends, strict=True))


def withdrawn(every: Sequence[Withdrawal]) -> Withdrawn:
    """What all the withdrawals of a journal, in their order, come to."""
    return Withdrawn((one.first, one.last) for one in standing(every))


def standing(every: Sequence[Withdrawal]) -> Iterator[Withdrawal]:
    """Those that still count, newest first."""
    left = len(every)
    while left:
        one = every[left - 1]
        yield one
        left = min(one.stands, left - 1)


def first_touched(every: Sequence[Withdrawal], known: int) -> int:
    """The lowest number of a lesson that may count differently since only the first `known` of these were there."""
    changed = set(standing(every)) ^ set(standing(every[:known]))
    return min((one.first for one in changed), default=NEVER)
