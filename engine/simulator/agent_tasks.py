"""Work for scripted agents: what a user asks, of which kind it is, and the workspace where it is done.

Whether a change is right is settled by who made it: `solves` says which models are able to do a task. Tests
run in the workspace pass once the newest edit came from such a model, so a failing session is cured by a
better one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.simulator.dice import roll, token
from engine.simulator.models import MODELS, SimulatedModel, solves


@dataclass(frozen=True, slots=True)
class Task:
    """`plans` and `explores` say whether the agent makes a plan first, and sends a sub-agent to gather
    context."""

    id: str
    kind: str
    ask: str
    file: str
    plans: bool
    explores: bool

    def solved_by(self, model: str, seed: int, models: Sequence[SimulatedModel] = MODELS) -> bool:
        return solves(model, self.kind, self.id, seed, models)


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    share: float
    asks: tuple[str, ...]
    plans: bool = False
    explores: bool = False


_KINDS = (
    _Kind("fix", 0.24, ("{file} returns the wrong {thing} for an empty input. Fix it.",
                        "Users see a stale {thing}. The mistake is in {file}; please fix it.")),
    _Kind("feature", 0.20, ("Add a limit to the {thing} in {file}, with tests.",
                            "Let {file} accept several values of {thing} at once."), explores=True),
    _Kind("refactor", 0.12, ("Split the {thing} handling out of {file} without changing what it does.",)),
    _Kind("rename", 0.12, ("Rename {thing} to {thing}_name in {file} and wherever it is used.",)),
    _Kind("docs", 0.12, ("Describe the {thing} options in the docstrings of {file}.",)),
    _Kind("debug", 0.12, ("The {thing} test in {file} fails only sometimes. Find out why and fix it.",),
          plans=True, explores=True),
    _Kind("architecture", 0.08, ("Design how {thing} moves out of {file} into a service of its own, then begin.",),
          plans=True, explores=True),
)  # fmt: skip
_THINGS = (
    "price",
    "session",
    "discount",
    "address",
    "retry",
    "upload",
    "search",
    "token",
    "invoice",
    "quota",
)
_FOLDERS = ("src/billing", "src/orders", "src/search", "lib/http", "lib/cache", "app/users")
_ENDINGS = ("py", "py", "ts", "go")


def tasks(count: int, seed: int = 0) -> tuple[Task, ...]:
    """A mix of work, the same for the same seed."""
    return tuple(_task(f"task-{seed}-{number}", seed) for number in range(count))


def _task(name: str, seed: int) -> Task:
    chance, kind = roll(seed, name, "kind"), _KINDS[-1]
    for each in _KINDS:
        if chance < each.share:
            kind = each
            break
        chance -= each.share
    thing = _pick(_THINGS, name, "thing")
    file = f"{_pick(_FOLDERS, name, 'folder')}/{thing}s.{_pick(_ENDINGS, name, 'ending')}"
    ask = _pick(kind.asks, name, "ask").format(file=file, thing=thing)
    return Task(name, kind.name, ask, file, kind.plans, kind.explores)


def _pick(choices: Sequence[str], *words: object) -> str:
    return choices[int(roll(*words) * len(choices))]


class Workspace:
    """A repository that tools work on. Remembers who made the newest edit and what its tests said."""

    def __init__(self, task: Task, seed: int, models: Sequence[SimulatedModel] = MODELS) -> None:
        self.task = task
        self.passed = 0
        self.failed = 0
        self.solved = False
        self._seed = seed
        self._models = models
        self._edits = 0
        self._right = False

    def run(self, tool: str, arguments: Mapping[str, Any], model: str) -> tuple[str, bool]:
        """What a tool call of a model returns, and whether it failed."""
        match tool.lower():
            case "read":
                return self._read(str(arguments.get("file_path", self.task.file))), False
            case "grep":
                return self._grep(str(arguments.get("pattern", ""))), False
            case "edit":
                self._edits += 1
                self._right = self.task.solved_by(model, self._seed, self._models)
                return f"The file {arguments.get('file_path', self.task.file)} has been updated.", False
            case "bash":
                return self._test(), False
        return f"Error: there is no tool {tool}", True

    def _read(self, path: str) -> str:
        lines = [f"{number + 1:5}\t{_line(path, number)}" for number in range(40 + int(roll(path) * 160))]
        return "\n".join(lines)

    def _grep(self, pattern: str) -> str:
        places = 3 + int(roll(self.task.id, pattern) * 12)
        return "\n".join(
            f"{_pick(_FOLDERS, pattern, number)}/{token(6, pattern, number).lower()}.py:{number * 7 + 3}:"
            f" {_line(pattern, number).strip()}"
            for number in range(places)
        )

    def _test(self) -> str:
        total = 8 + int(roll(self.task.id, "tests") * 30)
        failing = 0 if self._right else 1 + int(roll(self.task.id, self._edits) * 3)
        self.passed, self.failed, self.solved = total - failing, failing, failing == 0
        return _report(self.task.file, self.passed, failing)


def _line(path: str, number: int) -> str:
    name = re.sub(r"\W", "_", path.rsplit("/", 1)[-1].split(".")[0])
    forms = (
        f"def {name}_{number}(value: str) -> str | None:",
        f'    """The {name} of row {number}, or nothing where it has none."""',
        f"    if not value or len(value) > {number % 90 + 10}:",
        "        return None",
        f"    return lookup({number}, value.strip().lower())",
    )
    return forms[number % len(forms)]


def _report(file: str, passed: int, failed: int) -> str:
    name = file.rsplit("/", 1)[-1]
    match file.rsplit(".", 1)[-1]:
        case "ts":
            said = f"Tests:       {f'{failed} failed, ' if failed else ''}{passed} passed, {passed + failed} total"
            mark = "FAIL" if failed else "PASS"
            return (
                f"{mark} {file}\n\nTest Suites: {'1 failed, ' if failed else ''}1 total\n{said}\nTime: 2.1 s"
            )
        case "go":
            broken = "".join(f"--- FAIL: TestCase{number} (0.00s)\n" for number in range(failed))
            return f"{broken}FAIL\t{name}\t0.21s\nFAIL" if failed else f"ok  \t{name}\t0.21s"
        case _:
            broken = "".join(
                f"FAILED tests/test_{name}::test_case_{number} - AssertionError: assert None == {number}\n"
                for number in range(failed)
            )
            counts = f"{failed} failed, {passed} passed" if failed else f"{passed} passed"
            return f"{broken}{'=' * 20} {counts} in 0.84s {'=' * 20}"
