"""Kills, starts and judgements, one after another."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import httpx

from engine.simulator import Simulator
from tests.crash.house import House, build
from tests.crash.judge import judge
from tests.crash.load import Clients, Known

SESSIONS = 8
KEYS_AT_MOST = 12
AFTER_SECONDS = (0.15, 3.5)


async def crash(
    folder: Path, kills: int, seed: int, after: tuple[float, float] = AFTER_SECONDS
) -> dict[str, Any]:
    """Each engine is killed `after` so many seconds, from and to. What was found, as one line of figures; `wrong` is
    empty where all is well."""
    random, known = Random(seed), Known()
    simulator = await Simulator.start(keep=10)
    house = build(folder, simulator)
    clients: Clients | None = None
    work: list[asyncio.Task[None]] = []
    wrong: Counter[str] = Counter()
    examples: list[str] = []
    starts: list[float] = []
    spent, lessons = 0, 0
    try:
        await house.add_key()
        clients = Clients(house.url, house.keys, random, known)
        clients.open(SESSIONS)
        for number in range(kills + 1):
            starts.append(await house.start())
            wrong["keys_lost"] += await _keys_lost(house)
            work = work or [asyncio.ensure_future(clients.run(one)) for one in range(SESSIONS)]
            await asyncio.gather(_new_key(house), asyncio.sleep(random.uniform(*after)))
            last = number == kills
            clients.killed_at = time.monotonic()
            await house.end(signal.SIGTERM if last else signal.SIGKILL)
            found = await judge(house.journal, known, clients.killed_at, spent)
            spent, lessons = found.spent, found.lessons
            for kind, what in found.wrong.items():
                wrong[kind] += len(what)
                examples += [f"kill {number}, {kind}: {one}" for one in what[:3]]
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if clients is not None:
            await clients.close()
        await house.end(signal.SIGKILL)
        await simulator.stop()
    wrong["pins_lost"] = len(known.moved)
    return {
        "kills": kills,
        "seed": seed,
        "wrong": {kind: count for kind, count in sorted(wrong.items()) if count},
        "examples": [*examples, *known.moved][:10],
        "turns": known.counts["turns"],
        "sessions": known.counts["sessions"],
        "outcomes": len(known.outcomes),
        "lessons": lessons,
        "keys": len(house.keys),
        "spent_usd": round(spent / 1e9, 4),
        "slowest_start_seconds": round(max(starts), 2),
    }


async def _new_key(house: House) -> None:
    if len(house.keys) < KEYS_AT_MOST:
        await house.add_key()


async def _keys_lost(house: House) -> int:
    async with httpx.AsyncClient(base_url=house.url, timeout=10) as client:
        replies = [await client.get("/v1/models", headers={"x-api-key": key}) for key in house.keys]
        return sum(reply.status_code != 200 for reply in replies)
