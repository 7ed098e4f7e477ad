"""Whatever one slip of the hand does to a policy set that ships, it is reported on its line, and nothing breaks.

Each key is misspelt, each value becomes one of another type, each name one that nothing has; in the shipped
policies and in every example.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as File
from typing import Any

import pytest

from engine.documents import Document, Path, check_shape, read
from engine.documents.places import Node, paths
from engine.snapshot import check

ROOT = File(__file__).parents[2]
FOLDERS = [ROOT / "policies", *sorted(path.parent for path in ROOT.glob("examples/*/policy.yaml"))]

# Mappings whose keys an operator chooses: another key is another thing, not a mistake by itself.
FREE = {("endpoints",), ("models",), ("aliases",), ("learners",), ("plans",)}

# Keys whose values name something, and keys whose lists do.
NAMED = {
    *("use", "by", "endpoint", "protocol", "against", "algorithm", "tier", "kind", "apiVersion", "dialect"),
    *("input", "policy", "rule", "model", "plan", "because", "per", "drift", "effort"),
}
NAMES = {"choose", "signature", "inputs", "key", "retry_on", "can", "steps"}

EXPRESSIONS = {"when", "expr", "reason", "reward", "abort_when"}
FIELD = re.compile(r"\b(features|hints|identity|variables|outcome|stats)\.([a-z_0-9]+)")


@dataclass(frozen=True, slots=True)
class Slip:
    """A text in a file, by its offset, and what stands there by mistake."""

    file: str
    at: int
    old: str
    new: str
    line: int


@pytest.fixture(autouse=True)
def unchanged_files_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents never change, so those of a file that stays as it is can be used again; it halves the time."""
    monkeypatch.setattr("engine.snapshot.read", cache(read))

    @cache
    def shape(key: int) -> Any:
        return check_shape(*pending[key])

    pending: dict[int, tuple[Document, str]] = {}

    def remembered(document: Document, schema: str) -> Any:
        pending[id(document)] = (document, schema)  # holds it, so that no other gets its id
        return shape(id(document))

    monkeypatch.setattr("engine.snapshot.check_shape", remembered)


@cache
def files_of(folder: File) -> Mapping[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}


@cache
def document_of(folder: File, name: str) -> Document:
    document, problems = read(files_of(folder)[name], name)
    assert document is not None
    assert not problems
    return document


def misspelt(word: str) -> str:
    return word[:-1] + ("z" if word.endswith("q") else "q")


def values(folder: File) -> Iterator[tuple[Document, Path, Node]]:
    for name in files_of(folder):
        document = document_of(folder, name)
        for path in paths(document.data):
            if path:
                yield document, path, document._walk(path)


def offset(document: Document, line: int, column: int) -> int:
    return sum(len(text) for text in document.text.splitlines(keepends=True)[: line - 1]) + column - 1


def keys(folder: File) -> Iterator[Slip]:
    for document, path, _ in values(folder):
        key = path[-1]
        if isinstance(key, str) and path[:-1] not in FREE and path[-2:-1] not in (("headers",), ("chains",)):
            place = document.key_place(path)
            at = offset(document, *place)
            assert document.text.startswith(key, at), (path, place)
            yield Slip(document.file, at, key, misspelt(key), place.line)


def types(folder: File) -> Iterator[Slip]:
    """A mapping and a list for each plain value and for the other; a number or text for each."""
    for document, path, node in values(folder):
        written = document.text[node.start : node.end]
        for new in others(node.value, path):
            padded = new + "\n" * (written.endswith("\n"))
            yield Slip(document.file, node.start, written, padded, node.place.line)


def others(value: Any, path: Path) -> Iterator[str]:
    match value:
        case dict() | list():
            yield "7.5"
        case str() if path[-1] in EXPRESSIONS:
            yield from ("{a: 1}", "[[1]]", "'7.5'" if path[-1] != "expr" and path[-1] != "reward" else "[1]")
        case bool() | int() | float():
            yield from ("{a: 1}", "[[1]]", "x y")
        case _:
            yield from ("{a: 1}", "[[1]]", "7.5")


def names(folder: File) -> Iterator[Slip]:
    for document, path, node in values(folder):
        if isinstance(node.value, dict | list):
            continue
        written = document.text[node.start : node.end]
        owner = next(step for step in reversed(path) if isinstance(step, str))
        if (
            owner in (NAMES if isinstance(path[-1], int) else NAMED)
            or path[0] == "aliases"
            or "chains" in path
        ):
            closing = written[-1] if node.style in ("single", "double") else ""
            wrong = misspelt(written.removesuffix(closing)) + closing
            yield Slip(document.file, node.start, written, wrong, node.place.line)
        if path[-1] in EXPRESSIONS:
            for field in FIELD.finditer(document.text, node.start, node.end):
                line = document.text.count("\n", 0, field.start()) + 1
                for word in (1, 2):
                    yield Slip(document.file, field.start(word), field[word], misspelt(field[word]), line)


SLIPS: Mapping[str, Callable[[File], Iterator[Slip]]] = {
    "each key misspelt": keys,
    "each value of another type": types,
    "each name of nothing": names,
}


def made(folder: File, slip: Slip) -> dict[str, str]:
    text = files_of(folder)[slip.file]
    assert text.startswith(slip.old, slip.at)
    return {**files_of(folder), slip.file: text[: slip.at] + slip.new + text[slip.at + len(slip.old) :]}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("kind", SLIPS)
def test_every_slip_is_reported_on_its_line(folder: File, kind: str) -> None:
    slips = list(SLIPS[kind](folder))
    assert len(slips) > 15
    missed = []
    for slip in slips:
        serves, problems = check(made(folder, slip))
        said = {(problem.file, problem.line) for problem in problems if problem.severity == "error"}
        if serves is not None or (slip.file, slip.line) not in said:
            missed.append((slip, [str(problem) for problem in problems]))
    assert not missed
