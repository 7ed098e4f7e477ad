"""The only door to RE2: regular expressions that take linear time whatever the pattern and the text."""

from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]  # Google ships no types with it

from engine.policy.expression.complaints import EvaluationError

PATTERN_LIMIT = 1000  # characters
_PROGRAM_LIMIT = 20_000  # instructions: counted repetitions of counted repetitions multiply


class PatternError(ValueError):
    """RE2 does not take this pattern."""


class PatternTooLargeError(PatternError):
    """RE2 would take it, but every request would pay for it."""


@lru_cache(maxsize=1024)
def pattern(text: str) -> Any:
    """A compiled pattern; `.search(text)` is not None where it is found anywhere."""
    if len(text) > PATTERN_LIMIT:
        raise PatternTooLargeError(f"a pattern of {len(text)} characters; {PATTERN_LIMIT} are allowed")
    options = re2.Options()
    options.log_errors = False  # RE2 would write to stderr itself
    options.max_mem = 1 << 20
    try:
        found = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        if "too large" in reason or "repetition size" in reason:
            raise PatternTooLargeError(reason) from None
        raise PatternError(reason) from None
    if found.programsize > _PROGRAM_LIMIT:
        raise PatternTooLargeError(f"a pattern of {found.programsize} steps; {_PROGRAM_LIMIT} are allowed")
    return found


def matches(text: str, source: str) -> bool:
    """With a pattern that is only known when the expression runs."""
    try:
        return pattern(source).search(text) is not None
    except PatternError as error:
        raise EvaluationError(f"not a pattern: {error}") from None
