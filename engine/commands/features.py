"""`weave-engine features`: everything expressions may read, with its type and what it means."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine import wire
from engine.commands import terminal
from engine.core.errors import RequestError
from engine.documents import did_you_mean, shipped_json
from engine.policy.phrases import INPUT_SCHEMA, OUTCOMES_SCHEMA, STATS_SCHEMA
from engine.server.telling import plain

# JSON Schema's words for types, and CEL's.
TYPES = {"integer": "int", "number": "double", "boolean": "bool", "string": "string", "object": "map"}


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that can be read. What is not `always` there needs has() before it."""

    name: str
    type: str
    always: bool
    values: tuple[str, ...]
    description: str


def features(only: str = "", *, json: bool = False) -> int:
    """Prints the words whose name or description holds `only`. Raises RequestError where none does."""
    words = [word for word in vocabulary() if only.casefold() in f"{word.name} {word.description}".casefold()]
    if not words:
        hint = did_you_mean(only, [word.name for word in vocabulary()])
        raise RequestError(
            f"nothing that expressions read has to do with {only!r}" + (f"; {hint}" if hint else "")
        )
    if json:
        print(wire.dumps([plain(word) for word in words]).decode())
        return 0
    for root, about in roots().items():
        told = [plain(word) for word in words if word.name.partition(".")[0] == root]
        if told:
            terminal.vocabulary(root, about, told)
    return 0


def roots() -> dict[str, str]:
    """Each root with a sentence on what it holds."""
    schemas = {
        **shipped_json(INPUT_SCHEMA)["properties"],
        "outcome": shipped_json(OUTCOMES_SCHEMA),
        "stats": shipped_json(STATS_SCHEMA),
    }
    return {root: schema["description"] for root, schema in schemas.items()}


def vocabulary() -> Iterator[Word]:
    for root, schema in shipped_json(INPUT_SCHEMA)["properties"].items():
        yield from _words(root, schema)
    yield from _words("outcome", shipped_json(OUTCOMES_SCHEMA))
    yield from _words("stats", shipped_json(STATS_SCHEMA))


def _words(root: str, schema: Mapping[str, Any]) -> Iterator[Word]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        values = tuple(field.get("enum", ()))
        yield Word(f"{root}.{name}", TYPES[field["type"]], name in required, values, field["description"])
