"""A decision told whole: what was decided, what came of it, what was tried, as JSON for people and programs."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from engine.core.decision import AttemptRecord, Decision, Result


def as_json(decision: Decision, result: Result | None, attempts: Sequence[AttemptRecord]) -> dict[str, Any]:
    told: dict[str, Any] = plain(decision)
    told["model"] = decision.model
    told["result"] = plain(result) if result else None
    told["tried"] = [plain(attempt) for attempt in attempts]
    return told


def plain(value: Any) -> Any:
    """Dataclasses to dictionaries, tuples to lists, all the way down; what is beyond 64 bits is told about."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(value)
    return value
