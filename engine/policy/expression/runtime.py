"""The functions generated code calls: CEL's arithmetic, conversions, strings and math on plain Python values.

Values are str, int, float, bool, bytes, None, list and dict. What the specification calls an error is an
`EvaluationError`. Which of `int` and `uint` an int is, the checker knows; here each has its own functions.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from engine.policy.expression.complaints import EvaluationError

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NAMED_DOUBLES = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})
_TRUE, _FALSE = (
    frozenset({"true", "True", "TRUE", "t", "1"}),
    frozenset({"false", "False", "FALSE", "f", "0"}),
)
_SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

# No text may grow past this while an expression runs, whatever the inputs were.
TEXT_LIMIT = 1_000_000


def throw(message: str) -> NoReturn:
    raise EvaluationError(message)


def _int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def _uint(value: int) -> int:
    if 0 <= value <= UINT_MAX:
        return value
    raise EvaluationError("unsigned integer overflow")


def _text(value: str) -> str:
    if len(value) <= TEXT_LIMIT:
        return value
    raise EvaluationError(f"text longer than {TEXT_LIMIT} characters")


# --- arithmetic


def add_int(left: int, right: int) -> int:
    return _int(left + right)


def subtract_int(left: int, right: int) -> int:
    return _int(left - right)


def multiply_int(left: int, right: int) -> int:
    return _int(left * right)


def divide_int(left: int, right: int) -> int:
    """Truncates towards zero, as Go and C do and Python does not."""
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return _int(quotient if (left < 0) == (right < 0) else -quotient)


def modulo_int(left: int, right: int) -> int:
    """The sign is the dividend's. The smallest int modulo -1 overflows in the specification."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    if right == -1 and left == INT_MIN:
        raise EvaluationError("integer overflow")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def negate_int(value: int) -> int:
    return _int(-value)


def add_uint(left: int, right: int) -> int:
    return _uint(left + right)


def subtract_uint(left: int, right: int) -> int:
    return _uint(left - right)


def multiply_uint(left: int, right: int) -> int:
    return _uint(left * right)


def divide_uint(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    return left // right


def modulo_uint(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return left % right


def divide_double(left: float, right: float) -> float:
    """IEEE 754: x/0 is an infinity with the sign of both, 0/0 is not a number."""
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def concatenate(left: str, right: str) -> str:
    return _text(left + right)


# --- logic: `&&` and `||` give an answer when one side alone decides it, even if the other side fails


def all_of(*operands: Callable[[], bool]) -> bool:
    failure: Exception | None = None
    for operand in operands:
        try:
            if not operand():
                return False
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return True


def any_of(*operands: Callable[[], bool]) -> bool:
    failure: Exception | None = None
    for operand in operands:
        try:
            if operand():
                return True
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return False


def every(items: Iterable[Any], test: Callable[[Any], bool]) -> bool:
    failure: Exception | None = None
    for item in items:
        try:
            if not test(item):
                return False
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return True


def some(items: Iterable[Any], test: Callable[[Any], bool]) -> bool:
    failure: Exception | None = None
    for item in items:
        try:
            if test(item):
                return True
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return False


def exactly_one(items: Iterable[Any], test: Callable[[Any], bool]) -> bool:
    """Unlike exists() and all(), a failing test fails the whole."""
    return sum(test(item) for item in items) == 1


# --- equality and containers


def equals(left: Any, right: Any) -> bool:
    """CEL's equality where the types are not known: numbers by value, everything else only within its type."""
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool) and left == right
    if isinstance(left, (int, float)):
        return isinstance(right, (int, float)) and left == right
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equals, left, right))
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and len(left) == len(right)
            and all(key in right and equals(value, right[key]) for key, value in left.items())
        )
    return type(left) is type(right) and bool(left == right)


def differs(left: Any, right: Any) -> bool:
    return not equals(left, right)


def contains_item(items: Iterable[Any], item: Any) -> bool:
    return any(equals(each, item) for each in items)


def at(items: Sequence[Any], index: int) -> Any:
    """A list has no items before its first."""
    if 0 <= index < len(items):
        return items[index]
    raise EvaluationError(f"index {index} is out of range: the list has {len(items)} item(s)")


def entry(values: Mapping[Any, Any], key: Any) -> Any:
    try:
        return values[key]
    except KeyError:
        raise EvaluationError(f"no such key: {key!r}") from None


def entries(*pairs: tuple[Any, Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, value in pairs:
        if key in made:
            raise EvaluationError(f"the key {key!r} is given twice")
        made[key] = value
    return made


# --- conversions


def int_of_double(value: float) -> int:
    if math.isfinite(value) and INT_MIN < (whole := math.trunc(value)) <= INT_MAX:
        return whole
    raise EvaluationError(f"{value} is out of the range of int")


def int_of_string(text: str) -> int:
    if len(text) <= 20 and _INTEGER.fullmatch(text):
        return _int(int(text))
    raise EvaluationError(f"{text[:40]!r} is not an integer")


def uint_of_double(value: float) -> int:
    if math.isfinite(value) and value > -1 and (whole := math.trunc(value)) <= UINT_MAX:
        return whole
    raise EvaluationError(f"{value} is out of the range of uint")


def uint_of_string(text: str) -> int:
    if len(text) <= 20 and _INTEGER.fullmatch(text):
        return _uint(int(text))
    raise EvaluationError(f"{text[:40]!r} is not an unsigned integer")


def double_of_string(text: str) -> float:
    if len(text) <= 400 and (_DECIMAL.fullmatch(text) or text.lower() in _NAMED_DOUBLES):
        return float(text)
    raise EvaluationError(f"{text[:40]!r} is not a number")


def bool_of_string(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise EvaluationError(f"{text[:40]!r} is neither true nor false")


def string_of_bool(value: bool) -> str:
    return "true" if value else "false"


def string_of_double(value: float) -> str:
    return str(float(value))


def string_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("the bytes are not UTF-8") from None


def bytes_of_string(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# --- strings, as the specification's strings extension has them; indexes count code points


def char_at(text: str, index: int) -> str:
    if 0 <= index <= len(text):
        return text[index : index + 1]
    raise EvaluationError(f"index {index} is out of range")


def index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index {start} is out of range")
    return text.find(part, start)


def last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index {start} is out of range")
    return text.rfind(part, 0, start + len(part))


def join(items: Sequence[str], separator: str = "") -> str:
    return _text(separator.join(items))


def lower_ascii(text: str) -> str:
    return text.translate(_LOWER)


def upper_ascii(text: str) -> str:
    return text.translate(_UPPER)


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    # Python makes the whole text before we can measure it, so the bound is computed first.
    found = text.count(old) if count < 0 else min(count, text.count(old))
    if len(text) + found * (len(new) - len(old)) > TEXT_LIMIT:
        raise EvaluationError(f"text longer than {TEXT_LIMIT} characters")
    return text.replace(old, new, count)


def split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    if limit < 0 or limit >= len(text):
        return list(text)
    return [*text[: limit - 1], text[limit - 1 :]]


def substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if 0 <= start <= end <= len(text):
        return text[start:end]
    raise EvaluationError(f"substring {start} to {end} is out of range")


def trim(text: str) -> str:
    return text.strip(_SPACES)


def reverse(text: str) -> str:
    return text[::-1]


# --- math


def greatest(*values: float) -> float:
    return max(values)


def least(*values: float) -> float:
    return min(values)


def greatest_of(values: Sequence[float]) -> float:
    if not values:
        raise EvaluationError("math.greatest() of an empty list")
    return max(values)


def least_of(values: Sequence[float]) -> float:
    if not values:
        raise EvaluationError("math.least() of an empty list")
    return min(values)


def _whole(rounding: Callable[[float], int]) -> Callable[[float], float]:
    def rounded(value: float) -> float:
        return float(rounding(value)) if math.isfinite(value) else value

    return rounded


def _away_from_zero(value: float) -> int:
    whole = math.trunc(value)
    return whole + int(math.copysign(1, value)) if abs(value - whole) >= 0.5 else whole


def sign(value: float) -> float:
    if value != value:  # not a number
        return value
    return type(value)((value > 0) - (value < 0))


def abs_int(value: int) -> int:
    return _int(abs(value))


def square_root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def _bits(value: int) -> int:
    """Of 64 bits, the signed reading."""
    value &= UINT_MAX
    return value - 2**64 if value > INT_MAX else value


def shift_left_int(value: int, count: int) -> int:
    return _bits(shift_left_uint(value, count))


def shift_right_int(value: int, count: int) -> int:
    """The sign bit is not kept: the specification shifts the bits as if they were unsigned."""
    return _bits(shift_right_uint(value & UINT_MAX, count))


def shift_left_uint(value: int, count: int) -> int:
    if count < 0:
        raise EvaluationError("a shift by a negative count")
    return (value << count) & UINT_MAX if count < 64 else 0


def shift_right_uint(value: int, count: int) -> int:
    if count < 0:
        raise EvaluationError("a shift by a negative count")
    return value >> count if count < 64 else 0


# By the name the overload table gives them; generated code can call nothing else.
CALLABLE: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        throw, add_int, subtract_int, multiply_int, divide_int, modulo_int, negate_int,
        add_uint, subtract_uint, multiply_uint, divide_uint, modulo_uint, divide_double, concatenate,
        all_of, any_of, every, some, exactly_one, equals, differs, contains_item, at, entry, entries,
        int_of_double, int_of_string, uint_of_double, uint_of_string, double_of_string, bool_of_string,
        string_of_bool, string_of_double, string_of_bytes, bytes_of_string,
        char_at, index_of, last_index_of, join, lower_ascii, upper_ascii, replace, split, substring, trim,
        reverse, greatest, least, greatest_of, least_of, sign, abs_int, square_root,
        shift_left_int, shift_right_int, shift_left_uint, shift_right_uint,
    )
} | {
    "int_of_uint": _int, "uint_of_int": _uint, "double_of_number": float, "string_of_int": str,
    "abs_double": abs, "ceil": _whole(math.ceil), "floor": _whole(math.floor), "trunc": _whole(math.trunc),
    "round": _whole(_away_from_zero), "is_nan": math.isnan, "is_inf": math.isinf, "is_finite": math.isfinite,
    "any": any, "all": all, "len": len,
}  # fmt: skip
