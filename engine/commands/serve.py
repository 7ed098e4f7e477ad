"""`weave-engine serve`: the engine on a socket, until told to stop.

Without a single provider key there is nothing to route to. Rather than fail each request, the engine then answers
from the simulator, and says so loudly: in the log, and in each answer's model name.
"""

import asyncio
import gc
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.app import Server, allow_files, listen, running, settle
from engine.core.catalog import Binding, Catalog, Endpoint, Model
from engine.server.keys import read_keys
from engine.server.log import Log, to_standard_error
from engine.server.reload import Source, load_from, read_policies
from engine.settings import Settings, SettingsError
from engine.snapshot import Snapshot

if TYPE_CHECKING:
    from engine.simulator import Simulator
    from engine.simulator.models import SimulatedModel


async def serve(settings: Settings, environment: Mapping[str, str]) -> int:
    """Raises OSError where the address is taken, InvalidDocumentsError where the policies do not hold, KeysError where
    the file of client keys does not, SettingsError where others could reach an engine that asks for no key."""
    gc.disable()  # until the engine is there: what is read now is here to stay
    closed = bool(read_keys(settings.keys_file).by_id)
    sock = listen(settings.host, settings.port)
    log = to_standard_error(settings.log_json)
    server = Server(settings, sock)
    serving = asyncio.ensure_future(server.run_until_told())
    try:
        if not closed and not _is_loopback(sock.getsockname()[0]):
            raise SettingsError(_open_to_others(settings))
        load = load_from(settings.policies, settings.policy)
        first = await asyncio.to_thread(load)
        without_key = not has_key(first.catalog, environment)
        start = Start(settings, environment, log, server, serving)
        if settings.simulate or without_key:
            await _simulated(start, load, first, without_key)
        else:
            await _run(start, load, first)
    finally:
        server.should_exit = True
        await serving
        sock.close()
        log.close()
    return 0


@dataclass(frozen=True, slots=True)
class Start:
    """What an engine is started with. The server listens already; `serving` ends when it was told to stop."""

    settings: Settings
    environment: Mapping[str, str]
    log: Log
    server: Server
    serving: "asyncio.Future[None]"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _open_to_others(settings: Settings) -> str:
    return (
        f"others could reach {settings.host}, and whoever does would spend on your provider keys: make a client key "
        f"first, with 'weave-engine keys add NAME' (there is none in {settings.keys_file}), or listen on 127.0.0.1"
    )


def has_key(catalog: Catalog, environment: Mapping[str, str]) -> bool:
    """Whether any endpoint that takes a key has one, be it its client's own. Endpoints without keys are local servers,
    which may not run."""
    return any(
        endpoint.auth == "client" or (endpoint.api_key_env and environment.get(endpoint.api_key_env))
        for endpoint in catalog.endpoints.values()
    )


def simulated(settings: Settings, catalog: str) -> Source:
    """Loads the folder's policies on the simulator's own catalog: the folder's catalogs are left out."""

    def read() -> dict[str, str]:
        files = {
            name: text
            for name, text in read_policies(settings.policies).items()
            if "kind: Catalog" not in text
        }
        return {**files, "simulator.yaml": catalog}

    return Source(read, settings.policy)


@dataclass(frozen=True, slots=True)
class Played(Source):
    """The policies as they are, the operator's catalog with them, but with the simulator playing each model."""

    simulator: "Simulator | None" = None

    def __call__(self) -> Snapshot:
        return self.on_stage(Source.__call__(self))

    def newer(self, serving: str) -> Snapshot | None:
        snapshot = Source.newer(self, serving)
        return None if snapshot is None else self.on_stage(snapshot)

    def on_stage(self, snapshot: Snapshot) -> Snapshot:
        assert self.simulator is not None
        return replace(snapshot, catalog=_on_stage(snapshot.catalog, self.simulator))


def cast(catalog: Catalog) -> tuple["SimulatedModel", ...]:
    """Every model of a catalog as the simulator can play it, under the names its providers have for it."""
    return tuple(
        replace(
            _role(model),
            name=model.name,
            id=binding.id,
            context_tokens=model.context_tokens,
            output_tokens=model.output_tokens,
            can=tuple(sorted(model.can)),
        )
        for model in catalog.models.values()
        for binding in model.served_by
    )


def _role(model: Model) -> "SimulatedModel":
    """The simulator's own model that is most like it."""
    from engine.simulator.models import MODELS

    same = [one for one in MODELS if one.name == model.name]
    able = [one for one in MODELS if one.tier == model.tier and model.can <= set(one.can)]
    return [*same, *able, *(one for one in MODELS if one.tier == model.tier)][0]


def _on_stage(catalog: Catalog, simulator: "Simulator") -> Catalog:
    from engine.simulator.models import KEY_HEADER, PROVIDERS

    endpoints = {
        name: Endpoint(name, one.protocol, simulator.url(name), "", one.dialect, {KEY_HEADER: "none needed"})
        for name, one in PROVIDERS.items()
    }
    ids = {one.id for one in simulator.models}
    models = {name: replace(model, served_by=_parts(model, ids)) for name, model in catalog.models.items()}
    return replace(catalog, endpoints=endpoints, models=models)


def _parts(model: Model, ids: Collection[str]) -> tuple[Binding, ...]:
    """Who plays it. A model that came with a reload is played under the name of the one it is most like."""
    role = _role(model)
    return tuple(
        replace(binding, endpoint=role.provider, id=binding.id if binding.id in ids else role.id)
        for binding in model.served_by
    )


async def _run(start: Start, load: Source, first: Snapshot) -> None:
    settings, log = start.settings, start.log
    async with running(settings, start.environment, log, load, first) as engine:
        settle()
        allow_files(settings.max_connections)
        start.server.open(engine)
        log(
            "serving",
            url=start.server.url,
            policy=engine.policies.snapshot.policy.name,
            snapshot=engine.policies.snapshot.fingerprint,
            policies=str(settings.policies),
            journal=settings.journal,
        )
        for problem in engine.policies.snapshot.problems:
            log("policy", level="warning", problem=str(problem))
        await start.serving


async def _simulated(start: Start, own: Source, first: Snapshot, without_key: bool) -> None:
    from engine.simulator import Simulator
    from engine.simulator.models import MODELS

    simulator = await Simulator.start(models=(*cast(first.catalog), *MODELS))
    why = "no provider key is set" if without_key else "asked for with --simulate"
    start.log(
        "SIMULATED",
        level="warning",
        why=why,
        meaning="NO REAL MODEL ANSWERS: every reply is made up by the simulator",
        remedy="set a key your catalog names, such as ANTHROPIC_API_KEY, and start again"
        if without_key
        else None,
    )
    try:
        played = Played(own.read, own.policy, simulator)
        await _run(start, played, played.on_stage(first))
    finally:
        await simulator.stop()
