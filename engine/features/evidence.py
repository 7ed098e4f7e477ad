"""What tool results tell about how the work goes: here, test runs and whether they passed.

The recognisers are data, `schemas/evidence/tests.v1.yaml`: a runner is known by the command that starts it,
or by a summary no other program prints; its verdict stands at the end of its output.

A session sends all its results again with every step, so the latest verdicts are remembered by what was read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

from engine.documents import shipped_yaml
from engine.features.actions import COMMANDS, SEPARATOR, Action

TESTS = "schemas/evidence/tests.v1.yaml"
TAIL = 4_096  # characters at the end of an output where a summary is looked for
HEAD = 256
REMEMBERED = 1_024  # verdicts, each with at most TAIL characters
LINES = 6  # that hold the same word

Verdict = Literal["passed", "failed", ""]

# What may stand before a runner: assignments, and programs that start others, with a few words of their own.
LAUNCHERS = (
    r"[\s\"'({!]{0,8}(?:[A-Za-z_]{1,40}=\S{0,200}\s+){0,6}"
    r"(?:(?:\S{0,100}/)?(?:uvx?|poetry|pdm|hatch|rye|pipenv|npx|bunx?|pnpm|yarn|npm|time|timeout|env|sudo|nice|docker|"
    r"podman|xvfb-run|coverage|bundle|node|python[\d.]*|if|then|do)"
    r"(?:\s+(?!(?:install|add|remove|uninstall)\b)[^\s\"'\\]{1,60}){0,5}?\s+)?"
    r"(?:\S{0,100}/)?"
)


@dataclass(frozen=True, slots=True)
class Runner:
    name: str
    command: re.Pattern[str]
    words: tuple[str, ...]
    failed: re.Pattern[str]
    passed: re.Pattern[str]
    summary: re.Pattern[str] | None
    summary_words: tuple[str, ...]


def as_test_run(action: Action) -> Action:
    """The same action, known as a test run where its command starts a test runner."""
    if action.command and _started_by(action.command) is not None:
        return Action("test", action.path, action.command)
    return action


def test_verdict(action: Action, output: str, is_error: bool) -> Verdict:
    """How a test run ended; empty where the call ran no tests, or its output does not say."""
    if action.kind not in ("test", "shell"):
        return ""
    is_test = action.kind == "test"
    return _judged(action.command if is_test else None, output[:HEAD], output[-TAIL:], is_error)


@lru_cache(maxsize=REMEMBERED)
def _judged(command: str | None, head: str, tail: str, is_error: bool) -> Verdict:
    """`command` is None where it did not start a known runner."""
    runner = _started_by(command) if command is not None else _betrayed_by(tail)
    return _verdict(runner, head, tail, is_error) if runner is not None else ""


def _started_by(command: str) -> Runner | None:
    if not any(word in command for word in _command_words()):
        return None
    starts = _commands().match
    for part in SEPARATOR.split(command, maxsplit=COMMANDS):
        found = starts(part)
        if found is not None and found.lastgroup is not None:
            return _runners()[int(found.lastgroup[1:])]
    return None


def _betrayed_by(tail: str) -> Runner | None:
    for runner in _runners():
        if runner.summary is None or not any(word in tail for word in runner.summary_words):
            continue
        if any(word in tail for word in runner.words) and runner.summary.search(tail):
            return runner
    return None


def _telling(runner: Runner, tail: str) -> str:
    """The last lines of an output that may hold a verdict, so that expressions run over a few lines only."""
    lines: list[str] = []
    for word in runner.words:
        at = len(tail)
        for _ in range(LINES):
            at = tail.rfind(word, 0, at)
            if at < 0:
                break
            start = tail.rfind("\n", 0, at) + 1
            lines.append(tail[start:].partition("\n")[0])
            at = start
    return "\n".join(lines)


def _verdict(runner: Runner, head: str, tail: str, is_error: bool) -> Verdict:
    if telling := _telling(runner, tail):
        if runner.failed.search(telling):
            return "failed"
        if runner.passed.search(telling):
            return "failed" if is_error else "passed"
    exits = _exit_codes()
    if is_error or exits["failed"].search(head) or exits["failed"].search(tail[-HEAD:]):
        return "failed"
    if exits["passed"].search(head) or exits["passed"].search(tail[-HEAD:]):
        return "passed"
    return ""


@cache
def _runners() -> tuple[Runner, ...]:
    return tuple(_runner(entry) for entry in shipped_yaml(TESTS)["runners"])


@cache
def _commands() -> re.Pattern[str]:
    """All runners' commands in one expression; the group that matched tells which."""
    entries = shipped_yaml(TESTS)["runners"]
    either = "|".join(f"(?P<r{index}>{entry['command']})" for index, entry in enumerate(entries))
    return re.compile(rf"{LAUNCHERS}(?:{either})(?![\w./-])")


@cache
def _command_words() -> tuple[str, ...]:
    return tuple(shipped_yaml(TESTS)["command_words"])


@cache
def _exit_codes() -> Mapping[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in shipped_yaml(TESTS)["exit_codes"].items()}


def _runner(entry: Mapping[str, Any]) -> Runner:
    return Runner(
        entry["name"],
        re.compile(entry["command"]),
        tuple(entry["words"]),
        re.compile(entry["failed"], re.MULTILINE),
        re.compile(entry["passed"], re.MULTILINE),
        re.compile(entry["summary"], re.MULTILINE) if "summary" in entry else None,
        tuple(entry.get("summary_words", ())),
    )
