"""What a dead endpoint costs: its first request, and all those that follow.

    python tests/benchmarks/failover.py [--seconds 4] [--json]

One model is served at two endpoints, and nearly all requests go to the first. The same requests are sent, one after
another, while that one is well, while it refuses connections, and while it takes none up (a listening socket on
loopback whose queue is full, so that connecting hangs until it times out). The second endpoint is always well.

The first request may cost the connect timeout, which is half a second here. Those after it are told by the ratio of
their median to that of the run where all is well, and by the slowest of them: within these seconds the breaker's
cooldown is over several times, and no request may pay for finding out that nothing has changed.
"""

import argparse
import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine.app import running, serving
from engine.server.log import Log
from engine.server.reload import Source
from engine.settings import DEFAULTS
from engine.simulator import Simulator

CONNECT_SECONDS = 0.5

CATALOG = """
apiVersion: weave/v1
kind: Catalog
metadata: {{name: two}}
endpoints:
  first: {{protocol: anthropic-messages, base_url: "{first}", api_key_env: KEY}}
  second: {{protocol: anthropic-messages, base_url: "{second}", api_key_env: KEY}}
models:
  opus:
    tier: frontier
    context: 200000
    output: 64000
    usd: {{in: 5, out: 25}}
    can: [tools, vision]
    served_by:
      - {{endpoint: first, id: claude-opus-4-5, weight: 1000}}
      - {{endpoint: second, id: claude-opus-4-5, weight: 0.001}}
aliases: {{"claude-*": opus}}
"""

POLICY = """
apiVersion: weave/v1
kind: Policy
metadata: {name: plain, description: What is asked for.}
input: input.v1
rules: []
default: {use: requested}
pinning: {key: [hints.session], ttl: 30m}
failover: {chains: {}, attempts: 3, deadline: 30s}
"""

BODY = {
    "model": "claude-opus-4-5",
    "max_tokens": 100,
    "stream": True,
    "messages": [{"role": "user", "content": "[[sim: text=hello]]"}],
}


@dataclass(frozen=True, slots=True)
class Course:
    """Seconds of the first request, the median of those after it, the slowest of them, and how many they were."""

    first: float
    median: float
    slowest: float
    requests: int


@contextmanager
def refusing() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def hanging() -> Iterator[str]:
    """A socket that listens and whose queue is full."""
    callers: list[socket.socket] = []
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(address)
            callers.append(caller)
        time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for caller in callers:
                caller.close()


async def course(first: str, second: str, seconds: float) -> Course:
    files = {"catalog.yaml": CATALOG.format(first=first, second=second), "plain.yaml": POLICY}
    log = Log(StringIO(), json=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = replace(
                DEFAULTS,
                policies=Path(folder),
                journal=str(Path(folder) / "weave.db"),
                connect_timeout_seconds=CONNECT_SECONDS,
            )
            async with (
                running(settings, {"KEY": "sk-benchmark"}, log, Source(lambda: files)) as engine,
                serving(engine) as url,
                httpx.AsyncClient(base_url=url, timeout=20) as client,
            ):
                took: list[float] = []
                end = time.monotonic() + seconds
                while time.monotonic() < end or len(took) < 20:
                    began = time.monotonic()
                    reply = await client.post("/v1/messages", json=BODY)
                    reply.raise_for_status()
                    took.append(time.monotonic() - began)
    finally:
        log.close()
    rest = took[1:]
    return Course(took[0], statistics.median(rest), max(rest), len(took))


async def measured(seconds: float) -> dict[str, Course]:
    async with await Simulator.start() as simulator:
        well = simulator.url("anthropic")
        await course(well, well, 0.2)  # what only the first engine of a process pays
        courses = {"well": await course(well, well, seconds)}
        for name, dead in (("refuses", refusing()), ("hangs", hanging())):
            with dead as address:
                courses[name] = await course(address, well, seconds)
    return courses


def figures(courses: dict[str, Course]) -> dict[str, dict[str, float]]:
    well = courses["well"]
    return {
        name: {
            "first_seconds": round(one.first, 4),
            "median_ms": round(one.median * 1000, 3),
            "slowest_ms": round(one.slowest * 1000, 3),
            "ratio": round(one.median / well.median, 3),
            "requests": one.requests,
        }
        for name, one in courses.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a dead endpoint costs.")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each of the three runs")
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end")
    flags = parser.parse_args()
    told = figures(asyncio.run(measured(flags.seconds)))
    print(f"{'the endpoint':14} {'first':>9} {'then':>9} {'slowest':>9} {'ratio':>6}")
    for name, row in told.items():
        print(
            f"{name:14} {row['first_seconds'] * 1000:7.0f}ms {row['median_ms']:7.2f}ms {row['slowest_ms']:7.1f}ms"
            f" {row['ratio']:6.2f}"
        )
    print(f"connect timeout {CONNECT_SECONDS * 1000:.0f} ms")
    if flags.json:
        print(json.dumps({"connect_timeout_seconds": CONNECT_SECONDS, **told}))


if __name__ == "__main__":
    main()
