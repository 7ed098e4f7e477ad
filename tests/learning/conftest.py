"""Lessons and decisions to learn from, made short."""

from collections.abc import Callable

import pytest

from engine.core.decision import Decision, Lesson, StepRun

MakeDecision = Callable[..., Decision]
MakeLesson = Callable[..., Lesson]


@pytest.fixture
def decided() -> MakeDecision:
    def make(
        id: str = "d1",
        model: str = "haiku",
        learner: str = "picker",
        signature: str = "execute",
        source: str = "rule",
    ) -> Decision:
        return Decision(
            id=id,
            at=0.0,
            policy="p",
            snapshot="s",
            targets=(model,),
            rule="r",
            source=source,  # type: ignore[arg-type]  # a text
            reason="",
            requested_model="opus",
            protocol="anthropic-messages",
            learner=learner,
            signature=signature,
        )

    return make


@pytest.fixture
def lesson() -> MakeLesson:
    """`steps` as in "haiku- opus+": who worked, and whether it was rejected, accepted, or not judged."""

    def make(
        steps: str = "haiku",
        score: float | None = 1.0,
        weight: float = 1.0,
        signature: str = "execute",
        learner: str = "picker",
        identity: str = "",
    ) -> Lesson:
        verdicts = {"+": True, "-": False}
        ran = tuple(StepRun(name.rstrip("+-"), accepted=verdicts.get(name[-1])) for name in steps.split())
        return Lesson("o1", 0.0, learner, signature, ran, score, weight, identity)

    return make
