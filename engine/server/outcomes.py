"""What became of the work: `POST /v1/outcomes` takes it, the learners fold it in, and it is on disk before the
answer goes out.

    {"decision": "d…", "tests_failed": 1}        about one decision, by the id in x-weave-decision
    {"session": "…", "rating": 1}                about a session, by the value its client sends
    {"id": "ci-4711", …}                         sent twice, it counts once
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from engine import turn
from engine.core.decision import Decision, Outcome
from engine.core.errors import RequestError
from engine.routing.pins import session_of
from engine.server.engine import LOCAL_IDENTITY, Engine, parse

FIELDS = frozenset(
    {"id", "decision", "session", "tests_passed", "tests_failed", "tool_errors", "rating", "labels"}
)


async def receive(engine: Engine, raw: bytes) -> dict[str, Any]:
    """Raises RequestError where the outcome makes no sense or names nothing known."""
    outcome = read(parse(raw), time.time())
    decisions = await _decisions(engine, outcome)
    served = await engine.journal.served(decisions)
    lessons = turn.lessons(decisions, outcome, served, engine.policies.snapshot)
    new = await engine.learners.take(outcome, lessons)
    engine.log(
        "outcome",
        outcome=outcome.id,
        decisions=len(decisions),
        lessons=len(lessons),
        repeated=not new or None,
    )
    return {
        "id": outcome.id,
        "decisions": [decision.id for decision in decisions],
        "lessons": [
            {
                "learner": lesson.learner,
                "signature": lesson.signature,
                "models": [step.model for step in lesson.steps],
                "score": lesson.score,
            }
            for lesson in lessons
        ],
        "repeated": not new,
    }


def read(body: Mapping[str, Any], now: float) -> Outcome:
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        raise RequestError(f"an outcome has no field {unknown[0]!r}; it takes {', '.join(sorted(FIELDS))}")
    decision, session = _text(body, "decision"), _text(body, "session")
    if bool(decision) == bool(session):
        raise RequestError("an outcome names one decision or one session: set 'decision' or 'session'")
    rating = body.get("rating")
    if rating is not None and (
        isinstance(rating, bool) or not isinstance(rating, int | float) or not -1 <= rating <= 1
    ):
        raise RequestError("rating is a number from -1 to 1")
    labels = body.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise RequestError("labels is an object whose values are text")
    outcome = Outcome(
        id=_text(body, "id") or f"o{secrets.token_hex(8)}",
        at=now,
        decision=decision,
        session=session,
        tests_passed=_count(body, "tests_passed"),
        tests_failed=_count(body, "tests_failed"),
        tool_errors=_count(body, "tool_errors"),
        rating=rating,
        labels=labels,
    )
    if rating is None and not (outcome.tests_passed or outcome.tests_failed or outcome.tool_errors or labels):
        raise RequestError(
            "an outcome says what happened: tests_passed, tests_failed, tool_errors, rating or labels"
        )
    return outcome


async def _decisions(engine: Engine, outcome: Outcome) -> list[Decision]:
    if outcome.decision:
        decision = await engine.journal.decision(outcome.decision)
        if decision is None:
            raise RequestError(f"no decision {outcome.decision!r} in the journal", "not_found")
        return [decision]
    for key in engine.policies.snapshot.policy.pinning.key:
        root, _, name = key.partition(".")
        session = session_of(
            [key], {"hints": {}, "features": {}, "identity": LOCAL_IDENTITY, root: {name: outcome.session}}
        )
        decisions: list[Decision] = await engine.journal.decisions_of_session(session)
        if decisions:
            return decisions
    raise RequestError(f"no decision of session {outcome.session!r} in the journal", "not_found")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > 200:
        raise RequestError(f"{name} is text of at most 200 characters")
    return value


def _count(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise RequestError(f"{name} is a whole number, 0 or more")
    return value
