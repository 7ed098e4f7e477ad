"""Asks the engine whatever its own description says can be asked, and what it says cannot: `make fuzz` runs it.

    python -m tests.server.security.surface SCHEMATHESIS [--examples N] [--seed N]

The engine runs on loopback in front of simulated providers, one call in five of which fails in some way. Schemathesis
makes the requests; each answer has to be a declared one, in a declared form. It ends with one JSON line, and with 1
where an answer was none of these, or where the engine's log holds a mistake of its own.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from engine.app import running, serving
from engine.commands.serve import simulated
from engine.server.log import Log
from engine.server.openapi import openapi
from engine.settings import DEFAULTS
from engine.simulator import Simulator, catalog_text
from engine.simulator.faults import Kind

POLICIES = Path(__file__).parent.parent.parent.parent / "policies"
MODELS = ["auto", "opus", "gpt", "haiku", "local", "claude-opus-4-5", "gpt-5.4", "nobody"]
FAULTS: tuple[Kind, ...] = ("status", "html", "drop", "cut", "error", "malformed", "empty")
CHECKS = "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
SECONDS = 1_800


def described() -> dict[str, Any]:
    """The engine's description, with names of models that it serves, so that what lies behind is asked too."""
    told: dict[str, Any] = json.loads(openapi())
    for schema in _models(told):
        schema.clear()
        schema["enum"] = MODELS
    return told


def _models(told: Any) -> Iterator[dict[str, Any]]:
    if isinstance(told, list):
        for inner in told:
            yield from _models(inner)
    elif isinstance(told, dict):
        if told.get("in") == "path" and told.get("name") in ("model", "name"):
            yield told["schema"]
        properties = told.get("properties")
        if isinstance(properties, dict) and {"maxLength"} <= properties.get("model", {}).keys():
            yield properties["model"]
        for inner in told.values():
            yield from _models(inner)


def laid_out(folder: Path) -> tuple[Path, Path]:
    """A policy to serve by, and the description to ask by."""
    policies, description = folder / "policies", folder / "openapi.json"
    policies.mkdir()
    (policies / "default.yaml").write_text((POLICIES / "default.yaml").read_text())
    description.write_text(json.dumps(described()))
    return policies, description


async def fuzz(schemathesis: str, examples: int, seed: int) -> int:
    out = StringIO()
    log = Log(out, json=True)
    simulator = await Simulator.start(seed=seed)
    for kind in FAULTS:
        simulator.fail(kind=kind, rate=0.03, status=529, after=2)
    with tempfile.TemporaryDirectory() as folder:
        policies, description = laid_out(Path(folder))
        settings = replace(DEFAULTS, policies=policies, journal=str(Path(folder, "weave.db")))
        load = simulated(settings, catalog_text(simulator))
        secret = {"WEAVE_LINK_SECRET": "a secret of this test alone"}
        try:
            async with running(settings, secret, log, load) as engine, serving(engine) as url:
                asking = await asyncio.create_subprocess_exec(
                    schemathesis,
                    *(
                        "run",
                        str(description),
                        "--url",
                        url,
                        "--checks",
                        CHECKS,
                        "--mode",
                        "all",
                        "--no-color",
                    ),
                    *("--phases", "coverage,fuzzing", "-n", str(examples), "--seed", str(seed)),
                    *("--continue-on-failure", "--warnings", "off", "--request-timeout", "30"),
                    cwd=folder,
                )
                try:
                    status = await asyncio.wait_for(asking.wait(), SECONDS)
                finally:
                    if asking.returncode is None:
                        asking.kill()
                answered = sum(value for _, value in engine.metrics.whole.counts())
                left = engine.running
        finally:
            await simulator.stop()
            log.close()
    bugs = [line for line in out.getvalue().splitlines() if '"event":"bug"' in line]
    print("\n".join(sorted(set(bugs))[:20]))
    print(
        json.dumps({"seed": seed, "served": answered, "undeclared": status, "bugs": len(bugs), "left": left})
    )
    return 1 if status or bugs or left else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("schemathesis", help="the program")
    parser.add_argument("--examples", type=int, default=40, help="requests of each kind (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="which requests (default: 1)")
    asked = parser.parse_args()
    return asyncio.run(fuzz(asked.schemathesis, asked.examples, asked.seed))


if __name__ == "__main__":
    sys.exit(main())
