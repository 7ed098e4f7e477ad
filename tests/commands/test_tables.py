"""Tables of outcomes played through a policy by the engine's own code."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.commands.tables import Setting, TableTask, best_mix, passes, play, report, table_tasks
from engine.core.errors import RequestError
from engine.server.reload import load_from
from engine.snapshot import Snapshot

Weave = Callable[..., Any]

# What the table knows, and the house's policy does not: `middle` does as well as `large`, `little` only what is easy.
PLANNED = """\
plans:
  climb: {steps: [little, large]}
"""


def table(path: Path, count: int = 160) -> Path:
    lines = [
        "task,family,large score,large cost_usd,middle score,middle cost_usd,little-1 score,little-1 cost_usd"
    ]
    chance = random.Random(5)
    for number in range(count):
        hard = number % 2
        large = int(chance.random() < 0.8)
        middle, little = large, int(large and not hard)
        lines.append(f"t{number},{'execute' if hard else 'context'},{large},1,{middle},0.4,{little},0.1")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def snapshot(policies: Path) -> Snapshot:
    text = (policies / "house.yaml").read_text()
    text = text.replace("choose: [small, mid]", "choose: [climb, middle, large]")
    text = text.replace("learners:\n", PLANNED + "learners:\n")
    text = text.replace("min_samples: 3}", "min_samples: 10}\n    explore: {rate: 0.3, loss: 1}")
    text = text[: text.index("tests:")]
    (policies / "house.yaml").write_text(text)
    return load_from(policies, "")()


@pytest.fixture
def tasks(snapshot: Snapshot, tmp_path: Path) -> list[TableTask]:
    found, left_out = table_tasks(table(tmp_path / "results.csv"), snapshot.catalog)
    assert left_out == {}
    return found


WORK = Setting(seeds=2, said={"features": {"tool_count": 5}})

TASK = TableTask(
    "t", "", {"little": 0.0, "middle": 1.0, "large": 1.0}, {"little": 0.1, "middle": 0.4, "large": 1.0}
)


@pytest.mark.parametrize(
    ("steps", "error", "ran", "score"),
    [
        (("little", "middle", "large"), 0.0, [("little", False), ("middle", True)], 1.0),
        (("little",), 0.0, [("little", False)], 0.0),
        (("little", "large"), 1.0, [("little", True)], 0.0),
        (("large", "middle"), 1.0, [("large", False), ("middle", False)], 1.0),
    ],
)
def test_of_a_plan_only_what_runs_is_told(
    steps: tuple[str, ...], error: float, ran: list[tuple[str, bool]], score: float
) -> None:
    found, stood = play(steps, TASK, error, random.Random(1))
    assert [(step.model, step.accepted) for step in found] == ran
    assert [step.cost_usd for step in found] == [TASK.cost_usd[name] for name, _ in ran]
    assert stood == score


def test_a_warm_policy_saves_what_the_table_shows_can_be_saved(
    snapshot: Snapshot, tasks: list[TableTask]
) -> None:
    found = report(snapshot, tasks, Setting(seeds=2, warm=True, said=WORK.said))
    assert found["against"] == "large"
    assert found["quality"][0] > 0.95
    assert found["cost"][0] < 0.6
    assert found["cost"][1] <= found["cost"][0] <= found["cost"][2]
    assert found["because"]["proven"] > 0.5
    assert {row["name"]: row["cost"] for row in found["baselines"]} == pytest.approx(
        {"always large": 1.0, "always middle": 0.4, "always little": 0.1, "oracle": 0.2155}, abs=0.05
    )
    assert sum(found["shares"].values()) == pytest.approx(1.0)


def test_a_cold_policy_learns_as_the_tasks_go_by(snapshot: Snapshot, tasks: list[TableTask]) -> None:
    found = report(snapshot, tasks, WORK)
    curve = found["curve"]
    assert len(curve["cost"]) == 40
    assert sum(curve["cost"][-10:]) < sum(curve["cost"][:10])


def test_the_same_seed_plays_the_same(snapshot: Snapshot, tasks: list[TableTask]) -> None:
    assert passes(snapshot, tasks[:40], WORK) == passes(snapshot, tasks[:40], WORK)


def test_a_rule_that_asks_no_learner_is_played_as_it_says(snapshot: Snapshot, tasks: list[TableTask]) -> None:
    chores = Setting(seeds=1, said={"features": {"phase": "title"}})
    (played,) = passes(snapshot, tasks[:20], chores)
    assert {(one.option, one.because) for _, one in played} == {("little", "rule")}


def test_the_best_mix_lies_on_the_line_between_two_models() -> None:
    assert best_mix([TASK], "large", 0.4) == 1.0
    assert best_mix([TASK], "large", 0.25) == pytest.approx(0.5)
    assert best_mix([TASK], "large", 0.01) == pytest.approx(0.0)


def test_what_the_catalog_does_not_know_or_no_model_has_is_left_out_and_said(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    file = tmp_path / "results.csv"
    file.write_text(
        "task,model,score,cost_usd\na,large,1,1\na,else,1,1\na,little,1,1\nb,large,1,1\nc,large,1,\nc,little,1,1\n"
    )
    found, left_out = table_tasks(file, snapshot.catalog)
    assert [task.name for task in found] == ["a"]
    assert left_out == {
        "rows of else, which the catalog does not know": 1,
        "tasks without a score and a cost of every model": 2,
    }
    file.write_text("task,model,score\na,large,1\n")
    with pytest.raises(RequestError, match="has no task to play"):
        table_tasks(file, snapshot.catalog)


def test_the_command_prints_figures_and_curves_and_writes_a_plot(
    weave: Weave, snapshot: Snapshot, policies: Path, tmp_path: Path
) -> None:
    file = table(tmp_path / "results.csv", 60)
    words = ("simulate", policies, "--table", file, "--seeds", 1, "--with", "features.tool_count=5")
    ran = weave(*words, "--plot", tmp_path / "curve.svg")
    assert ran.code == 0, ran.err
    for said in (
        "house (",
        "on 60 tasks, from cold, 1 seeds, a verifier wrong 10% of the time",
        "picker: beta, threshold 0.9, margin 0.05, min_samples 10, exploration 0.3",
        "best static mix at this cost",
        "steps by tier:",
        "attempts are independent",
    ):
        assert said in ran.out
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
    told = json.loads(weave(*words, "--warm", "--verifier-error", 0, "--json").out)
    assert (told["tasks"], told["warm"], told["verifier_error"]) == (60, True, 0.0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--with", "tool_count=5"), "--with tool_count=5: it takes features, hints or identity"),
        (("--verifier-error", "2"), "'2' is no chance"),
        (("--table", "nowhere.csv"), "nowhere.csv: No such file"),
    ],
)
def test_what_is_called_wrongly_is_told(
    weave: Weave, policies: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    ran = weave("simulate", policies, "--table", table(tmp_path / "results.csv", 10), *words)
    assert ran.code in (1, 2)
    assert says in ran.err
