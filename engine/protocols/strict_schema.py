"""JSON Schemas in OpenAI's strict mode, which holds a model to its schema and knows only a part of the language."""

from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.protocols.json_schema import DEEPEST, Schema, flat, pointed, remembered, types_of

_STRICT_DROPS = frozenset(
    {
        "$schema", "$id", "$comment", "default", "examples", "title", "patternProperties", "propertyNames",
        "unevaluatedProperties", "minProperties", "maxProperties", "uniqueItems", "contains", "minContains",
        "maxContains", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "readOnly",
        "writeOnly", "deprecated", "minLength", "maxLength", "nullable",
    }
)  # fmt: skip
_STRICT_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)


class UnspeakableError(ValueError):
    """A schema that strict mode has no way to say."""


@remembered
def for_strict(schema: Schema) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode wants it: every field required, those that were not may be null, and no
    object open. None where it cannot be said so (maps, values of any type, references into themselves)."""
    if _is_strict(schema):
        return dict(schema)
    written = flat(schema)
    if _recurses(schema):
        return None
    if written.get("type") == "object" and not written.keys() & {
        "properties",
        "anyOf",
        "additionalProperties",
    }:
        written = {**written, "properties": {}}  # a tool without parameters
    try:
        found = _strict(written)
    except UnspeakableError:
        return None
    return found if found.get("type") == "object" else None


def _is_strict(schema: Schema) -> bool:
    """Whether it is said so already: then its references may stay, into themselves too."""
    return schema.get("type") == "object" and "properties" in schema and _all_closed(schema)


def _all_closed(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_all_closed, value))
    if not isinstance(value, Mapping):
        return True
    fields = value.get("properties")
    if isinstance(fields, Mapping):
        required = value.get("required")
        needed = required if isinstance(required, list) else []
        if value.get("additionalProperties") is not False or not all(name in needed for name in fields):
            return False
    elif value.get("type") == "object" or "oneOf" in value or "allOf" in value:
        return False
    return all(_all_closed(inner) for inner in value.values())


def _recurses(schema: Schema) -> bool:
    """Whether writing the references out cut one."""
    return "$ref" in wire_text(schema) and _cycles(schema, schema, ())


def wire_text(schema: Schema) -> str:
    try:
        return wire.dumps(schema).decode()
    except ValueError:
        return ""


def _cycles(root: Schema, value: Any, inside: tuple[str, ...]) -> bool:
    if isinstance(value, list):
        return any(_cycles(root, inner, inside) for inner in value)
    if not isinstance(value, Mapping):
        return False
    reference = value.get("$ref")
    if isinstance(reference, str):
        if reference in inside or len(inside) > DEEPEST:
            return True
        return _cycles(root, pointed(root, reference), (*inside, reference))
    return any(
        _cycles(root, inner, inside) for key, inner in value.items() if key not in ("$defs", "definitions")
    )


def _strict(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise UnspeakableError
    found = {key: value for key, value in schema.items() if key not in _STRICT_DROPS}
    union = found.pop("oneOf", None)
    if isinstance(union, list):
        found.setdefault("anyOf", union)
    if isinstance(found.get("anyOf"), list):
        found["anyOf"] = [_strict(branch) for branch in found["anyOf"]]
    elif not schema.keys() & {"type", "enum", "const", "properties", "items"}:
        raise UnspeakableError
    if found.get("format") not in _STRICT_FORMATS:
        found.pop("format", None)
    kinds = types_of(found.get("type"))
    if "object" in kinds or "properties" in found:
        return _strict_object(found)
    if "array" in kinds or "items" in found:
        found.pop("prefixItems", None)
        found["items"] = _strict(found.get("items"))
    found.pop("additionalProperties", None)
    return found


def _strict_object(found: dict[str, Any]) -> dict[str, Any]:
    fields, required = found.get("properties"), found.get("required")
    if found.get("additionalProperties") not in (None, False) or not isinstance(fields, Mapping):
        raise UnspeakableError  # a map: its names are not known beforehand
    needed = required if isinstance(required, list) else []
    found["properties"] = {
        name: _strict(inner) if name in needed else _or_null(_strict(inner)) for name, inner in fields.items()
    }
    return {"type": "object"} | found | {"required": list(fields), "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A field that may be left out is one that may be null. Its type stays one word: some vendors take no list."""
    if _allows_null(schema):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    said = {key: schema.pop(key) for key in ("description",) if key in schema}
    return {"anyOf": [schema, {"type": "null"}], **said}


def _allows_null(schema: Schema) -> bool:
    return (
        "null" in types_of(schema.get("type"))
        or any(_allows_null(branch) for branch in schema.get("anyOf", ()) if isinstance(branch, Mapping))
        or (isinstance(schema.get("enum"), list) and None in schema["enum"])
    )
