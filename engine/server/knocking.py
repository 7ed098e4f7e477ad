"""Finding out beside the requests that an address is back, so that none of them pays a connect timeout for it.

When an endpoint cannot be reached, the breaker of its address opens. Instead of letting a request through when the
cooldown is over, a connection is opened and closed again, and requests are let through once that worked. A bare
connection says nothing of the models there; those have breakers of their own.
"""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from engine.core.catalog import Binding
from engine.routing.health import Condition, Health

# So much before the cooldown is over, so that no request comes first.
EARLY_SECONDS = 0.1

# Where an endpoint is now; an edit of the catalog may move it, or take it away.
Address = Callable[[], str]

PORTS = {"https": 443, "http": 80}


class Knocks:
    """One for an engine; at most one task for each endpoint."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(
        self,
        endpoint: str,
        address: Address,
        health: Health,
        seconds: float,
        tell: Callable[[Condition], None],
    ) -> None:
        """Knock until there is an answer, each time for so many `seconds`; `tell` hears of every change."""
        task = self._tasks.get(endpoint)
        if task is None or task.done():
            self._tasks[endpoint] = asyncio.ensure_future(_knock(endpoint, address, health, seconds, tell))

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()


async def _knock(
    endpoint: str, address: Address, health: Health, seconds: float, tell: Callable[[Condition], None]
) -> None:
    way = Binding(endpoint, "")
    reached = False
    while not reached:
        while (wait := health.waits(way, time.monotonic())) > EARLY_SECONDS:  # noqa: ASYNC110 - it is no event
            await asyncio.sleep(wait - EARLY_SECONDS)
        url, probes = address(), health.knock(endpoint)
        if not (url and probes):  # it is well, or gone, or a call came first, and says how it is
            health.abandoned(probes)
            return
        try:
            reached = await answers(url, seconds)
        finally:
            changes = health.knocked(endpoint, reached, time.monotonic(), probes)
        for change in changes:
            tell(change)


async def answers(base_url: str, seconds: float) -> bool:
    """Whether a connection to it can be opened in time."""
    try:
        address = urlsplit(base_url)
        port = address.port or PORTS.get(address.scheme, 443)
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.hostname, port)
    except (OSError, ValueError):  # which a timeout and a name that nobody knows are too
        return False
    writer.close()
    return True
