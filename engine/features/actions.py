"""What a tool call does: look, search, edit, run; and to which file.

Clients name their tools differently and pass different arguments; what they do is told by the tool's name
(`schemas/clients.v1.yaml`), the path among its arguments, and for a shell the command itself. Arguments are
JSON text that a model wrote, so they are searched, not parsed, and only where they begin and end.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from engine.documents import shipped_yaml
from engine.features.markers import CLIENTS

Kind = Literal["read", "search", "edit", "shell", "test", "agent", "plan", "other"]

LOOKED_AT = 1_024  # characters at each end of the arguments
LONGEST_PATH = 300
COMMANDS = 16  # parts of a shell line that are looked at

PATH = re.compile(
    r'"(?:file_?[pP]ath|path|filename|notebook_path|target_file|absolute_path|file)"\s*:\s*"((?:[^"\\]|\\.){1,300})"'
)
PATCHED = re.compile(r"\*\*\* (?:Update|Add|Delete) File: ([^\\\n\"]{1,300})")
COMMAND = re.compile(
    r'"(?:command|cmd|script|input)"\s*:\s*'
    r'(?:\[\s*(?:"(?:/bin/)?(?:ba|z)?sh"\s*,\s*"-l?c"\s*,\s*)?)?"((?:[^"\\]|\\.)*)'
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


@dataclass(frozen=True, slots=True)
class Action:
    """`path` is the file it names, if it names one; `command` what a shell is given, still JSON-escaped."""

    kind: Kind
    path: str = ""
    command: str = ""


def read_action(kind: Kind, arguments: str) -> Action:
    """What a call to a tool of this kind does."""
    match kind:
        case "shell":
            return _shell(arguments)
        case "read" | "search" | "edit":
            path = _path(arguments)
            if kind == "edit" and '"view"' in arguments[:LOOKED_AT]:
                return Action("read", path)
            return Action(kind, path)
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


def _shell(arguments: str) -> Action:
    found = COMMAND.search(arguments[:LOOKED_AT])
    command = found[1] if found is not None else arguments[:LOOKED_AT]
    if _writes(command):
        return Action("edit", _last_file(command) or _patched(command), command)
    if _only_looks(command):
        return Action("read", _last_file(command), command)
    return Action("shell", "", command)


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
