"""The engine of a run, in a process of its own: `weave-engine serve` as it is, and beside it a line of JSON about what
the process holds for each line that comes on its input. When its input ends, so does the engine."""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from typing import Any

from engine.app import event_loop
from engine.commands.serve import serve
from engine.settings import from_environment
from tests.chaos.processes import bounded, more_files


def held(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    gc.collect()
    tasks = asyncio.all_tasks(loop)
    return {
        "tasks": len(tasks),
        "files": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        "what": sorted({getattr(task.get_coro(), "__qualname__", "") for task in tasks}),
    }


async def main() -> None:
    loop = asyncio.get_running_loop()

    def answer() -> None:
        print(json.dumps(held(loop)), flush=True)

    def listen() -> None:
        for _ in sys.stdin:
            loop.call_soon_threadsafe(answer)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    await serve(from_environment(os.environ), os.environ)


if __name__ == "__main__":
    more_files()
    bounded(float(sys.argv[1]))
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(main())
