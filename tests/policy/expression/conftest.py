"""The vocabulary and the inputs that the expression tests share."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.policy.expression import Vocabulary

CASES = Path(__file__).parents[2] / "cases" / "expression"

TEXT = {"type": "string"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "features": {
            "type": "object",
            "properties": {
                "phase": {"enum": ["chat", "plan", "execute", "validate", "title"]},
                "language": TEXT,
                "tool_count": {"type": "integer"},
                "context_tokens": {"type": "integer"},
                "turn": {"type": "integer"},
                "price": {"type": "number"},
                "subagent": {"type": "boolean"},
                "tools": {"type": "array", "items": TEXT},
                "sizes": {"type": "array", "items": {"type": "integer"}},
                "shares": {"type": "array", "items": {"type": "number"}},
                "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                "labels": {"type": "object", "additionalProperties": TEXT},
                "anything": {},
                "file": {
                    "type": "object",
                    "properties": {"name": TEXT, "lines": {"type": "integer"}},
                    "required": ["name"],
                },
            },
            "required": [
                "phase", "language", "tool_count", "context_tokens", "turn", "price", "subagent", "tools", "sizes",
                "shares", "counts", "labels", "anything", "file",
            ],
        },
        "hints": {
            "type": "object",
            "properties": {"task": TEXT, "private": {"type": "boolean"}, "max_cost": {"type": "number"}},
        },
        "identity": {
            "type": "object",
            "properties": {"team": TEXT, "data_class": TEXT},
            "required": ["team", "data_class"],
        },
    },
}  # fmt: skip

INPUTS: dict[str, Any] = {
    "features": {
        "phase": "plan",
        "language": "Python",
        "tool_count": 3,
        "context_tokens": 900,
        "turn": 0,
        "price": 0.5,
        "subagent": False,
        "tools": ["Read", "Edit", "Bash"],
        "sizes": [10, 20, 0],
        "shares": [0.25, 0.75],
        "counts": {"read": 2},
        "labels": {"team": "core"},
        "anything": [1, "one", {"deep": True}],
        "file": {"name": "turn.py"},
    },
    "hints": {},
    "identity": {"team": "core", "data_class": "internal"},
}


def cases(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((CASES / name).read_text(encoding="utf-8"))
    return loaded


def merged(changes: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
    """The shared inputs with some fields changed, root by root."""
    roots = {root: dict(fields) for root, fields in INPUTS.items()}
    for root, fields in (changes or {}).items():
        roots.setdefault(root, {}).update(fields)
    return roots


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `<file>_case` runs once for each case of `tests/cases/expression/<file>.yaml`."""
    for argument in metafunc.fixturenames:
        if argument == "specification_case":
            paths = sorted((CASES / "specification").glob("*.yaml"))
            rows = [(path.stem, case) for path in paths for case in cases(f"specification/{path.name}")]
        elif argument.endswith("_case"):
            stem = argument.removesuffix("_case")
            rows = [(stem, case) for case in cases(f"{stem}.yaml")]
        else:
            continue
        ids = [f"{stem}: {case['expr']}"[:90] for stem, case in rows]
        metafunc.parametrize(argument, [case for _, case in rows], ids=ids)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.from_schema(SCHEMA)


@pytest.fixture
def inputs() -> dict[str, Any]:
    return merged(None)
