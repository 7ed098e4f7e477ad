"""What text may do: hostile, broken or mutated, it gets a complaint, quickly, and nothing else."""

import contextlib
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.expression import Complaint, EvaluationError, Vocabulary, compile_expression
from engine.policy.expression.literals import quoted, quoted_bytes
from engine.policy.expression.parse import Parsed, parse
from engine.policy.expression.syntax import Constant

CASES = Path(__file__).parents[2] / "cases" / "expression"
VALID = [
    case["expr"]
    for name in (
        "values.yaml",
        *(f"specification/{path.name}" for path in (CASES / "specification").glob("*.yaml")),
    )
    for case in yaml.safe_load((CASES / name).read_text(encoding="utf-8"))
    if "refused" not in case and "absent" not in case
]

HOSTILE = {
    "a long text": "1 + " * 300_000 + "1",
    "a megabyte of one string": "'" + "a" * 1_000_000 + "'",
    "brackets": "(" * 100_000,
    "balanced brackets": "(" * 2000 + "1" + ")" * 2000,
    "lists in lists": "[" * 39 + "]" * 39 + " == []",
    "negations": "!" * 8000 + "true",
    "minus signs": "- " * 4000 + "1",
    "choices": "true ? 1 : " * 700 + "1",
    "fields": "features" + ".a" * 4000,
    "additions": "1+" * 4000 + "1",
    "an open string of escapes": "'" + r"\n" * 4000,
    "an open string over lines": "'" + r"\n" * 2000 + "\n'",
    "an open long string": "'''" + r"\n" * 3000,
    "a raw string that ends in a backslash": "r'" + r"\d" * 2000 + "\\'",
    "escapes before the end": "'" + r"\'" * 3000,
    "digits": "9" * 8000,
    "a number of exponents": "1e" * 4000,
    "a huge exponent": "1e999999999",
    "hexadecimal": "0x" + "f" * 8000,
    "identifiers": "a" * 8000,
    "conjunctions": " && ".join(["true"] * 800),
    "a wide list": "1 in [" + ",".join(["1"] * 3000) + "]",
    "a comment": "//" + "x" * 8000,
    "a pattern of repeats": "features.language.matches('(((a{30}){30}){30}){30}')",
    "a pattern of backtracking": "features.language.matches('(a+)+$')",
    "a duration of backtracking": "duration('" + "1" * 4000 + "') > duration('1s')",
    "nested loops": "features.tools.all(a, " * 30 + "true" + ")" * 30,
    "nulls": "\x00" * 100,
    "a byte order mark": "\ufefftrue",
    "half a pair": "'\ud800'",
    "right to left": "features.turn\u202e > 0",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_answered_quickly(text: str, vocabulary: Vocabulary, inputs: dict[str, Any]) -> None:
    parse("true")  # the first parse loads the grammar
    inputs["features"]["language"] = "a" * 5000 + "!"
    started = time.process_time()
    expression, complaints = compile_expression(text, vocabulary)
    assert (expression is None) is any(each.severity == "error" for each in complaints)
    if expression is not None:
        with contextlib.suppress(EvaluationError):
            expression.evaluate(inputs)
    assert time.process_time() - started < 2
    assert all(len(each.message) < 300 for each in complaints)


def test_the_recursion_limit_does_not_decide(vocabulary: Vocabulary) -> None:
    """The checker and the generator go at most DEPTH_LIMIT deep, well inside Python's default limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        for text in ("!" * 78 + "true", "1" + " + 1" * 78, "(" * 40 + "1" + ")" * 40):
            expression, complaints = compile_expression(text, vocabulary)
            assert expression is not None, complaints
            expression.evaluate({})
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("seed", range(20))
def test_random_edits_raise_nothing_but_complaints(
    seed: int, vocabulary: Vocabulary, inputs: dict[str, Any]
) -> None:
    choice = random.Random(seed)
    pieces = [
        "'",
        '"',
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "&&",
        "!",
        "?",
        ":",
        "-",
        "1",
        "x",
        "has",
        "\\",
        "\n",
        " ",
    ]
    for _ in range(60):
        text = choice.choice(VALID)
        for _ in range(choice.randint(1, 3)):
            at = choice.randrange(len(text) + 1)
            match choice.randrange(4):
                case 0:
                    text = text[:at] + text[at + 1 :]
                case 1:
                    text = text[:at] + choice.choice(pieces) + text[at:]
                case 2:
                    other = choice.choice(VALID)
                    text = text[:at] + other[choice.randrange(len(other)) :]
                case _:
                    text = text[:at] + text[at : at + 5] + text[at:]
        expression, complaints = compile_expression(text, vocabulary)
        lines = text.split("\n")
        for each in complaints:
            assert 1 <= each.line <= len(lines)
            assert 1 <= each.column <= len(lines[each.line - 1]) + 1
        if expression is not None:
            expression.explain(inputs)
            with contextlib.suppress(EvaluationError):
                expression.evaluate(inputs)


@settings(max_examples=200, deadline=None, database=None)
@given(text=st.text(max_size=40))
def test_random_text_raises_nothing(text: str) -> None:
    compile_expression(text, Vocabulary())


@settings(max_examples=200, deadline=None, database=None)
@given(text=st.text(max_size=20))
def test_a_quoted_string_reads_back(text: str) -> None:
    parsed = parse(quoted(text.encode("utf-8", "replace").decode()))
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.node, Constant)
    assert parsed.node.value == text.encode("utf-8", "replace").decode()


@settings(max_examples=100, deadline=None, database=None)
@given(value=st.binary(max_size=20))
def test_quoted_bytes_read_back(value: bytes) -> None:
    parsed = parse(quoted_bytes(value))
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.node, Constant)
    assert parsed.node.value == value


def test_a_text_is_parsed_once() -> None:
    assert parse("1 + 1 == 2") is parse("1 + 1 == 2")


def test_complaints_are_kept_as_well() -> None:
    found = parse("1 +")
    assert isinstance(found, Complaint)
    assert parse("1 +") is found


def test_positions_count_lines_and_columns_from_one(vocabulary: Vocabulary) -> None:
    _, complaints = compile_expression("true\n  && features.nope\n  && features.gone", vocabulary)
    assert [(each.line, each.column) for each in complaints] == [(2, 6), (3, 6)]
