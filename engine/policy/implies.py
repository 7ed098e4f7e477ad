"""Whether one condition holds wherever another does, as far as their syntax tells.

Sound, and not complete: yes is always right, and no may mean that nobody can tell. Conditions are taken apart at
`&&` and `||`; what is left are comparisons with constants, which are compared as sets of numbers or values, and
everything else, which is alike only where it is written alike.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.policy.expression.syntax import Call, Constant, Items, Logic, Name, Node, Select, children

_FLIPPED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
_NUMBERS = frozenset({"int", "uint", "double"})


@dataclass(frozen=True, slots=True)
class Range:
    """What a comparison leaves of a number: all between two ends, with or without them."""

    low: float = -math.inf
    high: float = math.inf
    with_low: bool = True
    with_high: bool = True

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool | str) or not isinstance(value, int | float):
            return False
        above = value > self.low or (self.with_low and value == self.low)
        return above and (value < self.high or (self.with_high and value == self.high))

    def holds(self, other: "Range") -> bool:
        """Whether every number of the other is in this one."""
        low = other.low > self.low or (other.low == self.low and (self.with_low or not other.with_low))
        high = other.high < self.high or (other.high == self.high and (self.with_high or not other.with_high))
        return low and high


@dataclass(frozen=True, slots=True)
class Values:
    """What a comparison leaves where it names values: those, or all but those."""

    values: frozenset[Any]
    without: bool = False


@dataclass(frozen=True, slots=True)
class Atom:
    """A condition that is not taken apart: how it is written, and what it says of what, if it compares."""

    text: str
    about: str = ""
    leaves: Range | Values | None = None


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple["Form", ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    parts: tuple["Form", ...]


# A condition taken apart.
Form = Atom | All | OneOf


def form(node: Node) -> Form:
    if not isinstance(node, Logic):
        return atom(node)
    parts = tuple(form(each) for each in node.operands)
    return All(parts) if node.operator == "&&" else OneOf(parts)


def implies(narrow: Form, wide: Form) -> bool:
    """Whether the wide condition holds wherever the narrow one does."""
    if isinstance(wide, All):
        return all(implies(narrow, each) for each in wide.parts)
    if isinstance(narrow, OneOf):
        return all(implies(each, wide) for each in narrow.parts)
    if isinstance(narrow, All) and any(implies(each, wide) for each in narrow.parts):
        return True
    if isinstance(wide, OneOf):
        return any(implies(narrow, each) for each in wide.parts)
    return isinstance(narrow, Atom) and _covers(wide, narrow)


def _covers(wide: Atom, narrow: Atom) -> bool:
    if wide.text == narrow.text:
        return True
    if wide.about != narrow.about or not wide.about:
        return False
    match wide.leaves, narrow.leaves:
        case Range() as outer, Range() as inner:
            return outer.holds(inner)
        case Range() as outer, Values(values, without=False):
            return all(value in outer for value in values)
        case Values(allowed, without=False), Values(values, without=False):
            return values <= allowed
        case Values(forbidden, without=True), Values(values, without=False):
            return not values & forbidden
        case Values(forbidden, without=True), Values(values, without=True):
            return forbidden <= values
        case Values(forbidden, without=True), Range() as inner:
            return not any(value in inner for value in forbidden)
        case _:
            return False


def atom(node: Node) -> Atom:
    text = written(node)
    if not isinstance(node, Call) or node.target is not None or len(node.arguments) != 2:
        return Atom(text)
    left, right = node.arguments
    function = node.function
    if function == "_in_" and isinstance(right, Items):
        values = [_value(each) for each in right.items]
        return Atom(text) if None in values else Atom(text, written(left), Values(frozenset(values)))
    if function not in _FLIPPED:
        return Atom(text)
    if isinstance(left, Constant):
        left, right, function = right, left, _FLIPPED[function]
    value = _value(right)
    return Atom(text) if value is None else Atom(text, written(left), _left_by(function, right, value))


def _left_by(function: str, constant: Node, value: Any) -> Range | Values | None:
    if function in ("_==_", "_!=_"):
        return Values(frozenset({value}), without=function == "_!=_")
    if not isinstance(constant, Constant) or constant.kind not in _NUMBERS:
        return None
    match function:
        case "_<_":
            return Range(high=value, with_high=False)
        case "_<=_":
            return Range(high=value)
        case "_>_":
            return Range(low=value, with_low=False)
        case _:
            return Range(low=value)


def _value(node: Node) -> Any:
    """A constant that can be told from others; None for anything else. `true` is not 1, nor 'a' b'a'."""
    if not isinstance(node, Constant) or node.value is None or node.value != node.value:
        return None
    return node.value if node.kind in _NUMBERS else (node.kind, node.value)


def written(node: Node) -> str:
    """An expression without what an author may write either way: spaces and parentheses."""
    return " ".join(_words(node))


def _words(node: Node) -> Iterator[str]:
    match node:
        case Name(name=name):
            yield name
        case Constant(kind=kind, value=value):
            yield f"{kind}:{value!r}"
        case Select(operand=operand, field=field):
            yield f"{written(operand)}.{field}"
        case _:
            operator = getattr(node, "function", None) or getattr(node, "operator", None)
            yield f"({operator or type(node).__name__}"
            if isinstance(node, Call):
                yield "of" if node.target is not None else "on"
            for child in children(node):
                yield from _words(child)
            yield ")"
