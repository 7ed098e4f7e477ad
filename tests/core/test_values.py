"""Values made quickly are the values they were."""

import inspect
import pickle
from collections.abc import Mapping
from copy import copy
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from engine.core.values import quick


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    size: int = 3
    more: Mapping[str, Any] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 3
    more: Mapping[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("given", "named"),
    [(("a",), {}), (("a", 4), {}), (("a",), {"more": {"b": 1}}), ((), {"name": "a", "size": 5})],
)
def test_a_quick_value_holds_what_the_plain_one_holds(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    plain, value = Plain(*given, **named), Quick(*given, **named)
    assert (value.name, value.size, value.more) == (plain.name, plain.size, plain.more)
    assert repr(value) == repr(plain).replace("Plain", "Quick")
    assert (
        value == Quick(*given, **named) == copy(value) == replace(value) == pickle.loads(pickle.dumps(value))
    )


def test_a_quick_value_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Quick("a").name = "b"  # type: ignore[misc]  # that is the test


def test_what_is_made_afresh_is_not_shared() -> None:
    assert Quick("a").more is not Quick("a").more


def test_a_quick_value_is_constructed_as_the_plain_one_is() -> None:
    assert inspect.signature(Quick).parameters.keys() == inspect.signature(Plain).parameters.keys()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Quick()  # type: ignore[call-arg]  # that is the test
    with pytest.raises(TypeError, match="unexpected keyword argument 'nmae'"):
        Quick("a", nmae="b")  # type: ignore[call-arg]  # that is the test
