"""What became of the work: `POST /v1/outcomes` takes it, the learners fold it in, and it is on disk before the
answer goes out.

    {"decision": "d…", "tests_failed": 1}        about the task it worked on, by the id in x-weave-decision
    {"session": "…", "rating": 1}                about a session, by the value its client sends
    {"id": "ci-4711", …}                         sent twice, it counts once

It is valued by the policy that decided, as it was then, where the engine still knows it: a canary's work by the
canary. Which of several outcomes counts is told in `precedence.py`; the answer and the log say what became of it.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from engine import turn
from engine.core.decision import Decision, Outcome, Teller
from engine.core.errors import Fault, RequestError, WeaveError
from engine.core.identity import LOCAL, Identity
from engine.core.policy import Policy
from engine.learning.reward import lessons as lessons_of
from engine.routing.pins import session_of
from engine.server.engine import Engine, parse
from engine.server.journal import Journal
from engine.server.links import Link
from engine.server.precedence import Settled, alone, subject_of

SAYS = ("tests_passed", "tests_failed", "tool_errors", "rating", "labels")
FIELDS = frozenset({"id", "decision", "session", *SAYS})
RESULTS: Mapping[str, Mapping[str, int]] = {"passed": {"tests_passed": 1}, "failed": {"tests_failed": 1}}

MOST_LABELS = 50
LONGEST_TEXT = 200


async def receive(engine: Engine, raw: bytes, identity: Identity = LOCAL) -> dict[str, Any]:
    """Raises RequestError where the outcome makes no sense or names nothing known."""
    return await _receive(engine, parse(raw), "told", identity)


async def receive_by_link(engine: Engine, link: Link, raw: bytes, result: str) -> dict[str, Any]:
    """`result` is the word in the link's query; else the body says what happened."""
    body: Mapping[str, Any] = parse(raw) if raw.strip() else {}
    if result and body:
        raise RequestError("say what happened once: with ?result=… or with a JSON body")
    if result:
        if result not in RESULTS:
            raise RequestError(f"result is passed or failed, not {result[:LONGEST_TEXT]!r}")
        body = RESULTS[result]
    elif not body:
        raise RequestError("say what happened: add ?result=passed or ?result=failed, or send a JSON body")
    named = sorted({"decision", "session"} & body.keys())
    if named:
        raise RequestError(f"this link is about {link.about} alone; leave {named[0]!r} out")
    about = {"decision": link.decision} if link.decision else {"session": link.session}
    return await _receive(engine, {**body, **about}, "link", None)


async def _receive(
    engine: Engine, body: Mapping[str, Any], source: Teller, identity: Identity | None
) -> dict[str, Any]:
    """Without an identity a link says what it is about, and its session may be anybody's."""
    teller = "" if identity is None or identity is LOCAL else identity.name
    outcome = replace(read(body, time.time()), source=source, identity=teller)
    names = engine.keyring.names if identity is None else (identity.name,)
    keys = engine.policies.snapshot.policy.pinning.key
    decisions = await decisions_about(engine.journal, outcome, keys, names)
    if identity is not None and not may_see(identity, decisions[-1]):
        raise RequestError(
            _unknown(outcome.decision), "not_found"
        )  # it is somebody else's, which is not told
    settled = await tell(engine, outcome, decisions)
    if settled.fate == "conflict":
        message = (
            f"outcome {outcome.id!r} is known and says something else; send what is true now under another id"
        )
        raise WeaveError(Fault("invalid_request", message, 409, "client"))
    return as_json(settled, decisions)


async def tell(
    engine: Engine, outcome: Outcome, decisions: Sequence[Decision], accepted: bool | None = None
) -> Settled:
    """Value an outcome of these decisions, which are in the order they were made; keep it, and learn from it as far as
    it counts. `accepted` is what the evidence said of the last step's work."""
    policy, valued_by, remarks = _valued_by(engine, decisions[-1])
    results = await engine.journal.results(decisions)
    outcome = replace(
        outcome,
        subject=subject_of(decisions, bool(outcome.session)),
        work_at=max(decision.at for decision in decisions),
        worth=worth_of(policy, outcome),
        valued_by=valued_by,
        remarks=(*outcome.remarks, *remarks),
    )
    lessons = (
        lessons_of(
            decisions,
            outcome,
            outcome.worth,
            outcome.at,
            {name: result.model for name, result in results.items()},
            costs_usd={name: result.cost_usd for name, result in results.items()},
            accepted=accepted,
            identity=outcome.identity,
            influence={name: learner.influence for name, learner in policy.learners.items()},
        )
        if outcome.worth is not None
        else ()
    )
    settled = await engine.learners.take(outcome, lessons)
    if settled.new and outcome.worth is not None:
        worked = await engine.journal.decision(decisions[-1].id)
        engine.history.judged(worked.features if worked is not None else {}, outcome.worth, outcome.at)
    _log(engine, settled, len(decisions))
    return settled


def _valued_by(engine: Engine, decision: Decision) -> tuple[Policy, str, tuple[str, ...]]:
    """The policy that decided, as it was; else as it is now, or the one that serves, with a remark that says so."""
    then = engine.policies.known(decision.snapshot)
    if then is not None and decision.policy in then.policies:
        return then.policies[decision.policy], f"{decision.policy}@{decision.snapshot}", ()
    serving = engine.policies.snapshot
    policy = serving.policies.get(decision.policy, serving.policy)
    remark = (
        f"valued by {policy.name} as it is now: {decision.policy}@{decision.snapshot} is not known any more"
    )
    return policy, f"{policy.name}@{serving.fingerprint}", (remark,)


def worth_of(policy: Policy, outcome: Outcome) -> float | None:
    """In -1..1; None where no rule of the policy matches."""
    found = policy.reward(turn.outcome_values(outcome))
    if found is None or not math.isfinite(found[1]):
        return None
    return min(max(found[1], -1.0), 1.0)


def _log(engine: Engine, settled: Settled, decisions: int) -> None:
    outcome = settled.outcome
    engine.log(
        "outcome",
        level="info" if settled.fate != "conflict" else "warning",
        outcome=outcome.id,
        source=outcome.source,
        subject=outcome.subject,
        decisions=decisions,
        lessons=len(settled.lessons),
        worth=outcome.worth,
        repeated=settled.fate == "repeated" or None,
        conflict=settled.fate == "conflict" or None,
        outranks=list(settled.outranked) or None,
        remarks=list(outcome.remarks) or None,
    )


def as_json(settled: Settled, decisions: Sequence[Decision]) -> dict[str, Any]:
    outcome = settled.outcome
    return {
        "id": outcome.id,
        "decisions": [decision.id for decision in decisions],
        "worth": outcome.worth,
        "valued_by": outcome.valued_by,
        "lessons": [
            {
                "learner": lesson.learner,
                "signature": lesson.signature,
                "models": [step.model for step in lesson.steps],
                "score": lesson.score,
            }
            for lesson in settled.lessons
        ],
        "repeated": settled.fate == "repeated",
        "outranks": list(settled.outranked),
        "remarks": list(outcome.remarks),
    }


def read(body: Mapping[str, Any], now: float) -> Outcome:
    """Raises RequestError for what an outcome cannot say. It has no id yet where none was sent."""
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        named = unknown[0][:LONGEST_TEXT]
        raise RequestError(f"an outcome has no field {named!r}; it takes {', '.join(sorted(FIELDS))}")
    decision, session = _text(body, "decision"), _text(body, "session")
    if bool(decision) == bool(session):
        raise RequestError("an outcome names one decision or one session: set 'decision' or 'session'")
    outcome = Outcome(
        id=_text(body, "id"),
        at=now,
        decision=decision,
        session=session,
        tests_passed=_count(body, "tests_passed"),
        tests_failed=_count(body, "tests_failed"),
        tool_errors=_count(body, "tool_errors"),
        rating=_rating(body),
        labels=_labels(body),
    )
    counted = outcome.tests_passed or outcome.tests_failed or outcome.tool_errors
    if outcome.rating is None and not (counted or outcome.labels):
        raise RequestError(f"an outcome says what happened: {', '.join(SAYS[:-1])} or {SAYS[-1]}")
    return outcome


async def decisions_about(
    journal: Journal, outcome: Outcome, keys: Sequence[str], names: Sequence[str] = (LOCAL.name,)
) -> list[Decision]:
    """Those that an outcome is about, in the order they were made; `keys` are what may name a session, which is one
    of the identities in `names`. Raises RequestError where there are none."""
    if outcome.decision:
        return await _task(journal, outcome.decision)
    for identity, key in product(names, keys):
        root, _, name = key.partition(".")
        asked = {"hints": {}, "features": {}, "identity": {"name": identity}}
        session = session_of([key], {**asked, root: {name: outcome.session}})
        decisions: list[Decision] = await journal.decisions_of_session(session)
        if decisions:
            return decisions
    raise RequestError(f"no decision of session {outcome.session!r} in the journal", "not_found")


async def _task(journal: Journal, id: str) -> list[Decision]:
    """The decisions of the task that this one is of, the newest last; itself where it stands for itself."""
    decision: Decision | None = await journal.decision(id)
    if decision is None:
        raise RequestError(_unknown(id), "not_found")
    if alone(decision):
        return [decision]
    session: list[Decision] = await journal.decisions_of_session(decision.session)
    return [one for one in session if one.task == decision.task and not alone(one)]


def may_see(identity: Identity, decision: Decision) -> bool:
    """What somebody asked is for them and their team."""
    if identity is LOCAL:
        return True
    return decision.identity == identity.name or (bool(identity.team) and decision.team == identity.team)


def _unknown(id: str) -> str:
    return f"no decision {id!r} in the journal"


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise RequestError(f"{name} is text of at most {LONGEST_TEXT} characters")
    return value


def _count(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise RequestError(f"{name} is a whole number, 0 or more")
    return value


def _rating(body: Mapping[str, Any]) -> float | None:
    rating = body.get("rating")
    if rating is None or (
        isinstance(rating, int | float) and not isinstance(rating, bool) and -1 <= rating <= 1
    ):
        return rating
    raise RequestError("rating is a number from -1 to 1")


def _labels(body: Mapping[str, Any]) -> dict[str, str]:
    labels = body.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise RequestError("labels is an object whose values are text")
    longest = max((len(text) for pair in labels.items() for text in pair), default=0)
    if len(labels) > MOST_LABELS or longest > LONGEST_TEXT:
        raise RequestError(f"labels are at most {MOST_LABELS}, of at most {LONGEST_TEXT} characters each")
    return labels
