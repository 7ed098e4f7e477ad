"""Building policies beside a running event loop, without being felt.

A thread shares the interpreter with the loop: while it builds, each turn of the loop waits five milliseconds for
its own turn, and compiling a long ladder is one call that lets nobody in for much longer. For a set as most are
that lasts a tenth of a second, and hardly any turn is hit. A large set would be felt for seconds, so it is built
by a process of its own, which answers with a pickle and ends. Reading the pickle is all that is left for the
thread. Measured with 1,000 rules: in a thread, a second of 5 ms waits and one of 30 ms; so, 30 ms of 5 ms waits.

The process gets none of our environment: it has no business with provider keys.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping

from engine.core.errors import InvalidDocumentsError, Problem
from engine.snapshot import Snapshot, build, check

LARGE_CHARACTERS = 32_768  # some three hundred short rules
LONGEST_SECONDS = 60.0

Built = tuple[Snapshot | None, tuple[Problem, ...]]

_CHILD = "from engine.server.building import answer; answer()"


def build_aside(files: Mapping[str, str], serve: str = "") -> Snapshot:
    """Like `build`, for a thread beside the event loop. Raises SubprocessError where the process fails."""
    if sum(map(len, files.values())) < LARGE_CHARACTERS:
        return build(files, serve)
    try:
        snapshot, problems = _ask_process(files, serve)
    except OSError:  # no process can be started here; being felt is better than not reloading
        return build(files, serve)
    if snapshot is None:
        raise InvalidDocumentsError(problems)
    return snapshot


def _ask_process(files: Mapping[str, str], serve: str) -> Built:
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own code
        [sys.executable, "-P", "-c", _CHILD],
        input=pickle.dumps((dict(files), serve)),
        stdout=subprocess.PIPE,
        env=environment,
        timeout=LONGEST_SECONDS,
        check=True,
    )
    built: Built = pickle.loads(done.stdout)  # noqa: S301 - from our own process
    return built


def answer() -> None:
    """The process: files on standard input, what became of them on standard output."""
    files, serve = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from our own process
    sys.stdout.buffer.write(pickle.dumps(check(files, serve)))
