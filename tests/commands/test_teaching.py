"""Lessons from elsewhere: what files teach, and what is wrong with those that teach nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.commands.teaching import Row, from_csv, from_export, is_journal, read_results
from engine.core.errors import RequestError
from engine.server.reload import load_from

Weave = Callable[..., Any]


def test_a_table_may_be_long_or_wide_with_commas_or_tabs(tmp_path: Path) -> None:
    rows = [Row("a", "fix", "x", 1.0, 0.5), Row("a", "fix", "y z", 0.0, None)]
    for name, text in (
        ("long.csv", "task,family,model,score,cost_usd\na,fix,x,1,0.5\na,fix,y z,0,\n"),
        ("long.tsv", "task\tsignature\tmodel\tscore\tcost_usd\na\tfix\tx\tTrue\t0.5\na\tfix\ty z\tfalse\t\n"),
        ("wide.csv", "task,family,x score,x cost_usd,y z score\na,fix,1,0.5,0\n"),
        ("marked.csv", "\ufefftask,family,x score,x cost_usd,y z score,y z cost_usd\na,fix,1,0.5,0,\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_results(tmp_path / name) == rows, name


def test_a_model_that_has_no_score_for_a_task_is_not_told_of(tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    file.write_text("task,x score,y score\na,1,\n")
    assert [row.model for row in read_results(file)] == ["x"]


def test_a_task_is_one_lesson_of_all_its_models_with_trials_averaged(policies: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text("task,model,score,cost_usd\na,large,1,2\na,little,1,\na,large,0,4\nb,large,1,1\n")
    first, second = from_csv(file, load_from(policies, "")(), "").lessons
    assert [(step.model, step.score, step.cost_usd, step.share) for step in first.steps] == [
        ("large", 0.5, 3.0, 0.5),
        ("little", 1.0, None, 0.5),
    ]
    assert (first.learner, first.signature, first.score) == ("picker", "", None)
    assert [step.model for step in second.steps] == ["large"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("task,model\na,large\n", "results.csv:1: no column 'score'"),
        ("task,model,score\na,large,2\nb,large,\n", "results.csv:2: score is a number from 0 to 1, not '2'"),
        ("task,model,score\n,large,1\n", "task and model are not empty"),
        ("task,model,score,cost_usd\na,large,1,-3\n", "cost_usd is a number of 0 or more"),
        ("task,model,score,signature\na,large,1,x/y\n", "signatures of 2 parts, and picker has 1"),
        ("task,model,score\na,nobody,1\n", "teaches nothing; no model 'nobody' in the catalog"),
    ],
)
def test_a_table_that_does_not_hold_is_told_by_line(
    weave: Weave, policies: Path, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "results.csv"
    file.write_text(text)
    ran = weave("learn", "import", file, "--dry-run")
    assert (ran.code, says in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("line", ["[]", "{}", "lesson", '{"learner": 1, "steps": [{"model": "a"}]}'])
def test_a_line_that_is_no_lesson_is_told(tmp_path: Path, line: str) -> None:
    file = tmp_path / "lessons.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(RequestError, match=r"lessons.jsonl:2: no lesson"):
        from_export(file, "")


def test_a_journal_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"SQLite format 3\0 and more")
    (tmp_path / "b").write_bytes(b"")
    assert [is_journal(tmp_path / name) for name in "ab"] == [True, False]
