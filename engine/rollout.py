"""Another policy tried beside the one that serves: who gets it, how it does, and when it is switched off.

A **canary** serves a part of the sessions, or of the identities; who is in it is a matter of a hash, so that a
session stays with one policy, and stays in when the part grows. It keeps pins of its own: when it is switched off,
its sessions are free at once. What it cannot serve at all, the serving policy does, and it counts as its error.

A **shadow** decides too, on a share of the sessions, with pins of its own as if it served; what it would have done
is kept in the decision and counted, and nobody is served by it. It does not explore.

A trial counts from the moment it is declared. A reload that leaves the policies concerned as they were leaves it
as it was, switched off or not; an edit of one of them, or of the rollout, begins a new one. A restart begins counting
anew, but what was switched off stays off.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from engine.choice import expected_cost_usd
from engine.core.decision import Decision, Result, Step
from engine.core.errors import UnservableError
from engine.core.policy import Rollout
from engine.snapshot import Snapshot
from engine.turn import Facts, Moment, beside
from engine.turn import decide as decide_alone

Arm = Literal["baseline", "canary"]
MomentOf = Callable[[Facts], Moment]


@dataclass(frozen=True, slots=True)
class Tally:
    """How the requests of one arm went, since the trial began."""

    requests: int = 0
    errors: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0

    def plus(self, failed: bool, cost_usd: float = 0.0, seconds: float = 0.0) -> "Tally":
        return Tally(
            self.requests + 1, self.errors + failed, self.cost_usd + cost_usd, self.seconds + seconds
        )

    @property
    def values(self) -> dict[str, Any]:
        each = max(self.requests, 1)
        return {
            "requests": self.requests,
            "errors": self.errors,
            "error_rate": self.errors / each,
            "mean_cost_usd": self.cost_usd / each,
            "mean_seconds": self.seconds / each,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a shadow would have done, beside what was done. Dollars are expected, not spent."""

    decisions: int = 0
    same_model: int = 0
    unservable: int = 0
    served_usd: float = 0.0
    shadow_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a shadow decided; `decision` is None where it could not serve the request, and `why` says why."""

    policy: str
    facts: Facts
    decision: Decision | None
    expected_usd: float
    served_usd: float  # what the decision that serves is expected to cost
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """A decision taken during a trial. `snapshot` serves by the policy of its arm; `unservable` says that the
    canary could not serve it, so that the serving policy does."""

    facts: Facts
    decision: Decision
    snapshot: Snapshot
    arm: Arm
    unservable: bool = False
    shadowed: Shadowed | None = None


class Trial:
    """A rollout under way: how its arms do, and whether the canary is still on. One event loop owns it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.key = key_of(snapshot)
        self.arms: dict[Arm, Tally] = {"baseline": Tally(), "canary": Tally()}
        self.comparison = Comparison()
        self.stopped = ""  # why the canary was switched off
        self.continue_with(snapshot)

    def continue_with(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.rollout: Rollout = snapshot.policy.rollout
        self.canary = _serving_by(snapshot, self.rollout.canary)
        self.shadow = _serving_by(snapshot, self.rollout.shadow)

    def arm_of(self, facts: Facts, id: str) -> Arm:
        canary = self.rollout.canary
        if canary is None or self.stopped:
            return "baseline"
        who = facts.session if canary.by == "session" else str(facts.inputs["identity"].get("name", ""))
        return "canary" if point("canary", canary.policy, who or id) < canary.percent / 100 else "baseline"

    def shadows(self, facts: Facts, id: str) -> bool:
        shadow = self.rollout.shadow
        return shadow is not None and point("shadow", shadow.policy, facts.session or id) < shadow.sample

    def remember(self, tried: Tried) -> str:
        """Count what a decision taken says of the policies on trial; why the canary is switched off, if it is."""
        if tried.shadowed is not None:
            self.comparison = _compared(self.comparison, tried.shadowed, tried.decision)
        return self._count("canary", self.arms["canary"].plus(True)) if tried.unservable else ""

    def record(self, arm: Arm, result: Result) -> str:
        """Count a request that ended; why the canary is switched off now, if it is."""
        fault = result.fault
        failed = fault is not None and fault.origin != "client" and not result.client_gone
        return self._count(arm, self.arms[arm].plus(failed, result.cost_usd, result.seconds))

    def _count(self, arm: Arm, tally: Tally) -> str:
        self.arms[arm] = tally
        canary = self.rollout.canary
        if arm == "baseline" or canary is None or self.stopped or tally.requests < canary.min_requests:
            return ""
        self.stopped = self.snapshot.policy.abort_reason(self.stats)
        return self.stopped

    @property
    def stats(self) -> dict[str, Any]:
        """What `abort_when` reads; `schemas/stats.v1.schema.json` types it."""
        baseline = {f"baseline_{name}": value for name, value in self.arms["baseline"].values.items()}
        return {**self.arms["canary"].values, **baseline}

    def told(self) -> dict[str, Any]:
        """How it stands, for people and programs."""
        told: dict[str, Any] = {}
        canary, shadow = self.rollout.canary, self.rollout.shadow
        if canary is not None:
            told["canary"] = {
                "policy": canary.policy,
                "percent": canary.percent,
                "on": not self.stopped,
                "stopped": self.stopped or None,
                "stats": self.stats,
            }
        if shadow is not None:
            told["shadow"] = {
                "policy": shadow.policy,
                "sample": shadow.sample,
                **asdict(self.comparison),
            }
        return told


def trial_of(before: Trial | None, snapshot: Snapshot) -> Trial | None:
    """The trial that a snapshot asks for: the one before, where it is about the same. None where it asks for none."""
    rollout = snapshot.policy.rollout
    if rollout.canary is None and rollout.shadow is None:
        return None
    if before is None:
        return Trial(snapshot)
    if before.snapshot is snapshot:
        return before
    if before.key != key_of(snapshot):
        return Trial(snapshot)
    before.continue_with(snapshot)
    return before


def key_of(snapshot: Snapshot) -> tuple[Any, ...]:
    """What a trial is about."""
    rollout = snapshot.policy.rollout
    named = [part.policy for part in (rollout.canary, rollout.shadow) if part is not None]
    prints = tuple(snapshot.policies[name].fingerprint for name in named)
    return snapshot.policy.name, rollout, prints


def decide(trial: Trial, facts: Facts, moment: MomentOf) -> Tried:
    """`moment` gives what the world contributes for a session's pins: a policy on trial has its own.

    Raises like `turn.decide` does for the serving policy."""
    tried = _by_its_arm(trial, facts, moment)
    if trial.shadow is None or not trial.shadows(facts, tried.decision.id):
        return tried
    shadowed = _shadowed(trial.shadow, facts, tried.decision, moment)
    model = shadowed.decision.model if shadowed.decision else ""
    trace = (*tried.decision.trace, _shadow_step(shadowed, tried.decision))
    return replace(tried, decision=replace(tried.decision, shadow=model, trace=trace), shadowed=shadowed)


def _by_its_arm(trial: Trial, facts: Facts, moment: MomentOf) -> Tried:
    alone = moment(facts)
    if trial.canary is None or trial.arm_of(facts, alone.id) == "baseline":
        return Tried(facts, decide_alone(facts, trial.snapshot, alone), trial.snapshot, "baseline")
    apart = beside(facts, trial.canary)
    canary = trial.canary.policy.name
    try:
        decision = decide_alone(apart, trial.canary, moment(apart))
    except UnservableError as error:
        decision = decide_alone(facts, trial.snapshot, alone)
        step = Step("canary", canary, "error", error.fault.message)
        return Tried(facts, _with_step(decision, step), trial.snapshot, "baseline", unservable=True)
    asked = trial.rollout.canary
    part = f"serves {asked.percent:g} % by {asked.by}" if asked else ""
    return Tried(apart, _with_step(decision, Step("canary", canary, "matched", part)), trial.canary, "canary")


def _shadowed(shadow: Snapshot, facts: Facts, served: Decision, moment: MomentOf) -> Shadowed:
    apart = beside(facts, shadow)
    policy, served_usd = shadow.policy.name, _expected_usd(served, facts, shadow)
    try:
        decision = decide_alone(apart, shadow, replace(moment(apart), draw=1.0))
    except UnservableError as error:
        return Shadowed(policy, apart, None, 0.0, served_usd, error.fault.message)
    return Shadowed(policy, apart, decision, _expected_usd(decision, facts, shadow), served_usd)


def _shadow_step(shadowed: Shadowed, served: Decision) -> Step:
    other = shadowed.decision
    if other is None:
        return Step("shadow", shadowed.policy, "error", shadowed.why)
    values = {
        "model": other.model,
        "rule": other.rule,
        "source": other.source,
        "reason": other.reason,
        "expected_usd": shadowed.expected_usd,
        "served_usd": shadowed.served_usd,
    }
    if other.model == served.model:
        return Step("shadow", shadowed.policy, "matched", f"{other.rule} chooses {other.model} too", values)
    detail = f"{other.rule} would have chosen {other.model}"
    return Step("shadow", shadowed.policy, "passed", detail, values)


def _compared(so_far: Comparison, shadowed: Shadowed, served: Decision) -> Comparison:
    """Dollars are compared only where there are both."""
    other = shadowed.decision
    if other is None:
        return replace(so_far, decisions=so_far.decisions + 1, unservable=so_far.unservable + 1)
    return Comparison(
        so_far.decisions + 1,
        so_far.same_model + (other.model == served.model),
        so_far.unservable,
        so_far.served_usd + shadowed.served_usd,
        so_far.shadow_usd + shadowed.expected_usd,
    )


def _with_step(decision: Decision, step: Step) -> Decision:
    return replace(decision, trace=(*decision.trace, step))


def _expected_usd(decision: Decision, facts: Facts, snapshot: Snapshot) -> float:
    return expected_cost_usd(snapshot.catalog.models[decision.model], facts.inputs)


def _serving_by(snapshot: Snapshot, part: Any) -> Snapshot | None:
    """The same snapshot, served by the policy on trial."""
    return None if part is None else replace(snapshot, policy=snapshot.policies[part.policy])


def point(kind: str, policy: str, who: str) -> float:
    """Where somebody stands in [0, 1), the same each time, and another place for each policy."""
    digest = hashlib.blake2b(f"{kind}\0{policy}\0{who}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
