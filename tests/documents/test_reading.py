# ruff: noqa: E501 - one row per mistake reads better than folded rows
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.documents import read
from engine.documents.reading import MOST_CHARACTERS, MOST_DEPTH, MOST_PROBLEMS, MOST_VALUES


def codes(text: str) -> list[str]:
    return [problem.code for problem in read(text, "f.yaml")[1]]


def lines(text: str) -> list[str]:
    return [str(problem) for problem in read(text, "f.yaml")[1]]


def data(text: str) -> object:
    document, problems = read(text, "f.yaml")
    assert document is not None, problems
    assert not problems
    return document.data


def test_data_is_what_it_looks_like() -> None:
    assert data("a: 1\nb: [x, 2.5, true, null, ~]\nc: {d: '1', e: \"2\"}\nf: |\n  text\ng:\n") == {
        "a": 1,
        "b": ["x", 2.5, True, None, None],
        "c": {"d": "1", "e": "2"},
        "f": "text\n",
        "g": None,
    }


@pytest.mark.parametrize(
    "word", ["yes", "off", "2024-01-01", "1:30", "5xx", "1_000", "0o9", "+", ".", "=", "1e"]
)
def test_what_older_readers_convert_stays_text(word: str) -> None:
    assert data(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("word", "number"),
    [("012", 12), ("0o14", 12), ("0x1F", 31), ("-5", -5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0)],
)
def test_numbers_are_those_of_yaml_1_2(word: str, number: float) -> None:
    assert data(f"a: {word}") == {"a": number}


def test_aliases_repeat_what_they_name() -> None:
    assert data("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_a_byte_order_mark_is_no_content() -> None:
    document, _ = read("\ufeffkey: value\n", "f.yaml")
    assert document is not None
    assert document.data == {"key": "value"}
    assert document.place(("key",)) == (1, 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1  WV102 error  the key 'a' is written twice; the first is on line 1; keep one"),
        ("on: x\n", "f.yaml:1:1  WV103 error  many YAML readers take the key 'on' for a boolean; rename it, or write \"on\" in quotes"),
        ("a: {true: x}\n", "f.yaml:1:5  WV103 error  many YAML readers take the key 'true' for a boolean; rename it, or write \"true\" in quotes"),
        ("429: x\n", "f.yaml:1:1  WV103 error  the key '429' is not text; write \"429\" in quotes"),
        ("? [a]\n: x\n", "f.yaml:1:3  WV103 error  a key must be text, not a list or mapping; put it in quotes"),
        ("<<: {a: 1}\n", "f.yaml:1:1  WV106 error  merge keys are not read here; write the fields out"),
        ("a:\n\tb: 1\n", "f.yaml:2:1  WV101 error  YAML allows no tabs here; indent with spaces"),
        ("a: @b\n", "f.yaml:1:4  WV101 error  a value cannot begin with this character; put the whole value in quotes"),
        ('a: "b\nc: d\n', "f.yaml:1:4  WV101 error  the quotes opened here are never closed; add the closing quote"),
        ("a: *b\n", "f.yaml:1:4  WV101 error  nothing above is named &b; put text that begins with '*' in quotes"),
        ("a: &b [*b]\n", "f.yaml:1:8  WV101 error  nothing above is named &b; put text that begins with '*' in quotes"),
        ("a: !b c\n", "f.yaml:1:4  WV106 error  YAML reads '!b' as a type tag; put a value that begins with '!' in quotes"),
        ("a: !!python/name:os.system x\n", "f.yaml:1:4  WV106 error  YAML reads '!!python/name:os.system' as a type tag; remove it"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1  WV105 error  the file holds a second document; put each document in a file of its own"),
        ("# nothing\n", "f.yaml:1:1  WV105 error  the file is empty; remove it, or write something"),
        ("a: .nan\n", "f.yaml:1:4  WV107 error  .nan is not a number to calculate with; write a smaller number, or put it in quotes if it is meant as text"),
        ("a: -.inf\n", "f.yaml:1:4  WV107 error  -.inf is not a number to calculate with; write a smaller number, or put it in quotes if it is meant as text"),
        ("a: 1e999\n", "f.yaml:1:4  WV107 error  this number is too large; write a smaller number, or put it in quotes if it is meant as text"),
        ("a: 9223372036854775808\n", "f.yaml:1:4  WV107 error  this number does not fit in 64 bits; write a smaller number, or put it in quotes if it is meant as text"),
        ("a: x\x00\n", "f.yaml:1:5  WV101 error  a character that YAML does not allow: control characters are not allowed; remove it"),
        ("a: b\nc: \ud800\n", "f.yaml:2:4  WV101 error  this is not valid Unicode"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(text: str, said: str) -> None:
    assert lines(text)[-1] == said


def test_every_wrong_key_is_reported_and_the_rest_is_read() -> None:
    document, problems = read("on: 1\nyes: {no: 2}\na: 3\na: 4\nb: 5\n", "f.yaml")
    assert [problem.line for problem in problems] == [2, 1, 2, 4] or sorted(p.line for p in problems) == [
        1,
        2,
        2,
        4,
    ]
    assert document is not None
    assert document.data == {"a": 3, "b": 5}


def bomb() -> str:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x]", *levels])


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "[" * 900_000,
        "{a: " * 200_000,
        "- " * 400_000,
        "? " * 400_000,
        "[" + "a," * 450_000 + "]",
        "a: " + "x" * MOST_CHARACTERS,
        "\n".join(f"k{n}: &a{n} v" for n in range(40_000)) + "\n" + "\n".join(f"j{n}: *a{n}" for n in range(1000)),
        bomb(),
    ],
    ids=["brackets", "a megabyte of brackets", "braces", "dashes", "question marks", "items", "length", "aliases", "bomb"],
)  # fmt: skip
def test_hostile_text_is_refused_within_seconds(text: str) -> None:
    start = time.process_time()
    document, problems = read(text, "f.yaml")
    assert document is None
    assert [problem.code for problem in problems] == ["WV104"]
    assert (
        time.process_time() - start < 10
    )  # measured: 1.3 s for the slowest; a crash or minutes without bounds


@pytest.mark.parametrize(
    ("line", "code"),
    [("a: 1\n", "WV102"), ("on: 1\n", "WV103"), ("- .nan\n", "WV107"), ("- !x a\n", "WV106")],
)
def test_after_a_thousand_mistakes_nobody_reads_on(line: str, code: str) -> None:
    found = codes(line * 20_000)
    assert found[-1] == "WV104"
    assert found[:-1] == [code] * MOST_PROBLEMS


@pytest.mark.parametrize(
    "text", ["? " + "x" * 400_000 + "\n: 1\n", "a: *" + "x" * 800_000, "a: !" + "x" * 800_000 + " b"]
)
def test_what_is_said_stays_short(text: str) -> None:
    assert all(len(line) < 300 for line in lines(text * 2))


def test_depth_up_to_the_bound_is_read() -> None:
    assert codes("[" * MOST_DEPTH + "]" * MOST_DEPTH) == []
    assert codes("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1)) == ["WV104"]
    assert MOST_VALUES > 100 * MOST_DEPTH


@given(st.text(st.sampled_from("ab: -?[]{},\n\t#&*!|>'\"%@`~0.<\\\x00\u2028é"), max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    document, problems = read(text, "f.yaml")
    assert (document is not None) or problems
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + text.count("\u2028") + 2
