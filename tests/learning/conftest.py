"""Lessons and decisions to learn from, made short."""

from collections.abc import Callable

import pytest

from engine.core.decision import Decision, Lesson

MakeDecision = Callable[..., Decision]
MakeLesson = Callable[..., Lesson]


@pytest.fixture
def decided() -> MakeDecision:
    def make(
        id: str = "d1", model: str = "haiku", learner: str = "picker", signature: str = "execute"
    ) -> Decision:
        return Decision(
            id=id,
            at=0.0,
            policy="p",
            snapshot="s",
            targets=(model,),
            rule="r",
            source="rule",
            reason="",
            requested_model="opus",
            protocol="anthropic-messages",
            learner=learner,
            signature=signature,
        )

    return make


@pytest.fixture
def lesson() -> MakeLesson:
    def make(
        model: str = "haiku",
        reward: float = 1.0,
        weight: float = 1.0,
        signature: str = "execute",
        learner: str = "picker",
    ) -> Lesson:
        return Lesson("o1", 0.0, learner, signature, model, reward, weight)

    return make
