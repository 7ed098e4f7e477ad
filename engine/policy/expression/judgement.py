"""What the checker knows of one node."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.policy.expression.overloads import Overload
from engine.policy.expression.syntax import Path
from engine.policy.expression.types import DYN, Type

Facts = frozenset[Path]
NO_FACTS: Facts = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of one node before it ever runs."""

    type: Type = DYN
    cost: int = 1
    fallible: bool = False
    proven: bool = True
    tainted: bool = False  # may carry text that a client chose
    needs: Facts = NO_FACTS  # the facts it relies on that hold outside it
    overload: Overload | None = None
    order: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())  # of a chain: operands that cannot fail, others


def together(parts: Sequence[Judgement], kind: Type) -> Judgement:
    """A node made of parts, each of which is evaluated."""
    return Judgement(
        kind,
        cost=1 + sum(part.cost for part in parts),
        fallible=any(part.fallible for part in parts),
        proven=all(part.proven for part in parts),
        tainted=any(part.tainted for part in parts),
        needs=NO_FACTS.union(*(part.needs for part in parts)),
    )
