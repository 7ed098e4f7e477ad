"""Whether one condition holds wherever another does, and whether one never does, as far as their syntax tells.

Sound, and not complete: yes is always right, and no may mean that nobody can tell. Conditions are taken apart at
`&&` and `||`; what is left are comparisons with constants, which are compared as sets of numbers or values, and
everything else, which is alike only where it is written alike.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.policy.expression.syntax import Call, Constant, Items, Logic, Name, Node, Select, children

_FLIPPED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
_NUMBERS = frozenset({"int", "uint", "double"})
_FALSE = "bool:False"  # as `written` writes it


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

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and not (self.with_low and self.with_high))

    def within(self, other: "Range") -> "Range":
        """What both leave."""
        low, open_low = max((self.low, not self.with_low), (other.low, not other.with_low))
        high, with_high = min((self.high, self.with_high), (other.high, other.with_high))
        return Range(low, high, not open_low, with_high)


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


def never(condition: Form, bounds: Mapping[str, Range]) -> bool:
    """Whether nothing fulfils a condition. `bounds` are the numbers that a name can stand for at all."""
    if isinstance(condition, OneOf):
        return all(never(each, bounds) for each in condition.parts)
    atoms = list(conjuncts(condition))
    if isinstance(condition, All) and any(never(each, bounds) for each in condition.parts):
        return True
    texts = {each.text for each in atoms}
    if _FALSE in texts or any(f"(!_ on {text} )" in texts for text in texts):
        return True
    about: defaultdict[str, list[Range | Values]] = defaultdict(list)
    for each in atoms:
        if each.leaves is not None:
            about[each.about].append(each.leaves)
    return any(_nothing_left(leaves, bounds.get(name, Range())) for name, leaves in about.items())


def conjuncts(condition: Form) -> Iterator[Atom]:
    """What must hold in any case for the condition to hold."""
    match condition:
        case Atom():
            yield condition
        case All(parts):
            for each in parts:
                yield from conjuncts(each)
        case OneOf():
            return


def _nothing_left(leaves: Sequence[Range | Values], bound: Range) -> bool:
    for each in leaves:
        if isinstance(each, Range):
            bound = bound.within(each)
    forbidden = {
        value for each in leaves if isinstance(each, Values) and each.without for value in each.values
    }
    allowed = [each.values for each in leaves if isinstance(each, Values) and not each.without]
    if not allowed:
        return bound.empty
    whole = bound == Range()
    return not any(
        value not in forbidden and (whole or value in bound) for value in frozenset.intersection(*allowed)
    )


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
