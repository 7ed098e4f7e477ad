"""An engine between a client and four vendors, one for each protocol, whose wires a test can read and tamper with."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
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
from engine.simulator import Simulator
from engine.simulator.models import MODELS, PROVIDERS

VENDORS = ("anthropic", "openai", "responses", "google")

# A model that each vendor serves, which the catalog calls by the vendor's name.
IDS = {vendor: next(model.id for model in MODELS if model.provider == vendor) for vendor in VENDORS}

KEYS = {vendor: f"sk-canary-of-{vendor}-0123456789" for vendor in VENDORS}

POLICY = """
apiVersion: weave/v1
kind: Policy
metadata: {name: plain, description: What is asked for.}
input: input.v1
rules: []
default: {use: requested}
pinning: {key: [hints.session], ttl: 30m}
failover: {chains: {frontier: [frontier]}, attempts: 2, deadline: 30s, breaker: {failures: 1000}}
"""


def catalog(urls: dict[str, str]) -> str:
    endpoints = {
        vendor: {
            "protocol": PROVIDERS[vendor].protocol,
            "base_url": urls[vendor],
            "api_key_env": f"KEY_{vendor}",
        }
        for vendor in VENDORS
    }
    models = {
        f"at-{vendor}": {
            "tier": "frontier",
            "context": 200_000,
            "output": 64_000,
            "usd": {"in": 1, "out": 2},
            "can": ["tools", "vision", "documents", "thinking"],
            "served_by": [{"endpoint": vendor, "id": IDS[vendor]}],
        }
        for vendor in VENDORS
    }
    head = {"apiVersion": "weave/v1", "kind": "Catalog", "metadata": {"name": "four"}}
    aliases = {f"{vendor}-*": f"at-{vendor}" for vendor in VENDORS}
    return json.dumps({**head, "endpoints": endpoints, "models": models, "aliases": aliases})


def call(
    speaks: str, model: str, text: str = "[[sim: text=hello]]", stream: bool = False
) -> tuple[str, dict[str, Any]]:
    """A request in the words of the vendor's own clients: where it goes and what it says."""
    said = [{"role": "user", "content": text}]
    match speaks:
        case "anthropic":
            return "/v1/messages", {"model": model, "max_tokens": 50, "messages": said, "stream": stream}
        case "openai":
            return "/v1/chat/completions", {"model": model, "messages": said, "stream": stream}
        case "responses":
            return "/v1/responses", {"model": model, "input": text, "stream": stream}
        case _:
            wanted = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/{model}:{wanted}", {
                "contents": [{"role": "user", "parts": [{"text": text}]}]
            }


@dataclass(slots=True)
class Wires:
    """What went to each vendor, and what is done to what comes back. `answer` replaces it, `inject` adds headers."""

    simulator: Simulator
    sent: list[tuple[str, bytes, bytes]] = field(default_factory=list)  # vendor, head, body
    inject: bytes = b""
    answer: Callable[[str], bytes] | None = None

    async def carry(self, vendor: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1]) if length else 0)
            self.sent.append((vendor, head, body))
            writer.write(self.answer(vendor) if self.answer else await self._answered(head, body))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answered(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.simulator.host, self.simulator.port)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join([lines[0], b"Connection: close", *lines[1:]]) + body)
        answer = await reader.read()
        writer.close()
        status, _, rest = answer.partition(b"\r\n")
        return status + b"\r\n" + self.inject + rest


@dataclass(frozen=True, slots=True)
class Site:
    engine: Engine
    client: httpx.AsyncClient
    wires: Wires
    log: StringIO
    journal: Path
    port: int

    async def ask(
        self,
        speaks: str,
        model: str,
        text: str = "[[sim: text=hello]]",
        stream: bool = False,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> httpx.Response:
        path, body = call(speaks, model, text, stream)
        return await self.client.post(path, json={**body, **fields}, headers=headers)

    async def raw(self, *pieces: bytes, wait: float = 5.0) -> bytes:
        """Bytes out, and what comes back until the engine hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def opened(
    folder: Path, environment: dict[str, str] | None = None, attempts: int = 2, **settings: Any
) -> AsyncIterator[Site]:
    out, journal = StringIO(), folder / "weave.db"
    log = Log(out, json=True)
    simulator = await Simulator.start()
    wires = Wires(simulator)
    servers = {
        vendor: await asyncio.start_server(partial(wires.carry, vendor), "127.0.0.1", 0) for vendor in VENDORS
    }
    urls = {}
    for vendor, server in servers.items():
        path = simulator.url(vendor).split("/", 3)[3]
        urls[vendor] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{path}"
    files = {
        "catalog.yaml": catalog(urls),
        "plain.yaml": POLICY.replace("attempts: 2", f"attempts: {attempts}"),
    }
    chosen = replace(DEFAULTS, policies=folder, journal=str(journal), **settings)
    keys = {f"KEY_{vendor}": key for vendor, key in KEYS.items()}
    try:
        async with (
            running(chosen, {**keys, **(environment or {})}, log, Source(lambda: files)) as engine,
            serving(engine) as address,
            httpx.AsyncClient(base_url=address, timeout=20) as client,
        ):
            yield Site(engine, client, wires, out, journal, int(address.rpartition(":")[2]))
    finally:
        for server in servers.values():
            server.close()
        await simulator.stop()
        log.close()


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Site]]:
    """Opens one in a folder of the test's own."""
    return partial(opened, tmp_path)


class Trap:
    """A server that nobody has a reason to call. `calls` are the first bytes of those who do."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.url = ""

    async def _caught(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls.append(await reader.read(1000))
        writer.close()


@pytest.fixture
def trap() -> Callable[[], AbstractAsyncContextManager[Trap]]:
    @asynccontextmanager
    async def laid() -> AsyncIterator[Trap]:
        it = Trap()
        server = await asyncio.start_server(it._caught, "127.0.0.1", 0)
        it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield it
        finally:
            server.close()

    return laid
