"""How fast somebody may ask: requests and tokens within a window that moves, and requests at the same time.

**A window that moves.** What was used is kept in slots of a thirtieth of the window, and a slot counts in full until
the window has left its end. So no stretch as long as the window ever holds more than the limit, at the price of
waiting up to a thirtieth of it longer than to the second.

**Tokens are known late.** A request is counted with its prompt's estimate when it comes, and with what it really took
when it ends: what it took less is given back where it was counted, what it took more counts from then on. A request
that is larger than the whole limit is let through where nothing else is in the window, so that it is slow, not
impossible.

**What is refused is not counted**, so asking again too early makes nobody wait longer. A limit whose `per` has no
value, as for a key without a team, holds nobody.

State is in memory alone and bounded: whoever has asked for longest not is forgotten first, but never while a request
of theirs runs. Times are monotonic, in seconds.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.core.policy import RateLimit

SLOTS = 30  # of a window
BUSY_SECONDS = 1.0  # what is told to wait who has too many requests at once
MOST_WINDOWS = 10_000

What = Literal["requests", "tokens", "concurrent"]


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that is used up, by whom, and for how many seconds."""

    limit: RateLimit
    value: str
    what: What
    seconds: float


@dataclass(frozen=True, slots=True)
class Use:
    """How a limit is used now."""

    limit: RateLimit
    value: str
    requests: int
    tokens: int
    running: int


class _Slot:
    __slots__ = ("end", "requests", "tokens")

    def __init__(self, end: float) -> None:
        self.end = end
        self.requests = 0
        self.tokens = 0


class _Window:
    """What one value has used of one limit."""

    __slots__ = ("_length", "_slots", "requests", "running", "tokens")

    def __init__(self, length: float) -> None:
        self._length = length
        self._slots: deque[_Slot] = deque()
        self.requests = 0
        self.tokens = 0
        self.running = 0

    def leave_behind(self, now: float) -> None:
        slots = self._slots
        while slots and slots[0].end + self._length <= now:
            gone = slots.popleft()
            self.requests -= gone.requests
            self.tokens -= gone.tokens

    def take(self, requests: int, tokens: int, now: float) -> _Slot:
        width = self._length / SLOTS
        end = (now // width + 1) * width
        if not self._slots or self._slots[-1].end < end:
            self._slots.append(_Slot(end))
        slot = self._slots[-1]
        slot.requests += requests
        slot.tokens += tokens
        self.requests += requests
        self.tokens += tokens
        return slot

    def give_back(self, slot: _Slot, requests: int, tokens: int, now: float) -> None:
        self.leave_behind(now)
        if slot.end + self._length > now:
            slot.requests -= requests
            slot.tokens -= tokens
            self.requests -= requests
            self.tokens -= tokens

    def wait(self, what: What, most: int, need: int, now: float) -> float:
        """Seconds until so much more fits; 0 where it does now."""
        self.leave_behind(now)
        used: int = getattr(self, what)
        if used + need <= most or not used:
            return 0.0
        for slot in self._slots:
            used -= getattr(slot, what)
            if used + need <= most or not used:
                break
        return slot.end + self._length - now


@dataclass(slots=True)
class Entry:
    """A request that was let in, until `leave`."""

    held: Sequence[tuple[RateLimit, str, _Window]]
    asked: Sequence[_Slot] = ()  # where it is counted, by place in `held`
    counted: dict[int, tuple[_Slot, int]] = field(default_factory=dict)  # tokens, by place in `held`


NOBODY_HELD = Entry(())


class Rates:
    def __init__(self, most: int = MOST_WINDOWS) -> None:
        self._windows: OrderedDict[tuple[str, str, float, str], _Window] = OrderedDict()
        self._most = most

    def enter(self, limits: Iterable[RateLimit], identity: Mapping[str, str], now: float) -> Entry | Over:
        """Count a request against every limit that holds it, or against none of them."""
        held = [(limit, value, self._window(limit, value)) for limit, value in _holding(limits, identity)]
        for limit, value, window in held:
            if limit.requests and (seconds := window.wait("requests", limit.requests, 1, now)):
                return Over(limit, value, "requests", seconds)
            if limit.concurrent and window.running >= limit.concurrent:
                return Over(limit, value, "concurrent", BUSY_SECONDS)
        if not held:
            return NOBODY_HELD
        for _, _, window in held:
            window.running += 1
        return Entry(held, [window.take(1, 0, now) for _, _, window in held])

    def expect(self, entry: Entry, tokens: int, now: float) -> Over | None:
        """Count what a request that was let in is going to take, if there is room for it; else the request itself
        counts no more."""
        for limit, value, window in entry.held:
            if limit.tokens and (seconds := window.wait("tokens", limit.tokens, tokens, now)):
                for (_, _, asked), slot in zip(entry.held, entry.asked, strict=True):
                    asked.give_back(slot, 1, 0, now)
                return Over(limit, value, "tokens", seconds)
        for place, (limit, _, window) in enumerate(entry.held):
            if limit.tokens:
                entry.counted[place] = window.take(0, tokens, now), tokens
        return None

    def leave(self, entry: Entry, tokens: int, now: float) -> None:
        """The request is over, and took so many tokens."""
        for place, (_, _, window) in enumerate(entry.held):
            window.running -= 1
            if place in entry.counted:
                slot, counted = entry.counted[place]
                if tokens > counted:
                    window.leave_behind(now)
                    window.take(0, tokens - counted, now)
                else:
                    window.give_back(slot, 0, counted - tokens, now)
        self._forget()

    def uses(self, limits: Iterable[RateLimit], now: float) -> list[Use]:
        """Those that are used now."""
        known = {(limit.name, limit.per, limit.window_seconds): limit for limit in limits}
        found: list[Use] = []
        for (name, per, length, value), window in self._windows.items():
            limit = known.get((name, per, length))
            window.leave_behind(now)
            if limit is not None and (window.requests or window.running):
                found.append(Use(limit, value, window.requests, window.tokens, window.running))
        return found

    def _window(self, limit: RateLimit, value: str) -> _Window:
        key = limit.name, limit.per, limit.window_seconds, value
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(limit.window_seconds)
        self._windows.move_to_end(key)
        return window

    def _forget(self) -> None:
        excess = len(self._windows) - self._most
        if excess <= 0:
            return
        idle = [key for key, window in self._windows.items() if not window.running]
        for key in idle[:excess]:
            del self._windows[key]


def _holding(limits: Iterable[RateLimit], identity: Mapping[str, str]) -> list[tuple[RateLimit, str]]:
    """The limits that hold somebody, with the value each goes by."""
    valued = ((limit, identity.get(limit.per.rpartition(".")[2], "")) for limit in limits)
    return [(limit, value) for limit, value in valued if value]
