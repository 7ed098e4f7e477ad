"""Turns what the checker proved into Python: nodes of `ast` only, never source text.

An author's text can reach the generated code in two ways: as a constant, and as a key of a dictionary. Every
name in it is ours. The classes of nodes that may appear are listed in ALLOWED, and nothing else is compiled.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

from engine.policy.expression.complaints import EvaluationError
from engine.policy.expression.judgement import Judgement
from engine.policy.expression.patterns import matches, pattern
from engine.policy.expression.runtime import CALLABLE
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
    is_loop,
)

ALLOWED: frozenset[type[ast.AST]] = frozenset(
    {
        ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.If, ast.Try,
        ast.ExceptHandler, ast.Expr,
        ast.Constant, ast.Name, ast.Load, ast.Store, ast.Subscript, ast.Attribute, ast.Call, ast.Lambda,
        ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Invert, ast.IfExp, ast.BinOp, ast.Add,
        ast.Sub, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE,
        ast.Gt, ast.GtE, ast.In, ast.Is, ast.IsNot, ast.List, ast.Set, ast.Dict, ast.Tuple, ast.Starred,
        ast.ListComp, ast.GeneratorExp, ast.comprehension,
    }
)  # fmt: skip
ATTRIBUTES = frozenset({"startswith", "endswith", "search"})

_COMPARISONS: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE, "in": ast.In,
}  # fmt: skip
_ARITHMETIC: dict[str, type[ast.operator]] = {
    "+": ast.Add, "-": ast.Sub, "*": ast.Mult, "&": ast.BitAnd, "|": ast.BitOr, "^": ast.BitXor,
}  # fmt: skip
_UNARY: dict[str, type[ast.unaryop]] = {"not": ast.Not, "negate": ast.USub, "~": ast.Invert}
_NAMESPACE: dict[str, Any] = {
    "__builtins__": {"Exception": Exception},
    "Exception": Exception,
    "matches": matches,
    **CALLABLE,
}


def load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(load(name), list(arguments), [])


def constant(value: Any) -> ast.expr:
    return ast.Constant(value)


def item(of: ast.expr, key: str) -> ast.expr:
    return ast.Subscript(of, ast.Constant(key), ast.Load())


def _parameters(*names: str) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )


def thunk(body: ast.expr) -> ast.expr:
    return ast.Lambda(_parameters(), body)


class Generator:
    """Makes the Python expression for a checked node. `variable` says how a policy's variable is read.

    `roots` and `patterns` collect what the code around the expression has to provide."""

    def __init__(self, variable: Callable[[str], ast.expr] | None = None) -> None:
        self.roots: set[str] = set()
        self.patterns: dict[str, str] = {}  # the name in the code, the pattern's text
        self._variable = variable or self._from_roots
        self._table: Mapping[Node, Judgement] = {}
        self._scope: dict[str, str] = {}
        self._items = 0

    def expression(self, node: Node, table: Mapping[Node, Judgement]) -> ast.expr:
        self._table = table
        return self._make(node)

    def _from_roots(self, name: str) -> ast.expr:
        self.roots.add("variables")
        return item(load("root_variables"), name)

    def _make(self, node: Node) -> ast.expr:
        match node:
            case Constant():
                return constant(node.value)
            case Name():
                return self._name(node)
            case Select():
                return self._field(node.operand, node.field)
            case Index():
                return self._index(node)
            case Call() if is_loop(node):
                return self._loop(node)
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case Choice():
                return ast.IfExp(
                    self._make(node.condition), self._make(node.then), self._make(node.otherwise)
                )
            case Items():
                return ast.List([self._make(each) for each in node.items], ast.Load())
            case Entries():
                return self._entries(node)
            case Message():
                raise AssertionError("the checker lets no message through")

    def _name(self, node: Name) -> ast.expr:
        if not node.absolute and node.name in self._scope:
            return load(self._scope[node.name])
        self.roots.add(node.name)
        return load(f"root_{node.name}")

    def _is_variables(self, node: Node) -> bool:
        return isinstance(node, Name) and node.name == "variables" and "variables" not in self._scope

    def _field(self, operand: Node, name: str) -> ast.expr:
        if self._is_variables(operand):
            return self._variable(name)
        return item(self._make(operand), name)

    def _index(self, node: Index) -> ast.expr:
        overload = self._table[node].overload
        if overload is None and isinstance(node.index, Constant):
            return self._field(node.operand, node.index.value)
        assert overload is not None
        return call(overload.python, self._make(node.operand), self._make(node.index))

    def _entries(self, node: Entries) -> ast.expr:
        pairs = [(self._make(key), self._make(value)) for key, value in node.entries]
        if self._table[node].overload is None:
            return ast.Dict([key for key, _ in pairs], [value for _, value in pairs])
        return call("entries", *(ast.Tuple([key, value], ast.Load()) for key, value in pairs))

    def _logic(self, node: Logic) -> ast.expr:
        """Operands that cannot fail come first, in their order; of the rest, one alone needs no care."""
        safe, rest = self._table[node].order
        conjunction = node.operator == "&&"
        operands = [self._make(node.operands[index]) for index in safe]
        if len(rest) == 1:
            operands.append(self._make(node.operands[rest[0]]))
        elif rest:
            thunks = [thunk(self._make(node.operands[index])) for index in rest]
            operands.append(call("all_of" if conjunction else "any_of", *thunks))
        return (
            operands[0]
            if len(operands) == 1
            else ast.BoolOp(ast.And() if conjunction else ast.Or(), operands)
        )

    def _loop(self, node: Call) -> ast.expr:
        assert node.target is not None
        name, *bodies = node.arguments
        assert isinstance(name, Name)
        over = self._make(node.target)
        outer = self._scope
        self._items += 1
        local = f"item_{self._items}"
        self._scope = {**outer, name.name: local}
        made = [self._make(body) for body in bodies]
        self._scope = outer
        fallible = self._table[bodies[0]].fallible
        match node.function:
            case "map":
                return ast.ListComp(made[-1], [_each(local, over, made[:-1])])
            case "filter":
                return ast.ListComp(load(local), [_each(local, over, made)])
            case "exists_one":
                return call("exactly_one", over, ast.Lambda(_parameters(local), made[0]))
            case "exists" | "all" if fallible:
                python = "some" if node.function == "exists" else "every"
                return call(python, over, ast.Lambda(_parameters(local), made[0]))
            case "exists":
                return call("any", ast.GeneratorExp(made[0], [_each(local, over, [])]))
            case _:
                return call("all", ast.GeneratorExp(made[0], [_each(local, over, [])]))

    def _call(self, node: Call) -> ast.expr:
        if node.function == "has" and node.target is None:
            asked = node.arguments[0]
            assert isinstance(asked, Select)
            if self._is_variables(asked.operand):
                return constant(True)
            return ast.Compare(constant(asked.field), [ast.In()], [self._make(asked.operand)])
        overload = self._table[node].overload
        assert overload is not None
        if overload.python == "in" and isinstance(node.arguments[1], Items):
            return self._in_items(node.arguments[0], node.arguments[1])
        return self._apply(overload.python, self._operands(node))

    def _operands(self, node: Call) -> list[ast.expr]:
        """The arguments, the receiver first; `math.` is part of the function's name."""
        receives = node.target is not None and node.target in self._table
        return [
            self._make(each) for each in ((node.target,) if receives and node.target else ()) + node.arguments
        ]

    def _in_items(self, what: Node, items: Items) -> ast.expr:
        """Python turns a set of constants into one frozen set, so the test is one lookup."""
        constants = items.items and all(isinstance(each, Constant) for each in items.items)
        made = [self._make(each) for each in items.items]
        container = ast.Set(made) if constants else ast.List(made, ast.Load())
        return ast.Compare(self._make(what), [ast.In()], [container])

    def _apply(self, python: str, arguments: list[ast.expr]) -> ast.expr:
        if python in _COMPARISONS:
            return ast.Compare(arguments[0], [_COMPARISONS[python]()], [arguments[1]])
        if python in _ARITHMETIC:
            return ast.BinOp(arguments[0], _ARITHMETIC[python](), arguments[1])
        if python in _UNARY:
            return ast.UnaryOp(_UNARY[python](), arguments[0])
        match python:
            case "same":
                return arguments[0]
            case "contains":
                return ast.Compare(arguments[1], [ast.In()], [arguments[0]])
            case "contains_item":
                return call(python, arguments[1], arguments[0])
            case "startswith" | "endswith":
                return ast.Call(ast.Attribute(arguments[0], python, ast.Load()), arguments[1:], [])
            case "matches_constant":
                return self._matches(arguments)
            case _:
                return call(python, *arguments)

    def _matches(self, arguments: list[ast.expr]) -> ast.expr:
        source = arguments[1]
        assert isinstance(source, ast.Constant)
        assert isinstance(source.value, str)
        name = f"pattern_{len(self.patterns)}"
        self.patterns[name] = source.value
        found = ast.Call(ast.Attribute(load(name), "search", ast.Load()), [arguments[0]], [])
        return ast.Compare(found, [ast.IsNot()], [constant(None)])

    def prelude(self) -> list[ast.stmt]:
        """The statements that read every root an expression uses."""
        return [assign(f"root_{name}", item(load("roots"), name)) for name in sorted(self.roots)]


def _each(local: str, over: ast.expr, conditions: list[ast.expr]) -> ast.comprehension:
    return ast.comprehension(ast.Name(local, ast.Store()), over, conditions, 0)


def code_of(body: Sequence[ast.stmt]) -> CodeType:
    """The code of a function of `roots` with this body."""
    function = ast.FunctionDef("generated", _parameters("roots"), list(body), [])
    module = ast.fix_missing_locations(ast.Module([function], []))
    for node in ast.walk(module):
        if type(node) not in ALLOWED or (isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES):
            raise AssertionError(f"{type(node).__name__} may not be generated")
    compiled = compile(module, "<policy expression>", "exec")
    return next(each for each in compiled.co_consts if isinstance(each, CodeType))


def function_of(code: CodeType, patterns: Mapping[str, str], more: Mapping[str, Any] | None = None) -> Any:
    """A function from code made here. It sees our functions and no builtins."""
    names = {**_NAMESPACE, **{name: pattern(text) for name, text in patterns.items()}, **(more or {})}
    return FunctionType(code, names)


def failure_text(error: Exception) -> str:
    """What an operator reads about an expression that had no value."""
    match error:
        case EvaluationError():
            return error.fault.message
        case KeyError():
            return f"no such key: {error.args[0]!r}" if error.args else "no such key"
        case TypeError() | AttributeError():
            return f"a value is of another type than the schema says: {error}"
        case _:
            return f"{type(error).__name__}: {error}"
