"""A document and where everything in it stands.

Data is plain Python (dict, list, str, int, float, bool, None). Beside it lies a tree of `Node` in the same
shape that remembers lines and columns, so that a problem found anywhere, even in the middle of an expression
inside a folded scalar, can be shown where the operator wrote it. Lines and columns count from 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from engine.core.errors import Problem

Path = tuple[str | int, ...]
Style = Literal["plain", "single", "double", "literal", "folded", "collection"]


class Place(NamedTuple):
    line: int
    column: int


@dataclass(slots=True)
class Node:
    """One value as written: `start` and `end` are offsets into the file's text."""

    place: Place
    start: int
    end: int
    style: Style
    text: str = ""  # of a scalar, after YAML took away quotes, folds and escapes
    value: Any = None
    keys: dict[str, Place] = field(default_factory=dict)
    children: dict[str, "Node"] = field(default_factory=dict)
    items: list["Node"] = field(default_factory=list)
    weight: int = 1  # values in here, each alias counted as what it stands for

    def child(self, step: str | int) -> "Node | None":
        if isinstance(step, str):
            return self.children.get(step)
        return self.items[step] if step < len(self.items) else None


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of one file. `data` is shared with `root`; nobody changes it."""

    file: str
    text: str
    data: Any
    root: Node

    def place(self, path: Path) -> Place:
        """Where the value at this path begins; where the path leads nowhere, the last thing that exists."""
        return self._walk(path).place

    def key_place(self, path: Path) -> Place:
        """Where the key at this path begins; for an item of a list, the item."""
        if path and isinstance(path[-1], str):
            parent = self._walk(path[:-1])
            return parent.keys.get(path[-1], parent.place)
        return self.place(path)

    def source(self, path: Path) -> str:
        """The text of the scalar at this path, as an expression reads it: `true` where YAML has a boolean."""
        return self._walk(path).text

    def place_inside(self, path: Path, line: int, column: int) -> Place:
        """Where a line and column inside the text of the scalar at this path stand in the file."""
        node = self._walk(path)
        lines = node.text.split("\n")
        at = min(max(line, 1), len(lines)) - 1
        offset = sum(len(text) + 1 for text in lines[:at]) + min(max(column, 1) - 1, len(lines[at]))
        return _locate(self.text, node, offset)

    def problem(
        self,
        path: Path,
        code: str,
        message: str,
        hint: str = "",
        *,
        at_key: bool = False,
        severity: Literal["error", "warning"] = "error",
    ) -> Problem:
        place = self.key_place(path) if at_key else self.place(path)
        return Problem(self.file, place.line, place.column, code, message, hint, severity)

    def _walk(self, path: Path) -> Node:
        node = self.root
        for step in path:
            below = node.child(step)
            if below is None:
                break
            node = below
        return node


def paths(data: Any, path: Path = ()) -> Iterator[Path]:
    """Every path in the data, parents first."""
    yield path
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from paths(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from paths(value, (*path, index))


_BLANK = frozenset(" \t\r\n\x85\u2028\u2029")


def _locate(text: str, node: Node, offset: int) -> Place:
    """YAML folds and strips white space but keeps every other character in order, so the n-th visible
    character of a scalar's text is the n-th visible character of what was written."""
    written = _visible(text, node)
    before = node.text[:offset]
    count = sum(char not in _BLANK for char in before)
    here = offset < len(node.text) and node.text[offset] not in _BLANK
    if here and count < len(written):
        return _place_of(text, node, written[count])
    if count == 0 or not written:
        return node.place
    gap = len(before) - len(before.rstrip())  # white space between the last visible character and the offset
    return _place_of(text, node, written[min(count, len(written)) - 1] + 1 + (gap if gap == 1 else 0))


def _place_of(text: str, node: Node, at: int) -> Place:
    newlines = text.count("\n", node.start, at)
    if newlines == 0:
        return Place(node.place.line, node.place.column + at - node.start)
    return Place(node.place.line + newlines, at - text.rfind("\n", 0, at))


def _visible(text: str, node: Node) -> list[int]:
    """Offsets into the file of the characters that produced each visible character of the scalar."""
    match node.style:
        case "double":
            return _visible_in_double_quotes(text, node.start + 1, node.end - 1)
        case "single":
            return _visible_in_single_quotes(text, node.start + 1, node.end - 1)
        case "literal" | "folded":
            header = text.find("\n", node.start, node.end)
            start = node.end if header < 0 else header + 1
        case "plain" | "collection":
            start = node.start
    return [at for at in range(start, node.end) if text[at] not in _BLANK]


def _visible_in_single_quotes(text: str, start: int, end: int) -> list[int]:
    found = []
    at = start
    while at < end:
        if text[at] not in _BLANK:
            found.append(at)
        at += 2 if text.startswith("''", at) else 1
    return found


_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}
_BLANK_ESCAPES = frozenset(
    "tnr NLP\t\n\r"
)  # those that stand for white space, or for nothing at a line's end


def _visible_in_double_quotes(text: str, start: int, end: int) -> list[int]:
    found = []
    at = start
    while at < end:
        if text[at] != "\\":
            if text[at] not in _BLANK:
                found.append(at)
            at += 1
            continue
        kind = text[at + 1]
        digits = _ESCAPE_DIGITS.get(kind, 0)
        blank = kind in _BLANK_ESCAPES
        if digits:
            blank = chr(int(text[at + 2 : at + 2 + digits], 16)) in _BLANK
        if not blank:
            found.append(at)
        at += 2 + digits
    return found
