"""A call's arguments that come in pieces: a path into the arguments and a value, or more of a text.

    {"name": "f", "willContinue": true}
    {"partialArgs": [{"jsonPath": "$.where.city", "stringValue": "Os", "willContinue": true}], "willContinue": true}
    {"partialArgs": [{"jsonPath": "$.where.city", "stringValue": "lo"}], "willContinue": true}
    {}

(Vertex AI, `streamFunctionCallArguments`.) They are put together and read as if they had come whole: pieces of
arguments in this form cannot be told to clients that wait for JSON text.
"""

import re
from itertools import pairwise
from typing import Any

from engine.core.errors import RequestError
from engine.protocols.fields import Json, an_object, maybe_list, string
from engine.protocols.gemini.parts import named

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_MOST_ITEMS = 10_000
_MISSING = object()


class PartialCall:
    """A call being put together."""

    def __init__(self, part: Json, call: Json) -> None:
        self.part = part
        self.call = call
        self._args: dict[str, Any] = dict(call.get("args") or {})
        self._growing: set[str] = set()
        self.add(call)

    def add(self, call: Json) -> None:
        for value in maybe_list(call, "partialArgs", "functionCall"):
            piece = named(an_object(value, "functionCall.partialArgs"))
            path = string(piece, "jsonPath", "functionCall.partialArgs")
            self._put(path, _value(piece), piece.get("willContinue") is True)

    def whole(self) -> Json:
        """The part as it would have come in one piece."""
        call = {key: value for key, value in self.call.items() if key not in ("partialArgs", "willContinue")}
        return {**self.part, "functionCall": {**call, "args": self._args}}

    def _put(self, path: str, value: Any, continues: bool) -> None:
        steps = [_step(match) for match in _STEP.finditer(path)]
        if not steps or value is _MISSING:
            return
        holder: Any = self._args
        for step, following in pairwise(steps):
            holder = _enter(holder, step, [] if isinstance(following, int) else {})
        before = _at(holder, steps[-1])
        if path in self._growing and isinstance(before, str) and isinstance(value, str):
            value = before + value
        _set(holder, steps[-1], value)
        if continues:
            self._growing.add(path)
        else:
            self._growing.discard(path)


def _value(piece: Json) -> Any:
    for key in ("stringValue", "numberValue", "boolValue"):
        if key in piece:
            return piece[key]
    return None if "nullValue" in piece else _MISSING


def _step(match: re.Match[str]) -> str | int:
    name, index, quoted, double = match.groups()
    return int(index) if index is not None else name or quoted or double or ""


def _at(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return None


def _enter(holder: Any, step: str | int, fresh: Any) -> Any:
    found = _at(holder, step)
    if isinstance(found, dict | list):
        return found
    _set(holder, step, fresh)
    return fresh


def _set(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, dict):
        holder[str(step)] = value
        return
    if not isinstance(holder, list) or not isinstance(step, int) or step > _MOST_ITEMS:
        raise RequestError("functionCall.partialArgs: a path that leads nowhere")
    holder.extend([None] * (step + 1 - len(holder)))
    holder[step] = value
