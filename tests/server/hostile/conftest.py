"""An engine on loopback sockets in front of one provider that does whatever a test says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.app import running, serving
from engine.server.engine import Engine
from engine.server.log import Log
from engine.server.reload import Source
from engine.settings import DEFAULTS
from tests.server.hostile.acting import KEY, Provider

CATALOG = """
apiVersion: weave/v1
kind: Catalog
metadata: {{name: one}}
endpoints:
  bad: {{protocol: anthropic-messages, base_url: "{url}", api_key_env: KEY}}
models:
  opus:
    tier: frontier
    context: 200000
    output: 64000
    usd: {{in: 5, out: 25}}
    can: [tools, vision]
    served_by: [{{endpoint: bad, id: claude-opus-4-5}}]
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
failover: {chains: {}, attempts: 1, deadline: 30s}
"""
UNBROKEN = POLICY.replace("deadline: 30s", "deadline: 30s, breaker: {failures: 1000}")


@dataclass(frozen=True, slots=True)
class Scene:
    engine: Engine
    client: httpx.AsyncClient
    log: StringIO
    journal: Path

    async def ask(
        self,
        stream: bool = False,
        chat: bool = False,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> httpx.Response:
        body = {
            "model": "claude-opus-4-5",
            "max_tokens": 100,
            "stream": stream,
            "messages": [{"role": "user", "content": "hi"}],
            **fields,
        }
        path = "/v1/chat/completions" if chat else "/v1/messages"
        return await self.client.post(path, json=body, headers=headers)

    async def raw(self, request: bytes, wait: float = 5.0) -> bytes:
        """Bytes out, and what comes back until the engine hangs up."""
        reader, writer = await asyncio.open_connection(self.client.base_url.host, self.client.base_url.port)
        try:
            writer.write(request)
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()

    async def lines(self, event: str) -> list[dict[str, Any]]:
        await asyncio.sleep(0.12)  # the log looks twenty times a second
        return [
            line for text in self.log.getvalue().splitlines() if (line := json.loads(text))["event"] == event
        ]


@asynccontextmanager
async def opened(
    folder: Path,
    provider: Provider,
    key: str = KEY,
    catalog: str = CATALOG,
    breaker: bool = True,
    **settings: Any,
) -> AsyncIterator[Scene]:
    """An engine in front of one provider that does with each request whatever `provider` says."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            await provider(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    files = {"catalog.yaml": catalog.format(url=url), "plain.yaml": POLICY if breaker else UNBROKEN}
    out, journal = StringIO(), folder / "weave.db"
    log = Log(out, json=True)
    chosen = replace(DEFAULTS, policies=folder, journal=str(journal), **settings)
    try:
        async with (
            running(chosen, {"KEY": key}, log, Source(lambda: files)) as engine,
            serving(engine) as address,
            httpx.AsyncClient(base_url=address, timeout=20) as client,
        ):
            yield Scene(engine, client, out, journal)
    finally:
        server.close()
        log.close()


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Scene]]:
    """Opens one in a folder of the test's own."""
    return partial(opened, tmp_path)
