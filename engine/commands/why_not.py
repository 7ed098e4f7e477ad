"""Why a model did not serve: what stood in its way, and which rules would have led to it.

Read from the decision itself, so it holds for one made long ago. Where the policies that decided are at hand, the
rules that name the model are asked as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.core.catalog import Model
from engine.core.decision import Candidate, Decision
from engine.core.errors import RequestError, WeaveError
from engine.core.policy import Action, Inputs
from engine.documents import did_you_mean
from engine.policy.evaluate import CompiledPolicy
from engine.routing.eligible import Pool, eligible
from engine.routing.targets import named
from engine.snapshot import Snapshot

Obstacle = Literal[
    "none",  # it did serve
    "eligible",  # it cannot carry the request
    "guard",
    "budget",
    "forced",
    "sealed",
    "escalation",
    "pin",
    "cap",  # dearer than what the client asked for
    "gate",  # a learner was asked, and did not let it through
    "rule",
    "default",
]


@dataclass(frozen=True, slots=True)
class Way:
    """A rule that would have led to the model, and why it did not: `result` is passed, skipped or error."""

    rule: str
    says: str  # the model, tier or list it names
    result: str
    condition: str
    detail: str


@dataclass(frozen=True, slots=True)
class WhyNot:
    model: str
    because: Obstacle
    sentence: str
    ways: tuple[Way, ...] = ()


def why_not(model: str, decision: Decision, inputs: Inputs, snapshot: Snapshot | None) -> WhyNot:
    """`snapshot` is the one that decided, None where it is gone. Raises RequestError for a model it does not have."""
    if snapshot is not None and model not in snapshot.catalog.models:
        hint = did_you_mean(model, snapshot.catalog.models)
        raise RequestError(f"there is no model {model!r} in the catalog; {hint}")
    because, sentence = _obstacle(model, decision)
    if because != "none" and model in decision.targets:
        place = decision.targets.index(model) + 1
        sentence += f"; it is number {place} in line, should {decision.model} fail"
    ways = () if snapshot is None or because == "none" else tuple(_ways(model, decision, inputs, snapshot))
    return WhyNot(model, because, sentence, ways)


def _obstacle(model: str, decision: Decision) -> tuple[Obstacle, str]:
    """What stood in its way, the strongest first."""
    chosen, rule = decision.model, decision.rule
    if model == chosen:
        return "none", f"{model} is what was chosen: {decision.reason}"
    barred = next((s for s in decision.trace if s.kind == "eligible" and s.name == model), None)
    if barred is not None:
        return "eligible", f"{model} {barred.detail}"
    match decision.source:
        case "guard":
            return "guard", f"the guard {rule} allows only {chosen} here, whatever else is wanted"
        case "budget":
            return "budget", f"a budget is used up, so {chosen} serves: {decision.reason}"
        case "forced":
            return "forced", f"the client forced {chosen}"
        case "sealed":
            return "sealed", f"only {chosen} could go on here: {decision.reason}"
        case "escalation":
            return "escalation", f"the rule {rule} escalated the session to {chosen}: {decision.reason}"
        case "pin":
            return "pin", f"the session keeps {chosen}, which the rule {rule} gave it"
        case "rule":
            return (
                "rule",
                f"the rule {rule} matched first, and what it says means {chosen}: {decision.reason}",
            )
        case "learner" | "default":
            return _not_let_through(model, decision)


def _not_let_through(model: str, decision: Decision) -> tuple[Obstacle, str]:
    cap = next((step for step in decision.trace if step.kind == "cap" and step.name == model), None)
    if cap is not None:
        return "cap", f"{cap.detail}, and nobody wrote down that it may cost more"
    asked = next((one for one in decision.candidates if one.model == model), None)
    if asked is not None:
        return "gate", f"the rule {decision.rule} asks the learner {decision.learner}: {_judged(asked)}"
    if decision.learner:
        return "gate", f"the rule {decision.rule} leaves the choice to {decision.learner}, and not of {model}"
    return "default", f"no rule matched, and the default means {decision.model}: {decision.reason}"


def _judged(candidate: Candidate) -> str:
    known = "" if candidate.confidence is None else f" (confidence {candidate.confidence:.3f})"
    return f"{candidate.model}: {candidate.why}{known}"


def _ways(model: str, decision: Decision, inputs: Inputs, snapshot: Snapshot) -> Iterator[Way]:
    policy = snapshot.policies.get(decision.policy)
    if not isinstance(policy, CompiledPolicy):
        return
    pool = eligible(snapshot.catalog.models.values(), inputs["features"])
    requested = snapshot.catalog.resolve(decision.requested_model)
    asked = {step.name: step for step in policy.explain(inputs).trace}
    for rule in policy.rules:
        if model not in _meant(rule.verdict.action, requested, pool, snapshot):
            continue
        step, action = asked[rule.name], rule.verdict.action
        says = action.use or f"one of {', '.join(action.choose)}"
        yield Way(rule.name, says, step.result, rule.when.source, step.detail)


def _meant(action: Action, requested: Model | None, pool: Pool, snapshot: Snapshot) -> Sequence[str]:
    names = [action.use] if action.use else [*action.choose, snapshot.policy.learners[action.by].against]
    try:
        return [named(name, requested, pool, snapshot.catalog).name for name in names]
    except WeaveError:  # nothing can carry the request; that has been said
        return []
