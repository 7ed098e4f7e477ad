"""Policies on disk, followed as they change: the last good set serves until a better one is whole.

The folder is looked at every quarter second: names, sizes, times and inodes, through symbolic links, which is
cheap and survives what editors and orchestrators do (renames over the old file, links swapped under a folder).
What changed is read and built in a thread; only a set without errors replaces the one that serves, by one
assignment. A request keeps the snapshot it began with.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.core.errors import InvalidDocumentsError, Problem
from engine.server.log import Logger
from engine.snapshot import Snapshot, build

POLL_SECONDS = 0.25
MOST_FILE_BYTES = 4 * 1024 * 1024

Signature = tuple[tuple[str, int, int, int], ...]


def policy_files(folder: Path) -> list[Path]:
    """The policy files of a folder, sorted; hidden files (an editor's, or a half-made one) are not policies."""
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return sorted(path for path in found if not path.name.startswith("."))


def read_policies(folder: Path) -> dict[str, str]:
    """File name -> text. Raises InvalidDocumentsError where the folder or a file cannot be read."""
    paths = policy_files(folder)
    if not paths:
        hint = "put *.yaml files here, or name another folder with --policies"
        raise InvalidDocumentsError([Problem(str(folder), 1, 1, "WV101", "no policy files here", hint)])
    return read_files(paths)


def read_files(paths: Iterable[Path]) -> dict[str, str]:
    """File name -> text. Raises InvalidDocumentsError with every file that cannot be read."""
    files: dict[str, str] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            if path.stat().st_size > MOST_FILE_BYTES:
                problems.append(_unreadable(path, f"it is larger than {MOST_FILE_BYTES} bytes"))
            else:
                files[str(path)] = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            problems.append(_unreadable(path, error.strerror or str(error)))
        except UnicodeDecodeError as error:
            problems.append(_unreadable(path, f"it is not UTF-8 (byte {error.start})"))
    if problems:
        raise InvalidDocumentsError(problems)
    return files


def _unreadable(path: Path, why: str) -> Problem:
    return Problem(str(path), 1, 1, "WV101", f"the file cannot be read: {why}")


class Policies:
    """The snapshot that serves, and what is wrong with a newer one on disk.

    `problems` is empty unless the files on disk could not replace `snapshot`; then `stale` is true.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.problems: tuple[Problem, ...] = ()
        self.loads = 1

    @property
    def stale(self) -> bool:
        return bool(self.problems)


async def follow(folder: Path, policies: Policies, load: Callable[[], Snapshot], log: Logger) -> None:
    """Keep `policies` up to date with the folder, for as long as the task runs."""
    seen: Signature = ()  # not what is there now: that may have changed since it was first read
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = await asyncio.to_thread(_signature, folder)
        if now == seen:
            continue
        seen = now
        await reload(policies, load, log)


async def reload(policies: Policies, load: Callable[[], Snapshot], log: Logger) -> None:
    try:
        snapshot = await asyncio.to_thread(load)
    except InvalidDocumentsError as error:
        policies.problems = error.problems
        log(
            "reload",
            level="error",
            serving=policies.snapshot.fingerprint,
            problems=[str(problem) for problem in error.problems[:10]],
        )
        return
    except Exception as error:
        # A bug of ours must not take down an engine that serves well; it is shown like an operator's mistake.
        policies.problems = (
            Problem("policies", 1, 1, "WV100", f"the policies could not be loaded: {error!r}"),
        )
        log("reload", level="error", serving=policies.snapshot.fingerprint, problems=[repr(error)])
        return
    policies.problems = ()
    if snapshot.fingerprint != policies.snapshot.fingerprint:
        policies.snapshot = snapshot
        policies.loads += 1
        log("reload", serving=snapshot.fingerprint, policy=snapshot.policy.name)


def load_from(folder: Path, policy: str) -> Callable[[], Snapshot]:
    return lambda: build(read_policies(folder), policy)


def _signature(folder: Path) -> Signature:
    signature: list[tuple[str, int, int, int]] = []
    for path in policy_files(folder):
        try:
            stat = path.stat()
        except OSError:  # it went away between the listing and the look; the next look will see the truth
            continue
        signature.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(signature)
