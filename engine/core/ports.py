"""What the pure rooms need from outside, as shapes. The composition root decides what stands behind them."""

from dataclasses import dataclass
from typing import Protocol

from engine.core.policy import Learner


@dataclass(frozen=True, slots=True)
class Belief:
    """What a learner thinks of a model on a kind of task: the probability that it is not worse than the one it
    is compared with by more than the margin, and how many samples that rests on."""

    confidence: float
    samples: float


class Trust(Protocol):
    """What learners believe now. Reading never changes it."""

    def belief(self, learner: Learner, signature: str, candidate: str, against: str) -> Belief: ...


@dataclass(frozen=True, slots=True)
class Pin:
    """A session's model, and why it has it. Times are seconds since the epoch."""

    model: str
    rule: str
    since: float
    expires: float


class PinStore(Protocol):
    def get(self, key: str, now: float) -> Pin | None: ...
    def put(self, key: str, pin: Pin) -> None: ...
