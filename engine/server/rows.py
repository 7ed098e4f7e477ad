"""Events as rows: a column for each field of their type in `core/decision.py`; what SQLite has no type for is JSON.

Of a fault that is not ours only its kind and codes are kept: a provider's error message may quote the prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from operator import attrgetter
from typing import Any

from engine import wire
from engine.core.conversation import Loss
from engine.core.decision import (
    AttemptRecord,
    Candidate,
    Decision,
    Lesson,
    Outcome,
    Result,
    Step,
    StepRun,
    Withdrawal,
)
from engine.core.errors import Fault
from engine.core.lineage import Lineage
from engine.core.ports import Pin
from engine.core.reply import Usage
from engine.server.contents import Contents

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """A canary that was switched off, and why. Times are seconds since the epoch."""

    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Table:
    """Where events of one type are kept. `key` is what makes a row one of its kind."""

    name: str
    of: type
    key: str
    numbered: bool = False  # rows count from 1 without gaps
    lead: tuple[str, ...] = ()  # columns before those of the type, for what it does not say of itself

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.lead, *self.fields)

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self.of))

    def insert(self, conflict: str = "ABORT") -> str:
        columns, marks = ", ".join(self.columns), ", ".join("?" * len(self.columns))
        return f"INSERT OR {conflict} INTO {self.name} ({columns}) VALUES ({marks})"  # noqa: S608 - names are ours


DECISIONS = Table("decisions", Decision, "id")
ATTEMPTS = Table("attempts", AttemptRecord, "decision, number")
RESULTS = Table("results", Result, "decision")
OUTCOMES = Table("outcomes", Outcome, "id")
LESSONS = Table("lessons", Lesson, "", numbered=True)
WITHDRAWALS = Table("withdrawals", Withdrawal, "", numbered=True)
PINS = Table("pins", Pin, "key", lead=("key",))
LINEAGES = Table("lineages", Lineage, "key", lead=("key", "at"))
STOPPED = Table("stopped", Stopped, "key", lead=("key",))
CONTENTS = Table("contents", Contents, "decision")
TABLES = (DECISIONS, ATTEMPTS, RESULTS, OUTCOMES, LESSONS, WITHDRAWALS, PINS, LINEAGES, STOPPED, CONTENTS)

CELLS: dict[type, Callable[[Any], Row]] = {table.of: attrgetter(*table.fields) for table in TABLES}

# Fields without a default, which a row must fill even if with None.
REQUIRED = {
    table.of: {
        field.name
        for field in fields(table.of)
        if field.default is MISSING and field.default_factory is MISSING
    }
    for table in TABLES
}


def row_of(event: Any) -> Row:
    return tuple(map(_cell, CELLS[type(event)](event)))


def _cell(value: Any) -> Any:
    """Text and numbers as they are, everything else as JSON."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Fault):
        value = _without_prompt(value)
    try:
        return wire.dumps(value).decode()
    except ValueError:
        return wire.dumps(_plain(value)).decode()


def _without_prompt(fault: Fault) -> dict[str, Any]:
    told = asdict(fault)
    del told["detail"]
    if fault.origin != "engine":
        told["message"] = ""
    return told


def _plain(value: Any) -> Any:
    """What JSON can hold of any value; the rest as its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return str(value).encode("utf-8", "replace").decode()


# How cells that hold JSON, or a truth value, become fields again.
READ: dict[str, Callable[[Any], Any]] = {
    "targets": lambda cell: tuple(wire.loads(cell)),
    "dropped": lambda cell: tuple(map(_loss, wire.loads(cell))),
    "edits": lambda cell: tuple(wire.loads(cell)),
    "held": lambda cell: tuple(wire.loads(cell)),
    "held_fast": bool,
    "features": wire.loads,
    "hints": wire.loads,
    "labels": wire.loads,
    "inputs": wire.loads,
    "grams": lambda cell: tuple(wire.loads(cell)),
    "steps": lambda cell: tuple(_known(StepRun, one) for one in wire.loads(cell)),
    "remarks": lambda cell: tuple(wire.loads(cell)),
    "candidates": lambda cell: tuple(_known(Candidate, one) for one in wire.loads(cell)),
    "trace": lambda cell: tuple(_known(Step, one) for one in wire.loads(cell)),
    "usage": lambda cell: _known(Usage, wire.loads(cell)),
    "fault": lambda cell: _known(Fault, wire.loads(cell)),
    "client_gone": bool,
    "before": wire.loads,
    "raised": bool,
    "message_hashes": lambda cell: tuple(wire.loads(cell)),
}


def _loss(told: Any) -> Any:
    """Older engines kept the path alone."""
    return Loss(told, "") if isinstance(told, str) else _known(Loss, told)


def _known(of: type, told: Mapping[str, Any]) -> Any:
    """An object from what was written of it, by this engine or by a newer one with more fields."""
    return of(**{field.name: told[field.name] for field in fields(of) if field.name in told})


def event_of(of: type, columns: Sequence[str], row: Row) -> Any:
    """What a row holds. NULL is a field nobody set, or one the row is too old to have: its default, or None."""
    told = {
        name: cell if cell is None or name not in READ else READ[name](cell)
        for name, cell in zip(columns, row, strict=True)
        if cell is not None or name in REQUIRED[of]
    }
    return of(**told)


def of_kept(table: Table, row: Row) -> Any:
    """What a whole row of something that is kept by key holds."""
    return event_of(table.of, table.fields, row[len(table.lead) :])
