import pytest

from engine.commands import terminal
from engine.core.errors import Problem


def test_a_problem_is_shown_with_its_line_and_a_mark_under_it(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"a.yaml": "rules:\n  - name: [bold]x[/bold]\n"}
    terminal.problems([Problem("a.yaml", 2, 11, "WV107", "must be text", "write a name")], files)
    out = capsys.readouterr().out
    assert "a.yaml:2:11  WV107 error  must be text; write a name" in out
    assert "  - name: [bold]x[/bold]" in out, "text from a file is never read as markup"
    assert "1 error, 0 warnings" in out


def test_files_without_problems_are_said_to_be_valid(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.problems([], {"a.yaml": ""})
    assert capsys.readouterr().out.strip() == "a.yaml: valid"
