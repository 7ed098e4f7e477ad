"""Sessions keep their model: what names a session, and where its pin is held.

A pin key never contains text that changes from turn to turn, and is hashed together with the caller's identity,
so that two callers who send the same session id do not share a pin. Background calls (titles, probes, safety
classifiers, summaries) belong to a session but are not its work: they neither set its pin nor follow it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.decision import Decision
from engine.core.policy import Inputs, Pinning
from engine.core.ports import Pin
from engine.routing.steps import session_figures

BACKGROUND_PHASES = frozenset({"title", "probe", "classifier", "summary"})
UNPINNED = frozenset({"guard", "budget", "forced", "sealed"})


def session_of(keys: Sequence[str], inputs: Inputs) -> str:
    """The session a request belongs to, as a hash; empty where none of the keys has a value."""
    for key in keys:
        root, _, name = key.partition(".")
        value = inputs[root].get(name)
        if value:
            identity = inputs["identity"].get("name", "")
            return hashlib.blake2b(f"{identity}\0{key}\0{value}".encode(), digest_size=12).hexdigest()
    return ""


def follows_pin(features: Mapping[str, Any]) -> bool:
    return features["phase"] not in BACKGROUND_PHASES


def pin_after(
    decision: Decision, features: Mapping[str, Any], pinning: Pinning, now: float, held: Pin | None = None
) -> Pin | None:
    """The pin a decision leaves behind, or None where it leaves the session as it was. `held` is the one it had.

    Guards, budgets and forced models speak for one request and pin nothing.
    """
    if not decision.session or not follows_pin(features) or decision.source in UNPINNED:
        return None
    expires = now + pinning.ttl_seconds
    if not decision.plan:
        return Pin(decision.model, decision.rule, now, expires)
    goes_on = held is not None and (held.plan, held.step) == (decision.plan, decision.step)
    before = held.before if goes_on and held is not None else session_figures(features)
    return Pin(decision.model, decision.rule, now, expires, decision.plan, decision.step, before)


class MemoryPins:
    """Pins in memory, the least recently used dropped first. A PinStore."""

    def __init__(self, most: int = 100_000) -> None:
        self._pins: OrderedDict[str, Pin] = OrderedDict()
        self._most = most

    def get(self, key: str, now: float) -> Pin | None:
        pin = self._pins.get(key)
        if pin is None:
            return None
        if pin.expires <= now:
            del self._pins[key]
            return None
        self._pins.move_to_end(key)
        return pin

    def put(self, key: str, pin: Pin) -> None:
        self._pins[key] = pin
        self._pins.move_to_end(key)
        while len(self._pins) > self._most:
            self._pins.popitem(last=False)
