"""What leaving a warm cache costs.

A vendor keeps what it has read of a conversation for some minutes, and reads it again for a tenth of the price. A
session that moves to another model leaves that behind: its first request there is read from the beginning, and only
the ones after it are cheap again. So a move is never judged by prices alone, but by what the rest of the session
costs on either side:

    this request     what is warm, for the price of reading the cache; the rest, for the price of writing it
    each one after   what was there before, read from the cache; what was added, written to it
    all of them      what the model writes

Two kinds of vendor are told apart by their prices. Where writing the cache costs more than sending does, only what the
client marks is cached, so without marks each request is paid in full. Where it costs the same, the vendor caches by
itself; and where reading is no cheaper than sending, there is no cache to lose.

How long a session goes on is not known, but what is typical is: half of the sessions that have gone on for long go on
for as long again. That gaps between requests may let the cache go cold meanwhile is left out, on both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.catalog import Catalog, Model
from engine.core.conversation import Image, Request, Text, ToolCall, ToolResult
from engine.core.cost import MILLION
from engine.core.ports import Warm

# The median of what was still to come of 547 runs of an agent over software tasks, as their costs tell
# (tests/benchmarks/data): 16 to 20 calls for those at most twenty calls old, and 39, 50 and 78 for those that had
# made 40, 60 and 80. The mean is twice that, carried by a few; a saving should be there in half of all cases.
FEWEST_TURNS = 20.0
MOST_TURNS = 100.0

# Who offers no tools talks: a question or two may follow.
TURNS_OF_A_TALK = 2.0

# What a turn adds to the conversation, its answer and what its tools told: the mean of recorded agent sessions.
ADDED_TOKENS = 600

# What a turn writes, until the session has shown its own way; a median of recorded agent turns.
WRITTEN_TOKENS = 400
WRITTEN_TURNS = 5.0  # for how many turns of the session's own that figure counts


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a session, as this request shows it: its whole envelope (system texts, tools and messages), how
    many turns are expected, this one included, and what of it which model's vendor still has in its cache."""

    context_tokens: int
    turns: float
    written_tokens: float = float(WRITTEN_TOKENS)
    warm: Mapping[str, int] = field(default_factory=dict)
    marked: bool = False  # whether the client marks what is to be cached

    def warm_at(self, model: Model) -> int:
        """Tokens of this request that are read from the model's cache."""
        return min(self.warm.get(model.name, 0), self.context_tokens)


@dataclass(frozen=True, slots=True)
class Switch:
    """What the rest of a session costs where it stays and where it moves to. `lost_usd` is what the cache that is left
    behind was worth: what the move would cost less if it were as warm there."""

    stay: str
    move: str
    stay_usd: float
    move_usd: float
    lost_usd: float
    warm_tokens: int
    context_tokens: int
    remaining_turns: float

    @property
    def saving_usd(self) -> float:
        """Below zero where the move costs more."""
        return self.stay_usd - self.move_usd

    @property
    def values(self) -> dict[str, float | int]:
        """The sum, for the trace."""
        return {
            "stay_usd": round(self.stay_usd, 6),
            "move_usd": round(self.move_usd, 6),
            "saving_usd": round(self.saving_usd, 6),
            "lost_usd": round(self.lost_usd, 6),
            "warm_tokens": self.warm_tokens,
            "context_tokens": self.context_tokens,
            "remaining_turns": round(self.remaining_turns, 1),
        }

    def told(self) -> str:
        """The sum in one sentence."""
        turns = f"over about {self.remaining_turns:.0f} turns"
        cache = f", {self.warm_tokens} warm tokens lost" if self.warm_tokens else ", no cache is lost"
        verb = "saves" if self.saving_usd >= 0 else "costs"
        return f"moving from {self.stay} to {self.move} {verb} ${abs(self.saving_usd):.4f} {turns}{cache}"


def switch(stay: Model, move: Model, rest: Rest) -> Switch:
    as_warm = {**rest.warm, move.name: rest.warm_at(stay)}
    move_usd = rest_usd(move, rest)
    spared = rest_usd(move, Rest(rest.context_tokens, rest.turns, rest.written_tokens, as_warm, rest.marked))
    return Switch(
        stay.name,
        move.name,
        rest_usd(stay, rest),
        move_usd,
        max(0.0, move_usd - spared),
        rest.warm_at(stay),
        rest.context_tokens,
        rest.turns,
    )


def rest_usd(model: Model, rest: Rest) -> float:
    """What a model is expected to cost for all that is left."""
    price, size, later = model.price, rest.context_tokens, rest.turns - 1.0
    grown = (
        later * size + ADDED_TOKENS * later * (later - 1.0) / 2.0
    )  # what each later turn finds there, summed
    if caches(model, rest.marked):
        warm = rest.warm_at(model)
        first = warm * price.cache_read + (size - warm) * price.cache_write
        after = grown * price.cache_read + later * ADDED_TOKENS * price.cache_write
    else:
        first = size * price.input
        after = (grown + later * ADDED_TOKENS) * price.input
    return (first + after + rest.turns * rest.written_tokens * price.output) / MILLION


def turn_usd(model: Model, rest: Rest) -> float:
    """What a turn is expected to cost on the average of all that is left, so that what a move loses is spread over
    them."""
    return rest_usd(model, rest) / rest.turns


def caches(model: Model, marked: bool) -> bool:
    """Whether the model's vendors keep what a request like this one sends, for less than sending it again."""
    price = model.price
    return price.cache_read < price.input and (marked or price.cache_write <= price.input)


def rest_of(
    request: Request, features: Mapping[str, Any], warm: Mapping[str, Warm], catalog: Catalog, now: float
) -> Rest:
    """`warm` is what the vendors' caches were given of this conversation, by model."""
    fresh = {name: one.tokens for name, one in warm.items() if _is_warm(one, catalog, now)}
    written = sum(one.written for one in warm.values()) + WRITTEN_TURNS * WRITTEN_TOKENS
    turns = sum(one.turns for one in warm.values()) + WRITTEN_TURNS
    marked = is_marked(request) or any(_was_marked(name, one, catalog) for name, one in warm.items())
    return Rest(features["context_tokens"], turns_left(features), written / turns, fresh, marked)


def _was_marked(name: str, one: Warm, catalog: Catalog) -> bool:
    """A vendor that charges for its cache keeps only what it was told to."""
    model = catalog.models.get(name)
    return model is not None and one.tokens > 0 and model.price.cache_write > model.price.input


def _is_warm(one: Warm, catalog: Catalog, now: float) -> bool:
    endpoint = catalog.endpoints.get(one.endpoint)
    return endpoint is not None and now - one.at < endpoint.cache_ttl_seconds


def turns_left(features: Mapping[str, Any]) -> float:
    """How many turns a session is expected to have from this one on. So far it had about as many as its conversation
    has pairs of messages."""
    if not features["tool_count"] and not features["tool_results"]:
        return TURNS_OF_A_TALK
    return max(FEWEST_TURNS, min(float(features["messages"]) / 2.0, MOST_TURNS))


def is_marked(request: Request) -> bool:
    """Whether a client says what is to be cached. It marks what stays the same (system texts, tools), the end of the
    conversation, or the request as a whole."""
    if "cache_control" in request.body:
        return True
    parts = [
        *request.system[-4:],
        *(part for message in request.messages[-2:] for part in message.parts[-4:]),
    ]
    marked = any(
        isinstance(part, Text | Image | ToolCall | ToolResult) and part.cache_control is not None
        for part in parts
    )
    return marked or any(tool.cache_control is not None for tool in request.tools[-1:])
