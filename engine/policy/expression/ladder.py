"""A whole list of rules as one Python function: the first rung that holds.

Variables are computed at most once, right before the first rung that mentions them, so the code is a straight
line and reading a variable is reading a local. A variable that may fail keeps its error, as text, until it is read:
an exception kept in a local would hold its frame in a cycle.

The generated function trusts that inputs are of the vocabulary's types. Where they are not and it raises, the
rungs are walked one by one instead, slower but with each error kept to its own rung.
"""

import ast
import marshal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, Literal

from engine.policy.expression.check import Checker
from engine.policy.expression.compiled import Expression, Roots
from engine.policy.expression.complaints import EvaluationError
from engine.policy.expression.generate import (
    Generator,
    assign,
    call,
    code_of,
    constant,
    failure_text,
    function_of,
    load,
)
from engine.policy.expression.judgement import Judgement
from engine.policy.expression.syntax import Node
from engine.policy.expression.types import kind_of


@dataclass(frozen=True, slots=True)
class Rung:
    name: str
    expression: Expression  # of type bool
    on_error: Literal["match", "skip"] = "skip"  # a guard's error counts as a match


@dataclass(frozen=True, slots=True)
class Match:
    """Which rung held, if any, and which rungs had no value: (index, what went wrong)."""

    index: int | None
    errors: tuple[tuple[int, str], ...] = ()


Variables = Sequence[tuple[str, Expression]]


class LazyVariables(Mapping[str, Any]):
    """Variables by name, each computed when first read, its error kept too. One per evaluation."""

    def __init__(self, variables: Mapping[str, Expression], roots: Roots) -> None:
        self._variables = variables
        self._roots = {**roots, "variables": self}
        self._values: dict[str, Any] = {}
        self._errors: dict[str, EvaluationError] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._errors:
            raise self._errors[name]
        try:
            value = self._values[name] = self._variables[name].evaluate(self._roots)
        except EvaluationError as error:
            self._errors[name] = error
            raise
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def with_variables(variables: Variables, roots: Roots) -> dict[str, Any]:
    """The roots and, under `variables`, every variable, computed when it is read."""
    return {**roots, "variables": LazyVariables(dict(variables), roots)}


class Ladder:
    """Call it with the roots. It keeps no state between calls, so any number of threads may.

    It can be pickled, code and all, so that a worker process can do the compiling; like every pickle it is to be
    loaded only from a process of one's own."""

    __slots__ = ("_climb", "_code", "_patterns", "rungs", "variables")

    def __init__(
        self, variables: Variables, rungs: Sequence[Rung], code: CodeType, patterns: Mapping[str, str]
    ) -> None:
        self.variables, self.rungs = tuple(variables), tuple(rungs)
        self._code, self._patterns = code, patterns
        self._climb: Callable[[Roots], Match] = function_of(code, patterns, self._names())

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.variables, self.rungs, marshal.dumps(self._code), self._patterns)

    def _names(self) -> dict[str, Any]:
        """What the code calls by name."""
        variables = self.variables
        return {
            "Match": Match,
            "failure_text": failure_text,
            "no_match": Match(None),
            "with_variables": lambda roots: with_variables(variables, roots),
            **{f"match_{index}": Match(index) for index in range(len(self.rungs))},
            **{f"rung_{index}": rung.expression.evaluate for index, rung in enumerate(self.rungs)},
            **{f"variable_{index}": each.evaluate for index, (_, each) in enumerate(variables)},
        }

    def __call__(self, roots: Roots) -> Match:
        try:
            return self._climb(roots)
        except Exception:  # inputs that are not of the vocabulary's types
            return self._step_by_step(roots)

    def _step_by_step(self, roots: Roots) -> Match:
        inputs = with_variables(self.variables, roots)
        errors: list[tuple[int, str]] = []
        for index, rung in enumerate(self.rungs):
            try:
                if rung.expression.evaluate(inputs):
                    return Match(index, tuple(errors))
            except EvaluationError as error:
                errors.append((index, error.fault.message))
                if rung.on_error == "match":
                    return Match(index, tuple(errors))
        return Match(None, tuple(errors))


def compile_ladder(variables: Variables, rungs: Sequence[Rung]) -> Ladder:
    """Expressions must have been compiled with the variables before them in their vocabulary."""
    for rung in rungs:
        if kind_of(rung.expression.type) not in ("bool", "dyn"):
            raise ValueError(f"{rung.name}: a rung is a bool, not a {rung.expression.type}")
    builder = _Builder(variables)
    code = code_of(builder.body(rungs))
    return Ladder(variables, rungs, code, builder.generator.patterns)


def _load(variables: Variables, rungs: Sequence[Rung], code: bytes, patterns: Mapping[str, str]) -> Ladder:
    return Ladder(variables, rungs, marshal.loads(code), patterns)  # noqa: S302 - from our own process


class _Builder:
    def __init__(self, variables: Variables) -> None:
        self.generator = Generator(self._read)
        self._variables = {name: (index, each) for index, (name, each) in enumerate(variables)}
        self._ready: set[str] = set()
        self._reliable: frozenset[str] = frozenset()  # of the ready ones, those that cannot fail
        self._reports = False  # whether an error may have been noted by now

    def body(self, rungs: Sequence[Rung]) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for index, rung in enumerate(rungs):
            statements += self._needed(rung.expression)
            statements += self._rung(index, rung)
        end = call("Match", constant(None), load("errors")) if self._reports else load("no_match")
        first: list[ast.stmt] = [assign("errors", constant(()))] if self._reports else []
        return [*first, *self.generator.prelude(), *statements, ast.Return(end)]

    def _rung(self, index: int, rung: Rung) -> list[ast.stmt]:
        condition, fallible = self._condition(f"rung_{index}", rung.expression)
        found = call("Match", constant(index), load("errors")) if self._reports else load(f"match_{index}")
        test = ast.If(condition, [ast.Return(found)], [])
        if not fallible:
            return [test]
        self._reports = True
        noted = ast.Tuple([constant(index), call("failure_text", load("error"))], ast.Load())
        errors = ast.Tuple([ast.Starred(load("errors"), ast.Load()), noted], ast.Load())
        if rung.on_error == "match":
            answer: list[ast.stmt] = [ast.Return(call("Match", constant(index), errors))]
        else:
            answer = [assign("errors", errors)]
        return [_guarded([test], answer)]

    def _condition(self, name: str, expression: Expression) -> tuple[ast.expr, bool]:
        """The Python of an expression here, and whether it may fail."""
        if not expression.compiled or kind_of(expression.type) == "dyn":
            return call(name, call("with_variables", load("roots"))), True
        table = self._judged(expression)
        node = expression.proof.parsed.node
        return self.generator.expression(node, table), table[node].fallible

    def _judged(self, expression: Expression) -> Mapping[Node, Judgement]:
        """On its own an expression takes every variable to be fallible; here we know which are."""
        if not any(name.startswith("variables.") for name in expression.names):
            return expression.proof.checker.table
        proof = expression.proof
        checker = Checker(replace(proof.vocabulary, reliable=self._reliable))
        checker.check(proof.parsed.node)
        return checker.table

    def _needed(self, expression: Expression) -> list[ast.stmt]:
        """Computes what the expression reads and is not computed yet."""
        if not expression.compiled:
            return []  # it computes its own
        statements: list[ast.stmt] = []
        for read in sorted(expression.names):
            root, _, name = read.partition(".")
            if root != "variables" or name in self._ready:
                continue
            index, variable = self._variables[name]
            statements += self._needed(variable)
            statements += self._variable(index, name, variable)
            self._ready.add(name)
        return statements

    def _variable(self, index: int, name: str, expression: Expression) -> list[ast.stmt]:
        value, fallible = self._condition(f"variable_{index}", expression)
        if not fallible:
            self._reliable |= {name}
            return [assign(f"value_{index}", value)]
        computed = [assign(f"value_{index}", value), assign(f"failed_{index}", constant(None))]
        failed = [
            assign(f"value_{index}", constant(None)),
            assign(f"failed_{index}", call("failure_text", load("error"))),
        ]
        return [_guarded(computed, failed)]

    def _read(self, name: str) -> ast.expr:
        index, _ = self._variables[name]
        if name in self._reliable:
            return load(f"value_{index}")
        held = ast.Compare(load(f"failed_{index}"), [ast.Is()], [constant(None)])
        return ast.IfExp(held, load(f"value_{index}"), call("throw", load(f"failed_{index}")))


def _guarded(body: list[ast.stmt], answer: list[ast.stmt]) -> ast.stmt:
    handler = ast.ExceptHandler(load("Exception"), "error", answer)
    return ast.Try(body, [handler], [], [])
