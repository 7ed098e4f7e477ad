"""What can go wrong, as values and as exceptions.

    WeaveError                 something happened; it carries the Fault the client will read
    ├── RequestError           the client sent what cannot be served (4xx, never retried)
    ├── UpstreamError          a provider failed, refused, or could not be reached
    ├── UnservableError        the engine has nothing to serve this request with (no model fits, no key)
    │   └── BudgetError        a budget has no room for what it may cost
    ├── LossError              the request cannot go to this model whole, and the policy lets nothing be lost
    ├── StreamOrderError       events came in an order no stream has: a bug in a decoder
    └── InvalidDocumentsError  operators' files do not hold; carries every Problem

A `Fault` is the fact, in no vendor's words; a protocol turns it into its own error body. A `Problem` is
something an operator wrote wrong; it is collected, never raised alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from engine.core.conversation import Loss

FaultKind = Literal[
    "invalid_request",  # 400
    "authentication",  # 401
    "billing",  # 402
    "permission",  # 403
    "not_found",  # 404
    "request_too_large",  # 413
    "context_exceeded",  # 400, of its own kind because a larger model would do
    "incapable",  # 400, of its own kind because an abler model would do
    "rate_limit",  # 429
    "server_error",  # 5xx
    "overloaded",  # 529 and 503
    "timeout",  # the provider was silent for too long
    "connection",  # the provider could not be reached, or hung up
]

STATUS: dict[FaultKind, int] = {
    "invalid_request": 400,
    "authentication": 401,
    "billing": 402,
    "permission": 403,
    "not_found": 404,
    "request_too_large": 413,
    "context_exceeded": 400,
    "incapable": 400,
    "rate_limit": 429,
    "server_error": 500,
    "overloaded": 529,
    "timeout": 504,
    "connection": 502,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something failed. `status` is the HTTP status the client should see; `origin` says whose fault it was;
    `detail` is for the operator's log and never reaches the client."""

    kind: FaultKind
    message: str
    status: int = 0
    origin: Literal["client", "engine", "provider"] = "engine"
    code: str = ""  # the vendor's own word for it
    retry_after_seconds: float | None = None
    detail: str = ""

    @property
    def http_status(self) -> int:
        return self.status or STATUS[self.kind]


class WeaveError(Exception):
    """Anything of ours that is raised. `fault` is what the client will be told."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class RequestError(WeaveError):
    """The client's request is wrong; sending it again unchanged will not help."""

    def __init__(self, message: str, kind: FaultKind = "invalid_request") -> None:
        super().__init__(Fault(kind, message, origin="client"))


class UpstreamError(WeaveError):
    """A provider failed; its fault says how."""


class UnservableError(WeaveError):
    """The request is fine, but nothing here can serve it."""


# What it is called that a budget refuses with such a status.
REFUSALS: dict[int, FaultKind] = {402: "billing", 403: "permission", 429: "rate_limit"}


class BudgetError(UnservableError):
    """What a request may cost would go over a budget that refuses."""

    def __init__(self, fault: Fault, budget: str, value: str) -> None:
        super().__init__(fault)
        self.budget = budget
        self.value = value


# The code of a fault that says that a provider's bytes were no answer of its protocol. They are counted.
MALFORMED = "malformed"

# The code of a fault that another model or endpoint may not have: this one could not have carried the request.
CANNOT_CARRY = "cannot_carry"


class LossError(WeaveError):
    """Something would be lost on the way to one model, and may not be. `losses` says what."""

    def __init__(self, message: str, losses: Iterable[Loss] = ()) -> None:
        super().__init__(Fault("invalid_request", message, origin="client", code=CANNOT_CARRY))
        self.losses = tuple(losses)


class StreamOrderError(WeaveError):
    def __init__(self, message: str) -> None:
        super().__init__(Fault("server_error", f"stream events out of order: {message}"))


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something an operator wrote wrong, where, and what to do. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str  # WV1xx YAML and schema, WV2xx CEL types, WV3xx meaning, WV4xx cost and safety, WV5xx tests
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = field(default="error")

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}  {self.code} {self.severity}  {self.message}{hint}"


class InvalidDocumentsError(WeaveError):
    """A set of documents that cannot serve. `problems` holds all of them, sorted."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = sum(problem.severity == "error" for problem in self.problems)
        super().__init__(Fault("server_error", f"{count} problem(s) in the policy files"))
