"""`weave-engine simulate`: past requests decided again, under other policies: who would have served, at what cost.

**What is repeated.** Each journaled decision is made again from the facts it was made from (features, hints), in
the order of time. Sessions are pinned as the other policies pin them. Learners believe what they believed at that
moment: lessons are folded in as they came, none before its time, and none that was withdrawn since. Nobody explores.

**What is estimated.** How well the work would have gone is known only where these policies choose what was chosen;
`estimates.py` says what follows from that, by the chances the choices had. A task counts by the choice it began with.

**What is assumed.** The bill is the recorded usage at the new model's price: that another model would have written
as much, that the same share of the prompt would have come from a cache, and that the conversation would have gone
the same way. Requests whose route stays keep the model that answered, failover included. What a canary or a shadow
would have done is left out. Sessions that were under way before the first decision read begin without their pin.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import turn, wire
from engine.commands import terminal
from engine.commands.estimates import Logged, estimates
from engine.commands.validate import read_set
from engine.core.catalog import Catalog, Model
from engine.core.conversation import Request, Tuning
from engine.core.cost import cost_usd
from engine.core.decision import Decision, Lesson, Outcome, Result
from engine.core.errors import RequestError, WeaveError
from engine.core.policy import Policy
from engine.documents import shipped_json
from engine.learning.state import State
from engine.policy.phrases import INPUT_SCHEMA
from engine.routing.pins import MemoryPins, pin_after, session_of
from engine.routing.warmth import MemoryWarmth, conversation_of, warm_after
from engine.server.journal import Journal
from engine.server.precedence import subject_of
from engine.server.telling import plain
from engine.server.withdrawals import withdrawn
from engine.snapshot import Snapshot, build

PAGE = 1_000
MOST_EXAMPLES = 3
ESTIMATORS = {
    "logged": "as it was",
    "ips": "inverse propensity",
    "snips": "the same, normalised",
    "dr": "doubly robust",
}
NOBODY = "—"  # in place of a model, where none could serve


@dataclass(slots=True)
class Route:
    """Requests that went one way and would go another. `examples` are ids for `weave-engine explain`."""

    before: str
    after: str
    rule_before: str
    rule_after: str
    count: int = 0
    usd_before: float = 0.0
    usd_after: float = 0.0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """The choice that a task began with, where a learner was asked, and what these policies choose for it."""

    kind: str
    chosen: str
    propensity: float
    other: str


@dataclass(slots=True)
class Simulation:
    """What became of it. Dollars are of requests that were answered and would be; tiers count all decided again."""

    policy: str
    snapshot: str
    not_followed: tuple[str, ...] = ()  # what the policy declares and the figures leave out
    requests: int = 0
    changed: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    priced: int = 0
    usd_before: float = 0.0
    usd_after: float = 0.0
    tiers_before: Counter[str] = field(default_factory=Counter)
    tiers_after: Counter[str] = field(default_factory=Counter)
    routes: dict[tuple[str, str, str, str], Route] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)  # why -> how often
    asked: dict[str, Asked] = field(default_factory=dict)  # task -> what a learner was asked when it began
    left_out: Counter[str] = field(default_factory=Counter)


def simulate(
    paths: Sequence[Path], journal: str, policy: str = "", *, limit: int = 10_000, json: bool = False
) -> int:
    """Prints what would change; returns the exit code. Raises InvalidDocumentsError, or RequestError where there is
    nothing to decide again."""
    snapshot = draft(paths, policy)
    if not Path(journal).exists():
        raise RequestError(f"there is no journal {journal}; name one with --journal, or let serve write one")
    found, tasks = asyncio.run(_replay(snapshot, journal, limit))
    if not found.requests and not found.left_out:
        raise RequestError(f"the journal {journal} holds no decisions yet")
    told = as_json(found) | {"estimates": estimates(tasks)}
    if json:
        print(wire.dumps(told).decode())
    else:
        terminal.simulation(told)
        _print_estimates(told["estimates"])
    return 0


def _print_estimates(told: Mapping[str, Any]) -> None:
    """How the work would have gone, where anything can be said of it."""
    if told["tasks"]:
        rows = [
            (name, *(_range(told[what][estimator] if told[what] else None) for what in ("score", "cost_usd")))
            for estimator, name in ESTIMATORS.items()
        ]
        terminal.table(
            "\nHow the work would have gone", ("", "score", "USD a task"), rows, right=(1, 2), whole=True
        )
        counts = f"{told['tasks']} tasks with an outcome, {told['agreeing']} with the same choice"
        terminal.say(f"{counts}, effective sample size {told['effective_sample_size']:.1f}", "dim")
    for warning in told["warnings"]:
        terminal.say(warning, "yellow")


def _range(figure: Mapping[str, float] | None) -> str:
    return "–" if figure is None else f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def draft(paths: Sequence[Path], policy: str) -> Snapshot:
    """Policies that may be tried before their tests are right. Raises InvalidDocumentsError."""
    return build(read_set(paths), policy, run_tests=False)


async def _replay(snapshot: Snapshot, path: str, limit: int) -> tuple[Simulation, list[Logged]]:
    journal = await Journal.open(path, read_only=True)
    try:
        lessons, gone = await journal.lessons(), withdrawn(await journal.withdrawals())
        lessons = [lesson for number, lesson in enumerate(lessons, start=1) if number not in gone]
        replay = Replay(snapshot, lessons)
        async for decision, result in _recorded(journal, limit):
            replay.take(decision, result)
        return replay.found, logged(replay.found.asked, await journal.told(), lessons)
    finally:
        await journal.close()


async def _recorded(journal: Journal, limit: int) -> AsyncIterator[tuple[Decision, Result | None]]:
    after = await journal.before_newest(limit)
    while page := await journal.decisions(after, PAGE):
        results = await journal.results(page)
        for decision in page:
            yield decision, results.get(decision.id)
        after = page[-1].id


class Replay:
    """Takes decisions in the order they were made. `lessons` are all there are, in their order."""

    def __init__(self, snapshot: Snapshot, lessons: Sequence[Lesson]) -> None:
        self._snapshot = snapshot
        self._lessons = list(reversed(lessons))
        self._trust = State()
        self._pins = MemoryPins()
        self._warmth = MemoryWarmth()
        self.found = Simulation(snapshot.policy.name, snapshot.fingerprint, _not_followed(snapshot.policy))

    def take(self, decision: Decision, result: Result | None) -> None:
        found = self.found
        missing = missing_features(decision)
        if missing:
            found.left_out[f"recorded without {', '.join(missing[:3])}{', …' if missing[3:] else ''}"] += 1
            return
        found.requests += 1
        found.first_at = found.first_at or decision.at
        found.last_at = decision.at
        try:
            again = self._decide(decision, result)
        except WeaveError as error:
            found.refused[error.fault.message] += 1
            self._count(decision, None, result)
            return
        self._count(decision, again, result)

    def _warm_up(self, talk: str, model: Model, result: Result) -> None:
        """The model that would have served has in its cache what the one that did was told."""
        before, endpoint = self._warmth.of(talk).get(model.name), model.served_by[0].endpoint
        self._warmth.put(talk, model.name, warm_after(before, result.usage, model, endpoint, result.at))

    def _decide(self, decision: Decision, result: Result | None) -> Decision:
        while self._lessons and self._lessons[-1].at <= decision.at:
            self._trust.learn(self._lessons.pop())
        facts = facts_of(decision, self._snapshot)
        pin = self._pins.get(facts.pin_key, decision.at) if facts.pin_key else None
        talk = conversation_of(facts.session, facts.inputs["features"])
        warm = self._warmth.of(talk)
        moment = turn.Moment(decision.id, decision.at, draw=1.0, pin=pin, trust=self._trust, warm=warm)
        again = turn.decide(facts, self._snapshot, moment)
        features, pinning = facts.inputs["features"], self._snapshot.policy.pinning
        models = self._snapshot.catalog.models
        kept = pin_after(again, features, pinning, decision.at, pin, models)
        if kept is not None:
            self._pins.put(facts.pin_key, kept)
        if talk and result is not None and result.model:
            self._warm_up(talk, models[again.model], result)
        return again

    def _count(self, decision: Decision, again: Decision | None, result: Result | None) -> None:
        found, catalog = self.found, self._snapshot.catalog
        if decision.learner and decision.source in ("learner", "default", "rule"):
            other = (again.plan or again.model) if again else NOBODY
            asked = Asked(decision.signature, decision.plan or decision.model, decision.propensity, other)
            found.asked.setdefault(subject_of([decision], whole_session=False), asked)
        after = again.model if again else NOBODY
        found.tiers_before[_tier(decision.model, catalog)] += 1
        found.tiers_after[_tier(after, catalog)] += 1
        bills = _bills(decision, after, result, catalog)
        if bills is not None:
            found.priced += 1
            found.usd_before += bills[0]
            found.usd_after += bills[1]
        if decision.model == after:
            return
        found.changed += 1
        key = (decision.model, after, decision.rule, again.rule if again else "")
        route = found.routes.setdefault(key, Route(*key))
        route.count += 1
        if bills is not None:
            route.usd_before += bills[0]
            route.usd_after += bills[1]
        if len(route.examples) < MOST_EXAMPLES:
            route.examples.append(decision.id)


def missing_features(decision: Decision) -> list[str]:
    """What policies may ask for and an older engine did not record."""
    needed = shipped_json(INPUT_SCHEMA)["properties"]["features"]["required"]
    return sorted(set(needed) - decision.features.keys())


def facts_of(decision: Decision, snapshot: Snapshot) -> turn.Facts:
    """What was known of the request, in the words of another catalog. Raises RequestError for a model it lacks."""
    requested = snapshot.catalog.resolve(decision.requested_model)
    if requested is None and decision.requested_model not in turn.ANY_MODEL:
        raise RequestError(f"model {decision.requested_model!r} is not known", "not_found")
    features = dict(decision.features)
    features["requested_model"] = requested.name if requested else decision.requested_model
    features["requested_tier"] = requested.tier if requested else ""
    inputs: Mapping[str, Mapping[str, Any]] = {
        "features": features,
        "hints": decision.hints,
        "identity": decision.asker.values,
    }
    request = Request(decision.protocol, decision.requested_model, (), (), (), Tuning(), False, b"", {})
    return turn.Facts(request, requested, inputs, session_of(snapshot.policy.pinning.key, inputs))


def logged(
    asked: Mapping[str, Asked], outcomes: Sequence[Outcome], lessons: Sequence[Lesson]
) -> list[Logged]:
    """The tasks that a learner was asked about and whose outcome counts, with the score and the cost of the work."""
    about = {outcome.id: outcome.subject for outcome in outcomes}
    found = []
    for lesson in lessons:
        task = asked.get(about.get(lesson.outcome, ""))
        if task is None or lesson.score is None:
            continue
        costs = [step.cost_usd for step in lesson.steps if step.cost_usd is not None]
        usd = sum(costs) if len(costs) == len(lesson.steps) else None
        found.append(Logged(task.kind, task.chosen, task.propensity, lesson.score, usd, task.other))
    return found


def _bills(
    decision: Decision, after: str, result: Result | None, catalog: Catalog
) -> tuple[float, float] | None:
    """What it cost, and what it would have; None where nothing was answered or nobody would."""
    if result is None or not result.model:
        return None
    serving = result.model if decision.model == after else after
    if serving not in catalog.models:
        return None if after == NOBODY else (result.cost_usd, result.cost_usd)
    return result.cost_usd, cost_usd(result.usage, catalog.models[serving].price)


def _tier(model: str, catalog: Catalog) -> str:
    if model == NOBODY:
        return "refused"
    return catalog.models[model].tier if model in catalog.models else "not in the catalog"


def _not_followed(policy: Policy) -> tuple[str, ...]:
    """A trial is left out: which sessions it gets, and when it is switched off, is the running engine's to know."""
    canary, shadow = policy.rollout.canary, policy.rollout.shadow
    found = []
    if canary is not None:
        share = f"the {canary.percent:g} % of {canary.policy}"
        found.append(f"the canary is left out: {policy.name} decides for {share} too")
    if shadow is not None:
        found.append(f"the shadow {shadow.policy} is left out: it would have served nobody")
    return tuple(found)


def as_json(found: Simulation) -> dict[str, Any]:
    routes = sorted(found.routes.values(), key=lambda route: (-route.count, route.before, route.after))
    whole = max(found.requests, 1)
    return {
        "policy": found.policy,
        "snapshot": found.snapshot,
        "not_followed": list(found.not_followed),
        "requests": found.requests,
        "first_at": found.first_at,
        "last_at": found.last_at,
        "changed": found.changed,
        "routes": [plain(route) for route in routes],
        "priced": found.priced,
        "usd_before": found.usd_before,
        "usd_after": found.usd_after,
        "shares_before": {tier: count / whole for tier, count in found.tiers_before.most_common()},
        "shares_after": {tier: count / whole for tier, count in found.tiers_after.most_common()},
        "refused": dict(found.refused),
        "left_out": dict(found.left_out),
    }
