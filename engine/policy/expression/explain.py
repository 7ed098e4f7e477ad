"""The value of every part of an expression, for the people who ask why."""

from collections.abc import Iterator
from typing import Any

from engine.policy.expression.compiled import Expression, Roots, function_for
from engine.policy.expression.generate import failure_text
from engine.policy.expression.interpreted import FUNCTIONS
from engine.policy.expression.parse import interpret
from engine.policy.expression.syntax import Call, Constant, Items, Name, Node, Select, children, is_loop


def explain(expression: Expression, roots: Roots) -> dict[str, Any]:
    """Source text of each part to its value or error text; constants and bare roots are left out."""
    found: dict[str, Any] = {}
    for node in _parts(expression.proof.parsed.node):
        text = expression.source[node.span.start : node.span.end]
        if text in found:
            continue
        try:
            found[text] = _value(expression, node, text, roots)
        except Exception as error:  # whatever a part does, the others still explain
            found[text] = failure_text(error)
    return found


def _parts(node: Node) -> Iterator[Node]:
    """Outside in. The body of a loop has no value of its own, nor has what has() asks for."""
    if isinstance(node, Constant | Name) or _is_constant_list(node):
        return
    yield node
    if isinstance(node, Call) and is_loop(node):
        assert node.target is not None
        yield from _parts(node.target)
        return
    if isinstance(node, Call) and node.function == "has" and node.target is None:
        return
    if isinstance(node, Select) and isinstance(node.operand, Name):
        return
    for child in children(node):
        yield from _parts(child)


def _is_constant_list(node: Node) -> bool:
    return isinstance(node, Items) and all(isinstance(item, Constant) for item in node.items)


def _value(expression: Expression, node: Node, text: str, roots: Roots) -> Any:
    if expression.compiled:
        return function_for(node, expression.proof.checker.table)(roots)
    return interpret(text, expression.proof.held(roots), FUNCTIONS)
