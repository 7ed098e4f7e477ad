"""Which ways to a model are worth calling now: a circuit breaker for each, and pauses that providers ask for.

A way is one model at one endpoint. Its breaker has the states of the pattern's name:

    closed      calls go through; failures and slow calls within the window are counted
    open        no call goes through until the cooldown is over
    half open   one call at a time goes through, to see; it closes the breaker or opens it again, for twice as long
    returning   closed again, but only a growing share of calls goes through, over the length of a window; those that
                have nowhere else to go all do

The traps it knows:

* An endpoint that cannot be reached costs a connect timeout each time, so one such failure opens its breaker for all
  models there: for a second at first, because it may only be restarting. Any other failure is a model's own: a
  provider may be short of one and not of another.
* A rate limit is no illness. It pauses the model at that endpoint for as long as the provider says, never shorter
  than it was told before, and counts as no failure.
* Nor does a request have to find out that it is back: whoever performs may `knock` beside them.
* What the client did (hung up, sent nonsense) says nothing about anybody.
* When a probe's client hangs up, the probe ended without an answer; the next call is a probe again.
* A call that began before the breaker opened may end while a probe is under way. It says nothing about now: only the
  probe closes the breaker or opens it again, so whoever tells how a call ended says which breakers it was the probe of.
* A call that never reached the endpoint says nothing about the model, and any answer at all, even a refusal, says that
  the endpoint can be reached.

Pure: time is an argument, in seconds on one clock. One event loop owns a `Health`.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Literal

from engine.core.catalog import Binding
from engine.core.errors import Fault, FaultKind
from engine.core.policy import Breaker

State = Literal["closed", "open", "half_open", "returning"]

PAUSES: frozenset[FaultKind] = frozenset(
    {"rate_limit", "overloaded", "server_error"}
)  # that may ask to be left alone

# What a failed call says about the way it took; other faults say nothing about it.
ILLNESSES: frozenset[FaultKind] = frozenset({"connection", "timeout", "server_error", "overloaded"})

LONGEST_COOLDOWN_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 3_600.0
USUAL_PAUSE_SECONDS = 5.0  # after a rate limit that does not say how long
UNREACHABLE_COOLDOWN_SECONDS = 1.0  # at first; an address that is gone for a moment only is soon used again
FEWEST_CALLS = 10  # before a share of slow calls means anything
RETURNING_SHARE = 0.1  # of calls, at first
MOST_COUNTED = 1_000  # calls a window keeps for each way; no policy may ask for more failures
MOST_WAYS = 10_000

# The breaker of an endpoint's address. One that answers again is soon used by all: it was away, not overburdened, and
# where it is the only way, every call that is kept from it fails.
SHARED = Breaker(failures=1, cooldown_seconds=UNREACHABLE_COOLDOWN_SECONDS, window_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a way is, for people: the readiness page and the log. `model` is the provider's id for it, and empty where
    it is about the whole endpoint."""

    endpoint: str
    model: str
    state: State
    failures: int
    calls: int
    paused_seconds: float


@dataclass(slots=True)
class _Way:
    """`calls` holds when each call of the window ended, and whether it failed or was slow; `failed` and `slow` count
    them."""

    calls: deque[tuple[float, bool, bool]] = field(default_factory=deque)
    failed: int = 0
    slow: int = 0
    state: State = "closed"
    until: float = 0.0  # when an open breaker lets a probe through, or a returning one is closed
    since: float = 0.0  # when it began to return
    cooldown: float = 0.0  # of the last time it opened
    probing: bool = False
    paused_until: float = 0.0
    paused_for: FaultKind = "rate_limit"


# The breakers that a call is the probe of; nearly always none.
Probes = tuple[_Way, ...]


class Health:
    def __init__(self) -> None:
        self._ways: OrderedDict[tuple[str, str], _Way] = OrderedDict()

    def admits(self, binding: Binding, rules: Breaker, now: float) -> bool:
        """Whether a call may take this way. Whoever takes it tells when it `began` and how it `ended`."""
        return all(_admits(way, rules, now) for way in self._found(binding))

    def waits(self, binding: Binding, now: float) -> float:
        """Seconds until a call may take this way again; 0 where one may now."""
        return max((_waits(way, now) for way in self._found(binding)), default=0.0)

    def limited(self, binding: Binding, now: float) -> bool:
        """Whether nothing is wrong with this way but that a limit of calls is used up."""
        ways = self._found(binding)
        paused = any(way.paused_until > now and way.paused_for == "rate_limit" for way in ways)
        return paused and all(_state(way, now) == "closed" for way in ways)

    def returns(self, binding: Binding, now: float) -> bool:
        """Whether this way is closed to a call only because it comes back little by little."""
        ways = self._found(binding)
        well = all(way.paused_until <= now and _state(way, now) in ("closed", "returning") for way in ways)
        return well and any(_state(way, now) == "returning" for way in ways)

    def is_down(self, binding: Binding) -> bool:
        """Whether this way is ill, and not merely paused or on its way back."""
        return any(way.state in ("open", "half_open") for way in self._found(binding))

    def began(self, binding: Binding, now: float) -> Probes:
        """A call takes this way. Where its breaker was open, it is the probe, and says so when it `ended`."""
        probes: list[_Way] = []
        for way in self._found(binding):
            if way.state == "open" and now >= way.until and not way.probing:
                way.state = "half_open"
            if way.state == "half_open" and not way.probing:
                way.probing = True
                probes.append(way)
        return tuple(probes)

    def ended(
        self,
        binding: Binding,
        fault: Fault | None,
        seconds: float,
        rules: Breaker,
        now: float,
        reached: bool = True,
        probes: Probes = (),
    ) -> list[Condition]:
        """How a call of this way ended, and which breakers that changed: `fault` is None where it served, `seconds` is
        how long its first content took, and `reached` is false where the endpoint did not even answer with headers."""
        if fault is not None and fault.kind in PAUSES and fault.origin != "client":
            wait = fault.retry_after_seconds or (USUAL_PAUSE_SECONDS if fault.kind == "rate_limit" else 0.0)
            self._pause(binding, wait, fault.kind, now)
        unreachable = fault is not None and fault.kind == "connection" and not reached
        telling = fault is None or (fault.origin != "client" and fault.kind in ILLNESSES)
        own, shared = (binding.endpoint, binding.id), (binding.endpoint, "")
        changed: list[Condition] = []
        if telling and not unreachable:
            slow = seconds > rules.slower_than_seconds
            changed += self._counted(own, fault is not None, slow, rules, now, probes)
        if unreachable or (reached and shared in self._ways):
            changed += self._counted(shared, unreachable, False, SHARED, now, probes)
        self.abandoned(probes)
        return changed

    def abandoned(self, probes: Probes) -> None:
        """A call ended in a way that says nothing about the provider; the next one may probe."""
        for way in probes:
            way.probing = False

    def knock(self, endpoint: str) -> Probes:
        """Be the probe of an address before a call is; none where there is nothing to probe or somebody does."""
        way = self._ways.get((endpoint, ""))
        if way is None or way.state != "open":
            return ()
        way.state, way.probing = "half_open", True
        return (way,)

    def knocked(self, endpoint: str, reached: bool, now: float, probes: Probes) -> list[Condition]:
        """What came of it, and whether that changed the address's breaker."""
        changed = self._counted((endpoint, ""), not reached, False, SHARED, now, probes)
        self.abandoned(probes)
        return changed

    def conditions(self, now: float) -> list[Condition]:
        """All ways that are not simply well, by name."""
        ways = self._ways.items()
        ill = [key for key, way in ways if way.paused_until > now or _state(way, now) != "closed"]
        return [_condition(key, self._ways[key], now) for key in sorted(ill)]

    def _counted(
        self, key: tuple[str, str], failed: bool, slow: bool, rules: Breaker, now: float, probes: Probes
    ) -> list[Condition]:
        way = self._way(key)
        before = way.state
        _count(way, failed, slow, rules, now, any(way is probe for probe in probes))
        return [] if way.state == before else [_condition(key, way, now)]

    def _pause(self, binding: Binding, seconds: float, kind: FaultKind, now: float) -> None:
        if not seconds:
            return
        way = self._way((binding.endpoint, binding.id))
        until = now + min(seconds, LONGEST_PAUSE_SECONDS)
        if until > way.paused_until:
            way.paused_until, way.paused_for = until, kind

    def _found(self, binding: Binding) -> list[_Way]:
        """The states that stand in a call's way: the model's own, and the endpoint's."""
        keys = ((binding.endpoint, binding.id), (binding.endpoint, ""))
        return [way for key in keys if (way := self._ways.get(key)) is not None]

    def _way(self, key: tuple[str, str]) -> _Way:
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = _Way()
            while len(self._ways) > MOST_WAYS:
                self._ways.popitem(last=False)
        else:
            self._ways.move_to_end(key)
        return way


def _condition(key: tuple[str, str], way: _Way, now: float) -> Condition:
    paused = max(0.0, way.paused_until - now)
    return Condition(*key, _state(way, now), way.failed, len(way.calls), paused)


def _state(way: _Way, now: float) -> State:
    """Who has returned for long enough is closed, though no call has come since to say so."""
    return "closed" if way.state == "returning" and now >= way.until else way.state


def _admits(way: _Way, rules: Breaker, now: float) -> bool:
    if now < way.paused_until:
        return False
    match _state(way, now):
        case "closed":
            return True
        case "open":
            return now >= way.until
        case "half_open":
            return not way.probing
        case "returning":
            share = (now - way.since) / max(rules.window_seconds, 1e-9)
            return _chance(now) < max(RETURNING_SHARE, share)


def _chance(now: float) -> float:
    """In [0, 1), from the last digits of the time, which nobody chooses."""
    return now * 7_919.0 % 1.0


def _waits(way: _Way, now: float) -> float:
    closed = way.until - now if way.state == "open" else 0.0
    return max(0.0, closed, way.paused_until - now)


def _count(way: _Way, failed: bool, slow: bool, rules: Breaker, now: float, probe: bool) -> None:
    """One more call, and what that makes of the breaker."""
    way.state = _state(way, now)
    way.calls.append((now, failed, slow))
    way.failed += failed
    way.slow += slow
    while way.calls[0][0] < now - rules.window_seconds or len(way.calls) > MOST_COUNTED:
        _, was_failed, was_slow = way.calls.popleft()
        way.failed -= was_failed
        way.slow -= was_slow
    if probe:
        _open(way, rules, now) if failed or slow else _return(way, rules, now)
    elif way.state in ("closed", "returning") and _ill(way, rules):
        _open(way, rules, now)


def _ill(way: _Way, rules: Breaker) -> bool:
    too_slow = len(way.calls) >= FEWEST_CALLS and way.slow / len(way.calls) > rules.slow_share
    return way.failed >= rules.failures or too_slow


def _open(way: _Way, rules: Breaker, now: float) -> None:
    again = way.state in ("half_open", "returning")
    way.cooldown = min(way.cooldown * 2, LONGEST_COOLDOWN_SECONDS) if again else rules.cooldown_seconds
    way.state, way.until = "open", now + way.cooldown
    _forget(way)


def _return(way: _Way, rules: Breaker, now: float) -> None:
    way.state, way.since, way.until = "returning", now, now + rules.window_seconds
    _forget(way)


def _forget(way: _Way) -> None:
    way.calls.clear()
    way.failed = way.slow = 0
