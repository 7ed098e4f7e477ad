"""Labelled tool outputs, `tests/cases/evidence/*.yaml`: how many runs are recognised, and how many wrongly.

A run is right if its kind and its verdict are; counts are compared where the label tells them. Precision is the share
of the runs found that are right, recall the share of the labelled ones that were found.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.core.evidence import Run
from engine.features.actions import read_action, tool_kind
from engine.features.runs import runs_in

CASES = Path(__file__).parent.parent / "cases" / "evidence"
AT_LEAST = 250
PRECISION = RECALL = COUNTS = 0.99  # what is reached on this set; its README says what to expect elsewhere

Label = tuple[str, bool]


@dataclass
class Score:
    found: int = 0
    right: int = 0
    labelled: int = 0
    counted: int = 0
    counts_right: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / max(1, self.found)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.labelled)


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(CASES.glob("*.yaml")):
        for number, row in enumerate(yaml.safe_load(file.read_text(encoding="utf-8")), start=1):
            yield f"{file.stem}[{number}]", row


def runs_of(row: dict[str, Any]) -> tuple[Run, ...]:
    """What the engine reads in a row, as it would in a conversation."""
    arguments = row.get("arguments") or {"command": row["command"]}
    kind = tool_kind(row.get("tool", "Bash"))
    action = read_action(kind, json.dumps(arguments))
    if action.quotes or (action.starts is None and action.kind != "shell"):
        return ()
    return runs_in(action.starts, row["output"], row.get("error", False))


def label(text: str) -> tuple[Label, tuple[int, int] | None]:
    """`test failed 3/1` is a run of tests that failed, three of which passed and one failed."""
    kind, verdict, *counts = text.split()
    counted = tuple(map(int, counts[0].split("/"))) if counts else None
    return (kind, verdict == "failed"), (counted[0], counted[1]) if counted else None


@pytest.fixture(scope="module")
def score() -> Score:
    score = Score()
    for name, row in rows():
        labels = [label(text) for text in row["expect"]]
        runs = runs_of(row)
        left = Counter(each for each, _ in labels)
        found: Counter[Label] = Counter((run.kind, run.failed) for run in runs)
        both = (left & found).total()
        score.found += found.total()
        score.labelled += left.total()
        score.right += both
        if both != found.total() or both != left.total():
            score.wrong.append(f"{name} {row['command'][:60]!r}: {row['expect']} but {_shown(runs)}")
        for each, counts in labels:
            if counts is None:
                continue
            score.counted += 1
            read = [(run.passes, run.failures) for run in runs if (run.kind, run.failed) == each]
            right = counts in read
            score.counts_right += right
            if read and not right:
                score.wrong.append(f"{name} {row['command'][:60]!r}: {row['expect']} but {_shown(runs)}")
    return score


def _shown(runs: tuple[Run, ...]) -> list[str]:
    return [
        f"{run.kind} {'failed' if run.failed else 'passed'} {run.passes}/{run.failures} ({run.tool})"
        for run in runs
    ]


def test_there_are_enough_labelled_outputs_and_each_tells_where_it_is_from() -> None:
    every = list(rows())
    assert len(every) >= AT_LEAST
    assert {row["source"] for _, row in every} == {"run", "documented", "made"}
    assert len({(row["command"], row["output"], row.get("client")) for _, row in every}) == len(every)


def test_runs_are_recognised_with_precision_and_recall(score: Score) -> None:
    """The figures are printed; what is wrong is named, with `-s` or where the bound is missed."""
    print(
        f"\nruns of tests, builds and lints in {len(list(rows()))} labelled outputs: "
        f"precision {score.precision:.3f} ({score.right} of {score.found}), "
        f"recall {score.recall:.3f} ({score.right} of {score.labelled}), "
        f"counts right in {score.counts_right} of {score.counted}"
    )
    told = "\n".join(score.wrong)
    print(told)
    assert score.precision >= PRECISION, told
    assert score.recall >= RECALL, told


def test_counts_are_read_from_summaries(score: Score) -> None:
    assert score.counts_right >= COUNTS * score.counted, "\n".join(score.wrong)
