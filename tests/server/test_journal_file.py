import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.core.decision import Outcome
from engine.server import journal_file
from engine.server.database import Connection, JournalError, connect, select
from engine.server.journal_file import JournalFile
from engine.server.rows import OUTCOMES, row_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weave.db"


@contextmanager
def opened(path: Path, warnings: list[str]) -> Iterator[JournalFile]:
    file = JournalFile(str(path), False, warnings.append)
    try:
        yield file
    finally:
        file.close()


def tell(connection: Connection, id: str) -> None:
    connection.execute(OUTCOMES.insert(), row_of(Outcome(id, 1.0)))


def told(connection: Connection) -> list[str]:
    return [one.id for one in select(connection, OUTCOMES, "id >= ? ORDER BY id", "")]


def told_in(path: Path) -> list[str]:
    with closing(connect(str(path), read_only=True)) as connection:
        return told(connection)


@pytest.mark.parametrize("with_log", [False, True], ids=["the file alone", "and what was written ahead"])
def test_a_file_that_is_deleted_is_written_again_with_all_that_was_in_it(path: Path, with_log: bool) -> None:
    warnings: list[str] = []
    with opened(path, warnings) as file:
        tell(file.connection, "before")
        for name in ("", "-wal", "-shm") if with_log else ("",):
            Path(f"{path}{name}").unlink()
        file.look()
        tell(file.connection, "after")
        assert told_in(path) == ["after", "before"]
        assert not file.trouble
    assert told_in(path) == ["after", "before"]
    assert "deleted" in warnings[0]


def test_a_file_whose_folder_is_gone_waits_for_it(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with opened(folder / "weave.db", []) as file:
        tell(file.connection, "before")
        shutil.rmtree(folder)
        file.look()
        assert file.trouble
        folder.mkdir()
        file.look()
        assert not file.trouble
    assert told_in(folder / "weave.db") == ["before"]


def test_another_journal_in_its_place_is_the_journal_from_then_on(path: Path, tmp_path: Path) -> None:
    warnings: list[str] = []
    with opened(tmp_path / "copy.db", []) as other:
        tell(other.connection, "other")
    with opened(path, warnings) as file:
        tell(file.connection, "before")
        os.replace(tmp_path / "copy.db", path)
        file.look()
        tell(file.connection, "after")
        assert file.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert told_in(path) == ["after", "other"]
    assert "replaced" in warnings[0]


def test_something_else_in_its_place_is_not_written_to(path: Path) -> None:
    with opened(path, []) as file:
        path.unlink()
        path.write_bytes(b"no database, but somebody's" * 100)
        file.look()
        assert "not a database" in file.trouble
        path.unlink()
        file.look()
        assert not file.trouble


def test_a_journal_that_cannot_be_written_is_read_until_it_can_be(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path, []) as file:
        tell(file.connection, "before")

    def full(path: str, read_only: bool) -> Connection:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(journal_file, "connect", full)
        file = JournalFile(str(path), False, lambda _: None)
        file.look()
        assert "full" in file.trouble
        assert told(file.connection) == ["before"]
    file.look()
    assert not file.trouble
    tell(file.connection, "after")
    file.close()
    assert told_in(path) == ["after", "before"]


def test_a_damaged_journal_is_refused_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        JournalFile(str(path), False, lambda _: None)
    assert path.read_bytes() == b"no database" * 1000


def test_a_journal_that_is_not_there_and_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        JournalFile(str(tmp_path / "nowhere" / "weave.db"), False, lambda _: None)


def test_a_journal_in_memory_is_never_gone() -> None:
    file = JournalFile(":memory:", False, lambda _: None)
    file.look()
    assert not file.trouble
    file.close()


def test_one_opened_for_reading_is_left_where_it_is(path: Path) -> None:
    with opened(path, []):
        pass
    reader = JournalFile(str(path), True, lambda _: None)
    path.unlink()
    reader.look()
    assert not path.exists()
    assert not reader.trouble
    reader.close()
    with pytest.raises((JournalError, sqlite3.OperationalError)):
        JournalFile(str(path), True, lambda _: None)
