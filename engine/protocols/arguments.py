"""A call's arguments held against the schema the client gave, and what models commonly get wrong put right.

Models write more behind the JSON, or the JSON as a string of JSON; they fill fields they should leave out with
null or an empty text (strict mode makes them), and numbers and truth values with words. The client's parser
would fail on each. Only what the client's own schema forbids is changed, and what cannot be put right is left as
the model wrote it: the client tells the model better than we could.

Streams stay streams where they can: the arguments of a tool whose fields are all required pass through and are
cut where their JSON ends; those of other tools wait until they are whole, because a field cannot be taken back.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from json import JSONDecoder
from typing import Any

from engine import wire
from engine.core.conversation import Loss, Part, Tool, ToolCall
from engine.core.reply import Reply
from engine.core.stream import Event, PartClosed, PartGrew, PartOpened
from engine.protocols.json_schema import Schema, flat, types_of

_FIRST = JSONDecoder()
_MISSING = object()


def repaired(arguments: str, schema: Schema) -> str:
    """The arguments as the schema wants them; the very text where there is nothing to put right."""
    return _repaired(arguments, flat(schema))


def _repaired(arguments: str, schema: Schema) -> str:
    value, text = _read(arguments)
    if not isinstance(value, dict):
        return arguments
    fitting = _fit(value, schema)
    return text if fitting == value else wire.dumps(fitting).decode()


def _read(arguments: str) -> tuple[Any, str]:
    """The value at the beginning of the text, and its own text; the value is _MISSING where there is none."""
    text = arguments.strip()
    try:
        value, end = _FIRST.raw_decode(text)
    except (ValueError, RecursionError):
        return _MISSING, arguments
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return _read(value)
    return value, arguments if end == len(text) else text[:end]


def _fit(value: Any, schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, dict):
        return _fit_object(value, schema)
    if isinstance(value, list):
        items = schema.get("items")
        return [_fit(item, items) for item in value] if isinstance(items, Mapping) else value
    return _typed(value, types_of(schema.get("type"))) if isinstance(value, str) else value


def _fit_object(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    fields = schema.get("properties")
    if not isinstance(fields, Mapping):
        return value
    required = schema.get("required") or ()
    return {
        name: _fit(inner, fields.get(name))
        for name, inner in value.items()
        if name in required or not (inner in (None, "") and _forbids(fields.get(name), inner))
    }


def _forbids(schema: Any, value: Any) -> bool:
    """Whether a field that may be left out must not be null, or not empty."""
    if not isinstance(schema, Mapping):
        return False
    for union in ("anyOf", "oneOf"):
        if isinstance(schema.get(union), list):
            return all(_forbids(branch, value) for branch in schema[union])
    kinds, words = types_of(schema.get("type")), schema.get("enum")
    if isinstance(words, list):
        return value not in words
    if "const" in schema:
        return bool(schema["const"] != value)
    if value is None:
        return bool(kinds) and "null" not in kinds and schema.get("nullable") is not True
    if kinds and "string" not in kinds:
        return True
    return bool(schema.get("minLength") or schema.get("format"))


_NUMBER = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?")


def _typed(value: str, kinds: list[str]) -> Any:
    """A number or a truth value that was written as a text, where the schema wants no text."""
    if not kinds or "string" in kinds:
        return value
    if "boolean" in kinds and value in ("true", "false"):
        return value == "true"
    number = _NUMBER.fullmatch(value)
    if number and "integer" in kinds and number[2] is None:
        return int(value)
    return float(value) if number and "number" in kinds else value


def repaired_reply(reply: Reply, tools: tuple[Tool, ...]) -> Reply:
    """The reply with the arguments of its calls put right."""
    schemas = _schemas(tools)
    if not schemas or not any(isinstance(part, ToolCall) for part in reply.parts):
        return reply
    return replace(reply, parts=tuple(_repaired_part(part, schemas) for part in reply.parts))


def _repaired_part(part: Part, schemas: Mapping[str, Schema]) -> Part:
    if not isinstance(part, ToolCall) or part.name not in schemas:
        return part
    return replace(part, arguments=_repaired(part.arguments, flat(schemas[part.name])))


def _schemas(tools: tuple[Tool, ...]) -> dict[str, Schema]:
    return {tool.name: tool.schema for tool in tools if tool.kind == "function" and tool.schema}


class ArgumentRepair:
    """The same for a stream: events in, events out."""

    def __init__(self, tools: tuple[Tool, ...]) -> None:
        self.losses: list[Loss] = []
        self._schemas = _schemas(tools)
        self._held: dict[int, tuple[Schema, list[str]]] = {}
        self._passing: dict[int, JsonEnd] = {}

    def feed(self, events: list[Event]) -> list[Event]:
        if not self._schemas:
            return events
        found: list[Event] = []
        for event in events:
            if isinstance(event, PartGrew):
                self._grow(event, found)
            else:
                self._turn(event, found)
        return found

    def _grow(self, event: PartGrew, found: list[Event]) -> None:
        index = event.index
        if index in self._held:
            self._held[index][1].append(event.text)
            return
        passing = self._passing.get(index)
        if passing is None:
            found.append(event)
            return
        kept = passing.feed(event.text)
        if len(kept) < len(event.text):
            self._note(index)
            event = PartGrew(index, kept)
        if kept:
            found.append(event)

    def _turn(self, event: Event, found: list[Event]) -> None:
        """A part begins or ends, or the reply does."""
        match event:
            case PartOpened(index=index, part=ToolCall(name=name)) if name in self._schemas:
                schema = flat(self._schemas[name])
                if _all_required(schema):
                    self._passing[index] = JsonEnd()
                else:
                    self._held[index] = (schema, [])
            case PartClosed(index=index):
                self._passing.pop(index, None)
                held = self._held.pop(index, None)
                if held is not None and held[1]:
                    before = "".join(held[1])
                    after = _repaired(before, held[0])
                    if after != before:
                        self._note(index)
                    found.append(PartGrew(index, after))
            case _:
                pass
        found.append(event)

    def _note(self, index: int) -> None:
        loss = put_right(index)
        if not self.losses or self.losses[-1] != loss:
            self.losses.append(loss)


def put_right(index: int) -> Loss:
    why = "the model's arguments broke the tool's schema and were put right"
    return Loss(f"content.{index}.arguments", why, "converted", "content")


def _all_required(schema: Schema) -> bool:
    fields, required = schema.get("properties"), schema.get("required")
    if not isinstance(fields, Mapping):
        return True
    return isinstance(required, list) and all(
        name in required and "string" in types_of(field.get("type"))
        for name, field in fields.items()
        if isinstance(field, Mapping)
    )


class JsonEnd:
    """Finds where the JSON object at the beginning of a text ends, a piece at a time; the rest is garbage."""

    _MARKS = re.compile(r'["\\{}\[\]]')

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._skip = False  # the last piece ended in a backslash
        self._began = False
        self._other = False  # the text is no object and passes as it is
        self._ended = False

    def feed(self, text: str) -> str:
        """As much of the text as belongs to the object."""
        if self._ended or self._other or not text:
            return "" if self._ended else text
        if not self._began:
            start = text.lstrip()
            self._began = bool(start)
            self._other = self._began and not start.startswith("{")
            if not self._began or self._other:
                return text
        end = self._scan(text)
        return text if end < 0 else text[:end]

    def _scan(self, text: str) -> int:
        at = 1 if self._skip else 0
        self._skip = False
        while True:
            if self._in_string:
                at = _in_string(text, at)
                if at == len(text):
                    return -1
                self._in_string = text[at] != '"'
                self._skip = self._in_string  # then it is a backslash, and what it escapes is still to come
                at += 1
            mark = self._MARKS.search(text, at)
            if mark is None:
                return -1
            at = mark.end()
            match mark.group():
                case '"':
                    self._in_string = True
                case "\\":
                    self._skip = at >= len(text)
                    at += 1
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth == 0:
                        self._ended = True
                        return at


_INSIDE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


def _in_string(text: str, at: int) -> int:
    """Where a string ends in whose inside `at` is: at its quotation mark, at a backslash that is cut off from what it
    escapes, or at the text's end."""
    inside = _INSIDE.match(text, at)
    return inside.end() if inside else at


def as_object(arguments: str, path: str, losses: list[Loss]) -> Mapping[str, Any]:
    """A call's arguments as the object that Anthropic and Gemini need, whatever a model wrote."""
    if not arguments or arguments == "{}":
        return {}
    try:
        value = wire.loads(arguments)
    except ValueError:
        value = arguments
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    losses.append(
        Loss(
            f"{path}.arguments",
            "they are no JSON object, so they are carried in a field `input`",
            "converted",
            "content",
        )
    )
    return {"input": value}
