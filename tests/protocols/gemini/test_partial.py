"""Calls whose arguments come in pieces."""

from typing import Any

import pytest

from engine.core.errors import RequestError
from engine.protocols.gemini.partial import PartialCall


def piece(path: str, value: Any, more: bool = False) -> dict[str, Any]:
    kind = {str: "stringValue", int: "numberValue", bool: "boolValue", type(None): "nullValue"}[type(value)]
    return {"jsonPath": path, kind: value, **({"willContinue": True} if more else {})}


def test_pieces_are_put_together() -> None:
    call = PartialCall({"thoughtSignature": "S"}, {"name": "f", "willContinue": True})
    for pieces in (
        [piece("$.city", "Os", True)],
        [piece("$.city", "lo")],
        [piece("$.days[0]", 1), piece("$.days[1].hot", True)],
        [piece("$['a.b']", None)],
    ):
        call.add({"partialArgs": pieces, "willContinue": True})
    assert call.whole() == {
        "thoughtSignature": "S",
        "functionCall": {
            "name": "f",
            "args": {"city": "Oslo", "days": [1, {"hot": True}], "a.b": None},
        },
    }


def test_a_text_given_twice_is_replaced_and_not_joined() -> None:
    call = PartialCall({}, {"name": "f", "partialArgs": [piece("$.a", "x")]})
    call.add({"partialArgs": [piece("$.a", "y")]})
    assert call.whole()["functionCall"]["args"] == {"a": "y"}


def test_a_path_into_nowhere_is_an_error() -> None:
    with pytest.raises(RequestError):
        PartialCall({}, {"name": "f", "partialArgs": [piece("$.a[999999999]", 1)]})
