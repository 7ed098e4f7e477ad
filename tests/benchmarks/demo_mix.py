"""Who serves the demo's traffic, by tier: titles, sub-agents, plans and agents' turns under the shipped policy.

    python tests/benchmarks/demo_mix.py [--tasks 40] [--warming 400] [--json]

Agents do their work through the engine on loopback, on simulated providers, as in `weave-engine demo`: first from
cold, then other tasks once the outcomes of `--warming` more were told. Abilities and prices are the simulator's.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine.app import running, serving
from engine.commands.demo import SEED, Stage, _perform, _tell_outcomes, _told
from engine.commands.serve import simulated
from engine.core.cost import cost_usd
from engine.documents import shipped_text
from engine.server.log import Log
from engine.server.upstream import Upstream
from engine.settings import DEFAULTS
from engine.simulator import Simulator, catalog_text
from engine.simulator.agent import Finished
from engine.simulator.agent_tasks import tasks

TIERS = ("frontier", "mid", "small")
BATCH = 8  # tasks whose outcomes are told together


async def measured(count: int, warming: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="weave-mix-") as name:
        folder = Path(name)
        policy = folder / "policies" / "default.yaml"
        policy.parent.mkdir()
        policy.write_text(shipped_text("policies/default.yaml"))
        settings = replace(DEFAULTS, policies=policy.parent, journal=str(folder / "weave.db"))
        simulator, upstream = await Simulator.start(seed=SEED, pace=0.0), Upstream()
        with (folder / "engine.log").open("w") as out:
            log = Log(out, json=True)
            try:
                load = simulated(settings, catalog_text(simulator))
                async with running(settings, {}, log, load) as engine, serving(engine) as url:
                    return await _both(Stage(engine, url, simulator, upstream, policy), count, warming)
            finally:
                await upstream.close()
                await simulator.stop()
                log.close()


async def _both(stage: Stage, count: int, warming: int) -> dict[str, Any]:
    cold, cold_cost, requests = await _mix(stage, await _perform(stage, tasks(count, SEED)))
    lessons = 0
    known = tasks(warming, SEED + 1)
    for at in range(0, warming, BATCH):
        lessons += await _tell_outcomes(stage, await _perform(stage, known[at : at + BATCH]))
    ends = await _perform(stage, tasks(count, SEED + 2))
    warm, warm_cost, _ = await _mix(stage, ends)
    sources = Counter([(await _told(stage, turn.decision))[0].source for end in ends for turn in end.turns])
    return {
        "demo_shares_cold": cold,
        "demo_shares_warm": warm,
        "demo_cost_cold": cold_cost,
        "demo_cost_warm": warm_cost,
        "demo_requests": requests,
        "demo_lessons": lessons,
        "demo_sources_warm": dict(sources.most_common()),
    }


async def _mix(stage: Stage, ends: Sequence[Finished]) -> tuple[dict[str, float], float, int]:
    """Shares of requests by the tier that served, cost as a share of the frontier's price for the same tokens."""
    models = stage.engine.policies.snapshot.catalog.models
    frontier = next(model for model in models.values() if model.tier == "frontier")
    results = [(await _told(stage, turn.decision))[1] for end in ends for turn in end.turns]
    tiers = Counter[str](models[result.model].tier for result in results)
    always = sum(cost_usd(result.usage, frontier.price) for result in results)
    shares = {tier: tiers[tier] / len(results) for tier in TIERS}
    return shares, sum(result.cost_usd for result in results) / always, len(results)


def demo_mix(count: int = 40, warming: int = 400) -> dict[str, Any]:
    """Measures, prints and gives the figures."""
    found = asyncio.run(measured(count, warming))
    print()
    for when in ("cold", "warm"):
        told = " / ".join(f"{tier} {100 * found[f'demo_shares_{when}'][tier]:.0f}" for tier in TIERS)
        cost = found[f"demo_cost_{when}"]
        print(
            f"shares of requests, demo's mix, {when}: {told} (mission: 25/65/10); cost {cost:.2f} of frontier"
        )
    sources = ", ".join(f"{name} {count}" for name, count in found["demo_sources_warm"].items())
    print(
        f"{found['demo_lessons']} lessons between; warm, decided by: {sources}. The mission's shares need a mid\n"
        "tier that carries routine turns; the shipped policy has no rule that sends work there, only a plan that the\n"
        "learner may choose, and otherwise all but chores and sub-agents is the frontier's."
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--warming", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = demo_mix(asked.tasks, asked.warming)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
