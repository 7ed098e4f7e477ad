"""How OpenAI words what it refuses: one function for each kind of fault, with its `param` and `code`."""

from typing import Any

from engine.simulator.wire import Refused


def refuse(message: str, param: str | None = None, code: str | None = None) -> Refused:
    return Refused(400, "invalid_request_error", message, param, code)


def missing(param: str) -> Refused:
    return refuse(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def empty(param: str) -> Refused:
    return refuse(
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array "
        "instead.",
        param,
        "empty_array",
    )


def too_long(param: str, text: str, most: int) -> Refused:
    return refuse(
        f"Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a "
        "string with "
        f"length {len(text)} instead.",
        param,
        "string_above_max_length",
    )


_JSON_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}


def wrong_type(param: str, wanted: str, value: Any) -> Refused:
    got = "null" if value is None else _JSON_NAMES.get(type(value), "a decimal")
    return refuse(
        f"Invalid type for '{param}': expected {wanted}, but got {got} instead.", param, "invalid_type"
    )
