"""What one learner knows: of each kind of task, what happened, and the figures that explain it.

A kind of task is a signature; its parents are its prefixes, up to (), which is every task. Each keeps its own counts
and figures, and expects what its parent found.

**A model that changes.** Each verdict and score is compared with what was expected of it, and ADWIN watches the
differences. Where they turn for the worse, the model becomes a new one: what was seen of the old one still explains
the others, and trust in the new one starts from nothing.

**Who may tell how much.** One identity's share of the weight is bounded, by what the policy says, beyond a few outcomes
that anybody may tell; what is more than that counts for nothing. Lessons without an identity are the operator's own.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from engine.core.decision import Lesson, StepRun
from engine.learning.joint import POINTS, SHARED, WEIGHTS, Fit, Pattern, Seen, expected, fit, prior, sigmoid
from engine.learning.models import Watch

MILLION = 1_000_000

# A kind of task is fitted again after this many new outcomes, or this share of what it knew.
FEW, SHARE = 3.0, 0.03

# How many outcomes of other kinds of task may stand for outcomes of this one.
BORROWED = 25.0

# How many outcomes of a parent's tasks a kind's own costs are mixed with.
COST_PRIOR = 5.0

MOST_PATTERNS = 8  # that a lesson with scores between 0 and 1 is split into

ANYBODY = 10.0  # outcomes


class Kind:
    """A kind of task as it was when it was last fitted."""

    __slots__ = ("costs", "fit", "tried")

    def __init__(self, known: Fit, samples: Mapping[int, float], costs: Mapping[int, float]) -> None:
        self.fit = known
        self.tried = samples
        self.costs = costs

    def figures(self, highest: int) -> Sequence[float]:
        """With room for models that nobody has tried here."""
        known = self.fit.figures
        return (*known, *(prior(index)[0] for index in range(len(known), SHARED + 2 * highest + 2)))

    def samples(self, model: int) -> float:
        return self.tried.get(model, 0.0)

    def cost_usd(self, models: Sequence[int], reach: Sequence[float]) -> float | None:
        total = 0.0
        for model, chance in zip(models, reach, strict=True):
            usd = self.costs.get(model)
            if usd is None:
                return None
            total += chance * usd
        return total


class _Counts:
    """What happened in one kind of task. Counts are whole millionths, which add up the same in any order."""

    __slots__ = ("fitted", "patterns", "since", "spent", "told", "tried")

    def __init__(self) -> None:
        self.patterns: dict[Pattern, int] = {}
        self.told = 0
        self.since = 0  # of it, since the last fit
        self.tried: dict[int, int] = {}  # model -> outcomes
        self.spent: dict[int, list[float]] = {}  # model -> outcomes with a cost, and their dollars
        self.fitted: Kind | None = None

    @property
    def due(self) -> bool:
        return self.since >= MILLION * FEW and self.since >= SHARE * self.told

    def add(self, patterns: Sequence[tuple[Pattern, int]], steps: Sequence[tuple[int, float | None]]) -> None:
        for pattern, weight in patterns:
            self.patterns[pattern] = self.patterns.get(pattern, 0) + weight
            self.told += weight
            self.since += weight
            for model, _, _ in pattern:
                self.tried[model] = self.tried.get(model, 0) + weight
        for model, usd in steps:
            if usd is not None:
                spent = self.spent.setdefault(model, [0.0, 0.0])
                spent[0] += 1.0
                spent[1] += usd

    def refit(self, size: int, above: "_Counts | None") -> None:
        parent = above.fitted if above is not None else None
        share = self.told / above.told if above is not None else 0.0
        expecting = expected(size, parent.fit if parent else None, share)
        counted = [(pattern, weight / MILLION) for pattern, weight in self.patterns.items()]
        before = self.fitted.fit.figures if self.fitted else ()
        self.fitted = Kind(fit(counted, before, expecting), self.samples(above), self.costs_usd(parent))
        self.since = 0

    def samples(self, above: "_Counts | None") -> dict[int, float]:
        tried = above.tried if above is not None else self.tried
        found = {}
        for model, everywhere in tried.items():
            own = self.tried.get(model, 0)
            found[model] = (own + min(everywhere - own, MILLION * BORROWED)) / MILLION
        return found

    def costs_usd(self, parent: Kind | None) -> dict[int, float]:
        found = dict(parent.costs) if parent is not None else {}
        for model, (count, usd) in self.spent.items():
            usual = found.get(model, usd / count)
            found[model] = (usd + COST_PRIOR * usual) / (count + COST_PRIOR)
        return found


class Knowledge:
    __slots__ = ("_counts", "_identities", "_numbers", "_size", "_unseen", "_versions", "_watches")

    def __init__(self) -> None:
        self._size = 0  # how many models there are, each version its own
        self._numbers: dict[str, int] = {}  # of the present version
        self._versions: dict[str, int] = {}
        self._counts: dict[tuple[str, ...], _Counts] = {}
        self._identities: dict[str, float] = {}
        self._watches: dict[tuple[int, str], Watch] = {}  # a model's verdicts, and its scores
        self._unseen: dict[tuple[str, ...], Kind] = {}

    def numbers(self, models: Sequence[str]) -> tuple[int, ...]:
        """Models nobody was told of get numbers behind those that are known."""
        unknown: dict[str, int] = {}
        return tuple(
            number
            if (number := self._numbers.get(model)) is not None
            else unknown.setdefault(model, self._size + len(unknown))
            for model in models
        )

    def kind(self, signature: Sequence[str]) -> Kind:
        """What is known of a kind of task. Of one that was never seen: what is known of its nearest parent, less
        surely."""
        here = tuple(signature)
        counts = self._counts.get(here)
        if counts is not None and counts.fitted is not None:
            return counts.fitted
        found = self._unseen.get(here)
        if found is None:
            found = self._unseen[here] = self._from_above(here)
        return found

    def _from_above(self, signature: tuple[str, ...]) -> Kind:
        for length in range(len(signature) - 1, -1, -1):
            above = self._counts.get(signature[:length])
            if above is not None and above.fitted is not None:
                known = expected(len(above.fitted.fit.figures), above.fitted.fit, 0.0)
                borrowed = {model: min(count, BORROWED) for model, count in above.fitted.tried.items()}
                return Kind(fit((), (), known), borrowed, above.fitted.costs)
        return Kind(fit((), (), expected(SHARED, None, 0.0)), {}, {})

    def add(self, lesson: Lesson) -> bool:
        """Whether beliefs change with it."""
        weight = self._admitted(lesson.identity, lesson.weight, lesson.influence)
        if not weight > 0.0 or not lesson.steps:
            return False
        for step in lesson.steps:
            self._number(step.model)
        signature = tuple(lesson.signature.split("/")) if lesson.signature else ()
        changed = self._watch(signature, lesson, min(weight, 1.0))
        patterns = [
            (pattern, round(weight * share * MILLION))
            for pattern, share in patterns_of(lesson, self._numbers)
        ]
        steps = [(self._numbers[step.model], step.cost_usd) for step in lesson.steps]
        above = None
        for length in range(len(signature) + 1):
            counts = self._counts.setdefault(signature[:length], _Counts())
            counts.add(patterns, steps)
            if counts.due:
                counts.refit(SHARED + 2 * self._size, above)
                changed = True
            above = counts
        if changed:
            self._unseen.clear()
        return changed

    def _number(self, model: str) -> int:
        number = self._numbers.get(model)
        if number is None:
            number = self._numbers[model] = self._size
            self._size += 1
        return number

    def _admitted(self, identity: str, weight: float, influence: float) -> float:
        """How much of a weight counts, so that no identity's share grows beyond its bound."""
        if identity:
            told = self._identities.get(identity, 0.0)
            everybody = self._identities.get("*", 0.0)
            bound = max(ANYBODY, influence * everybody)
            weight = min(weight, max(bound - told, 0.0))
            self._identities[identity] = told + weight
        self._identities["*"] = self._identities.get("*", 0.0) + weight
        return weight

    def _watch(self, signature: tuple[str, ...], lesson: Lesson, weight: float) -> bool:
        """Compare what came with what was expected. True where a model turned out to have changed."""
        kind = self.kind(signature)
        figures = kind.figures(self._size)
        changed = False
        for model, what, surprise in _surprises(lesson, self._numbers, figures):
            watch = self._watches.get((model, what))
            if watch is None:
                watch = self._watches[model, what] = Watch()
            if watch.turned_worse(weight * surprise):
                self._renew(model)
                changed = True
        return changed

    def _renew(self, model: int) -> None:
        for name, number in self._numbers.items():
            if number == model:
                self._numbers[name] = self._size
                self._size += 1
                break
        for key in [key for key in self._watches if key[0] == model]:
            del self._watches[key]

    def to_json(self) -> dict[str, Any]:
        return {
            "size": self._size,
            "numbers": self._numbers,
            "identities": self._identities,
            "watches": [[*key, watch.values, watch.missing] for key, watch in self._watches.items()],
            "kinds": [[list(signature), _counts_json(counts)] for signature, counts in self._counts.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Knowledge":
        known = cls()
        known._size = data["size"]
        known._numbers = dict(data["numbers"])
        known._identities = dict(data["identities"])
        known._watches = {
            (model, what): Watch(values, missing) for model, what, values, missing in data["watches"]
        }
        known._counts = {tuple(signature): _counts_from(told) for signature, told in data["kinds"]}
        return known


def patterns_of(lesson: Lesson, numbers: Mapping[str, int]) -> list[tuple[Pattern, float]]:
    """A lesson as patterns with their shares of its weight.

    Steps that were each rejected before the next began are one pattern, and so are results that each have a score of
    their own. Where a model was left without a reason, nobody knows whose work stood: each is credited by its
    share of the turns, as if alone.
    """
    steps = lesson.steps
    if all(step.score is not None for step in steps):
        return _split([_seen(step, step.score, numbers) for step in steps])
    if all(step.accepted is False for step in steps[:-1]):
        last = len(steps) - 1
        return _split(
            [
                _seen(step, lesson.score if at == last else step.score, numbers)
                for at, step in enumerate(steps)
            ]
        )
    whole = sum(step.share for step in steps) or 1.0
    return [
        (pattern, part * step.share / whole)
        for step in steps
        for pattern, part in _split([_seen(step, lesson.score, numbers)])
    ]


def _seen(step: StepRun, score: float | None, numbers: Mapping[str, int]) -> list[tuple[Seen, float]]:
    """A step as what was seen, in parts where its score lies between done and failed."""
    model, verdict = numbers[step.model], 2 if step.accepted is None else int(step.accepted)
    if score is None:
        return [((model, verdict, 2), 1.0)]
    parts = ((1, min(max(score, 0.0), 1.0)), (0, 1.0 - min(max(score, 0.0), 1.0)))
    return [((model, verdict, done), part) for done, part in parts if part > 0.0]


def _split(seen: Sequence[list[tuple[Seen, float]]]) -> list[tuple[Pattern, float]]:
    found = []
    for parts in product(*seen):
        share = 1.0
        for _, part in parts:
            share *= part
        found.append((tuple(one for one, _ in parts), share))
    if len(found) <= MOST_PATTERNS:
        return found
    return [(tuple(max(parts, key=lambda part: part[1])[0] for parts in seen), 1.0)]


def _surprises(
    lesson: Lesson, numbers: Mapping[str, int], figures: Sequence[float]
) -> list[tuple[int, str, float]]:
    """What each verdict and score was beyond what was expected of it, given those before it."""
    spread = math.exp(figures[0])
    miss = sigmoid(figures[2])
    weights = list(WEIGHTS)
    found = []
    steps = lesson.steps
    if any(step.accepted is not False and step.score is None for step in steps[:-1]):
        return []
    for at, step in enumerate(steps):
        model = numbers[step.model]
        index = SHARED + 2 * model
        passes = sigmoid(figures[1] + figures[index + 1])
        done = [sigmoid(figures[index] + spread * z) for z in POINTS]
        total = sum(weights)
        if step.accepted is not None:
            accepted = [p * (1.0 - miss) + (1.0 - p) * passes for p in done]
            chance = sum(w * p for w, p in zip(weights, accepted, strict=True)) / total
            found.append((model, "verdict", _deviations(float(step.accepted), chance)))
            if step.accepted:
                weights = [w * a for w, a in zip(weights, accepted, strict=True)]
                done = [p * (1.0 - miss) / a for p, a in zip(done, accepted, strict=True)]
            else:
                weights = [w * (1.0 - a) for w, a in zip(weights, accepted, strict=True)]
                done = [p * miss / (1.0 - a) for p, a in zip(done, accepted, strict=True)]
            total = sum(weights)
        score = lesson.score if at == len(steps) - 1 and step.score is None else step.score
        if score is not None:
            chance = sum(w * p for w, p in zip(weights, done, strict=True)) / total
            surprise = _deviations(score, chance)
            found.append((model, "score", surprise))
            if step.score is None:  # what stood, after all steps: the first one's plan is what it speaks of
                found.append((numbers[steps[0].model], "end", surprise))
            weights = [
                w * (score * p + (1.0 - score) * (1.0 - p)) for w, p in zip(weights, done, strict=True)
            ]
    return found


def _deviations(value: float, chance: float) -> float:
    """How far something is from what was expected of it. What was nearly certain is taken as a little less so."""
    chance = min(max(chance, 0.05), 0.95)
    return (value - chance) / math.sqrt(chance * (1.0 - chance))


def _counts_json(counts: _Counts) -> dict[str, Any]:
    kind = counts.fitted
    return {
        "patterns": [[pattern, weight] for pattern, weight in counts.patterns.items()],
        "told": counts.told,
        "since": counts.since,
        "tried": list(counts.tried.items()),
        "spent": [[model, *spent] for model, spent in counts.spent.items()],
        "fitted": None
        if kind is None
        else {
            "figures": kind.fit.figures,
            "factor": kind.fit.factor,
            "deviations": kind.fit.deviations,
            "samples": list(kind.tried.items()),
            "costs": list(kind.costs.items()),
        },
    }


def _counts_from(told: Mapping[str, Any]) -> _Counts:
    counts = _Counts()
    counts.patterns = {
        tuple((model, verdict, score) for model, verdict, score in pattern): weight
        for pattern, weight in told["patterns"]
    }
    counts.told, counts.since = told["told"], told["since"]
    counts.tried = dict(told["tried"])
    counts.spent = {model: [count, usd] for model, count, usd in told["spent"]}
    fitted = told["fitted"]
    if fitted is not None:
        known = Fit(
            tuple(fitted["figures"]),
            tuple(tuple(row) for row in fitted["factor"]),
            tuple(fitted["deviations"]),
        )
        counts.fitted = Kind(known, dict(map(tuple, fitted["samples"])), dict(map(tuple, fitted["costs"])))
    return counts
