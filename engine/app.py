"""The composition root: the one place where the parts are built and put together."""

import asyncio
import gc
import math
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from itertools import chain
from types import FrameType

import uvicorn

from engine.features import warm
from engine.routing.holding import MemoryLineages
from engine.routing.pins import MemoryPins
from engine.server.connection import Bounds, bounded
from engine.server.contents import SECRET
from engine.server.door import Door
from engine.server.doorstep import Doorstep
from engine.server.engine import Engine
from engine.server.identity import Keyring
from engine.server.journal import Journal, JournalError
from engine.server.keeping import KeptLineages, KeptPins, Stops
from engine.server.learner import Learners
from engine.server.ledger import Books
from engine.server.log import Logger, unnoticed
from engine.server.reload import Policies, Source, follow, load_from
from engine.server.retention import Retention, even_clock
from engine.server.routes import routes
from engine.server.tasks import sweep
from engine.server.upstream import Upstream, trust
from engine.settings import Settings
from engine.snapshot import Snapshot

# Agents open a connection per call and many calls at once.
BACKLOG = 2048

# For requests that outlasted the drain, to tell their clients.
LAST_WORDS_SECONDS = 1.0

# Open files that are no connections: the journal, the policies, the log.
SPARE_FILES = 256

# Objects between two collections of the youngest: some requests' worth, where the default is a part of one.
GARBAGE_THRESHOLD = 50_000


@asynccontextmanager
async def running(
    settings: Settings,
    environment: Mapping[str, str],
    log: Logger,
    load: Source | None = None,
    first: Snapshot | None = None,
) -> AsyncIterator[Engine]:
    """An engine with its policies followed, its learners folded and its journal open, until the block ends.

    `load` reads the policies anew; without it they come from `settings.policies`. `first` is what it read already, if
    it has. Raises InvalidDocumentsError
    where they do not hold: an engine never starts on a bad set, it only keeps serving a good one. KeysError, for the
    same reason, where the file of keys is damaged.
    """
    load = load or load_from(settings.policies, settings.policy)
    policies = Policies(await asyncio.to_thread(load) if first is None else first)
    keyring = Keyring(settings.keys_file)
    trusted = trust(settings.ca_file)
    journal = await Journal.open(
        settings.journal,
        warn=lambda text: log("journal", level="warning", trouble=text),
        tend=Retention(lambda: policies.snapshot.policy.recording, even_clock()),
    )
    upstream = Upstream(trusted)
    loops: list[asyncio.Task[None]] = []
    try:
        learners = await Learners.begin(journal)

        def prepare(snapshot: Snapshot) -> None:
            every = (policy.learners.values() for policy in snapshot.policies.values())
            learners.prepare(chain.from_iterable(every))

        await asyncio.to_thread(warm)
        await asyncio.to_thread(prepare, policies.snapshot)
        books = await Books.open(journal, policies.snapshot, log)
        pins = await KeptPins.load(MemoryPins(), journal, time.time())
        engine = Engine(settings, policies, pins, learners, journal, upstream, log, environment, books)
        engine.lineages = await KeptLineages.load(MemoryLineages(), journal)
        engine.stops = await Stops.load(journal)
        engine.ids.after(await journal.before_newest(0))
        engine.contents_key = await _contents_key(journal, environment)
        loops.append(asyncio.ensure_future(books.follow()))
        loops.append(asyncio.ensure_future(follow(settings.policies, policies, load, log, prepare)))
        engine.keyring = keyring
        keyring.tell(log)
        loops.append(asyncio.ensure_future(keyring.follow(log)))
        loops.append(asyncio.ensure_future(sweep(engine)))
        loops.append(asyncio.ensure_future(learners.follow()))
        yield engine
        engine.knocks.stop()
        if engine.chores:
            await asyncio.wait(engine.chores, timeout=LAST_WORDS_SECONDS)
        await books.commit()
        await learners.save()
    finally:
        for loop in loops:
            loop.cancel()
        await upstream.close()
        await journal.close()


async def _contents_key(journal: Journal, environment: Mapping[str, str]) -> bytes:
    """What hashes of what was said are keyed with; one for this time, where the journal cannot keep any."""
    try:
        return environment.get(SECRET, "").encode() or await journal.contents_key()
    except JournalError:
        return secrets.token_bytes(32)


class Server(uvicorn.Server):
    """uvicorn on a socket, from before there is an engine until after it has drained. Without `signals` it leaves the
    process's handlers alone.

    Told to stop, it goes on listening while requests run, so that whoever comes is told to come back; told twice, it
    stops at once."""

    def __init__(self, settings: Settings, sock: socket.socket, signals: bool = True) -> None:
        bounds = Bounds(
            head_seconds=settings.head_seconds,
            unread_seconds=settings.unread_seconds,
            connections=settings.max_connections,
        )
        self._doorstep = Doorstep()
        super().__init__(
            uvicorn.Config(
                self._doorstep,
                log_config=None,
                access_log=False,
                lifespan="off",
                http=bounded(bounds),
                ws="none",
                backlog=BACKLOG,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=max(1, round(settings.idle_seconds)),
                timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            )
        )
        self._engine: Engine | None = None
        self._socket = sock
        self._signals = signals
        self._drain_seconds = settings.drain_seconds
        self._drained_by = math.inf

    def open(self, engine: Engine) -> None:
        """From now on requests are served."""
        self._engine = engine
        asyncio.get_running_loop().set_exception_handler(unnoticed(engine.log))
        self._doorstep.open(engine, Door(routes(engine), engine))

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals() if self._signals else nullcontext():
            yield

    async def run_until_told(self) -> None:
        """Serve until a signal, or `should_exit`, says to stop; running requests end first."""
        await self.serve(sockets=[self._socket])

    async def on_tick(self, counter: int) -> bool:
        if self._engine is not None and self._engine.draining:
            late = time.monotonic() >= self._drained_by
            if late:
                self.config.timeout_graceful_shutdown = 0
            self.should_exit = self.should_exit or late or not self._engine.running
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for task in self.server_state.tasks if self.force_exit else ():  # otherwise uvicorn has done so
            task.cancel()
        if self.server_state.tasks:  # told to stop, and still to write down how far they came
            await asyncio.wait(self.server_state.tasks, timeout=LAST_WORDS_SECONDS)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        if self._engine is None or self._engine.draining:
            self.should_exit = self.force_exit = True
            return
        self._engine.draining = True
        self._drained_by = time.monotonic() + self._drain_seconds
        self._engine.log("draining", signal=signal.Signals(sig).name, running=self._engine.running)


def event_loop() -> asyncio.AbstractEventLoop:
    """The faster loop, where it exists: not on Windows."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def settle() -> None:
    """Tell the garbage collector that what is here now is here to stay.

    A request makes thousands of short-lived objects, and parsing its body makes most of them; without this each
    collection would walk the policies, schemas and libraries too, tens of milliseconds at a time. What of it is garbage
    already stays too: to look for it takes longer than the few megabytes are worth.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 100)


def allow_files(connections: int) -> None:
    """As many open files as the connections need, each with one to a provider; as many as there may be, where that is
    fewer. Most systems start a process with 1,024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError where the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # named, so that Nagle is switched off
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)  # now, so that who is told of the address can already connect
    except BaseException:
        sock.close()
        raise
    return sock


@asynccontextmanager
async def serving(engine: Engine, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """The engine on a socket for as long as the block lasts, without touching signals; gives its URL."""
    sock = listen(host, port)
    server = Server(engine.settings, sock, signals=False)
    server.open(engine)
    task = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)
        yield f"http://{host}:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        sock.close()
