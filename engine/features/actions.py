"""What a tool call does: look, search, edit, run; and to which file.

Clients name their tools differently and pass different arguments; what they do is told by the tool's name
(`schemas/clients.v1.yaml`), the path among its arguments, and for a shell the command itself. Arguments are
JSON text that a model wrote, so they are searched, not parsed, and only where they begin and end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from engine.core.values import quick
from engine.documents import shipped_yaml
from engine.features.markers import CLIENTS
from engine.features.shell import simple_commands, unescaped
from engine.features.starts import Starts, shows_others, starts_of
from engine.features.wording import WORDS

Kind = Literal["read", "search", "edit", "shell", "test", "agent", "plan", "other"]

LOOKED_AT = 1_024  # characters at each end of the arguments
LONGEST_PATH = 300
COMMANDS = 16  # parts of a shell line that are looked at

PATH = re.compile(
    r'"(?:file_?[pP]ath|path|filename|notebook_path|target_file|absolute_path|file)"\s*:\s*"((?:[^"\\]|\\.){1,300})"'
)
PATCHED = re.compile(r"\*\*\* (?:Update|Add|Delete) File: ([^\\\n\"]{1,300})")
COMMAND = re.compile(
    r'(?:"(?:command|cmd|script|input)"|\bcmd)\s*:\s*'
    r'(?:\[\s*(?:"(?:/bin/)?(?:ba|z)?sh"\s*,\s*"-l?c"\s*,\s*)?)?"((?:[^"\\]++|\\.)*+)'
)
# Into a file of the work: logs and scratch files are no edits.
REDIRECT = re.compile(r">(?<![0-9&<>=-]>)>?\s*(?!/dev/|/tmp/|&|=|\S{0,200}\.log\b)[\w./~$-]")
WRITES = re.compile(
    r"tee\s+(?:-a\s+)?(?!/dev/|/tmp/|\S{0,200}\.log\b)"
    r"|sed\s+(?:-\w+\s+)*-i|apply_patch\b|git apply\b|patch\s+-"
)
WRITERS = ("tee", "sed", "patch", "git apply")
FILE = re.compile(r"(?<![\w./-])((?:[\w~-]|\.{1,2}/|/)[\w./-]{0,200}\.([A-Za-z+]{1,6}))(?![\w/-])")
SEPARATOR = re.compile(r"&&|\|\||;|\||\\n|\n")
OLD = ('"old_string"', '"old_str"', '"oldString"', '"oldText"', '"old_text"')
NEW = ('"new_string"', '"new_str"', '"newString"', '"newText"', '"new_text"')
TEXT = re.compile(r'\s*+:\s*+"((?:[^"\\]++|\\.)*+)"')
AFTER_HEREDOC = re.compile(r"<<-?\s*\\?[\\\"']{0,2}(\w{1,40})")

VERSIONING = re.compile(
    r"\b(?:git|hg|svn|jj) .{0,80}?\b(?:checkout|restore|reset|clean|apply|stash|revert|undo)\b"
)

Stash = Literal["aside", "back", ""]


@quick
@dataclass(frozen=True, slots=True)
class Action:
    """`path` is the file it names, if it names one; `command` what a shell is given.

    A shell command may write a file and run the tests; then its kind is the run's, and `edits` is true all the same.
    `prose`: it edits words, which changes nothing that is run. `swap` identifies an edit, and the one that would take
    it back. `undoes` are the files whose edits a command throws away: none of them means all; None that it throws
    nothing away. `quotes`: it shows what others wrote.
    """

    kind: Kind
    path: str = ""
    command: str = ""
    starts: Starts | None = None
    edits: bool = False
    prose: bool = False
    swap: tuple[int, int] | None = None
    undoes: tuple[str, ...] | None = None
    stash: Stash = ""
    quotes: bool = False


def read_action(kind: Kind, arguments: str) -> Action:
    """What a call to a tool of this kind does."""
    match kind:
        case "shell":
            return _shell(arguments)
        case "read" | "search" | "edit":
            path = _path(arguments)
            if kind != "edit":
                return Action(kind, path)
            if '"view"' in arguments[:LOOKED_AT]:
                return Action("read", path)
            return Action("edit", path, edits=True, prose=is_prose(path), swap=_swap(path, arguments))
        case _:
            return Action(kind)


def tool_kind(name: str) -> Kind:
    kinds = _kinds()
    kind = kinds.get(name) or kinds.get(name[:100].lower())
    return kind or kinds.get(name[-100:].rpartition("__")[2].lower(), "other")


@lru_cache(maxsize=1_024)
def language_of(path: str) -> str:
    """The programming language a file's ending stands for; empty where it stands for none."""
    return _languages().get(path.rpartition(".")[2].lower(), "") if "." in path else ""


def is_prose(path: str) -> bool:
    """Whether a file holds words, so that an edit of it changes nothing that is run."""
    return path.rpartition(".")[2].lower() in _prose() if "." in path else False


def fence_language(label: str) -> str:
    return _fences().get(label, "")


def _path(arguments: str) -> str:
    head = arguments[:LOOKED_AT]
    found = PATH.search(head) or PATCHED.search(head)
    if found is None and len(arguments) > LOOKED_AT:
        found = PATH.search(arguments[-LOOKED_AT:])
    if found is None:
        return ""
    path = found[1]
    return path.replace("\\\\", "\\").replace("\\/", "/") if "\\" in path else path


def command_action(command: str) -> Action:
    """What a shell command does, no longer escaped."""
    writes = _writes(command)
    if not writes and _only_looks(command):
        return Action("read", _last_file(command), command)
    starts = starts_of(command)
    undoes, stash = _git(command)
    if stash:
        starts = None  # what is run while edits are put aside says nothing of them
    path = (_last_file(command) or _patched(command)) if writes else ""
    if starts is not None:
        kind: Kind = "test" if starts.tests else "shell"
        return Action(kind, path, command, starts, writes, is_prose(path), undoes=undoes)
    if writes:
        return Action("edit", path, command, edits=True, prose=is_prose(path), undoes=undoes, stash=stash)
    return Action("shell", "", command, undoes=undoes, stash=stash, quotes=shows_others(command))


def _shell(arguments: str) -> Action:
    found = COMMAND.search(arguments[:LOOKED_AT])
    return command_action(
        unescaped(found[1] if found is not None else arguments[:LOOKED_AT]) + _rest(arguments)
    )


def _rest(arguments: str) -> str:
    """What is run after a long here-document, so that it is not missed."""
    if len(arguments) <= LOOKED_AT or (begins := AFTER_HEREDOC.search(arguments[:LOOKED_AT])) is None:
        return ""
    _, found, rest = arguments[-LOOKED_AT:].rpartition(f"\\n{begins[1]}")
    if not found:
        return ""
    return f"\n{begins[1]}" + unescaped(rest.rpartition('"')[0].partition('"')[0])


def _swap(path: str, arguments: str) -> tuple[int, int] | None:
    if len(arguments) > 16 * LOOKED_AT:
        return None
    old, new = _member(OLD, arguments), _member(NEW, arguments)
    if old is None or new is None:
        return None
    return hash((path, old, new)), hash((path, new, old))


def _member(keys: Sequence[str], arguments: str) -> str | None:
    """The text of the first of these members that there is, still escaped."""
    for key in keys:
        if (at := arguments.find(key)) >= 0:
            found = TEXT.match(arguments, at + len(key))
            return found[1] if found is not None else None
    return None


def _git(command: str) -> tuple[tuple[str, ...] | None, Stash]:
    """The files whose edits a command throws away, and whether it puts edits aside or gets them back."""
    if not VERSIONING.search(command):
        return None, ""
    undoes: tuple[str, ...] | None = None
    stash: Stash = ""
    for each in simple_commands(command):
        line = " ".join(each.words)[:400]
        if (found := _undoing().search(line)) is not None:
            named = " ".join(group for group in found.groups() if group is not None)
            files = tuple(word for word in named.split() if not word.startswith("-"))
            undoes = () if "." in files or not files else (*(undoes or ()), *files)
        elif _back().search(line):
            stash = "back"
        elif _aside().search(line):
            stash = "aside"
    return undoes, stash


def _writes(command: str) -> bool:
    if ">" in command and REDIRECT.search(command):
        return True
    return any(word in command for word in WRITERS) and WRITES.search(command) is not None


def _patched(command: str) -> str:
    found = PATCHED.search(command)
    return found[1] if found is not None else ""


def _last_file(command: str) -> str:
    if "." not in command:
        return ""
    files = FILE.findall(command)
    return files[-1][0][:LONGEST_PATH] if files and files[-1][1].lower() in _known_endings() else ""


def _only_looks(command: str) -> bool:
    looking = _looking()
    for part in SEPARATOR.split(command, maxsplit=COMMANDS):
        words = part.split(None, 2)
        if words and words[0] not in looking and " ".join(words[:2]) not in looking:
            return False
    return True


@cache
def _undoing() -> re.Pattern[str]:
    return re.compile(shipped_yaml(WORDS)["undoing"])


@cache
def _aside() -> re.Pattern[str]:
    return re.compile(shipped_yaml(WORDS)["aside"])


@cache
def _back() -> re.Pattern[str]:
    return re.compile(shipped_yaml(WORDS)["back"])


@cache
def _prose() -> frozenset[str]:
    return frozenset(shipped_yaml(WORDS)["prose"])


@cache
def _kinds() -> dict[str, Kind]:
    return {name: kind for kind, names in shipped_yaml(CLIENTS)["tools"].items() for name in names}


@cache
def _looking() -> frozenset[str]:
    return frozenset(shipped_yaml(CLIENTS)["looking"])


@cache
def _languages() -> dict[str, str]:
    languages = shipped_yaml(CLIENTS)["languages"]
    return {ending: language for language, endings in languages.items() for ending in endings}


@cache
def _fences() -> dict[str, str]:
    return {**_languages(), **shipped_yaml(CLIENTS)["fences"]}


@cache
def _known_endings() -> frozenset[str]:
    return frozenset(_languages()) | {
        "md",
        "txt",
        "json",
        "yaml",
        "yml",
        "toml",
        "xml",
        "cfg",
        "ini",
        "lock",
        "env",
    }
