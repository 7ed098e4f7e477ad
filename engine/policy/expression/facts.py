"""What is known to be present where: the facts that has() establishes, and how logic carries them.

None stands for "cannot be": where `false && …` came out true, everything is known.
"""

from collections.abc import Callable, Sequence

from engine.policy.expression.judgement import NO_FACTS, Facts, Judgement
from engine.policy.expression.syntax import Call, Choice, Constant, Logic, Node, Path, Select

PathOf = Callable[[Node], Path | None]


def known_when(node: Node, truth: bool, path_of: PathOf) -> Facts | None:
    """The facts that hold where `node` came out as `truth`; None where it cannot come out so."""
    match node:
        case Constant(kind="bool", value=value):
            return NO_FACTS if value is truth else None
        case Call(function="has", target=None, arguments=(Select() as asked,)) if truth:
            path = path_of(asked)
            if path is None:
                return NO_FACTS
            return frozenset(path[:length] for length in range(2, len(path) + 1))
        case Call(function="!_", arguments=(operand,)):
            return known_when(operand, not truth, path_of)
        case Logic():
            each = [known_when(operand, truth, path_of) for operand in node.operands]
            return _union(each) if (node.operator == "&&") is truth else _intersection(each)
        case Choice():
            then = [known_when(node.condition, True, path_of), known_when(node.then, truth, path_of)]
            other = [known_when(node.condition, False, path_of), known_when(node.otherwise, truth, path_of)]
            return _intersection([_union(then), _union(other)])
        case _:
            return NO_FACTS


def evaluation_order(
    node: Logic, parts: Sequence[Judgement], held: Facts, path_of: PathOf
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which operands come first, since they cannot fail, and which after them."""
    whole = node.operator == "&&"
    safe: list[int] = []
    rest: list[int] = []
    for index, (operand, part) in enumerate(zip(node.operands, parts, strict=True)):
        if part.fallible or not part.needs <= held:
            rest.append(index)
            continue
        safe.append(index)
        held |= known_when(operand, whole, path_of) or NO_FACTS
    return tuple(safe), tuple(rest)


def _union(each: Sequence[Facts | None]) -> Facts | None:
    if any(facts is None for facts in each):
        return None
    return NO_FACTS.union(*(facts for facts in each if facts is not None))


def _intersection(each: Sequence[Facts | None]) -> Facts | None:
    possible = [facts for facts in each if facts is not None]
    return frozenset.intersection(*possible) if possible else None
