"""JSON Schemas in Gemini's subset of OpenAPI, and back.

Gemini refuses a request for one keyword it does not know. What it has another way of saying is said so (`const` as
an enum, a null as `nullable`, an exclusive bound as the next one inside it); an enum of numbers is told in the
description, because numbers made words would be answered as words; the rest is left out.
"""

from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.protocols.json_schema import Schema, flat, is_number, merged, remembered

_GEMINI_PLAIN = (
    "title", "description", "nullable", "minItems", "maxItems", "minLength", "maxLength",
    "minProperties", "maxProperties", "minimum", "maximum", "propertyOrdering",
)  # fmt: skip
_GEMINI_FORMATS = {
    "string": {"enum", "date-time"},
    "number": {"float", "double"},
    "integer": {"int32", "int64"},
}
_OF_TYPE = {
    "string": {"minLength", "maxLength", "pattern"},
    "array": {"minItems", "maxItems"},
    "object": {"minProperties", "maxProperties", "propertyOrdering"},
    "number": {"minimum", "maximum"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
}
_TYPED = set().union(*_OF_TYPE.values())
_KNOWN_TYPES = frozenset(_OF_TYPE)


@remembered
def for_gemini(schema: Schema) -> dict[str, Any]:
    """The schema in Gemini's subset of OpenAPI: what it would refuse is said otherwise or left out."""
    return _gemini(flat(schema))


def _gemini(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return {"type": "string"}
    schema, nullable = _without_null(schema)
    branches = schema.get("anyOf")
    found = _gemini_union(schema, branches) if isinstance(branches, list) else _gemini_plain(schema)
    if nullable:
        found["nullable"] = True
    return found


def _without_null(schema: Schema) -> tuple[dict[str, Any], bool]:
    """The schema without its null, in one spelling: `anyOf` for every union; and whether there was a null."""
    found = dict(schema)
    nullable = found.pop("nullable", None) is True
    kinds = found.get("type")
    if isinstance(kinds, list):
        rest = [kind for kind in kinds if kind != "null"]
        nullable |= "null" in kinds
        if len(rest) == 1:
            found["type"] = rest[0]
        else:
            del found["type"]
            if rest and "anyOf" not in found and "oneOf" not in found and "properties" not in found:
                found["anyOf"] = [{**_of_one_type(found, kind), "type": kind} for kind in rest]
    if "const" in found:
        found.setdefault("enum", [found.pop("const")])
        found.pop("const", None)
    if isinstance(found.get("enum"), list) and None in found["enum"]:
        nullable = True
        found["enum"] = [value for value in found["enum"] if value is not None]
    union = found.pop("oneOf", None)
    if isinstance(union, list) and "anyOf" not in found:
        found["anyOf"] = union
    if isinstance(found.get("anyOf"), list):
        branches = [branch for branch in found["anyOf"] if not _is_null(branch)]
        nullable |= len(branches) < len(found["anyOf"])
        found["anyOf"] = branches
    if found.get("type") == "null":
        del found["type"]
        nullable = True
    return found, nullable


def _of_one_type(schema: Schema, kind: str) -> dict[str, Any]:
    keys = {"items", "prefixItems"} if kind == "array" else _OF_TYPE.get(kind, set())
    return {key: value for key, value in schema.items() if key in keys}


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (
        schema.get("type") == "null"
        or schema.get("type") == ["null"]
        or ("const" in schema and schema["const"] is None)
        or schema.get("enum") == [None]
    )


def _gemini_union(schema: Schema, branches: list[Any]) -> dict[str, Any]:
    """`anyOf` stands alone in Gemini: what is said beside it goes into every branch, or stands instead of it where
    the branches only say which fields go together."""
    base = {key: value for key, value in schema.items() if key != "anyOf"}
    shaped = [branch for branch in branches if isinstance(branch, Mapping) and _has_shape(branch)]
    if not shaped or (_has_shape(base) and len(shaped) < len(branches)):
        return _gemini_plain(base)
    words: dict[str, Any] = {key: base.pop(key) for key in ("title", "description", "default") if key in base}
    whole = [merged(base, branch) if base else branch for branch in shaped]
    if len(whole) == 1:
        return _gemini({**whole[0], **words})
    if all(_is_words(branch) for branch in whole):
        joined = [value for branch in whole for value in _gemini_enum(branch)]
        return _gemini_plain({**words, "type": "string", "enum": list(dict.fromkeys(joined))})
    found: dict[str, Any] = {"anyOf": [_gemini(branch) for branch in whole]}
    return found | {key: value for key, value in words.items() if key != "default"}


def _has_shape(schema: Schema) -> bool:
    return bool(schema.keys() & {"type", "properties", "items", "enum", "const", "anyOf", "oneOf"})


def _is_words(schema: Schema) -> bool:
    """Whether a branch is nothing but words to choose from."""
    values = _gemini_enum(schema)
    return bool(values) and all(isinstance(value, str) for value in values) and "description" not in schema


def _gemini_enum(schema: Schema) -> list[Any]:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values if isinstance(values, list) else []


def _gemini_plain(schema: Schema) -> dict[str, Any]:
    kind = _type_of(schema)
    found: dict[str, Any] = {"type": kind}
    for key in _GEMINI_PLAIN:
        if key in schema and (key not in _TYPED or key in _OF_TYPE[kind]) and schema[key] is not None:
            found[key] = schema[key]
    _add_bounds(found, schema, kind)
    form = schema.get("format")
    if isinstance(form, str) and form in _GEMINI_FORMATS.get(kind, ()):
        found["format"] = form
    pattern = schema.get("pattern")
    if kind == "string" and isinstance(pattern, str) and "(?" not in pattern and "\\" + "u" not in pattern:
        found["pattern"] = pattern
    _add_enum(found, _gemini_enum(schema), kind)
    if kind == "array":
        found["items"] = _gemini_items(schema)
    if kind == "object":
        _add_fields(found, schema)
    return found


def _type_of(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, str) and kind.lower() in _KNOWN_TYPES:
        return kind.lower()
    if schema.keys() & {"properties", "required", "additionalProperties", "minProperties"}:
        return "object"
    if schema.keys() & {"items", "prefixItems", "minItems", "maxItems"}:
        return "array"
    values = _gemini_enum(schema)
    if values and all(isinstance(value, bool) for value in values):
        return "boolean"
    if values and all(is_number(value) for value in values):
        return "integer" if all(isinstance(value, int) for value in values) else "number"
    if schema.keys() & {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}:
        return "number"
    return "string"


def _add_bounds(found: dict[str, Any], schema: Schema, kind: str) -> None:
    """Exclusive bounds do not exist; the nearest that do are as strict for integers and a little wider for others."""
    if kind not in ("integer", "number"):
        return
    for exclusive, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        value = schema.get(exclusive)
        if not is_number(value):
            continue
        value = value + step if kind == "integer" and isinstance(value, int) else value
        pick = max if step > 0 else min
        found[bound] = pick(value, found[bound]) if is_number(found.get(bound)) else value


def _add_enum(found: dict[str, Any], values: list[Any], kind: str) -> None:
    """Only words can be listed. Numbers made words would be answered as words, so they are told instead."""
    if not values:
        return
    words = [value for value in values if isinstance(value, str) and value]
    if kind == "string" and words and all(isinstance(value, str) for value in values):
        if len(words) == len(values):
            found["enum"] = list(dict.fromkeys(words))
        return
    told = ", ".join(wire.dumps(value).decode() for value in values[:50])
    said = found.get("description")
    found["description"] = f"{said} One of: {told}." if isinstance(said, str) and said else f"One of: {told}."


def _gemini_items(schema: Schema) -> dict[str, Any]:
    items = schema.get("items")
    places = schema.get("prefixItems") or (items if isinstance(items, list) else None)
    if isinstance(places, list) and places:
        kinds = [_gemini(place) for place in places if isinstance(place, Mapping)]
        different = [kind for at, kind in enumerate(kinds) if kind not in kinds[:at]]
        if len(different) > 1:
            return {"anyOf": different}
        return different[0] if different else {"type": "string"}
    return _gemini(items) if isinstance(items, Mapping) else {"type": "string"}


def _add_fields(found: dict[str, Any], schema: Schema) -> None:
    fields = schema.get("properties")
    fields = fields if isinstance(fields, Mapping) else {}
    written = {name: _gemini(inner) for name, inner in fields.items() if inner is not False}
    if written:
        found["properties"] = written
    required = schema.get("required")
    needed = [name for name in required if name in written] if isinstance(required, list) else []
    if needed:
        found["required"] = list(dict.fromkeys(needed))
    order = found.pop("propertyOrdering", None)
    if isinstance(order, list) and order and all(name in written for name in order):
        found["propertyOrdering"] = order


@remembered
def from_gemini(schema: Schema) -> dict[str, Any]:
    """Gemini's spelling as JSON Schema: types in small letters, `nullable` as a type, numbers as numbers."""
    return _from_gemini(schema)


def _from_gemini(schema: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in schema.items():
        name = _SPELLINGS.get(key, key)
        match name:
            case "properties" if isinstance(value, Mapping):
                found[name] = {field: _spelled(inner) for field, inner in value.items()}
            case "items" | "additionalProperties":
                found[name] = _spelled(value)
            case "anyOf" | "oneOf" | "allOf" if isinstance(value, list):
                found[name] = [_spelled(inner) for inner in value]
            case "$defs" if isinstance(value, Mapping):
                found[name] = {field: _spelled(inner) for field, inner in value.items()}
            case "type" if isinstance(value, str):
                if value.upper() != "TYPE_UNSPECIFIED":
                    found[name] = value.lower()
            case "nullable" | "propertyOrdering" | "example":
                pass
            case "format" if value == "enum":
                pass
            case _ if name in _COUNTS and isinstance(value, str) and value.isdecimal():
                found[name] = int(value)
            case _:
                found[name] = value
    if schema.get("nullable") is True:
        if isinstance(found.get("type"), str):
            found["type"] = [found["type"], "null"]
            if isinstance(found.get("enum"), list):
                found["enum"] = [*found["enum"], None]
        elif isinstance(found.get("anyOf"), list):
            found["anyOf"] = [*found["anyOf"], {"type": "null"}]
    return found


_SPELLINGS = {
    "any_of": "anyOf", "one_of": "oneOf", "min_items": "minItems", "max_items": "maxItems", "min_length": "minLength",
    "max_length": "maxLength", "min_properties": "minProperties", "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering", "additional_properties": "additionalProperties", "defs": "$defs",
    "ref": "$ref",
}  # fmt: skip
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def _spelled(value: Any) -> Any:
    return _from_gemini(value) if isinstance(value, Mapping) else value
