"""The static checker: what type every part of an expression has, and what can go wrong with it.

The checker walks the syntax once and leaves a `Judgement` for every node. Three ideas carry it:

*Facts.* `has(hints.task)` being true is a fact about the path `hints.task`. Facts flow with the logic: into
the right side of `&&`, the right side of `||` when false, through `!`, into the branches of `?:`. Reading an
optional field is allowed only where its fact holds.

*Fallible* parts may have no value (1/x, a list's item, an overflow). `&&` and `||` must give an answer when
one side alone decides it, whichever side fails, so a chain is ordered: operands that cannot fail first. An
operand that relies on a fact may only move ahead of the operand that established it if that one moved too.

*Proven* parts have types known well enough to be compiled. One unproven part, and cel-python interprets the
whole expression. After an error a part is `dyn`, which any operator takes, so one mistake is one complaint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from engine.policy.expression import compare
from engine.policy.expression.calls import resolve
from engine.policy.expression.facts import evaluation_order, known_when
from engine.policy.expression.judgement import NO_FACTS, Facts, Judgement, together
from engine.policy.expression.notes import Notes
from engine.policy.expression.overloads import (
    FUNCTIONS,
    METHODS,
    NAMESPACES,
    OPERATORS,
    TYPE_NAMES,
    Overload,
)
from engine.policy.expression.syntax import (
    LOOPS,
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
    Path,
    Select,
    Span,
    is_loop,
)
from engine.policy.expression.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    NULL,
    STRING,
    TYPE,
    UINT,
    Field,
    ListOf,
    MapOf,
    Record,
    Scalar,
    Type,
    join,
    join_all,
    kind_of,
    scan_cost,
    size_of,
    weight_of,
)
from engine.policy.expression.vocabulary import TRUSTED, Vocabulary
from engine.policy.expression.wording import a, conversion, did_you_mean, why_unknown

_CONSTANTS: dict[str, Type] = {
    "bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES, "null": NULL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loop:
    """A macro's variable. `key` is its name in paths: no two loops share one."""

    key: str
    type: Type
    tainted: bool


@dataclass(slots=True)
class Checker:
    vocabulary: Vocabulary
    notes: Notes = field(default_factory=Notes)
    table: dict[Node, Judgement] = field(default_factory=dict)
    reads: set[Path] = field(default_factory=set)
    _scope: dict[str, Loop] = field(default_factory=dict)
    _facts: Facts = NO_FACTS
    _loops: int = 0

    def check(self, node: Node) -> Judgement:
        judged = self._judge(node)
        self.table[node] = judged
        return judged

    def _judge(self, node: Node) -> Judgement:
        match node:
            case Constant():
                return self._constant(node)
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case Index():
                return self._index(node)
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case Choice():
                return self._choice(node)
            case Items():
                parts = [self.check(item) for item in node.items]
                return together(parts, ListOf(join_all([part.type for part in parts]), len(parts)))
            case Entries():
                return self._entries(node)
            case Message():
                return self.notes.complain(node.span, "WV204", "messages cannot be built in a policy")
            case _:
                assert_never(node)

    # --- reading

    def _constant(self, node: Constant) -> Judgement:
        kind = _CONSTANTS[node.kind]
        if node.kind == "string":
            return Judgement(Scalar("string", len(node.value), frozenset({node.value})))
        return Judgement(kind)

    def _name(self, node: Name) -> Judgement:
        loop = None if node.absolute else self._scope.get(node.name)
        if loop is not None:
            return Judgement(loop.type, tainted=loop.tainted, proven=_known(loop.type))
        if node.name == "variables":
            return self.notes.complain(node.span, "WV202", "variables are read by name, as in variables.task")
        if node.name in self.vocabulary.roots:
            self.reads.add((node.name,))
            kind = self.vocabulary.roots[node.name]
            return Judgement(kind, tainted=node.name not in TRUSTED)
        if node.name in TYPE_NAMES:
            return self.notes.unproven(node.span, "types as values are interpreted", TYPE)
        return self.notes.complain(
            node.span, "WV202", f"nothing here is called {node.name!r}", self._meant(node.name)
        )

    def _holder(self, node: Node) -> Judgement:
        """What stands before a dot: `variables` may stand nowhere else, and a root is not read whole."""
        if not isinstance(node, Name) or node.name in self._scope:
            return self.check(node)
        if node.name == "variables":
            fields = {name: Field(kind) for name, kind in self.vocabulary.variables.items()}
            judged = Judgement(Record("variables", fields), tainted=True)
        elif node.name in self.vocabulary.roots:
            judged = Judgement(self.vocabulary.roots[node.name], tainted=node.name not in TRUSTED)
        else:
            return self.check(node)
        self.table[node] = judged
        return judged

    def _meant(self, name: str) -> str:
        for root, kind in self.vocabulary.roots.items():
            if isinstance(kind, Record) and name in kind.fields:
                return f"did you mean {root}.{name}?"
        if name in self.vocabulary.variables:
            return f"did you mean variables.{name}?"
        return did_you_mean(name, [*self.vocabulary.roots, *self._scope, "variables"])

    def _select(self, node: Select) -> Judgement:
        return self._field(node, node.operand, node.field, self._holder(node.operand))

    def _field(self, node: Node, operand: Node, name: str, of: Judgement, asking: bool = False) -> Judgement:
        """Reading a field, or (`asking`) only whether it is there."""
        path = self.path_of(operand)
        path = None if path is None else (*path, name)
        if path is not None and self._is_global(path):
            self.reads.add(path)
        held = path is not None and path in self._facts
        base = replace(of, cost=of.cost + 1, overload=None)
        if held and path is not None:
            base = replace(base, needs=of.needs | {path})
        match of.type:
            case Record() as record:
                found = record.fields.get(name)
                if found is None:
                    return self._unknown_field(node.span, record, name)
                if not (found.required or held or asking):
                    return self._unguarded(node.span, record, name)
                fails = record.name == "variables" and name not in self.vocabulary.reliable
                return replace(base, type=found.type, fallible=of.fallible or fails)
            case MapOf():
                return replace(base, type=of.type.value, fallible=of.fallible or not (held or asking))
            case Scalar("dyn"):
                return self.notes.unproven(
                    node.span, f"the type of what holds {name!r} is not known", base=base
                )
            case other:
                message = f"{a(kind_of(other))} has no fields, so no {name!r}"
                return self.notes.complain(node.span, "WV204", message)

    def _unknown_field(self, span: Span, record: Record, name: str) -> Judgement:
        if record.name == "variables":
            hint = did_you_mean(name, record.fields) or "a variable may use only those before it"
            return self.notes.complain(span, "WV207", f"no variable {name!r} is defined before this", hint)
        hint = did_you_mean(name, record.fields)
        if not hint:
            hint = "it has " + ", ".join(sorted(record.fields)[:12]) if record.fields else "it has none"
        return self.notes.complain(span, "WV201", f"{record} has no field {name!r}", hint)

    def _unguarded(self, span: Span, record: Record, name: str) -> Judgement:
        whole = f"{record}.{name}"
        hint = f"write has({whole}) && … or has({whole}) ? {whole} : …"
        return self.notes.complain(span, "WV205", f"{whole} may be missing and is read without has()", hint)

    def _index(self, node: Index) -> Judgement:
        of, by = self._holder(node.operand), self.check(node.index)
        if (
            isinstance(node.index, Constant)
            and isinstance(node.index.value, str)
            and isinstance(of.type, Record)
        ):
            return self._field(node, node.operand, node.index.value, of)
        both = together([of, by], DYN)
        match of.type:
            case ListOf():
                if kind_of(by.type) not in ("int", "uint", "dyn"):
                    return self.notes.complain(
                        node.span, "WV204", f"a list's index is an int, not {a(by.type)}"
                    )
                made = replace(both, type=of.type.element, fallible=True, overload=_AT)
            case MapOf():
                if compare.possible(of.type.key, by.type) is None:
                    message = f"a key of this map is {a(of.type.key)}, not {a(by.type)}"
                    return self.notes.complain(node.span, "WV204", message)
                made = replace(both, type=of.type.value, fallible=True, overload=_ENTRY)
            case Record():
                made = replace(both, type=DYN, fallible=True, overload=_ENTRY)
            case Scalar("dyn"):
                return self.notes.unproven(node.span, "the type of what is indexed is not known", base=both)
            case other:
                return self.notes.complain(node.span, "WV204", f"{a(kind_of(other))} cannot be indexed")
        if not _known(by.type):
            return self.notes.unproven(node.span, "the type of the index is not known", base=made)
        return made

    # --- logic

    def _logic(self, node: Logic) -> Judgement:
        whole = node.operator == "&&"
        outer = self._facts
        parts: list[Judgement] = []
        needs: Facts = NO_FACTS
        for operand in node.operands:
            part = self._bool(operand, f"a side of {node.operator}")
            parts.append(part)
            needs |= part.needs - (self._facts - outer)
            self._facts |= known_when(operand, whole, self.path_of) or NO_FACTS
        self._facts = outer
        judged = together(parts, BOOL)
        return replace(judged, needs=needs, order=evaluation_order(node, parts, self._facts, self.path_of))

    def _choice(self, node: Choice) -> Judgement:
        outer = self._facts
        condition = self._bool(node.condition, "the condition of ?:")
        branches: list[Judgement] = []
        needs = condition.needs
        for branch, truth in ((node.then, True), (node.otherwise, False)):
            new = (known_when(node.condition, truth, self.path_of) or NO_FACTS) - outer
            self._facts = outer | new
            judged = self.check(branch)
            branches.append(judged)
            needs |= judged.needs - new
        self._facts = outer
        then, otherwise = branches
        joined = join(then.type, otherwise.type)
        if joined is None:
            message = f"the branches of ?: have different types: {then.type} and {otherwise.type}"
            return self.notes.complain(node.span, "WV204", message, conversion(then.type, otherwise.type))
        cost = condition.cost + max(then.cost, otherwise.cost) + 1
        return replace(together([condition, *branches], joined), cost=cost, needs=needs)

    def _bool(self, node: Node, place: str) -> Judgement:
        judged = self.check(node)
        kind = kind_of(judged.type)
        if kind == "dyn":
            return self.notes.unproven(node.span, f"{place} is of unknown type", BOOL, judged)
        if kind != "bool":
            hint = "compare it: == true, != '', > 0" if kind != "null" else ""
            return self.notes.complain(node.span, "WV204", f"{place} is a bool, not {a(judged.type)}", hint)
        return judged

    # --- calls

    def _call(self, node: Call) -> Judgement:
        if node.target is None:
            match node.function:
                case "has":
                    return self._has(node)
                case "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_":
                    return self._comparison(node)
                case "_in_":
                    return self._membership(node)
                case _:
                    return self._function(node)
        if is_loop(node):
            return self._loop(node)
        return self._method(node, node.target)

    def _has(self, node: Call) -> Judgement:
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], Select):
            message = "has() takes one field, as in has(hints.task)"
            return self.notes.complain(node.at, "WV209", message)
        asked = node.arguments[0]
        of = self._holder(asked.operand)
        judged = self._field(asked, asked.operand, asked.field, of, asking=True)
        self.table[asked] = judged
        return replace(judged, type=BOOL, fallible=of.fallible, needs=of.needs)

    def _comparison(self, node: Call) -> Judgement:
        left, right = (self.check(argument) for argument in node.arguments)
        judged = together([left, right], BOOL)
        judged = replace(judged, cost=1 + left.cost + right.cost + _scan_items([left.type, right.type]))
        operator = node.function.strip("_")
        overload = compare.comparison(operator, left.type, right.type)
        if overload is None:
            message = f"{operator} cannot compare {a(left.type)} with {a(right.type)}"
            return self.notes.complain(node.span, "WV204", message, conversion(left.type, right.type))
        if operator in ("==", "!="):
            self._warn_never(node.arguments[0], right.type, left.type)
            self._warn_never(node.arguments[1], left.type, right.type)
        if not overload.python:
            return self.notes.unproven(node.span, why_unknown([left.type, right.type]), base=judged)
        return replace(judged, overload=overload)

    def _warn_never(self, node: Node, other: Type, of: Type) -> None:
        """A constant that an enum does not hold is most often misspelt, and the rule then never matches."""
        if not isinstance(node, Constant) or not isinstance(other, Scalar) or other.values is None:
            return
        if not isinstance(of, Scalar) or of.kind != "string" or node.value in other.values:
            return
        hint = did_you_mean(node.value, other.values) or "it is one of " + ", ".join(
            sorted(other.values)[:12]
        )
        self.notes.complain(node.span, "WV212", f"this is never {node.value!r}", hint, "warning")

    def _membership(self, node: Call) -> Judgement:
        item, container = (self.check(argument) for argument in node.arguments)
        judged = together([item, container], BOOL)
        judged = replace(judged, cost=judged.cost + min(weight_of(container.type), size_of(container.type)))
        found = compare.membership(item.type, container.type)
        if found is None:
            message = f"in cannot find {a(item.type)} in {a(container.type)}"
            return self.notes.complain(node.span, "WV204", message)
        if isinstance(node.arguments[1], Items):
            for each in node.arguments[1].items:
                self._warn_never(each, item.type, self.table[each].type)
        if not found.python:
            return self.notes.unproven(node.span, why_unknown([item.type, container.type]), base=judged)
        return replace(judged, overload=found)

    def _function(self, node: Call) -> Judgement:
        overloads = OPERATORS.get(node.function) or FUNCTIONS.get(node.function)
        parts = [self.check(argument) for argument in node.arguments]
        if overloads is None or "." in node.function:
            return self._unknown_function(node, FUNCTIONS)
        return resolve(self.notes, node, overloads, parts)

    def _method(self, node: Call, target: Node) -> Judgement:
        if isinstance(target, Name) and target.name in NAMESPACES and target.name not in self._scope:
            parts = [self.check(argument) for argument in node.arguments]
            full = f"{target.name}.{node.function}"
            overloads = FUNCTIONS.get(full)
            if overloads is None:
                names = [name.partition(".")[2] for name in FUNCTIONS if name.startswith(target.name + ".")]
                message = f"{target.name} has no function {node.function!r}"
                return self.notes.complain(node.at, "WV203", message, did_you_mean(node.function, names))
            return resolve(self.notes, node, overloads, parts)
        parts = [self.check(target), *(self.check(argument) for argument in node.arguments)]
        overloads = METHODS.get(node.function)
        if overloads is None:
            return self._unknown_function(node, [*METHODS, *LOOPS])
        return resolve(self.notes, node, overloads, parts)

    def _unknown_function(self, node: Call, names: Iterable[str]) -> Judgement:
        hint = did_you_mean(node.function, names)
        if not hint and node.target is None and node.function in METHODS:
            hint = f"it is written after a dot: x.{node.function}(…)"
        if not hint and node.target is not None and node.function in FUNCTIONS:
            hint = f"it is written before its argument: {node.function}(x)"
        if node.target is None and (node.function in METHODS or node.function in LOOPS):
            hint = f"it is written after a dot: x.{node.function}(…)"
        return self.notes.complain(node.at, "WV203", f"there is no function {node.function!r}", hint)

    # --- loops

    def _loop(self, node: Call) -> Judgement:
        assert node.target is not None
        over = self.check(node.target)
        counts = (2, 3) if node.function == "map" else (2,)
        if len(node.arguments) not in counts:
            message = f"{node.function}() takes a name and an expression, as in xs.{node.function}(x, …)"
            return self.notes.complain(node.at, "WV208", message)
        name, *bodies = node.arguments
        if not isinstance(name, Name) or name.absolute:
            message = f"the first argument of {node.function}() names its variable; it must be a plain name"
            return self.notes.complain(name.span, "WV209", message)
        if name.name in self.vocabulary.roots or name.name == "variables":
            message = f"the loop's variable {name.name!r} would hide the root of that name"
            return self.notes.complain(name.span, "WV209", message, "choose another name")
        element = _element(over.type)
        if element is None:
            message = f"{node.function}() goes over a list or a map, not over {a(over.type)}"
            return self.notes.complain(node.at, "WV204", message)
        self._loops += 1
        key = f"{name.name}#{self._loops}"
        outer_scope, outer_facts = self._scope, self._facts
        self._scope = {**outer_scope, name.name: Loop(key, element, over.tainted)}
        judged = self._bodies(node, bodies)
        self._scope, self._facts = outer_scope, outer_facts
        needs = frozenset(path for path in judged.needs if path[0] != key)
        size = size_of(over.type)
        whole = together([over, replace(judged, cost=size * (judged.cost + 1), needs=needs)], DYN)
        if kind_of(over.type) == "dyn":
            return self.notes.unproven(node.at, "the type of what it goes over is not known", base=whole)
        return replace(whole, type=self._loop_type(node.function, element, judged.type, size))

    def _bodies(self, node: Call, bodies: Sequence[Node]) -> Judgement:
        if node.function == "map":
            if len(bodies) == 1:
                return self.check(bodies[0])
            self.notes.compiled_only = self.notes.compiled_only or node.at
            test = self._bool(bodies[0], "the condition of map()")
            new = (known_when(bodies[0], True, self.path_of) or NO_FACTS) - self._facts
            self._facts |= new
            made = self.check(bodies[1])
            return replace(together([test, made], made.type), needs=test.needs | (made.needs - new))
        return self._bool(bodies[0], f"the condition of {node.function}()")

    def _loop_type(self, function: str, element: Type, made: Type, size: int) -> Type:
        match function:
            case "map":
                return ListOf(made, size)
            case "filter":
                return ListOf(element, size)
            case _:
                return BOOL

    def _entries(self, node: Entries) -> Judgement:
        parts = [(self.check(key), self.check(value)) for key, value in node.entries]
        key = join_all([part.type for part, _ in parts])
        if any(kind_of(part.type) not in ("int", "uint", "bool", "string", "dyn") for part, _ in parts):
            return self.notes.complain(
                node.span, "WV204", "a map's keys are of type int, uint, bool or string"
            )
        kind = MapOf(key, join_all([part.type for _, part in parts]), len(parts))
        judged = together([part for pair in parts for part in pair], kind)
        if parts and kind_of(key) == "dyn":
            return self.notes.unproven(node.span, "the keys of the map are of several types", kind, judged)
        keys = [key.value if isinstance(key, Constant) else None for key, _ in node.entries]
        distinct = None not in keys and len(set(keys)) == len(keys)
        return replace(
            judged, fallible=judged.fallible or not distinct, overload=None if distinct else _ENTRIES
        )

    # --- paths and complaints

    def path_of(self, node: Node) -> Path | None:
        """`hints.task` as ("hints", "task"), a loop's variable under its own key; None where something is computed."""
        match node:
            case Name():
                loop = None if node.absolute else self._scope.get(node.name)
                return (loop.key if loop else node.name,)
            case Select():
                before = self.path_of(node.operand)
                return None if before is None else (*before, node.field)
            case Index(index=Constant(kind="string", value=name)):
                before = self.path_of(node.operand)
                return None if before is None else (*before, name)
            case _:
                return None

    def _is_global(self, path: Path) -> bool:
        return "#" not in path[0]


_AT = Overload((ListOf(DYN), INT), DYN, "at", fallible=True)
_ENTRY = Overload((MapOf(DYN, DYN), DYN), DYN, "entry", fallible=True)
_ENTRIES = Overload((), DYN, "entries", fallible=True)


def _known(kind: Type) -> bool:
    return kind_of(kind) not in ("timestamp", "duration", "type")


def _element(kind: Type) -> Type | None:
    match kind:
        case ListOf():
            return kind.element
        case MapOf():
            return kind.key
        case Record():
            return STRING
        case Scalar("dyn"):
            return DYN
        case _:
            return None


def _scan_items(kinds: Sequence[Type]) -> int:
    """Comparing texts is one step; comparing lists and maps is a step for each item."""
    return scan_cost([kind for kind in kinds if not isinstance(kind, Scalar)])
