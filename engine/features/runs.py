"""What the outputs of tools say: runs of tests, builds, type checks and lints, and how they went.

The recognisers are data, `schemas/evidence/runs.v1.yaml`. A run is known by the command that started it, or by a
summary no other program prints. How it went is told, strongest first, by an exit code that is surely the tool's own,
by its own words at the end of its output, and by the client's mark for failed commands. What it did not come to say
is no evidence: it timed out, was refused, is not installed, or found nothing to run.

Outputs are cut by clients, in the middle or at the end, coloured, and written over with carriage returns. Only their
beginning and end are read, so hostile output costs what honest output does; and as a session sends all its results
again with every step, the latest readings are remembered by what was read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from engine.core.evidence import Run, RunKind
from engine.features.recognisers import Tool, recognisers
from engine.features.starts import Starts

TAIL = 4_096  # characters at the end of an output where a summary is looked for
HEAD = 512
REMEMBERED = 1_024  # readings, each with at most HEAD and TAIL characters
LINES = 48  # that hold the same word
UNWRAPPED = 65_536  # characters of a JSON wrapper that is opened
SUMMARIES = 3  # of tools that are found in one output of a script
REMINDED = "</system-reminder>"

COLOUR = re.compile(r"\x1b\[[0-9;?]{0,12}[A-Za-z]|\x1b\][^\x07\n]{0,200}\x07|\[(?:\d{1,3};){0,4}\d{1,2}m")


@dataclass(frozen=True, slots=True)
class Reading:
    """What an output tells: its runs, and whether the tests among them failed; None where it ran none."""

    runs: tuple[Run, ...] = ()
    tests_failed: bool | None = None


NOTHING = Reading()


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
        if "xit" not in text and "returncode" not in text:
            continue
        if (found := recognisers().exit_codes.search(text)) is not None:
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
    runs = {at: _told(recognisers().tools[at], tail, starts.tools.count(at)) for at in starts.tools}
    if starts.chained and len(runs) > 1:
        runs = _left_behind(runs)
    if any(recognisers().tools[at].wraps for at in runs):
        runs = _unwrapped_runs(runs, tail)
    told = tuple(run for run in runs.values() if run is not None)
    mute = [recognisers().tools[at] for at, run in runs.items() if run is None]
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
    if not recognisers().nothing.search(tail):
        passed += [Run(tool.kind, tool.name, failed=False) for tool in mute]
    return tuple(passed)


def _one_failed(told: Sequence[Run], mute: Sequence[Tool], head: str, tail: str) -> tuple[Run, ...]:
    """What another exit code says: something failed, if nothing has told so itself."""
    if any(run.failed for run in told):
        return tuple(told)
    if not mute:
        return (*told[:-1], _turned(told[-1], failed=True))
    if (
        recognisers().no_evidence.search(head)
        or recognisers().no_evidence.search(tail)
        or recognisers().nothing.search(tail)
    ):
        return tuple(told)
    return (*told, Run(mute[0].kind, mute[0].name, failed=True))


def _with_silent(starts: Starts, runs: Mapping[int, Run | None], head: str, tail: str) -> tuple[Run, ...]:
    """Tools that say nothing where they find nothing have passed if they said nothing."""
    heard = starts.own or not tail.strip()
    if (
        in_background(head)
        or recognisers().no_evidence.search(head)
        or recognisers().no_evidence.search(tail)
    ):
        heard = False
    found: list[Run] = []
    for at, run in runs.items():
        tool = recognisers().tools[at]
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
        inside[recognisers().places[run.tool]] = run
        kinds.add(run.kind)
    kept = {
        at: told
        for at, told in runs.items()
        if not recognisers().tools[at].wraps or not (kinds if told is None else told.kind in kinds)
    }
    return kept | inside if inside else dict(runs)


def _left_behind(runs: Mapping[int, Run | None]) -> dict[int, Run | None]:
    """Of tools each of which runs only after the one before it passed, those before one that spoke have passed, and
    after one that failed none ran."""
    spoke = max((number for number, run in enumerate(runs.values()) if run is not None), default=-1)
    known: dict[int, Run | None] = {}
    for number, (at, run) in enumerate(runs.items()):
        tool = recognisers().tools[at]
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
    for tool in recognisers().tools:
        if tool.alone is None or not any(word in tail for word in tool.alone_words):
            continue
        if tool.alone.search(tail) and (run := _told(tool, tail, 1)) is not None:
            yield run
            found += 1
            if found >= SUMMARIES:
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
    if not (failed or passes or tool.each) and recognisers().nothing.search(tail):
        return None
    return Run(tool.kind, tool.name, failed, passes, failures)


def _telling(words: Sequence[str], tail: str) -> str:
    """The last lines of an output that may say how a run ended, so that expressions run over a few lines only."""
    begins: set[int] = set()
    for word in words:
        if word not in tail:
            continue
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
    found = recognisers().asked_code.fullmatch(tail[-200:].rstrip().rpartition("\n")[2])
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
