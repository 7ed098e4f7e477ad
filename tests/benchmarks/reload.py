"""How long a reload of a large set of rules keeps the event loop from everything else.

    python tests/benchmarks/reload.py [--rules 1000] [--times 5] [--json]

A task that sleeps a millisecond at a time notes the longest it had to wait beyond that, while the policies are
loaded anew as the server does it; and, to compare with, while they are built by a thread of this process.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine.app import event_loop, settle
from engine.documents import shipped_text
from engine.server.reload import Policies, Source, reload
from engine.snapshot import build

HEAD = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: large}
default: {use: frontier}
variables:
  - {name: task, expr: "has(hints.task) ? hints.task : features.phase"}
rules:
"""
RULE = "  - {{name: r{n}, when: \"features.turn > {k} && variables.task == 'x{n}'\", then: {{use: small}}}}\n"
Work = Callable[[], Awaitable[object]]


def files(rules: int, edit: int) -> dict[str, str]:
    """A set whose every rule is another one at each edit, so that nothing was ever seen before."""
    policy = HEAD + "".join(RULE.format(n=n, k=n + edit * rules) for n in range(rules))
    return {"catalog.yaml": shipped_text("policies/catalog.yaml"), "large.yaml": policy}


async def longest_wait_ms(work: Work) -> float:
    waits = [0.0]
    ticking = asyncio.ensure_future(_tick(waits))
    await asyncio.sleep(0.1)
    waits[:] = [0.0]
    await work()
    await asyncio.sleep(0.01)
    ticking.cancel()
    return max(waits) * 1e3


async def _tick(waits: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        waits.append(time.perf_counter() - before - 0.001)


async def measure(rules: int, times: int, compare: bool = True) -> dict[str, list[float]]:
    edits = iter(range(1, 1_000_000))
    policies = Policies(build(files(rules, 0)))
    settle()

    async def as_served() -> None:
        edited = files(rules, next(edits))
        await reload(policies, Source(lambda: edited), _silent)
        assert not policies.stale, policies.problems

    async def in_a_thread() -> None:
        await asyncio.to_thread(build, files(rules, next(edits)))

    works: dict[str, Work] = {"as served": as_served}
    if compare:
        works |= {"in a thread": in_a_thread, "at rest": lambda: asyncio.sleep(0.5)}
    return {name: [await longest_wait_ms(work) for _ in range(times)] for name, work in works.items()}


def _silent(event: str, /, level: str = "info", **fields: Any) -> None:
    del event, level, fields


def reload_block_ms(rules: int = 1000, times: int = 3) -> float:
    """The worst of several reloads."""
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return max(runner.run(measure(rules, times, compare=False))["as served"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        found = runner.run(measure(options.rules, options.times))
    for name, waits in found.items():
        print(f"{name:12} longest waits, ms: {', '.join(f'{wait:.1f}' for wait in waits)}")
    if options.json:
        worst = {name: round(max(waits), 1) for name, waits in found.items()}
        print(
            json.dumps({"reload_1000_block_ms": worst["as served"], "thread_block_ms": worst["in a thread"]})
        )


if __name__ == "__main__":
    main()
