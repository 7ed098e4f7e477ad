"""The syntax of an expression as plain values: what the checker reads and the generator turns into Python.

cel-python's Lark tree wraps every literal in ten one-child nodes; here there is one node for each thing an
author wrote. `&&` and `||` chains are flat, parentheses are gone, positions are kept. Nodes compare by
identity, so that the checker can keep what it proved in a table beside the tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

LiteralKind = Literal["bool", "int", "uint", "double", "string", "bytes", "null"]


@dataclass(frozen=True, slots=True)
class Span:
    start: int  # offsets into the text
    end: int
    line: int  # of the start, from 1
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    span: Span
    kind: LiteralKind
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    span: Span
    name: str
    absolute: bool = False  # `.name` never means a loop's variable


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    span: Span
    operand: "Node"
    field: str


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    span: Span
    operand: "Node"
    index: "Node"


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function, a method, a macro or an operator (`_+_`); `target` is what stands before the dot."""

    span: Span
    function: str
    target: "Node | None"
    arguments: tuple["Node", ...]
    at: Span  # where the function's name stands


@dataclass(frozen=True, slots=True, eq=False)
class Logic:
    """A flat chain of `&&` or of `||`."""

    span: Span
    operator: Literal["&&", "||"]
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    span: Span
    condition: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    span: Span
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    span: Span
    entries: tuple[tuple["Node", "Node"], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """`Name{field: value}`: protocol buffers, which we have none of."""

    span: Span


Node = Constant | Name | Select | Index | Call | Logic | Choice | Items | Entries | Message

LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
Path = tuple[str, ...]


def is_loop(node: Call) -> bool:
    return node.target is not None and node.function in LOOPS


def children(node: Node) -> Iterator[Node]:
    match node:
        case Select():
            yield node.operand
        case Index():
            yield node.operand
            yield node.index
        case Call():
            if node.target is not None:
                yield node.target
            yield from node.arguments
        case Logic():
            yield from node.operands
        case Choice():
            yield node.condition
            yield node.then
            yield node.otherwise
        case Items():
            yield from node.items
        case Entries():
            for key, value in node.entries:
                yield key
                yield value
        case Constant() | Name() | Message():
            return
