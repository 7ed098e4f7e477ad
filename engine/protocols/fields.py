"""Reading fields of untrusted JSON: each function gives a value of one type, or says where another one stood.

The same functions read what clients send and what providers answer; `RequestError` is for the former, and
those who read providers turn it into an `UpstreamError`.
"""

from collections.abc import Mapping, Set
from typing import Any

from engine.core.errors import RequestError
from engine.protocols.mapping import WireMap

Json = Mapping[str, Any]

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def wrong(path: str, expected: str, found: object) -> RequestError:
    kind = "null" if found is None else _KINDS.get(type(found), "something else")
    return RequestError(
        f"{path}: expected {expected}, found {kind}" if path else f"expected {expected}, found {kind}"
    )


def an_object(value: Any, path: str) -> Json:
    if type(value) is dict:
        return value
    raise wrong(path, "an object", value)


def a_list(value: Any, path: str) -> list[Any]:
    if type(value) is list:
        return value
    raise wrong(path, "a list", value)


def a_string(value: Any, path: str) -> str:
    if type(value) is str:
        return value
    raise wrong(path, "a string", value)


def an_integer(value: Any, path: str) -> int:
    if type(value) is int:
        return value
    raise wrong(path, "an integer", value)


def string(holder: Json, key: str, path: str, default: str | None = None) -> str:
    """The string under `key`; absent or null gives the default, or is wrong where there is none."""
    value = holder.get(key)
    if type(value) is str:
        return value
    if value is None and default is not None:
        return default
    raise wrong(f"{path}.{key}" if path else key, "a string", value)


def maybe_object(holder: Json, key: str, path: str) -> Json | None:
    value = holder.get(key)
    return None if value is None else an_object(value, f"{path}.{key}" if path else key)


def maybe_list(holder: Json, key: str, path: str) -> list[Any]:
    """The list under `key`, empty where it is absent or null."""
    value = holder.get(key)
    return [] if value is None else a_list(value, f"{path}.{key}" if path else key)


def maybe_boolean(holder: Json, key: str, path: str) -> bool | None:
    value = holder.get(key)
    if value is None or type(value) is bool:
        return value
    raise wrong(f"{path}.{key}" if path else key, "a boolean", value)


def maybe_integer(holder: Json, key: str, path: str) -> int | None:
    value = holder.get(key)
    return None if value is None else an_integer(value, f"{path}.{key}" if path else key)


def leftover(holder: Json, known: Set[str]) -> dict[str, Any]:
    """What a reader does not understand and therefore keeps: other keys, where they hold something."""
    if holder.keys() <= known:
        return {}
    return {key: value for key, value in holder.items() if key not in known and value is not None}


def knobs(body: Json, names: WireMap) -> dict[str, Any]:
    """The fields of one value, by our names. Of two fields for one name the first in the file that is set wins."""
    found: dict[str, Any] = {}
    for knob in names.knobs:
        value = body.get(knob.field)
        if value is not None and knob.name not in found:
            found[knob.name] = _of_type(knob.type, value, knob.field)
    return found


def _of_type(kind: str, value: Any, path: str) -> Any:
    match kind:
        case "integer" if type(value) is int or (type(value) is float and value.is_integer()):
            return int(value)
        case "number" if type(value) in (int, float):
            return float(value)
        case "boolean" if type(value) is bool:
            return value
        case "string" if type(value) is str:
            return value
        case "strings" if type(value) is str:
            return (value,)
        case "strings":
            return tuple(a_string(item, f"{path}.{at}") for at, item in enumerate(a_list(value, path)))
    raise wrong(path, {"integer": "an integer"}.get(kind, f"a {kind}"), value)
