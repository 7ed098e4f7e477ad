"""Random well-typed expressions give what cel-python's InterpretedRunner gives, errors included.

The generator leaves out what `cases/expression/departures.yaml` lists: there we differ on purpose, and each
difference has its case. Everything else must agree. WEAVE_DIFFERENTIAL_CASES raises the number of examples.
"""

import math
import os
import traceback
from typing import Any

import celpy
import pytest
from celpy import celtypes
from celpy.evaluation import CELEvalError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.policy.expression import (
    Complaint,
    EvaluationError,
    Expression,
    Rung,
    Vocabulary,
    compile_expression,
    compile_ladder,
    with_variables,
)
from engine.policy.expression.parse import plain, to_cel

EXAMPLES = int(os.environ.get("WEAVE_DIFFERENTIAL_CASES", "300"))
REFERENCE = celpy.Environment(runner_class=celpy.InterpretedRunner)

SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)

TEXTS = ["", "a", "plan", "Read", "ead", "7", "-12", "x1", "é", "🐱 cat", "0.5", "a,b,,c"]
PATTERNS = ["^p", "a|e", "[0-9]+$", "", "(ea)?d", "."]
INTS = [0, 1, 2, 3, -1, -7, 10, 900, 2**31, 2**62, 2**63 - 1, -(2**63)]
DOUBLES = [0.0, 1.0, -1.0, 0.5, -2.75, 1e300, 1e-300, 123456.789]
FIELDS = ["read", "edit", "none"]

Draw = Any
Scope = dict[str, list[str]]  # a type to the loop variables of that type


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def number(value: int) -> str:
    return str(value) if value >= 0 else f"({value})"


class Writer:
    """Writes an expression of a wanted type, with whatever may stand there."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._loops = 0
        self._guarded: list[str] = []  # optional fields that may be read here
        self._scope: Scope = {"int": [], "string": [], "double": []}

    def pick(self, options: list[Any]) -> Any:
        return self._draw(st.sampled_from(options))

    def write(self, kind: str, depth: int) -> str:
        forms = getattr(self, f"_{kind}")
        simple, compound = forms(depth)
        return str(
            self.pick(compound if depth > 0 and compound and self.pick([True, True, False]) else simple)()
        )

    def _bool(self, depth: int) -> tuple[list[Any], list[Any]]:
        down = depth - 1
        simple = [
            lambda: self.pick(["true", "false", "features.subagent"]),
            lambda: f"has(hints.{self.pick(['task', 'private', 'max_cost'])})",
            lambda: f"has(features.counts.{self.pick(FIELDS)})",
        ]
        if "hints.private" in self._guarded:
            simple.append(lambda: "hints.private")
        compound = [
            lambda: f"({self.write('bool', down)} {self.pick(['&&', '||'])} {self.write('bool', down)})",
            lambda: (
                f"({self.write('bool', down)} && {self.write('bool', down)} && {self.write('bool', down)})"
            ),
            lambda: f"!{self.write('bool', down)}",
            lambda: self._comparison(down),
            lambda: self._comparison(down),
            lambda: self._membership(down),
            lambda: self._choice("bool", down),
            lambda: self._guard(down),
            lambda: self._guard(down),
            lambda: self._loop_test(down),
            lambda: (
                f"{self.write('string', down)}.{self.pick(['contains', 'startsWith', 'endsWith'])}"
                f"({self.write('string', down)})"
            ),
            lambda: f"{self.write('string', down)}.matches({quoted(self.pick(PATTERNS))})",
        ]
        return simple, compound

    def _int(self, depth: int) -> tuple[list[Any], list[Any]]:
        down = depth - 1
        simple = [
            lambda: number(self.pick(INTS)),
            lambda: self.pick(["features.tool_count", "features.context_tokens", "features.turn"]),
            *([lambda: self.pick(self._scope["int"])] if self._scope["int"] else []),
        ]
        compound = [
            lambda: (
                f"({self.write('int', down)} {self.pick(['+', '-', '*', '/', '%'])} {self.write('int', down)})"
            ),
            lambda: f"-({self.write('int', down)})",
            lambda: f"size({self.write(self.pick(['string', 'ints', 'strings', 'doubles']), down)})",
            lambda: f"{self.write('ints', down)}[{self.pick([0, 1, 2, 5])}]",
            lambda: f"features.counts.{self.pick(FIELDS)}",
            lambda: f"features.counts[{self.write('string', down)}]",
            lambda: f"int({self.write(self.pick(['string', 'double']), down)})",
            lambda: self._choice("int", down),
        ]
        return simple, compound

    def _double(self, depth: int) -> tuple[list[Any], list[Any]]:
        down = depth - 1
        simple = [
            lambda: f"({self.pick(DOUBLES)!r})",
            lambda: "features.price",
            *([lambda: self.pick(self._scope["double"])] if self._scope["double"] else []),
        ]
        if "hints.max_cost" in self._guarded:
            simple.append(lambda: "hints.max_cost")
        compound = [
            lambda: (
                f"({self.write('double', down)} {self.pick(['+', '-', '*'])} {self.write('double', down)})"
            ),
            lambda: f"({self.write('double', down)} / ({self.pick(DOUBLES[1:])!r}))",
            lambda: f"-({self.write('double', down)})",
            lambda: f"double({self.write(self.pick(['string', 'int']), down)})",
            lambda: f"features.shares[{self.pick([0, 1, 2])}]",
            lambda: self._choice("double", down),
        ]
        return simple, compound

    def _string(self, depth: int) -> tuple[list[Any], list[Any]]:
        down = depth - 1
        simple = [
            lambda: quoted(self.pick(TEXTS)),
            lambda: self.pick(["features.phase", "features.language", "identity.team", "features.file.name"]),
            *([lambda: self.pick(self._scope["string"])] if self._scope["string"] else []),
        ]
        if "hints.task" in self._guarded:
            simple.append(lambda: "hints.task")
        compound = [
            lambda: f"({self.write('string', down)} + {self.write('string', down)})",
            lambda: f"string({self.write(self.pick(['int', 'double', 'string']), down)})",
            lambda: f"features.tools[{self.pick([0, 1, 3])}]",
            lambda: f"features.labels[{self.write('string', down)}]",
            lambda: self._choice("string", down),
        ]
        return simple, compound

    def _list(self, element: str, read: str, depth: int) -> tuple[list[Any], list[Any]]:
        down = depth - 1
        plural = element + "s"
        simple = [
            lambda: read,
            lambda: f"[{self.write(element, 0)}, {self.write(element, 0)}]",
        ]
        compound = [
            lambda: f"[{self.write(element, down)}, {self.write(element, down)}]",
            lambda: f"({self.write(plural, down)} + {self.write(plural, down)})",
            lambda: self._loop(element, "filter", "bool", down),
            lambda: self._loop(self.pick(["int", "string", "double"]), "map", element, down),
        ]
        return simple, compound

    def _ints(self, depth: int) -> tuple[list[Any], list[Any]]:
        return self._list("int", "features.sizes", depth)

    def _strings(self, depth: int) -> tuple[list[Any], list[Any]]:
        return self._list("string", "features.tools", depth)

    def _doubles(self, depth: int) -> tuple[list[Any], list[Any]]:
        return self._list("double", "features.shares", depth)

    def _comparison(self, depth: int) -> str:
        kind = self.pick(["int", "double", "string", "int", "string", "bool", "ints", "strings"])
        orders = ["==", "!="] if kind in ("ints", "strings") else ["==", "!=", "<", "<=", ">", ">="]
        return f"({self.write(kind, depth)} {self.pick(orders)} {self.write(kind, depth)})"

    def _membership(self, depth: int) -> str:
        kind = self.pick(["int", "string", "double"])
        container = (
            "features.labels"
            if kind == "string" and self.pick([True, False])
            else self.write(kind + "s", depth)
        )
        return f"({self.write(kind, depth)} in {container})"

    def _choice(self, kind: str, depth: int) -> str:
        return f"({self.write('bool', depth)} ? {self.write(kind, depth)} : {self.write(kind, depth)})"

    def _guard(self, depth: int) -> str:
        field = self.pick(["hints.task", "hints.private", "hints.max_cost"])
        before = self._guarded
        self._guarded = [*before, field]
        inner = self.write("bool", depth)
        self._guarded = before
        other = self.write("bool", depth)
        return str(
            self.pick(
                [
                    f"(has({field}) && {inner})",
                    f"(!has({field}) || {inner})",
                    f"(has({field}) ? {inner} : {other})",
                    f"({other} && has({field}) && {inner})",
                    f"(!(!has({field}) || {other}) && {inner})",
                ]
            )
        )

    def _loop_test(self, depth: int) -> str:
        return self._loop(
            self.pick(["int", "string", "double"]), self.pick(["exists", "all", "exists_one"]), "bool", depth
        )

    def _loop(self, element: str, macro: str, body: str, depth: int) -> str:
        over = self.write(element + "s", depth)
        self._loops += 1
        name = f"x{self._loops}"
        outer = self._scope
        self._scope = {**outer, element: [*outer[element], name]}
        inner = self.write(body, depth)
        self._scope = outer
        return f"{over}.{macro}({name}, {inner})"


@st.composite
def expressions(
    draw: Draw, kinds: tuple[str, ...] = ("bool", "bool", "bool", "int", "double", "string", "ints")
) -> str:
    return Writer(draw).write(draw(st.sampled_from(kinds)), draw(st.integers(1, 4)))


texts = st.sampled_from(TEXTS)
integers = st.sampled_from(INTS) | st.integers(-100, 100)
doubles = st.sampled_from(DOUBLES) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def roots(draw: Draw) -> dict[str, Any]:
    features = {
        "phase": draw(st.sampled_from(["chat", "plan", "execute"])),
        "language": draw(texts),
        "tool_count": draw(integers),
        "context_tokens": draw(integers),
        "turn": draw(integers),
        "price": draw(doubles),
        "subagent": draw(st.booleans()),
        "tools": draw(st.lists(texts, max_size=3)),
        "sizes": draw(st.lists(integers, max_size=3)),
        "shares": draw(st.lists(doubles, max_size=3)),
        "counts": draw(st.dictionaries(st.sampled_from(FIELDS[:2]), integers, max_size=2)),
        "labels": draw(st.dictionaries(texts, texts, max_size=2)),
        "anything": None,
        "file": {"name": draw(texts)},
    }
    hints = draw(
        st.fixed_dictionaries({}, optional={"task": texts, "private": st.booleans(), "max_cost": doubles})
    )
    return {
        "features": features,
        "hints": hints,
        "identity": {"team": draw(texts), "data_class": draw(texts)},
    }


# Adding two strings makes one of Python's, which has no contains(): a departure that random texts run into
# everywhere, so the reference gets this one function mended instead of the generator avoiding it.
MENDED: Any = {"contains": lambda text, part: celtypes.BoolType(part in text)}

FAILED = object()
OUTSIDE = object()  # the reference let an error through where it should have kept it as a value


def by_reference(text: str, inputs: dict[str, Any]) -> Any:
    context = {name: to_cel(value) for name, value in inputs.items()}
    try:
        return plain(celpy.InterpretedRunner(REFERENCE, REFERENCE.compile(text), MENDED).evaluate(context))
    except CELEvalError as error:
        return OUTSIDE if escaped(error) else FAILED
    except Exception:
        return OUTSIDE


def escaped(error: Exception) -> bool:
    """Errors are values to the reference, but inside map(), filter() and exists_one() it raises them past `||`."""
    return any(frame.name == "sub_expr" for frame in traceback.extract_tb(error.__traceback__))


def by_us(expression: Expression, inputs: dict[str, Any]) -> Any:
    try:
        return expression.evaluate(inputs)
    except EvaluationError:
        return FAILED


def tolerated(text: str, complaints: tuple[Complaint, ...]) -> bool:
    """Too deep; or, in code that can never run, a guard whose fact is lost: `!(!has(x) || true) && x`."""
    codes = {each.code for each in complaints if each.severity == "error"}
    return codes == {"WV403"} or (codes == {"WV205"} and "!(!has(" in text)


def same(left: Any, right: Any) -> bool:
    if left is FAILED or right is FAILED:
        return left is right
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and bool(left == right)


@SETTINGS
@given(text=expressions(), inputs=roots())
def test_random_expressions_agree_with_the_reference(
    vocabulary: Vocabulary, text: str, inputs: dict[str, Any]
) -> None:
    expression, complaints = compile_expression(text, vocabulary, cost_limit=10**12)
    if expression is None:
        assert tolerated(text, complaints), (text, complaints)
        return
    assert expression.compiled, text
    theirs = by_reference(text, inputs)
    if theirs is OUTSIDE:
        return
    ours = by_us(expression, inputs)
    assert same(ours, theirs), f"{text}\n{inputs}\nours {ours!r}, the reference {theirs!r}"


@SETTINGS
@given(
    variables=st.lists(expressions(), max_size=4),
    rules=st.lists(expressions(kinds=("bool",)), min_size=1, max_size=6),
    guards=st.lists(st.booleans(), min_size=6, max_size=6),
    inputs=roots(),
)
def test_a_ladder_finds_what_its_rungs_say_one_by_one(
    vocabulary: Vocabulary, variables: list[str], rules: list[str], guards: list[bool], inputs: dict[str, Any]
) -> None:
    known: list[tuple[str, Expression]] = []
    for index, text in enumerate(variables):
        expression, _ = compile_expression(text, vocabulary, cost_limit=10**12)
        if expression is not None:
            known.append((f"v{index}", expression))
            vocabulary = vocabulary.with_variable(f"v{index}", expression.type)
    rungs = []
    for index, text in enumerate(rules):
        whole = " && ".join([text, *(use(name, each) for name, each in known[index : index + 2])])
        expression, complaints = compile_expression(whole, vocabulary, "bool", cost_limit=10**12)
        if expression is not None:
            rungs.append(Rung(f"r{index}", expression, "match" if guards[index] else "skip"))
        else:
            assert tolerated(whole, complaints), complaints
    ladder = compile_ladder(known, rungs)
    found = ladder(inputs)
    expected, errors = None, []
    everything = with_variables(known, inputs)
    for index, rung in enumerate(rungs):
        value = by_us(rung.expression, everything)
        if value is FAILED:
            errors.append(index)
        if value is True or (value is FAILED and rung.on_error == "match"):
            expected = index
            break
    assert (found.index, [index for index, _ in found.errors]) == (expected, errors)


def use(name: str, expression: Expression) -> str:
    return (
        f"(variables.{name} == variables.{name} || features.subagent || variables.{name} != variables.{name})"
    )


@pytest.mark.parametrize("text", ["features.turn + 1 > 0", "[1, 2].exists(x, x > 1)"])
def test_the_reference_runs_what_the_generator_writes(text: str, inputs: dict[str, Any]) -> None:
    assert by_reference(text, inputs) is True
