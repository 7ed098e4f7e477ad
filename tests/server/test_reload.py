"""Policies on disk, changed in every way that editors and orchestrators change files."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import InvalidDocumentsError
from engine.documents import shipped_text
from engine.server import reload
from engine.server.log import Log
from engine.server.reload import MOST_FILE_BYTES, Policies, follow, load_from, read_policies

CATALOG, POLICY = (shipped_text(f"policies/{name}.yaml") for name in ("catalog", "default"))
DEFAULTS = {
    "default: {use: frontier}": "default: {use: small}",
    "expect: {rule: default, model: opus,": "expect: {rule: default, model: haiku,",
}


def cheaper(text: str) -> str:
    for old, new in DEFAULTS.items():
        assert old in text
        text = text.replace(old, new)
    return text


CHEAP = cheaper(POLICY)
OPEN = "expect: {rule: default}"
BROKEN = POLICY.replace("use: local", "use: locall")


class Folder:
    """A folder of policies that is followed, and what is served from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = StringIO()
        self.policies: Policies

    @property
    def file(self) -> Path:
        return self.path / "default.yaml"

    @property
    def default(self) -> str:
        """What the policy that serves does where no rule matches: tells one edit from another."""
        served: Any = self.policies.snapshot.policy
        return str(served.default.action.use)

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        source = load_from(self.path, "")
        self.policies = Policies(source())
        log = Log(self.log, json=True)
        task = asyncio.ensure_future(follow(self.path, self.policies, source, log))
        try:
            yield
            assert not task.done(), "nobody follows the folder any more"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            log.close()


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "policies"
    path.mkdir()
    (path / "catalog.yaml").write_text(CATALOG)
    (path / "default.yaml").write_text(POLICY)
    return Folder(path)


# How files change -------------------------------------------------------------------------------------------------


def write_in_place(folder: Folder, text: str) -> None:
    folder.file.write_text(text)


def rename_over(folder: Folder, text: str) -> None:
    """As editors save: a temporary file beside it, moved over it."""
    temporary = folder.path / ".default.yaml.swp"
    temporary.write_text(text)
    temporary.rename(folder.file)


def rename_away_and_write(folder: Folder, text: str) -> None:
    """As editors that keep a backup save."""
    folder.file.rename(folder.path / "default.yaml~")
    folder.file.write_text(text)


def keep_size_and_time(folder: Folder, text: str) -> None:
    """As tools that synchronise do: the new file claims to be as old as the one before."""
    stat = folder.file.stat()
    other = folder.path / "other.tmp"
    other.write_text(text)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(folder.file)


@pytest.mark.parametrize("save", [write_in_place, rename_over, rename_away_and_write, keep_size_and_time])
def test_an_edit_serves_however_it_is_saved(folder: Folder, save: Callable[[Folder, str], None]) -> None:
    async def story() -> None:
        async with folder.followed():
            assert folder.default == "frontier"
            save(folder, CHEAP)
            await until(lambda: folder.default == "small")
            assert not folder.policies.stale
            save(folder, POLICY)
            await until(lambda: folder.default == "frontier")

    asyncio.run(story())


def test_links_swapped_under_the_folder_are_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: each file a link through ..data, which is a link that is replaced."""
    path = tmp_path / "mounted"
    path.mkdir()

    def publish(version: str, text: str) -> None:
        real = path / f"..{version}"
        real.mkdir()
        (real / "catalog.yaml").write_text(CATALOG)
        (real / "default.yaml").write_text(text)
        fresh = path / "..data_tmp"
        fresh.symlink_to(real.name)
        fresh.rename(path / "..data")

    publish("2026_01", POLICY)
    for name in ("catalog.yaml", "default.yaml"):
        (path / name).symlink_to(Path("..data") / name)
    folder = Folder(path)

    async def story() -> None:
        async with folder.followed():
            publish("2026_02", CHEAP)
            shutil.rmtree(path / "..2026_01")
            await until(lambda: folder.default == "small")
            publish("2026_03", POLICY)
            await until(lambda: folder.default == "frontier")
            assert not folder.policies.stale

    asyncio.run(story())


def test_the_folder_itself_may_be_a_link_that_is_replaced(tmp_path: Path) -> None:
    for name, text in (("one", POLICY), ("two", CHEAP)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "catalog.yaml").write_text(CATALOG)
        (tmp_path / name / "default.yaml").write_text(text)
    current = tmp_path / "current"
    current.symlink_to("one")
    folder = Folder(current)

    async def story() -> None:
        async with folder.followed():
            fresh = tmp_path / "fresh"
            fresh.symlink_to("two")
            fresh.rename(current)
            await until(lambda: folder.default == "small")

    asyncio.run(story())


def test_a_file_being_written_is_not_served_half(folder: Folder) -> None:
    """Cut off between two rules it holds, and would serve other rules than anybody wrote."""
    kept = CHEAP[: CHEAP.index("tests:")].replace("default: {use: small}\n", "")
    lines = (kept + "default: {use: small}\n").splitlines(keepends=True)
    served: set[int] = set()

    async def story() -> None:
        async with folder.followed():
            before = len(_rules(folder))
            with folder.file.open("w") as out:
                for line in lines:
                    out.write(line)
                    out.flush()
                    await asyncio.sleep(reload.POLL_SECONDS / 5)
                    served.add(len(_rules(folder)))
            await until(lambda: folder.default == "small")
            assert served == {before}
            assert not folder.policies.stale

    asyncio.run(story())


def _rules(folder: Folder) -> Any:
    served: Any = folder.policies.snapshot.policy
    return served.rules


# What does not hold -----------------------------------------------------------------------------------------------


def breaking(text: str) -> Callable[[Folder], None]:
    return lambda folder: write_in_place(folder, text)


def empty_folder(folder: Folder) -> None:
    for path in folder.path.iterdir():
        path.unlink()


def no_folder(folder: Folder) -> None:
    shutil.rmtree(folder.path)


def bytes_of_no_text(folder: Folder) -> None:
    folder.file.write_bytes(b"\xff\xfe" + POLICY.encode())


def far_too_large(folder: Folder) -> None:
    folder.file.write_text("#" * (MOST_FILE_BYTES + 1))


def a_link_to_nowhere(folder: Folder) -> None:
    folder.file.unlink()
    folder.file.symlink_to("nowhere.yaml")


def a_folder_in_its_place(folder: Folder) -> None:
    folder.file.unlink()
    folder.file.mkdir()


TROUBLE: dict[str, tuple[Callable[[Folder], None], str]] = {
    "a wrong name": (breaking(BROKEN), "WV301"),
    "half a file": (breaking(POLICY[:300]), "WV101"),
    "an empty file": (breaking(""), "WV105"),
    "a failing case": (breaking(POLICY.replace(OPEN, "expect: {rule: long-context}")), "WV501"),
    "a deleted file": (lambda folder: folder.file.unlink(), "WV310"),
    "an empty folder": (empty_folder, "WV101"),
    "no folder": (no_folder, "WV101"),
    "bytes that are no text": (bytes_of_no_text, "WV101"),
    "a file far too large": (far_too_large, "WV101"),
    "a link to nowhere": (a_link_to_nowhere, "WV101"),
    "a folder in its place": (a_folder_in_its_place, "WV101"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_broken_edit_keeps_the_last_good_set_and_is_shown(folder: Folder, trouble: str) -> None:
    breaks, code = TROUBLE[trouble]

    async def story() -> None:
        async with folder.followed():
            good = folder.policies.snapshot
            breaks(folder)
            await until(lambda: folder.policies.stale)
            assert code in {problem.code for problem in folder.policies.problems}
            assert folder.policies.snapshot is good

    asyncio.run(story())
    assert code in folder.log.getvalue()


def test_what_was_broken_recovers_to_what_it_was_or_to_something_new(folder: Folder) -> None:
    async def story() -> None:
        async with folder.followed():
            good = folder.policies.snapshot
            for _ in range(2):
                write_in_place(folder, BROKEN)
                await until(lambda: folder.policies.stale)
                write_in_place(folder, POLICY)
                await until(lambda: not folder.policies.stale)
                assert folder.policies.snapshot is good
            write_in_place(folder, BROKEN)
            await until(lambda: folder.policies.stale)
            write_in_place(folder, CHEAP)
            await until(lambda: folder.default == "small")
            assert not folder.policies.stale

    asyncio.run(story())


def test_a_folder_that_went_away_may_come_back(folder: Folder) -> None:
    async def story() -> None:
        async with folder.followed():
            shutil.rmtree(folder.path)
            await until(lambda: folder.policies.stale)
            folder.path.mkdir()
            (folder.path / "catalog.yaml").write_text(CATALOG)
            write_in_place(folder, CHEAP)
            await until(lambda: folder.default == "small")

    asyncio.run(story())


def test_a_bug_of_ours_is_shown_like_a_mistake_and_the_folder_is_followed_on(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    async def story() -> None:
        async with folder.followed():
            with monkeypatch.context() as patched:
                patched.setattr(reload, "build_aside", fail)
                write_in_place(folder, CHEAP)
                await until(lambda: folder.policies.stale)
                assert [problem.code for problem in folder.policies.problems] == ["WV100"]
            write_in_place(folder, CHEAP + "# again\n")
            await until(lambda: folder.default == "small")

    asyncio.run(story())


def test_what_a_snapshot_needs_is_made_ready_before_it_serves(folder: Folder) -> None:
    async def story() -> None:
        policies = Policies(load_from(folder.path, "")())
        before = policies.snapshot
        seen: list[tuple[str, bool]] = []
        write_in_place(folder, CHEAP)
        log = Log(StringIO(), json=True)
        await reload.reload(
            policies,
            load_from(folder.path, ""),
            log,
            lambda snapshot: seen.append((snapshot.fingerprint, policies.snapshot is before)),
        )
        log.close()
        assert seen == [(policies.snapshot.fingerprint, True)]

    asyncio.run(story())


def test_touching_a_file_changes_nothing(folder: Folder) -> None:
    async def story() -> None:
        async with folder.followed():
            good = folder.policies.snapshot
            folder.file.touch()
            await asyncio.sleep(reload.POLL_SECONDS * 4)
            assert folder.policies.snapshot is good
            assert folder.policies.loads == 1

    asyncio.run(story())


def test_hidden_and_other_files_are_no_policies(folder: Folder) -> None:
    for name in (".hidden.yaml", "default.yaml~", "notes.txt", "..data.yaml"):
        (folder.path / name).write_text("nonsense: [")
    assert {Path(name).name for name in read_policies(folder.path)} == {"catalog.yaml", "default.yaml"}


def test_every_unreadable_file_is_told(folder: Folder) -> None:
    (folder.path / "a.yaml").write_bytes(b"\xff")
    (folder.path / "b.yml").mkdir()
    os.mkfifo(folder.path / "c.yaml")  # reading it would wait for somebody to write
    (folder.path / "d.yaml").symlink_to("/dev/zero")  # and this never ends
    with pytest.raises(InvalidDocumentsError) as refused:
        read_policies(folder.path)
    assert [Path(problem.file).name for problem in refused.value.problems] == [
        "a.yaml",
        "b.yml",
        "c.yaml",
        "d.yaml",
    ]


# Over sockets -----------------------------------------------------------------------------------------------------

STREAMS = 50


def test_edits_while_streams_run_fail_nobody_and_serve_within_a_second(house: Any) -> None:
    async def story() -> None:
        async with house() as at:
            replies: list[Any] = []
            stop = asyncio.Event()
            sessions = iter(range(1_000_000))

            async def stream() -> None:
                while not stop.is_set():
                    replies.append(await at.ask("Rename the parser module.", stream=True))
                    await asyncio.sleep(0.05)

            async def model() -> str:
                """What serves a new session now; an old one keeps what it has."""
                reply = await at.ask("What is a monad?", headers={"x-weave-session": f"s{next(sessions)}"})
                assert reply.status_code == 200, reply.text
                return str(reply.headers["x-weave-model"])

            async def edits() -> None:
                text = at.policy.read_text()
                assert await model() == "opus"

                at.policy.write_text(cheaper(text))
                edited = time.monotonic()
                while await model() != "haiku":
                    assert time.monotonic() - edited < 1.0, "the edit did not serve"

                at.policy.write_text(cheaper(text).replace("use: local", "use: locall"))
                await _until_ready_says(at, stale=True)
                ready = await at.client.get("/ready")
                assert ready.status_code == 200
                assert any("WV301" in problem for problem in ready.json()["problems"])
                assert await model() == "haiku"

                at.policy.write_text(text)
                await _until_ready_says(at, stale=False)
                assert await model() == "opus"

            streams = [asyncio.ensure_future(stream()) for _ in range(STREAMS)]
            try:
                await edits()
            finally:
                stop.set()
                await asyncio.gather(*streams)
            assert len(replies) > STREAMS
            assert {reply.status_code for reply in replies} == {200}
            assert all("message_stop" in reply.text for reply in replies)

    asyncio.run(story())


async def _until_ready_says(at: Any, stale: bool) -> None:
    end = time.monotonic() + 5
    while (await at.client.get("/ready")).json()["policy_stale"] is not stale:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_rewritten_ten_times_a_second_each_stream_is_of_one_set_from_its_decision_to_its_end(
    house: Any,
) -> None:
    """Each set names its rule, its model and its reason by one number: a request that mixed two would show two."""
    models = ("opus", "haiku")

    def numbered(number: int) -> str:
        model = models[number % 2]
        return (
            "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: default}\nrules:\n"
            f"  - {{name: rule-{number}-{model}, when: 'true', then: {{use: {model}}}, reason: \"'set {number}'\"}}\n"
            "default: {use: mid}\n"
        )

    async def story() -> None:
        async with house(numbered(0)) as at:
            seen: list[tuple[str, str, str]] = []
            stop = asyncio.Event()

            async def stream(worker: int) -> None:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    headers = {"x-weave-session": f"{worker}-{turn}"}
                    reply = await at.ask("Rename the parser module.", stream=True, headers=headers)
                    assert reply.status_code == 200, reply.text
                    assert "message_stop" in reply.text
                    told = reply.headers
                    seen.append((told["x-weave-rule"], told["x-weave-model"], told["x-weave-reason"]))

            streams = [asyncio.ensure_future(stream(worker)) for worker in range(STREAMS)]
            loads = at.engine.policies.loads
            for number in range(1, 25):
                at.policy.write_text(numbered(number))
                await asyncio.sleep(0.1 if number % 4 else 0.4)  # a set is taken up once two looks agree
            stop.set()
            await asyncio.gather(*streams)
            assert at.engine.policies.loads - loads >= 4
            assert not at.engine.policies.stale
            for rule, model, reason in seen:
                _, of, meant = rule.split("-")
                assert (model, reason) == (meant, f"set {of}")
            assert len({rule for rule, _, _ in seen}) >= 4

    asyncio.run(story())
