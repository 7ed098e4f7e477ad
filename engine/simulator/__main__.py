"""`python -m engine.simulator`: the simulator as a process. Says where it listens, lives until its input
ends."""

import argparse
import asyncio
import contextlib
import json
import sys

from engine.simulator.catalog import catalog_text
from engine.simulator.server import Simulator


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine.simulator",
        description="Local model providers for trying things out. Prints one line of JSON with its address, "
        "and runs until its standard input ends.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=0.0, help="0 is at once, 1 as slow as the real ones")
    parser.add_argument("--bites", action="store_true", help="send streams in pieces of random size")
    parser.add_argument("--keep", type=int, default=1_000, help="how many requests to remember")
    parser.add_argument(
        "--catalog", action="store_true", help="print a catalog that points here, as YAML, instead"
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_live(parser.parse_args(arguments)))
    return 0


async def _live(flags: argparse.Namespace) -> None:
    simulator = await Simulator.start(
        host=flags.host, port=flags.port, seed=flags.seed, pace=flags.pace, bites=flags.bites, keep=flags.keep
    )
    address = json.dumps({"host": simulator.host, "port": simulator.port}) + "\n"
    sys.stdout.write(catalog_text(simulator) if flags.catalog else address)
    sys.stdout.flush()
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await simulator.stop()


if __name__ == "__main__":
    sys.exit(main())
