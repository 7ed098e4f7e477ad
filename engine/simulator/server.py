"""The simulator as something that runs: in the caller's event loop, in a thread, or as a process of its
own."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from engine.simulator.app import Application
from engine.simulator.channel import Received
from engine.simulator.faults import Faults, Kind, Order, Trouble
from engine.simulator.models import MODELS, PROVIDERS, SimulatedModel

START_SECONDS = 20.0


class Simulator:
    """All providers behind one listening socket, told apart by the first part of the path.

    `received` holds the newest requests, up to `keep`. `fail` may be called at any time, from any thread.
    """

    def __init__(
        self,
        listening: socket.socket,
        models: tuple[SimulatedModel, ...],
        seed: int,
        pace: float,
        bites: bool,
        keep: int,
    ) -> None:
        self.models = models
        self.seed = seed
        self.faults = Faults(seed)
        self.received: deque[Received] = deque(maxlen=keep)
        self.host, self.port = listening.getsockname()[:2]
        self._socket = listening
        app = Application(models, seed, pace, bites, self.received, self.faults, self._hang_up)
        # uvicorn's own start and shutdown are driven by hand: its `serve` takes over the process's signals.
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    @classmethod
    async def start(
        cls,
        models: tuple[SimulatedModel, ...] = MODELS,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        pace: float = 0.0,
        bites: bool = False,
        keep: int = 1_000,
    ) -> "Simulator":
        """Listen and answer in the running event loop until `stop`. Port 0 takes a free one."""
        listening = socket.create_server((host, port), backlog=1_024)
        listening.setblocking(False)
        # asyncio sets this only on sockets that name their protocol; else a reply waits 40 ms for an ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        simulator = cls(listening, models, seed, pace, bites, keep)
        await simulator._server.startup(sockets=[listening])
        return simulator

    async def stop(self) -> None:
        """Break off what is being answered and close the socket."""
        for connection in list(self._server.server_state.connections):
            if (transport := _transport(connection)) is not None:
                transport.abort()
        await self._server.shutdown(sockets=[self._socket])

    async def __aenter__(self) -> "Simulator":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def url(self, provider: str) -> str:
        """What an endpoint of a catalog, or a client's base URL, says to reach a provider."""
        return _url(self.host, self.port, provider)

    def fail(
        self,
        provider: str = "",
        model: str = "",
        *,
        kind: Kind = "status",
        status: int = 529,
        retry_after: float | None = None,
        seconds: float = 0.0,
        after: int = 2,
        message: str = "",
        times: int | None = None,
        rate: float = 1.0,
    ) -> None:
        """Order a trouble: for `times` requests, or until `heal`; `rate` of those it fits are hit."""
        trouble = Trouble(kind, status, retry_after, seconds, after, message)
        self.faults.add(Order(trouble, provider, model, times, rate))

    def heal(self, provider: str = "", model: str = "") -> None:
        self.faults.heal(provider, model)

    def _hang_up(self, scope: Mapping[str, Any]) -> None:
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "scope", None) is not scope:
                continue
            if (transport := _transport(connection)) is not None:
                transport.close()  # what was written still leaves, but never the end of the body


def _transport(connection: object) -> asyncio.Transport | None:
    transport = getattr(connection, "transport", None)
    return transport if isinstance(transport, asyncio.Transport) else None


def _url(host: str, port: int, provider: str) -> str:
    known = PROVIDERS[provider]
    return f"http://{host}:{port}/{known.name}{known.base}"


@contextmanager
def run_in_thread(**options: Any) -> Iterator[Simulator]:
    """A simulator in an event loop of its own; takes what `Simulator.start` takes."""
    started: list[Simulator | BaseException] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    finish = asyncio.Event()

    async def live() -> None:
        try:
            started.append(await Simulator.start(**options))
        except BaseException as error:
            started.append(error)
            raise
        finally:
            ready.set()
        await finish.wait()
        simulator = started[0]
        assert isinstance(simulator, Simulator)
        await simulator.stop()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(live())
            except BaseException:
                if not started or isinstance(started[0], Simulator):
                    raise

    thread = threading.Thread(target=run, name="simulator", daemon=True)
    thread.start()
    ready.wait(START_SECONDS)
    first = started[0]
    if not isinstance(first, Simulator):
        thread.join(START_SECONDS)
        raise first
    try:
        yield first
    finally:
        loop.call_soon_threadsafe(finish.set)
        thread.join(START_SECONDS)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A simulator in another process, reached by its socket alone; faults go through its control endpoint."""

    host: str
    port: int

    def url(self, provider: str) -> str:
        return _url(self.host, self.port, provider)


@contextmanager
def run_in_process(*flags: str) -> Iterator[Elsewhere]:
    """A simulator in a process of its own, for measurements; takes the flags of `python -m
    engine.simulator`."""
    command = [sys.executable, "-m", "engine.simulator", *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  # our own
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(
                    "the simulator's process ended before it listened; its own message is above"
                )
            told = json.loads(line)
            yield Elsewhere(told["host"], told["port"])
        finally:
            process.stdin.close()
            process.wait(START_SECONDS)
