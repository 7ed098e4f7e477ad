"""What the checker says while it walks: complaints, and why a part cannot be compiled."""

from dataclasses import dataclass, field, replace

from engine.policy.expression.complaints import Complaint, Severity
from engine.policy.expression.judgement import Judgement
from engine.policy.expression.syntax import Span
from engine.policy.expression.types import DYN, Type

# A name of eight thousand characters is not worth repeating.
MESSAGE_LIMIT = 200


@dataclass(slots=True)
class Notes:
    complaints: list[Complaint] = field(default_factory=list)
    slow: tuple[Span, str] | None = None  # the first part that could not be proven, and why
    compiled_only: Span | None = None  # a form the interpreter does not have

    def complain(
        self, span: Span, code: str, message: str, hint: str = "", severity: Severity = "error"
    ) -> Judgement:
        """After an error a part is `dyn`, which fits everywhere: one mistake is one complaint."""
        message = message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "…"
        self.complaints.append(Complaint(span.line, span.column, code, message, hint, severity))
        return Judgement(DYN, proven=False)

    def unproven(
        self, span: Span, reason: str, kind: Type | None = None, base: Judgement | None = None
    ) -> Judgement:
        self.slow = self.slow or (span, reason)
        base = base or Judgement()
        return replace(base, type=base.type if kind is None else kind, proven=False, fallible=True)
