"""Decisions used again: edits of one file, one after another, keep their decision for a while.

Two requests are alike where whoever asks is the same, and the model asked for, the hints, and the values that the
policy's `reuse.key` names; a request that lacks one of these values is like no other. What is used again is what the
policy chose, and who it was chosen by: the rule, the learner, the chance the choice had. Everything that outranks the
policy is asked each time: guards and rules that escalate, pins and their locks, sealed data, budgets, and whether the
model can carry the request.

A decision is used again for as long as `reuse.for` says from when it was made; using it does not make that longer.
What was chosen while a learner might have tried something is used again only where it might do so still. Nothing
outlives a reload.
"""

from collections import OrderedDict
from typing import Any

from engine.core.catalog import Catalog
from engine.core.decision import Decision, Source, Step
from engine.core.policy import Inputs, Policy, Verdict
from engine.routing.eligible import Pool
from engine.routing.pins import follows_pin

MOST_KEPT = 20_000

# Choices that were the policy's own.
REPEATED: frozenset[Source] = frozenset({"rule", "learner", "default"})

Key = tuple[Any, ...]


def reuse_key(policy: Policy, inputs: Inputs, requested: str) -> Key | None:
    """What requests must have in common; None where this one is like no other. Chores are none of the work."""
    reuse = policy.reuse
    if reuse is None or not follows_pin(inputs["features"]):
        return None
    values = []
    for name in reuse.key:
        root, _, field = name.partition(".")
        value = inputs[root].get(field)
        if value is None or value == "":
            return None
        values.append(value)
    identity, hints = inputs["identity"], inputs["hints"]
    said = tuple(sorted((name, value) for name, value in hints.items() if name != "session"))
    who = tuple(identity.get(name, "") for name in ("name", "team", "data_class"))
    return (policy.name, requested, *who, *said, *values)


def is_repeatable(decision: Decision) -> bool:
    """A session's move is its own: what it saved says nothing of others."""
    moved = any(step.kind == "switching" for step in decision.trace)
    return decision.source in REPEATED and not decision.reused_from and not moved


def standing(
    earlier: Decision | None, inputs: Inputs, pool: Pool, policy: Policy, catalog: Catalog, now: float
) -> Verdict | None:
    """What an earlier decision's rule said, if that still stands for this request."""
    if earlier is None:
        return None
    said, model = policy.said(earlier.rule), catalog.models.get(earlier.model)
    if said is None or model is None or model not in pool or policy.insists(inputs):
        return None
    if earlier.propensity < 1.0 and not policy.may_explore(earlier.learner, inputs):
        return None
    told = f"as {earlier.id} decided {now - earlier.at:.0f} s ago"
    step = Step("reuse", earlier.rule, "matched", told)
    return Verdict(said.rule, said.source, said.action, earlier.reason, (step,))


class MemoryReuse:
    """Decisions in memory, the least recently used dropped first, and all of them once the policies change."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._kept: OrderedDict[Key, Decision] = OrderedDict()
        self._most = most
        self._snapshot = ""

    def get(self, key: Key, seconds: float, snapshot: str, now: float) -> Decision | None:
        found = self._kept.get(key)
        if found is None or found.snapshot != snapshot:
            return None
        if not 0.0 <= now - found.at < seconds:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return found

    def put(self, key: Key, decision: Decision) -> None:
        if decision.snapshot != self._snapshot:
            self._kept.clear()
            self._snapshot = decision.snapshot
        self._kept[key] = decision
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
