"""What a verdict comes to: a model, and who chose it why, where nothing outranks the policy.

A policy's own tests and the running engine choose by this same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.core.catalog import Catalog, Model
from engine.core.cost import cost_usd
from engine.core.decision import Source
from engine.core.policy import Action, Inputs, Policy, Verdict
from engine.core.ports import Trust
from engine.core.reply import Usage
from engine.policy.gate import GateCandidate, GateResult, pass_gate
from engine.routing.eligible import Pool
from engine.routing.targets import guarded, named

# What a turn is expected to write, for comparing models by cost; a median of recorded agent turns.
EXPECTED_OUTPUT_TOKENS = 400


@dataclass(frozen=True, slots=True)
class Bench:
    """What choices are made with."""

    catalog: Catalog
    policy: Policy
    trust: Trust


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, and who chose it why. `gate` is what a learner said, where one was asked."""

    model: Model
    source: Source
    reason: str
    gate: GateResult | None = None


def choose(
    verdict: Verdict, inputs: Inputs, requested: Model | None, pool: Pool, bench: Bench, draw: float = 1.0
) -> Choice:
    """What a verdict comes to where nothing outranks it. `draw` in [0, 1) lets a learner explore; 1 forbids it.

    Raises UnservableError where no model can carry the request."""
    action, catalog = verdict.action, bench.catalog
    if verdict.source == "guard":
        return Choice(guarded(action.use, requested, pool, catalog), "guard", verdict.reason)
    if action.choose:
        return _capped(_learned(action, inputs, requested, pool, bench, draw), inputs, requested, pool)
    model = named(action.use, requested, pool, catalog)
    if verdict.source == "rule":
        return Choice(model, "rule", verdict.reason)
    return _capped(Choice(model, "default", verdict.reason), inputs, requested, pool)


def _learned(
    action: Action, inputs: Inputs, requested: Model | None, pool: Pool, bench: Bench, draw: float
) -> Choice:
    """What the gate lets through: a cheaper model the learner is sure of, else the one it is compared with."""
    learner = bench.policy.learners[action.by]
    against = named(learner.against, requested, pool, bench.catalog)
    among = [named(name, requested, pool, bench.catalog) for name in action.choose]
    models = {model.name: model for model in (*among, against)}
    gate = pass_gate(
        learner,
        [GateCandidate(name, expected_cost_usd(model, inputs)) for name, model in models.items()],
        against.name,
        bench.trust,
        signature_of(learner.signature, inputs),
        draw if draw < 1.0 and bench.policy.may_explore(learner.name, inputs) else 1.0,
    )
    return Choice(models[gate.model], gate.source, gate.reason, gate)


def _capped(choice: Choice, inputs: Inputs, requested: Model | None, pool: Pool) -> Choice:
    """What nobody asked for never costs more than what the client asked for."""
    if requested is None or requested not in pool or requested is choice.model:
        return choice
    if expected_cost_usd(choice.model, inputs) <= expected_cost_usd(requested, inputs):
        return choice
    reason = f"{choice.model.name} costs more than {requested.name}, which the client asked for"
    return replace(choice, model=requested, reason=reason)


def signature_of(names: Sequence[str], inputs: Inputs) -> str:
    """The task signature: the values that make two tasks alike to a learner, joined."""
    parts = (name.partition(".") for name in names)
    return "/".join(str(inputs[root].get(name, "")) for root, _, name in parts)


def expected_cost_usd(model: Model, inputs: Inputs) -> float:
    return cost_usd(Usage(inputs["features"]["context_tokens"], EXPECTED_OUTPUT_TOKENS), model.price)
