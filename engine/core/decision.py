"""What the engine decides, tries and learns: the events of a request's life, as the journal keeps them.

Decision   which model, by which rule, why, and who else was considered
Attempt    one call of one provider
Result     how the call ended, with tokens, dollars and seconds
Outcome    what became of the work, told later
Lesson     what a learner takes from an outcome; learner state is the fold of all lessons in order
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.core.catalog import Binding, Endpoint, Model
from engine.core.errors import Fault
from engine.core.reply import StopReason, Usage

# Where a decision came from, strongest first: each outranks those after it.
Source = Literal["guard", "forced", "escalation", "pin", "rule", "learner", "default"]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a decision's trace: what was asked and what came of it."""

    kind: Literal[
        "guard",
        "rule",
        "default",
        "forced",
        "escalation",
        "pin",
        "eligible",
        "gate",
        "cap",
        "canary",
        "shadow",
    ]
    name: str
    result: Literal["matched", "passed", "error", "skipped"]
    detail: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)  # sub-expression -> value, when explaining


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that was considered. `confidence` is that it is not worse than the frontier; None if not asked."""

    model: str
    chosen: bool
    why: str
    confidence: float | None = None
    samples: float = 0.0
    expected_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which model serves a request. `targets` are models in the order they are tried; the first is the choice."""

    id: str
    at: float  # seconds since the epoch
    policy: str
    snapshot: str  # fingerprint of the policy set that decided
    targets: tuple[str, ...]
    rule: str
    source: Source
    reason: str
    requested_model: str
    protocol: str
    session: str = ""  # the pin key, hashed; empty where the request has no session
    confidence: float | None = None
    learner: str = ""
    signature: str = ""  # the task signature the learner saw
    effort: str = ""
    propensity: float = 1.0  # the chance this choice had, for learning from it later
    attempts: int = 1  # how many calls failover may make
    features: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    trace: tuple[Step, ...] = ()
    shadow: str = ""  # the model a policy on trial would have chosen; its step in the trace says more

    @property
    def model(self) -> str:
        return self.targets[0]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one provider, about to be made. `number` counts from 1."""

    number: int
    model: Model
    binding: Binding
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Served:
    """The attempt gave the client its answer, whole or to the point where only the client can go on."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. `committed` says content had already reached the client, so nothing else may follow."""

    fault: Fault
    committed: bool = False


AttemptEnd = Served | Failed


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt as the journal keeps it, after it ended. `fault` is None where it served."""

    decision: str
    number: int
    model: str
    endpoint: str
    binding_id: str
    at: float  # when it ended, in seconds since the epoch
    seconds: float
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ended. Seconds are from its arrival; `first_content_seconds` is None if none came."""

    decision: str
    at: float
    status: int
    model: str  # what served it, in the catalog's words; empty if nothing did
    endpoint: str
    attempts: int
    stop: StopReason | None
    usage: Usage
    cost_usd: float
    seconds: float
    first_content_seconds: float | None
    fault: Fault | None = None
    client_gone: bool = False
    dropped: tuple[str, ...] = ()  # fields lost in translation, dotted
    edits: tuple[str, ...] = ()  # top-level fields changed in a body forwarded as it came


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the work. Names one decision or one session; `id` makes sending it twice harmless."""

    id: str
    at: float
    decision: str = ""
    session: str = ""
    tests_passed: int = 0
    tests_failed: int = 0
    tool_errors: int = 0
    rating: float | None = None  # -1..1
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one outcome teaches about one model on one kind of task. `weight` shares credit between models."""

    outcome: str
    at: float
    learner: str
    signature: str
    model: str
    reward: float  # -1..1
    weight: float = 1.0
