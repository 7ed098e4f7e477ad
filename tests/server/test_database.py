import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.core.decision import Outcome
from engine.server.database import (
    Connection,
    JournalError,
    connect,
    connect_reading,
    copy_to,
    passes,
    select,
    transaction,
    unusable,
)
from engine.server.rows import OUTCOMES, row_of

# What is asked at the start and on a request's way, with what must not be read from end to end.
ASKED = [
    ("SELECT * FROM decisions WHERE session = 's' AND session <> '' ORDER BY at, rowid", "decisions"),
    ("SELECT * FROM decisions WHERE id > 'd' ORDER BY id LIMIT 10", "decisions"),
    ("SELECT * FROM attempts WHERE decision = 'd' ORDER BY number", "attempts"),
    ("SELECT * FROM outcomes WHERE subject = 's' OR (subject >= 's/' AND subject < 's0')", "outcomes"),
    ("SELECT * FROM lessons WHERE number > 5 ORDER BY number", "lessons"),
    ("SELECT coalesce(max(number), 0) FROM lessons", "lessons"),
    ("SELECT key FROM pins WHERE expires <= 5 ORDER BY expires LIMIT 10", "pins"),
    ("SELECT key FROM lineages ORDER BY at LIMIT 10", "lineages"),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "weave.db")


@pytest.mark.parametrize(("query", "table"), ASKED)
def test_no_question_reads_a_whole_table(path: str, query: str, table: str) -> None:
    with closing(connect(path, read_only=False)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert not [step for step in plan if step.startswith(f"SCAN {table}") and "USING INDEX" not in step], plan
    assert not [step for step in plan if "TEMP B-TREE FOR ORDER BY" in step and table != "outcomes"], plan


def test_a_journal_that_lacks_nothing_is_opened_without_a_write(path: str) -> None:
    """So that a start needs no lock, which another process may hold."""
    with (
        closing(connect(path, read_only=False)) as writer,
        transaction(writer),
        closing(connect(path, read_only=False)) as other,
    ):
        assert select(other, OUTCOMES, "id = ?", "o") == []


def tell_and_fail(connection: Connection) -> None:
    with transaction(connection):
        connection.execute(OUTCOMES.insert(), row_of(Outcome("o", 1.0)))
        raise KeyError


def test_what_a_transaction_did_is_undone_where_it_fails(path: str) -> None:
    with closing(connect(path, read_only=False)) as connection:
        with pytest.raises(KeyError):
            tell_and_fail(connection)
        assert select(connection, OUTCOMES, "id = ?", "o") == []


def test_a_copy_holds_everything(path: str) -> None:
    with closing(connect(path, read_only=False)) as connection:
        connection.execute(OUTCOMES.insert(), row_of(Outcome("o", 1.0)))
        copy_to(connection, f"{path}.copy")
    with closing(connect_reading(f"{path}.copy")) as copy:
        assert [one.id for one in select(copy, OUTCOMES, "id = ?", "o")] == ["o"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            copy.execute("DELETE FROM outcomes")


def test_a_full_disk_may_pass_and_a_damaged_file_does_not() -> None:
    assert passes(sqlite3.OperationalError("database or disk is full"))
    assert not passes(sqlite3.DatabaseError("file is not a database"))
    assert "move it away" in str(unusable("weave.db", sqlite3.DatabaseError("file is not a database")))
    assert "move it away" not in str(unusable("weave.db", sqlite3.OperationalError("database is locked")))


def test_a_journal_of_another_version_is_read_by_nobody(path: str) -> None:
    with closing(connect(path, read_only=False)) as connection:
        connection.execute("UPDATE meta SET value = '7' WHERE name = 'version'")
    with pytest.raises(JournalError, match="of version 7"):
        connect(path, read_only=False)
    with pytest.raises(JournalError, match="of version 7"):
        connect_reading(path)
