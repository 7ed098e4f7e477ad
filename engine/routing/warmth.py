"""What vendors' caches hold of the conversations under way, as the usage they report tells.

A conversation is one of a session: agents of one session talk beside each other, and each talk has a prefix of its
own. What is kept is plain figures, so that it could be written down and read again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Model
from engine.core.ports import Warm
from engine.core.reply import Usage
from engine.routing.pins import follows_pin

MOST_CONVERSATIONS = 50_000
MOST_MODELS = 8  # of one conversation

# Vendors that cache by themselves take no prefix shorter than this.
SHORTEST_TOKENS = 1_024

NOTHING_WARM: Mapping[str, Warm] = {}


def conversation_of(session: str, features: Mapping[str, Any]) -> str:
    """Empty where there is no session, or the call is not part of its work."""
    return f"{session}/{features['first_user_hash']}" if session and follows_pin(features) else ""


def warm_after(before: Warm | None, usage: Usage, model: Model, endpoint: str, now: float) -> Warm:
    """What is warm once this call was answered: what the vendor says it read from its cache or wrote to it, and where
    it caches by itself and charges nothing for that, the whole prompt."""
    tokens = usage.cache_read_tokens + usage.cache_write_tokens
    if model.price.cache_write <= model.price.input and usage.input_tokens >= SHORTEST_TOKENS:
        tokens = max(tokens, usage.input_tokens)
    turns, written = (before.turns, before.written) if before is not None else (0, 0)
    return Warm(tokens, now, endpoint, turns + 1, written + usage.output_tokens)


class MemoryWarmth:
    """By conversation and model, in memory; the conversations that were silent longest are forgotten first."""

    def __init__(self, most: int = MOST_CONVERSATIONS) -> None:
        self.known: OrderedDict[str, dict[str, Warm]] = OrderedDict()
        self._most = most

    def of(self, conversation: str) -> Mapping[str, Warm]:
        found = self.known.get(conversation)
        if found is None:
            return NOTHING_WARM
        self.known.move_to_end(conversation)
        return found

    def put(self, conversation: str, model: str, warm: Warm) -> None:
        """A new mapping each time: who decides holds the one before."""
        found = {name: one for name, one in self.of(conversation).items() if name != model}
        while len(found) >= MOST_MODELS:
            del found[next(iter(found))]
        self.known[conversation] = {**found, model: warm}
        self.known.move_to_end(conversation)
        while len(self.known) > self._most:
            self.known.popitem(last=False)
