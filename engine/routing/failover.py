"""What is tried, in which order, and when to give up: a generator that yields attempts and is sent their ends.

    attempts = failover(targets, catalog, rules, now)
    attempt = next(attempts)
    while attempt:  attempt = attempts.send((how it ended, the time))     # StopIteration.value is the fault to show

It performs nothing, so the same logic serves the server, the tests and a replay. Content decides: an attempt
that failed after the client saw content is final, whatever the rules say.

A way to a model that is ill or paused (`engine/routing/health.py`) is passed over, as if it were not there. Where no
way is left, nothing is called, and the client is told when one may be tried again.

The client is shown the first fault, because it is about the model the decision chose; that the second choice
could not be reached either is the operator's news, not the agent's. A wait the first fault asks for travels along.
An attempt that came to nothing because the provider could not carry the request is no call: it does not count, and
its fault is shown only where no other tells more.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from engine.core.catalog import Binding, Catalog, Model
from engine.core.decision import Attempt, AttemptEnd, Failed
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

Attempts = Generator[Attempt, tuple[AttemptEnd, float], Fault | None]


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


ALL_WELL = AllWell()


@dataclass(frozen=True, slots=True)
class Hold:
    """The endpoints that can read what a request has sealed. They are tried first; `fast` says that nobody else is."""

    endpoints: tuple[str, ...] = ()
    fast: bool = False


FREE = Hold()


def failover(
    targets: Sequence[str],
    catalog: Catalog,
    rules: Failover,
    most: int,
    now: float,
    ways: Ways = ALL_WELL,
    hold: Hold = FREE,
) -> Attempts:
    """Yields at most `most` attempts within the deadline; returns None once one served, else the fault to show."""
    deadline = now + rules.deadline_seconds
    first: Fault | None = None
    unfit: Fault | None = None
    needs_context_above = 0
    number = 0
    closed: list[Attempt] = []
    for attempt in _in_order(targets, catalog, ways, now, hold):
        if attempt.model.context_tokens <= needs_context_above:
            continue
        if not ways.admits(attempt.binding, rules.breaker, now):
            closed.append(attempt)
            continue
        number += 1
        end, now = yield Attempt(number, attempt.model, attempt.binding, attempt.endpoint)
        if not isinstance(end, Failed):
            return None
        if end.fault.code == CANNOT_CARRY:
            unfit = unfit or end.fault
            number -= 1
            continue
        first = first or end.fault
        if end.committed or not worth_another(end.fault, rules) or number >= most or now >= deadline:
            return first
        if end.fault.kind == "context_exceeded":
            needs_context_above = attempt.model.context_tokens
    first = first or unfit
    return first if first is not None or not closed else _all_closed(closed, ways, now)


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
    if fault.kind == "context_exceeded" or (fault.origin == "provider" and fault.kind in ELSEWHERE):
        return True
    return CAUSES.get(fault.kind) in rules.retry_on


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
