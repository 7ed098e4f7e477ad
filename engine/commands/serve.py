"""`weave-engine serve`: the engine on a socket, until told to stop.

Without a single provider key there is nothing to route to. Rather than fail each request, the engine then answers
from the simulator, and says so loudly: in the log, and in each answer's model name.
"""

import socket
from collections.abc import Mapping

from engine.app import Server, listen, running, settle
from engine.core.catalog import Catalog
from engine.server.log import Log, to_standard_error
from engine.server.reload import Source, load_from, read_policies
from engine.settings import Settings


async def serve(settings: Settings, environment: Mapping[str, str]) -> int:
    """Raises OSError where the address is taken, InvalidDocumentsError where the policies do not hold."""
    load = load_from(settings.policies, settings.policy)
    without_key = not has_key(load().catalog, environment)
    sock = listen(settings.host, settings.port)
    log = to_standard_error(settings.log_json)
    try:
        if settings.simulate or without_key:
            await _simulated(settings, environment, log, sock, without_key)
        else:
            await _run(settings, environment, log, sock, load)
    finally:
        sock.close()
        log.close()
    return 0


def has_key(catalog: Catalog, environment: Mapping[str, str]) -> bool:
    """Whether any endpoint that takes a key has one. Endpoints without keys are local servers, which may not run."""
    return any(
        endpoint.api_key_env and environment.get(endpoint.api_key_env)
        for endpoint in catalog.endpoints.values()
    )


def simulated(settings: Settings, catalog: str) -> Source:
    """Loads the folder's policies on the simulator's catalog: its own catalogs are left out."""

    def read() -> dict[str, str]:
        files = {
            name: text
            for name, text in read_policies(settings.policies).items()
            if "kind: Catalog" not in text
        }
        return {**files, "simulator.yaml": catalog}

    return Source(read, settings.policy)


async def _run(
    settings: Settings, environment: Mapping[str, str], log: Log, sock: socket.socket, load: Source
) -> None:
    async with running(settings, environment, log, load) as engine:
        host, port = sock.getsockname()[:2]
        log(
            "serving",
            url=f"http://{host}:{port}",
            policy=engine.policies.snapshot.policy.name,
            snapshot=engine.policies.snapshot.fingerprint,
            policies=str(settings.policies),
            journal=settings.journal,
        )
        for problem in engine.policies.snapshot.problems:
            log("policy", level="warning", problem=str(problem))
        settle()
        await Server(engine, sock).run_until_told()


async def _simulated(
    settings: Settings, environment: Mapping[str, str], log: Log, sock: socket.socket, without_key: bool
) -> None:
    from engine.simulator import Simulator, catalog_text

    simulator = await Simulator.start()
    why = "no provider key is set" if without_key else "asked for with --simulate"
    log(
        "SIMULATED",
        level="warning",
        why=why,
        meaning="NO REAL MODEL ANSWERS: every reply is made up by the simulator",
        remedy="set a key your catalog names, such as ANTHROPIC_API_KEY, and start again"
        if without_key
        else None,
    )
    try:
        await _run(settings, environment, log, sock, simulated(settings, catalog_text(simulator)))
    finally:
        await simulator.stop()
