"""`weave-engine validate`: every problem in a set of policies, for people, editors and CI."""

from collections.abc import Sequence
from pathlib import Path

from engine import wire
from engine.commands import terminal
from engine.core.errors import InvalidDocumentsError, Problem
from engine.server.reload import read_files, read_policies
from engine.snapshot import check

INVALID, TESTS_FAILED, COVERAGE_SHORT = 3, 4, 5

# Problems of a policy's own tests; everything else makes the policy itself invalid.
COVERAGE_CODES = frozenset({"WV502"})


def validate(paths: Sequence[Path], form: str) -> int:
    """Prints the problems and a sentence that sums them up; returns the exit code."""
    try:
        files = _read(paths)
        _, problems = check(files)
    except InvalidDocumentsError as error:
        files, problems = {}, error.problems
    match form:
        case "json":
            print(wire.dumps([_as_json(problem) for problem in problems]).decode())
        case "github":
            for problem in problems:
                print(_as_annotation(problem))
        case _:
            terminal.problems(problems, files)
    return exit_code(problems)


def exit_code(problems: Sequence[Problem]) -> int:
    errors = {problem.code for problem in problems if problem.severity == "error"}
    if not errors:
        return 0
    if any(not code.startswith("WV5") for code in errors):
        return INVALID
    return TESTS_FAILED if errors - COVERAGE_CODES else COVERAGE_SHORT


def _read(paths: Sequence[Path]) -> dict[str, str]:
    files: dict[str, str] = {}
    for path in paths:
        files |= read_policies(path) if path.is_dir() else read_files([path])
    return files


def _as_json(problem: Problem) -> dict[str, str | int]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "hint": problem.hint,
    }


def _as_annotation(problem: Problem) -> str:
    """A GitHub Actions workflow command: https://docs.github.com/actions, "Workflow commands"."""
    text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    where = f"file={problem.file},line={problem.line},col={problem.column}"
    return f"::{problem.severity} {where},title={problem.code}::{escaped}"
