"""What a policy says, in the words the rooms share: a rule's action, pinning, failover, learners.

The rules themselves (their expressions) stay inside the policy room; what leaves it is a `Verdict`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from engine.core.conversation import Lossy
from engine.core.decision import Step

# What expressions read: {"features": …, "hints": …, "identity": …}; `schemas/input.v1.schema.json` types it.
Inputs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does. Exactly one of `use` and `choose` is set; names are models, tiers, plans or
    `requested`."""

    use: str = ""
    choose: tuple[str, ...] = ()
    by: str = ""  # the learner that chooses
    effort: str = ""  # reasoning effort asked of the model; empty leaves the client's
    failover: bool = True
    learn: bool = True
    escalate: bool = False  # outranks a pin, upward only


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules of a policy say about one request."""

    rule: str  # "default" where no rule matched
    source: Literal["guard", "rule", "default"]
    action: Action
    reason: str
    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Pinning:
    """Which values name a session (first present wins, as in `hints.session`), how long it keeps its model, and what
    moves it: a saving of more than `switch_when_saving_usd` (None: none does), and the events in `move_when`."""

    key: tuple[str, ...] = ("hints.session", "features.client_session", "features.first_user_hash")
    ttl_seconds: float = 1800.0
    switch_when_saving_usd: float | None = None
    move_when: frozenset[str] = frozenset({"over_context"})


RetryCause = Literal["connect_error", "timeout", "429", "5xx", "529"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a model at an endpoint is left alone for a while: after `failures` failed calls within the window, or when
    more than `slow_share` of them took longer than `slower_than_seconds` to their first content."""

    failures: int = 5
    slow_share: float = 0.5
    slower_than_seconds: float = 20.0
    window_seconds: float = 30.0
    cooldown_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Failover:
    """What happens when a model fails before its first content. `chains` maps a tier or model to what follows."""

    retry_on: frozenset[str] = frozenset({"connect_error", "timeout", "429", "5xx", "529"})
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attempts: int = 3
    deadline_seconds: float = 90.0
    breaker: Breaker = Breaker()


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps that are tried in order, the next where evidence says that the one before failed. Each step is the name
    of a model, a tier or `requested`. Below `right_below` the learner that chose the plan says so too."""

    name: str
    steps: tuple[str, ...]
    right_below: float | None = None


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner as declared. Confidence is relative: that a candidate is not worse than `against` by `margin`."""

    name: str
    algorithm: str
    signature: tuple[str, ...]  # the values that make two tasks alike, as in `features.phase`
    threshold: float = 0.95
    against: str = "frontier"
    margin: float = 0.02
    min_samples: int = 20
    explore_rate: float = 0.0
    explore_loss: float = 0.05  # nothing is tried that is expected to be worse by more than this
    inputs: tuple[str, ...] = ()  # values beside the signature, for the algorithms that read them
    text: bool = False  # whether the words of the request are read too
    usd_per_quality: float = 0.0  # what a task done is worth; 0 takes the cheapest that passes
    influence: float = 0.2  # the largest share of the evidence that one identity may be


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent within a window that moves, by each value of `per`. Beyond it `use` serves, or `reject` is
    the status requests are refused with; exactly one of the two is set."""

    name: str
    per: str  # as in `identity.team`; `session` is the session that keeps its model
    usd: float
    window_seconds: float
    use: str = ""
    reject: int = 0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How fast each value of `per` may ask: so many requests and tokens within a window that moves, and so many
    requests at a time. None is no limit; at least one is set."""

    name: str
    per: str  # as in `identity.name`
    window_seconds: float = 60.0
    requests: int | None = None
    tokens: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Reuse:
    """A decision is used again for `seconds`, for requests whose `key` values are the same."""

    seconds: float
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the journal keeps of prompts and replies, and for how long it keeps that, and decisions with their attempts
    and results. What was learned and spent is kept for good."""

    prompts: Literal["off", "hashed", "full"] = "off"
    decisions_seconds: float = 90 * 86_400.0
    contents_seconds: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Shadow:
    """A policy that decides beside the one that serves, on a share of sessions, and serves nobody."""

    policy: str
    sample: float = 1.0


@dataclass(frozen=True, slots=True)
class Canary:
    """A policy that serves a part of the sessions or identities. `abort_when` is the text of its condition."""

    policy: str
    percent: float
    by: Literal["session", "identity"] = "session"
    abort_when: str = ""
    min_requests: int = 20


@dataclass(frozen=True, slots=True)
class Rollout:
    """Which other policies of the set are tried while this one serves."""

    shadow: Shadow | None = None
    canary: Canary | None = None


# Seconds on a clock that only goes forward, counted from anywhere.
Clock = Callable[[], float]


class Policy(Protocol):
    """A policy ready to serve. Pure: the same inputs give the same verdict."""

    @property
    def name(self) -> str: ...
    @property
    def pinning(self) -> Pinning: ...
    @property
    def failover(self) -> Failover: ...
    @property
    def plans(self) -> Mapping[str, Plan]: ...
    @property
    def learners(self) -> Mapping[str, Learner]: ...
    @property
    def budgets(self) -> tuple[Budget, ...]: ...
    @property
    def rate_limits(self) -> tuple[RateLimit, ...]: ...
    @property
    def reuse(self) -> Reuse | None: ...
    @property
    def rollout(self) -> Rollout: ...
    @property
    def recording(self) -> Recording: ...
    @property
    def lossy(self) -> Lossy: ...
    @property
    def fingerprint(self) -> str:
        """Tells this text of the policy from every other."""
        ...

    def judge(self, inputs: Inputs, clock: Clock | None = None) -> Verdict:
        """Guards in order, then rules in order, then the default: the first match. A deadline that the policy
        declares holds only where there is a `clock`."""
        ...

    def explain(self, inputs: Inputs) -> Verdict:
        """The same verdict, with every rule's result and the values of its sub-expressions in the trace."""
        ...

    def escalates(self, plan: str, inputs: Inputs) -> bool:
        """Whether evidence says that this plan's step failed, so that its next one takes over; an error says so
        too."""
        ...

    def said(self, rule: str) -> Verdict | None:
        """What the rule of this name answers, if there is one; `default` is the default's."""
        ...

    def insists(self, inputs: Inputs) -> bool:
        """Whether a guard or a rule that escalates holds, so that nothing decided before may stand."""
        ...

    def locked(self, inputs: Inputs) -> bool:
        """Whether a session must keep its model now, whatever it would save to move; an error says so too."""
        ...

    def may_explore(self, learner: str, inputs: Inputs) -> bool:
        """Whether this learner's `explore.when` allows trying something for this request; an error forbids it."""
        ...

    def reward(self, outcome: Mapping[str, Any]) -> tuple[str, float] | None:
        """The name of the first `outcomes` rule that matches and its reward in -1..1; None where none does."""
        ...

    def abort_reason(self, stats: Mapping[str, Any]) -> str:
        """Why the canary must end, given how it does; empty where it may go on."""
        ...
