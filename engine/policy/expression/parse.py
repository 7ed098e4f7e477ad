"""The only door to cel-python and its parser, Lark: text becomes a tree, and a tree can be interpreted.

Hostile text never reaches the parser. cel-python's string patterns take exponential time on a string that is
not closed, deep nesting exhausts its recursive evaluator, and every token costs time; so one linear scan
first refuses long text, open strings and deep brackets. A parse takes 0.1–1 ms, so results are kept by text.

cel-python's runners must not be mixed in one process: only InterpretedRunner's evaluator is ever used. Making
its environment takes 0.2 s and raises the recursion limit, so it is made when first needed.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import celpy
import lark
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.celparser import CELParser
from celpy.evaluation import CELEvalError

from engine.policy.expression.complaints import Complaint, EvaluationError
from engine.policy.expression.convert import TooDeepError, convert
from engine.policy.expression.literals import LiteralError, byte_string, quoted, quoted_bytes, string
from engine.policy.expression.syntax import Node

TEXT_LIMIT = 8192  # characters of one expression
NESTING_LIMIT = 40  # brackets inside brackets

_PIECES = re.compile(
    r'(?P<string>"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\''
    r'|"(?:\\.|[^"\\\n\r])*"|\'(?:\\.|[^\'\\\n\r])*\')'
    r"|(?P<comment>//[^\n]*)|(?P<open>[\[({])|(?P<close>[\])}])|(?P<quote>[\"'])"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 120  # characters of the reference's own error texts


@dataclass(frozen=True, slots=True)
class Parsed:
    text: str
    node: Node


@lru_cache(maxsize=4096)
def parse(text: str) -> Parsed | Complaint:
    refused = _refuse(text)
    if refused is not None:
        return refused
    try:
        node = convert(_grammar().parse(text))
    except lark.exceptions.LarkError as error:
        return _syntax_complaint(text, error)
    except TooDeepError:
        return Complaint(1, 1, "WV403", "the expression is nested too deeply", "split it into variables")
    except LiteralError as error:
        return Complaint(error.line, error.column, "WV210", error.message)
    return Parsed(text, node)


@lru_cache(maxsize=256)
def _tree(text: str) -> Any:
    """The Lark tree of a text that was parsed before. It is over ten times the size of our own nodes, so only trees
    that are interpreted are kept."""
    tree = _grammar().parse(text)
    _rewrite_literals(tree)
    return tree


def _rewrite_literals(tree: Any) -> None:
    """Strings that cel-python would misread (it drops the newlines of long strings) it is given escaped."""
    for literal in tree.find_data("literal"):
        token = literal.children[0]
        if token.type in ("STRING_LIT", "MLSTRING_LIT") and ("\\" in token or token.type == "MLSTRING_LIT"):
            literal.children[0] = token.update(type="STRING_LIT", value=quoted(string(token)))
        elif token.type == "BYTES_LIT":
            literal.children[0] = token.update(value=quoted_bytes(byte_string(token)))


def _refuse(text: str) -> Complaint | None:
    """What the parser must not see."""
    if len(text) > TEXT_LIMIT:
        message = f"the expression has {len(text)} characters; {TEXT_LIMIT} are allowed"
        return Complaint(1, 1, "WV402", message, "split it into variables")
    depth = 0
    for piece in _PIECES.finditer(text):
        match piece.lastgroup:
            case "open":
                depth += 1
                if depth > NESTING_LIMIT:
                    message = f"more than {NESTING_LIMIT} brackets inside brackets"
                    return Complaint(
                        *_place(text, piece.start()), "WV403", message, "split it into variables"
                    )
            case "close":
                depth -= 1
            case "quote":
                return Complaint(*_place(text, piece.start()), "WV200", "this string is never closed")
            case _:
                pass
    return None


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def _syntax_complaint(text: str, cause: Exception) -> Complaint:
    if isinstance(cause, lark.UnexpectedToken) and cause.token.type != "$END":
        line, column = cause.line, cause.column
        message = f"unexpected {str(cause.token)[:40]!r}"
    elif isinstance(cause, lark.UnexpectedCharacters):
        line, column = cause.line, cause.column
        at = getattr(cause, "pos_in_stream", 0)  # untyped in lark
        message = f"unexpected character {text[at : at + 1]!r}"
    else:
        line, column = _place(text, len(text.rstrip()))
        message = "the expression ends too early" if text.strip() else "the expression is empty"
    hint = "&& and || are written double, not as words" if re.search(r"\b(and|or|not)\b", text) else ""
    return Complaint(line, column, "WV200", message, hint)


class _Placed(CELParser):
    """cel-python's parser, but `true` and `false` keep their places: its own callback drops them."""

    @staticmethod
    def ambiguous_literals(token: lark.Token) -> lark.Token:
        if token.value in ("true", "false"):
            return lark.Token.new_borrow_pos("BOOL_LIT", token.value, token)
        return token


@lru_cache(maxsize=1)
def _grammar() -> lark.Lark:
    """It is kept by the class, one for the whole process, so ours is made beside it and taken out.

    Parsing keeps its state to itself: any number of threads may share the grammar. Threads that come first
    together each make one, and all but one are thrown away."""
    theirs = _swap_grammar(None)
    _Placed()
    ours = _swap_grammar(theirs)
    assert ours is not None
    if theirs is None:
        _swap_grammar(ours)
    return ours


def _swap_grammar(grammar: lark.Lark | None) -> lark.Lark | None:
    held = CELParser.CEL_PARSER
    CELParser.CEL_PARSER = grammar
    return held


@lru_cache(maxsize=1)
def _environment() -> celpy.Environment:
    _grammar()  # so that the environment does not make another
    limit = sys.getrecursionlimit()
    made = celpy.Environment(runner_class=celpy.InterpretedRunner)
    sys.setrecursionlimit(max(limit, sys.getrecursionlimit()))  # it may have lowered what others raised
    return made


def interpret(text: str, roots: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """Runs a text that parsed on cel-python. `functions` replace and extend its own; see `interpreted.py`."""
    context = {name: to_cel(value) for name, value in roots.items()}
    try:
        runner = celpy.InterpretedRunner(_environment(), _tree(text), dict(functions))
        return plain(runner.evaluate(context))
    except EvaluationError:
        raise
    except CELEvalError as error:
        raise EvaluationError(_reference_text(error)) from None
    except RecursionError:
        raise EvaluationError("the expression is nested too deeply to interpret") from None
    except Exception as error:  # the reference lets Python's own errors through in several places
        raise EvaluationError(f"{type(error).__name__}: {error}"[:_SHOWN]) from None


def _reference_text(error: CELEvalError) -> str:
    """Its text may hold all the inputs after `(in activation`; that is no text to show."""
    text = str(error.args[0]) if error.args else "no value"
    return text.partition(" (in activation")[0][:_SHOWN]


def failed(message: str) -> Any:
    """An error as cel-python passes it around: a value."""
    return CELEvalError(message)


def is_failed(value: Any) -> bool:
    return isinstance(value, CELEvalError)


def to_cel(value: Any) -> Any:
    """A plain value as cel-python's. Mappings are made whole, so keep what is passed small."""
    match value:
        case bool():
            return celtypes.BoolType(value)
        case celtypes.IntType() | celtypes.UintType() | celtypes.DoubleType() | celtypes.StringType():
            return value
        case celtypes.DurationType() | celtypes.TimestampType() | celtypes.BytesType() | CELEvalError():
            return value
        case int():
            return celtypes.IntType(value)
        case float():
            return celtypes.DoubleType(value)
        case str():
            return celtypes.StringType(value)
        case bytes():
            return celtypes.BytesType(value)
        case list() | tuple():
            return celtypes.ListType([to_cel(each) for each in value])
        case Mapping():
            return celtypes.MapType({to_cel(key): to_cel(each) for key, each in value.items()})
        case _:
            return json_to_cel(value)


def plain(value: Any) -> Any:
    """cel-python's value as Python's own; timestamps and durations stay what they are."""
    match value:
        case celtypes.BoolType():
            return bool(value)
        case celtypes.IntType() | celtypes.UintType():
            return int(value)
        case celtypes.DoubleType():
            return float(value)
        case celtypes.StringType():
            return str(value)
        case celtypes.BytesType():
            return bytes(value)
        case list():
            return [plain(each) for each in value]
        case dict():
            return {plain(key): plain(each) for key, each in value.items()}
        case _:
            return value


def is_uint(value: Any) -> bool:
    return isinstance(value, celtypes.UintType)


def duration(text: str) -> Any:
    return celtypes.DurationType(text)


def timestamp_of_seconds(seconds: int) -> Any:
    return celtypes.TimestampType(EPOCH + timedelta(seconds=seconds))


_TYPE_NAMES: dict[type, str] = {
    celtypes.BoolType: "bool",
    celtypes.IntType: "int",
    celtypes.UintType: "uint",
    celtypes.DoubleType: "double",
    celtypes.StringType: "string",
    celtypes.BytesType: "bytes",
    celtypes.ListType: "list",
    celtypes.MapType: "map",
    celtypes.TimestampType: "timestamp",
    celtypes.DurationType: "duration",
    type(None): "null_type",
}


def type_name(value: Any) -> str:
    return _TYPE_NAMES[type(value)]


def original(name: str) -> Callable[..., Any]:
    """cel-python's own function of that name."""
    found: Callable[..., Any] = celpy.evaluation.base_functions[name]
    return found
