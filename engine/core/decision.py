"""What the engine decides, tries and learns: the events of a request's life, as the journal keeps them.

Decision   which model, by which rule, why, and who else was considered
Attempt    one call of one provider
Result     how the call ended, with tokens, dollars and seconds
Outcome    what became of the work, told later
Lesson     what a learner takes from an outcome; learner state is the fold of all lessons in order
Withdrawal lessons that no longer count: their outcome was outranked, or an operator rolled back
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.core.catalog import Binding, Endpoint, Model
from engine.core.conversation import Loss
from engine.core.errors import Fault
from engine.core.evidence import Grounds, TaskVerdict
from engine.core.identity import LOCAL, Identity
from engine.core.reply import StopReason, Usage
from engine.core.values import quick

# Where a decision came from, strongest first: each outranks those after it.
Source = Literal["guard", "budget", "forced", "sealed", "escalation", "pin", "rule", "learner", "default"]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a decision's trace: what was asked and what came of it."""

    kind: Literal[
        "guard",
        "rule",
        "default",
        "forced",
        "sealed",
        "escalation",
        "pin",
        "eligible",
        "gate",
        "cap",
        "canary",
        "shadow",
        "switching",
        "reuse",
        "budget",
    ]
    name: str
    result: Literal["matched", "passed", "error", "skipped"]
    detail: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)  # sub-expression -> value, when explaining


@quick
@dataclass(frozen=True, slots=True)
class Candidate:
    """A model or plan that was considered. `confidence` is that it is not worse than the frontier; None: not asked."""

    model: str
    chosen: bool
    why: str
    confidence: float | None = None
    samples: float = 0.0
    expected_cost_usd: float | None = None
    plan: str = ""  # its name where it is a plan; `model` is then its first step


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
    identity: str = ""  # who asked: the name, team and data class of their key
    team: str = ""
    data_class: str = ""
    task: int = 0  # which of the user's requests in this session it works on, from 1
    confidence: float | None = None
    learner: str = ""
    signature: str = ""  # the task signature the learner saw
    inputs: Mapping[str, Any] = field(default_factory=dict)  # the values the learner saw
    grams: tuple[int, ...] = ()  # the buckets of the words it saw, where it asks for text
    plan: str = ""  # the plan the model is a step of; empty where there is none
    step: int = 0  # which of its steps, from 0
    effort: str = ""
    propensity: float = 1.0  # the chance this choice had, for learning from it later
    reused_from: str = ""  # the decision whose verdict was used again
    attempts: int = 1  # how many calls failover may make
    held: tuple[
        str, ...
    ] = ()  # the endpoints that can read what the request has sealed; they are tried first
    held_fast: bool = False  # whether nobody else may be tried
    features: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    trace: tuple[Step, ...] = ()
    reserved_usd: float = 0.0  # the most it may cost, held for it while it runs; 0 where no budget holds it
    shadow: str = ""  # the model a policy on trial would have chosen; its step in the trace says more

    @property
    def model(self) -> str:
        return self.targets[0]

    @property
    def asker(self) -> Identity:
        """Older engines recorded nobody, and knew one alone."""
        return Identity(self.identity or LOCAL.name, self.team, self.data_class)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one provider, about to be made. `number` counts from 1; `left_seconds` are left of the deadline."""

    number: int
    model: Model
    binding: Binding
    endpoint: Endpoint
    left_seconds: float = float("inf")


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is called for so long, because nobody can serve who may in a moment."""

    seconds: float


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
    """An attempt as the journal keeps it, after it ended. `fault` is None where it served, or was
    abandoned."""

    decision: str
    number: int
    model: str
    endpoint: str
    binding_id: str
    at: float  # when it ended, in seconds since the epoch
    seconds: float
    fault: Fault | None = None
    abandoned: bool = False  # it was given up because its client left, or the engine stopped


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
    dropped: tuple[Loss, ...] = ()  # what did not come through as it was; of the answer, under `reply`
    edits: tuple[str, ...] = ()  # top-level fields changed in a body forwarded as it came
    credential: str = ""  # `client` where it was the client's own, so that the operator has not paid
    wasted_usd: float = (
        0.0  # what attempts that were given up are estimated to have cost, on top of `cost_usd`
    )


# How an outcome came: somebody said so (API, command line), by a signed link, or read from the conversation. What
# was said outranks what was read.
Teller = Literal["told", "link", "evidence", "imported"]


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
    verdict: TaskVerdict = ""  # what the conversation's evidence comes to, where it was read from there
    grounds: Grounds = ""  # the strongest kind of evidence it rests on
    source: Teller = "told"
    identity: str = ""  # who told it
    subject: str = ""  # what it is about, so that a later one about the same can replace it
    work_at: float = 0.0  # when the newest decision of it was made; 0 where that is not known
    worth: float | None = None  # what the policy made of it, -1..1; None where no rule matched
    valued_by: str = ""  # that policy and the fingerprint of its set, as in `default@1f3a…`
    remarks: tuple[str, ...] = ()  # what is odd about it: late, contradicts …, outranked by …


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of the work: who did it, and what the evidence said at its end. `score` is what its own work turned
    out to be worth, where that is known apart from what stood in the end (as in a table of results)."""

    model: str
    share: float = 1.0  # of the turns
    cost_usd: float | None = None
    accepted: bool | None = None  # False: rejected and left; None: there was no evidence
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one outcome teaches a learner about a task: the steps that ran, in order, and the score of what stood,
    which is the last one's work."""

    outcome: str
    at: float
    learner: str
    signature: str  # the parts joined by "/"
    steps: tuple[StepRun, ...]
    score: float | None  # 0..1; None where only the steps' verdicts or their own scores are known
    weight: float = 1.0
    identity: str = ""  # who told it; what one of them can teach is bounded
    influence: float = 0.2  # by this share of all that is told
    inputs: Mapping[str, float | str | bool] = field(default_factory=dict)
    grams: tuple[int, ...] = ()
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Lessons that no longer count, from the `first` to the `last` by their numbers in the journal, which keeps them.

    `after` is how many lessons there were when it was recorded. Of the withdrawals before it the first `stands`
    still count: all of them, unless it rolls back to a moment before some were made."""

    at: float
    first: int
    last: int
    after: int
    stands: int
    why: str
