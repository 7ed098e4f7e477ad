"""JSON Schemas rewritten for vendors that know only a part of the language. Pure functions; nothing is changed.

Where two demands contradict or cannot be said to a vendor, the schema is widened and not narrowed, and what the
model answers is held against the original.

Keywords and the names of properties are told apart by where they stand: a property may well be called
`$ref`, `const` or `format`, and stays.

References are written out, since Gemini has none: a reference inside its own target is cut to an object without
fields. Schemas that would grow beyond MOST_NODES that way are cut there too.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, TypeVar

from engine import wire

Schema = Mapping[str, Any]
T = TypeVar("T")

MOST_NODES = 10_000
DEEPEST = 60  # vendors stop long before

_SCHEMA_MAPS = ("properties", "patternProperties", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")

MOST_REMEMBERED = 1_024
LONGEST_REMEMBERED = 16_384  # bytes of a schema


def remembered(rewrite: Callable[[Schema], T]) -> Callable[[Schema], T]:
    """Clients send the same tools with every request, so what became of a schema is known again by its text: that
    costs a fiftieth. Requests share the results; nobody may change them."""

    @lru_cache(maxsize=MOST_REMEMBERED)
    def by_text(text: bytes) -> T:
        return rewrite(wire.loads(text))

    def rewritten(schema: Schema) -> T:
        try:
            text = wire.dumps(schema)
        except ValueError:
            return rewrite(schema)
        return by_text(text) if len(text) <= LONGEST_REMEMBERED else rewrite(schema)

    return rewritten


def flat(schema: Any) -> Schema:
    """The schema with its references written out and its `allOf` merged."""
    root = schema if isinstance(schema, Mapping) else {}
    return _Flattening(root).node(schema, (), 0)


class _Flattening:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._nodes = 0

    def node(self, schema: Any, inside: tuple[str, ...], depth: int) -> dict[str, Any]:
        """`inside` are the references being written out."""
        self._nodes += 1
        if not isinstance(schema, Mapping) or self._nodes > MOST_NODES or depth > DEEPEST:
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._referenced(reference, schema, inside, depth)
        written = {
            key: self._value(key, value, inside, depth)
            for key, value in schema.items()
            if key not in ("$defs", "definitions", "allOf") and _is_sound(key, value)
        }
        branches = schema.get("allOf")
        if not isinstance(branches, list):
            return written
        for branch in branches:
            written = merged(written, self.node(branch, inside, depth + 1))
        return written

    def _referenced(
        self, reference: str, schema: Schema, inside: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        own = self.node(siblings, inside, depth + 1) if siblings else {}
        if reference in inside:
            return {"type": "object", **own}
        target = pointed(self._root, reference)
        return merged(self.node(target, (*inside, reference), depth + 1), own) | _words(own)

    def _value(self, key: str, value: Any, inside: tuple[str, ...], depth: int) -> Any:
        one = partial(self.node, inside=inside, depth=depth + 1)
        if key in _SCHEMA_MAPS and isinstance(value, Mapping):
            return {
                name: inner if isinstance(inner, bool) else one(inner)
                for name, inner in value.items()
                if isinstance(inner, Mapping | bool)
            }
        if key in _SCHEMA_LISTS and isinstance(value, list):
            return [inner if isinstance(inner, bool) else one(inner) for inner in value]
        if key == "items" and isinstance(value, list):
            return [one(inner) for inner in value]
        if key in _SCHEMAS and isinstance(value, Mapping):
            return one(value)
        return value


def _is_sound(key: str, value: Any) -> bool:
    """Whether a keyword holds a value of the kind it may; another is as if it were not there."""
    match key:
        case "type":
            kinds = value if isinstance(value, list) else [value]
            return all(isinstance(kind, str) for kind in kinds)
        case "required":
            return isinstance(value, list) and all(isinstance(name, str) for name in value)
        case "anyOf" | "oneOf" | "prefixItems" | "enum":
            return isinstance(value, list)
        case "properties":
            return isinstance(value, Mapping)
        case "format" | "pattern" | "title" | "description":
            return isinstance(value, str)
    return True


def _words(schema: Schema) -> dict[str, Any]:
    """What is said beside a reference about this use of it."""
    return {key: schema[key] for key in ("title", "description", "default") if key in schema}


def pointed(root: Schema, reference: str) -> Any:
    """What a local reference points at; an empty schema where it points at nothing."""
    if not reference.startswith("#"):
        return {}
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return {}
    return found


# ---- two schemas that hold at once

_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def merged(one: Schema, other: Schema) -> dict[str, Any]:
    """One schema for both; where they contradict, wider than both."""
    found = dict(one)
    for key, value in other.items():
        if key not in found:
            found[key] = value
        elif found[key] != value:
            joined = _joined(key, found[key], value)
            if joined is None:
                del found[key]
            else:
                found[key] = joined
    for least, most in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if is_number(found.get(least)) and is_number(found.get(most)) and found[least] > found[most]:
            del found[least], found[most]
    return found


def _joined(key: str, one: Any, other: Any) -> Any:
    """The value of a keyword for which both say something else; None where none is right."""
    match key:
        case "properties" if isinstance(one, Mapping) and isinstance(other, Mapping):
            both = {
                name: merged(one[name], other[name])
                for name in one.keys() & other.keys()
                if _are_schemas(one[name], other[name])
            }
            return {**one, **other, **both}
        case "required" if isinstance(one, list) and isinstance(other, list):
            return list(dict.fromkeys([*one, *other]))
        case "type":
            return _joinedtypes_of(one, other)
        case "enum" if isinstance(one, list) and isinstance(other, list):
            return [value for value in one if value in other] or [*one, *other]
        case "items" if _are_schemas(one, other):
            return merged(one, other)
        case "title" | "description" | "default":
            return one
        case "additionalProperties" if one is False or other is False:
            # Each branch closes the object to its own fields; together they would allow none.
            return None
        case "nullable":
            return bool(one and other)
    if is_number(one) and is_number(other) and key in _LEAST + _MOST:
        return max(one, other) if key in _LEAST else min(one, other)
    return None


def _joinedtypes_of(one: Any, other: Any) -> Any:
    ones, others = types_of(one), types_of(other)
    both = [kind for kind in ones if kind in others]
    if not both and {"integer", "number"} <= {*ones, *others}:
        return "integer"
    return (both[0] if len(both) == 1 else both) if both else None


def types_of(value: Any) -> list[str]:
    """A schema's types, whether it names one or several."""
    values = value if isinstance(value, list) else [value]
    return [kind for kind in values if isinstance(kind, str)]


def _are_schemas(one: Any, other: Any) -> bool:
    return isinstance(one, Mapping) and isinstance(other, Mapping)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
