"""Runs of tests, builds, type checks and lints: which commands start them, and what their outputs say.

The recognisers are data, `schemas/evidence/runs.v1.yaml`. A run is known by the program that starts it, or by a
summary no other program prints. How it went is told, strongest first, by an exit code that is surely the tool's own,
by its own words at the end of its output, and by the client's mark for failed commands. What it did not come to say
is no evidence: it timed out, was refused, is not installed, or found nothing to run.

Exit codes lie where something stands behind the tool: after `| tail` the code is tail's, after `|| true` it is 0.

Outputs are cut by clients, in the middle or at the end, coloured, and written over with carriage returns. Only their
beginning and end are read, so hostile output costs what honest output does; and as a session sends all its results
again with every step, the latest readings are remembered by what was read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from engine.core.evidence import Run, RunKind
from engine.documents import shipped_yaml
from engine.features.shell import simple_commands

RUNS = "schemas/evidence/runs.v1.yaml"
TAIL = 4_096  # characters at the end of an output where a summary is looked for
HEAD = 512
SUBSHELLS = 3  # shells in shells that are looked into
AFTER_LAUNCHER = 10  # words
REMEMBERED = 1_024  # readings, each with at most HEAD and TAIL characters
LINES = 48  # that hold the same word
UNWRAPPED = 65_536  # characters of a JSON wrapper that is opened
REMINDED = "</system-reminder>"
PATIENCE = 3  # tools whose summary is found in one output of a script

ASSIGNMENT = re.compile(r"[A-Za-z_]\w{0,60}\+?=")
COLOUR = re.compile(r"\x1b\[[0-9;?]{0,12}[A-Za-z]|\x1b\][^\x07\n]{0,200}\x07|\[(?:\d{1,3};){0,4}\d{1,2}m")
VERSION = re.compile(r"[\d.]+$")
NAME = re.compile(r"[\w.+-]+")
EXIT_WORDS = re.compile(r"[Ee]xit|returncode")
PRINTS_CODE = re.compile(r"\$\?|PIPESTATUS|\$\{?(?:rc|RC|code|status|ret|EXIT\w*|exit_code)\b")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that judges the work. `each`: one output holds several summaries of one run. `wraps`: it runs others."""

    name: str
    kind: RunKind
    words: tuple[str, ...]
    failed: re.Pattern[str]
    passed: re.Pattern[str] | None
    failures: re.Pattern[str] | None
    passes: re.Pattern[str] | None
    total: re.Pattern[str] | None
    ends: re.Pattern[str] | None
    alone: re.Pattern[str] | None
    alone_words: tuple[str, ...]
    each: bool
    wraps: bool
    silent: bool  # says nothing where it finds nothing


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


@dataclass(frozen=True, slots=True)
class Reading:
    """What an output tells: its runs, and whether the tests among them failed; None where it ran none."""

    runs: tuple[Run, ...] = ()
    tests_failed: bool | None = None


NOTHING = Reading()


@lru_cache(maxsize=REMEMBERED)
def starts_of(command: str) -> Starts | None:
    """What a shell command starts, no longer escaped; None where it can start nothing that judges."""
    if not _might_start(command):
        return None
    simple = simple_commands(command)
    found = [(at, tool) for at, each in enumerate(simple) for tool in _tools_of(each.words, SUBSHELLS)]
    if not found:
        return None
    last = found[-1][0]
    after = simple[last + 1 :]
    own = simple[last].ends in ("", "&&", "\n") and all(each.ends in ("", "&&") for each in after)
    if simple[last].ends == "\n" and after:
        own = False
    if simple[last].ends in ("|", "|&"):
        own = "pipefail" in command and all(each.ends in ("", "|", "|&") for each in after)
    chained = all(each.ends == "&&" for each in simple[found[0][0] : last])
    asked = any(PRINTS_CODE.search(word) for each in after for word in each.words)
    tests = any(_tools()[tool].kind == "test" for _, tool in found)
    return Starts(tuple(tool for _, tool in found), own, chained, asked, tests)


def shows_others(command: str) -> bool:
    """Whether a command only shows what others wrote, so that a summary in its output is a quotation."""
    return any(_tells(each.words) for each in simple_commands(command))


def runs_in(starts: Starts | None, output: str, is_error: bool) -> tuple[Run, ...]:
    """The runs that a command's output tells of. Without known starts, a summary may give one away."""
    return reading_of(starts, output, is_error).runs


def reading_of(starts: Starts | None, output: str, is_error: bool) -> Reading:
    if output[:1] == "{" and '"output"' in output[:HEAD]:
        output = _unwrapped(output)
    if len(output) <= TAIL and not output.endswith(REMINDED):
        return _read(starts, "", output, is_error)
    return _read(starts, output[:HEAD], _end_of(output), is_error)


def exit_code(head: str, tail: str) -> int | None:
    """The exit code that a client tells at the beginning or end of an output, if it does."""
    for text in (head, tail[-HEAD:]):
        if EXIT_WORDS.search(text) is None:
            continue
        if (found := _exit_codes().search(text)) is not None:
            return int(next(group for group in found.groups() if group is not None))
    return None


def in_background(output: str) -> bool:
    return "ackground" in output[:HEAD] or "session ID" in output[:HEAD]


def _end_of(output: str) -> str:
    """The last of an output, before the reminders that clients append to it."""
    while output.endswith(REMINDED) and (at := output.rfind("<system-reminder>")) >= 0:
        output = output[max(0, at - 2 * TAIL) : at].rstrip()
    return output[-TAIL:]


@lru_cache(maxsize=REMEMBERED)
def _read(starts: Starts | None, head: str, tail: str, is_error: bool) -> Reading:
    """`head` is empty where the tail is the whole output."""
    runs = _runs(starts, _plain(head or tail[:HEAD]), _plain(tail), is_error)
    tests = [run.failed for run in runs if run.kind == "test"]
    return Reading(runs, any(tests) if tests else None) if runs else NOTHING


def _runs(starts: Starts | None, head: str, tail: str, is_error: bool) -> tuple[Run, ...]:
    if starts is None:
        return tuple(_betrayed(tail))
    code = exit_code(head, tail) if starts.own else _asked(tail) if starts.asked else None
    if code is None and is_error and starts.own:
        code = 1
    runs = {at: _told(_tools()[at], tail, starts.tools.count(at)) for at in starts.tools}
    if starts.chained and len(runs) > 1:
        runs = _left_behind(runs)
    if any(_tools()[at].wraps for at in runs):
        runs = _unwrapped_runs(runs, tail)
    told = tuple(run for run in runs.values() if run is not None)
    mute = [_tools()[at] for at, run in runs.items() if run is None]
    if code is None:
        return told if is_error or not mute else _with_silent(starts, runs, head, tail)
    if code == 0:
        return _all_passed(starts, told, mute, tail)
    return _one_failed(told, mute, head, tail)


def _all_passed(starts: Starts, told: Sequence[Run], mute: Sequence[Tool], tail: str) -> tuple[Run, ...]:
    """What an exit code of 0 says: all is well, if it speaks of all."""
    if len(starts.tools) > 1 and not starts.chained:
        return tuple(told)
    passed = [_turned(run, failed=False) for run in told]
    if not _nothing().search(tail):
        passed += [Run(tool.kind, tool.name, failed=False) for tool in mute]
    return tuple(passed)


def _one_failed(told: Sequence[Run], mute: Sequence[Tool], head: str, tail: str) -> tuple[Run, ...]:
    """What another exit code says: something failed, if nothing has told so itself."""
    if any(run.failed for run in told):
        return tuple(told)
    if not mute:
        return (*told[:-1], _turned(told[-1], failed=True))
    if _no_evidence().search(head) or _no_evidence().search(tail) or _nothing().search(tail):
        return tuple(told)
    return (*told, Run(mute[0].kind, mute[0].name, failed=True))


def _with_silent(starts: Starts, runs: Mapping[int, Run | None], head: str, tail: str) -> tuple[Run, ...]:
    """Tools that say nothing where they find nothing have passed if they said nothing."""
    heard = starts.own or not tail.strip()
    if in_background(head) or _no_evidence().search(head) or _no_evidence().search(tail):
        heard = False
    found: list[Run] = []
    for at, run in runs.items():
        tool = _tools()[at]
        if run is not None:
            found.append(run)
        elif tool.silent and heard:
            found.append(Run(tool.kind, tool.name, failed=False))
    return tuple(found)


def _unwrapped_runs(runs: Mapping[int, Run | None], tail: str) -> dict[int, Run | None]:
    """The runs of the tools that a wrapper ran, where these give themselves away, in the wrapper's place."""
    inside: dict[int, Run | None] = {}
    kinds: set[RunKind] = set()
    for run in _betrayed(tail):
        inside[_place(run.tool)] = run
        kinds.add(run.kind)
    kept = {
        at: told
        for at, told in runs.items()
        if not _tools()[at].wraps or not (kinds if told is None else told.kind in kinds)
    }
    return kept | inside if inside else dict(runs)


def _place(name: str) -> int:
    return next(at for at, tool in enumerate(_tools()) if tool.name == name)


def _left_behind(runs: Mapping[int, Run | None]) -> dict[int, Run | None]:
    """Of tools each of which runs only after the one before it passed, those before one that spoke have passed, and
    after one that failed none ran."""
    spoke = max((number for number, run in enumerate(runs.values()) if run is not None), default=-1)
    known: dict[int, Run | None] = {}
    for number, (at, run) in enumerate(runs.items()):
        tool = _tools()[at]
        passed = run is None and number < spoke
        known[at] = Run(tool.kind, tool.name, failed=False) if passed else run
        if run is not None and run.failed:
            break
    return known


def _turned(run: Run, failed: bool) -> Run:
    return Run(run.kind, run.tool, failed, run.passes, run.failures)


def _betrayed(tail: str) -> Iterator[Run]:
    """Runs of what a script started."""
    found = 0
    for tool in _tools():
        if tool.alone is None or not any(word in tail for word in tool.alone_words):
            continue
        if tool.alone.search(tail) and (run := _told(tool, tail, 1)) is not None:
            yield run
            found += 1
            if found >= PATIENCE:
                return


def _told(tool: Tool, tail: str, runs: int) -> Run | None:
    """What a tool's own words at the end of an output say of its latest `runs` runs; None where they do not."""
    telling = _telling(tool.words, tail)
    if not telling:
        return None
    if tool.ends is not None:
        telling = _latest(tool.ends, telling, runs)
    failed = tool.failed.search(telling) is not None
    if not failed and (tool.passed is None or tool.passed.search(telling) is None):
        return None
    failures, passes = _count(tool.failures, telling), _count(tool.passes, telling)
    if tool.total is not None and (total := _count(tool.total, telling)):
        passes = max(passes, total - failures)
    if not (failed or passes or tool.each) and _nothing().search(tail):
        return None
    return Run(tool.kind, tool.name, failed, passes, failures)


def _telling(words: Sequence[str], tail: str) -> str:
    """The last lines of an output that may say how a run ended, so that expressions run over a few lines only."""
    begins: set[int] = set()
    for word in words:
        at = len(tail)
        for _ in range(LINES):
            at = tail.rfind(word, 0, at)
            if at < 0:
                break
            at = tail.rfind("\n", 0, at) + 1
            begins.add(at)
    return "\n".join([tail[begin:].partition("\n")[0] for begin in sorted(begins)])


def _latest(ends: re.Pattern[str], telling: str, runs: int) -> str:
    """The lines of the latest runs, where there were more."""
    last = [found.end() for found in ends.finditer(telling)]
    if len(last) <= runs:
        return telling
    return telling[telling.find("\n", last[-runs - 1]) + 1 :]


def _count(counts: re.Pattern[str] | None, telling: str) -> int:
    if counts is None:
        return 0
    total = 0
    for found in counts.finditer(telling):
        for group in found.groups():
            if group is not None:
                total += int(group) if group.isdecimal() else 1
    return total


def _asked(tail: str) -> int | None:
    found = _asked_code().fullmatch(tail[-200:].rstrip().rpartition("\n")[2])
    return int(found[1]) if found is not None else None


def _plain(text: str) -> str:
    """Without colours, and with a line for each time that one was written over."""
    if "\x1b" in text or "m" in text:
        text = COLOUR.sub("", text)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _unwrapped(text: str) -> str:
    """The text that some clients put into a JSON object."""
    if len(text) > UNWRAPPED:
        return text
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return text.replace("\\n", "\n")
    output = held.get("output")
    return f"{output}\n{json.dumps(held.get('metadata') or held)[-200:]}" if isinstance(output, str) else text


def _tools_of(words: Sequence[str], depth: int) -> Iterator[int]:
    """The tools that a simple command starts, by their place in the file."""
    at = 0
    while at < len(words) and (words[at] in _words("openers") or ASSIGNMENT.match(words[at])):
        at += 1
    idle, launched = _words("idle"), False
    for place in range(at, min(len(words), at + AFTER_LAUNCHER)):
        word = words[place]
        program = _base(word)
        if program in _words("shells") and depth and (inner := _inner(words[place + 1 :])):
            for each in simple_commands(inner):
                yield from _tools_of(each.words, depth - 1)
            return
        rest = words[place + 1 :]
        if (program in _programs() or _script().fullmatch(program)) and not idle.intersection(rest):
            started = tuple(_started(program, " ".join(rest)[:400]))
            if started:
                yield from started
                return
        if launched and word in _words("no_run"):
            return
        if not launched and program not in _words("launchers") and program not in _words("shells"):
            return
        launched = True


def _started(program: str, rest: str) -> Iterator[int]:
    """The first tool of each kind that a program with these words after it starts."""
    kinds: set[RunKind] = set()
    for then, tool in _programs().get(program, ()):
        kind = _tools()[tool].kind
        if kind not in kinds and (then is None or then.match(rest)):
            kinds.add(kind)
            yield tool
            return
    if program not in _programs():
        yield _script_tool()


def _inner(words: Sequence[str]) -> str:
    for word, text in pairwise(words):
        if word in ("-c", "-lc", "-ic", "-ec", "-xc"):
            return text
    return ""


def _tells(words: Sequence[str]) -> bool:
    """Whether a simple command prints what others wrote, or what it was told to print."""
    for at, word in enumerate(words):
        if word in _words("openers") or ASSIGNMENT.match(word):
            continue
        program, rest = _base(word), words[at + 1 :]
        if program in _words("inline"):
            return not rest or rest[0] in _words("inline_options")
        return program in _words("tellers")
    return False


@lru_cache(maxsize=REMEMBERED)
def _base(word: str) -> str:
    """The program a word names: without its folder, and python3.12 is python."""
    name = word[-200:].rpartition("/")[2].removesuffix(".exe").removesuffix(".cmd")
    return VERSION.sub("", name) or name if name[:3] in ("pyt", "pyp", "rub", "nod", "php") else name


def _might_start(command: str) -> bool:
    return not _programs().keys().isdisjoint(NAME.findall(command)) or (
        "test" in command and _script().search(command) is not None
    )


@cache
def _tools() -> tuple[Tool, ...]:
    return tuple(_tool(entry) for entry in shipped_yaml(RUNS)["tools"])


@cache
def _programs() -> Mapping[str, Sequence[tuple[re.Pattern[str] | None, int]]]:
    """The tools each program may start, by their place in the file, with what must follow it."""
    programs: dict[str, list[tuple[re.Pattern[str] | None, int]]] = {}
    for at, entry in enumerate(shipped_yaml(RUNS)["tools"]):
        for program, then in entry["starts"].items():
            programs.setdefault(program, []).append((re.compile(then) if then else None, at))
    return programs


@cache
def _script() -> re.Pattern[str]:
    return re.compile(shipped_yaml(RUNS)["script"])


@cache
def _script_tool() -> int:
    return _place("make")


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(shipped_yaml(RUNS)[name])


@cache
def _exit_codes() -> re.Pattern[str]:
    return re.compile("|".join(shipped_yaml(RUNS)["exit_codes"]), re.MULTILINE)


@cache
def _asked_code() -> re.Pattern[str]:
    return re.compile(shipped_yaml(RUNS)["asked_code"])


@cache
def _no_evidence() -> re.Pattern[str]:
    return re.compile(shipped_yaml(RUNS)["no_evidence"], re.MULTILINE)


@cache
def _nothing() -> re.Pattern[str]:
    return re.compile(shipped_yaml(RUNS)["nothing"], re.MULTILINE)


def _tool(entry: Mapping[str, Any]) -> Tool:
    return Tool(
        entry["name"],
        entry["kind"],
        tuple(entry["words"]),
        re.compile(entry["failed"], re.MULTILINE),
        _optional(entry, "passed"),
        _optional(entry, "failures"),
        _optional(entry, "passes"),
        _optional(entry, "total"),
        _optional(entry, "ends"),
        _optional(entry, "alone"),
        tuple(entry.get("alone_words", ())),
        entry.get("each", False),
        entry.get("wraps", False),
        entry.get("silent", False),
    )


def _optional(entry: Mapping[str, Any], name: str) -> re.Pattern[str] | None:
    return re.compile(entry[name], re.MULTILINE) if name in entry else None
