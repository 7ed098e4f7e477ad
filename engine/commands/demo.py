"""`weave-engine demo`: coding agents at work through the engine, on simulated providers, in under a minute.

Four acts: agents do their tasks; an operator edits the policy while they run; a provider has an outage; outcomes
come in and the learner takes them. Everything is the real engine on real sockets but for the models, whose answers,
prices and abilities the simulator makes up; the figures show the mechanics, not what a real bill would be.
"""

import asyncio
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from engine import wire
from engine.app import running, serving
from engine.commands import terminal
from engine.commands.serve import simulated
from engine.core.cost import cost_usd
from engine.core.decision import Decision, Result
from engine.documents import shipped_text
from engine.server.engine import Engine
from engine.server.log import Log
from engine.server.upstream import Call, Upstream
from engine.settings import DEFAULTS
from engine.simulator import Simulator, catalog_text
from engine.simulator.agent import AgentReply, Finished, work
from engine.simulator.agent_tasks import Task, tasks

TASKS = 16
SEED = 7
SECONDS_EACH = 20.0


class Say(Protocol):
    def __call__(self, text: str, style: str = "", /) -> None: ...


# What the operator of the second act writes above the other rules, and the test that comes with it.
NEW_RULE = """\
rules:
  - name: go-code-to-the-mid-tier
    when: features.language == 'go' && variables.agentic
    then: {use: mid}
"""
NEW_CASE = """\
  cases:
    - name: go is written by the mid tier
      with: {features: {language: go, tool_count: 3}}
      expect: {rule: go-code-to-the-mid-tier}
"""


@dataclass(slots=True)
class Stage:
    """The engine on a socket, its simulated providers, and what agents send through."""

    engine: Engine
    url: str
    simulator: Simulator
    upstream: Upstream
    policy: Path


async def demo(as_json: bool) -> int:
    """Prints what happened; returns 0 where every act went as it should."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weave-demo-") as folder:
        figures = await _on_stage(Path(folder), quiet=as_json)
    figures["seconds"] = round(time.monotonic() - began, 1)
    if as_json:
        print(wire.dumps(figures).decode())
    else:
        terminal.say(
            f"\nDone in {figures['seconds']:.0f} s. Next: weave-engine serve --simulate, or set a key and serve."
        )
    return 0 if figures["ok"] else 1


async def _on_stage(folder: Path, quiet: bool) -> dict[str, Any]:
    policies = folder / "policies"
    policies.mkdir()
    policy = policies / "default.yaml"
    policy.write_text(shipped_text("policies/default.yaml"))
    settings = replace(DEFAULTS, policies=policies, journal=str(folder / "weave.db"))
    simulator = await Simulator.start(seed=SEED, pace=0.1)
    upstream = Upstream()
    with (folder / "engine.log").open("w") as out:
        log = Log(out, json=True)
        try:
            load = simulated(settings, catalog_text(simulator))
            async with running(settings, {}, log, load) as engine, serving(engine) as url:
                stage = Stage(engine, url, simulator, upstream, policy)
                return await _acts(stage, _silent if quiet else terminal.say, quiet)
        finally:
            await upstream.close()
            await simulator.stop()
            log.close()


def _silent(text: str, style: str = "", /) -> None:
    del text, style


async def _acts(stage: Stage, say: Say, quiet: bool) -> dict[str, Any]:
    say("weave-engine demo: coding agents at work, on simulated providers", "bold")
    say(
        f"{TASKS} tasks, half of them by a client that speaks Anthropic Messages, half OpenAI Chat; every client asks\n"
        f"for its frontier model. Policy: {stage.engine.policies.snapshot.policy.name}, as shipped."
    )
    work_list = tasks(TASKS, SEED)
    half = len(work_list) // 2

    say("\nAct 1. Agents do their work; every request is decided on its own", "bold cyan")
    finished = await _perform(stage, work_list[:half])
    await _show_decisions(stage, finished[:2], quiet)

    say("\nAct 2. An operator edits the policy while agents run", "bold cyan")
    under_way = asyncio.ensure_future(_perform(stage, work_list[half:]))
    before, after = await _edit_policy(stage)
    say(
        f"A new rule sends work on Go code to the mid tier. Snapshot {before} → {after}, no restart, nobody disturbed."
    )
    stale = await _break_policy(stage)
    say("Then the operator makes a mistake. The last good policy keeps serving, and /ready says:")
    say(f"  {stale}", "yellow")
    finished += await under_way

    say("\nAct 3. A provider is overloaded", "bold cyan")
    stage.simulator.fail("anthropic", status=529, retry_after=3)
    outage = await _perform(stage, tasks(2, SEED + 1))
    stage.simulator.heal()
    rescued = await _rescued(stage, outage)
    say(
        f"Anthropic answers 529 to everything. {rescued} requests were served by another provider before the agent\n"
        f"saw anything; {sum(bool(end.error) for end in outage)} of {len(outage)} tasks were stopped."
    )
    finished += outage

    say("\nAct 4. What became of the work", "bold cyan")
    taught = await _tell_outcomes(stage, finished)
    say(
        f"{len(finished)} outcomes, {taught} lessons. The gate stays shut until a cheaper model is known well enough:"
    )
    say(f"  {await _gate_says(stage)}")

    return await _summary(stage, finished, rescued, taught, quiet)


async def _perform(stage: Stage, some: Sequence[Task]) -> list[Finished]:
    """Tasks done by agents, four at a time, their protocols taking turns."""
    slots = asyncio.Semaphore(4)

    async def one(index: int, task: Task) -> Finished:
        async with slots:
            protocol = ("anthropic-messages", "openai-chat")[index % 2]
            return await _agent(stage, task, protocol)

    return list(await asyncio.gather(*(one(index, task) for index, task in enumerate(some))))


async def _agent(stage: Stage, task: Task, protocol: str) -> Finished:
    script = work(task, protocol, seed=SEED)
    ask = next(script)
    while True:
        reply = await _post(stage, ask.path, ask.headers, ask.content)
        try:
            ask = script.send(reply)
        except StopIteration as stop:
            finished: Finished = stop.value
            return finished


async def _post(stage: Stage, path: str, headers: Mapping[str, str], content: bytes) -> AgentReply:
    call = Call(stage.url + path, headers, content, connect_seconds=2.0, read_seconds=SECONDS_EACH)
    response = await stage.upstream.open(call)
    try:
        return AgentReply(response.status, dict(response.headers), await response.read(1 << 24))
    finally:
        await response.close()


async def _edit_policy(stage: Stage) -> tuple[str, str]:
    before = stage.engine.policies.snapshot.fingerprint
    text = stage.policy.read_text()
    uncovered = re.sub("^  coverage: .*\n", "", text, count=1, flags=re.MULTILINE)
    stage.policy.write_text(uncovered.replace("rules:\n", NEW_RULE, 1))
    await _until(lambda: stage.engine.policies.snapshot.fingerprint != before)
    return before, stage.engine.policies.snapshot.fingerprint


async def _break_policy(stage: Stage) -> str:
    good = stage.policy.read_text()
    stage.policy.write_text(good.replace("features.language == 'go'", "features.langauge == 'go'", 1))
    await _until(lambda: stage.engine.policies.stale)
    problem = str(stage.engine.policies.problems[0]).replace(str(stage.policy.parent) + "/", "")
    stage.policy.write_text(good)
    await _until(lambda: not stage.engine.policies.stale)
    return problem


async def _until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_EACH):
        while not met():  # noqa: ASYNC110 - the engine is not asked to tell its demo
            await asyncio.sleep(0.02)


async def _show_decisions(stage: Stage, some: Sequence[Finished], quiet: bool) -> None:
    if quiet:
        return
    rows = []
    for end in some:
        for turn in end.turns:
            decision, result = await _told(stage, turn.decision)
            tokens = f"{result.usage.input_tokens:,}"
            rows.append(
                (
                    turn.step,
                    turn.model,
                    decision.rule,
                    decision.source,
                    decision.reason,
                    tokens,
                    f"{result.cost_usd:.4f}",
                )
            )
    columns = ("for", "model", "rule", "source", "because", "tokens in", "USD")
    terminal.table("", columns, rows, right=(5, 6))


async def _told(stage: Stage, name: str) -> tuple[Decision, Result]:
    decision, result = await stage.engine.journal.decision(name), await stage.engine.journal.result(name)
    assert decision is not None
    assert result is not None
    return decision, result


async def _rescued(stage: Stage, ends: Sequence[Finished]) -> int:
    results = [(await _told(stage, turn.decision))[1] for end in ends for turn in end.turns]
    return sum(result.attempts > 1 and result.fault is None for result in results)


async def _tell_outcomes(stage: Stage, ends: Sequence[Finished]) -> int:
    """Every agent reports its last test run; counts what the learners took from it."""
    lessons = 0
    for end in ends:
        if not end.decision:
            continue
        outcome = {
            "decision": end.decision,
            "tests_passed": end.tests_passed,
            "tests_failed": end.tests_failed,
            "id": end.task.id,
        }
        if not (end.tests_passed or end.tests_failed):
            outcome["labels"] = {"end": "stopped"}
        reply = await _post(stage, "/v1/outcomes", {"content-type": "application/json"}, wire.dumps(outcome))
        lessons += len(wire.loads(reply.content).get("lessons", ()))
    return lessons


async def _gate_says(stage: Stage) -> str:
    """What a routine turn would be told now."""
    script = work(tasks(40, SEED)[-1], "anthropic-messages", seed=SEED)
    ask = next(script)
    while ask.step != "work":
        ask = script.send(await _post(stage, ask.path, ask.headers, ask.content))
    reply = await _post(stage, "/v1/route?protocol=anthropic-messages", ask.headers, ask.content)
    decision = wire.loads(reply.content)
    return "; ".join(f"{candidate['model']}: {candidate['why']}" for candidate in decision["candidates"])


async def _summary(
    stage: Stage, ends: Sequence[Finished], rescued: int, taught: int, quiet: bool
) -> dict[str, Any]:
    catalog = stage.engine.policies.snapshot.catalog
    told = [await _told(stage, turn.decision) for end in ends for turn in end.turns]
    results = [result for _, result in told]
    spent: dict[str, float] = {}
    asked = 0.0
    for decision, result in told:
        spent[result.model] = spent.get(result.model, 0.0) + result.cost_usd
        requested = catalog.resolve(decision.requested_model)
        asked += cost_usd(result.usage, requested.price) if requested else 0.0
    requests = Counter(result.model for result in results)
    cost = sum(spent.values())
    if not quiet:
        rows = [
            (name, catalog.models[name].tier, f"{count}", f"{count / len(results):.0%}", f"{spent[name]:.3f}")
            for name, count in requests.most_common()
        ]
        terminal.table("\nWho served", ("model", "tier", "requests", "share", "USD"), rows, right=(2, 3, 4))
        terminal.say(
            f"\n{len(results)} requests, {sum(end.solved for end in ends)} of {len(ends)} tasks solved. "
            f"Simulated cost ${cost:.3f}; "
            f"with every request on the model its client asked for: ${asked:.3f}."
        )
    tiers = Counter(catalog.models[result.model].tier for result in results if result.model)
    return {
        "ok": all(result.fault is None for result in results)
        and not any(end.error for end in ends)
        and rescued > 0
        and taught > 0,
        "requests": len(results),
        "tasks": len(ends),
        "solved": sum(end.solved for end in ends),
        "tiers": dict(tiers),
        "cost_usd": round(cost, 4),
        "asked_cost_usd": round(asked, 4),
        "rescued": rescued,
        "lessons": taught,
    }
