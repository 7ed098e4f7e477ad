"""A live engine on loopback sockets, in front of simulated providers, with a journal of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.app import running, serving
from engine.commands.serve import simulated
from engine.server.engine import Engine
from engine.server.log import Log
from engine.settings import DEFAULTS, Settings
from engine.simulator import Simulator, catalog_text

POLICIES = Path(__file__).parent.parent.parent / "policies"


@dataclass(slots=True)
class House:
    """What a test has in hand: the engine, the simulator behind it, and a client in front of it."""

    engine: Engine
    simulator: Simulator
    client: httpx.AsyncClient
    policy: Path
    log: StringIO

    async def ask(
        self, text: str, stream: bool = False, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """One Anthropic Messages call."""
        return await self.client.post("/v1/messages", json=message(text, stream, **fields), headers=headers)

    async def chat(self, text: str, stream: bool = False, **fields: Any) -> httpx.Response:
        """One OpenAI Chat call."""
        body = {
            "model": "gpt-5.4",
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            **fields,
        }
        return await self.client.post("/v1/chat/completions", json=body)


def message(text: str, stream: bool = False, **fields: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": text}
    return {"model": "claude-opus-4-5", "max_tokens": 500, "messages": [asked], "stream": stream, **fields}


class Opener:
    """Opens houses in a folder of the test's own; a second one finds what the first has left."""

    def __init__(self, folder: Path) -> None:
        self._policies = folder / "policies"
        self._journal = folder / "weave.db"
        self._policies.mkdir()
        for name in ("default.yaml",):
            (self._policies / name).write_text((POLICIES / name).read_text())

    @asynccontextmanager
    async def __call__(
        self, policy: str = "", environment: dict[str, str] | None = None, **settings: Any
    ) -> AsyncIterator[House]:
        path = self._policies / "default.yaml"
        if policy:
            path.write_text(policy)
        chosen: Settings = replace(DEFAULTS, policies=self._policies, journal=str(self._journal), **settings)
        out = StringIO()
        log = Log(out, json=True)
        simulator = await Simulator.start()
        try:
            load = simulated(chosen, catalog_text(simulator))
            async with (
                running(chosen, environment or {}, log, load) as engine,
                serving(engine) as url,
                httpx.AsyncClient(base_url=url, timeout=20) as client,
            ):
                yield House(engine, simulator, client, path, out)
        finally:
            await simulator.stop()
            log.close()


@pytest.fixture
def house(tmp_path: Path) -> Opener:
    return Opener(tmp_path)
