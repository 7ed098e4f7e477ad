"""What makes a value cheap to construct.

A frozen dataclass sets each field through `object.__setattr__`, which looks the field up by its name: a third of a
microsecond for two fields. The slots themselves know where their field is. A stream makes several values for each
of its events and a conversation thousands, so the difference is felt.
"""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """For frozen, slotted dataclasses: the same values, made in half the time.

        @quick
        @dataclass(frozen=True, slots=True)
        class Text: ...

    As `dataclasses` does, it writes the constructor as text and lets Python compile it.
    """
    parameters, steps = ["self"], []
    names: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]  # no type says "a dataclass"
        name = field.name
        names[f"_set_{name}"] = getattr(cls, name).__set__
        value = name
        if field.default is not MISSING:
            names[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        elif field.default_factory is not MISSING:
            names[f"_make_{name}"], names["_MISSING"] = field.default_factory, MISSING
            parameters.append(f"{name}=_MISSING")
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        else:
            parameters.append(name)
        steps.append(f"    _set_{name}(self, {value})")
    text = "\n".join([f"def __init__({', '.join(parameters)}):", *steps])
    exec(text, names)  # noqa: S102  # of the names of fields, which are Python's own
    made, before = names["__init__"], cls.__init__
    made.__annotations__, made.__qualname__ = before.__annotations__, before.__qualname__
    made.__module__ = cls.__module__
    cls.__init__ = made  # type: ignore[method-assign]  # which is the point
    return cls
