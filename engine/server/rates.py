"""Rate limits at the door of a running engine: a request is let in, told what it is expected to take, and let out."""

import math
import time
from collections.abc import Sequence
from typing import Any

from engine.core.errors import Fault, WeaveError
from engine.core.identity import Identity
from engine.core.policy import RateLimit
from engine.routing.rates import NOBODY_HELD, Over, Rates, Use

SPANS = ((86_400, "d"), (3_600, "h"), (60, "m"))


class Admission:
    """One request's. `tokens` is what it took, set before `leave`; one that never got to a provider took none."""

    __slots__ = ("_entry", "_limits", "_rates", "tokens")

    def __init__(self, rates: Rates, limits: Sequence[RateLimit]) -> None:
        self._rates = rates
        self._limits = limits
        self._entry = NOBODY_HELD
        self.tokens = 0

    def enter(self, identity: Identity) -> None:
        """Raises WeaveError of the kind `rate_limit` where a limit is used up."""
        if self._limits:
            found = self._rates.enter(self._limits, identity.values, time.monotonic())
            if isinstance(found, Over):
                raise WeaveError(_fault(found))
            self._entry = found

    def expect(self, tokens: int) -> None:
        """Raises WeaveError where there is no room for so many."""
        if self._entry is not NOBODY_HELD:
            over = self._rates.expect(self._entry, tokens, time.monotonic())
            if over is not None:
                raise WeaveError(_fault(over))

    def leave(self) -> None:
        """Always, and once."""
        if self._entry is not NOBODY_HELD:
            self._rates.leave(self._entry, self.tokens, time.monotonic())


def told(rates: Rates, limits: Sequence[RateLimit]) -> list[dict[str, Any]]:
    """How the limits of the policy that serves are used, for operators: by how many, and how full the fullest is.
    Nobody is named, because whoever has a key may read it."""
    uses = rates.uses(limits, time.monotonic())
    found = []
    for limit in limits:
        mine = [use for use in uses if use.limit is limit]
        fullest = max(map(_fullness, mine), default=0.0)
        found.append(
            {"name": limit.name, "per": limit.per, "asking": len(mine), "fullest": round(fullest, 3)}
        )
    return found


def _fullness(use: Use) -> float:
    limit = use.limit
    pairs = (
        (use.requests, limit.requests),
        (use.tokens, limit.tokens),
        (use.running, limit.concurrent),
    )
    return max(used / most for used, most in pairs if most)


def _fault(over: Over) -> Fault:
    limit = over.limit
    match over.what:
        case "requests":
            what = f"{limit.requests} requests in {_span(limit.window_seconds)} are"
        case "tokens":
            what = f"{limit.tokens} tokens in {_span(limit.window_seconds)} are"
        case "concurrent":
            what = f"{limit.concurrent} requests at a time are"
    seconds = float(math.ceil(over.seconds))
    who = f"{limit.per.rpartition('.')[2]} {over.value!r}".removeprefix("name ")
    message = f"the rate limit {limit.name!r} is used up: {what} what {who} may have; ask again in {seconds:g} seconds"
    return Fault("rate_limit", message, origin="client", retry_after_seconds=seconds)


def _span(seconds: float) -> str:
    for length, unit in SPANS:
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
