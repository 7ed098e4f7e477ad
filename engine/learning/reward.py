"""From an outcome to lessons: who did the work, in which order, and what share of the credit is theirs.

An outcome speaks of one decision or of a session, in which several models may have served, as the steps of a plan or
one after another. A learner takes one lesson from it, about the kind of task that it was when the work began: the
models in the order they served, each with its share of the turns. A model whose work was given to the next one by an
escalation was rejected by the evidence, and the score is that of what stood in the end.

Turns that teach nobody (a rule said `learn: never`, or nothing names a learner) keep their share to themselves:
success that an unlearned model may have caused is not credited to the others.

Choices that no learner made teach as well. A learner compares with the frontier, so it must see what the frontier
does on the same kind of task when a rule, a pin or the default sends it there.
"""

import math
from collections.abc import Mapping, Sequence

from engine.core.decision import Decision, Lesson, Outcome, StepRun


def lessons(
    decisions: Sequence[Decision],
    outcome: Outcome,
    reward: float,
    at: float,
    served: Mapping[str, str] | None = None,
    *,
    costs_usd: Mapping[str, float] | None = None,
    accepted: bool | None = None,
    identity: str = "",
    influence: Mapping[str, float] | None = None,
) -> tuple[Lesson, ...]:
    """What an outcome worth `reward` (cut to -1..1) teaches about the models that served these decisions.

    `served` names, by decision id, the model that answered in the end: after a failover it is not the chosen one,
    and it is empty where nothing answered. A decision it does not know counts for its choice. `costs_usd` is what
    each decision cost; a step that has one without a figure has none. `accepted` is what the evidence said of the
    last step's work, and `identity` is who tells the outcome, whose `influence` on each learner is bounded.
    """
    if not math.isfinite(reward):
        return ()
    worked = [(decision, model) for decision in decisions if (model := _served(decision, served or {}))]
    score = (min(max(reward, -1.0), 1.0) + 1.0) / 2.0
    found = []
    for learner in dict.fromkeys(decision.learner for decision, _ in worked if decision.learner):
        turns = [(decision, model) for decision, model in worked if decision.learner == learner]
        first = turns[0][0]
        found.append(
            Lesson(
                outcome.id,
                at,
                learner,
                first.signature,
                _steps(turns, costs_usd or {}, accepted),
                score,
                len(turns) / len(worked),
                identity,
                (influence or {}).get(learner, 0.2),
                first.inputs,
                first.grams,
                first.propensity,
            )
        )
    return tuple(found)


def _steps(
    turns: Sequence[tuple[Decision, str]], costs_usd: Mapping[str, float], accepted: bool | None
) -> tuple[StepRun, ...]:
    """The models in the order they first served; one that returns goes on with what it began."""
    models = list(dict.fromkeys(model for _, model in turns))
    taken_over = {model: _escalated(turns, model) for model in models[1:]}
    steps = []
    for number, model in enumerate(models):
        its = [decision.id for decision, served in turns if served == model]
        costs = [costs_usd.get(decision) for decision in its]
        known = [usd for usd in costs if usd is not None]
        after = models[number + 1] if number + 1 < len(models) else ""
        steps.append(
            StepRun(
                model,
                len(its) / len(turns),
                sum(known) if len(known) == len(costs) else None,
                (False if taken_over[after] else None) if after else accepted,
            )
        )
    return tuple(steps)


def _escalated(turns: Sequence[tuple[Decision, str]], model: str) -> bool:
    """Whether a model came in because the one before had failed."""
    first = next(decision for decision, served in turns if served == model)
    return first.source == "escalation"


def _served(decision: Decision, served: Mapping[str, str]) -> str:
    return served.get(decision.id, decision.model)
