import json
from typing import Any

import pytest
from rich.cells import cell_len

from engine.commands import terminal
from engine.core.errors import Problem

MARKUP = "[bold]x[/bold] [link=http://evil]y[/link] [/red]"
ORDERS = "\x1b]0;owned\x07\x1b[2J"  # a new title, an empty screen

TOLD: dict[str, Any] = {
    "id": "d1",
    "model": f"opus {MARKUP}",
    "source": "rule",
    "rule": "chores",
    "reason": MARKUP,
    "policy": "p",
    "snapshot": "abc",
    "targets": ["opus", MARKUP],
    "trace": [{"kind": "rule", "name": "chores", "result": "matched", "detail": MARKUP, "values": {"a": MARKUP}}],
    "candidates": [
        {"model": "opus", "chosen": True, "why": MARKUP, "confidence": 0.95, "samples": 12.0, "expected_cost_usd": 0.1}
    ],
    "features": {"last_tool": MARKUP, "turn": 3, **{f"f{index}": "some value or other" for index in range(20)}},
    "hints": {"task": MARKUP},
    "tried": [
        {"number": 1, "model": "opus", "endpoint": "e", "fault": {"kind": "overloaded", "message": MARKUP}},
        {"number": 2, "model": "opus", "endpoint": "e", "fault": None},
    ],
    "result": {
        "status": 200, "usage": {"input_tokens": 10, "output_tokens": 5}, "cost_usd": 0.5, "seconds": 1.0,
    },
}  # fmt: skip


def test_a_problem_is_shown_with_its_line_and_a_mark_under_it(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"a.yaml": "rules:\n  - name: [bold]x[/bold]\n"}
    terminal.problems([Problem("a.yaml", 2, 11, "WV107", "must be text", "write a name")], files)
    out = capsys.readouterr().out
    assert "a.yaml:2:11  WV107 error  must be text; write a name" in out
    assert "  - name: [bold]x[/bold]" in out, "text from a file is never read as markup"
    assert "1 error, 0 warnings" in out


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("a: word", "word"),
        ("a:\tb:\tword", "word"),
        ("name: 模型 word", "word"),
        ("name: \x1b[31m word", "word"),
        ("x" * 900_000 + " word", "word"),
        ("x" * 130 + " word " + "y" * 900_000, "word"),
        ("a: ", ""),
    ],
)
def test_the_mark_stands_under_the_place(line: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    column = line.index(word) + 1 if word else len(line) + 1
    terminal.problems([Problem("a.yaml", 1, column, "WV107", "odd")], {"a.yaml": line})
    _, shown, mark, _ = capsys.readouterr().out.split("\n", 3)
    assert len(shown) < 200
    at = len(mark) - 1
    columns = [char for char in shown for _ in range(cell_len(char))]
    assert mark.strip() == "^"
    assert "".join(columns[at : at + len(word)]) == word


def test_files_without_problems_are_said_to_be_valid(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.problems([], {"a.yaml": ""})
    assert capsys.readouterr().out.strip() == "a.yaml: valid"


def test_a_place_past_the_end_of_a_file_is_told_without_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.problems([Problem("a.yaml", 99, 1, "WV105", "empty")], {"a.yaml": "x"})
    assert capsys.readouterr().out.splitlines()[0] == "a.yaml:99:1  WV105 error  empty"


def test_names_and_messages_of_problems_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.problems([Problem(MARKUP, 1, 1, "WV101", MARKUP, MARKUP)], {})
    assert capsys.readouterr().out.count(MARKUP) == 3


def test_nothing_in_a_decision_is_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.decision(TOLD)
    out = capsys.readouterr().out
    assert out.count(MARKUP) == 9


def test_a_decision_in_a_pipe_is_not_cut_to_a_width_nobody_has(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.decision(TOLD)
    out = capsys.readouterr().out
    assert "f19='some value or other'" in out
    assert max(map(len, out.splitlines())) < 2_000, "and not filled up to it either"


def test_a_decision_tells_what_was_tried_and_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.decision(TOLD)
    out = capsys.readouterr().out
    assert "attempt 1: opus at e failed: overloaded" in out
    assert "attempt 2: opus at e served" in out
    assert "10 tokens in, 5 out, $0.50000, 1.00 s" in out
    assert "confidence 0.950 from 12 samples  $0.10000" in out


def test_cells_of_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table("title", ("a", "b"), [(MARKUP, "1")], right=(1,))
    terminal.say(MARKUP)
    terminal.rule(MARKUP)
    assert capsys.readouterr().out.count(MARKUP) == 3


def test_nothing_a_stranger_wrote_gives_orders_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(
        json.dumps(TOLD).replace(MARKUP, ORDERS.replace("\x1b", "\\u001b").replace("\x07", "\\u0007"))
    )
    assert told["reason"] == ORDERS
    terminal.decision(told)
    terminal.problems([Problem(ORDERS, 1, 1, "WV101", ORDERS, ORDERS)], {ORDERS: ORDERS})
    terminal.table(ORDERS, (ORDERS,), [(ORDERS,)])
    terminal.say(ORDERS)
    terminal.rule(ORDERS)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.count("\\x1b]0;owned\\x07\\x1b[2J") >= 15


def test_names_to_copy_are_never_cut_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    terminal.table("", ("what", "id"), [("a long sentence " * 10, "d1a20549617db0aa4dfb1359")], whole=True)
    assert "d1a20549617db0aa4dfb1359" in capsys.readouterr().out
