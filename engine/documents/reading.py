"""YAML text -> a Document, or every reason why not.

Text comes from files that people edit and that others may have prepared, so nothing here trusts it. libyaml's
composer recurses in C and takes the process down on 50,000 nested `[`; its parser alone needs minutes for a
megabyte of them. So the document is put together here, from the parser's events and without recursion, and
the bounds on size, depth and aliases are checked at each event.

What YAML reads is what it looks like: the core schema of YAML 1.2, so `yes`, `on` and `2024-01-01` are text.
Keys that other YAML readers would take for booleans are refused, because the same file must mean the same
everywhere.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from engine.core.errors import Problem
from engine.documents.places import Document, Node, Place, Style

MOST_CHARACTERS = 1_000_000
MOST_DEPTH = 32
MOST_VALUES = 250_000
MOST_ALIASES = 100
MOST_PROBLEMS = 1000

_STYLES: dict[str | None, Style] = {"'": "single", '"': "double", "|": "literal", ">": "folded"}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_BOOLEAN_ELSEWHERE = re.compile(r"(?i:y|n|yes|no|on|off|true|false)")
_LARGEST_INT = 2**63

_FRIENDLY = (
    ("cannot start any token", "\t", "YAML allows no tabs here", "indent with spaces"),
    (
        "cannot start any token",
        "",
        "a value cannot begin with this character",
        "put the whole value in quotes",
    ),
    (
        "mapping values are not allowed",
        "",
        "a colon stands where no key can be",
        "put a value that holds ': ' in quotes, and look at the indentation of this line and the one above",
    ),
    (
        "did not find expected key",
        "",
        "this line does not fit what is around it",
        "look at the indentation; a value that goes on after a closing quote must be quoted as a whole",
    ),
    (
        "could not find expected ':'",
        "",
        "a ':' is missing after this key",
        "write `key: value`; look at the indentation",
    ),
    (
        "did not find expected '-' indicator",
        "",
        "an item of this list does not begin with '- '",
        "look at the indentation",
    ),
    (
        "did not find expected ',' or",
        "",
        "this list or mapping in brackets is not closed",
        "look for a missing comma, bracket or quote",
    ),
    ("unexpected end of stream", "", "the quotes opened here are never closed", "add the closing quote"),
    ("found unexpected document indicator", "", "the quotes opened before are not closed", "close them"),
)


_START = Place(1, 1)


class _RefusedError(Exception):
    """Reading cannot go on; the problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read."""

    node: Node
    anchor: str | None
    mapping: bool
    key: str | None = None
    key_place: Place = _START
    skip: bool = False  # the value to come belongs to a key that was refused


@dataclass(slots=True)
class _Reader:
    file: str
    text: str
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)
    root: Node | None = None
    documents: int = 0
    values: int = 0
    aliases: int = 0


def read(text: str, file: str) -> tuple[Document | None, tuple[Problem, ...]]:
    """The document in a file's text, and what is wrong with how it is written. There is no document where the
    rest cannot be understood without what is wrong; then the last problem says why."""
    reader = _Reader(file, text.removeprefix("\ufeff"))
    try:
        _bound(reader)
        for event in _events(reader):
            _take(reader, event)
    except _RefusedError as refused:
        return None, (*reader.problems, refused.problem)
    if reader.root is None:
        problem = Problem(file, 1, 1, "WV105", "the file is empty", "remove it, or write something")
        return None, (*reader.problems, problem)
    return Document(file, reader.text, reader.root.value, reader.root), tuple(reader.problems)


def load_trusted(text: str) -> Any:
    """The data of YAML that is ours: without bounds, places or friendly words, and quick."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _bound(reader: _Reader) -> None:
    if len(reader.text) > MOST_CHARACTERS:
        message = f"the file has {len(reader.text):,} characters; at most {MOST_CHARACTERS:,} are read"
        raise _RefusedError(Problem(reader.file, 1, 1, "WV104", message, "split it into several files"))
    try:
        reader.text.encode()
    except UnicodeEncodeError as error:
        place = _place_in(reader.text, error.start)
        raise _RefusedError(Problem(reader.file, *place, "WV101", "this is not valid Unicode")) from error


def _events(reader: _Reader) -> Iterator[Event]:
    try:
        yield from yaml.parse(reader.text, Loader=yaml.CSafeLoader)
    except ReaderError as error:
        place = _place_in(reader.text, _bad_character(reader.text))
        message = f"a character that YAML does not allow: {error.reason}"
        raise _RefusedError(Problem(reader.file, *place, "WV101", message, "remove it")) from error
    except yaml.MarkedYAMLError as error:
        raise _RefusedError(_syntax_problem(reader, error)) from error


def _take(reader: _Reader, event: Event) -> None:
    match event:
        case DocumentStartEvent():
            reader.documents += 1
            if reader.documents > 1:
                message = "the file holds a second document"
                raise _refusal(reader, event, "WV105", message, "put each document in a file of its own")
        case AliasEvent():
            _place_node(reader, _aliased(reader, event), event)
        case ScalarEvent():
            node = _scalar(reader, event)
            _remember(reader, event.anchor, node)
            _place_node(reader, node, event)
        case MappingStartEvent() | SequenceStartEvent():
            _open(reader, event)
        case CollectionEndEvent():
            _close(reader, event)


def _open(reader: _Reader, event: MappingStartEvent | SequenceStartEvent) -> None:
    if len(reader.stack) >= MOST_DEPTH:
        raise _refusal(reader, event, "WV104", f"values are nested more than {MOST_DEPTH} deep")
    _count(reader, event, 1)
    mapping = isinstance(event, MappingStartEvent)
    _refuse_tag(reader, event)
    node = Node(_mark(event), *_span(event), "collection")
    node.value = {} if mapping else []
    reader.stack.append(_Open(node, event.anchor, mapping))


def _close(reader: _Reader, event: Event) -> None:
    done = reader.stack.pop()
    _, done.node.end = _span(event)
    _remember(reader, done.anchor, done.node)
    _place_node(reader, done.node, event)


def _remember(reader: _Reader, anchor: str | None, node: Node) -> None:
    if anchor:
        reader.anchors[anchor] = node


def _place_node(reader: _Reader, node: Node, event: Event) -> None:
    """Put a finished node into the collection that is open, as an item, a key or a value."""
    if not reader.stack:
        reader.root = node
        return
    parent = reader.stack[-1]
    parent.node.weight += node.weight
    if not parent.mapping:
        parent.node.items.append(node)
        parent.node.value.append(node.value)
    elif parent.skip:
        parent.skip = False
    elif parent.key is None:
        _take_key(reader, parent, node, event)
    else:
        parent.node.keys[parent.key] = parent.key_place
        parent.node.children[parent.key] = node
        parent.node.value[parent.key] = node.value
        parent.key = None


def _take_key(reader: _Reader, parent: _Open, node: Node, event: Event) -> None:
    wrong = _wrong_key(parent, node)
    if wrong is None:
        parent.key, parent.key_place = node.text, _mark(event)
        return
    code, message, hint = wrong
    place = _mark(event) if node.style != "collection" else node.place
    _tell(reader, Problem(reader.file, *place, code, message, hint))
    parent.skip = True


def _tell(reader: _Reader, problem: Problem) -> None:
    reader.problems.append(problem)
    if len(reader.problems) >= MOST_PROBLEMS:
        message = f"this is the {MOST_PROBLEMS:,}th mistake in how the file is written; the rest is not read"
        raise _RefusedError(Problem(problem.file, problem.line, problem.column, "WV104", message))


def _wrong_key(parent: _Open, node: Node) -> tuple[str, str, str] | None:
    text, shown = node.text, node.text[:60]
    if node.style == "collection":
        return (
            "WV103",
            "a key must be text, not a list or mapping",
            "put it in quotes",
        )
    if node.style == "plain":
        if _BOOLEAN_ELSEWHERE.fullmatch(text):
            hint = f'rename it, or write "{text}" in quotes'
            return "WV103", f"many YAML readers take the key {text!r} for a boolean", hint
        if text == "<<":
            return "WV106", "merge keys are not read here", "write the fields out"
        if not isinstance(node.value, str):
            return "WV103", f"the key {shown!r} is not text", f'write "{shown}" in quotes'
    if text in parent.node.children:
        first = parent.node.keys[text]
        hint = f"the first is on line {first.line}; keep one"
        return "WV102", f"the key {shown!r} is written twice", hint
    return None


def _aliased(reader: _Reader, event: AliasEvent) -> Node:
    name = event.anchor or ""
    node = reader.anchors.get(name)
    if node is None:
        message = f"nothing above is named &{name[:60]}"
        raise _refusal(reader, event, "WV101", message, "put text that begins with '*' in quotes")
    reader.aliases += 1
    if reader.aliases > MOST_ALIASES:
        raise _refusal(reader, event, "WV104", f"the file has more than {MOST_ALIASES} aliases")
    _count(reader, event, node.weight)
    return node


def _count(reader: _Reader, event: Event, weight: int) -> None:
    reader.values += weight
    if reader.values > MOST_VALUES:
        raise _refusal(reader, event, "WV104", f"the file has more than {MOST_VALUES:,} values")


def _scalar(reader: _Reader, event: ScalarEvent) -> Node:
    _count(reader, event, 1)
    _refuse_tag(reader, event)
    style = _STYLES.get(event.style, "plain")
    text = event.value
    node = Node(_mark(event), *_span(event), style, text)
    node.value = _resolve(reader, node) if style == "plain" else text
    return node


def _resolve(reader: _Reader, node: Node) -> Any:
    text = node.text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        return _not_a_number(reader, node, f"{text} is not a number to calculate with")
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        if len(text) > 25 or not -_LARGEST_INT <= (number := int(text, base)) < _LARGEST_INT:
            return _not_a_number(reader, node, "this number does not fit in 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value if math.isfinite(value) else _not_a_number(reader, node, "this number is too large")
    return text


def _not_a_number(reader: _Reader, node: Node, message: str) -> float:
    hint = "write a smaller number, or put it in quotes if it is meant as text"
    _tell(reader, Problem(reader.file, *node.place, "WV107", message, hint))
    return 0.0


def _refuse_tag(reader: _Reader, event: NodeEvent) -> None:
    tag = getattr(event, "tag", None)
    if tag is None or tag == "!":
        return
    hint = "put a value that begins with '!' in quotes" if not tag.startswith("tag:yaml.org") else "remove it"
    _tell(
        reader, Problem(reader.file, *_mark(event), "WV106", f"YAML reads {_short(tag)} as a type tag", hint)
    )


def _short(tag: str) -> str:
    name = tag.replace("tag:yaml.org,2002:", "!!")
    return repr(name if len(name) <= 40 else name[:40] + "…")


def _refusal(reader: _Reader, event: Event, code: str, message: str, hint: str = "") -> _RefusedError:
    return _RefusedError(Problem(reader.file, *_mark(event), code, message, hint))


def _syntax_problem(reader: _Reader, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    last = _place_in(reader.text, len(reader.text))  # libyaml's marks at the end of a file lie past it
    place = min(Place(mark.line + 1, mark.column + 1), last) if mark else _START
    at = mark.index if mark else 0
    found = reader.text[at : at + 1]
    said = error.problem or "cannot be read as YAML"
    for words, character, message, hint in _FRIENDLY:
        if words in said and (not character or found == character):
            if "never closed" in message and error.context_mark:
                place = Place(error.context_mark.line + 1, error.context_mark.column + 1)
            return Problem(reader.file, *place, "WV101", message, hint)
    context = f"{error.context}, " if error.context else ""
    return Problem(reader.file, *place, "WV101", f"{context}{said}"[:300])


def _mark(event: Event) -> Place:
    mark: Any = event.start_mark  # typed as optional; the C parser always sets it
    return Place(mark.line + 1, mark.column + 1)


def _span(event: Event) -> tuple[int, int]:
    start: Any = event.start_mark
    end: Any = event.end_mark
    return start.index, end.index


def _place_in(text: str, offset: int) -> Place:
    return Place(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def _bad_character(text: str) -> int:
    found = _FORBIDDEN.search(text)
    return found.start() if found else 0
