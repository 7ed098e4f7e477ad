"""Every function and operator an expression may use: what it takes, what it gives, what can go wrong.

Operators go by the specification's names (`_+_`). Of a method, the receiver is the first parameter. `python` names
what the generated code calls (`runtime.CALLABLE`, or a form that `generate.py` writes in place); an overload without
one is left to the interpreter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.policy.expression.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    LIST_SIZE,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    ListOf,
    MapOf,
    Scalar,
    Type,
    join,
    size_of,
    sized,
)

Result = Callable[[Sequence[Type]], Type]


@dataclass(frozen=True, slots=True)
class Overload:
    parameters: tuple[Type, ...]
    result: Type | Result
    python: str = ""
    fallible: bool = False
    scans: bool = False  # takes time in proportion to its arguments
    variadic: bool = False  # the last parameter may be given again and again

    def arity_fits(self, count: int) -> bool:
        return count >= len(self.parameters) if self.variadic else count == len(self.parameters)

    def parameter(self, index: int) -> Type:
        return self.parameters[min(index, len(self.parameters) - 1)]

    def result_of(self, arguments: Sequence[Type]) -> Type:
        return self.result(arguments) if callable(self.result) else self.result


def _sum_of_sizes(arguments: Sequence[Type]) -> Type:
    return sized(arguments[0], sum(size_of(each) for each in arguments))


def _both_lists(arguments: Sequence[Type]) -> Type:
    joined = join(arguments[0], arguments[1]) or ListOf(DYN)
    return sized(joined, size_of(arguments[0]) + size_of(arguments[1]))


def _like_first(arguments: Sequence[Type]) -> Type:
    return Scalar("string", size_of(arguments[0]))


def _replaced(arguments: Sequence[Type]) -> Type:
    return Scalar("string", size_of(arguments[0]) * max(1, size_of(arguments[2])))


def _joined(arguments: Sequence[Type]) -> Type:
    items = arguments[0]
    each = size_of(items.element) if isinstance(items, ListOf) else 1
    between = size_of(arguments[1]) if len(arguments) > 1 else 0
    return Scalar("string", size_of(items) * (each + between))


def _pieces(arguments: Sequence[Type]) -> Type:
    return ListOf(Scalar("string", size_of(arguments[0])), min(size_of(arguments[0]) + 1, LIST_SIZE))


def _op(kinds: tuple[Type, ...], result: Type | Result, python: str = "", fallible: bool = False) -> Overload:
    return Overload(kinds, result, python, fallible)


ANY_LIST = ListOf(DYN)
ANY_MAP = MapOf(DYN, DYN)
_SHORT = Scalar("string", 32)

OPERATORS: dict[str, tuple[Overload, ...]] = {
    "_+_": (
        _op((INT, INT), INT, "add_int", fallible=True),
        _op((UINT, UINT), UINT, "add_uint", fallible=True),
        _op((DOUBLE, DOUBLE), DOUBLE, "+"),
        Overload((STRING, STRING), _sum_of_sizes, "concatenate", fallible=True, scans=True),
        Overload((BYTES, BYTES), _sum_of_sizes, "+", scans=True),
        Overload((ANY_LIST, ANY_LIST), _both_lists, "+", scans=True),
        _op((TIMESTAMP, DURATION), TIMESTAMP),
        _op((DURATION, TIMESTAMP), TIMESTAMP),
        _op((DURATION, DURATION), DURATION),
    ),
    "_-_": (
        _op((INT, INT), INT, "subtract_int", fallible=True),
        _op((UINT, UINT), UINT, "subtract_uint", fallible=True),
        _op((DOUBLE, DOUBLE), DOUBLE, "-"),
        _op((TIMESTAMP, TIMESTAMP), DURATION),
        _op((TIMESTAMP, DURATION), TIMESTAMP),
        _op((DURATION, DURATION), DURATION),
    ),
    "_*_": (
        _op((INT, INT), INT, "multiply_int", fallible=True),
        _op((UINT, UINT), UINT, "multiply_uint", fallible=True),
        _op((DOUBLE, DOUBLE), DOUBLE, "*"),
    ),
    "_/_": (
        _op((INT, INT), INT, "divide_int", fallible=True),
        _op((UINT, UINT), UINT, "divide_uint", fallible=True),
        _op((DOUBLE, DOUBLE), DOUBLE, "divide_double"),
    ),
    "_%_": (
        _op((INT, INT), INT, "modulo_int", fallible=True),
        _op((UINT, UINT), UINT, "modulo_uint", fallible=True),
    ),
    "-_": (_op((INT,), INT, "negate_int", fallible=True), _op((DOUBLE,), DOUBLE, "negate")),
    "!_": (_op((BOOL,), BOOL, "not"),),
}

FUNCTIONS: dict[str, tuple[Overload, ...]] = {
    "size": (
        _op((STRING,), INT, "len"),
        _op((BYTES,), INT, "len"),
        _op((ANY_LIST,), INT, "len"),
        _op((ANY_MAP,), INT, "len"),
    ),
    "matches": (Overload((STRING, STRING), BOOL, "matches", fallible=True, scans=True),),
    "string": (
        Overload((STRING,), _like_first, "same"),
        _op((INT,), _SHORT, "string_of_int"),
        _op((UINT,), _SHORT, "string_of_int"),
        _op((DOUBLE,), _SHORT, "string_of_double"),
        _op((BOOL,), _SHORT, "string_of_bool"),
        Overload((BYTES,), _like_first, "string_of_bytes", fallible=True, scans=True),
        _op((TIMESTAMP,), _SHORT),
        _op((DURATION,), _SHORT),
    ),
    "bytes": (
        _op((BYTES,), BYTES, "same"),
        Overload((STRING,), BYTES, "bytes_of_string", scans=True),
    ),
    "int": (
        _op((INT,), INT, "same"),
        _op((UINT,), INT, "int_of_uint", fallible=True),
        _op((DOUBLE,), INT, "int_of_double", fallible=True),
        _op((STRING,), INT, "int_of_string", fallible=True),
        _op((TIMESTAMP,), INT),
    ),
    "uint": (
        _op((UINT,), UINT, "same"),
        _op((INT,), UINT, "uint_of_int", fallible=True),
        _op((DOUBLE,), UINT, "uint_of_double", fallible=True),
        _op((STRING,), UINT, "uint_of_string", fallible=True),
    ),
    "double": (
        _op((DOUBLE,), DOUBLE, "same"),
        _op((INT,), DOUBLE, "double_of_number"),
        _op((UINT,), DOUBLE, "double_of_number"),
        _op((STRING,), DOUBLE, "double_of_string", fallible=True),
    ),
    "bool": (_op((BOOL,), BOOL, "same"), _op((STRING,), BOOL, "bool_of_string", fallible=True)),
    "timestamp": (_op((TIMESTAMP,), TIMESTAMP), _op((STRING,), TIMESTAMP), _op((INT,), TIMESTAMP)),
    "duration": (_op((DURATION,), DURATION), _op((STRING,), DURATION)),
    "type": (_op((DYN,), TYPE),),
    "dyn": (_op((DYN,), DYN, "same"),),
    "math.greatest": (
        Overload((INT,), INT, "greatest", variadic=True),
        Overload((UINT,), UINT, "greatest", variadic=True),
        Overload((DOUBLE,), DOUBLE, "greatest", variadic=True),
        Overload((ListOf(INT),), INT, "greatest_of", fallible=True, scans=True),
        Overload((ListOf(DOUBLE),), DOUBLE, "greatest_of", fallible=True, scans=True),
    ),
    "math.least": (
        Overload((INT,), INT, "least", variadic=True),
        Overload((UINT,), UINT, "least", variadic=True),
        Overload((DOUBLE,), DOUBLE, "least", variadic=True),
        Overload((ListOf(INT),), INT, "least_of", fallible=True, scans=True),
        Overload((ListOf(DOUBLE),), DOUBLE, "least_of", fallible=True, scans=True),
    ),
    "math.ceil": (_op((DOUBLE,), DOUBLE, "ceil"),),
    "math.floor": (_op((DOUBLE,), DOUBLE, "floor"),),
    "math.round": (_op((DOUBLE,), DOUBLE, "round"),),
    "math.trunc": (_op((DOUBLE,), DOUBLE, "trunc"),),
    "math.abs": (
        _op((INT,), INT, "abs_int", fallible=True),
        _op((UINT,), UINT, "same"),
        _op((DOUBLE,), DOUBLE, "abs_double"),
    ),
    "math.sign": (
        _op((INT,), INT, "sign"),
        _op((UINT,), UINT, "sign"),
        _op((DOUBLE,), DOUBLE, "sign"),
    ),
    "math.sqrt": (
        _op((INT,), DOUBLE, "square_root"),
        _op((UINT,), DOUBLE, "square_root"),
        _op((DOUBLE,), DOUBLE, "square_root"),
    ),
    "math.isNaN": (_op((DOUBLE,), BOOL, "is_nan"),),
    "math.isInf": (_op((DOUBLE,), BOOL, "is_inf"),),
    "math.isFinite": (_op((DOUBLE,), BOOL, "is_finite"),),
    "math.bitAnd": (_op((INT, INT), INT, "&"), _op((UINT, UINT), UINT, "&")),
    "math.bitOr": (_op((INT, INT), INT, "|"), _op((UINT, UINT), UINT, "|")),
    "math.bitXor": (_op((INT, INT), INT, "^"), _op((UINT, UINT), UINT, "^")),
    "math.bitNot": (_op((INT,), INT, "~"),),
    "math.bitShiftLeft": (
        _op((INT, INT), INT, "shift_left_int", fallible=True),
        _op((UINT, INT), UINT, "shift_left_uint", fallible=True),
    ),
    "math.bitShiftRight": (
        _op((INT, INT), INT, "shift_right_int", fallible=True),
        _op((UINT, INT), UINT, "shift_right_uint", fallible=True),
    ),
}


def _text(
    parameters: tuple[Type, ...], result: Type | Result, python: str, fallible: bool = True
) -> Overload:
    return Overload(parameters, result, python, fallible, scans=True)


_WHEN = (_op((TIMESTAMP,), INT), _op((TIMESTAMP, STRING), INT))
_WHEN_OR_LONG = (*_WHEN, _op((DURATION,), INT))

METHODS: dict[str, tuple[Overload, ...]] = {
    "size": FUNCTIONS["size"],
    "matches": FUNCTIONS["matches"],
    "contains": (_text((STRING, STRING), BOOL, "contains", fallible=False),),
    "startsWith": (_text((STRING, STRING), BOOL, "startswith", fallible=False),),
    "endsWith": (_text((STRING, STRING), BOOL, "endswith", fallible=False),),
    "charAt": (_text((STRING, INT), Scalar("string", 1), "char_at"),),
    "indexOf": (
        _text((STRING, STRING), INT, "index_of", fallible=False),
        _text((STRING, STRING, INT), INT, "index_of"),
    ),
    "lastIndexOf": (
        _text((STRING, STRING), INT, "last_index_of", fallible=False),
        _text((STRING, STRING, INT), INT, "last_index_of"),
    ),
    "join": (
        _text((ListOf(STRING),), _joined, "join"),
        _text((ListOf(STRING), STRING), _joined, "join"),
    ),
    "lowerAscii": (_text((STRING,), _like_first, "lower_ascii", fallible=False),),
    "upperAscii": (_text((STRING,), _like_first, "upper_ascii", fallible=False),),
    "replace": (
        _text((STRING, STRING, STRING), _replaced, "replace"),
        _text((STRING, STRING, STRING, INT), _replaced, "replace"),
    ),
    "split": (
        _text((STRING, STRING), _pieces, "split", fallible=False),
        _text((STRING, STRING, INT), _pieces, "split", fallible=False),
    ),
    "substring": (
        _text((STRING, INT), _like_first, "substring"),
        _text((STRING, INT, INT), _like_first, "substring"),
    ),
    "trim": (_text((STRING,), _like_first, "trim", fallible=False),),
    "reverse": (_text((STRING,), _like_first, "reverse", fallible=False),),
    "getFullYear": _WHEN,
    "getMonth": _WHEN,
    "getDate": _WHEN,
    "getDayOfMonth": _WHEN,
    "getDayOfWeek": _WHEN,
    "getDayOfYear": _WHEN,
    "getHours": _WHEN_OR_LONG,
    "getMinutes": _WHEN_OR_LONG,
    "getSeconds": _WHEN_OR_LONG,
    "getMilliseconds": _WHEN_OR_LONG,
}

# Names that stand for a type, as in `type(x) == int`.
TYPE_NAMES = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"}
)
NAMESPACES = frozenset(name.partition(".")[0] for name in FUNCTIONS if "." in name)
