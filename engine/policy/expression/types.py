"""The static types of expressions, and how a JSON Schema becomes them.

A type also carries a guess at its size, for the cost bound, and the closed set of values an enum allows.
Neither takes part in equality: `string` is `string` however long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

Kind = Literal[
    "bool", "int", "uint", "double", "string", "bytes", "null", "timestamp", "duration", "type", "dyn"
]

# What a value of unknown length is taken to be long; schemas say better with maxLength and maxItems.
TEXT_SIZE = 256
LIST_SIZE = 64


@dataclass(frozen=True, slots=True)
class Scalar:
    kind: Kind
    size: int = field(default=1, compare=False)
    values: frozenset[str] | None = field(default=None, compare=False)  # of an enum of strings

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class ListOf:
    element: "Type"
    size: int = field(default=LIST_SIZE, compare=False)

    def __str__(self) -> str:
        return f"list({self.element})"


@dataclass(frozen=True, slots=True)
class MapOf:
    key: "Type"
    value: "Type"
    size: int = field(default=LIST_SIZE, compare=False)

    def __str__(self) -> str:
        return f"map({self.key}, {self.value})"


@dataclass(frozen=True, slots=True)
class Field:
    type: "Type"
    required: bool = True
    text: str = field(default="", compare=False)  # the schema's sentence about it


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object whose fields are known by name."""

    name: str = field(compare=False)
    fields: Mapping[str, Field]

    def __str__(self) -> str:
        return self.name or "record"


Type = Scalar | ListOf | MapOf | Record

BOOL = Scalar("bool")
INT = Scalar("int")
UINT = Scalar("uint")
DOUBLE = Scalar("double")
STRING = Scalar("string", TEXT_SIZE)
BYTES = Scalar("bytes", TEXT_SIZE)
NULL = Scalar("null")
TIMESTAMP = Scalar("timestamp")
DURATION = Scalar("duration")
TYPE = Scalar("type")
DYN = Scalar("dyn", TEXT_SIZE)

NUMBERS: frozenset[Kind] = frozenset({"int", "uint", "double"})


def kind_of(kind: Type) -> str:
    match kind:
        case Scalar():
            return kind.kind
        case ListOf():
            return "list"
        case MapOf() | Record():
            return "map"
        case _:
            assert_never(kind)


def is_number(kind: Type) -> bool:
    return isinstance(kind, Scalar) and kind.kind in NUMBERS


def size_of(kind: Type) -> int:
    """How many characters, items or entries a value of this type is taken to have."""
    return len(kind.fields) if isinstance(kind, Record) else kind.size


def weight_of(kind: Type) -> int:
    """How many units it takes to go over the whole value once."""
    match kind:
        case Scalar():
            return 1 + kind.size // 16
        case ListOf():
            return 1 + kind.size * weight_of(kind.element)
        case MapOf():
            return 1 + kind.size * weight_of(kind.value)
        case Record():
            return 1 + sum(weight_of(each.type) for each in kind.fields.values())
        case _:
            assert_never(kind)


def scan_cost(kinds: Sequence[Type]) -> int:
    """What it costs to go over all of these values once, beyond the step of the call."""
    return sum(weight_of(kind) - 1 for kind in kinds if not isinstance(kind, Record))


def sized(kind: Type, size: int) -> Type:
    """A value of another length is none of the enum's any more."""
    match kind:
        case Scalar():
            return Scalar(kind.kind, size)
        case Record():
            return kind
        case _:
            return replace(kind, size=size)


def join(left: Type, right: Type) -> Type | None:
    """The type of a value that is one or the other; None where they are of different types."""
    match left, right:
        case Scalar(), Scalar() if left.kind == right.kind:
            values = None
            if left.values is not None and right.values is not None:
                values = left.values | right.values
            return Scalar(left.kind, max(left.size, right.size), values)
        case ListOf(), ListOf():
            return ListOf(join(left.element, right.element) or DYN, max(left.size, right.size))
        case MapOf(), MapOf():
            key, value = join(left.key, right.key) or DYN, join(left.value, right.value) or DYN
            return MapOf(key, value, max(left.size, right.size))
        case Record(), Record() if left == right:
            return left
        case Scalar("dyn"), _:
            return left
        case _, Scalar("dyn"):
            return right
        case _:
            return None


def join_all(kinds: Sequence[Type]) -> Type:
    """The element type of a list literal: `dyn` where the items differ."""
    if not kinds:
        return DYN
    joined: Type = kinds[0]
    for each in kinds[1:]:
        joined = join(joined, each) or DYN
    return joined


def from_schema(schema: Mapping[str, Any], name: str = "", root: Mapping[str, Any] | None = None) -> Type:
    """The type of the values a JSON Schema describes. What it leaves open is `dyn`."""
    root = schema if root is None else root
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return from_schema(_resolve(reference, root), name, root)
    match schema.get("type"):
        case "string":
            return _string(schema)
        case "integer":
            return INT
        case "number":
            return DOUBLE
        case "boolean":
            return BOOL
        case "null":
            return NULL
        case "array":
            size = schema.get("maxItems", LIST_SIZE)
            return ListOf(from_schema(schema.get("items") or {}, name, root), size)
        case "object":
            return _object(schema, name, root)
        case None if _are_strings(schema.get("enum")) or isinstance(schema.get("const"), str):
            return _string(schema)
        case None if "properties" in schema:
            return _object(schema, name, root)
        case _:
            return DYN


def _are_strings(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)


def _string(schema: Mapping[str, Any]) -> Type:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if _are_strings(values):
        return Scalar("string", max(len(value) for value in values), frozenset(values))
    return Scalar("string", schema.get("maxLength", TEXT_SIZE))


def _object(schema: Mapping[str, Any], name: str, root: Mapping[str, Any]) -> Type:
    properties = schema.get("properties")
    if properties is None:
        values = schema.get("additionalProperties")
        value = from_schema(values, name, root) if isinstance(values, Mapping) else DYN
        return MapOf(STRING, value, schema.get("maxProperties", LIST_SIZE))
    required = frozenset(schema.get("required", ()))
    fields = {
        key: Field(
            from_schema(each, f"{name}.{key}" if name else key, root),
            key in required,
            each.get("description", ""),
        )
        for key, each in properties.items()
    }
    return Record(name, fields)


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Only references into the same document: a schema of ours is one file."""
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) and "$ref" not in found else {}
