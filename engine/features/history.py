"""How calls like this one went lately: latency, failures, hang-ups and outcomes, decayed exponentially.

    history.answered(features, result)       a call ended
    history.judged(features, worth, at)      its work was valued
    history.recent(features, now)            what is told of the next one, as features

Figures are kept for the type of agent (client and agent), for each model it asks for, and for each kind of task there
(phase, language, size of the context). The finer figure is drawn towards the coarser one as long as it rests on
little, so a first call of a new kind is told what the agent's calls are like, and a call nobody knows anything of
is told nothing: 0 and false. Time comes as an argument. It holds a bounded number of figures, the latest asked for,
and is kept in no snapshot and no journal: after a restart it begins anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.decision import Result

MOST = 2_000  # groups of calls
PULL = 5.0  # calls' worth by which a figure is drawn towards the coarser one
HALF_LIFE_SECONDS = {"latency": 1_800.0, "failure": 1_800.0, "hangup": 86_400.0, "outcome": 604_800.0}
NEGLIGIBLE = 0.01  # of a call; a figure that rests on less is forgotten
LONGEST_NAME = 100

# An agent is sensitive to latency if its users hang up on this share of its answers, of at least so many.
HANGUPS, CALLS = 0.1, 5.0

CHORES = frozenset({"title", "summary", "probe", "classifier"})

# What tells groups of calls apart, from coarse to fine; a decision of an older journal may lack some.
GROUPED = ("client", "agent", "requested_model", "phase", "language", "context_bucket")

Group = tuple[str, ...]


@dataclass(slots=True)
class Figure:
    """A mean in which each value counts half after a half-life."""

    half_life: float
    weight: float = 0.0
    total: float = 0.0
    at: float = 0.0

    def add(self, value: float, now: float) -> None:
        kept = self._kept(now)
        self.weight, self.total = self.weight * kept + 1.0, self.total * kept + value
        self.at = max(self.at, now)

    def read(self, now: float) -> tuple[float, float]:
        """Weight and total, as they are now."""
        kept = self._kept(now)
        return self.weight * kept, self.total * kept

    def _kept(self, now: float) -> float:
        # A clock that goes back, or a late outcome, makes nothing heavier.
        return float(0.5 ** (max(0.0, now - self.at) / self.half_life))


def _figures() -> dict[str, Figure]:
    return {name: Figure(half_life) for name, half_life in HALF_LIFE_SECONDS.items()}


@dataclass(slots=True)
class History:
    """One thread owns it."""

    _groups: dict[Group, dict[str, Figure]] = field(default_factory=dict)

    def answered(self, features: Mapping[str, Any], result: Result) -> None:
        """What a call tells about calls like it. Chores are none of the work, and a client's mistakes its own."""
        if features.get("phase") in CHORES:
            return
        fault = result.fault
        told = {"hangup": float(result.client_gone)}
        if not result.client_gone and (fault is None or fault.origin != "client"):
            told["failure"] = float(fault is not None)
        if result.first_content_seconds is not None:
            told["latency"] = result.first_content_seconds
        self._add(features, told, result.at)

    def judged(self, features: Mapping[str, Any], worth: float, at: float) -> None:
        """What came of such work, from -1 to 1. Of a call that nothing is known of, nothing is kept."""
        if features:
            self._add(features, {"outcome": worth}, at)

    def recent(self, features: Mapping[str, Any], now: float) -> dict[str, float | bool]:
        """The features that tell of the past, by name."""
        if not self._groups:
            return dict(NEUTRAL)
        known = [
            figures for group in _groups_of(features) if (figures := self._groups.get(group)) is not None
        ]
        if not known:
            return dict(NEUTRAL)
        calls, hangups = known[0]["hangup"].read(now)
        return {
            "recent_latency_seconds": round(_drawn("latency", known, now), 3),
            "recent_failure_rate": round(_drawn("failure", known, now), 4),
            "recent_outcome": round(_drawn("outcome", known, now), 4),
            "latency_sensitive": calls >= CALLS and hangups >= HANGUPS * calls,
        }

    def _add(self, features: Mapping[str, Any], values: Mapping[str, float], now: float) -> None:
        for group in _groups_of(features):
            figures = self._groups.pop(group, None) or _figures()
            self._groups[group] = figures  # now the latest
            for name, value in values.items():
                figures[name].add(value, now)
        while len(self._groups) > MOST:
            del self._groups[next(iter(self._groups))]


NEUTRAL: Mapping[str, float | bool] = {
    "recent_latency_seconds": 0.0,
    "recent_failure_rate": 0.0,
    "recent_outcome": 0.0,
    "latency_sensitive": False,
}


def _groups_of(features: Mapping[str, Any]) -> Iterator[Group]:
    """From coarse to fine."""
    client, agent, model, *kind = [str(features.get(name, ""))[:LONGEST_NAME] for name in GROUPED]
    yield (client, agent)
    yield (client, agent, model)
    yield (client, agent, model, *kind)


def _drawn(name: str, known: list[dict[str, Figure]], now: float) -> float:
    """The finest figure, drawn towards the coarser ones."""
    mean: float | None = None
    for figures in known:
        weight, total = figures[name].read(now)
        if weight < NEGLIGIBLE:
            continue
        mean = total / weight if mean is None else (total + PULL * mean) / (weight + PULL)
    return mean or 0.0
