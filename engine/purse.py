"""What a request may cost, and what its budgets leave of the choice.

**The most it may cost** is counted for the dearest model it may come to: the tokens of its context as estimated, half
as many again and some, at the price of writing them to a cache or of plain input, whichever is higher; and the longest
answer it may get, at the price of output. That is what the client allows (`max_tokens`), more where it is to think and
allows little, and never more than the model can write. Where a client does not say, it is the model's limit, but at
most `UNSAID_OUTPUT_TOKENS`: nearly nobody who says nothing means the limit, and reserving it would keep everyone else
out.

**A budget that hands over** (`over: {use: small}`) is used up once what is spent and reserved has reached it. Then what
it names serves, unless what would serve is as cheap already; no failover leads to anything dearer.

**A budget that refuses** is one that nothing goes over: there must be room for the most a request may cost. Where there
is not for all models it may come to, failover goes without the dearer ones; where there is not for the choice itself,
the request is refused before anything is sent.

A guard stands above both, so what it sends somewhere is charged and never refused. Not held at all is a request that
has no value for what a budget is per.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.choice import Choice, expected_cost_usd
from engine.core.catalog import Catalog, Model
from engine.core.cost import cost_usd, nanos, usd_of
from engine.core.decision import Source, Step
from engine.core.errors import REFUSALS, BudgetError, Fault
from engine.core.policy import Budget, Inputs
from engine.core.ports import Spend, Standing
from engine.core.reply import Usage
from engine.routing.budgets import value_of
from engine.routing.eligible import Pool
from engine.routing.targets import named

CAUTION = 1.5  # the estimate of a context is a third off in one request of ten
CAUTION_TOKENS = 500
UNSAID_OUTPUT_TOKENS = 32_000
ROOM_TO_THINK_TOKENS = 32_000  # what is added where thinking would not leave room for an answer


class NothingSpent:
    """A Spend of a world where nothing was spent yet."""

    def standing(self, budget: Budget, value: str, now: float) -> Standing:  # noqa: ARG002
        return Standing()

    def room_in(self, budget: Budget, value: str, need: int, now: float) -> float | None:  # noqa: ARG002
        return 0.0 if need <= nanos(budget.usd) else None


NOTHING_SPENT: Spend = NothingSpent()


@dataclass(frozen=True, slots=True)
class Held:
    """A budget that holds a request, the value it has there, and how that stands."""

    budget: Budget
    value: str
    standing: Standing

    @property
    def left(self) -> int:
        return nanos(self.budget.usd) - self.standing.taken

    def has_room(self, most: int) -> bool:
        """Nothing always has."""
        return most <= self.left or not most

    @property
    def says(self) -> str:
        """How it stands, for people."""
        waiting = f" and {_usd(self.standing.reserved)} reserved" if self.standing.reserved else ""
        return f"{_usd(self.standing.spent)} spent{waiting} of {_usd(nanos(self.budget.usd))}"


@dataclass(frozen=True, slots=True)
class Purse:
    """The budgets that hold a request."""

    held: tuple[Held, ...]
    spend: Spend
    now: float

    @property
    def used_up(self) -> tuple[Held, ...]:
        """Those that hand over, and do so now."""
        return tuple(each for each in self.held if each.budget.use and each.left <= 0)

    @property
    def refusing(self) -> tuple[Held, ...]:
        return tuple(each for each in self.held if each.budget.reject)


@dataclass(frozen=True, slots=True)
class Paid:
    """What is left to try, and the most that may come to."""

    targets: tuple[str, ...]
    reserved_usd: float
    steps: tuple[Step, ...] = ()


def purse_of(budgets: Sequence[Budget], inputs: Inputs, session: str, spend: Spend, now: float) -> Purse:
    held = []
    for budget in budgets:
        value = value_of(budget.per, inputs, session)
        if value:
            held.append(Held(budget, value, spend.standing(budget, value, now)))
    return Purse(tuple(held), spend, now)


def thrifty(
    choice: Choice, purse: Purse, inputs: Inputs, requested: Model | None, pool: Pool, catalog: Catalog
) -> Choice:
    """The choice where budgets are used up: the cheapest of what they name, unless it is as cheap already."""
    if choice.source == "guard":
        return choice
    for each in purse.used_up:
        model = named(each.budget.use, requested, pool, catalog)
        if expected_cost_usd(model, inputs) < expected_cost_usd(choice.model, inputs):
            reason = f"{each.budget.name}: {each.says}{_instead(model, each.budget.use)}"
            choice = Choice(model, "budget", reason)
    return choice


def paid(
    targets: Sequence[str],
    source: Source,
    purse: Purse,
    features: Mapping[str, Any],
    thinks: bool,
    catalog: Catalog,
) -> Paid:
    """What of the targets the budgets leave, the first being the choice. Raises BudgetError where that is nothing."""
    if not purse.held:
        return Paid(tuple(targets), 0.0)
    most = {name: most_it_costs(catalog.models[name], features, thinks) for name in targets}
    if source == "guard":
        return Paid(tuple(targets), usd_of(max(most.values())))
    for each in purse.refusing:
        if not each.has_room(most[targets[0]]):
            raise _refused(each, catalog.models[targets[0]], most[targets[0]], purse)
    kept = [targets[0]]
    steps = [_used_up(each, source) for each in purse.used_up]
    for name in targets[1:]:
        why = _too_dear(name, targets[0], most[name], purse, features, catalog)
        if why:
            steps.append(Step("budget", name, "skipped", why))
        else:
            kept.append(name)
    return Paid(tuple(kept), usd_of(max(most[name] for name in kept)), tuple(steps))


def _used_up(held: Held, source: Source) -> Step:
    return Step("budget", held.budget.name, "matched" if source == "budget" else "passed", held.says)


def most_it_costs(model: Model, features: Mapping[str, Any], thinks: bool = False) -> int:
    """In nano-dollars, for one call that serves."""
    price = model.price
    context = int(features["context_tokens"] * CAUTION) + CAUTION_TOKENS
    answer = features["max_tokens"] or UNSAID_OUTPUT_TOKENS
    if thinks and answer < ROOM_TO_THINK_TOKENS:
        answer += ROOM_TO_THINK_TOKENS
    if model.output_tokens:
        answer = min(answer, model.output_tokens)
    written = context if price.cache_write > price.input else 0
    return nanos(cost_usd(Usage(context, answer, cache_write_tokens=written), price))


def _too_dear(
    name: str, chosen: str, most: int, purse: Purse, features: Mapping[str, Any], catalog: Catalog
) -> str:
    """Why failover does not lead to a model; empty where it may."""
    inputs = {"features": features}
    for each in purse.used_up:
        if expected_cost_usd(catalog.models[name], inputs) > expected_cost_usd(
            catalog.models[chosen], inputs
        ):
            return f"costs more than {chosen}, and {each.budget.name} is used up"
    for each in purse.refusing:
        if not each.has_room(most):
            return f"may cost {_usd(most)}, and {each.budget.name} has {_usd(max(each.left, 0))} left"
    return ""


def _instead(model: Model, use: str) -> str:
    """What to say where something else than the budget names has to serve."""
    if use in (model.name, model.tier, "requested"):
        return ""
    return f"; {use} cannot carry this request, {model.name} is the nearest that can"


def _refused(held: Held, model: Model, most: int, purse: Purse) -> BudgetError:
    budget, status = held.budget, held.budget.reject
    what = f"budget {budget.name!r} of {budget.per} {held.value!r} has no room: {held.says}"
    asked = f"this request may cost {_usd(most)} on {model.name}"
    wait = purse.spend.room_in(budget, held.value, most, purse.now)
    if wait is None:
        when = "which is more than all of it; ask for fewer tokens (max_tokens) or a cheaper model"
    elif wait <= 0:
        when = "and there is room once requests under way have ended"
    else:
        when = f"and there is room in {_length(wait)}"
    after = max(wait, 1.0) if wait is not None and status == 429 else None
    fault = Fault(REFUSALS[status], f"{what}; {asked}, {when}", status, "engine", "budget", after)
    return BudgetError(fault, budget.name, held.value)


def _usd(amount: int) -> str:
    """To the cent, or closer where it is less than a dollar."""
    usd = usd_of(amount)
    if not 0 < usd < 1:
        return f"${usd:,.2f}"
    text = f"{usd:.4f}" if usd >= 0.01 else f"{usd:.6f}"
    return f"${text[:4]}{text[4:].rstrip('0')}"


def _length(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"
