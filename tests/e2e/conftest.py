"""A live engine and its simulated providers on loopback sockets, in a thread of their own, for the whole folder."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from engine.app import running, serving
from engine.routing import failover
from engine.routing.health import Health
from engine.server.engine import Engine
from engine.server.reload import Source
from engine.settings import DEFAULTS
from engine.simulator import Simulator, catalog_text
from engine.simulator.channel import Received
from engine.simulator.models import MODELS

# Every model by one endpoint, so that a test knows who serves it, and one model behind OpenRouter.
SERVED = (
    *(model for model in MODELS if model.provider != "openrouter"),
    *(replace(model, name="routed") for model in MODELS if model.id == "anthropic/claude-opus-4.5"),
)
NAMES = tuple(dict.fromkeys(model.name for model in SERVED))

# Who asks for a model gets it; where it fails, the chain says who is next.
POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: as-asked}
default: {use: requested}
pinning: {key: [hints.session], ttl: 5m}
failover:
  retry_on: [connect_error, timeout, 429, 5xx, 529]
  chains: {small: [haiku, gpt-plain]}
  attempts: 2
  deadline: 20s
tests:
  cases:
    - {name: the model asked for serves, with: {features: {requested_model: gpt}}, expect: {rule: default, model: gpt}}
"""


@dataclass(frozen=True, slots=True)
class House:
    url: str
    simulator: Simulator
    engine: Engine

    @property
    def last(self) -> Received:
        """What reached a provider last."""
        return self.simulator.received[-1]


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    ready: list[House | BaseException] = []
    told = threading.Event()
    loop = asyncio.new_event_loop()
    finish = asyncio.Event()
    folder = tmp_path_factory.mktemp("policies")

    async def live() -> None:
        async with AsyncExitStack() as stack:
            try:
                ready.append(await _raise_house(stack, folder))
            except BaseException as error:
                ready.append(error)
                raise
            finally:
                told.set()
            await finish.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(live())

    thread = threading.Thread(target=run, name="house", daemon=True)
    thread.start()
    told.wait(20)
    first = ready[0]
    if isinstance(first, BaseException):
        raise first
    yield first
    loop.call_soon_threadsafe(finish.set)
    thread.join(20)


async def _raise_house(stack: AsyncExitStack, folder: Path) -> House:
    simulator = await stack.enter_async_context(await Simulator.start(models=SERVED))
    files = {"policy.yaml": POLICY, "catalog.yaml": catalog_text(simulator, NAMES, SERVED)}
    for name, text in files.items():
        (folder / name).write_text(text)
    settings = replace(
        DEFAULTS, policies=folder, journal=":memory:", first_content_seconds=5.0, drain_seconds=1.0
    )

    engine = await stack.enter_async_context(running(settings, {}, _no_log, Source(lambda: files)))
    url = await stack.enter_async_context(serving(engine))
    return House(url, simulator, engine)


def _no_log(event: str, /, level: str = "info", **fields: Any) -> None:
    del event, level, fields


@pytest.fixture
def house(standing: House, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(failover, "FIRST_PAUSE_SECONDS", 0.01)
    standing.simulator.heal()
    standing.engine.health = Health()  # what failed in one test is well again in the next
    standing.simulator.received.clear()
    return standing


@pytest.fixture
def png() -> str:
    """A picture of 108 bytes, as base64."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()
