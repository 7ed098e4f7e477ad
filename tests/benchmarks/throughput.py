"""How much the engine costs on top of a bare proxy, measured side by side in one run.

    python tests/benchmarks/throughput.py [--seconds 3] [--json]

Three processes on loopback: an upstream that answers at once in Anthropic's wire form, a bare Starlette
pass-through and the engine, both over the same transport and the same server. A generator in this process sends
4 KB and 120 KB bodies over 1 and 32 connections, whole and streamed. On a small machine the generator and the
upstream share the cores with what is measured, so the CPU time each proxy spent per request stands beside the rates.

Figures of one run compare with each other; between machines and days only the ratios do.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def catalog(url: str) -> str:
    """The shipped policy's models, all served by the benchmark's upstream."""
    can = ["tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"]
    tiers = {
        "opus": ("frontier", 5),
        "gpt": ("frontier", 2),
        "sonnet": ("mid", 3),
        "haiku": ("small", 1),
        "local": ("small", 0),
    }
    models = {
        name: {
            "tier": tier,
            "context": 400_000 if name == "gpt" else 200_000,
            "output": 64_000,
            "can": can,
            "usd": {"in": usd, "cached": usd / 10, "cache_write": usd * 1.25, "out": usd * 5},
            "served_by": [{"endpoint": "anthropic", "id": f"claude-{name}-4-5"}],
        }
        for name, (tier, usd) in tiers.items()
    }
    document = {
        "apiVersion": "weave/v1",
        "kind": "Catalog",
        "metadata": {"name": "benchmark"},
        "endpoints": {
            "anthropic": {
                "protocol": "anthropic-messages",
                "base_url": url,
                "api_key_env": "WEAVE_BENCHMARK_KEY",
            }
        },
        "models": models,
        "aliases": {f"claude-{name}-*": name for name in tiers},
    }
    return json.dumps(document)


WHOLE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-5",
        "content": [{"type": "text", "text": "All done. " * 40}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 100},
    }
).encode()


def frame(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


STREAM: list[bytes] = [
    frame(
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-opus-4-5",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 1000, "output_tokens": 1},
            },
        }
    ),
    frame({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    *[
        b"".join(
            frame(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "All done. "},
                }
            )
            for _ in range(5)
        )
        for _ in range(8)
    ],
    frame({"type": "content_block_stop", "index": 0})
    + frame(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 100},
        }
    )
    + frame({"type": "message_stop"}),
]


def body(size: int, stream: bool) -> bytes:
    """An agent's turn of about `size` bytes. The large one is shaped as coding agents send it: a quarter of it system
    prompt, two fifths tool schemas, the rest a conversation of reads and edits; the small one has little of each."""
    tools = [tool(name, size // 30) for name in TOOLS[: 12 if size > 50_000 else 2]]
    source = "".join(f"{n:5d}\tdef step_{n}(state):\n{n:5d}\t    return state + {n}\n" for n in range(30))
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Fix the failing test in parser.py, please."}
    ]
    request = {
        "model": "claude-opus-4-5",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": ("You are a coding agent. " * size)[: size // 4]}],
        "tools": tools,
        "messages": messages,
        "stream": stream,
    }
    while len(json.dumps(request)) < size - 1300:
        call = f"toolu_{len(messages):04d}"
        reading = {"type": "tool_use", "id": call, "name": "Read", "input": {"file_path": "src/parser.py"}}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": "Reading on."}, reading]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": source}]},
        ]
    return json.dumps(request).encode()


TOOLS = (
    "Read",
    "Edit",
    "Bash",
    "Grep",
    "Glob",
    "Write",
    "Agent",
    "Skill",
    "WebFetch",
    "TaskCreate",
    "TaskGet",
    "Notebook",
)


def tool(name: str, size: int) -> dict[str, Any]:
    """A tool whose schema and description have about `size` bytes, a third of them schema."""
    parameter = {
        "type": "string",
        "description": "what this parameter is for, in a sentence of the usual length",
    }
    parameters = {f"parameter_{number}": parameter for number in range(max(1, size // 3 // 110))}
    schema = {"type": "object", "properties": parameters, "required": list(parameters)[:1]}
    return {
        "name": name,
        "description": (f"{name} something in the workspace. " * size)[: size * 2 // 3],
        "input_schema": schema,
    }


def run_upstream(port: int) -> None:
    """Answers at once, whole or in ten pieces, depending on the body's `stream`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = b""
        while True:
            message = await receive()
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        if b'"stream": true' not in data:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"application/json"),
                        (b"content-length", b"%d" % len(WHOLE)),
                    ],
                }
            )
            await send({"type": "http.response.body", "body": WHOLE})
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for piece in STREAM:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    serve_app(app, port)


def run_bare(port: int, upstream: int) -> None:
    """The least a proxy can do: read the body, call the upstream over the same transport, hand the pieces on."""
    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    transport = AiohttpTransport()

    async def forward(request: Request) -> StreamingResponse:
        if transport.client is None:
            transport.client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        data = await request.body()
        call = httpx.Request(
            "POST",
            f"http://127.0.0.1:{upstream}/v1/messages",
            headers={"content-type": "application/json"},
            content=data,
        )
        response = await transport.handle_async_request(call)

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in response.stream:  # type: ignore[union-attr]
                yield piece
            await response.aclose()

        return StreamingResponse(pieces(), media_type=response.headers["content-type"])

    serve_app(Starlette(routes=[Route("/v1/messages", forward, methods=["POST"])]), port)


def run_engine(port: int, upstream: int) -> None:
    """The engine whole, as `weave-engine serve` runs it: the shipped policy, learner, journal and log on."""
    import sys

    from engine.cli import main

    with tempfile.TemporaryDirectory() as folder:
        policies = Path(folder) / "policies"
        policies.mkdir()
        (policies / "catalog.yaml").write_text(catalog(f"http://127.0.0.1:{upstream}"))
        (policies / "default.yaml").write_text((ROOT / "policies" / "default.yaml").read_text())
        os.environ["WEAVE_BENCHMARK_KEY"] = "none"
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
        where = [
            "--policies",
            str(policies),
            "--journal",
            str(Path(folder) / "weave.db"),
            "--port",
            str(port),
        ]
        main(["serve", *where, "--log", "json"])


def serve_app(app: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        log_level="critical",
        access_log=False,
        lifespan="off",
        http="httptools",
        ws="none",
        loop="uvloop",
    )


@dataclass(frozen=True, slots=True)
class Load:
    kb: int
    connections: int
    stream: bool

    @property
    def name(self) -> str:
        return f"{self.kb} KB, {self.connections} conn, {'stream' if self.stream else 'whole'}"


@dataclass(frozen=True, slots=True)
class Figures:
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


async def measure(port: int, pid: int, load: Load, seconds: float) -> Figures:
    payload = body(load.kb * 1000, load.stream)
    request = (
        b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"anthropic-version: 2023-06-01\r\nx-api-key: benchmark\r\ncontent-length: %d\r\n\r\n" % len(payload)
    ) + payload
    took: list[float] = []
    await asyncio.gather(
        *(one_connection(port, request, time.perf_counter() + 0.3, []) for _ in range(load.connections))
    )
    cpu, began = cpu_seconds(pid), time.perf_counter()
    until = began + seconds
    await asyncio.gather(*(one_connection(port, request, until, took) for _ in range(load.connections)))
    elapsed = time.perf_counter() - began
    took.sort()
    return Figures(
        len(took) / elapsed,
        statistics.median(took) * 1000,
        took[min(len(took) - 1, int(len(took) * 0.99))] * 1000,
        (cpu_seconds(pid) - cpu) / len(took) * 1000,
    )


async def one_connection(port: int, request: bytes, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        while (began := time.perf_counter()) < until:
            writer.write(request)
            await read_reply(reader)
            took.append(time.perf_counter() - began)
    finally:
        writer.close()
        await writer.wait_closed()


async def read_reply(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        raise RuntimeError(head.decode() + (await reader.read(2000)).decode())
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
        return
    length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


def cpu_seconds(pid: int) -> float:
    """User and system time a process has spent, with its threads (Linux's /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start(target: Callable[..., None], *arguments: int) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", arguments[0]), timeout=1).close()
            return process
        except OSError:
            if not process.is_alive():
                break
            time.sleep(0.05)
    raise RuntimeError(f"{target.__name__} did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load runs on each proxy")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    chosen = parser.parse_args()
    ports = [free_port() for _ in range(3)]
    processes: list[BaseProcess] = []
    figures: dict[Load, tuple[Figures, Figures]] = {}
    try:
        processes.append(start(run_upstream, ports[0]))
        processes.append(start(run_bare, ports[1], ports[0]))
        processes.append(start(run_engine, ports[2], ports[0]))
        bare_pid, engine_pid = processes[1].pid or 0, processes[2].pid or 0
        print(
            f"{'load':32} {'bare/s':>8} {'engine/s':>9} {'ratio':>6}   "
            f"{'p50 ms':>13}   {'p99 ms':>13}   {'CPU ms/request':>15}"
        )
        for load in [
            Load(kb, connections, stream)
            for kb in (4, 120)
            for connections in (1, 32)
            for stream in (False, True)
        ]:
            bare = asyncio.run(measure(ports[1], bare_pid, load, chosen.seconds))
            engine = asyncio.run(measure(ports[2], engine_pid, load, chosen.seconds))
            figures[load] = bare, engine
            rates = (
                f"{bare.per_second:8.0f} {engine.per_second:9.0f} {engine.per_second / bare.per_second:6.2f}"
            )
            times = f"{bare.p50_ms:5.2f} → {engine.p50_ms:5.2f}   {bare.p99_ms:5.1f} → {engine.p99_ms:5.1f}"
            print(f"{load.name:32} {rates}   {times}   {bare.cpu_ms:6.2f} → {engine.cpu_ms:5.2f}", flush=True)
    finally:
        for process in processes:
            process.kill()
            process.join()
    if chosen.json:
        print(json.dumps(summary(figures)))


def summary(figures: dict[Load, tuple[Figures, Figures]]) -> dict[str, float]:
    def ratio(load: Load) -> float:
        bare, engine = figures[load]
        return round(engine.per_second / bare.per_second, 3)

    bare, engine = figures[Load(120, 1, True)]
    return {
        "ratio_c32_4kb": ratio(Load(4, 32, False)),
        "ratio_c32_120kb": ratio(Load(120, 32, False)),
        "ratio_c32_4kb_stream": ratio(Load(4, 32, True)),
        "ratio_c32_120kb_stream": ratio(Load(120, 32, True)),
        "added_ms_p50_c1_120kb_stream": round(engine.p50_ms - bare.p50_ms, 3),
    }


if __name__ == "__main__":
    main()
