"""Plans over real outcomes of coding agents, decided by the engine: what the learning benchmark plays its tasks on.

`data/agent_tasks.csv` holds the 547 tasks of the OpenHands Index (MIT) where agent
`OpenHands` ran with all four models: ids, families, scores and dollars as measured, no prompts. Attempts are
independent, and a verifier, wrong with a given probability both ways, says whether a step's work is accepted. Of a
task only what ran is told: the steps, their verdicts and costs, and the score of what stood.
"""

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.choice import Bench, Choice, choose, signature_of, task_of
from engine.commands.tables import TableTask, play
from engine.core.decision import Lesson, StepRun
from engine.learning.state import State
from engine.routing.eligible import eligible
from engine.snapshot import Snapshot, build

TABLE = Path(__file__).parent / "data" / "agent_tasks.csv"
OPUS, GPT, DEEPSEEK, MINIMAX = (
    "claude-opus-4-7",
    "GPT-5.4",
    "DeepSeek-V3.2-Reasoner",
    "Minimax-2.7",
)
# Names in catalogs are lower case; dollars per million tokens are list prices.
MODELS = {
    "opus": (OPUS, "frontier", 5.0, 25.0),
    "gpt": (GPT, "mid", 2.5, 15.0),
    "deepseek": (DEEPSEEK, "small", 0.28, 0.42),
    "minimax": (MINIMAX, "small", 0.3, 1.2),
}
PLANS = {
    "deepseek-opus": ("deepseek", "opus"),
    "minimax-opus": ("minimax", "opus"),
    "gpt-opus": ("gpt", "opus"),
    "minimax-deepseek-opus": ("minimax", "deepseek", "opus"),
    "deepseek-minimax-opus": ("deepseek", "minimax", "opus"),
    "deepseek-minimax-gpt-opus": ("deepseek", "minimax", "gpt", "opus"),
    "minimax-deepseek-gpt-opus": ("minimax", "deepseek", "gpt", "opus"),
    "deepseek-minimax-gpt": ("deepseek", "minimax", "gpt"),
    "deepseek-gpt-opus": ("deepseek", "gpt", "opus"),
    "minimax-gpt-opus": ("minimax", "gpt", "opus"),
}


def agent_tasks() -> list[TableTask]:
    with TABLE.open() as file:
        return [
            TableTask(
                row["task"],
                row["family"],
                {name: float(row[f"{told[0]} score"]) for name, told in MODELS.items()},
                {name: float(row[f"{told[0]} cost_usd"]) for name, told in MODELS.items()},
            )
            for row in csv.DictReader(file)
        ]


@dataclass(frozen=True)
class Settings:
    """What a line of the table is measured at."""

    margin: float = 0.03
    min_samples: int = 20
    explore: float = 0.2
    loss: float = 0.05
    threshold: float = 0.95
    algorithm: str = "beta"
    worth: float = 0.0
    choose: tuple[str, ...] = (*PLANS, "gpt", "deepseek", "minimax", "opus")
    signature: str = "features.agent"
    inputs: str = ""

    def __str__(self) -> str:
        return f"margin {self.margin:g}, min_samples {self.min_samples}, exploration {self.explore:g}"


def snapshot_of(settings: Settings, models: dict[str, tuple[str, str, float, float]] = MODELS) -> Snapshot:
    catalog = "\n".join(
        f"  {name}: {{tier: {tier}, context: 200000, output: 64000, can: [tools], usd: {{in: {given}, out: {out}}}, "
        f"served_by: [{{endpoint: home, id: {name}}}]}}"
        for name, (_, tier, given, out) in models.items()
    )
    used = {name: steps for name, steps in PLANS.items() if name in settings.choose}
    plans = "\n".join(f"  {name}: {{steps: [{', '.join(steps)}]}}" for name, steps in used.items())
    return build(
        {
            "catalog.yaml": f"""apiVersion: weave/v1
kind: Catalog
metadata: {{name: table}}
endpoints: {{home: {{protocol: openai-chat, base_url: "http://127.0.0.1:1/v1"}}}}
models:
{catalog}
""",
            "policy.yaml": f"""apiVersion: weave/v1
kind: Policy
metadata: {{name: table}}
plans:{" {}" if not plans else ""}
{plans}
rules:
  - {{name: task, when: "true", then: {{choose: [{", ".join(settings.choose)}], by: picker}}}}
learners:
  picker:
    algorithm: {settings.algorithm}
    signature: [{settings.signature}]
    inputs: [{settings.inputs}]
    usd_per_quality: {settings.worth}
    confidence:
      {{threshold: {settings.threshold}, against: opus, margin: {settings.margin}, min_samples: {settings.min_samples}}}
    explore: {{rate: {settings.explore}, loss: {settings.loss}}}
default: {{use: opus}}
""",
        }
    )


def inputs_of(family: str) -> dict[str, dict[str, object]]:
    features = {
        "context_tokens": 20_000,
        "tool_count": 5,
        "images": 0,
        "documents": 0,
        "structured_output": False,
        "agent": family,
    }
    return {"features": features, "hints": {}, "identity": {}}


@dataclass
class Engine:
    """The engine's own way from a request to a choice, and from an outcome to what it believes next."""

    snapshot: Snapshot
    trust: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.learner = self.snapshot.policy.learners["picker"]
        self.trust.prepare([self.learner])
        self._bench = Bench(self.snapshot.catalog, self.snapshot.policy, self.trust)

    def choose(self, family: str, draw: float) -> Choice:
        inputs = inputs_of(family)
        pool = eligible(self.snapshot.catalog.models.values(), inputs["features"])
        verdict = self.snapshot.policy.judge(inputs)
        return choose(verdict, inputs, None, pool, self._bench, draw)

    def prepared(self, family: str) -> Callable[[float], Choice]:
        """What is left to do once the policy's rules have spoken."""
        inputs = inputs_of(family)
        pool = eligible(self.snapshot.catalog.models.values(), inputs["features"])
        verdict = self.snapshot.policy.judge(inputs)
        return lambda draw: choose(verdict, inputs, None, pool, self._bench, draw)

    def lesson(self, family: str, steps: tuple[StepRun, ...], score: float | None) -> Lesson:
        task = task_of(self.learner, inputs_of(family))
        return Lesson("o", 0.0, "picker", signature_of(task), steps, score, inputs=task.inputs)


@dataclass(frozen=True)
class Run:
    """What became of one task."""

    name: str  # of the option
    because: str
    steps: tuple[StepRun, ...]
    score: float
    cost: float
    confidence: float | None
    family: str


def run(
    engine: Engine,
    tasks: Sequence[TableTask],
    error: float,
    rng: random.Random,
    change: Callable[[int, str, float], float] = lambda number, name, score: score,
    late: int = 0,
    missing: float = 0.0,
) -> list[Run]:
    """One pass. `change` may turn an outcome, `late` is how many tasks it is told after, `missing` how many never."""
    found, waiting = [], list[Lesson]()
    for number, task in enumerate(tasks):
        choice = engine.choose(task.family, rng.random())
        assert choice.gate is not None
        option = choice.gate.option
        steps, score = play(option.steps, task, error, rng)
        score = change(number, option.name, score)
        cost = sum(step.cost_usd or 0.0 for step in steps)
        found.append(
            Run(option.name, choice.gate.because, steps, score, cost, choice.gate.confidence, task.family)
        )
        if missing and rng.random() < missing:
            continue
        waiting.append(engine.lesson(task.family, steps, score))
        if len(waiting) > late:
            engine.trust.learn(waiting.pop(0))
    return found


def imported(engine: Engine, tasks: Sequence[TableTask]) -> None:
    """A table of results: every model's own score and cost, no verdicts."""
    for task in tasks:
        steps = tuple(
            StepRun(name, 1.0 / len(MODELS), task.cost_usd[name], None, task.score[name]) for name in MODELS
        )
        engine.trust.learn(engine.lesson(task.family, steps, None))


def relative(runs: Sequence[Run], tasks: Sequence[TableTask]) -> tuple[float, float]:
    """Quality and cost, as shares of what always taking the frontier comes to."""
    quality = sum(one.score for one in runs) / sum(task.score["opus"] for task in tasks)
    return quality, sum(one.cost for one in runs) / sum(task.cost_usd["opus"] for task in tasks)


def shuffled(tasks: Sequence[TableTask], rng: random.Random) -> list[TableTask]:
    found = list(tasks)
    rng.shuffle(found)
    return found


def warm(
    settings: Settings, tasks: Sequence[TableTask], error: float, seed: int
) -> tuple[list[Run], list[TableTask]]:
    """Five folds, the others imported."""
    rng = random.Random(seed)
    order = shuffled(tasks, rng)
    runs, played = [], []
    for part in range(5):
        engine = Engine(snapshot_of(settings))
        imported(engine, [task for number, task in enumerate(order) if number % 5 != part])
        mine = order[part::5]
        runs += run(engine, mine, error, rng)
        played += mine
    return runs, played


def cold(
    settings: Settings, tasks: Sequence[TableTask], error: float, seed: int
) -> tuple[list[Run], list[TableTask]]:
    rng = random.Random(seed)
    order = shuffled(tasks, rng)
    return run(Engine(snapshot_of(settings)), order, error, rng), order


def resampled(tasks: Sequence[TableTask], count: int, rng: random.Random) -> list[TableTask]:
    return rng.choices(tasks, k=count)
