"""Which shell commands start tools that judge the work, and what their exit codes say.

A tool is known by its program, behind assignments and launchers (`FOO=1 uv run pytest`), in the commands of shells in
shells, but not where it is only named: searched for, installed, or quoted in a commit message.

Exit codes lie where something stands behind the tool: after `| tail` the code is tail's, after `|| true` it is 0.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from engine.features.recognisers import Recognisers, recognisers
from engine.features.shell import Simple, simple_commands

SUBSHELLS = 3  # shells in shells that are looked into
AFTER_LAUNCHER = 10  # words
REMEMBERED = 1_024

NAME = re.compile(r"[\w.+-]+")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w{0,60}\+?=")
VERSION = re.compile(r"[\d.]+$")
VERSIONED = ("pyt", "pyp", "rub", "nod", "php")
PRINTS_CODE = re.compile(r"\$\?|PIPESTATUS|\$\{?(?:rc|RC|code|status|ret|EXIT\w*|exit_code)\b")
SHELL_OPTIONS = ("-c", "-lc", "-ic", "-ec", "-xc")
PIPES = ("|", "|&")


@dataclass(frozen=True, slots=True, eq=False)  # so that asking for a remembered reading hashes no fields
class Starts:
    """The tools a command starts, by their place in the file, and what its exit code says.

    `own`: the code a client tells is the last tool's. `chained`: each tool runs only if the one before it passed.
    `asked`: the command prints a code of its own.
    """

    tools: tuple[int, ...]
    own: bool = False
    chained: bool = False
    asked: bool = False
    tests: bool = False


@lru_cache(maxsize=REMEMBERED)
def starts_of(command: str) -> Starts | None:
    """What a shell command starts, no longer escaped; None where it can start nothing that judges."""
    known = recognisers()
    if not _might_start(command, known):
        return None
    simple = simple_commands(command)
    tools: list[int] = []
    first = last = -1
    for at, each in enumerate(simple):
        if started := _started(each.words, SUBSHELLS, known):
            tools += started
            first, last = at if first < 0 else first, at
    if not tools:
        return None
    after = simple[last + 1 :]
    return Starts(
        tools=tuple(tools),
        own=_is_own(simple[last].ends, after, command),
        chained=all(each.ends == "&&" for each in simple[first:last]),
        asked=any(PRINTS_CODE.search(word) for each in after for word in each.words),
        tests=any(known.tools[tool].kind == "test" for tool in tools),
    )


def shows_others(command: str) -> bool:
    """Whether a command only shows what others wrote, so that a summary in its output is a quotation."""
    known = recognisers()
    return any(_tells(each.words, known) for each in simple_commands(command))


def _is_own(ends: str, after: Sequence[Simple], command: str) -> bool:
    """Whether the exit code of the whole is that of a tool with this operator and these commands behind it."""
    if ends in PIPES:
        return "pipefail" in command and all(each.ends in ("", *PIPES) for each in after)
    return ends == "" or (ends == "\n" and not after) or (ends == "&&" and _all_joined(after))


def _all_joined(after: Sequence[Simple]) -> bool:
    return all(each.ends in ("", "&&") for each in after)


def _might_start(command: str, known: Recognisers) -> bool:
    """A cheap question before the expensive ones."""
    if not known.programs.keys().isdisjoint(NAME.findall(command)):
        return True
    return "test" in command and known.script.search(command) is not None


def _started(words: Sequence[str], depth: int, known: Recognisers) -> tuple[int, ...]:
    """The tools that a simple command starts."""
    launched = False
    for at, word in enumerate(words[:AFTER_LAUNCHER]):
        if not launched and (word in known.openers or ASSIGNMENT.match(word)):
            continue
        program = _base(word)
        if program in known.shells and depth and (inner := _inner(words[at + 1 :])):
            deeper = [_started(each.words, depth - 1, known) for each in simple_commands(inner)]
            return tuple(tool for tools in deeper for tool in tools)
        tool = _tool_of(program, words[at + 1 :], known)
        if tool is not None:
            return (tool,)
        if launched and word in known.no_run:
            return ()
        if not launched and program not in known.launchers and program not in known.shells:
            return ()
        launched = True
    return ()


def _tool_of(program: str, rest: Sequence[str], known: Recognisers) -> int | None:
    """The tool that a program starts, with these words after it."""
    starts = known.programs.get(program)
    if starts is None:
        is_script = "test" in program and known.script.fullmatch(program) is not None
        return known.places["make"] if is_script else None
    if not known.idle.isdisjoint(rest):
        return None
    text = " ".join(rest)[:400]
    for then, tool in starts:
        if then is None or then.match(text):
            return tool
    return None


def _inner(words: Sequence[str]) -> str:
    """What a shell is told to run."""
    return next((text for word, text in pairwise(words) if word in SHELL_OPTIONS), "")


def _tells(words: Sequence[str], known: Recognisers) -> bool:
    """Whether a simple command prints what others wrote, or what it was told to print."""
    for at, word in enumerate(words):
        if word in known.openers or ASSIGNMENT.match(word):
            continue
        program, rest = _base(word), words[at + 1 :]
        if program in known.inline:
            return not rest or rest[0] in known.inline_options
        return program in known.tellers
    return False


def _base(word: str) -> str:
    """The program a word names: without its folder, and python3.12 is python."""
    name = word[-200:].rpartition("/")[2].removesuffix(".exe").removesuffix(".cmd")
    return VERSION.sub("", name) if name.startswith(VERSIONED) else name
