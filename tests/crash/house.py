"""The engine as a process that is killed and started again on the same files, in front of providers of ours."""

import asyncio
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from engine.simulator import Simulator, catalog_text

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0

POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: default}
rules:
  - {name: planned, when: has(hints.task) && hints.task == 'plan', then: {use: frontier}}
  - {name: work, when: features.tool_count > 0, then: {choose: [small, frontier], by: picker}}
default: {use: small}
learners:
  picker:
    algorithm: beta
    signature: [features.phase, features.language]
    confidence: {threshold: 0.95, against: frontier, margin: 0.02, min_samples: 1000}
    explore: {rate: 0.3, loss: 1}
outcomes:
  - {name: failed, when: outcome.tests_failed > 0, reward: -1.0}
  - {name: passed, when: outcome.tests_passed > 0, reward: 1.0}
budgets:
  - {name: team-day, per: identity.team, usd: 100000, window: 24h, over: {reject: 429}}
  - {name: session-day, per: session, usd: 100000, window: 24h, over: {reject: 429}}
"""


@dataclass(slots=True)
class House:
    """What is on disk, and the process that is alive now."""

    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None
    keys: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def journal(self) -> Path:
        return self.folder / "weave.db"

    async def start(self) -> float:
        """Seconds until it is ready."""
        began = time.monotonic()
        with (self.folder / "engine.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "engine.cli", "serve", "--log", "json", "--port", str(self.port)),
                *("--policies", str(self.folder / "policies"), "--journal", str(self.journal)),
                env=environment(),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as client:
            while time.monotonic() - began < START_SECONDS:
                try:
                    if (await client.get("/ready")).status_code == 200:
                        return time.monotonic() - began
                except httpx.TransportError:
                    if self.process.returncode is not None:
                        break
                await asyncio.sleep(0.01)
        raise RuntimeError(f"the engine did not start; {self.folder / 'engine.log'} says why")

    async def end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.returncode is None:
            os.kill(self.process.pid, how)
        await self.process.wait()
        self.process = None

    async def add_key(self) -> str:
        """By the command, as an operator does; the engine that runs need not."""
        name = f"user{len(self.keys)}"
        made = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.cli", "keys", "add", name, "--team", "core"),
            *("--keys", str(self.folder / "weave-keys.json")),
            env=environment(),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        told, _ = await made.communicate()
        key = told.decode().strip()
        if made.returncode or not key:
            raise RuntimeError("no key was made")
        self.keys.append(key)
        return key


def environment() -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    return {**kept, "CRASH_KEY": "none needed"}


def build(folder: Path, simulator: Simulator) -> House:
    policies = folder / "policies"
    policies.mkdir()
    catalog = catalog_text(simulator).replace('"headers": {', '"api_key_env": "CRASH_KEY", "headers": {')
    (policies / "catalog.yaml").write_text(catalog)
    (policies / "default.yaml").write_text(POLICY)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return House(folder, sock.getsockname()[1])
