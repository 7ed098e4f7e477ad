"""From an outcome to lessons: who did the work, and what share of the credit is theirs.

An outcome speaks of one decision or of a session, in which several models may have served. Each is taught with the
share of turns it served. Turns that teach nobody (a rule said `learn: never`, or nothing names a learner) keep
their share to themselves: success that an unlearned model may have caused is not credited to the others.

Choices that no learner made teach as well. A learner compares with the frontier, so it must see what the frontier
does on the same kind of task when a rule, a pin or the default sends it there.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from engine.core.decision import Decision, Lesson, Outcome


def lessons(
    decisions: Sequence[Decision],
    outcome: Outcome,
    reward: float,
    at: float,
    served: Mapping[str, str] | None = None,
) -> tuple[Lesson, ...]:
    """What an outcome worth `reward` (cut to -1..1) teaches about the models that served these decisions.

    `served` names, by decision id, the model that answered in the end: after a failover it is not the chosen one,
    and it is empty where nothing answered. A decision it does not know counts for its choice.
    """
    if not math.isfinite(reward):
        return ()
    worked = [(decision, model) for decision in decisions if (model := _served(decision, served or {}))]
    turns = Counter(
        (decision.learner, decision.signature, model)
        for decision, model in worked
        if decision.learner and decision.signature
    )
    worth = min(max(reward, -1.0), 1.0)
    return tuple(
        Lesson(outcome.id, at, learner, signature, model, worth, count / len(worked))
        for (learner, signature, model), count in turns.items()
    )


def _served(decision: Decision, served: Mapping[str, str]) -> str:
    return served.get(decision.id, decision.model)
