"""What a verdict comes to: a model, and who chose it why, where nothing outranks the policy.

A policy's own tests and the running engine choose by this same code.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from engine.core.catalog import Catalog, Model
from engine.core.cost import cost_usd
from engine.core.decision import Candidate, Decision, Source, Step
from engine.core.policy import Action, Inputs, Learner, Policy, Verdict
from engine.core.ports import Option, Task, Trust
from engine.core.reply import Usage
from engine.core.values import quick
from engine.learning.grams import grams_of
from engine.policy.gate import GateCandidate, GateResult, pass_gate
from engine.routing.eligible import Pool
from engine.routing.switching import WRITTEN_TOKENS, Rest, turn_usd
from engine.routing.targets import guarded, named


@dataclass(frozen=True, slots=True)
class Bench:
    """What choices are made with."""

    catalog: Catalog
    policy: Policy
    trust: Trust
    rest: Rest | None = None  # what is left of the session, where one is under way


@quick
@dataclass(frozen=True, slots=True)
class Choice:
    """A model, and who chose it why. `gate` is what a learner said, where one was asked; `plan` is what the model is
    a step of, counted from 0."""

    model: Model
    source: Source
    reason: str
    gate: GateResult | None = None
    plan: str = ""
    step: int = 0
    task: Task | None = None  # what the learner was told, where one was asked
    capped: str = ""  # the model that would serve, were it not dearer than what the client asked for
    candidates: tuple[
        Candidate, ...
    ] = ()  # who was considered, where that is more than the gate's or the model
    steps: tuple[Step, ...] = ()  # what the trace tells besides
    repeats: Decision | None = None  # the one of which it is the choice again

    @property
    def confidence(self) -> float | None:
        told = self.gate or self.repeats
        return told.confidence if told is not None else None

    @property
    def propensity(self) -> float:
        """The chance it had. A choice that is made again had its chance when it was made."""
        told = self.gate or self.repeats
        return told.propensity if told is not None else 1.0


def choose(
    verdict: Verdict,
    inputs: Inputs,
    requested: Model | None,
    pool: Pool,
    bench: Bench,
    draw: float = 1.0,
    words: str = "",
) -> Choice:
    """What a verdict comes to where nothing outranks it. `draw` in [0, 1) lets a learner explore; 1 forbids it.
    `words` are what the user asked for, which learners may read.

    Raises UnservableError where no model can carry the request."""
    action, catalog = verdict.action, bench.catalog
    if verdict.source == "guard":
        return Choice(guarded(action.use, requested, pool, catalog), "guard", verdict.reason)
    if action.choose:
        learned = _learned(action, inputs, requested, pool, bench, draw, words)
        return _capped(learned, inputs, requested, pool)
    plan = bench.policy.plans.get(action.use)
    name, planned = (plan.steps[0], plan.name) if plan is not None else (action.use, "")
    model = named(name, requested, pool, catalog)
    if verdict.source == "rule":
        return Choice(model, "rule", verdict.reason, plan=planned)
    return _capped(Choice(model, "default", verdict.reason, plan=planned), inputs, requested, pool)


def again(earlier: Decision, catalog: Catalog, now: float) -> Choice:
    """What an earlier decision chose, who chose it, and all that a learner was told and said."""
    task = (
        Task(tuple(earlier.signature.split("/")), earlier.inputs, earlier.grams) if earlier.learner else None
    )
    return Choice(
        catalog.models[earlier.model],
        earlier.source,
        f"{earlier.reason}, as {now - earlier.at:.0f} s ago",
        plan=earlier.plan,
        step=earlier.step,
        task=task,
        candidates=tuple(one for one in earlier.candidates if one.expected_cost_usd is not None),
        repeats=earlier,
    )


def _learned(
    action: Action, inputs: Inputs, requested: Model | None, pool: Pool, bench: Bench, draw: float, words: str
) -> Choice:
    """What the gate lets through: a cheaper model or plan the learner is sure of, else the one it is compared
    with."""
    learner = bench.policy.learners[action.by]
    steps: dict[tuple[str, ...], Option] = {}
    meant: dict[str, str] = {}
    for name in (*action.choose, learner.against):
        option = _option(name, meant, requested, pool, bench)
        steps.setdefault(option.steps, option)
    against = steps[option.steps]
    task = task_of(learner, inputs, words)
    models = bench.catalog.models
    usd = _each_usd({name for names in steps for name in names}, inputs, bench)
    gate = pass_gate(
        learner,
        [GateCandidate(option, tuple([usd[name] for name in names])) for names, option in steps.items()],
        against,
        bench.trust,
        task,
        draw if draw < 1.0 and bench.policy.may_explore(learner.name, inputs) else 1.0,
    )
    plan = gate.option.name if gate.option.name in bench.policy.plans else ""
    return Choice(models[gate.model], gate.source, gate.reason, gate, plan, task=task)


def _each_usd(names: Iterable[str], inputs: Inputs, bench: Bench) -> dict[str, float]:
    """What one call of each of these models is expected to cost."""
    models, rest = bench.catalog.models, bench.rest
    if rest is not None and rest.warm:
        return {name: turn_usd(models[name], rest) for name in names}
    usage = Usage(inputs["features"]["context_tokens"], WRITTEN_TOKENS)
    return {name: cost_usd(usage, models[name].price) for name in names}


def _option(name: str, meant: dict[str, str], requested: Model | None, pool: Pool, bench: Bench) -> Option:
    """A name of a rule's `choose` as the models it comes to for this request, each once. A step that nobody of its
    tier can do is done by the nearest that can, so a plan may come to a single model. `meant` remembers what names
    come to."""
    plan = bench.policy.plans.get(name)
    steps = plan.steps if plan else (name,)
    for step in steps:
        if step not in meant:
            meant[step] = named(step, requested, pool, bench.catalog).name
    if plan is None:
        return Option(meant[name], (meant[name],))
    return Option(plan.name, tuple(dict.fromkeys([meant[step] for step in steps])))


def _capped(choice: Choice, inputs: Inputs, requested: Model | None, pool: Pool) -> Choice:
    """What nobody asked for never costs more than what the client asked for."""
    if requested is None or requested not in pool or requested is choice.model:
        return choice
    if expected_cost_usd(choice.model, inputs) <= expected_cost_usd(requested, inputs):
        return choice
    reason = f"{choice.model.name} costs more than {requested.name}, which the client asked for"
    return replace(choice, model=requested, reason=reason, plan="", capped=choice.model.name)


def task_of(learner: Learner, inputs: Inputs, words: str = "") -> Task:
    """What a learner is told of a request. Of the words only hashed buckets are kept, and only where it asks."""
    return Task(
        tuple(str(_value(name, inputs)).replace("/", "|") for name in learner.signature),
        {name: _value(name, inputs) for name in learner.inputs},
        grams_of(words) if learner.text else (),
    )


def _value(name: str, inputs: Inputs) -> Any:
    root, _, field = name.partition(".")
    return inputs[root].get(field, "")


def signature_of(task: Task) -> str:
    """The task signature as the journal keeps it: the values that make two tasks alike to a learner, joined."""
    return "/".join(task.signature)


def expected_cost_usd(model: Model, inputs: Inputs, rest: Rest | None = None) -> float:
    """Of one call. Where a vendor's cache holds some of the session, it is a call on the average of all that are left,
    so that leaving that cache is counted, and not as if each of them had to pay for it."""
    if rest is not None and rest.warm:
        return turn_usd(model, rest)
    return cost_usd(Usage(inputs["features"]["context_tokens"], WRITTEN_TOKENS), model.price)
