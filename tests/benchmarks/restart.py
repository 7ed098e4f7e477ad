"""How long a restart takes until the engine is ready, with much behind it and with nothing.

    python tests/benchmarks/restart.py [--rows 1000000] [--pins 100000] [--times 3] [--json]

Builds a journal with so many rows (decisions, attempts, results, outcomes, lessons) and pins, once, in the temporary
folder; starts `weave-engine serve` as a process on it and on an empty one, in turns, and asks until `/ready` says yes.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine import wire
from engine.core.decision import AttemptRecord, Decision, Lesson, Outcome, Result, StepRun
from engine.core.lineage import Lineage
from engine.core.ports import Pin
from engine.core.reply import Usage
from engine.learning.state import State
from engine.server.database import Connection, connect, transaction
from engine.server.rows import (
    ATTEMPTS,
    DECISIONS,
    LESSONS,
    LINEAGES,
    OUTCOMES,
    PINS,
    RESULTS,
    Row,
    Table,
    row_of,
)

ROOT = Path(__file__).parent.parent.parent
PHASES = ("context", "plan", "execute", "validate", "chat")
LANGUAGES = ("python", "go", "rust", "typescript", "c", "java")
LEARNED = 2_000  # lessons that a snapshot is made of: it grows with the kinds of tasks, not with their number
TAIL = 200  # lessons since the last snapshot
GIVE_UP_SECONDS = 60.0
SAMPLE = 0.004  # seconds between two looks


def build(path: Path, rows: int, pins: int) -> None:
    """Of a thousand rows 290 are decisions, as many results, 300 attempts, 40 outcomes, 80 lessons."""
    now = time.time()
    with closing(connect(str(path), read_only=False)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with transaction(connection):
            _fill(connection, DECISIONS, _decisions(rows * 29 // 100, now))
            _fill(connection, RESULTS, _results(rows * 29 // 100, now))
            _fill(connection, ATTEMPTS, _attempts(rows * 30 // 100, now))
            _fill(connection, OUTCOMES, _outcomes(rows * 4 // 100, now))
            _fill(connection, LESSONS, _lessons(rows * 8 // 100, now))
            _fill(connection, PINS, _pins(pins, now))
            _fill(connection, LINEAGES, _lineages(pins, now))
        _snapshot(connection, rows * 8 // 100, now)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill(connection: Connection, table: Table, rows: Iterator[Row]) -> None:
    connection.executemany(table.insert(), rows)


def _copies(table: Table, event: Any, count: int, **cells: Any) -> Iterator[Row]:
    """The same row again and again, with other cells where one is named: as a function of its number."""
    names, row = table.fields, list(row_of(event))
    changing = [(names.index(name), cell) for name, cell in cells.items()]
    for number in range(count):
        for at, cell in changing:
            row[at] = cell(number)
        yield tuple(row)


def _id(number: int, now: float) -> str:
    return f"d{int(now * 1000) - 86_400_000 + number:011x}{number:012x}"


def _decisions(count: int, now: float) -> Iterator[Row]:
    features = {
        "phase": "execute",
        "language": "python",
        "context_tokens": 42_000,
        "tool_count": 17,
        "turn": 12,
        "client": "claude-code",
        "first_user_hash": "0123456789abcdef",
    }
    decision = Decision(
        *("", 0.0, "default", "0123456789ab", ("haiku", "sonnet", "opus"), "routine", "learner"),
        *("not worse than opus", "claude-opus-4-5", "anthropic-messages"),
        learner="tier-picker",
        signature="execute/python/2",
        features=features,
    )
    return _copies(
        DECISIONS,
        decision,
        count,
        id=lambda n: _id(n, now),
        at=lambda n: now - 86_400 + n / 10,
        session=lambda n: f"{n // 20:024x}",
    )


def _results(count: int, now: float) -> Iterator[Row]:
    usage = Usage(40_000, 700, cache_read_tokens=38_000)
    result = Result("", now, 200, "haiku", "anthropic", 1, "end_turn", usage, 0.01, 4.0, 0.8)
    return _copies(RESULTS, result, count, decision=lambda n: _id(n, now))


def _attempts(count: int, now: float) -> Iterator[Row]:
    attempt = AttemptRecord("", 1, "haiku", "anthropic", "claude-haiku-4-5", now, 4.0)
    return _copies(ATTEMPTS, attempt, count, decision=lambda n: _id(n, now))


def _outcomes(count: int, now: float) -> Iterator[Row]:
    outcome = Outcome("", now, tests_passed=1, source="evidence", worth=1.0)
    return _copies(
        OUTCOMES, outcome, count, id=lambda n: f"seen-{n}", subject=lambda n: f"{n // 3:024x}/{n % 3}"
    )


def _lesson(number: int, now: float) -> Lesson:
    model = ("haiku", "sonnet", "opus")[number % 3]
    signature = f"{PHASES[number % 5]}/{LANGUAGES[number % 6]}/{number % 4}"
    score = float(number % 7 < 5 + number % 3)
    return Lesson(f"seen-{number // 2}", now, "tier-picker", signature, (StepRun(model),), score)


def _lessons(count: int, now: float) -> Iterator[Row]:
    return (row_of(_lesson(number, now)) for number in range(count))


def _pins(count: int, now: float) -> Iterator[Row]:
    for number in range(count):
        pin = Pin("haiku", "routine", now, now + 7 * 86_400 + number / 100, "cheap-first", 0, {"turn": 12})
        yield (f"{number:024x}/opus", *row_of(pin))


def _lineages(count: int, now: float) -> Iterator[Row]:
    row = row_of(Lineage("https://api.anthropic.com#ANTHROPIC_API_KEY", "haiku"))
    return ((f"{n:024x}/{n:016x}/anthropic-messages", now - n, *row) for n in range(count))


def _snapshot(connection: Connection, lessons: int, now: float) -> None:
    state = State()
    for number in range(min(lessons, LEARNED)):
        state.learn(_lesson(number, now))
    state.lessons = max(lessons - TAIL, 0)
    text = wire.dumps(state.to_json()).decode()
    connection.execute("INSERT INTO learner_states VALUES (?, ?, ?)", (state.lessons, now, text))


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds from the start of the process until its socket answers, and until it is ready; and those that it had
    a processor for by then, which do not depend on what else the machine does."""

    alive: float
    ready: float
    processor: float


def time_to_ready(journal: Path) -> Taken:
    port = _free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WEAVE_JOURNAL": str(journal),
        "WEAVE_KEYS": str(journal.with_suffix(".keys")),
        "WEAVE_PORT": str(port),
        "WEAVE_POLICIES": str(ROOT / "policies"),
        "ANTHROPIC_API_KEY": "none",
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "serve"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        alive = _wait(f"http://127.0.0.1:{port}/health", began, process)
        ready = _wait(f"http://127.0.0.1:{port}/ready", began, process)
        return Taken(alive, ready, _processor_seconds(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def _processor_seconds(pid: int) -> float:
    """By Linux's books; nothing elsewhere."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(url: str, began: float, process: "subprocess.Popen[bytes]") -> float:
    while time.perf_counter() - began < GIVE_UP_SECONDS:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return time.perf_counter() - began
        except (OSError, urllib.error.HTTPError):
            if process.poll() is not None:
                said = process.stderr.read() if process.stderr else b""
                raise RuntimeError(f"the engine ended: {said[-2000:].decode()}") from None
        time.sleep(SAMPLE)
    raise RuntimeError(f"{url} did not answer")


def measure(rows: int, pins: int, times: int) -> dict[str, float]:
    folder = Path(tempfile.gettempdir()) / "weave-restart"
    folder.mkdir(exist_ok=True)
    full, empty = folder / f"{rows}-{pins}.db", folder / "empty.db"
    if not full.exists():
        print(f"building a journal of {rows:,} rows and {pins:,} pins …")
        build(full.with_suffix(".building"), rows, pins)
        full.with_suffix(".building").rename(full)
    on_full: list[Taken] = []
    on_empty: list[Taken] = []
    for _ in range(times):
        empty.unlink(missing_ok=True)
        on_empty.append(time_to_ready(empty))
        on_full.append(time_to_ready(full))
    return {
        "restart_seconds": statistics.median(one.ready for one in on_full),
        "restart_processor_seconds": statistics.median(one.processor for one in on_full),
        "alive_seconds": statistics.median(one.alive for one in on_full),
        "empty_seconds": statistics.median(one.ready for one in on_empty),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pins", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    found = measure(options.rows, options.pins, options.times)
    found["ratio"] = found["restart_seconds"] / found["empty_seconds"]
    print(f"ready after {found['restart_seconds']:.2f} s, {found['ratio']:.2f} times an empty journal's")
    print(f"of it {found['restart_processor_seconds']:.2f} s on a processor")
    print(f"alive after {found['alive_seconds']:.2f} s; empty: ready after {found['empty_seconds']:.2f} s")
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
