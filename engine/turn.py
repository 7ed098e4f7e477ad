"""A request's whole story on one page, pure.

    read      the request becomes facts: features, hints, the session it belongs to
    decide    the policy's verdict, outranked by what is stronger, becomes a Decision
    attempts  the decision becomes calls, one after another, until one serves
    lessons   an outcome, told later, becomes what the learners take from it

Strongest first: guard > forced model > escalation > pin > rule > learner > default. The policy is always asked,
because a guard or an escalation may outrank the pin, and because a pinned turn still teaches its learner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.choice import Bench, Choice, choose, signature_of
from engine.core.catalog import Catalog, Model
from engine.core.conversation import Request
from engine.core.decision import Candidate, Decision, Lesson, Outcome, Step
from engine.core.errors import RequestError
from engine.core.policy import Clock, Inputs, Verdict
from engine.core.ports import Pin, Trust
from engine.features import features, hints, survey
from engine.learning.reward import lessons as lessons_of
from engine.routing.eligible import Pool, eligible
from engine.routing.failover import Attempts, failover
from engine.routing.pins import follows_pin, session_of
from engine.routing.targets import chain, forced, named, rises
from engine.snapshot import Snapshot

# Clients that leave the choice to the engine ask for one of these.
ANY_MODEL = frozenset({"auto", "weave"})

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


def read(
    request: Request, headers: Mapping[str, str], identity: Mapping[str, Any], snapshot: Snapshot
) -> Facts:
    """Header names are lower-case. Raises RequestError for a model nobody knows or a hint of the wrong kind."""
    requested = _requested(request.model, snapshot.catalog)
    inputs = {
        "features": features(survey(request, headers), requested),
        "hints": hints(headers),
        "identity": identity,
    }
    return Facts(request, requested, inputs, session_of(snapshot.policy.pinning.key, inputs))


def beside(facts: Facts, snapshot: Snapshot) -> Facts:
    """The same request as a policy on trial reads it: sessions are what it says they are, and their pins its own."""
    policy = snapshot.policy
    return replace(facts, session=session_of(policy.pinning.key, facts.inputs), lane=policy.name)


def decide(facts: Facts, snapshot: Snapshot, moment: Moment) -> Decision:
    """Raises UnservableError where no model can carry the request, RequestError where a hint forces an unknown
    model."""
    verdict = snapshot.policy.judge(facts.inputs, moment.clock)
    pool = eligible(snapshot.catalog.models.values(), facts.inputs["features"])
    choice, rule = _strongest(facts, verdict, pool, snapshot, moment)
    return _decision(facts, verdict, choice, rule, pool, snapshot, moment)


def attempts(decision: Decision, snapshot: Snapshot, now: float) -> Attempts:
    return failover(decision.targets, snapshot.catalog, snapshot.policy.failover, decision.attempts, now)


def lessons(
    decisions: Sequence[Decision], outcome: Outcome, served: Mapping[str, str], snapshot: Snapshot
) -> tuple[Lesson, ...]:
    """What an outcome teaches, valued by the policy that serves now. `served`: decision id -> the model that
    answered in the end."""
    worth = snapshot.policy.reward(outcome_values(outcome))
    if worth is None:
        return ()
    _, reward = worth
    return lessons_of(decisions, outcome, reward, outcome.at, served)


def outcome_values(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the `outcome` root of expressions sees it."""
    values: dict[str, Any] = {
        "tests_passed": outcome.tests_passed,
        "tests_failed": outcome.tests_failed,
        "tool_errors": outcome.tool_errors,
        "labels": dict(outcome.labels),
    }
    if outcome.rating is not None:
        values["rating"] = outcome.rating
    return values


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


def _strongest(
    facts: Facts, verdict: Verdict, pool: Pool, snapshot: Snapshot, moment: Moment
) -> tuple[Choice, str]:
    """Who decides, by rank, and the rule that is to be named for it; the first that has a say does."""
    action, catalog, asked = verdict.action, snapshot.catalog, facts.requested
    if verdict.source != "guard" and (insisted := facts.inputs["hints"].get("model")):
        return Choice(
            forced(insisted, pool, catalog), "forced", f"the client forced {insisted}"
        ), verdict.rule
    pinned = _pinned(facts, pool, catalog, moment.pin)
    if verdict.source == "guard" or pinned is None:
        bench = Bench(catalog, snapshot.policy, moment.trust)
        return choose(verdict, facts.inputs, asked, pool, bench, moment.draw), verdict.rule
    model, rule = pinned
    higher = named(action.use, asked, pool, catalog) if action.escalate else model
    if rises(higher, model):
        return Choice(higher, "escalation", verdict.reason), verdict.rule
    return Choice(model, "pin", f"the session keeps {model.name}"), rule


def _pinned(facts: Facts, pool: Pool, catalog: Catalog, pin: Pin | None) -> tuple[Model, str] | None:
    """The session's model and the rule that set it, unless there is none, the call is not part of the session's
    work, or the model cannot carry it."""
    if pin is None or not follows_pin(facts.inputs["features"]):
        return None
    model = catalog.models.get(pin.model)
    return (model, pin.rule) if model is not None and model in pool else None


def _decision(
    facts: Facts,
    verdict: Verdict,
    choice: Choice,
    rule: str,
    pool: Pool,
    snapshot: Snapshot,
    moment: Moment,
) -> Decision:
    action, policy, gate = verdict.action, snapshot.policy, choice.gate
    alone = choice.source == "guard" and not action.failover
    learner = policy.learners.get(action.by) if action.learn else None
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
        confidence=gate.confidence if gate else None,
        learner=learner.name if learner else "",
        signature=signature_of(learner.signature, facts.inputs) if learner else "",
        effort=action.effort if choice.source in ("guard", "escalation", "rule") else "",
        propensity=gate.propensity if gate else 1.0,
        attempts=1 if alone else policy.failover.attempts,
        features=facts.inputs["features"],
        hints=facts.inputs["hints"],
        candidates=_candidates(choice, pool),
        trace=_trace(verdict, choice, pool),
    )


def _candidates(choice: Choice, pool: Pool) -> tuple[Candidate, ...]:
    considered = (
        choice.gate.candidates if choice.gate else (Candidate(choice.model.name, True, choice.reason),)
    )
    return (*considered, *(Candidate(model, False, why) for model, why in pool.excluded.items()))


def _trace(verdict: Verdict, choice: Choice, pool: Pool) -> tuple[Step, ...]:
    excluded = (Step("eligible", model, "skipped", why) for model, why in pool.excluded.items())
    if choice.source in ("forced", "escalation", "pin"):
        return (*verdict.trace, *excluded, Step(choice.source, choice.model.name, "matched", choice.reason))
    return (*verdict.trace, *excluded)
