"""Lark's tree, ten one-child nodes around every literal, as the plain syntax of `syntax.py`."""

from typing import Any, Literal

from engine.policy.expression import literals
from engine.policy.expression.literals import BadLiteralError, LiteralError
from engine.policy.expression.syntax import (
    Call,
    Choice,
    Constant,
    Entries,
    Index,
    Items,
    Logic,
    Message,
    Name,
    Node,
    Select,
    Span,
)

DEPTH_LIMIT = 80  # nodes inside nodes; the checker and the generator recurse this deep
_WRAPPERS = frozenset(
    {
        "expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary",
        "member", "primary", "paren_expr", "literal",
    }
)  # fmt: skip
_OPERATORS = {
    "relation_lt": "_<_", "relation_le": "_<=_", "relation_gt": "_>_", "relation_ge": "_>=_",
    "relation_eq": "_==_", "relation_ne": "_!=_", "relation_in": "_in_",
    "addition_add": "_+_", "addition_sub": "_-_",
    "multiplication_mul": "_*_", "multiplication_div": "_/_", "multiplication_mod": "_%_",
    "unary_not": "!_", "unary_neg": "-_",
}  # fmt: skip


class TooDeepError(Exception):
    """More nodes inside nodes than we will recurse into."""


def convert(tree: Any, depth: int = 0) -> Node:
    if depth > DEPTH_LIMIT:
        raise TooDeepError
    while hasattr(tree, "data") and tree.data in _WRAPPERS and len(tree.children) == 1:
        tree = tree.children[0]
    if not hasattr(tree, "data"):
        return _constant(tree)
    span = _span(tree)
    parts = tree.children
    below = depth + 1
    match str(tree.data):
        case "expr":
            return Choice(span, *(convert(part, below) for part in parts))
        case "conditionalor":
            return Logic(span, "||", _chain(tree, "conditionalor", below))
        case "conditionaland":
            return Logic(span, "&&", _chain(tree, "conditionaland", below))
        case "relation" | "addition" | "multiplication":
            operator, right = parts
            arguments = (convert(operator.children[0], below), convert(right, below))
            return Call(span, _OPERATORS[operator.data], None, arguments, span)
        case "unary":
            return _unary(span, parts, below)
        case "member_dot":
            return Select(span, convert(parts[0], below), str(parts[1]))
        case "member_dot_arg":
            return Call(
                span, str(parts[1]), convert(parts[0], below), _list(parts[2:], below), _token_span(parts[1])
            )
        case "member_index":
            return Index(span, convert(parts[0], below), convert(parts[1], below))
        case "member_object":
            return Message(span)
        case "ident":
            return Name(span, str(parts[0]))
        case "dot_ident":
            return Name(span, str(parts[0]), absolute=True)
        case "ident_arg" | "dot_ident_arg":
            return Call(span, str(parts[0]), None, _list(parts[1:], below), _token_span(parts[0]))
        case "list_lit":
            return Items(span, _list(parts, below))
        case "map_lit":
            pairs = parts[0].children if parts else []
            keys, values = pairs[0::2], pairs[1::2]
            return Entries(
                span, tuple((convert(k, below), convert(v, below)) for k, v in zip(keys, values, strict=True))
            )
        case unknown:
            raise AssertionError(f"the grammar has a rule we do not know: {unknown}")


def _chain(tree: Any, rule: str, depth: int) -> tuple[Node, ...]:
    """`a && b && c` leans to the left; walked in a loop, so that long chains are not deep."""
    found = []
    while tree.data == rule:
        if len(tree.children) == 2:
            found.append(tree.children[1])
        tree = tree.children[0]
    found.append(tree)
    return tuple(convert(each, depth) for each in reversed(found))


def _unary(span: Span, parts: list[Any], depth: int) -> Node:
    operator, operand = parts
    return Call(span, _OPERATORS[operator.data], None, (convert(operand, depth),), span)


def _list(parts: list[Any], depth: int) -> tuple[Node, ...]:
    return tuple(convert(each, depth) for each in parts[0].children) if parts else ()


def _span(tree: Any) -> Span:
    meta = tree.meta
    return Span(meta.start_pos, meta.end_pos, meta.line, meta.column)


def _token_span(token: Any) -> Span:
    return Span(token.start_pos, token.end_pos, token.line, token.column)


def _constant(token: Any) -> Node:
    span = _token_span(token)
    text = str(token)
    kind: Literal["bool", "int", "uint", "double", "string", "bytes", "null"]
    value: Any
    try:
        match token.type:
            case "INT_LIT":
                kind, value = "int", literals.integer(text)
            case "UINT_LIT":
                kind, value = "uint", literals.unsigned(text)
            case "FLOAT_LIT":
                kind, value = "double", float(text)
            case "STRING_LIT" | "MLSTRING_LIT":
                kind, value = "string", literals.string(text)
            case "BYTES_LIT":
                kind, value = "bytes", literals.byte_string(text)
            case "BOOL_LIT":
                kind, value = "bool", text == "true"
            case "NULL_LIT":
                kind, value = "null", None
            case unknown:
                raise AssertionError(f"the grammar has a literal we do not know: {unknown}")
    except BadLiteralError as error:
        raise LiteralError(span.line, span.column, str(error)) from None
    return Constant(span, kind, value)
