"""`weave-engine fmt`: policy files in one layout, without a change of meaning.

Only white space is touched, so every comment stays where it is: one space after a key's colon and a comma, none
inside brackets, none at the end of a line, at most one empty line, one at the end; text that spans several lines is
left alone, because there white space is content. A first line that tells editors the schema is added where the
schemas can be found beside the file.

Nothing is written that does not read as before: the data of both texts must be equal, and their visible characters.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from engine.commands import terminal
from engine.core.errors import InvalidDocumentsError, Problem
from engine.documents import Document, Place, read
from engine.documents.places import Node
from engine.server.reload import policy_files, read_files
from engine.snapshot import SCHEMAS

NOT_FORMATTED = 3

_SCHEMA_LINE = re.compile(r"#\s*yaml-language-server:\s*\$schema=", re.IGNORECASE)
_BREAKS = re.compile(r"\r\n?|\n")

Edit = tuple[int, int, str]  # from, to, and what comes there


def fmt(paths: Sequence[Path], *, check_only: bool = False) -> int:
    """Formats files and those of folders, or with `check_only` tells which would change; returns the exit code.
    Raises InvalidDocumentsError for what cannot be read, before anything is written."""
    texts = _read(paths)
    results = {name: formatted(text, name) for name, text in texts.items()}
    problems = [problem for result in results.values() if isinstance(result, tuple) for problem in result]
    if problems:
        raise InvalidDocumentsError(problems)
    changed = {name: text for name, text in results.items() if isinstance(text, str) and text != texts[name]}
    for name, text in changed.items():
        if not check_only:
            _write(Path(name), text)
        terminal.say(f"{name} {'would be' if check_only else 'is'} formatted anew")
    if not changed:
        terminal.say("nothing to do" if len(texts) == 1 else f"{len(texts)} files, nothing to do")
    return NOT_FORMATTED if changed and check_only else 0


def formatted(text: str, file: str) -> str | tuple[Problem, ...]:
    """The text in our layout, or why it cannot be read."""
    plain = _BREAKS.sub("\n", text.removeprefix("\ufeff"))
    document, problems = read(plain, file)
    if document is None or problems:
        return problems
    spaced = _edited(plain, sorted(_spacing(document, _starts(plain))))
    again, _ = read(spaced, file)
    if again is None or not _same(document, again):  # a layout we do not understand stays as it is
        spaced, again = plain, document
    tidy = _tidied(spaced, _inside_text(again))
    last, _ = read(tidy, file)
    if last is None or not _same(document, last):
        tidy = spaced
    return _with_schema_line(tidy, file, document)


def _same(before: Document, after: Document) -> bool:
    """Whether two texts mean and show the same; `repr` tells 1 from 1.0 and True, and keeps the order of keys."""
    return repr(before.data) == repr(after.data) and _visible(before.text) == _visible(after.text)


def _visible(text: str) -> str:
    return "".join(text.split())


# -- spaces within lines


def _spacing(document: Document, starts: Sequence[int]) -> Iterator[Edit]:
    """What to write between keys, values and brackets, wherever there is nothing but space on one line."""
    text, open_nodes = document.text, [document.root]
    while open_nodes:
        node = open_nodes.pop()
        within = _children(node, starts)
        open_nodes += [child for _, child in within]
        flow = text[node.start : node.start + 1] in ("{", "[")
        before = node.start + 1
        for number, (key, child) in enumerate(within):
            first = child.start if key is None else key
            if flow:
                yield from _gap(text, before, first, ", " if number else "")
            if key is not None and child.end > child.start:
                yield from _after_colon(text, key, child.start)
            before = max(child.end, first)
        if flow and within:
            yield from _gap(text, before, node.end - 1, "")


def _children(node: Node, starts: Sequence[int]) -> list[tuple[int | None, Node]]:
    """The values a collection holds, each with where its key begins; aliases, which stand elsewhere, are left out
    with all that is in them."""
    keyed: list[tuple[int | None, Node]] = [(None, child) for child in node.items]
    keyed += [(_offset(node.keys[name], starts), child) for name, child in node.children.items()]
    at = node.start
    for key, child in keyed:
        first = child.start if key is None else key
        if not at <= first <= child.start or child.end > node.end:
            return []
        at = child.end
    return keyed


def _gap(text: str, start: int, end: int, wanted: str) -> Iterator[Edit]:
    """Between two values of a bracket: space and, where one is wanted, a comma."""
    between = text[start:end]
    if (
        "\n" not in between
        and between.replace(" ", "").replace("\t", "") == wanted.strip()
        and between != wanted
    ):
        yield start, end, wanted


def _after_colon(text: str, key: int, value: int) -> Iterator[Edit]:
    at = value
    while at > key and text[at - 1] in " \t":
        at -= 1
    if text[at - 1] == ":" and text[at:value] != " ":
        yield at, value, " "


def _edited(text: str, edits: Sequence[Edit]) -> str:
    pieces, at = [], 0
    for start, end, wanted in edits:
        pieces += [text[at:start], wanted]
        at = end
    return "".join((*pieces, text[at:]))


def _starts(text: str) -> list[int]:
    """Where each line begins."""
    return [0, *(found.end() for found in re.finditer("\n", text))]


def _offset(place: Place, starts: Sequence[int]) -> int:
    return starts[place.line - 1] + place.column - 1


# -- lines


def _inside_text(document: Document) -> set[int]:
    """The lines, counted from 0, that lie inside a text of several lines: their white space is content."""
    held: set[int] = set()
    nodes = [document.root]
    while nodes:
        node = nodes.pop()
        nodes += [*node.items, *node.children.values()]
        if node.style != "collection" and "\n" in document.text[node.start : node.end]:
            first = document.text.count("\n", 0, node.start)
            held |= set(range(first, first + document.text.count("\n", node.start, node.end) + 1))
    return held


def _tidied(text: str, held: set[int]) -> str:
    lines: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if number in held:
            lines.append(line)
            continue
        line = line.rstrip(" \t")
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n"


def _with_schema_line(text: str, file: str, document: Document) -> str:
    kind = str(document.data.get("kind")) if isinstance(document.data, dict) else ""
    if kind not in SCHEMAS or any(_SCHEMA_LINE.match(line) for line in text.split("\n")):
        return text
    folder = Path(file).resolve().parent
    for up, parent in enumerate((folder, *folder.parents)):
        if (parent / SCHEMAS[kind]).is_file():
            return f"# yaml-language-server: $schema={'../' * up}{SCHEMAS[kind]}\n{text}"
    return text


# -- files


def _read(paths: Sequence[Path]) -> dict[str, str]:
    """Line breaks as they are on disk. Raises InvalidDocumentsError."""
    found = [file for path in paths for file in (policy_files(path) if path.is_dir() else [path])]
    read_files(found)  # tells what cannot be read, and how
    return {str(file): file.read_bytes().decode("utf-8") for file in dict.fromkeys(found)}


def _write(path: Path, text: str) -> None:
    """Whole or not at all, under the same name, mode and link, so that an engine that follows it sees no half."""
    target = path.resolve()
    with NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as half:
        try:
            half.write(text.encode())
            half.flush()
            os.fsync(half.fileno())
            os.chmod(half.name, target.stat().st_mode & 0o7777)
            os.replace(half.name, target)
        except BaseException:
            os.unlink(half.name)
            raise
