"""What is tried, in which order, and when to give up: a generator that yields attempts and is sent their ends.

    attempts = failover(targets, catalog, rules, now)
    step = next(attempts)
    while step:  step = attempts.send((how the attempt ended, the time))     # StopIteration.value is the fault to show

It performs nothing, so the same logic serves the server, the tests and a replay. Content decides: an attempt
that failed after the client saw content is final, whatever the rules say.

First every way is tried once, in order. A way to a model that is ill or paused (`engine/routing/health.py`) is passed
over, as if it were not there. Where none is left, those are called that only come back little by little; where there
are none of them either, nothing is called, and the client is told when one may be tried again. What a fault says of the
ways that are left:

    connection, timeout, 5xx, 529   they may do better, where `retry_on` names it; so may this one, a moment later
    429                             the same; this one once its limit is there again
    a silent provider               they may; this one has cost the most already, and is not asked again
    authentication                  the endpoint's key is no good: no other model is asked for there
    billing, permission, 404        another endpoint or model may do; this one will not
    a full context                  only a larger one will do
    a capability that is missing    another model may have it
    anything else of the client's   is told to it at once, as it is

Where attempts are left when all ways have failed, those that may do better a moment later are tried again: after a
pause that doubles each time, with some chance in it so that many clients do not come back together, and not before the
provider said. A pause of more than LONGEST_PAUSE_SECONDS, or beyond the deadline, is the client's to make: it is told
how long. That is how a quota of hours differs from a limit of seconds.

The client is shown the fault of the model the decision chose; that the second choice could not be reached either is
the operator's news, not the agent's. A wait this fault asks for travels along. An attempt that came to nothing because
the provider could not carry the request is no call: it does not count, and its fault is shown only where no other
tells more.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from engine.core.catalog import Binding, Catalog, Model
from engine.core.decision import Attempt, AttemptEnd, Failed, Pause
from engine.core.errors import CANNOT_CARRY, Fault, FaultKind
from engine.core.policy import Breaker, Failover
from engine.core.ports import Ways

# What an operator may name in `retry_on`, by what happened.
CAUSES: dict[FaultKind, str] = {
    "connection": "connect_error",
    "timeout": "timeout",
    "rate_limit": "429",
    "server_error": "5xx",
    "overloaded": "529",
}

# Faults of one provider's account or address. The client cannot mend them, so another provider is always tried.
ELSEWHERE: frozenset[FaultKind] = frozenset({"authentication", "billing", "permission", "not_found"})

# Faults that another model may not have, whoever's they are.
ANOTHER_MODEL: frozenset[FaultKind] = frozenset({"context_exceeded", "incapable"})

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.25  # at a way that is closed for as long as somebody else tries it
LEAST_SECONDS = 0.25  # of the deadline that an attempt needs, to connect at least
GOLDEN = 0.618033988749895  # its multiples, taken modulo one, are spread evenly from any beginning

# A step, and what it is sent: how the attempt ended, or None behind a pause, and the time.
Attempts = Generator[Attempt | Pause, tuple[AttemptEnd | None, float], Fault | None]


class AllWell:
    """Ways that are never closed, the heaviest first."""

    def order(self, model: Model, now: float) -> Sequence[Binding]:  # noqa: ARG002
        return sorted(model.served_by, key=lambda binding: -binding.weight)

    def admits(self, binding: Binding, rules: Breaker, now: float) -> bool:  # noqa: ARG002
        return True

    def waits(self, binding: Binding, now: float) -> float:  # noqa: ARG002
        return 0.0

    def limited(self, binding: Binding, now: float) -> bool:  # noqa: ARG002
        return False

    def returns(self, binding: Binding, now: float) -> bool:  # noqa: ARG002
        return False


ALL_WELL = AllWell()


@dataclass(frozen=True, slots=True)
class Hold:
    """The endpoints that can read what a request has sealed. They are tried first; `fast` says that nobody else is."""

    endpoints: tuple[str, ...] = ()
    fast: bool = False


FREE = Hold()


@dataclass(slots=True)
class _Course:
    """One request's failover so far. `again` holds the ways that may do better a moment later, and from when."""

    catalog: Catalog
    rules: Failover
    most: int
    ways: Ways
    deadline: float
    chance: float
    number: int = 0
    chosen: Binding | None = None  # the way that was tried first
    shown: Fault | None = None
    unfit: Fault | None = None
    needs_context_above: int = 0
    refused: set[str] = field(default_factory=set)  # endpoints whose key is no good
    closed: list[Attempt] = field(default_factory=list)
    again: dict[tuple[str, Binding], tuple[Attempt, float]] = field(default_factory=dict)

    def fits(self, attempt: Attempt) -> bool:
        return (
            attempt.model.context_tokens > self.needs_context_above
            and attempt.endpoint.name not in self.refused
        )

    def admits(self, attempt: Attempt, now: float) -> bool:
        return self.ways.admits(attempt.binding, self.rules.breaker, now)

    def begin(self, attempt: Attempt, now: float) -> Attempt:
        self.number += 1
        return replace(attempt, number=self.number, left_seconds=self.deadline - now)

    def is_over(self, attempt: Attempt, end: AttemptEnd | None, now: float) -> bool:
        """What the end of an attempt means for the rest; whether there is none."""
        if not isinstance(end, Failed):
            self.shown = None
            return True
        fault = end.fault
        if fault.code == CANNOT_CARRY:
            self.unfit = self.unfit or fault
            self.number -= 1
            return False
        if self.chosen is None or attempt.binding == self.chosen:
            self.chosen, self.shown = attempt.binding, fault
        if fault.kind == "context_exceeded":
            self.needs_context_above = max(self.needs_context_above, attempt.model.context_tokens)
        if fault.kind == "authentication":
            self.refused.add(attempt.endpoint.name)
        if may_recover(fault, self.rules):
            self.wait_for(attempt, now + (fault.retry_after_seconds or 0.0) + self._pause())
        else:
            self.again.pop((attempt.model.name, attempt.binding), None)
        return (
            end.committed
            or not worth_another(fault, self.rules)
            or self.number >= self.most
            or now + LEAST_SECONDS > self.deadline
        )

    def wait_for(self, attempt: Attempt, ready: float) -> None:
        self.again[attempt.model.name, attempt.binding] = attempt, ready

    def next_again(self, now: float) -> Attempt | Pause | None:
        """The first way that may be tried again now, or how long to wait for one; None where that is too long."""
        shortest = math.inf
        for attempt, ready in self.again.values():
            if not self.fits(attempt):
                continue
            wait = max(ready - now, self.ways.waits(attempt.binding, now))
            if wait <= 0.0:
                if self.admits(attempt, now):
                    return attempt
                wait = LOOK_AGAIN_SECONDS
            shortest = min(shortest, wait)
        if shortest > LONGEST_PAUSE_SECONDS or now + shortest + LEAST_SECONDS > self.deadline:
            return None
        return Pause(shortest)

    def _pause(self) -> float:
        longest = min(FIRST_PAUSE_SECONDS * 2.0 ** (self.number - 1), LONGEST_PAUSE_SECONDS)
        return longest * (1.0 - 0.5 * ((self.chance + GOLDEN * self.number) % 1.0))


def failover(
    targets: Sequence[str],
    catalog: Catalog,
    rules: Failover,
    most: int,
    now: float,
    ways: Ways = ALL_WELL,
    hold: Hold = FREE,
    chance: float = 0.5,
) -> Attempts:
    """Yields at most `most` attempts within the deadline, and the pauses between them; returns None once one served,
    else the fault to show. `chance` is in [0, 1)."""
    course = _Course(catalog, rules, most, ways, now + rules.deadline_seconds, chance)
    for attempt in _in_order(targets, catalog, ways, now, hold):
        if not course.fits(attempt):
            continue
        if not course.admits(attempt, now):
            course.closed.append(attempt)
            continue
        end, now = yield course.begin(attempt, now)
        if course.is_over(attempt, end, now):
            return course.shown
    for attempt in course.closed if not course.number else ():
        if not ways.returns(attempt.binding, now):
            continue
        end, now = yield course.begin(attempt, now)
        if course.is_over(attempt, end, now):
            return course.shown
    for attempt in course.closed if course.again else ():
        course.wait_for(attempt, now)
    while (step := course.next_again(now)) is not None:
        if isinstance(step, Pause):
            _, now = yield step
            continue
        end, now = yield course.begin(step, now)
        if course.is_over(step, end, now):
            return course.shown
    shown = course.shown or course.unfit
    return shown if shown is not None or not course.closed else _all_closed(course.closed, ways, now)


def _all_closed(closed: Sequence[Attempt], ways: Ways, now: float) -> Fault:
    names = ", ".join(dict.fromkeys(f"{attempt.model.name} at {attempt.endpoint.name}" for attempt in closed))
    seconds = min(ways.waits(attempt.binding, now) for attempt in closed)
    if all(ways.limited(attempt.binding, now) for attempt in closed):
        message = f"the rate limits of all that may serve this are used up: {names}"
        return Fault("rate_limit", message, retry_after_seconds=max(seconds, 1.0))
    message = f"nothing that may serve this is well enough to be called: {names}; try again in a moment"
    return Fault("overloaded", message, 503, retry_after_seconds=max(seconds, 1.0))


def worth_another(fault: Fault, rules: Failover) -> bool:
    """Whether a different provider or model might do better."""
    if fault.kind in ANOTHER_MODEL or (fault.origin == "provider" and fault.kind in ELSEWHERE):
        return True
    return CAUSES.get(fault.kind) in rules.retry_on


def may_recover(fault: Fault, rules: Failover) -> bool:
    """Whether the same provider might do better a moment later. A status says that it is there; silence does not."""
    return CAUSES.get(fault.kind) in rules.retry_on and (fault.kind != "timeout" or fault.status != 0)


def _in_order(
    targets: Sequence[str], catalog: Catalog, ways: Ways, now: float, hold: Hold
) -> Iterator[Attempt]:
    """Every way to reach every target: all of a model's, then the next model's. Those at endpoints that hold the
    request come before all others."""
    others: list[Attempt] = []
    for name in targets:
        model = catalog.models[name]
        for binding in ways.order(model, now):
            attempt = Attempt(0, model, binding, catalog.endpoints[binding.endpoint])
            if not hold.endpoints or binding.endpoint in hold.endpoints:
                yield attempt
            else:
                others.append(attempt)
    if not hold.fast:
        yield from others
