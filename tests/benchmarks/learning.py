"""What learning earns: cost and quality against always taking the frontier, on real outcomes, in one pass.

    python tests/benchmarks/learning.py [--seeds 10] [--quick] [--json]

Every decision is made by the engine's own code through a policy; of what was chosen only the steps that ran, their
verdicts, costs and the final score are told; exploration counts. The agent tasks ship with the project
(`agent_tasks.py`); first prompts (`first_prompts.py`) need pyarrow and the table that WEAVE_OUTCOMES names, and are
left out without them. `--json` prints one line of figures last.
"""

import argparse
import importlib.util
import json
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine.commands.tables import TableTask, play
from engine.learning.state import State
from tests.benchmarks import first_prompts
from tests.benchmarks.agent_tasks import (
    MODELS,
    PLANS,
    Engine,
    Run,
    Settings,
    agent_tasks,
    cold,
    relative,
    resampled,
    run,
    snapshot_of,
    warm,
)
from tests.benchmarks.demo_mix import demo_mix

SHIPPED = Settings()
ERROR = 0.1  # of the verifier, both ways
WINDOW = 200


@dataclass
class Line:
    """One line of the table: figures over seeds."""

    name: str
    settings: str
    quality: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)

    def add(self, runs: Sequence[Run], tasks: Sequence[TableTask]) -> None:
        quality, cost = relative(runs, tasks)
        self.quality.append(quality)
        self.cost.append(cost)
        self.opened.append(sum(one.because == "proven" for one in runs) / len(runs))

    def show(self) -> None:
        opened = f"{statistics.mean(self.opened):6.1%}" if self.opened else "     –"
        print(
            f"{self.name:34} {spread(self.quality)}  {spread(self.cost)}  {opened}  {self.settings}",
            flush=True,
        )


def spread(values: Sequence[float]) -> str:
    """Mean and half of its 95 % interval over seeds."""
    half = 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ±{half:.3f}"


# -- what the table says of an option, with everything known ----------------------------------------------------------


def worth(steps: Sequence[str], tasks: Sequence[TableTask], error: float) -> tuple[float, float]:
    """Mean score and cost of always doing this, over what the verifier may say."""
    score = cost = 0.0
    for task in tasks:
        running = 1.0
        for at, name in enumerate(steps):
            cost += running * task.cost_usd[name]
            accepted = 1.0 - error if task.score[name] >= 0.5 else error
            if at == len(steps) - 1:
                accepted = 1.0
            score += running * accepted * task.score[name]
            running *= 1.0 - accepted
    return score / len(tasks), cost / len(tasks)


OPTIONS = {**PLANS, **{name: (name,) for name in MODELS}}


class Calibration:
    """Of decisions where the gate opened: how often what was chosen is truly not worse by more than the margin."""

    def __init__(self, tasks: Sequence[TableTask]) -> None:
        families = {task.family for task in tasks}
        self._ahead: dict[tuple[str, str, float], float] = {}
        for error in (0.1, 0.2):
            for family in families:
                those = [task for task in tasks if task.family == family]
                frontier = worth(("opus",), those, error)[0]
                for name, steps in OPTIONS.items():
                    self._ahead[name, family, error] = worth(steps, those, error)[0] - frontier
        self.seen: list[tuple[float, bool]] = []

    def add(self, runs: Sequence[Run], error: float, margin: float) -> None:
        for one in runs:
            if one.because == "proven" and one.confidence is not None:
                true = self._ahead[one.name, one.family, error] >= -margin
                self.seen.append((one.confidence, true))

    @property
    def share(self) -> float:
        return sum(true for _, true in self.seen) / max(len(self.seen), 1)

    def show(self) -> None:
        print(
            f"\ncalibration: {self.share:.1%} of {len(self.seen)} opened decisions are truly within the margin"
        )
        for low, high in (
            (0.95, 0.96),
            (0.96, 0.97),
            (0.97, 0.98),
            (0.98, 0.99),
            (0.99, 0.999),
            (0.999, 1.01),
        ):
            those = [true for confidence, true in self.seen if low <= confidence < high]
            if those:
                share = sum(those) / len(those)
                print(
                    f"  {low:5.3f}–{min(high, 1):5.3f} {'█' * round(40 * share):40} {share:6.1%} of {len(those)}"
                )


# -- baselines --------------------------------------------------------------------------------------------------------


def bandit(kind: str, tasks: Sequence[TableTask], seed: int) -> list[Run]:
    """River's bandits over the same options. Their reward is the score less what it cost, a frontier task being worth
    0.3 of a task done."""
    from river import bandit as bandits
    from river import proba, stats

    gaussian: Any = proba.Gaussian  # untyped

    rng = random.Random(seed)
    names = list(OPTIONS)
    makers: dict[str, Callable[[], Any]] = {
        "LinUCB": lambda: bandits.LinUCBDisjoint(alpha=0.5, seed=seed),
        "ε-greedy": lambda: bandits.EpsilonGreedy(epsilon=0.1, decay=0.0, reward_obj=stats.Mean(), seed=seed),
        "Thompson": lambda: bandits.ThompsonSampling(reward_obj=gaussian(), seed=seed),
    }
    policy = makers[kind]()
    families = sorted({task.family for task in tasks})
    usual = statistics.mean(task.cost_usd["opus"] for task in tasks)
    found = []
    for task in tasks:
        context = {family: float(family == task.family) for family in families}
        name = policy.pull(names, context) if kind == "LinUCB" else policy.pull(names)
        steps, score = play(OPTIONS[name], task, ERROR, rng)
        cost = sum(step.cost_usd or 0.0 for step in steps)
        reward = score - 0.3 * cost / usual
        if kind == "LinUCB":
            policy.update(name, context, reward)
        else:
            policy.update(name, reward)
        found.append(Run(name, "", steps, score, cost, None, task.family))
    return found


def baselines(tasks: Sequence[TableTask], seeds: int) -> None:
    frontier = worth(("opus",), tasks, ERROR)
    table = {name: worth(steps, tasks, ERROR) for name, steps in OPTIONS.items()}
    shares = {name: (q / frontier[0], c / frontier[1]) for name, (q, c) in table.items()}
    singles = [shares[name] for name in MODELS if name != "opus"]
    best = min((c, q, name) for name, (q, c) in shares.items() if q >= 1.0)
    mix = max((q - 0.6 * (1 - c) / (1 - 0.6), q, c) for q, c in singles)
    share = (1.0 - 0.6) / (1.0 - mix[2]) if mix[2] < 0.6 else 1.0
    for name, quality, cost in (
        ("always the frontier", 1.0, 1.0),
        ("best static mix of models at 0.60", 1.0 + share * (mix[1] - 1.0), 1.0 + share * (mix[2] - 1.0)),
        (f"always the best plan ({best[2]})", best[1], best[0]),
    ):
        Line(name, "known in hindsight", [quality], [cost]).show()
    for kind in ("LinUCB", "ε-greedy", "Thompson"):
        line = Line(f"River's {kind}", "cold, score less 0.3 × cost")
        for seed in range(min(seeds, 5)):
            order = list(tasks)
            random.Random(seed).shuffle(order)
            line.add(bandit(kind, order, seed), order)
        line.opened.clear()
        line.show()
    line = Line("offline, full labels, by family", "other folds known, no exploration")
    for seed in range(seeds):
        order = list(tasks)
        rng = random.Random(seed)
        rng.shuffle(order)
        found = []
        for part in range(5):
            known = [task for number, task in enumerate(order) if number % 5 != part]
            found += [(_ridge_best(known, task.family), task) for task in order[part::5]]
        runs = []
        for name, task in found:
            steps, score = play(OPTIONS[name], task, ERROR, rng)
            runs.append(Run(name, "", steps, score, sum(s.cost_usd or 0.0 for s in steps), None, task.family))
        line.add(runs, [task for _, task in found])
    line.opened.clear()
    line.show()


_BEST: dict[tuple[int, str], str] = {}


def _ridge_best(known: list[TableTask], family: str) -> str:
    """The cheapest option whose mean, ridged towards that of all families, is not below the frontier's."""
    key = (hash(tuple(task.name for task in known)), family)
    if key not in _BEST:
        those, ridge = [task for task in known if task.family == family], 10.0
        means = {}
        for name, steps in OPTIONS.items():
            everywhere = worth(steps, known, ERROR)
            here = worth(steps, those, ERROR) if those else everywhere
            count = len(those)
            means[name] = [
                (count * a + ridge * b) / (count + ridge) for a, b in zip(here, everywhere, strict=True)
            ]
        fit = [(means[name][1], name) for name in means if means[name][0] >= means["opus"][0]]
        _BEST[key] = min(fit)[1]
    return _BEST[key]


# -- longer streams ---------------------------------------------------------------------------------------------------


def rolling(
    runs: Sequence[Run], is_one: Callable[[Run], bool], begin: int, window: int, share: float, less: bool
) -> int:
    """After how many tasks from `begin` the share of such runs in a window is below or above a bound."""
    inside = [is_one(one) for one in runs]
    for end in range(begin + window, len(runs) + 1):
        part = sum(inside[end - window : end]) / window
        if part < share if less else part > share:
            return end - begin
    return len(runs) - begin


def drift_tasks(tasks: Sequence[TableTask], seed: int) -> int:
    """From when a plan's outcomes turn 30 % worse until it has less than a tenth of the traffic, by windows of 50."""
    rng = random.Random(seed)
    engine = Engine(snapshot_of(SHIPPED))
    before = run(engine, resampled(tasks, 1_500, rng), ERROR, rng)
    carries = Counter(one.name for one in before[-300:] if len(OPTIONS[one.name]) > 1).most_common(1)[0][0]

    def worse(number: int, name: str, score: float) -> float:
        return 0.0 if name == carries and rng.random() < 0.3 else score

    after = run(engine, resampled(tasks, 800, rng), ERROR, rng, worse)
    return rolling(after, lambda one: one.name == carries, 0, 50, 0.1, less=True)


def onboarding_tasks(tasks: Sequence[TableTask], seed: int) -> int:
    """From when a plan of models nobody tried is added until it carries most traffic, by windows of 100."""
    rng = random.Random(seed)
    old, new = ("gpt-opus", "gpt", "opus"), "minimax-deepseek-opus"
    before = Engine(snapshot_of(replace(SHIPPED, choose=old)))
    run(before, resampled(tasks, 600, rng), ERROR, rng)
    after = Engine(snapshot_of(replace(SHIPPED, choose=(new, *old), explore=0.2)), before.trust)
    runs = run(after, resampled(tasks, 1_500, rng), ERROR, rng)
    return rolling(runs, lambda one: one.name == new, 0, 100, 0.5, less=False)


def late_and_missing(tasks: Sequence[TableTask], seed: int) -> float:
    """Points of quality lost where outcomes come 50 tasks late and 30 % never do."""
    found = []
    for late, missing in ((0, 0.0), (50, 0.3)):
        rng = random.Random(seed)
        order = resampled(tasks, 1_500, rng)
        runs = run(Engine(snapshot_of(SHIPPED)), order, ERROR, rng, late=late, missing=missing)
        found.append(100 * sum(one.score for one in runs) / len(runs))
    return found[0] - found[1]


# -- speed ------------------------------------------------------------------------------------------------------------

SIX = ("deepseek-minimax-opus", "minimax-deepseek-gpt-opus", "gpt-opus", "gpt", "minimax", "opus")


def decision_us(tasks: Sequence[TableTask], algorithm: str) -> float:
    """The median of a whole choice among six candidates, each of another request; with an outcome told after each
    eighth of them."""
    settings = replace(
        SHIPPED, algorithm=algorithm, choose=SIX, inputs="features.context_tokens, features.tool_count"
    )
    engine = Engine(snapshot_of(settings))
    rng = random.Random(1)
    run(engine, tasks[:300], ERROR, rng)
    spent = []
    for number in range(2_000 if algorithm != "adaptive_forest" else 200):
        task = tasks[number % len(tasks)]
        ask = engine.prepared(task.family)
        began = time.perf_counter()
        ask(rng.random())
        spent.append(time.perf_counter() - began)
        if number % 8 == 0:
            steps, score = play(("minimax", "opus"), task, ERROR, rng)
            engine.trust.learn(engine.lesson(task.family, steps, score))
    return statistics.median(spent) * 1e6


def folded_a_second(tasks: Sequence[TableTask]) -> float:
    engine = Engine(snapshot_of(SHIPPED))
    rng = random.Random(1)
    lessons = []
    for task in resampled(tasks, 2_000, rng):
        steps, score = play(rng.choice(list(OPTIONS.values())), task, ERROR, rng)
        lessons.append(engine.lesson(task.family, steps, score))
    state = State()
    began = time.perf_counter()
    for lesson in lessons:
        state.learn(lesson)
    return len(lessons) / (time.perf_counter() - began)


# -- the whole --------------------------------------------------------------------------------------------------------


def shares(runs: Sequence[Run]) -> dict[str, float]:
    tiers = Counter(MODELS[step.model][1] for one in runs for step in one.steps)
    return {tier: tiers[tier] / sum(tiers.values()) for tier in ("frontier", "mid", "small")}


def agents(tasks: Sequence[TableTask], seeds: int, quick: bool) -> dict[str, Any]:
    print(f"{'agent tasks, against the frontier':34} quality        cost          opened")
    lines = {
        name: Line(name, f"{SHIPPED}, verifier wrong {error:.0%}")
        for name, error in (("warm", 0.1), ("cold", 0.1), ("warm, noisy", 0.2), ("cold, noisy", 0.2))
    }
    calibration = Calibration(tasks)
    for seed in range(seeds):
        for name, line in lines.items():
            error = 0.2 if "noisy" in name else 0.1
            runs, order = (warm if "warm" in name else cold)(SHIPPED, tasks, error, seed)
            line.add(runs, order)
            calibration.add(runs, error, SHIPPED.margin)
    count = 2_000 if quick else 5_000
    long = Line(f"long, last 1,000 of {count:,}", str(SHIPPED))
    windows, mixed = list[list[float]](), Counter[str]()
    for seed in range(seeds):
        rng = random.Random(seed)
        order = resampled(tasks, count, rng)
        runs = run(Engine(snapshot_of(SHIPPED)), order, ERROR, rng)
        long.add(runs[-1_000:], order[-1_000:])
        calibration.add(runs, ERROR, SHIPPED.margin)
        gaps = [one.score - task.score["opus"] for one, task in zip(runs, order, strict=True)]
        windows.append([sum(gaps[at : at + WINDOW]) / WINDOW for at in range(0, count - WINDOW + 1, WINDOW)])
        mixed.update(MODELS[step.model][1] for one in runs[-1_000:] for step in one.steps)
    for line in (*lines.values(), long):
        line.show()
    baselines(tasks, seeds)
    calibration.show()
    worst = 100 * min(statistics.mean(column) for column in zip(*windows, strict=True))
    whole = sum(mixed.values())
    tiers = {tier: mixed[tier] / whole for tier in ("frontier", "mid", "small")}
    print(f"\nworst window of {WINDOW}, mean over seeds: {worst:+.2f} points")
    print("shares of steps, frontier/mid/small, long: " + "/".join(f"{100 * tiers[t]:.0f}" for t in tiers))
    few = max(2, seeds // 2)
    drift = [drift_tasks(tasks, seed) for seed in range(few)]
    print(f"a plan that turns 30 % worse keeps under a tenth of the traffic after {drift} tasks")
    onboarding = [onboarding_tasks(tasks, seed) for seed in range(few)]
    print(f"a new plan carries most traffic after {onboarding} tasks")
    lost = [late_and_missing(tasks, seed) for seed in range(few)]
    print(f"outcomes 50 tasks late and 30 % missing cost {spread(lost)} points of quality")
    return {
        "warm_quality": statistics.mean(lines["warm"].quality),
        "warm_cost": statistics.mean(lines["warm"].cost),
        "cold_quality": statistics.mean(lines["cold"].quality),
        "cold_cost": statistics.mean(lines["cold"].cost),
        "noisy_quality": min(statistics.mean(lines[name].quality) for name in ("warm, noisy", "cold, noisy")),
        "long_cost": statistics.mean(long.cost),
        "long_quality": statistics.mean(long.quality),
        "calibration": calibration.share,
        "opened_decisions": len(calibration.seen),
        "gate_opened": statistics.mean(lines["cold"].opened),
        "worst_window": worst,
        "drift_tasks": statistics.mean(drift),
        "onboarding_tasks": statistics.mean(onboarding),
        "late_missing_points": statistics.mean(lost),
    }


def prompts(seeds: int, quick: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {"routerbench_share": None, "mmlu_share": None}
    if importlib.util.find_spec("pyarrow") is None or not os.environ.get("WEAVE_OUTCOMES"):
        print("\nfirst prompts: left out; they need pyarrow and the table that WEAVE_OUTCOMES names")
        return figures
    explore = 0.05
    algorithm = "logistic"
    print(
        f"\nfirst prompts, area under cost–quality, static mix 0.500; {algorithm}, margin 0.5, min_samples 1, "
        f"exploration {explore:g}"
    )
    for key, source, benchmark, every in (
        ("routerbench", "routerbench_0shot", "routerbench", 1),
        ("mmlu", "routellm_evals", "mmlu", 3),
        ("gsm8k", "routellm_evals", "gsm8k", 1),
    ):
        found = first_prompts.prompts(source, benchmark)
        few = 1 if quick else max(1, min(seeds, 3))
        areas, below, ceilings, betas = list[float](), list[float](), list[float](), list[float]()
        for seed in range(few):
            some = random.Random(seed).sample(found, len(found) // every)
            curve, gap = first_prompts.swept(some, algorithm, explore, seed)
            areas.append(curve.area)
            below.append(curve.below_mix(gap))
            ceilings.append(first_prompts.ceiling(some, seed))
            if not quick:
                betas.append(first_prompts.swept(some, "beta", explore, seed)[0].area)
        top = statistics.mean(ceilings)
        share = (statistics.mean(areas) - 0.5) / (top - 0.5)
        beta = f", beta by family {spread(betas)}" if betas else ""
        print(
            f"  {key:12} {len(found) // every:5} prompts: {spread(areas)}, offline ridge {top:.3f}{beta}; "
            f"{share:.0%} of the way; at most {100 * max(below):.1f} points below a mix",
            flush=True,
        )
        figures[f"{key}_share"] = share
        figures[f"{key}_below_mix"] = max(below)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    seeds = asked.seeds or (2 if asked.quick else 10)
    tasks = agent_tasks()
    began = time.time()
    figures = agents(tasks, seeds, asked.quick)
    figures |= prompts(seeds, asked.quick)
    figures |= demo_mix(8, 16) if asked.quick else demo_mix()
    print()
    for algorithm in ("beta", "logistic", "bayesian_linear", "linucb", "adaptive_forest"):
        figures[f"decision_us_p50_{algorithm}"] = decision_us(tasks, algorithm)
        print(
            f"a choice among six, {algorithm}: {figures[f'decision_us_p50_{algorithm}']:.0f} µs at the median"
        )
    figures["decision_us_p50"] = max(figures["decision_us_p50_beta"], figures["decision_us_p50_logistic"])
    figures["folded_a_second"] = folded_a_second(tasks)
    print(
        f"{figures['folded_a_second']:.0f} outcomes folded a second; {seeds} seeds, {time.time() - began:.0f} s"
    )
    if asked.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
