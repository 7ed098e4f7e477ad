"""Dialects over sockets: which address and header a vendor is called with, and tools told under the client's names."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.app import running, serving
from engine.server.log import Log
from engine.server.reload import Source
from engine.settings import DEFAULTS

Json = dict[str, Any]

CATALOG = """
apiVersion: weave/v1
kind: Catalog
metadata: {{name: one}}
endpoints:
  azure: {{protocol: openai-chat, dialect: azure-openai-deployments, base_url: "{url}/openai", api_key_env: KEY}}
  mistral: {{protocol: openai-chat, dialect: mistral, base_url: "{url}/v1", api_key_env: KEY}}
models:
  gpt: {{tier: frontier, context: 9000, output: 900, usd: {{in: 1, out: 1}}, can: [tools], served_by: [{{endpoint: azure, id: my-gpt}}]}}
  le: {{tier: mid, context: 9000, output: 900, usd: {{in: 1, out: 1}}, can: [tools, thinking], served_by: [{{endpoint: mistral, id: magistral}}]}}
"""  # noqa: E501 - one model, one line
POLICY = """
apiVersion: weave/v1
kind: Policy
metadata: {name: plain, description: What is asked for.}
input: input.v1
rules: []
default: {use: requested}
"""
LONG = "mcp.files/read." + "x" * 60


@dataclass(slots=True)
class Vendor:
    """Calls the first tool it is offered, after a thought in the way of Mistral's."""

    heads: list[str] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)

    def answer(self, head: str, body: Json) -> tuple[str, bytes]:
        self.heads.append(head)
        self.bodies.append(body)
        thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
        function = {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}
        calls = [{"index": 0, "id": "abcDEF123", "type": "function", "function": function}]
        said: Json = {"role": "assistant", "content": thought, "tool_calls": calls}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        if not body.get("stream"):
            choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
            return "application/json", json.dumps({"id": "r", "choices": [choice], "usage": usage}).encode()
        chunk = {"id": "r", "choices": [{"index": 0, "delta": said, "finish_reason": None}]}
        last = {
            "id": "r",
            "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
            "usage": usage,
        }
        frames = "".join(f"data: {json.dumps(one)}\n\n" for one in (chunk, last))
        return "text/event-stream", f"{frames}data: [DONE]\n\n".encode()


@asynccontextmanager
async def house(folder: Path, vendor: Vendor) -> AsyncIterator[httpx.AsyncClient]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head.lower())
        kind, body = vendor.answer(
            head, json.loads(await reader.readexactly(int(length[1]) if length else 0))
        )
        lines = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(lines.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    log = Log(StringIO(), json=True)
    files = {"catalog.yaml": CATALOG.format(url=url), "plain.yaml": POLICY}
    chosen = replace(DEFAULTS, policies=folder, journal=str(folder / "weave.db"))
    try:
        async with (
            running(chosen, {"KEY": "secret-of-ours"}, log, Source(lambda: files)) as engine,
            serving(engine) as address,
            httpx.AsyncClient(base_url=address, timeout=20) as client,
        ):
            yield client
    finally:
        server.close()
        log.close()


def asking(model: str, stream: bool) -> Json:
    tools = [{"type": "function", "function": {"name": LONG, "parameters": {"type": "object"}}}]
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "tools": tools, "stream": stream}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_vendor_is_called_at_its_address_with_its_header(tmp_path: Path, stream: bool) -> None:
    vendor = Vendor()

    async def play() -> None:
        async with house(tmp_path, vendor) as client:
            assert (await client.post("/v1/chat/completions", json=asking("gpt", stream))).status_code == 200

    asyncio.run(play())
    line, *headers = vendor.heads[0].lower().split("\r\n")
    assert line.startswith("post /openai/deployments/my-gpt/chat/completions?api-version=")
    assert "api-key: secret-of-ours" in headers
    assert not any(header.startswith("authorization") for header in headers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_of_the_same_protocol_is_told_in_its_own_words(tmp_path: Path, stream: bool) -> None:
    vendor = Vendor()

    async def play() -> str:
        async with house(tmp_path, vendor) as client:
            return (await client.post("/v1/chat/completions", json=asking("le", stream))).text

    told = asyncio.run(play())
    sent = vendor.bodies[0]["tools"][0]["function"]["name"]
    assert sent != LONG
    assert len(sent) <= 64
    assert LONG in told
    assert sent not in told
    assert '"reasoning_content":"hm"' in told
    assert '"thinking"' not in told
