"""An expression ready to run, and how text becomes one."""

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.policy.expression.check import Checker
from engine.policy.expression.complaints import Complaint, EvaluationError
from engine.policy.expression.facts import known_when
from engine.policy.expression.generate import Generator, code_of, failure_text, function_of
from engine.policy.expression.interpreted import FUNCTIONS, NAMESPACES
from engine.policy.expression.judgement import NO_FACTS, Judgement
from engine.policy.expression.parse import Parsed, failed, interpret, parse
from engine.policy.expression.syntax import Node, Path
from engine.policy.expression.types import NUMBERS, Type, kind_of
from engine.policy.expression.vocabulary import Vocabulary

Expected = Literal["bool", "string", "number", "any"]
Roots = Mapping[str, Any]

# What an expression may cost when the caller says nothing: about five milliseconds.
COST_LIMIT = 100_000


class Proof:
    """What is behind an expression: its syntax and what the checker found. A pickle carries only the text and the
    vocabulary, so that a thousand rules compiled in a worker process load in milliseconds; the rest is made again
    when it is asked for, which a ladder never does."""

    __slots__ = ("_checker", "_parsed", "_run", "source", "vocabulary")

    def __init__(self, source: str, vocabulary: Vocabulary) -> None:
        self.source, self.vocabulary = source, vocabulary
        self._parsed: Parsed | None = None
        self._checker: Checker | None = None
        self._run: Callable[[Roots], Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Proof, (self.source, self.vocabulary)

    @property
    def parsed(self) -> Parsed:
        if self._parsed is None:
            parsed = parse(self.source)
            assert isinstance(parsed, Parsed)  # it was, or there would be no expression
            self._parsed = parsed
        return self._parsed

    @property
    def checker(self) -> Checker:
        if self._checker is None:
            checker = Checker(self.vocabulary)
            checker.check(self.parsed.node)
            self._checker = checker
        return self._checker

    @property
    def run(self) -> Callable[[Roots], Any]:
        """The expression's own function, made when first called: inside a ladder it never is."""
        made = self._run
        if made is None:
            node, table = self.parsed.node, self.checker.table
            made = self._run = function_for(node, table) if table[node].proven else self._interpret
        return made

    def _interpret(self, roots: Roots) -> Any:
        return interpret(self.source, self.held(roots), FUNCTIONS)

    def held(self, roots: Roots) -> dict[str, Any]:
        """Only what is read is handed to the interpreter: it converts everything it is given."""
        wanted = _wanted(self.checker.reads)
        held = {name: _held(roots[name], fields) for name, fields in wanted.items() if name in roots}
        return {**NAMESPACES, **held}


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Checked text. `compiled` says whether it became Python; if not, cel-python interprets it, slowly."""

    source: str
    type: Type
    compiled: bool
    cost: int  # at most, in units of about one comparison
    names: frozenset[str]  # what it reads, as in `features.tool_count`; roots read whole stand alone
    expected: Expected
    proof: Proof = field(repr=False)

    def evaluate(self, roots: Roots) -> Any:
        """The value for these inputs; EvaluationError where there is none.

        Variables are read from `roots["variables"]`; see `with_variables`."""
        try:
            value = self.proof.run(roots)
        except EvaluationError:
            raise
        except Exception as error:
            raise EvaluationError(failure_text(error)) from error
        if self.expected != "any" and kind_of(self.type) == "dyn" and not _is_a(self.expected, value):
            raise EvaluationError(f"the value is no {self.expected}")
        return value

    @property
    def parsed(self) -> Parsed:
        return self.proof.parsed

    @property
    def present(self) -> frozenset[Path]:
        """The fields that are there wherever this is true, as in ("hints", "task"); for `Vocabulary.where`."""
        return known_when(self.proof.parsed.node, True, self.proof.checker.path_of) or NO_FACTS

    def explain(self, roots: Roots) -> dict[str, Any]:
        """Every part of the text with its value, or with the text of its error; the whole comes first."""
        from engine.policy.expression.explain import explain

        return explain(self, roots)


def compile_expression(
    source: str, vocabulary: Vocabulary, expect: str = "any", *, cost_limit: int = COST_LIMIT
) -> tuple[Expression | None, tuple[Complaint, ...]]:
    """Checks and compiles. None comes with at least one error among the complaints, sorted by position."""
    parsed = parse(source)
    if isinstance(parsed, Complaint):
        return None, (parsed,)
    expected = _expected(expect)
    proof = Proof(source, vocabulary)
    checker = proof.checker
    judgement = checker.table[parsed.node]
    complaints = [
        *checker.notes.complaints,
        *_whole_complaints(parsed, checker, judgement, expected, cost_limit),
    ]
    ordered = tuple(sorted(complaints, key=lambda each: (each.line, each.column, each.code)))
    if any(each.severity == "error" for each in ordered):
        return None, ordered
    names = _names(checker.reads)
    return Expression(
        source, judgement.type, judgement.proven, judgement.cost, names, expected, proof
    ), ordered


def _expected(expect: str) -> Expected:
    match expect:
        case "bool" | "string" | "number" | "any":
            return expect
        case _:
            raise ValueError(f"an expression cannot be expected to be {expect!r}")


def _whole_complaints(
    parsed: Parsed, checker: Checker, judgement: Judgement, expected: Expected, cost_limit: int
) -> Iterable[Complaint]:
    span = parsed.node.span
    kind = kind_of(judgement.type)
    failed = any(each.severity == "error" for each in checker.notes.complaints)
    if not failed and kind != "dyn" and not _fits(expected, kind):
        hint = "compare it: == true, != '', > 0" if expected == "bool" else ""
        yield Complaint(
            span.line, span.column, "WV206", f"this is of type {judgement.type}, not {expected}", hint
        )
    if judgement.cost > cost_limit:
        message = f"the expression may cost {judgement.cost} steps; {cost_limit} are allowed"
        hint = "loop over less, or give the schema's lists and strings maxItems and maxLength"
        yield Complaint(span.line, span.column, "WV401", message, hint)
    if failed or judgement.proven or checker.notes.slow is None:
        return
    where, reason = checker.notes.slow
    if checker.notes.compiled_only is not None:
        message = f"{reason}, and the interpreter has no map() with a condition"
        yield Complaint(where.line, where.column, "WV211", message, "write filter() and then map()")
        return
    message = f"this expression is interpreted: {reason}"
    hint = "it takes about a millisecond instead of a microsecond"
    yield Complaint(where.line, where.column, "WV211", message, hint, "warning")


def _fits(expected: Expected, kind: str) -> bool:
    match expected:
        case "any":
            return True
        case "number":
            return kind in NUMBERS
        case _:
            return kind == expected


def _is_a(expected: Expected, value: Any) -> bool:
    match expected:
        case "bool":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return True


def _names(reads: Iterable[Path]) -> frozenset[str]:
    """Deeper fields are cut off: `features.tools[0].name` reads `features.tools`."""
    return frozenset(".".join(path[:2]) for path in reads)


def function_for(node: Node, table: Mapping[Node, Judgement]) -> Callable[[Roots], Any]:
    """A function of the roots that computes one checked node."""
    generator = Generator()
    made = generator.expression(node, table)
    code = code_of([*generator.prelude(), ast.Return(made)])
    function: Callable[[Roots], Any] = function_of(code, generator.patterns)
    return function


def _wanted(reads: Iterable[Path]) -> dict[str, frozenset[str] | None]:
    """Root by root the fields that are read; None where the root is read whole."""
    reads = tuple(reads)
    wanted: dict[str, frozenset[str] | None] = {}
    for root in {path[0] for path in reads}:
        paths = [path for path in reads if path[0] == root]
        whole = any(len(path) == 1 for path in paths)
        wanted[root] = None if whole else frozenset(path[1] for path in paths)
    return wanted


def _held(root: Any, fields: frozenset[str] | None) -> Any:
    if fields is None or not isinstance(root, Mapping):
        return root
    return {field: _value_or_error(root, field) for field in fields if field in root}


def _value_or_error(root: Mapping[str, Any], field: str) -> Any:
    try:
        return root[field]
    except EvaluationError as error:  # a variable without a value, which && and || may absorb
        return failed(error.fault.message)
