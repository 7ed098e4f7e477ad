"""A table of outcomes replayed through a policy: what it would have chosen, task after task, learning as it goes.

**What is played.** Each task is a request of its family, decided by the engine's own code with what the learners know
by then. Of a plan only what runs is told: a step's work is accepted or rejected by a verifier that is wrong with a
given probability both ways, and the last one's work stands. Then the learners are told what ran, its cost and score.

**What is assumed.** Attempts are independent of each other, which live escalation in the middle of a conversation is
not; costs are those of the table; one order of tasks is one seed. Quality and cost are shares of what always taking
the model that the learner compares with comes to, with intervals from resampling the tasks.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import wire
from engine.choice import Bench, Choice, choose, signature_of, task_of
from engine.commands import terminal
from engine.commands.plot import draw, sparkline
from engine.commands.teaching import Row, read_results
from engine.core.catalog import Catalog
from engine.core.decision import Lesson, StepRun
from engine.core.errors import RequestError
from engine.core.policy import Learner
from engine.core.ports import Task
from engine.learning.state import State
from engine.policy.cases import usual_inputs
from engine.routing.eligible import Pool
from engine.routing.targets import named
from engine.snapshot import Snapshot

FOLDS = 5
RESAMPLES = 400
MOST_POINTS = 40
DONE = 0.5  # a score from which work counts as done, for the verifier

Interval = tuple[float, float, float]  # the figure, and where 95 % of resamples lie


@dataclass(frozen=True, slots=True)
class TableTask:
    """One task, and what each model came to on it."""

    name: str
    family: str
    score: Mapping[str, float]
    cost_usd: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Played:
    """How a task went: the option chosen, why, and the steps that ran."""

    option: str
    because: str
    steps: tuple[StepRun, ...]
    score: float

    @property
    def cost_usd(self) -> float:
        return sum(step.cost_usd or 0.0 for step in self.steps)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a table is played. `said` is what each request says beside its family: root -> name -> value."""

    seeds: int = 10
    error: float = 0.1
    warm: bool = False
    said: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def table_tasks(path: Path, catalog: Catalog) -> tuple[list[TableTask], dict[str, int]]:
    """The tasks on which every model that the catalog knows has a score and a cost, and how many rows or tasks were
    left out, by reason. Raises RequestError where none is left."""
    left_out: Counter[str] = Counter()
    tasks: dict[str, dict[str, Row]] = {}
    for row in read_results(path):
        model = catalog.resolve(row.model)
        if model is None:
            left_out[f"rows of {row.model}, which the catalog does not know"] += 1
        else:
            tasks.setdefault(row.task, {})[model.name] = row
    models = {model for rows in tasks.values() for model in rows}
    found = []
    for name, rows in tasks.items():
        if rows.keys() != models or any(row.cost_usd is None for row in rows.values()):
            left_out["tasks without a score and a cost of every model"] += 1
            continue
        scores = {model: row.score for model, row in rows.items()}
        costs = {model: row.cost_usd or 0.0 for model, row in rows.items()}
        found.append(TableTask(name, next(iter(rows.values())).signature, scores, costs))
    if not found:
        raise RequestError(f"{path} has no task to play; left out: {dict(left_out)}")
    return found, dict(left_out)


def play(
    steps: Sequence[str], task: TableTask, error: float, chance: random.Random
) -> tuple[tuple[StepRun, ...], float]:
    """The steps in order until a verdict accepts one; the last one's work stands."""
    ran: list[StepRun] = []
    for name in steps:
        done = task.score[name] >= DONE
        accepted = done != (chance.random() < error)
        ran.append(StepRun(name, 1.0, task.cost_usd[name], accepted))
        if accepted:
            break
    return tuple(ran), task.score[ran[-1].model]


class Player:
    """A policy with its learners, for one pass over the tasks."""

    def __init__(
        self, snapshot: Snapshot, models: Sequence[str], said: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._snapshot = snapshot
        self._said = said
        self._trust = State()
        self._trust.prepare(snapshot.policy.learners.values())
        known = snapshot.catalog.models
        excluded = {name: "not in the table" for name in known if name not in models}
        self._pool = Pool(tuple(model for name, model in known.items() if name not in excluded), excluded)

    def choose(self, task: TableTask, draw: float) -> tuple[Choice, str]:
        """The choice, and the learner that was asked, if any was."""
        policy = self._snapshot.policy
        inputs = self._inputs(task)
        verdict = policy.judge(inputs)
        bench = Bench(self._snapshot.catalog, policy, self._trust)
        learner = verdict.action.by if verdict.action.learn else ""
        return choose(verdict, inputs, None, self._pool, bench, draw), learner

    def tell(self, choice: Choice, learner: str, steps: tuple[StepRun, ...], score: float | None) -> None:
        if learner and choice.gate is not None and choice.task is not None:
            self._trust.learn(_lesson(learner, choice.task, steps, score, choice.gate.propensity))

    def know(self, task: TableTask) -> None:
        """As a public table of results would be imported: what each model came to, and no verdicts."""
        steps = tuple(
            StepRun(name, 1.0 / len(task.score), task.cost_usd[name], None, score)
            for name, score in task.score.items()
        )
        policy, inputs = self._snapshot.policy, self._inputs(task)
        learner = policy.learners.get(policy.judge(inputs).action.by)
        if learner is not None:
            self._trust.learn(_lesson(learner.name, task_of(learner, inputs), steps, None, 1.0))

    def steps(self, choice: Choice) -> tuple[str, ...]:
        if choice.gate is not None and choice.gate.model == choice.model.name:
            return choice.gate.option.steps
        plan = self._snapshot.policy.plans.get(choice.plan)
        if plan is None:
            return (choice.model.name,)
        catalog = self._snapshot.catalog
        return tuple(dict.fromkeys(named(step, None, self._pool, catalog).name for step in plan.steps))

    def frontier(self) -> str:
        """What the learners compare with; the same for all of them, or the first one's."""
        against = next((one.against for one in self._snapshot.policy.learners.values()), "frontier")
        return named(against, None, self._pool, self._snapshot.catalog).name

    def _inputs(self, task: TableTask) -> dict[str, dict[str, Any]]:
        inputs = usual_inputs(self._said, self._snapshot.catalog)
        for learner in self._snapshot.policy.learners.values():
            for name, part in zip(learner.signature, task.family.split("/"), strict=False):
                root, _, word = name.partition(".")
                if word not in self._said.get(root, {}):
                    inputs[root][word] = part
        return inputs


def _lesson(
    learner: str, task: Task, steps: tuple[StepRun, ...], score: float | None, propensity: float
) -> Lesson:
    return Lesson(
        outcome="",
        at=0.0,
        learner=learner,
        signature=signature_of(task),
        steps=steps,
        score=score,
        inputs=task.inputs,
        grams=task.grams,
        propensity=propensity,
    )


def passes(
    snapshot: Snapshot, tasks: Sequence[TableTask], setting: Setting
) -> list[list[tuple[TableTask, Played]]]:
    """One pass in a new order for each seed."""
    found = []
    for seed in range(setting.seeds):
        chance = random.Random(seed)  # noqa: S311 - the same each time, as a replay should be
        order = list(tasks)
        chance.shuffle(order)
        models = list(tasks[0].score)
        parts = [(order[part::FOLDS], part) for part in range(FOLDS)] if setting.warm else [(order, -1)]
        played = []
        for mine, part in parts:
            player = Player(snapshot, models, setting.said)
            for number, task in enumerate(order if setting.warm else ()):
                if number % FOLDS != part:
                    player.know(task)
            played += [(task, _played(player, task, setting.error, chance)) for task in mine]
        found.append(played)
    return found


def _played(player: Player, task: TableTask, error: float, chance: random.Random) -> Played:
    choice, learner = player.choose(task, chance.random())
    steps, score = play(player.steps(choice), task, error, chance)
    player.tell(choice, learner, steps, score)
    option = choice.gate.option.name if choice.gate is not None else choice.plan or choice.model.name
    return Played(option, choice.gate.because if choice.gate is not None else choice.source, steps, score)


# -- what it comes to


def report(snapshot: Snapshot, tasks: Sequence[TableTask], setting: Setting) -> dict[str, Any]:
    """The figures of all passes, beside what fixed choices come to on the same tasks."""
    found = passes(snapshot, tasks, setting)
    frontier = Player(snapshot, list(tasks[0].score), setting.said).frontier()
    flat = [one for each in found for one in each]
    quality, cost = _relative(found, tasks, frontier)
    mix = best_mix(tasks, frontier, cost[0])
    steps = Counter(step.model for _, one in flat for step in one.steps)
    tiers: Counter[str] = Counter()
    for model, count in steps.items():
        tiers[snapshot.catalog.models[model].tier] += count
    return {
        "policy": snapshot.policy.name,
        "snapshot": snapshot.fingerprint,
        "learners": [_declared(one) for one in snapshot.policy.learners.values()],
        "tasks": len(tasks),
        "seeds": setting.seeds,
        "verifier_error": setting.error,
        "warm": setting.warm,
        "against": frontier,
        "quality": quality,
        "cost": cost,
        "mix_quality": mix,
        "baselines": baselines(tasks, frontier),
        "shares": {tier: count / sum(steps.values()) for tier, count in tiers.most_common()},
        "options": _shares(Counter(one.option for _, one in flat)),
        "because": _shares(Counter(one.because for _, one in flat)),
        "curve": curve(found, frontier),
    }


def _declared(learner: Learner) -> dict[str, Any]:
    return {
        "name": learner.name,
        "algorithm": learner.algorithm,
        "threshold": learner.threshold,
        "margin": learner.margin,
        "min_samples": learner.min_samples,
        "explore_rate": learner.explore_rate,
    }


def _shares(counts: Counter[str]) -> dict[str, float]:
    whole = sum(counts.values())
    return {name: count / whole for name, count in counts.most_common()}


def baselines(tasks: Sequence[TableTask], frontier: str) -> list[dict[str, Any]]:
    """Each model for everything, and the oracle: on each task the cheapest of the best."""
    chosen = {f"always {model}": [model] * len(tasks) for model in tasks[0].score}
    chosen["oracle"] = [_best(task) for task in tasks]
    rows: list[dict[str, Any]] = []
    for name, models in chosen.items():
        quality, cost = _totals(tasks, models)
        best, usd = _totals(tasks, [frontier] * len(tasks))
        rows.append({"name": name, "quality": quality / best, "cost": cost / usd})
    return sorted(rows, key=lambda row: -float(row["cost"]))


def _best(task: TableTask) -> str:
    return min(task.score, key=lambda model: (-task.score[model], task.cost_usd[model]))


def _totals(tasks: Sequence[TableTask], models: Sequence[str]) -> tuple[float, float]:
    chosen = list(zip(tasks, models, strict=True))
    quality = sum(task.score[model] for task, model in chosen)
    cost = sum(task.cost_usd[model] for task, model in chosen)
    return quality or 1e-12, cost or 1e-12


def best_mix(tasks: Sequence[TableTask], frontier: str, cost: float) -> float:
    """The best quality that sending fixed shares of the tasks to two models has at this cost, without looking."""
    points = [(row["cost"], row["quality"]) for row in baselines(tasks, frontier) if row["name"] != "oracle"]
    found: list[float] = [quality for usd, quality in points if usd <= cost]
    for (low, worse), (high, better) in ((a, b) for a in points for b in points if a[0] < cost < b[0]):
        found.append(worse + (better - worse) * (cost - low) / (high - low))
    return max(found, default=min(points)[1])


def _relative(
    found: Sequence[Sequence[tuple[TableTask, Played]]], tasks: Sequence[TableTask], frontier: str
) -> tuple[Interval, Interval]:
    score: dict[str, float] = {}
    usd: dict[str, float] = {}
    for one in found:
        for task, played in one:
            score[task.name] = score.get(task.name, 0.0) + played.score / len(found)
            usd[task.name] = usd.get(task.name, 0.0) + played.cost_usd / len(found)
    ours = [(score[task.name], task.score[frontier]) for task in tasks]
    costs = [(usd[task.name], task.cost_usd[frontier]) for task in tasks]
    return _ratio(ours), _ratio(costs)


def _ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    chance = random.Random(0)  # noqa: S311
    resampled = sorted(_share(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    edge = round(RESAMPLES * 0.025)
    return _share(pairs), resampled[edge], resampled[-1 - edge]


def _share(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(ours for ours, _ in pairs) / (sum(theirs for _, theirs in pairs) or 1e-12)


def curve(found: Sequence[Sequence[tuple[TableTask, Played]]], frontier: str) -> dict[str, Any]:
    """Quality and cost as the tasks go by, all seeds together: `each` tasks make a point."""
    length = len(found[0])
    each = max(1, -(-length // MOST_POINTS))
    quality, cost = [], []
    for start in range(0, length, each):
        part = [one for seed in found for one in seed[start : start + each]]
        quality.append(_share([(played.score, task.score[frontier]) for task, played in part]))
        cost.append(_share([(played.cost_usd, task.cost_usd[frontier]) for task, played in part]))
    return {"each": each, "quality": quality, "cost": cost}


# -- the command -----------------------------------------------------------------------------------------------------


def simulate_table(
    snapshot: Snapshot, path: Path, setting: Setting, *, json: bool = False, plot: Path | None = None
) -> int:
    """Prints what the policy comes to on a table; returns the exit code."""
    tasks, left_out = table_tasks(path, snapshot.catalog)
    told = report(snapshot, tasks, setting) | {"left_out": left_out}
    if plot is not None:
        curves = {name: told["curve"][name] for name in ("quality", "cost")}
        draw(
            plot,
            f"{told['policy']}, shares of always {told['against']}",
            curves,
            told["curve"]["each"],
            "tasks",
        )
    if json:
        print(wire.dumps(told).decode())
    else:
        _print(told)
    return 0


def _print(told: Mapping[str, Any]) -> None:
    start = "the other folds imported" if told["warm"] else "from cold"
    terminal.say(
        f"{told['policy']} ({told['snapshot']}) on {told['tasks']} tasks, {start}, {told['seeds']} seeds,"
        f" a verifier wrong {told['verifier_error']:.0%} of the time",
        "bold",
    )
    for one in told["learners"]:
        terminal.say(
            f"{one['name']}: {one['algorithm']}, threshold {one['threshold']:g}, margin {one['margin']:g},"
            f" min_samples {one['min_samples']}, exploration {one['explore_rate']:g}",
            "dim",
        )
    rows = [("this policy", _range(told["quality"]), _range(told["cost"]))]
    rows += [(row["name"], f"{row['quality']:.3f}", f"{row['cost']:.3f}") for row in told["baselines"]]
    rows.append(("best static mix at this cost", f"{told['mix_quality']:.3f}", f"{told['cost'][0]:.3f}"))
    title = f"\nShares of always {told['against']}, with 95 % intervals over tasks"
    terminal.table(title, ("", "quality", "cost"), rows, right=(1, 2), whole=True)
    for name, key in (("steps by tier", "shares"), ("chosen", "options"), ("because", "because")):
        shares = ", ".join(f"{which} {share:.1%}" for which, share in told[key].items())
        terminal.say(f"{name}: {shares}")
    curve = told["curve"]
    terminal.say(f"\nas the tasks go by, {curve['each']} to a character", "bold")
    for name in ("quality", "cost"):
        values = curve[name]
        terminal.say(
            f"{name:<8} {sparkline(values)}  {min(values):.2f} to {max(values):.2f}, at last {values[-1]:.2f}"
        )
    for why, count in told["left_out"].items():
        terminal.say(f"left out: {count} {why}", "yellow")
    terminal.say(
        "attempts are independent, costs are the table's; live escalation goes on in mid-conversation", "dim"
    )


def _range(interval: Interval) -> str:
    return f"{interval[0]:.3f} ({interval[1]:.3f} to {interval[2]:.3f})"
