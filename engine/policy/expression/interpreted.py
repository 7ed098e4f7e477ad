"""The functions cel-python's interpreter is given, so that the slow path agrees with the compiled one.

They replace its own where it departs from the specification (the list is in the package's essay) and add the
strings and math extensions, which it lacks.
"""

from collections.abc import Callable
from typing import Any

from engine.policy.expression import runtime
from engine.policy.expression.compare import is_duration
from engine.policy.expression.complaints import EvaluationError
from engine.policy.expression.parse import (
    duration,
    failed,
    is_failed,
    is_uint,
    original,
    plain,
    timestamp_of_seconds,
    to_cel,
    type_name,
)
from engine.policy.expression.patterns import matches

Function = Callable[..., Any]


def _on_plain(function: Function) -> Function:
    """Runs a function of ours on cel-python's values; what goes wrong becomes its kind of error, a value."""

    def called(*arguments: Any) -> Any:
        for argument in arguments:
            if is_failed(argument):
                return argument
        try:
            return to_cel(function(*(plain(argument) for argument in arguments)))
        except EvaluationError as error:
            return failed(error.fault.message)
        except (TypeError, ValueError, AttributeError, IndexError):
            return failed("no such overload")

    return called


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ordering(name: str, compare: Callable[[Any, Any], bool]) -> Function:
    """Numbers by value across their types; the rest as cel-python has it."""
    theirs = original(name)

    def called(left: Any, right: Any) -> Any:
        if (
            not is_failed(left)
            and not is_failed(right)
            and _is_number(plain(left))
            and _is_number(plain(right))
        ):
            return to_cel(compare(plain(left), plain(right)))
        return theirs(left, right)

    return called


def _arithmetic(name: str, doubles: Callable[[float, float], float] | None = None) -> Function:
    """Never across number types: Python would convert without a word."""
    theirs = original(name)

    def called(left: Any, right: Any) -> Any:
        if is_failed(left) or is_failed(right):
            return left if is_failed(left) else right
        one, other = plain(left), plain(right)
        if isinstance(one, bool) or isinstance(other, bool):
            return failed("no such overload")
        if _is_number(one) and _is_number(other):
            if type(one) is not type(other) or is_uint(left) is not is_uint(right):
                return failed("no such overload")
            if isinstance(one, float):
                return to_cel(doubles(one, other)) if doubles else failed("no such overload")
        return theirs(left, right)

    return called


def _at(container: Any, key: Any) -> Any:
    if isinstance(container, list) and isinstance(key, int) and not isinstance(key, bool):
        return runtime.at(container, key)
    if isinstance(container, dict):
        return runtime.entry(container, key)
    raise EvaluationError("no such overload")


def _index(container: Any, key: Any) -> Any:
    """As cel-python's, but a list has nothing before its first item."""
    if is_failed(container) or is_failed(key):
        return container if is_failed(container) else key
    if isinstance(container, list) and isinstance(plain(key), int) and key < 0:
        return failed(f"index {int(key)} is out of range")
    return original("_[_]")(container, key)


def _contains(container: Any, value: Any) -> Any:
    return runtime.contains_item(container, value)


def _has_part(text: Any, part: Any) -> bool:
    """Its own method is lost when two strings are added."""
    if isinstance(text, str) and isinstance(part, str):
        return part in text
    raise EvaluationError("no such overload")


def _string(value: Any) -> Any:
    match value:
        case bool():
            return runtime.string_of_bool(value)
        case bytes():
            return runtime.string_of_bytes(value)
        case _:
            return str(value)


def _converted(name: str, text: Callable[[str], Any], double: Callable[[float], Any] | None) -> Function:
    theirs = original(name)
    of_text = _on_plain(text)
    of_double = _on_plain(double) if double else theirs

    def called(value: Any) -> Any:
        if isinstance(plain(value), str):
            return of_text(value)
        if isinstance(plain(value), float):
            return of_double(value)
        return theirs(value)

    return called


def _duration(value: Any) -> Any:
    if isinstance(value, str) and not is_duration(value):
        return failed(f"{value[:40]!r} is no duration")
    return duration(value)


def _extreme(pick: Callable[..., Any]) -> Function:
    def called(_namespace: Any, *values: Any) -> Any:
        found = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if not found or not all(_is_number(value) for value in found):
            raise EvaluationError("no such overload")
        return pick(*found)

    return _on_plain(called)


def _of_namespace(function: Function) -> Function:
    """`math.f(x)` reaches an interpreter without namespaces as a method of a value called math."""
    return _on_plain(lambda _namespace, *arguments: function(*arguments))


def _of_doubles(function: Function) -> Function:
    def called(value: Any) -> Any:
        if not isinstance(value, float):
            raise EvaluationError("no such overload")
        return function(value)

    return _of_namespace(called)


def _timestamp(value: Any) -> Any:
    return timestamp_of_seconds(int(value)) if isinstance(plain(value), int) else original("timestamp")(value)


def _type(value: Any) -> Any:
    """The object that the type's name means to the interpreter, so that `type(x) == int` can hold."""
    if is_failed(value):
        return value
    name = "type" if callable(value) else type_name(value)
    return FUNCTIONS.get(name) or original(name)


FUNCTIONS: dict[str, Function] = {
    "_==_": _on_plain(runtime.equals),
    "_!=_": _on_plain(runtime.differs),
    "_in_": _on_plain(lambda item, container: _contains(container, item)),
    "_<_": _ordering("_<_", lambda a, b: a < b),
    "_<=_": _ordering("_<=_", lambda a, b: a <= b),
    "_>_": _ordering("_>_", lambda a, b: a > b),
    "_>=_": _ordering("_>=_", lambda a, b: a >= b),
    "_+_": _arithmetic("_+_", lambda a, b: a + b),
    "_-_": _arithmetic("_-_", lambda a, b: a - b),
    "_*_": _arithmetic("_*_", lambda a, b: a * b),
    "_/_": _arithmetic("_/_", runtime.divide_double),
    "_%_": _arithmetic("_%_"),
    "_[_]": _index,
    "contains": _on_plain(_has_part),
    "matches": _on_plain(matches),
    "string": _on_plain(_string),
    "bool": _converted("bool", runtime.bool_of_string, None),
    "int": _converted("int", runtime.int_of_string, runtime.int_of_double),
    "double": _converted("double", runtime.double_of_string, None),
    "duration": _duration,
    "timestamp": _timestamp,
    "type": _type,
    "charAt": _on_plain(runtime.char_at),
    "indexOf": _on_plain(runtime.index_of),
    "lastIndexOf": _on_plain(runtime.last_index_of),
    "join": _on_plain(runtime.join),
    "lowerAscii": _on_plain(runtime.lower_ascii),
    "upperAscii": _on_plain(runtime.upper_ascii),
    "replace": _on_plain(runtime.replace),
    "split": _on_plain(runtime.split),
    "substring": _on_plain(runtime.substring),
    "trim": _on_plain(runtime.trim),
    "reverse": _on_plain(runtime.reverse),
    "greatest": _extreme(lambda *values: max(values)),
    "least": _extreme(lambda *values: min(values)),
    **{
        name: _of_doubles(runtime.CALLABLE[python])
        for name, python in {
            "ceil": "ceil", "floor": "floor", "round": "round", "trunc": "trunc",
            "isNaN": "is_nan", "isInf": "is_inf", "isFinite": "is_finite",
        }.items()
    },
    "sign": _of_namespace(runtime.sign),
    "sqrt": _of_namespace(runtime.square_root),
    "abs": _of_namespace(abs),
    "bitAnd": _of_namespace(lambda a, b: a & b),
    "bitOr": _of_namespace(lambda a, b: a | b),
    "bitXor": _of_namespace(lambda a, b: a ^ b),
    "bitNot": _of_namespace(lambda a: ~a),
    "bitShiftLeft": _of_namespace(runtime.shift_left_int),
    "bitShiftRight": _of_namespace(runtime.shift_right_int),
}  # fmt: skip
NAMESPACES = {"math": "math"}
