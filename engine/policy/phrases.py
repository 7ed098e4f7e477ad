"""The expressions of a policy document, found, typed and compiled, each under the path where it is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.core.errors import Problem
from engine.documents import Path, shipped_json
from engine.policy.catalog import Page
from engine.policy.expression import COST_LIMIT, Complaint, Expression, Vocabulary, compile_expression
from engine.policy.expression.types import DYN

INPUT_SCHEMA = "schemas/input.v1.schema.json"
OUTCOMES_SCHEMA = "schemas/outcomes.v1.schema.json"
STATS_SCHEMA = "schemas/stats.v1.schema.json"


@dataclass(frozen=True, slots=True)
class Phrases:
    """`variables` stand in the order they are written; `at` holds every expression by its path."""

    variables: tuple[tuple[str, Expression], ...]
    at: Mapping[Path, Expression]
    problems: tuple[Problem, ...]


@cache
def input_vocabulary() -> Vocabulary:
    return Vocabulary.from_schema(shipped_json(INPUT_SCHEMA))


@cache
def outcome_vocabulary() -> Vocabulary:
    return Vocabulary().with_root("outcome", shipped_json(OUTCOMES_SCHEMA))


@cache
def stats_vocabulary() -> Vocabulary:
    return Vocabulary().with_root("stats", shipped_json(STATS_SCHEMA))


def read_phrases(page: Page) -> Phrases:
    problems: list[Problem] = []
    at: dict[Path, Expression] = {}
    variables, vocabulary = _read_variables(page, problems)
    for path, expect in _places(page.data):
        words = _words_at(path, vocabulary)
        condition = at.get((*path[:-1], "when"))
        if condition is not None:  # a reason or a reward is asked for only where the condition holds
            words = words.where(condition.present)
        expression = _compile(page, path, words, expect, problems)
        if expression is not None:
            at[path] = expression
    if any(problem.severity == "error" for problem in problems):
        # What reads a broken variable cannot be typed; that it would run slowly is no news then.
        problems = [problem for problem in problems if problem.code != "WV211"]
    return Phrases(tuple(variables), at, tuple(problems))


def _read_variables(page: Page, problems: list[Problem]) -> tuple[list[tuple[str, Expression]], Vocabulary]:
    vocabulary = input_vocabulary()
    variables: list[tuple[str, Expression]] = []
    for index, item in page.items("variables"):
        name = item.get("name")
        if name is None:
            continue
        expression = None
        if "expr" in item:
            expression = _compile(page, ("variables", index, "expr"), vocabulary, "any", problems)
        if expression is not None and name not in vocabulary.variables:
            variables.append((name, expression))
        vocabulary = vocabulary.with_variable(name, expression.type if expression else DYN)
    return variables, vocabulary


def _places(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where expressions stand, besides variables, and what each must give."""
    for index, rule in enumerate(data.get("rules") or ()):
        if isinstance(rule, Mapping):
            if "when" in rule:
                yield ("rules", index, "when"), "bool"
            if "reason" in rule:
                yield ("rules", index, "reason"), "string"
    for index, outcome in enumerate(data.get("outcomes") or ()):
        if isinstance(outcome, Mapping):
            if "when" in outcome:
                yield ("outcomes", index, "when"), "bool"
            if isinstance(outcome.get("reward"), str):
                yield ("outcomes", index, "reward"), "number"
    for name, plan in (data.get("plans") or {}).items():
        if "when" in plan.get("escalate", {}):
            yield ("plans", name, "escalate", "when"), "bool"
    for name, learner in (data.get("learners") or {}).items():
        if "when" in learner.get("explore", {}):
            yield ("learners", name, "explore", "when"), "bool"
    if "lock_while" in (data.get("pinning") or {}):
        yield ("pinning", "lock_while"), "bool"
    if "abort_when" in ((data.get("rollout") or {}).get("canary") or {}):
        yield ("rollout", "canary", "abort_when"), "bool"


def _words_at(path: Path, vocabulary: Vocabulary) -> Vocabulary:
    match path[0]:
        case "outcomes":
            return outcome_vocabulary()
        case "rollout":
            return stats_vocabulary()
        case _:
            return vocabulary


def _compile(
    page: Page, path: Path, vocabulary: Vocabulary, expect: str, problems: list[Problem]
) -> Expression | None:
    limit = page.section("limits").get("expr_cost", COST_LIMIT)
    source = page.document.source(path)
    expression, complaints = compile_expression(source, vocabulary, expect, cost_limit=limit)
    problems.extend(_problem(page, path, complaint) for complaint in complaints)
    return expression


def _problem(page: Page, path: Path, complaint: Complaint) -> Problem:
    place = page.document.place_inside(path, complaint.line, complaint.column)
    hint = complaint.hint
    if path[-1] == "reason" and complaint.code in ("WV200", "WV202") and not hint:
        hint = "a reason is an expression: words go in quotes of their own, as in \"'too large'\""
    return Problem(page.document.file, *place, complaint.code, complaint.message, hint, complaint.severity)
