"""Sessions keep their model: what names a session, and where its pin is held.

A pin key never contains text that changes from turn to turn, and is hashed together with the caller's identity,
so that two callers who send the same session id do not share a pin. Background calls (titles, probes, safety
classifiers, summaries) belong to a session but are not its work: they neither set its pin nor follow it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.core.catalog import Model
from engine.core.decision import Decision, Source
from engine.core.policy import Inputs, Pinning
from engine.core.ports import Pin
from engine.routing.steps import session_figures

BACKGROUND_PHASES = frozenset({"title", "probe", "classifier", "summary"})

FOR_ONE_REQUEST: frozenset[Source] = frozenset({"forced", "sealed", "budget"})

NO_MODELS: Mapping[str, Model] = {}


def session_of(keys: Sequence[str], inputs: Inputs) -> str:
    """The session a request belongs to, as a hash; empty where none of the keys has a value."""
    for key in keys:
        root, _, name = key.partition(".")
        value = inputs[root].get(name)
        if value:
            if key == "hints.session" and inputs["features"].get("subagent"):
                value = f"{value}/{_agent(inputs['features'])}"
            identity = inputs["identity"].get("name", "")
            return hashlib.blake2b(f"{identity}\0{key}\0{value}".encode(), digest_size=12).hexdigest()
    return ""


def _agent(features: Mapping[str, Any]) -> str:
    """What tells a sub-agent apart from who started it: a hint stands in the client's configuration, so all its agents
    send the same one."""
    return str(features.get("client_session") or features.get("first_user_hash", ""))


def follows_pin(features: Mapping[str, Any]) -> bool:
    return features["phase"] not in BACKGROUND_PHASES


def pin_after(
    decision: Decision,
    features: Mapping[str, Any],
    pinning: Pinning,
    now: float,
    held: Pin | None = None,
    models: Mapping[str, Model] = NO_MODELS,
) -> Pin | None:
    """The pin a decision leaves behind, or None where it leaves the session as it was. `held` is the one it had,
    `models` those of the catalog.

    Forced models, budgets and sealed data speak for one request and pin nothing; so do guards, unless the policy lets
    them move sessions for good.
    """
    if not decision.session or not follows_pin(features) or decision.source in FOR_ONE_REQUEST:
        return None
    if decision.source == "guard" and "guard" not in pinning.move_when:
        return None
    expires = now + pinning.ttl_seconds
    if held is not None and "over_context" not in pinning.move_when and _outgrown(held, features, models):
        return replace(held, expires=expires)
    pin = Pin(decision.model, decision.rule, now, expires, raised=decision.source == "escalation")
    if held is not None and held.model == decision.model:
        pin = replace(pin, raised=pin.raised or held.raised, moved=held.moved)
    elif held is not None:
        pin = replace(pin, moved=now)
    if not decision.plan:
        return pin
    goes_on = held is not None and (held.plan, held.step) == (decision.plan, decision.step)
    before = held.before if goes_on and held is not None else session_figures(features)
    return replace(pin, plan=decision.plan, step=decision.step, before=before)


def _outgrown(held: Pin, features: Mapping[str, Any], models: Mapping[str, Model]) -> bool:
    """Whether a session's request no longer fits into its model."""
    model = models.get(held.model)
    return model is not None and features["context_tokens"] > model.context_tokens


def pin_elsewhere(held: Pin, served: str, pinning: Pinning, now: float) -> Pin:
    """The pin of a session that another model has served because no way to its own was open. What its plan is about
    goes on there."""
    return replace(held, model=served, expires=now + pinning.ttl_seconds, moved=now)


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
