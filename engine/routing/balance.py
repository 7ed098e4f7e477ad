"""Which of a model's endpoints a request goes to first, where several serve it.

A session stays where its prompt cache is warm: the endpoint that served it last comes first for as long as it can
serve. Only who has no such home is balanced, by what the catalog says of the model:

    weighted   by the weights of its endpoints; the choice is a hash, so that it needs no memory and no luck
    latency    the faster of two taken at random by weight: how long first contents took lately, a peak counting at
               once and fading slowly ("peak EWMA"), times the calls under way ("power of two choices")
    headroom   the one of two whose vendor says, in its rate-limit headers, that the larger share of a limit is left

Pure: time is an argument, in seconds on one clock. One event loop owns a `Balance`.
"""

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.catalog import Binding, Model

FADING_SECONDS = 30.0  # after which a past latency counts for a third
MOST_HOMES = 100_000
HEADROOM_SECONDS = 60.0  # after which what a vendor said of its limits says nothing any more

# anthropic-ratelimit-requests-remaining, x-ratelimit-remaining-tokens, ratelimit-remaining: what stands before or
# behind the word is the thing that is limited, and its limit is told by the same name with another word.
_REMAINING = re.compile(r"^(?:anthropic-|x-)?ratelimit-(?:.*-)?remaining(?:-.*)?$")


@dataclass(slots=True)
class _Line:
    """What is known of one way to a model."""

    running: int = 0
    seconds: float = 0.0  # the peak-sensitive mean of its first contents
    measured: float = 0.0  # when
    left: float = 1.0  # the smallest share of a limit that is left
    told: float = -math.inf  # when


class Balance:
    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line] = {}
        self._homes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def order(self, model: Model, session: str, id: str, now: float) -> Sequence[Binding]:
        """The ways to a model, the one to try first at the head. `id` is the request's, and decides for requests
        without a session."""
        if len(model.served_by) == 1:
            return model.served_by
        ranked = sorted(model.served_by, key=lambda binding: _draw(binding, session or id))
        if model.balance != "weighted":
            ranked[:2] = sorted(ranked[:2], key=lambda binding: self._burden(model, binding, now))
        home = self._homes.get((session, model.name)) if session else None
        return sorted(ranked, key=lambda binding: binding.endpoint != home) if home else ranked

    def began(self, binding: Binding) -> None:
        self._line(binding).running += 1

    def ended(self, binding: Binding) -> None:
        line = self._line(binding)
        line.running = max(0, line.running - 1)

    def served(self, model: Model, binding: Binding, session: str, seconds: float | None, now: float) -> None:
        """A call was answered, its first content after so many `seconds`, where that was measured."""
        if len(model.served_by) == 1:
            return
        if session:
            self._homes[session, model.name] = binding.endpoint
            self._homes.move_to_end((session, model.name))
            while len(self._homes) > MOST_HOMES:
                self._homes.popitem(last=False)
        if seconds is not None:
            line = self._line(binding)
            fade = math.exp(-(now - line.measured) / FADING_SECONDS)
            line.seconds = max(seconds, line.seconds * fade + seconds * (1.0 - fade))
            line.measured = now

    def heard(self, binding: Binding, headers: Mapping[str, str], now: float) -> None:
        """What the vendor's rate-limit headers say is left, whatever it calls them; names are lower-case."""
        shares = [share for name in headers if (share := _share_left(name, headers)) is not None]
        if shares:
            line = self._line(binding)
            line.left, line.told = min(shares), now

    def _burden(self, model: Model, binding: Binding, now: float) -> float:
        line = self._line(binding)
        if model.balance == "headroom":
            return -line.left if now - line.told < HEADROOM_SECONDS else -1.0
        faded = line.seconds * math.exp(-max(0.0, now - line.measured) / FADING_SECONDS)
        return faded * (line.running + 1)

    def _line(self, binding: Binding) -> _Line:
        key = (binding.endpoint, binding.id)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        return line


def _draw(binding: Binding, key: str) -> float:
    """Weighted rendezvous hashing: each binding gets the share of keys that its weight is of all weights, and a
    binding that goes takes only its own keys with it."""
    if binding.weight <= 0:
        return math.inf
    digest = hashlib.blake2b(f"{binding.endpoint}\0{binding.id}\0{key}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -math.log(chance) / binding.weight


def _share_left(name: str, headers: Mapping[str, str]) -> float | None:
    if not _REMAINING.match(name):
        return None
    try:
        left, limit = float(headers[name]), float(headers[name.replace("remaining", "limit")])
    except (KeyError, ValueError):
        return None
    return min(max(left / limit, 0.0), 1.0) if limit > 0 and math.isfinite(left) else None
