"""`weave-engine validate`: every problem in a set of policies, for people, editors and CI."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from engine.commands import formats, terminal
from engine.core.errors import InvalidDocumentsError, Problem
from engine.server.reload import policy_files, read_files, read_policies
from engine.snapshot import check

INVALID, TESTS_FAILED, COVERAGE_SHORT = 3, 4, 5

# A case that comes out otherwise, and cases that cover too little. Everything else makes the set invalid, cases
# that cannot be run (WV503, WV504) included.
FAILED_CODES = frozenset({"WV501"})
COVERAGE_CODES = frozenset({"WV502", "WV505"})

WATCH_SECONDS = 0.3


def validate(paths: Sequence[Path], form: str, policy: str = "") -> int:
    """Prints the problems, and for people a sentence that sums them up; returns the exit code."""
    try:
        files = read_set(paths)
        _, problems = check(files, policy)
    except InvalidDocumentsError as error:
        files, problems = {}, error.problems
    show(problems, files, form)
    return exit_code(problems)


def watch(paths: Sequence[Path], form: str, policy: str = "") -> int:
    """Validates now, and again whenever a file changes, until interrupted."""
    for _ in changes(paths, time.sleep):
        terminal.rule(time.strftime("%H:%M:%S"))
        validate(paths, form, policy)
    return 0


def changes(paths: Sequence[Path], sleep: Callable[[float], None]) -> Iterator[None]:
    """At once, and then after every change that has settled: two looks that agree."""
    shown: object = None
    seen: object = None
    while True:
        now = _signature(paths)
        if now != shown and (shown is None or now == seen):
            shown = now
            yield
        seen = now
        sleep(WATCH_SECONDS)


def show(problems: Sequence[Problem], files: Mapping[str, str], form: str) -> None:
    match form:
        case "json":
            print(formats.as_json(problems))
        case "github":
            if problems:
                print(formats.as_github(problems))
        case "sarif":
            print(formats.as_sarif(problems))
        case "junit":
            print(formats.as_junit(problems, files))
        case _:
            terminal.problems(problems, files)


def exit_code(problems: Sequence[Problem]) -> int:
    errors = {problem.code for problem in problems if problem.severity == "error"}
    if errors - FAILED_CODES - COVERAGE_CODES:
        return INVALID
    if errors & FAILED_CODES:
        return TESTS_FAILED
    return COVERAGE_SHORT if errors else 0


def read_set(paths: Sequence[Path]) -> dict[str, str]:
    """File name -> text, of folders and files that load together, each once however it is named. Raises
    InvalidDocumentsError."""
    files: dict[Path, tuple[str, str]] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            found = read_policies(path) if path.is_dir() else read_files([path])
        except InvalidDocumentsError as error:
            problems += error.problems
            continue
        for name, text in found.items():
            files.setdefault(Path(name).resolve(), (name, text))
    if problems:
        raise InvalidDocumentsError(problems)
    return dict(files.values())


def _signature(paths: Sequence[Path]) -> tuple[tuple[str, int, int, int], ...]:
    found: list[tuple[str, int, int, int]] = []
    for path in paths:
        for file in policy_files(path) if path.is_dir() else [path]:
            try:
                stat = file.stat()
            except OSError:  # gone for now: that is a change too
                continue
            found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
