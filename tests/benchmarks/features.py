"""What it costs to know a request: survey and features, beside parsing the JSON of the same body.

    python tests/benchmarks/features.py [--seconds 0.5] [--json]

Two made bodies: 4 KB, four tools and one message, and 120 KB, 59 tool calls with their results. Where
WEAVE_CAPTURES names the folder of captured requests, they are measured too, each for itself.

`again` is what a server pays in practice: a client sends its system prompt, tools and earlier calls with every
request. `first` is a request none of which was seen before, everything remembered being forgotten each time.
The machine's speed cancels out of the ratio to parsing; of several rounds the best counts, for noise only adds.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine import wire
from engine.core.conversation import Request
from engine.features import (
    actions,
    features,
    markers,
    runs,
    shell,
    starts,
    survey,
    tokens,
    walk,
    warm,
    wording,
)
from engine.protocols import PROTOCOLS

PATHS = {"/v1/messages": "anthropic-messages", "/v1/chat/completions": "openai-chat"}
HEADERS = {"host": "localhost", "content-type": "application/json", "anthropic-version": "2023-06-01"}
# What outlives a request.
REMEMBERED = (
    actions.language_of,
    markers.system_marks,
    markers.user_marks,
    starts.starts_of,
    shell.simple_commands,
    runs._read,
    tokens._extent_of,
    walk._remembered,
    walk._remembered_long,
    wording._wording,
)
SOURCE = "".join(f"{n:5d}\tdef step_{n}(state):\n{n:5d}\t    return state + {n}\n" for n in range(28))


def step(number: int) -> tuple[str, dict[str, str], str]:
    """A tool's name, its arguments and its output, no two alike."""
    path = f"src/parser_{number}.py"
    match number % 4:
        case 0:
            return "Read", {"file_path": path}, SOURCE
        case 1:
            command = f"cd /repo && python -m pytest -q tests/test_parser_{number}.py 2>&1 | tail -20"
            output = f"E   assert {number} == 2\n" * 60 + "=== 1 failed in 0.1s ==="
            return "Bash", {"command": command}, output
        case 2:
            edit = {"file_path": path, "old_string": "x = 1\n" * 40, "new_string": "y = 2\n" * 40}
            return "Edit", edit, f"The file {path} has been updated."
        case _:
            return "Bash", {"command": f"git status && ls -la src/{number}"}, SOURCE


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    request: Request
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds."""

    parse: float
    first: float
    again: float


def body(system: int, description: int, calls: int) -> dict[str, Any]:
    """Anthropic's wire form: four tools, a system prompt of so many characters, and a conversation of calls."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Fix the failing test in parser.py, please."}
    ]
    for number in range(calls):
        name, arguments, output = step(number)
        used = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}
        shown = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": output}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": "Going on."}, used]},
            {"role": "user", "content": [shown]},
        ]
    return {
        "model": "claude-opus-4-5",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": ("You are a coding agent. " * system)[:system]}],
        "tools": [tool(name, description) for name in ("Read", "Edit", "Bash", "Grep")],
        "messages": messages,
        "stream": True,
    }


def tool(name: str, description: int) -> dict[str, Any]:
    parameter = {"type": "string", "description": "what this is for, in a sentence of the usual length"}
    schema = {"type": "object", "properties": {"file_path": parameter}, "required": ["file_path"]}
    text = (f"{name} something in the workspace. " * description)[:description]
    return {"name": name, "description": text, "input_schema": schema}


def made() -> Iterator[Case]:
    protocol = PROTOCOLS["anthropic-messages"]
    for name, contents in (("4 KB", body(2_000, 250, 0)), ("120 KB", body(30_000, 700, 59))):
        yield Case(name, protocol.read_request(contents, wire.dumps(contents)), HEADERS)


def captured(folder: Path) -> Iterator[Case]:
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for entry in map(json.loads, lines):
                protocol = PROTOCOLS.get(PATHS.get(entry["path"], ""))
                if entry["method"] == "POST" and protocol is not None:
                    headers = {name.lower(): value for name, value in entry["headers"]}
                    request = protocol.read_request(entry["body"], wire.dumps(entry["body"]))
                    yield Case(entry["id"], request, headers)


def measure(case: Case, seconds: float) -> Cost:
    def know() -> None:
        features(survey(case.request, case.headers), None)

    parse = microseconds(lambda: wire.loads(case.request.raw), seconds / 3)
    return Cost(parse, first(know, seconds / 3), microseconds(know, seconds / 3))


def microseconds(work: Callable[[], object], seconds: float) -> float:
    rounds = max(1, int(seconds / 7 / max(timed(work, 1), 1e-7)))
    return min(timed(work, rounds) / rounds for _ in range(7)) * 1e6


def timed(work: Callable[[], object], rounds: int) -> float:
    started = time.perf_counter()
    for _ in range(rounds):
        work()
    return time.perf_counter() - started


def first(work: Callable[[], object], seconds: float) -> float:
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for function in REMEMBERED:
            function.cache_clear()
        best = min(best, timed(work, 1))
    return best * 1e6


def show(name: str, size: int, cost: Cost) -> None:
    ratios = f"{cost.first / cost.parse:9.2f} {cost.again / cost.parse:9.2f}"
    print(f"{name:18} {size:9,} {cost.parse:9.1f} {cost.first:9.1f} {cost.again:9.1f} {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each made body is measured")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()

    cold = timed(warm, 1) * 1e3
    print(f"warm() took {cold:.0f} ms\n")
    print(
        f"{'body':18} {'bytes':>9} {'parse µs':>9} {'first µs':>9} {'again µs':>9} {'/ parse':>9} {'/ parse':>9}"
    )
    line: dict[str, float | None] = {"warm_ms": round(cold, 1)}
    for case in made():
        cost = measure(case, options.seconds)
        show(case.name, len(case.request.raw), cost)
        key = case.name.replace(" ", "").lower()
        line |= {f"us_{key}": round(cost.again, 1), f"us_first_{key}": round(cost.first, 1)}
        line[f"ratio_to_parse_{key}"] = round(cost.again / cost.parse, 2)

    folder = os.environ.get("WEAVE_CAPTURES")
    ratios, spent = [], []
    for case in captured(Path(folder)) if folder else ():
        cost = measure(case, options.seconds / 5)
        show(case.name, len(case.request.raw), cost)
        ratios.append(cost.again / cost.parse)
        spent.append(cost.again)
    if not folder:
        print("WEAVE_CAPTURES does not name a folder: captured requests are not measured")
    elif ratios:
        middle = f"{statistics.median(spent):.1f} µs, {statistics.median(ratios):.2f} of parsing"
        print(f"median of {len(ratios)} captured requests: {middle}; worst ratio {max(ratios):.2f}")
    line["us_captures_median"] = round(statistics.median(spent), 1) if spent else None
    line["ratio_to_parse_captures_median"] = round(statistics.median(ratios), 2) if ratios else None
    if options.json:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
