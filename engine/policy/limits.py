"""What rules may cost: bounds that are checked when a policy is read, and a deadline that holds while it judges.

A policy with a deadline is judged in blocks: runs of rules, each one ladder, with a look at the clock between two
of them. A block ends where its rules may have cost some fifty microseconds; looking more often would cost more
than it finds. A variable is worked out once in each block that reads it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.core.errors import Problem
from engine.policy.catalog import Page
from engine.policy.expression import Expression, Ladder, Rung, compile_ladder
from engine.policy.phrases import Phrases

BLOCK_COST = 1_000
INTERPRETED_COST = 20_000  # what is not compiled costs about a millisecond, whatever it does


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some rules after one another; `first` is the number of the first among all."""

    first: int
    ladder: Ladder = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Deadline:
    seconds: float
    blocks: tuple[Block, ...]


def check_limits(page: Page, phrases: Phrases) -> Iterator[Problem]:
    """Whether the rules of a policy, all asked, may cost more than it allows."""
    allowed = page.section("limits").get("policy_cost")
    if allowed is None:
        return
    costs = {name: cost_of(each) for name, each in phrases.variables}
    reasons = [0]
    for index, rule in page.items("rules"):
        when, reason = phrases.at.get(("rules", index, "when")), phrases.at.get(("rules", index, "reason"))
        if when is not None:
            costs[rule.get("name", f"rule {index + 1}")] = cost_of(when)
        if reason is not None:
            reasons.append(cost_of(reason))
    total = sum(costs.values()) + max(reasons)
    if total > allowed:
        dearest = sorted(costs, key=lambda name: -costs[name])[:3]
        message = f"the rules may cost {total} comparisons together; {allowed} are allowed"
        hint = f"the dearest: {', '.join(f'{name} ({costs[name]})' for name in dearest)}"
        yield page.document.problem(("limits", "policy_cost"), "WV407", message, hint)


def deadline(
    seconds: float, variables: Sequence[tuple[str, Expression]], rungs: Sequence[Rung]
) -> Deadline | None:
    """The rules cut into blocks; None where there is no deadline."""
    if not seconds:
        return None
    blocks: list[Block] = []
    first = 0
    for size in _sizes([cost_of(rung.expression) for rung in rungs]):
        blocks.append(Block(first, compile_ladder(variables, rungs[first : first + size])))
        first += size
    return Deadline(seconds, tuple(blocks))


def _sizes(costs: Iterable[int]) -> Iterator[int]:
    """How many rules each block holds."""
    size, spent = 0, 0
    for cost in costs:
        if size and spent + cost > BLOCK_COST:
            yield size
            size, spent = 0, 0
        size, spent = size + 1, spent + cost
    if size:
        yield size


def cost_of(expression: Expression) -> int:
    return expression.cost if expression.compiled else max(expression.cost, INTERPRETED_COST)
