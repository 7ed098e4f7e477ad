"""What expressions may read: typed roots and the variables defined so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.policy.expression.syntax import Path
from engine.policy.expression.types import Record, Type, from_schema

# Roots whose text no client can choose. Everything else may carry what a client typed.
TRUSTED = frozenset({"identity"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Immutable; the `with_…` methods return a larger one."""

    roots: Mapping[str, Type] = field(default_factory=dict)
    variables: Mapping[str, Type] = field(default_factory=dict)
    reliable: frozenset[str] = frozenset()  # variables known to have a value whatever the inputs

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> "Vocabulary":
        """Every top-level property of the schema becomes a root; its `required` fields need no has()."""
        roots = {name: from_schema(each, name, schema) for name, each in schema.get("properties", {}).items()}
        return cls(roots)

    def with_variable(self, name: str, type: Type) -> "Vocabulary":
        """Makes `variables.NAME` readable from here on."""
        return replace(self, variables={**self.variables, name: type})

    def with_root(self, name: str, schema: Mapping[str, Any]) -> "Vocabulary":
        return replace(self, roots={**self.roots, name: from_schema(schema, name)})

    def where(self, present: Iterable[Path]) -> "Vocabulary":
        """The vocabulary of a place that is reached only where these fields are there (`Expression.present`)."""
        roots = dict(self.roots)
        for path in present:
            root = roots.get(path[0])
            if root is not None:
                roots[path[0]] = _requiring(root, path[1:])
        return replace(self, roots=roots)

    def fields(self, root: str) -> tuple[str, ...]:
        """The names under a root, for hints and completions."""
        found = self.roots.get(root)
        return tuple(found.fields) if isinstance(found, Record) else ()


def _requiring(kind: Type, path: Path) -> Type:
    if not path or not isinstance(kind, Record) or path[0] not in kind.fields:
        return kind
    held = kind.fields[path[0]]
    held = replace(held, type=_requiring(held.type, path[1:]), required=True)
    return replace(kind, fields={**kind.fields, path[0]: held})
