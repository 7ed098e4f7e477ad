"""What the pure rooms need from outside, as shapes. The composition root decides what stands behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from engine.core.catalog import Binding, Model
from engine.core.policy import Breaker, Budget, Learner
from engine.core.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Task:
    """What a learner is told of a request. The parents of a signature are its prefixes, up to (), which is every
    task. `grams` are the numbers of the buckets that the text's words fall into; the text itself is not kept."""

    signature: tuple[str, ...] = ()
    inputs: Mapping[str, float | str | bool] = field(default_factory=dict)
    grams: tuple[int, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Option:
    """Something a learner may choose: models tried one after another until evidence says that the work is done.
    A plain model is one step."""

    name: str
    steps: tuple[str, ...]


@quick
@dataclass(frozen=True, slots=True)
class Belief:
    """What a learner thinks of an option for a task: the probability that it is not worse than what it is compared
    with by more than the margin, and how many outcomes that rests on."""

    confidence: float
    samples: float
    quality: float = 0.5  # the success that is expected of it, in 0..1
    reach: tuple[float, ...] = ()  # how likely each of its steps is to run; empty where nothing is known
    cost_usd: float | None = (
        None  # for a whole task, as it was paid; None until each step's model has been paid
    )


class Trust(Protocol):
    """What learners believe now. Reading never changes it."""

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        """One for each of the options, in their order."""
        ...


@runtime_checkable
class Hindsight(Protocol):
    """What learners believe of work that evidence has spoken of. Those that cannot say do not implement it."""

    def right(self, learner: Learner, task: Task, steps: Sequence[str], accepted: bool) -> float:
        """How likely the work of the last of these models is right, which evidence accepted or rejected; that of
        those before it was rejected."""
        ...


@dataclass(frozen=True, slots=True)
class Pin:
    """A session's model, and why it has it. Times are seconds since the epoch. Where the model is the step of a plan
    (counted from 0), `before` holds the session's figures from when that step began."""

    model: str
    rule: str
    since: float
    expires: float
    plan: str = ""
    step: int = 0
    before: Mapping[str, int] = field(default_factory=dict)
    raised: bool = False  # an escalation brought the session here, and nothing cheaper takes it away again
    moved: float = 0.0  # when the session last left another model for this one; 0 where it never did


@dataclass(frozen=True, slots=True)
class Warm:
    """What a model's vendor had in its cache of a conversation after the last call, and how much that model has
    written in how many turns. `at` is in seconds since the epoch."""

    tokens: int
    at: float
    endpoint: str
    turns: int = 0
    written: int = 0


class Ways(Protocol):
    """Which ways lead to a model, and which of them are open now. Reading never changes it."""

    def order(self, model: Model, now: float) -> Sequence[Binding]:
        """All of them, the one to try first at the head."""
        ...

    def admits(self, binding: Binding, rules: Breaker, now: float) -> bool: ...
    def waits(self, binding: Binding, now: float) -> float:
        """Seconds until a call may take this way again; 0 where one may now."""
        ...

    def limited(self, binding: Binding, now: float) -> bool:
        """Whether nothing is wrong with this way but that a limit of calls is used up."""
        ...

    def returns(self, binding: Binding, now: float) -> bool:
        """Whether this way is well again and only spared for a while: the one to take where there is no other."""
        ...


class PinStore(Protocol):
    def get(self, key: str, now: float) -> Pin | None: ...
    def put(self, key: str, pin: Pin) -> None: ...


class Warmth(Protocol):
    """What is warm of which conversation, by model."""

    def of(self, conversation: str) -> Mapping[str, Warm]: ...
    def put(self, conversation: str, model: str, warm: Warm) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts against a budget now, in nano-dollars: what was spent within its window, and the most that
    requests under way may still cost."""

    spent: int = 0
    reserved: int = 0

    @property
    def taken(self) -> int:
        return self.spent + self.reserved


class Spend(Protocol):
    """What was spent. Asking never changes it."""

    def standing(self, budget: Budget, value: str, now: float) -> Standing: ...
    def room_in(self, budget: Budget, value: str, need: int, now: float) -> float | None:
        """Seconds until so much more could be spent, if nothing else is; None where that is never."""
        ...
