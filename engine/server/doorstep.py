"""What is answered before the engine is there, and while it goes.

The socket listens from the first moment, so that nobody is turned away without a word: `/health` says that the process
lives, `/ready` that it is not to be asked yet, or any more, and whoever asks it all the same is told when to come back.
While it goes, what runs is brought to its end behind this.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from engine import wire
from engine.core.errors import Fault
from engine.server.asking import protocol_of
from engine.server.engine import Engine

# What operators' machines ask, to the last.
PROBES = frozenset({"/health", "/ready", "/metrics", "/api/hello"})

BACK_IN_SECONDS = 2

STARTING = Fault("overloaded", "the engine is starting; ask again", 503, retry_after_seconds=BACK_IN_SECONDS)
LEAVING = Fault(
    "overloaded", "the engine is shutting down; ask again", 503, retry_after_seconds=BACK_IN_SECONDS
)


class Doorstep:
    """An ASGI application in front of the engine's, which it has once it is opened."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._app: ASGIApp | None = None

    def open(self, engine: Engine, app: ASGIApp) -> None:
        self._engine, self._app = engine, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine, app = self._engine, self._app
        if engine is None or app is None:
            await _starting(scope, send)
        elif engine.draining and scope["path"] not in PROBES:
            await _answer(send, 503, protocol_of(scope).write_fault(LEAVING))
        else:
            await app(scope, receive, send)


async def _starting(scope: Scope, send: Send) -> None:
    match scope["path"]:
        case "/health" | "/api/hello":
            await _answer(send, 200, {"status": "starting"})
        case "/ready":
            await _answer(send, 503, {"status": "starting"})
        case _:
            await _answer(send, 503, protocol_of(scope).write_fault(STARTING))


async def _answer(send: Send, status: int, told: object) -> None:
    """And no more on this connection: the next one may reach an engine that is there."""
    body = wire.dumps(told)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if status != 200:
        headers.append((b"retry-after", b"%d" % BACK_IN_SECONDS))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
