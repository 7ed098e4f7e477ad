"""`weave-engine test`: a policy's own tests, case by case, and what of the policy they reach.

The cases run as they do whenever a policy is loaded: decided by the code that decides real requests, in a world
held still (no pins, no chance, no clock, learners that believe what the case says). Two shares tell how much they
cover: the rules that some case fires, and the conditions that some case finds true and another false.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import wire
from engine.commands import formats, terminal
from engine.commands.validate import exit_code, read_set
from engine.core.errors import InvalidDocumentsError, Problem
from engine.core.policy import Inputs
from engine.core.ports import Spend, Trust
from engine.documents import check_shape, read
from engine.policy.cases import Decided, run_cases
from engine.policy.catalog import Page
from engine.policy.evaluate import CompiledPolicy
from engine.server.telling import plain
from engine.snapshot import SCHEMAS, Snapshot, check, decider


@dataclass(frozen=True, slots=True)
class CaseRun:
    """One case and what came of it. `got` is None where nothing could serve the request."""

    name: str
    file: str
    line: int
    expected: Mapping[str, Any]
    got: Decided | None
    failures: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(slots=True)
class RuleReach:
    """How often the cases fired a rule, and what they found its condition to be. An error is no value."""

    name: str
    kind: str
    line: int
    fired: int = 0
    true: int = 0
    false: int = 0
    errors: int = 0

    @property
    def gap(self) -> str:
        """What no case has shown; empty where nothing is missing."""
        if not self.true and not self.false:
            return "never asked"
        if not self.fired:
            return "never fired" if not self.true else "held, but an earlier rule always decided"
        return "" if self.true and self.false else f"never {'true' if not self.true else 'false'}"


@dataclass(frozen=True, slots=True)
class PolicyRun:
    policy: str
    file: str
    cases: tuple[CaseRun, ...]
    rules: tuple[RuleReach, ...]
    problems: tuple[Problem, ...] = field(default=())  # coverage that falls short of what the policy demands

    @property
    def rules_percent(self) -> float:
        return _percent(sum(rule.fired > 0 for rule in self.rules), len(self.rules))

    @property
    def conditions_percent(self) -> float:
        """Of two values for each condition, the share that was seen."""
        seen = sum((rule.true > 0) + (rule.false > 0) for rule in self.rules)
        return _percent(seen, 2 * len(self.rules))


def run_tests(paths: Sequence[Path], form: str, policy: str = "") -> int:
    """Prints each case and what they cover; returns the exit code."""
    files: Mapping[str, str] = {}
    try:
        files = read_set(paths)
        snapshot, problems = check(files, policy, run_tests=False)
        if snapshot is None:
            raise InvalidDocumentsError(problems)
    except InvalidDocumentsError as error:
        _show_invalid(error.problems, files, form)
        return exit_code(error.problems)
    runs = run_all(files, snapshot)
    match form:
        case "json":
            print(wire.dumps({"policies": [_as_json(run) for run in runs], "problems": []}).decode())
        case "junit":
            print(formats.junit("weave-engine test", [case for run in runs for case in _as_cases(run)]))
        case _:
            terminal.tests([_as_json(run) for run in runs])
    found = [problem for run in runs for case in run.cases for problem in case.failures]
    return exit_code([*found, *(problem for run in runs for problem in run.problems)])


def run_all(files: Mapping[str, str], snapshot: Snapshot) -> list[PolicyRun]:
    """The cases of every policy in files that are known to hold."""
    return [_run(page, snapshot) for page in _policies(files)]


def _policies(files: Mapping[str, str]) -> Iterator[Page]:
    for name, text in sorted(files.items()):
        document, _ = read(text, name)
        assert document is not None
        if document.data["kind"] == "Policy":
            yield Page(document, check_shape(document, SCHEMAS["Policy"])[0])


def _run(page: Page, snapshot: Snapshot) -> PolicyRun:
    policy = snapshot.policies[page.data["metadata"]["name"]]
    assert isinstance(policy, CompiledPolicy)
    decide = decider(policy, snapshot.catalog)
    asked: list[tuple[Inputs, Decided | None]] = []
    failures: dict[int, list[Problem]] = {}
    short: list[Problem] = []

    def watched(inputs: Inputs, trust: Trust, spend: Spend) -> Decided:
        asked.append((inputs, None))  # stays so where nothing can serve the request
        decided = decide(inputs, trust, spend)
        asked[-1] = (inputs, decided)
        return decided

    for problem in run_cases(page, snapshot.catalog, watched, policy.asked):
        # Cases are run one after another, so what is found is about the one that was asked last.
        (failures.setdefault(len(asked) - 1, []) if problem.code == "WV501" else short).append(problem)
    cases = [
        _case(page, index, case, asked[index][1], failures.get(index, ()))
        for index, case in enumerate(page.section("tests").get("cases") or ())
    ]
    return PolicyRun(policy.name, page.document.file, tuple(cases), _reach(page, policy, asked), tuple(short))


def _case(
    page: Page, index: int, case: Mapping[str, Any], got: Decided | None, failures: Sequence[Problem]
) -> CaseRun:
    line = page.document.place(("tests", "cases", index)).line
    return CaseRun(case["name"], page.document.file, line, case["expect"], got, tuple(failures))


def _reach(
    page: Page, policy: CompiledPolicy, asked: Sequence[tuple[Inputs, Decided | None]]
) -> tuple[RuleReach, ...]:
    lines = {rule["name"]: page.document.place(("rules", index)).line for index, rule in page.items("rules")}
    reached = {rule.name: RuleReach(rule.name, rule.kind, lines[rule.name]) for rule in policy.rules}
    for inputs, decided in asked:
        if decided is not None and decided.rule in reached:
            reached[decided.rule].fired += 1
        for name, holds in policy.asked(inputs).items():
            found = reached[name]
            found.true += holds is True
            found.false += holds is False
            found.errors += holds is None
    return tuple(reached.values())


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 100.0


def _show_invalid(problems: Sequence[Problem], files: Mapping[str, str], form: str) -> None:
    match form:
        case "json":
            told = [formats.plain(problem) for problem in problems]
            print(wire.dumps({"policies": [], "problems": told}).decode())
        case "junit":
            print(formats.as_junit(problems, files))
        case _:
            terminal.problems(problems, files)


def _as_json(run: PolicyRun) -> dict[str, Any]:
    return {
        "policy": run.policy,
        "file": run.file,
        "cases": [_case_as_json(case) for case in run.cases],
        "rules": [{**plain(rule), "gap": rule.gap} for rule in run.rules],
        "rules_percent": run.rules_percent,
        "conditions_percent": run.conditions_percent,
        "problems": [formats.plain(problem) for problem in run.problems],
    }


def _case_as_json(case: CaseRun) -> dict[str, Any]:
    return {
        "name": case.name,
        "file": case.file,
        "line": case.line,
        "passed": case.passed,
        "expected": dict(case.expected),
        "got": None if case.got is None else plain(case.got),
        "failures": [formats.plain(problem) for problem in case.failures],
    }


def _as_cases(run: PolicyRun) -> Iterator[formats.Case]:
    for case in run.cases:
        kind = case.failures[0].code if case.failures else ""
        yield formats.Case(run.policy, case.name, "\n".join(map(str, case.failures)), kind)
    for problem in run.problems:
        yield formats.Case(run.policy, "coverage", str(problem), problem.code)
