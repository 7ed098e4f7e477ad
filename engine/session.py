"""What becomes of a session that has a model already: it keeps it, is raised above it, or moves where that pays.

    raised    a rule that escalates, or evidence against the step of the session's plan; upward only, and for good
    locked    nothing below moves it (`pinning.lock_while`)
    moved     what the policy chooses now is cheaper for the rest of the session, the warm cache it loses counted, by
              more than `pinning.switch_when_saving_usd`
    kept      otherwise

A dearer choice saves nothing, so prices move a session downwards only. It does not flap: moving back would have to
save too, and who has just moved stays for as long as the cache lasts that was paid for by moving.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.choice import Bench, Choice, task_of
from engine.core.catalog import Catalog, Model
from engine.core.decision import Candidate, Step
from engine.core.policy import Inputs, Plan, Verdict
from engine.core.ports import Hindsight, Pin
from engine.routing.eligible import Pool
from engine.routing.steps import next_step, since
from engine.routing.switching import Rest, Switch, switch, turn_usd
from engine.routing.targets import named, rises


@dataclass(frozen=True, slots=True)
class Held:
    """A session's pin, its model, which can carry the request, and what is left of the session."""

    pin: Pin
    model: Model
    rest: Rest
    now: float


def settle(
    held: Held,
    verdict: Verdict,
    inputs: Inputs,
    requested: Model | None,
    pool: Pool,
    bench: Bench,
    fresh: Callable[[], Choice],
) -> tuple[Choice, str]:
    """The session's model now, and the rule that is to be named for it. `fresh` is what the policy would choose if the
    session had none; it is asked only where that could matter."""
    raised = _raised(held, verdict, requested, pool, bench.catalog)
    if raised is not None:
        return raised, verdict.rule
    stepped = _stepped(held, inputs, requested, pool, bench)
    if stepped is not None:
        return stepped, held.pin.rule
    stays = _stays(held, inputs, bench)
    if stays is not None:
        return _kept(held, stays), held.pin.rule
    other = fresh()
    if other.model is held.model:
        return _kept(held), held.pin.rule
    found = switch(held.model, other.model, held.rest)
    if found.saving_usd > (bench.policy.pinning.switch_when_saving_usd or 0.0):
        return _moved(held, other, found, bench), verdict.rule
    return _weighed(held, other, found, bench), held.pin.rule


def _raised(
    held: Held, verdict: Verdict, requested: Model | None, pool: Pool, catalog: Catalog
) -> Choice | None:
    if not verdict.action.escalate:
        return None
    higher = named(verdict.action.use, requested, pool, catalog)
    if not rises(higher, held.model):
        return None
    return _with_sum(Choice(higher, "escalation", verdict.reason), held)


def _stepped(held: Held, inputs: Inputs, requested: Model | None, pool: Pool, bench: Bench) -> Choice | None:
    """The next step of the session's plan, where evidence says that the one it has failed."""
    pin, policy = held.pin, bench.policy
    plan = policy.plans.get(pin.plan)
    if plan is None:
        return None
    failed = policy.escalates(plan.name, since(inputs, pin.before))
    doubt = _doubt(held, plan, inputs, requested, pool, bench) if not failed else ""
    if not failed and not doubt:
        return None
    found = next_step(plan, pin.step, held.model, requested, pool, bench.catalog)
    if found is None:
        return None
    step, model = found
    reason = f"step {step + 1} of {plan.name}: {doubt or f'the work of {held.model.name} failed'}"
    return _with_sum(Choice(model, "escalation", reason, plan=plan.name, step=step), held)


def _doubt(held: Held, plan: Plan, inputs: Inputs, requested: Model | None, pool: Pool, bench: Bench) -> str:
    """What the learner that chose the plan thinks of the step's work, where that is too little. A verdict counts for
    the step that it was passed on: after the first, a rejection must be of a run since the step began."""
    pin, trust, bound = held.pin, bench.trust, plan.right_below
    verdict = inputs["features"].get("task_verdict")
    said = bench.policy.said(pin.rule)
    learner = bench.policy.learners.get(said.action.by) if said is not None else None
    if bound is None or not verdict or learner is None or not isinstance(trust, Hindsight):
        return ""
    if pin.step and not since(inputs, pin.before)["features"].get("session_test_failures"):
        return ""
    before = [named(name, requested, pool, bench.catalog).name for name in plan.steps[: pin.step]]
    steps = [*dict.fromkeys(name for name in before if name != held.model.name), held.model.name]
    chance = trust.right(learner, task_of(learner, inputs), steps, verdict == "accepted")
    if chance >= bound:
        return ""
    return (
        f"the work of {held.model.name}, {verdict}, is right with probability {chance:.2f}, below {bound:g}"
    )


def _stays(held: Held, inputs: Inputs, bench: Bench) -> tuple[Step, ...] | None:
    """Why no saving moves the session, as far as that is worth telling; None where one might."""
    pin, pinning = held.pin, bench.policy.pinning
    if pinning.switch_when_saving_usd is None:
        return ()
    if pin.raised or pin.step:
        return _left_alone(held, "an escalation brought the session here")
    if bench.policy.locked(inputs):
        return _left_alone(held, "pinning.lock_while holds")
    if pin.moved and held.now - pin.moved < _cache_seconds(held.model, bench.catalog):
        return _left_alone(held, "the session has only just moved here")
    return None


def _cache_seconds(model: Model, catalog: Catalog) -> float:
    return max(catalog.endpoints[binding.endpoint].cache_ttl_seconds for binding in model.served_by)


def _kept(held: Held, steps: tuple[Step, ...] = ()) -> Choice:
    pin, name = held.pin, held.model.name
    reason = f"the session keeps {name}"
    alone = Candidate(name, True, reason, expected_cost_usd=turn_usd(held.model, held.rest))
    return Choice(held.model, "pin", reason, plan=pin.plan, step=pin.step, candidates=(alone,), steps=steps)


def _moved(held: Held, other: Choice, found: Switch, bench: Bench) -> Choice:
    asked = bench.policy.pinning.switch_when_saving_usd
    step = Step("switching", found.move, "matched", found.told(), {**found.values, "asked_usd": asked})
    left = Candidate(found.stay, False, found.told(), expected_cost_usd=turn_usd(held.model, held.rest))
    others = [one for one in _candidates(other, held.rest) if one.model != found.stay or one.plan]
    reason = f"{other.reason}; {found.told()}"
    return replace(other, reason=reason, steps=(step,), candidates=(*others, left))


def _weighed(held: Held, other: Choice, found: Switch, bench: Bench) -> Choice:
    """Kept, though the policy would choose another model now."""
    asked = bench.policy.pinning.switch_when_saving_usd
    step = Step("switching", found.move, "passed", found.told(), {**found.values, "asked_usd": asked})
    kept = _kept(held, (step,))
    told = f"{kept.reason}: {found.told()}"
    stays = Candidate(found.stay, True, told, expected_cost_usd=turn_usd(held.model, held.rest))
    others = [
        replace(one, chosen=False, why=found.told() if one.chosen else one.why)
        for one in _candidates(other, held.rest)
        if one.model != found.stay or one.plan
    ]
    return replace(kept, reason=told, task=other.task, candidates=(stays, *others))


def _candidates(other: Choice, rest: Rest) -> tuple[Candidate, ...]:
    if other.gate is not None:
        return other.gate.candidates
    usd = turn_usd(other.model, rest)
    return (Candidate(other.model.name, True, other.reason, expected_cost_usd=usd),)


def _with_sum(choice: Choice, held: Held) -> Choice:
    """An escalation goes whatever it costs, but what that is, is told."""
    found = switch(held.model, choice.model, held.rest)
    step = Step("switching", found.move, "matched", found.told(), found.values)
    won = Candidate(found.move, True, choice.reason, expected_cost_usd=turn_usd(choice.model, held.rest))
    left = Candidate(found.stay, False, choice.reason, expected_cost_usd=turn_usd(held.model, held.rest))
    return replace(choice, steps=(step,), candidates=(won, left))


def _left_alone(held: Held, why: str) -> tuple[Step, ...]:
    return (Step("switching", held.model.name, "skipped", why),)
