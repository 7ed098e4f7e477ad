"""A request's whole story on one page, pure.

    read      the request becomes facts: features, hints, the session it belongs to
    decide    the policy's verdict, outranked by what is stronger, becomes a Decision
    attempts  the decision becomes calls, one after another, until one serves
    lessons   an outcome, told later, becomes what the learners take from it

Strongest first: guard > budget > forced model > sealed data > escalation > pin > rule > learner > default. The policy
is always asked, because a guard or an escalation may outrank the pin, and because a pinned turn still teaches its
learner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.choice import Bench, Choice, again, choose, expected_cost_usd, signature_of, task_of
from engine.core.catalog import CAPABILITIES, Catalog, Endpoint, Model
from engine.core.conversation import Request, Text
from engine.core.decision import Candidate, Decision, Lesson, Outcome, Step
from engine.core.errors import RequestError, UnservableError
from engine.core.evidence import TaskEvidence, Tasks
from engine.core.identity import Identity
from engine.core.lineage import Lineages, Tie
from engine.core.policy import Clock, Inputs, Verdict
from engine.core.ports import Pin, Spend, Trust, Warm, Ways
from engine.features import features, hints, survey
from engine.learning.reward import lessons as lessons_of
from engine.protocols import PROTOCOLS
from engine.protocols.carrying import carriers, unfit
from engine.protocols.shape import Protocol
from engine.protocols.speaking import spoken
from engine.protocols.ties import tie_of
from engine.purse import NOTHING_SPENT, Purse, paid, purse_of, thrifty
from engine.routing.eligible import Pool, eligible
from engine.routing.failover import ALL_WELL, Attempts, Hold, failover
from engine.routing.holding import MemoryLineages, held, holders, known_origin, serves
from engine.routing.pins import follows_pin, session_of
from engine.routing.reuse import standing
from engine.routing.switching import rest_of
from engine.routing.targets import chain, forced
from engine.session import Held, settle
from engine.snapshot import Snapshot

# Clients that leave the choice to the engine ask for one of these.
ANY_MODEL = frozenset({"auto", "weave"})

NOTHING_KNOWN: Lineages = MemoryLineages(0)

NO_TASKS = Tasks(TaskEvidence(0))

LONGEST_NAME = 200  # characters of a model's name; it goes into the journal and the log


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request says, in the words of policies. `requested` is None where the client left it open. `lane` is
    the policy on trial that reads it, whose pins are its own; empty for the policy that serves."""

    request: Request
    requested: Model | None
    inputs: Inputs
    session: str
    lane: str = ""
    tasks: Tasks = NO_TASKS

    @property
    def pin_key(self) -> str:
        """What holds the session's model: a session has one for each model its client asks for, so that a user who
        switches models is heard, and a client's small helper calls do not ride on its large model."""
        asked = self.requested.name if self.requested else ""
        lane = f"/{self.lane}" if self.lane else ""
        return f"{self.session}/{asked}{lane}" if self.session else ""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the world contributes to a decision: the clock, chance, the session's pin, what learners believe."""

    id: str
    now: float
    draw: float  # in [0, 1)
    pin: Pin | None
    trust: Trust
    clock: Clock | None = None  # what a policy's deadline goes by; without one there is none
    lineages: Lineages = NOTHING_KNOWN
    warm: Mapping[str, Warm] = field(default_factory=dict)  # what vendors have cached of this talk, by model
    spend: Spend = NOTHING_SPENT  # what budgets are held against
    earlier: Decision | None = None  # of a request like this one, to be used again where it still stands


def read(request: Request, headers: Mapping[str, str], identity: Identity, snapshot: Snapshot) -> Facts:
    """Header names are lower-case. Raises RequestError for a model nobody knows, a hint of the wrong kind, or one
    that the identity may not give."""
    requested = _requested(request.model, snapshot.catalog)
    seen = survey(request, headers)
    inputs = {
        "features": features(seen, requested),
        "hints": hints(headers),
        "identity": identity.values,
    }
    if not identity.may_force and inputs["hints"].get("model"):
        raise RequestError(
            f"{identity.name} may not force a model: leave the header x-weave-model out, or ask whoever runs the "
            "engine for a key that may",
            "permission",
        )
    session = session_of(snapshot.policy.pinning.key, inputs)
    return Facts(request, requested, inputs, session, tasks=Tasks(seen.task, seen.former_task))


def beside(facts: Facts, snapshot: Snapshot) -> Facts:
    """The same request as a policy on trial reads it: sessions are what it says they are, and their pins its own."""
    policy = snapshot.policy
    return replace(facts, session=session_of(policy.pinning.key, facts.inputs), lane=policy.name)


def decide(facts: Facts, snapshot: Snapshot, moment: Moment) -> Decision:
    """Raises UnservableError where no model can carry the request, BudgetError where a budget has no room for it,
    RequestError where a hint forces an unknown model."""
    return _paid(_decided(facts, snapshot, moment), facts, snapshot, moment)


def _decided(facts: Facts, snapshot: Snapshot, moment: Moment) -> Decision:
    catalog, policy, lossy = snapshot.catalog, snapshot.policy, snapshot.policy.lossy
    lost = unfit(facts.request, catalog, lossy, _spoken_at)
    pool = eligible(catalog.models.values(), facts.inputs["features"], lossy, lost)
    verdict = standing(moment.earlier, facts.inputs, pool, policy, catalog, moment.now)
    if verdict is None:
        moment = moment if moment.earlier is None else replace(moment, earlier=None)
        verdict = policy.judge(facts.inputs, moment.clock)
    try:
        choice, rule = _strongest(facts, verdict, pool, snapshot, moment)
    except UnservableError as error:
        raise _with_remedy(error, facts.request, lost, snapshot) from error
    tie = tie_of(facts.request)
    if tie is None:
        return _decision(facts, verdict, choice, rule, pool, snapshot, moment)
    choice, rule, hold, reachable = _held(tie, facts, verdict, (choice, rule), pool, snapshot, moment)
    decision = _decision(facts, verdict, choice, rule, reachable, snapshot, moment)
    return replace(decision, held=hold.endpoints, held_fast=hold.fast)


def _held(
    tie: Tie,
    facts: Facts,
    verdict: Verdict,
    chosen: tuple[Choice, str],
    pool: Pool,
    snapshot: Snapshot,
    moment: Moment,
) -> tuple[Choice, str, Hold, Pool]:
    """The choice where sealed data has a say: that of a higher rank stands, any other is made among the models that
    its origin serves. The pool is what failover may go on with."""
    choice, rule = chosen
    features, identity = facts.inputs["features"], facts.inputs["identity"]
    known = known_origin(tie, facts.session, features, identity, moment.lineages)
    endpoints = holders(tie, known, snapshot.catalog)
    among = held(pool, endpoints, tie)
    hold = Hold(endpoints if among.models or tie.fast else (), tie.fast)
    if serves(choice.model, endpoints):
        return choice, rule, hold, among if tie.fast else pool
    if choice.source in ("guard", "forced") or not among.models:
        if tie.fast:
            raise RequestError(_nobody_has(tie, choice if among.models else None))
        return choice, rule, Hold(), pool
    choice, rule = _ranked(facts, verdict, among, snapshot, moment)
    before = snapshot.catalog.models.get(known.model) if known is not None else None
    model = (
        before if before is not None and before in among and choice.source != "escalation" else choice.model
    )
    reason = f"{tie.place} holds the provider: {tie.what}"
    choice = _afforded(
        replace(choice, model=model, source="sealed", reason=reason), facts, among, snapshot, moment
    )
    if choice.source == "budget":
        choice = replace(choice, reason=f"{choice.reason}; {reason}")
    return choice, rule, hold, among if tie.fast else pool


def _nobody_has(tie: Tie, choice: Choice | None) -> str:
    who = f"{choice.model.name}, which this request has to go to," if choice is not None else "no model here"
    verb = "is not served there" if choice is not None else "is served there and can carry this request"
    return f"{tie.place}: {tie.what}, and {who} {verb}; send the whole conversation instead"


def _spoken_at(endpoint: Endpoint) -> Protocol:
    return spoken(endpoint.protocol, endpoint.dialect)


def _with_remedy(
    error: UnservableError, request: Request, lost: Mapping[str, str], snapshot: Snapshot
) -> UnservableError:
    """The same, and what would carry the request, where that is known."""
    if not lost:
        return error
    able = replace(next(iter(snapshot.catalog.models.values())), name="a model", can=frozenset(CAPABILITIES))
    names = carriers(request, snapshot.policy.lossy, PROTOCOLS.values(), able)
    told = (
        f"an able model behind {' or '.join(names)} could carry it" if names else "no protocol could carry it"
    )
    return UnservableError(replace(error.fault, message=f"{error.fault.message}; {told}"))


def attempts(
    decision: Decision, snapshot: Snapshot, now: float, ways: Ways = ALL_WELL, chance: float = 0.5
) -> Attempts:
    rules = snapshot.policy.failover
    hold = Hold(decision.held, decision.held_fast)
    return failover(decision.targets, snapshot.catalog, rules, decision.attempts, now, ways, hold, chance)


def thinks(request: Request, decision: Decision) -> bool:
    """Whether a model that can think is asked to, by the client or the policy."""
    wanted = request.tuning.reasoning
    asked = wanted is not None and wanted.mode != "disabled" and wanted.effort != "none"
    return asked or decision.effort not in ("", "none")


def lessons(
    decisions: Sequence[Decision], outcome: Outcome, served: Mapping[str, str], snapshot: Snapshot
) -> tuple[Lesson, ...]:
    """What an outcome teaches, valued by the policy that serves now. `served`: decision id -> the model that
    answered in the end."""
    worth = snapshot.policy.reward(outcome_values(outcome))
    if worth is None:
        return ()
    _, reward = worth
    influence = {name: learner.influence for name, learner in snapshot.policy.learners.items()}
    return lessons_of(
        decisions, outcome, reward, outcome.at, served, identity=outcome.identity, influence=influence
    )


def outcome_values(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the `outcome` root of expressions sees it."""
    values: dict[str, Any] = {
        "tests_passed": outcome.tests_passed,
        "tests_failed": outcome.tests_failed,
        "tool_errors": outcome.tool_errors,
        "verdict": outcome.verdict,
        "grounds": outcome.grounds,
        "labels": dict(outcome.labels),
    }
    if outcome.rating is not None:
        values["rating"] = outcome.rating
    return values


def _words(request: Request) -> str:
    """What the user said last, for learners that read it."""
    for message in reversed(request.messages):
        if message.role == "user":
            texts = [part.text for part in message.parts if isinstance(part, Text)]
            if texts:
                return "\n".join(texts)
    return ""


def _requested(name: str, catalog: Catalog) -> Model | None:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise RequestError(f"model: expected a name of at most {LONGEST_NAME} printable characters")
    model = catalog.resolve(name)
    if model is None and name not in ANY_MODEL:
        known = ", ".join(catalog.models)
        raise RequestError(
            f"model {name!r} is not known here; this engine serves {known}, or 'auto' to leave the choice to it",
            "not_found",
        )
    return model


def _paid(decision: Decision, facts: Facts, snapshot: Snapshot, moment: Moment) -> Decision:
    """The decision with those of its targets that budgets leave."""
    purse = _purse(facts, snapshot, moment)
    if not purse.held:
        return decision
    features, thought = facts.inputs["features"], thinks(facts.request, decision)
    left = paid(decision.targets, decision.source, purse, features, thought, snapshot.catalog)
    trace = (*decision.trace, *left.steps)
    return replace(decision, targets=left.targets, reserved_usd=left.reserved_usd, trace=trace)


def _purse(facts: Facts, snapshot: Snapshot, moment: Moment) -> Purse:
    return purse_of(snapshot.policy.budgets, facts.inputs, facts.session, moment.spend, moment.now)


def _strongest(
    facts: Facts, verdict: Verdict, pool: Pool, snapshot: Snapshot, moment: Moment
) -> tuple[Choice, str]:
    """Who decides, and the rule that is to be named for it."""
    choice, rule = _ranked(facts, verdict, pool, snapshot, moment)
    return _afforded(choice, facts, pool, snapshot, moment), rule


def _afforded(choice: Choice, facts: Facts, pool: Pool, snapshot: Snapshot, moment: Moment) -> Choice:
    """The choice, or what its budgets put in its place."""
    if not snapshot.policy.budgets:
        return choice
    purse = _purse(facts, snapshot, moment)
    return thrifty(choice, purse, facts.inputs, facts.requested, pool, snapshot.catalog)


def _ranked(
    facts: Facts, verdict: Verdict, pool: Pool, snapshot: Snapshot, moment: Moment
) -> tuple[Choice, str]:
    """Who decides by rank, as long as there is money; the first that has a say does."""
    catalog, asked = snapshot.catalog, facts.requested
    if verdict.source != "guard" and (insisted := facts.inputs["hints"].get("model")):
        return Choice(
            forced(insisted, pool, catalog), "forced", f"the client forced {insisted}"
        ), verdict.rule
    pin = moment.pin if follows_pin(facts.inputs["features"]) else None
    model = catalog.models.get(pin.model) if pin is not None else None
    rest = None
    if pin is not None or moment.warm:
        rest = rest_of(facts.request, facts.inputs["features"], moment.warm, catalog, moment.now)
    bench = Bench(catalog, snapshot.policy, moment.trust, rest)

    def fresh(draw: float) -> Choice:
        if moment.earlier is not None and catalog.models[moment.earlier.model] in pool:
            return again(moment.earlier, catalog, moment.now)
        return choose(verdict, facts.inputs, asked, pool, bench, draw, _words(facts.request))

    if verdict.source == "guard" or pin is None or rest is None or model is None or model not in pool:
        return fresh(moment.draw), verdict.rule
    return settle(
        Held(pin, model, rest, moment.now),
        verdict,
        facts.inputs,
        asked,
        pool,
        bench,
        lambda: fresh(1.0),  # a session that has its model is not tried out on another
    )


def _decision(
    facts: Facts,
    verdict: Verdict,
    choice: Choice,
    rule: str,
    pool: Pool,
    snapshot: Snapshot,
    moment: Moment,
) -> Decision:
    action, policy = verdict.action, snapshot.policy
    alone = choice.source == "guard" and not action.failover
    learner = policy.learners.get(action.by) if action.learn else None
    task = choice.task or task_of(learner, facts.inputs, _words(facts.request)) if learner else None
    return Decision(
        id=moment.id,
        at=moment.now,
        policy=policy.name,
        snapshot=snapshot.fingerprint,
        targets=(choice.model.name,) if alone else chain(choice.model, policy.failover.chains, pool),
        rule=rule,
        source=choice.source,
        reason=choice.reason,
        requested_model=facts.request.model,
        protocol=facts.request.protocol,
        session=facts.session,
        identity=facts.inputs["identity"]["name"],
        team=facts.inputs["identity"]["team"],
        data_class=facts.inputs["identity"]["data_class"],
        confidence=choice.confidence,
        learner=learner.name if learner else "",
        signature=signature_of(task) if task else "",
        inputs=task.inputs if task else {},
        grams=task.grams if task else (),
        plan=choice.plan,
        step=choice.step,
        effort=action.effort if choice.source in ("guard", "escalation", "rule") else "",
        propensity=choice.propensity,
        reused_from=_reused(choice, moment.earlier),
        attempts=1 if alone else policy.failover.attempts,
        features=facts.inputs["features"],
        hints=facts.inputs["hints"],
        candidates=_candidates(choice, facts.inputs, pool),
        trace=_trace(verdict, choice, pool),
    )


def _reused(choice: Choice, earlier: Decision | None) -> str:
    """The decision that was used again, if what it said had a part in this one."""
    told = choice.repeats or (earlier if choice.source == "pin" else None)
    return told.id if told is not None else ""


def _candidates(choice: Choice, inputs: Inputs, pool: Pool) -> tuple[Candidate, ...]:
    """Everybody who was considered; what a learner was told costs is as it said, of others it is the list price."""
    considered = choice.candidates or (choice.gate.candidates if choice.gate else ())
    if not considered:
        usd = expected_cost_usd(choice.model, inputs)
        considered = (Candidate(choice.model.name, True, choice.reason, expected_cost_usd=usd),)
    return (*considered, *(Candidate(model, False, why) for model, why in pool.excluded.items()))


def _trace(verdict: Verdict, choice: Choice, pool: Pool) -> tuple[Step, ...]:
    excluded = [Step("eligible", model, "skipped", why) for model, why in pool.excluded.items()]
    if choice.source in ("forced", "sealed", "escalation", "pin"):
        excluded.append(Step(choice.source, choice.model.name, "matched", choice.reason))
    elif choice.capped:
        excluded.append(Step("cap", choice.capped, "skipped", choice.reason))
    return (*verdict.trace, *excluded, *choice.steps)
