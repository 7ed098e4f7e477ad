"""What does not add up between clients, providers and the journal is found, item by item."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import ledger


def answer(nonce: str = "n1", calls: tuple[str, ...] = ("0-1",), decision: str = "d1") -> dict[str, Any]:
    return {"nonce": nonce, "calls": list(calls), "decision": decision}


def call(name: str, at: float, nonce: str = "n1") -> dict[str, Any]:
    return {"call": name, "nonce": nonce, "at": at}


def test_a_request_that_failed_over_before_content_is_right() -> None:
    assert ledger.after_content([answer(calls=("1-1",))], [call("0-1", 1.0), call("1-1", 2.0)]) == []


def test_a_call_after_the_one_that_spoke_is_wrong() -> None:
    calls = [call("1-1", 2.0), call("0-1", 1.0)]
    assert len(ledger.after_content([answer(calls=("0-1",))], calls)) == 1
    assert ledger.after_content([answer(calls=())], calls) == []


def test_content_of_two_calls_is_wrong() -> None:
    assert len(ledger.after_content([answer(calls=("0-1", "1-1"))], [])) == 1


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "weave.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE decisions (id); CREATE TABLE attempts (decision, number);"
            "CREATE TABLE results (decision, attempts);"
            "INSERT INTO decisions VALUES ('d1'); INSERT INTO results VALUES ('d1', 2);"
            "INSERT INTO attempts VALUES ('d1', 1), ('d1', 2);"
        )
    connection.close()
    return path


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ("", 0),
        ("DELETE FROM decisions", 1),
        ("DELETE FROM results", 1),
        ("DELETE FROM attempts WHERE number = 1", 1),
        ("DELETE FROM attempts WHERE number = 2", 1),
        ("INSERT INTO decisions VALUES ('d2')", 1),
    ],
)
def test_every_row_that_is_missing_is_found(journal: Path, change: str, lacking: int) -> None:
    with sqlite3.connect(journal) as connection:
        connection.executescript(change)
    connection.close()
    assert len(ledger.missing([answer()], journal)) == lacking


def test_memory_that_grows_is_seen_and_memory_that_is_flat_is_not() -> None:
    flat = [(float(at), 100.0) for at in range(100)]
    growing = [(float(at), 100.0 + at) for at in range(100)]
    assert (ledger.growth_mb(flat, 100), ledger.slope_mb_per_minute(flat, 0)) == (0.0, 0.0)
    assert ledger.growth_mb(growing, 100) == pytest.approx(55, abs=3)
    assert ledger.slope_mb_per_minute(growing, 30) == pytest.approx(60)
