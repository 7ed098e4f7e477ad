"""Which types fit which: comparisons, membership, and arguments to parameters."""

import re
from collections.abc import Sequence
from typing import Any, Literal

from engine.policy.expression.overloads import Overload
from engine.policy.expression.types import (
    BOOL,
    DYN,
    ListOf,
    MapOf,
    Record,
    Scalar,
    Type,
    is_number,
    kind_of,
)

Equality = Literal["same", "deep", "unknown"]  # Python's ==, our own, or only at run time
Fit = Literal["yes", "perhaps", "no"]

_INTERPRETED = frozenset({"timestamp", "duration", "type"})
_ORDERED = frozenset({"bool", "string", "bytes", "timestamp", "duration"})
_DURATION = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")


def is_duration(text: Any) -> bool:
    """Checked here in linear time: the reference's own pattern takes exponential time on hostile text."""
    return isinstance(text, str) and len(text) <= 100 and _DURATION.fullmatch(text) is not None


def possible(left: Type, right: Type) -> Equality | None:
    """How two values are compared for equality; None where their types can never be equal.

    Numbers of different types compare by value, as the specification's runtime has it. cel-python raises."""
    match left, right:
        case (Scalar("dyn"), _) | (_, Scalar("dyn")):
            return "unknown" if _INTERPRETED & {kind_of(left), kind_of(right)} else "deep"
        case Scalar(), Scalar():
            if is_number(left) and is_number(right):
                return "same"
            if left.kind != right.kind:
                return None
            return "unknown" if left.kind in _INTERPRETED else "same"
        case ListOf(), ListOf():
            return _of_items(possible(left.element, right.element), left.element, right.element)
        case MapOf(), MapOf():
            if possible(left.key, right.key) is None:
                return None
            return _of_items(possible(left.value, right.value), left.value, right.value)
        case ((MapOf() | Record()), (MapOf() | Record())):
            return "deep"
        case _:
            return None


def _of_items(found: Equality | None, left: Type, right: Type) -> Equality | None:
    """Python takes the same object for equal inside containers, so not-a-number would equal itself."""
    if found == "same" and "double" in (kind_of(left), kind_of(right)):
        return "deep"
    return found


def comparison(operator: str, left: Type, right: Type) -> Overload | None:
    """The overload that compares; one without Python where only the interpreter can."""
    if operator in ("==", "!="):
        match possible(left, right):
            case None:
                return None
            case "same":
                return Overload((left, right), BOOL, operator)
            case "deep":
                return Overload((left, right), BOOL, "equals" if operator == "==" else "differs")
            case _:
                return Overload((left, right), BOOL)
    kinds = {kind_of(left), kind_of(right)}
    if "dyn" in kinds:
        return Overload((left, right), BOOL) if _may_be_ordered(left) and _may_be_ordered(right) else None
    if is_number(left) and is_number(right):
        return Overload((left, right), BOOL, operator)
    if len(kinds) > 1 or not kinds <= _ORDERED:
        return None
    return Overload((left, right), BOOL, "" if kinds & _INTERPRETED else operator)


def _may_be_ordered(kind: Type) -> bool:
    return is_number(kind) or kind_of(kind) in _ORDERED or kind_of(kind) == "dyn"


def membership(item: Type, container: Type) -> Overload | None:
    match container:
        case ListOf():
            return _member(possible(item, container.element), item, container)
        case MapOf():
            return _member(possible(item, container.key), item, container)
        case Record():
            return Overload((item, container), BOOL, "in") if kind_of(item) == "string" else None
        case Scalar("dyn"):
            return Overload((item, container), BOOL)
        case _:
            return None


def _member(found: Equality | None, item: Type, container: ListOf | MapOf) -> Overload | None:
    match found:
        case None:
            return None
        case "same":
            doubles = isinstance(container, ListOf) and "double" in (
                kind_of(item),
                kind_of(container.element),
            )
            return Overload((item, container), BOOL, "contains_item" if doubles else "in")
        case "deep":
            return Overload((item, container), BOOL, "contains_item" if isinstance(container, ListOf) else "")
        case _:
            return Overload((item, container), BOOL)


def accepts(overload: Overload, kinds: Sequence[Type]) -> Fit:
    fits = [_fits(overload.parameter(index), kind) for index, kind in enumerate(kinds)]
    if "no" in fits:
        return "no"
    return "perhaps" if "perhaps" in fits else "yes"


def _fits(parameter: Type, kind: Type) -> Fit:
    if parameter == DYN:
        return "yes"
    match parameter, kind:
        case _, Scalar("dyn"):
            return "perhaps"
        case Scalar(), Scalar():
            return "yes" if parameter.kind == kind.kind else "no"
        case ListOf(), ListOf():
            return _fits(parameter.element, kind.element)
        case MapOf(), (MapOf() | Record()):
            return "yes"
        case _:
            return "no"
