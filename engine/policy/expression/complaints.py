"""What can be wrong with an expression: complaints when it is written, an error when it runs."""

from dataclasses import dataclass
from typing import Literal

from engine.core.errors import Fault, WeaveError

Severity = Literal["error", "warning"]

# Every code an expression can be given, in one sentence each; the reference manual is made of these.
CODES: dict[str, str] = {
    "WV200": "The text is not a CEL expression.",
    "WV201": "A record has no field of this name.",
    "WV202": "Nothing of this name can be read here.",
    "WV203": "There is no function of this name.",
    "WV204": "The operator or function does not take values of these types.",
    "WV205": "An optional field is read without a has() that proves it is there.",
    "WV206": "The whole expression has another type than its place asks for.",
    "WV207": "A variable is read that is not defined before this place.",
    "WV208": "The function takes another number of arguments.",
    "WV209": "A macro is not given what it needs: a field for has(), a plain name for a loop.",
    "WV210": "A literal stands for no value: a number out of range, a bad escape, a bad pattern.",
    "WV211": "The types are not known well enough to compile, so the slow interpreter will run it.",
    "WV212": "A comparison with a value that the field can never have.",
    "WV401": "The expression may cost more than is allowed.",
    "WV402": "The text of the expression is too long.",
    "WV403": "The expression is nested too deeply.",
    "WV404": "The pattern of matches() comes from the client.",
    "WV405": "duration() or timestamp() reads text that comes from the client.",
    "WV406": "The pattern of matches() is too large.",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something wrong in an expression's text. Line and column count from 1, inside that text."""

    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    severity: Severity = "error"


class EvaluationError(WeaveError):
    """An expression had no value for these inputs: a division by zero, an absent key, an overflow."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault("server_error", message))
