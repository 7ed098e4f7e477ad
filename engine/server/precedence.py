"""What counts where several outcomes speak of the same work.

A **subject** is what an outcome is about: a task of a session (`session/3`), a whole session (`session`), or a single
decision that belongs to none. Subjects are told apart by text, so that a session's tasks are found by its name.

    what was said outranks what was read from the conversation, about the same subject or a part of it
    of what was said about the same subject, the latest counts
    of what was read about the same subject, the latest counts
    what comes late is kept and counts for nothing, and so does what the policy gives no worth
    what was said in the same words, of the same work, without an id of its own, is a repeat

What an outcome that is outranked taught is withdrawn. Nothing is hidden: the outcome keeps its `remarks`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.core.decision import Decision, Lesson, Outcome

LATE_SECONDS = 7 * 86_400.0

Fate = Literal["new", "repeated", "conflict"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of an outcome. `repeated`: it was known already, and nothing changed. `conflict`: its id was used
    before for something else, and nothing changed. `outranked` are the ids of those whose lessons are withdrawn."""

    fate: Fate
    outcome: Outcome
    lessons: tuple[Lesson, ...] = ()
    outranked: tuple[str, ...] = ()

    @property
    def new(self) -> bool:
        return self.fate == "new"


def subject_of(decisions: Sequence[Decision], whole_session: bool) -> str:
    """What an outcome about these decisions is about."""
    last = decisions[-1]
    if not last.session or (not whole_session and alone(last)):
        return last.id
    return last.session if whole_session else f"{last.session}/{last.task}"


def alone(decision: Decision) -> bool:
    """Whether a decision stands for itself: guards and forced models speak for one request."""
    return not decision.session or not decision.task or decision.source in ("guard", "forced")


def root(subject: str) -> str:
    """The session of a task; any other subject itself."""
    return subject.partition("/")[0]


def settle(
    outcome: Outcome, lessons: Sequence[Lesson], known: Outcome | None, earlier: Sequence[Outcome]
) -> Settled:
    """`known` is the outcome that has its id already, `earlier` those of the same session, in their order."""
    if known is not None:
        return Settled("repeated" if _said(known) == _said(outcome) else "conflict", known)
    same = [one for one in earlier if one.subject == outcome.subject and outcome.subject]
    told = [one for one in same if one.source != "evidence"]
    if not outcome.id:
        if told and _said(told[-1]) == _said(outcome) and told[-1].work_at == outcome.work_at:
            return Settled("repeated", told[-1])
        outcome = replace(outcome, id=_id_of(outcome, len(earlier)))
        lessons = [replace(lesson, outcome=outcome.id) for lesson in lessons]
    if late(outcome):
        days = (outcome.at - outcome.work_at) / 86_400.0
        return Settled("new", _remarked(outcome, f"late: {days:.1f} days after the work"))
    if outcome.worth is None and not lessons:
        return Settled("new", _remarked(outcome, "no rule of the policy gives it a worth"))
    higher = _higher(outcome, earlier)
    if higher is not None:
        return Settled("new", _remarked(outcome, f"outranked by {higher.id}"))
    lower = _lower(outcome, same, earlier)
    against = [one.id for one in lower if one.source != "evidence" and _opposite(one, outcome)]
    if against:
        outcome = _remarked(outcome, f"contradicts {', '.join(against)}")
    return Settled("new", outcome, tuple(lessons), tuple(one.id for one in lower))


def late(outcome: Outcome) -> bool:
    return outcome.work_at > 0 and outcome.at - outcome.work_at > LATE_SECONDS


def _higher(outcome: Outcome, earlier: Sequence[Outcome]) -> Outcome | None:
    """What was said already, where this was only read: of the task, or of its session since the task ended."""
    if outcome.source != "evidence":
        return None
    for one in reversed(earlier):
        wider = one.subject == root(outcome.subject) and one.at >= outcome.work_at
        if one.source != "evidence" and _counts(one) and (one.subject == outcome.subject or wider):
            return one
    return None


def _lower(outcome: Outcome, same: Sequence[Outcome], earlier: Sequence[Outcome]) -> list[Outcome]:
    if outcome.source == "evidence":
        return [one for one in same if one.source == "evidence"]
    part = f"{outcome.subject}/"
    return [
        one for one in earlier if one in same or (one.source == "evidence" and one.subject.startswith(part))
    ]


def _counts(outcome: Outcome) -> bool:
    return outcome.worth is not None and not late(outcome)


def _opposite(one: Outcome, other: Outcome) -> bool:
    return _counts(one) and (one.worth or 0.0) * (other.worth or 0.0) < 0


def _said(outcome: Outcome) -> tuple[object, ...]:
    return (
        outcome.subject,
        outcome.tests_passed,
        outcome.tests_failed,
        outcome.tool_errors,
        outcome.rating,
        dict(outcome.labels),
    )


def _id_of(outcome: Outcome, before: int) -> str:
    """A name for what came without one, the same for the same words at the same place."""
    said = repr((_said(outcome), outcome.work_at, outcome.source, before))
    return f"o{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"


def _remarked(outcome: Outcome, remark: str) -> Outcome:
    return replace(outcome, remarks=(*outcome.remarks, remark))
