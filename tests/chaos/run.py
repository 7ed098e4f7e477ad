"""One run of chaos: an engine, its providers and its clients, each in a process of its own, and what came of it.

python -m tests.chaos --sessions 2000 --seconds 150 --rate 80 [--seed 7] [--keep folder]
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any
from urllib.request import urlopen

from engine.core.identity import Identity
from engine.server.keys import Keys, change, new_key
from tests.chaos import ledger, policies
from tests.chaos.plan import PEOPLE, PROVIDERS, TEAMS, Course, moment

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60.0
END_SECONDS = 90.0
SAMPLE_SECONDS = 1.0
MOST_GROWTH_MB = 40.0  # what sessions are remembered by is bounded, but takes longer than a run to fill

# Patience that fits a run: what is silent for longer is given up.
SETTINGS = {
    "WEAVE_CONNECT_TIMEOUT": "1",
    "WEAVE_FIRST_CONTENT_TIMEOUT": "3",
    "WEAVE_THINKING_TIMEOUT": "3",
    "WEAVE_STALL_TIMEOUT": "2",
    "WEAVE_DRAIN_TIMEOUT": "10",
}


@dataclass(slots=True)
class Findings:
    """What a run came to. Lists say what was wrong, item by item."""

    course: Course
    figures: dict[str, Any]
    wrong_ends: list[str] = field(default_factory=list)
    cross_talk: list[str] = field(default_factory=list)
    attempts_after_content: list[str] = field(default_factory=list)
    budget_error_usd: float = 0.0
    budget_errors: list[str] = field(default_factory=list)
    rss_growth_mb: float = 0.0
    journal_missing: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    def line(self) -> str:
        return json.dumps(
            {
                "requests": self.figures["requests"],
                "wrong_ends": len(self.wrong_ends),
                "cross_talk": len(self.cross_talk),
                "attempts_after_content": len(self.attempts_after_content),
                "budget_error_usd": self.budget_error_usd,
                "rss_growth_mb": self.rss_growth_mb,
                "journal_missing": len(self.journal_missing),
                "bugs": len(self.bugs),
                "left_over": len(self.left_over),
                "seed": self.course.seed,
                **{name: value for name, value in self.figures.items() if name != "requests"},
            }
        )

    @property
    def all_well(self) -> bool:
        well = self.budget_error_usd == 0 and self.rss_growth_mb < MOST_GROWTH_MB
        return well and not any(
            (
                self.wrong_ends,
                self.cross_talk,
                self.attempts_after_content,
                self.journal_missing,
                self.bugs,
                self.left_over,
            )
        )

    def told(self, most: int = 12) -> Iterator[str]:
        """What was wrong, for people: some of each kind."""
        for name in (
            "wrong_ends",
            "cross_talk",
            "attempts_after_content",
            "budget_errors",
            "journal_missing",
            "bugs",
            "left_over",
        ):
            wrongs: list[str] = getattr(self, name)
            yield from (f"{name}: {wrong}" for wrong in wrongs[:most])


class Talker:
    """A process that answers a line of JSON with a line of JSON."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    @property
    def _in(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended before it answered")
        told: dict[str, Any] = json.loads(line)
        return told

    def ask(self, **told: Any) -> dict[str, Any]:
        self._in.write(json.dumps(told) + "\n")
        self._in.flush()
        return self.hear()

    def end(self, seconds: float = END_SECONDS) -> int:
        with suppress(OSError):
            self._in.close()
        return self.process.wait(seconds)


@contextmanager
def started(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, log: IO[bytes] | None = None
) -> Iterator[Talker]:
    command = [sys.executable, "-m", f"tests.chaos.{module}", *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        yield Talker(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def run(course: Course, folder: Path, pace: float = 1.0) -> Findings:
    """Raises RuntimeError where a process does not even start, or dies."""
    limit = str(course.seconds + START_SECONDS + 2 * END_SECONDS)
    port = _free_port()
    rules, journal, log = folder / "policies", folder / "weave.db", folder / "engine.log"
    rules.mkdir()
    keys = _keys(folder / "weave-keys.json")
    with log.open("wb") as errors, started("providers", str(pace), limit) as providers:
        policies.write(rules, {"catalog.yaml": policies.catalog(providers.hear())}, whole=True)
        policies.write(rules, {"chaos.yaml": policies.policy(0)}, whole=True)
        environment = {
            **SETTINGS,
            "WEAVE_PORT": str(port),
            "WEAVE_POLICIES": str(rules),
            "WEAVE_JOURNAL": str(journal),
            policies.KEY_VARIABLE: "key-of-chaos-0123456789",
        }
        with started("serving", limit, environment=environment, log=errors) as engine:
            _until_ready(port, engine)
            before = engine.ask()
            told = {
                "course": asdict(course),
                "port": port,
                "keys": keys,
                "out": str(folder / "answers.jsonl"),
            }
            with started("sessions", json.dumps(told)) as clients:
                samples = _drive(course, clients, providers, engine, rules)
                figures = clients.hear()
                clients.end()
            left_over = _left_over(before, engine, providers)
            providers.ask(calls=str(folder / "calls.jsonl"))
            code = engine.end()
        providers.end()
    figures |= {"seconds": course.seconds, "rss_mb": round(samples[-1][1], 1)}
    figures["rss_mb_per_minute"] = ledger.slope_mb_per_minute(samples, 0.3 * course.seconds)
    findings = _found(course, folder, figures)
    findings.rss_growth_mb = ledger.growth_mb(samples, course.seconds)
    findings.left_over += left_over
    if code != 0:
        findings.bugs.append(f"the engine ended with {code}")
    return findings


def _drive(
    course: Course, clients: Talker, providers: Talker, engine: Talker, rules: Path
) -> list[tuple[float, float]]:
    """Let the plan happen, second by second, until the clients are done. The engine's memory over time, in MB."""
    began = time.monotonic()
    samples: list[tuple[float, float]] = []
    second = 0
    while (
        clients.process.poll() is None and (passed := time.monotonic() - began) < course.seconds + END_SECONDS
    ):
        if engine.process.poll() is not None:
            raise RuntimeError(f"the engine ended in the middle, with {engine.process.returncode}")
        samples.append((passed, resident_mb(engine.process.pid)))
        if passed < course.seconds:
            now = moment(course, second)
            policies.write(rules, {"chaos.yaml": policies.policy(now.policy)}, whole=now.policy % 3 > 0)
            providers.ask(dead=[now.dies] if now.dies else [], storm=now.storm)
        else:
            providers.ask(dead=[], storm="")
            if _has_line(clients):
                return samples
        second += 1
        time.sleep(max(0.0, second * SAMPLE_SECONDS - (time.monotonic() - began)))
    return samples


def _has_line(talker: Talker) -> bool:
    assert talker.process.stdout is not None
    return bool(select.select([talker.process.stdout], [], [], 0)[0])


def _left_over(before: Mapping[str, Any], engine: Talker, providers: Talker) -> list[str]:
    """What the engine still holds when nobody is left: tasks while all providers are well, and open files once they are
    gone, beyond those it began with."""
    found: list[str] = []
    for dead, what, most in (([], "tasks", 0), (list(PROVIDERS), "files", 2)):
        providers.ask(dead=dead)
        deadline = time.monotonic() + 20.0
        while (now := engine.ask())[what] - before[what] > most and time.monotonic() < deadline:
            time.sleep(0.5)
        if now[what] - before[what] > most:
            found.append(f"{now[what] - before[what]} more {what}; its tasks are {now['what']}")
    return found


def _found(course: Course, folder: Path, figures: dict[str, Any]) -> Findings:
    answers, calls = ledger.read(folder / "answers.jsonl"), ledger.read(folder / "calls.jsonl")
    journal = folder / "weave.db"
    findings = Findings(course, figures)
    findings.wrong_ends = [_told(answer) for answer in answers if answer["wrongs"]]
    findings.cross_talk = [
        f"{answer['nonce']} was told {answer['crossed']}" for answer in answers if answer["crossed"]
    ]
    findings.cross_talk += ledger.crossed_sessions(answers, journal)
    findings.attempts_after_content = ledger.after_content(answers, calls)
    findings.journal_missing = ledger.missing(answers, journal)
    errors = ledger.budget_errors(journal)
    findings.budget_error_usd = sum(map(abs, errors.values())) / 1e9
    findings.budget_errors = [f"{what}: {amount / 1e9} USD" for what, amount in errors.items()]
    findings.bugs = _bugs(folder / "engine.log")
    seconds = [answer["seconds"] for answer in answers if answer["end"]]
    figures |= {
        "served": sum(answer["end"] == "whole" and not answer["left"] for answer in answers),
        "errors": sum(answer["end"] == "error" for answer in answers),
        "left": sum(bool(answer["left"]) for answer in answers),
        "calls": len(calls),
        "troubled_calls": sum(bool(call["trouble"]) for call in calls),
        "median_seconds": round(median(seconds), 2) if seconds else 0.0,
        "longest_seconds": max(seconds, default=0.0),
    }
    return findings


def _told(answer: Mapping[str, Any]) -> str:
    names = (
        "nonce",
        "session",
        "turn",
        "speech",
        "stream",
        "left",
        "status",
        "decision",
        "seconds",
        "wrongs",
        "tail",
    )
    return json.dumps({name: answer[name] for name in names})


def _bugs(log: Path) -> list[str]:
    """What the engine's log calls an error, and what it wrote that is no line of its log: a traceback."""
    return [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if not line.startswith("{") or ('"level":"error"' in line and '"event":"reload"' not in line)
    ]


def resident_mb(pid: int) -> float:
    """Of Linux; elsewhere nothing is known."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _keys(path: Path) -> list[str]:
    """A client key for each person, in the file that the engine reads."""
    made = [
        new_key(Identity(f"person-{number}", f"team-{number % TEAMS}"), int(time.time()), None)
        for number in range(PEOPLE)
    ]
    change(path, lambda keys: Keys({**keys.by_id, **{key.id: key for _, key in made}}))
    return [text for text, _ in made]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _until_ready(port: int, engine: Talker) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and engine.process.poll() is None:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            time.sleep(2 * SAMPLE_SECONDS)  # until all that runs beside requests has begun
            return
        time.sleep(0.1)
    raise RuntimeError("the engine did not start; its log says why")
