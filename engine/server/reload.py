"""Policies on disk, followed as they change: the last good set serves until a better one is whole.

The folder is looked at several times a second: names, sizes, times and inodes, through symbolic links, which is
cheap and survives what editors and orchestrators do (renames over the old file, links swapped under a folder).
A change is taken up once two looks agree, so that a file still being written is not served half: cut off between
two rules it may well hold. What changed is read and built aside; only a set without errors replaces the one that
serves, by one assignment. A request keeps the snapshot it began with.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from engine.core.errors import InvalidDocumentsError, Problem
from engine.server.building import build_aside
from engine.server.log import Logger
from engine.snapshot import Snapshot, build, fingerprint

POLL_SECONDS = 0.15
PAST_SETS = 16
MOST_FILE_BYTES = 4 * 1024 * 1024

Signature = tuple[tuple[str, int, int, int, int], ...]
Prepare = Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where policies come from. `read` gives file name -> text, or raises InvalidDocumentsError; `policy` names
    the one that serves, or is empty."""

    read: Callable[[], Mapping[str, str]]
    policy: str = ""

    def __call__(self) -> Snapshot:
        """Builds them, here and now."""
        return build(self.read(), self.policy)

    def newer(self, serving: str) -> Snapshot | None:
        """Builds them aside, or gives None where what is there is what serves already."""
        files = self.read()
        return None if fingerprint(files) == serving else build_aside(files, self.policy)


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
            status = path.stat()
            if not S_ISREG(status.st_mode):  # a pipe or a device might never end
                problems.append(_unreadable(path, "it is no regular file"))
            elif status.st_size > MOST_FILE_BYTES:
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
        self._past: dict[str, Snapshot] = {}

    @property
    def stale(self) -> bool:
        return bool(self.problems)

    def serve(self, snapshot: Snapshot) -> None:
        self._past.pop(self.snapshot.fingerprint, None)
        self._past[self.snapshot.fingerprint] = self.snapshot
        while len(self._past) > PAST_SETS:
            del self._past[next(iter(self._past))]
        self.snapshot = snapshot
        self.loads += 1

    def known(self, fingerprint: str) -> Snapshot | None:
        """The set that serves, or one of the last that did: what was decided by it may still be judged."""
        if fingerprint == self.snapshot.fingerprint:
            return self.snapshot
        return self._past.get(fingerprint)


def _nothing(snapshot: Snapshot) -> None:
    """What serves a snapshot needs nothing made ready for it."""


async def follow(
    folder: Path, policies: Policies, source: Source, log: Logger, prepare: Prepare = _nothing
) -> None:
    """Keep `policies` up to date with the folder, for as long as the task runs. `prepare` makes ready, in a thread,
    what a snapshot needs that no request should wait for."""
    seen: Signature | None = None
    loaded: Signature | None = None  # not what is there now: that may have changed since it was first read
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = await asyncio.to_thread(_signature, folder)
        settled, seen = now == seen, now
        if settled and now != loaded:
            loaded = now
            await reload(policies, source, log, prepare)


async def reload(policies: Policies, source: Source, log: Logger, prepare: Prepare = _nothing) -> None:
    """Serve what is there now, if it holds; otherwise show what is wrong with it."""
    serving = policies.snapshot.fingerprint
    try:
        snapshot = await asyncio.to_thread(source.newer, serving)
        if snapshot is not None:
            await asyncio.to_thread(prepare, snapshot)
    except InvalidDocumentsError as error:
        policies.problems = error.problems
        shown = [str(problem) for problem in error.problems[:10]]
        log("reload", level="error", serving=serving, problems=shown)
        return
    except Exception as error:
        # A bug of ours must not take down an engine that serves well; it is shown like an operator's mistake.
        message = f"the policies could not be loaded: {error!r}"
        policies.problems = (Problem("policies", 1, 1, "WV100", message),)
        log("reload", level="error", serving=serving, problems=[repr(error)])
        return
    if snapshot is None and not policies.stale:
        return
    policies.problems = ()
    if snapshot is not None:
        policies.serve(snapshot)
    log("reload", serving=policies.snapshot.fingerprint, policy=policies.snapshot.policy.name)


def load_from(folder: Path, policy: str) -> Source:
    return Source(lambda: read_policies(folder), policy)


def _signature(folder: Path) -> Signature:
    signature: list[tuple[str, int, int, int, int]] = []
    for path in policy_files(folder):
        try:
            stat = path.stat()
        except OSError:  # it went away between the listing and the look; the next look will see the truth
            continue
        signature.append((str(path), stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino))
    return tuple(signature)
