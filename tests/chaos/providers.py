"""The providers of a run, in a process of their own: a simulator for each, on a socket of its own, that die and return.

Prints where they are; then does what lines of JSON on its input say, and answers each with a line:

    {"dead": ["openai"]}              close these sockets, break their connections, and open all others again
    {"storm": "openai"}               let this one answer 529 to everything for the next second; "" ends it
    {"calls": "calls.jsonl"}          write down every call there was
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.simulator import Simulator
from tests.chaos.plan import PROVIDERS
from tests.chaos.processes import bounded, event_loop, more_files

NONCE = re.compile(rb"n[0-9a-f]{12}")
KEEP = 1_000_000


class Providers:
    """`ports` stay the same, however often a socket is closed. A simulator's seed tells its place and its life, so
    that no two calls have one name."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._alive: dict[str, Simulator] = {}
        self._all: list[tuple[str, Simulator]] = []
        self._ports = dict.fromkeys(PROVIDERS, 0)

    async def live(self, name: str) -> None:
        seed = len(self._all)
        try:
            simulator = await Simulator.start(
                port=self._ports[name], seed=seed, pace=self._pace, bites=seed % 2 == 1, keep=KEEP
            )
        except OSError:  # somebody has taken the port for a moment
            return
        self._ports[name] = simulator.port
        self._alive[name] = simulator
        self._all.append((name, simulator))

    async def dead(self, names: list[str]) -> None:
        for name in PROVIDERS:
            if name in names and name in self._alive:
                await self._alive.pop(name).stop()
            elif name not in names and name not in self._alive:
                await self.live(name)

    def storm(self, name: str) -> None:
        for simulator in self._alive.values():
            simulator.heal()
        if name in self._alive:
            self._alive[name].fail(kind="status", status=529)

    def urls(self) -> dict[str, str]:
        return {name: simulator.url(name) for name, simulator in self._alive.items()}

    def calls(self) -> Iterator[dict[str, Any]]:
        for name, simulator in self._all:
            for one in simulator.received:
                nonce = NONCE.search(one.body)
                yield {
                    "call": f"{simulator.seed}-{one.number}",
                    "nonce": nonce[0].decode() if nonce else "",
                    "provider": name,
                    "at": one.at,
                    "trouble": one.trouble,
                    "status": one.status,
                    "done": one.done,
                    "client_gone": one.client_gone,
                }


async def main(pace: float) -> None:
    providers = Providers(pace)
    await providers.dead([])
    print(json.dumps(providers.urls()), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        told = json.loads(line)
        if "dead" in told:
            await providers.dead(told["dead"])
        if "storm" in told:
            providers.storm(told["storm"])
        if "calls" in told:
            with Path(told["calls"]).open("w", encoding="utf-8") as out:  # noqa: ASYNC230 - nothing else runs by then
                out.writelines(json.dumps(call) + "\n" for call in providers.calls())
        print("{}", flush=True)
    await providers.dead(list(PROVIDERS))


if __name__ == "__main__":
    more_files()
    bounded(float(sys.argv[2]))
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(main(float(sys.argv[1])))
