"""Choosing a model from the first prompt alone, decided by the engine, over public answers to single prompts.

RouterBench (MIT), MMLU and GSM8K as RouteLLM evaluated them (Apache-2.0): a strong model and a weak one answered every
prompt. Of each prompt only the chosen model's score and cost are told. What a task done is worth (`usd_per_quality`)
is swept, and the area under the curve of quality over cost is taken, both counted from the weak model's to the strong
one's: any static mix of the two has 0.5. The ceiling is a ridge regression on the same words, taught every answer of
the other half of the prompts.
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.choice import Bench, choose, signature_of, task_of
from engine.core.decision import Lesson, StepRun
from engine.learning.grams import grams_of
from engine.learning.state import State
from engine.routing.eligible import eligible
from engine.snapshot import Snapshot, build

STRONG, WEAK = "gpt-4-1106-preview", "mixtral"
THRESHOLDS = (0.01, 0.04, 0.08, 0.12, 0.17, 0.24, 0.34)


@dataclass(frozen=True)
class Prompt:
    family: str
    text: str
    score: dict[str, float]  # by "strong" and "weak"
    cost: dict[str, float]


def prompts(source: str, benchmark: str) -> list[Prompt]:
    """Needs pyarrow, and the table that WEAVE_OUTCOMES names."""
    import pyarrow.parquet as parquet

    columns = ["prompt_id", "source", "benchmark", "task_family", "model", "score", "cost_usd", "prompt_text"]
    rows = parquet.read_table(os.environ["WEAVE_OUTCOMES"], columns=columns).to_pylist()
    found: dict[str, dict[str, dict[str, object]]] = {}
    for row in rows:
        if row["source"] != source or benchmark not in row["benchmark"]:
            continue
        name = "strong" if row["model"] == STRONG else "weak" if WEAK in row["model"].lower() else ""
        if name and row["score"] is not None and row["cost_usd"] is not None:
            found.setdefault(row["prompt_id"], {})[name] = row
    return [
        Prompt(
            str(both["weak"]["task_family"]),
            str(both["weak"]["prompt_text"]),
            {name: float(row["score"]) for name, row in both.items()},  # type: ignore[arg-type]  # a number
            {name: float(row["cost_usd"]) for name, row in both.items()},  # type: ignore[arg-type]  # a number
        )
        for both in found.values()
        if len(both) == 2
    ]


def snapshot_of(algorithm: str, worth: float, explore: float) -> Snapshot:
    reads = "" if algorithm == "beta" else "\n    text: true\n    inputs: [features.context_tokens]"
    return build(
        {
            "catalog.yaml": """apiVersion: weave/v1
kind: Catalog
metadata: {name: table}
endpoints: {home: {protocol: openai-chat, base_url: "http://127.0.0.1:1/v1"}}
models:
  strong: {tier: frontier, context: 200000, output: 64000, can: [], usd: {in: 10, out: 30},
           served_by: [{endpoint: home, id: strong}]}
  weak: {tier: small, context: 200000, output: 64000, can: [], usd: {in: 0.6, out: 0.6},
         served_by: [{endpoint: home, id: weak}]}
""",
            "policy.yaml": f"""apiVersion: weave/v1
kind: Policy
metadata: {{name: table}}
rules:
  - {{name: prompt, when: "true", then: {{choose: [weak, strong], by: picker}}}}
learners:
  picker:
    algorithm: {algorithm}{reads}
    signature: [features.agent]
    usd_per_quality: {worth}
    confidence: {{threshold: 0.5, against: strong, margin: 0.5, min_samples: 1}}
    explore: {{rate: {explore}, loss: 1}}
default: {{use: strong}}
""",
        }
    )


def one_pass(
    found: Sequence[Prompt], algorithm: str, worth: float, explore: float, rng: random.Random
) -> tuple[float, float]:
    """Mean score and cost of one pass."""
    snapshot = snapshot_of(algorithm, worth, explore)
    trust = State()
    learner = snapshot.policy.learners["picker"]
    trust.prepare([learner])
    bench = Bench(snapshot.catalog, snapshot.policy, trust)
    score = cost = 0.0
    for prompt in found:
        inputs = {
            "features": {
                "context_tokens": len(prompt.text) // 4,
                "tool_count": 0,
                "images": 0,
                "documents": 0,
                "structured_output": False,
                "agent": prompt.family,
            },
            "hints": {},
            "identity": {},
        }
        pool = eligible(snapshot.catalog.models.values(), inputs["features"])
        verdict = snapshot.policy.judge(inputs)
        choice = choose(verdict, inputs, None, pool, bench, rng.random(), prompt.text)
        name = choice.model.name
        task = choice.task or task_of(learner, inputs, prompt.text)
        run = StepRun(name, 1.0, prompt.cost[name])
        trust.learn(
            Lesson(
                "o",
                0.0,
                "picker",
                signature_of(task),
                (run,),
                prompt.score[name],
                inputs=task.inputs,
                grams=task.grams,
            )
        )
        score += prompt.score[name]
        cost += prompt.cost[name]
    return score / len(found), cost / len(found)


@dataclass(frozen=True)
class Curve:
    """Points of share of the cost and share of the quality, from all weak (0, 0) to all strong (1, 1)."""

    points: tuple[tuple[float, float], ...]

    @property
    def area(self) -> float:
        ends = sorted([(0.0, 0.0), *self.points, (1.0, 1.0)])
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(ends))

    def below_mix(self, quality_gap: float) -> float:
        """The most that any point has less quality than the static mix of the same cost."""
        return max((x - y) * quality_gap for x, y in self.points)


def _ends(found: Sequence[Prompt]) -> tuple[float, float, float, float]:
    count = len(found)
    return (
        sum(prompt.score["weak"] for prompt in found) / count,
        sum(prompt.score["strong"] for prompt in found) / count,
        sum(prompt.cost["weak"] for prompt in found) / count,
        sum(prompt.cost["strong"] for prompt in found) / count,
    )


def swept(found: Sequence[Prompt], algorithm: str, explore: float, seed: int) -> tuple[Curve, float]:
    """The engine's curve, and how much better the strong model is."""
    rng = random.Random(seed)
    order = list(found)
    rng.shuffle(order)
    low, high, cheap, dear = _ends(order)
    points = []
    for threshold in THRESHOLDS:
        score, cost = one_pass(order, algorithm, (dear - cheap) / threshold, explore, rng)
        points.append(((cost - cheap) / (dear - cheap), (score - low) / (high - low)))
    return Curve(tuple(points)), high - low


def ceiling(found: Sequence[Prompt], seed: int) -> float:
    """The area that a ridge regression reaches which was taught both models' answers to the other half."""
    import numpy as np

    rng = random.Random(seed)
    order = list(found)
    rng.shuffle(order)
    low, high, cheap, dear = _ends(order)
    families = sorted({prompt.family for prompt in order})
    columns = 8_192

    def features(prompt: Prompt) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        row = np.zeros(columns + len(families))
        grams = grams_of(prompt.text)
        for gram in grams:
            row[gram % columns] += 1.0
        row[columns + families.index(prompt.family)] = 0.5
        return row

    table = np.array([features(prompt) for prompt in order])
    seen = (table[:, :columns] > 0).sum(axis=0)
    table[:, :columns] *= np.log((len(order) + 1) / (seen + 1))
    table[:, :columns] /= np.maximum(np.linalg.norm(table[:, :columns], axis=1, keepdims=True), 1e-9)
    gains = np.array([prompt.score["strong"] - prompt.score["weak"] for prompt in order])
    guesses = np.zeros(len(order))
    half = len(order) // 2
    for mine, others in (
        (slice(0, half), slice(half, None)),
        (slice(half, None), slice(0, half)),
    ):
        known = table[others]
        mean = gains[others].mean()
        kernel = known @ known.T + 10.0 * np.eye(len(known))
        guesses[mine] = table[mine] @ (known.T @ np.linalg.solve(kernel, gains[others] - mean)) + mean
    dearer = np.array([prompt.cost["strong"] - prompt.cost["weak"] for prompt in order])
    by_gain = np.argsort(-guesses / np.maximum(dearer, 1e-9))
    x = np.cumsum([order[i].cost["strong"] - order[i].cost["weak"] for i in by_gain]) / len(order)
    y = np.cumsum([order[i].score["strong"] - order[i].score["weak"] for i in by_gain]) / len(order)
    return Curve(tuple(zip(x / (dear - cheap), y / (high - low), strict=True))).area


def seeds_of(count: int) -> Iterator[int]:
    yield from range(count)
