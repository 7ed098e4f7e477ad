"""What using decisions again is worth on iterative edits: how often it happens, what it saves, what it changes.

    python tests/benchmarks/reuse.py [--sessions 12] [--rounds 5] [--seed 1] [--json]

Agents work on one file after another: they read it, edit it, run the tests, and edit again, some seconds between two
requests. All of their requests go through `turn.decide` twice in one run, under the shipped policy with and without
`reuse: {for: 60s, key: [features.signature, features.focus_file]}`, with a learner that knows something of such work.
Reading a request is not counted; looking a decision up and keeping it is.

Two kinds of traffic: `free` has no session that a pin could hold, so rules and learner decide each time, and that is
what reuse is for; `pinned` has, and its pin already spares the learner, so that there is next to nothing to use again.
`same_choice` is the share of the decisions used again that come to the model that would have been chosen anew.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine import turn
from engine.core.decision import Decision, Lesson, StepRun
from engine.core.identity import Identity
from engine.documents import shipped_text
from engine.learning.state import State
from engine.protocols import PROTOCOLS
from engine.routing.pins import MemoryPins, pin_after
from engine.routing.reuse import MemoryReuse, is_repeatable, reuse_key
from engine.snapshot import Snapshot, build

REUSE = "reuse: {for: 60s, key: [features.signature, features.focus_file]}\n"
FILES = 3  # of a session
TIMES = 5  # each measurement is repeated, and the shortest counts: noise only ever adds
TOOLS = [
    {"name": name, "description": "A tool of the agent. " * 20, "input_schema": {"type": "object"}}
    for name in ("Read", "Edit", "Bash", "Grep", "Glob", "TodoWrite")
]
SYSTEM = "You are an agent that mends programs. " * 300


@dataclass(frozen=True, slots=True)
class Asked:
    at: float
    facts: turn.Facts


@dataclass(frozen=True, slots=True)
class Run:
    """The decisions of all requests, and the seconds each took."""

    decisions: list[Decision]
    seconds: list[float]


def conversations(rng: random.Random, rounds: int) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """What an agent sends in one session, request by request, and when."""
    at, messages, number = 0.0, list[dict[str, Any]](), 0

    def step(name: str, asked: dict[str, str], told: str) -> None:
        nonlocal number
        number += 1
        call = {"type": "tool_use", "id": f"c{number}", "name": name, "input": asked}
        result = {"type": "tool_result", "tool_use_id": f"c{number}", "content": told}
        messages.extend([{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}])

    for file in range(FILES):
        path = f"/home/ann/module_{rng.randrange(1_000)}.py"
        messages.append({"role": "user", "content": f"Mend the failing test of part {file}."})
        yield at, list(messages)
        step("Read", {"file_path": path}, "def part(value):\n    return value\n" * 40)
        for _ in range(rounds):
            at += rng.uniform(3, 15)
            yield at, list(messages)
            step("Edit", {"file_path": path, "new_string": "return value + 1"}, "The file has been updated.")
            at += rng.uniform(2, 8)
            yield at, list(messages)
            failed = rng.random() < 0.1
            told = "=== 1 failed, 7 passed in 0.31s ===" if failed else "=== 8 passed in 0.28s ==="
            step("Bash", {"command": f"pytest {path}"}, told)
        at += rng.uniform(2, 8)
        yield at, list(messages)
        messages.append({"role": "assistant", "content": "It is mended."})
        at += rng.uniform(20, 200)  # the user reads


def traffic(snapshot: Snapshot, sessions: int, rounds: int, seed: int, pinned: bool) -> list[Asked]:
    rng = random.Random(seed)
    asked = []
    for number in range(sessions):
        identity = Identity(f"dev-{number % 4}", "core", "internal")
        began = rng.uniform(0, 600)
        headers = {"x-weave-session": f"s{number}"} if pinned else {}
        for at, messages in conversations(rng, rounds):
            body = {
                "model": "claude-opus-4-5",
                "max_tokens": 8_000,
                "system": SYSTEM,
                "tools": TOOLS,
                "messages": messages,
            }
            raw = json.dumps(body).encode()
            request = PROTOCOLS["anthropic-messages"].read_request(body, raw)
            asked.append(Asked(began + at, turn.read(request, headers, identity, snapshot)))
    return sorted(asked, key=lambda one: one.at)


def taught(snapshot: Snapshot, seed: int) -> State:
    """A learner that has seen such work done: well by the small model where it executes, less well elsewhere."""
    rng, state = random.Random(seed), State()
    learner = snapshot.policy.learners["tier-picker"]
    state.prepare([learner])
    for number in range(400):
        phase = ("execute", "validate", "context")[number % 3]
        steps = (StepRun(("haiku", "opus")[number % 2]),)
        score = float(rng.random() < (0.9 if phase == "execute" or number % 2 else 0.6))
        state.learn(Lesson(f"o{number}", 0.0, learner.name, f"{phase}/python/small", steps, score))
    return state


def play(snapshot: Snapshot, trust: State, asked: Sequence[Asked], seed: int) -> Run:
    rng, store, pins = random.Random(seed), MemoryReuse(), MemoryPins()
    policy, run = snapshot.policy, Run([], [])
    for number, one in enumerate(asked):
        facts, draw = one.facts, rng.random()
        pin = pins.get(facts.pin_key, one.at) if facts.inputs["hints"].get("session") else None
        began = time.perf_counter()
        key = reuse_key(policy, facts.inputs, facts.request.model)
        earlier = None
        if key is not None and policy.reuse is not None:
            earlier = store.get(key, policy.reuse.seconds, snapshot.fingerprint, one.at)
        moment = turn.Moment(f"d{number}", one.at, draw, pin, trust, earlier=earlier)
        decision = turn.decide(facts, snapshot, moment)
        if key is not None and is_repeatable(decision):
            store.put(key, decision)
        run.seconds.append(time.perf_counter() - began)
        run.decisions.append(decision)
        if facts.inputs["hints"].get("session"):
            kept = pin_after(
                decision, decision.features, policy.pinning, one.at, pin, snapshot.catalog.models
            )
            if kept is not None:
                pins.put(facts.pin_key, kept)
    return run


def best(snapshots: Sequence[Snapshot], trust: State, asked: Sequence[Asked], seed: int) -> list[Run]:
    """A run under each snapshot, by turns, so that a busy machine slows all alike."""
    rounds = [[play(each, trust, asked, seed) for each in snapshots] for _ in range(TIMES)]
    found = []
    for runs in zip(*rounds, strict=True):
        seconds = [min(each) for each in zip(*(run.seconds for run in runs), strict=True)]
        found.append(Run(runs[0].decisions, seconds))
    return found


def same(snapshot: Snapshot, trust: State, asked: Sequence[Asked], run: Run) -> float:
    """The share of the reused decisions that would have been taken for the same model anew, nothing being tried."""
    again = [(one, made) for one, made in zip(asked, run.decisions, strict=True) if made.reused_from]
    fresh = [
        turn.decide(one.facts, snapshot, turn.Moment("d", one.at, 1.0, None, trust)).model
        if made.source != "pin"
        else made.model
        for one, made in again
    ]
    return sum(model == made.model for model, (_, made) in zip(fresh, again, strict=True)) / max(
        len(again), 1
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5, help="of editing and testing a file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()

    catalog, shipped = shipped_text("policies/catalog.yaml"), shipped_text("policies/default.yaml")
    off = build({"catalog.yaml": catalog, "p.yaml": shipped}, run_tests=False)
    on = build({"catalog.yaml": catalog, "p.yaml": shipped + REUSE}, run_tests=False)
    trust = taught(on, options.seed)
    line: dict[str, float | int] = {}
    print(
        f"{'traffic':8} {'requests':>9} {'hit rate':>9} {'time on/off':>12} {'of a hit':>9} {'same choice':>12}"
    )
    for kind in ("free", "pinned"):
        asked = traffic(on, options.sessions, options.rounds, options.seed, kind == "pinned")
        without, using = best((off, on), trust, asked, options.seed)
        hits = [number for number, made in enumerate(using.decisions) if made.reused_from]
        found: dict[str, float] = {
            "hit_rate": len(hits) / len(asked),
            "time_ratio": sum(using.seconds) / sum(without.seconds),
        }
        told = f"{kind:8} {len(asked):9} {found['hit_rate']:9.1%} {found['time_ratio']:12.2f}"
        if hits:
            each = [using.seconds[number] / without.seconds[number] for number in hits]
            found["hit_time_ratio"] = statistics.median(each)
            found["same_choice"] = same(on, trust, asked, using)
            told += f" {found['hit_time_ratio']:9.2f} {found['same_choice']:12.1%}"
        print(told)
        line |= {f"{kind}_{name}": round(value, 4) for name, value in found.items()}
    if options.json:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
