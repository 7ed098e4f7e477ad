"""Responses streams read, and listened to.

A response is a list of items, told by their `output_index`; ids are not to be trusted, some providers make
new ones for every event. A message's texts are parts of their own, told by `content_index`; a call, a
reasoning or an item only OpenAI knows is one part. What the `done` events repeat counts as far as the deltas did
not bring it: some providers send arguments only there, some announce nothing but the finished response.

A custom tool's input is text; inside the engine it is the one argument `input`, so its deltas are written as
the inside of a JSON string.
"""

from collections.abc import Callable, Mapping
from typing import Any

from engine import wire
from engine.core.conversation import Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.reply import Reply
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped
from engine.protocols.faults import fault_in_stream
from engine.protocols.fields import Json, a_string, leftover, string
from engine.protocols.openai_responses.content import is_refusal, read_part
from engine.protocols.openai_responses.items import (
    arguments_text,
    call_seal,
    message_fields,
    read_call,
    read_reasoning,
    reasoning_seal,
    with_message,
)
from engine.protocols.openai_responses.names import NAMES, ORIGIN
from engine.protocols.openai_responses.reply import fault_of, read_reply, read_usage, stop_of
from engine.protocols.pulse import Glance
from engine.protocols.sealing import seal
from engine.protocols.streams import ReaderTap, StreamReader

_CALLS = frozenset({"function_call", "custom_tool_call"})
_SHOWN = "content_index"  # counts the texts of a reasoning that is shown itself, and not its summary


class _Part:
    """A part being read."""

    __slots__ = ("index", "logprobs", "open", "pieces")

    def __init__(self, index: int) -> None:
        self.index = index
        self.logprobs: list[Any] = []  # which are told with the deltas alone
        self.pieces: list[str] = []  # what it grew by
        self.open = True


class _Item:
    """An item being read. `one` is its part where it is only one, `texts` its parts where it is a message."""

    __slots__ = ("item", "kind", "one", "section", "texts")

    def __init__(self, kind: str, item: Json) -> None:
        self.kind = kind
        self.item = item
        self.one: _Part | None = None
        self.texts: dict[int, _Part] = {}
        self.section: tuple[str, int] | None = None  # of a reasoning: which of its texts grew last


class EventReader(StreamReader):
    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._opened = 0
        self._items: dict[int, _Item] = {}
        self._shown: list[_Item] = []  # reasoning that is shown itself and has not ended
        self._called = False
        self._refused = False

    def _read(self, data: bytes, events: list[Event]) -> None:
        if data.startswith(b"[DONE]"):
            return
        event = wire.loads(data)
        kind = event.get("type")
        if kind == "error" or (kind is None and event.get("error")):
            self._break(fault_in_stream(NAMES, event.get("error") or event), events)
            return
        read = _READERS.get(kind) if isinstance(kind, str) else None
        if read is None:
            return
        if not self._started:
            self._start(event, events)
        read(self, event, events)

    def _finish(self, events: list[Event]) -> None:
        """Only the response itself says how it ended."""

    def _read_whole(self, body: Mapping[str, Any]) -> Reply:
        return read_reply(body)

    def _start(self, event: Json, events: list[Event]) -> None:
        self._started = True
        response = event.get("response") or {}
        events.append(Started(string(response, "id", "", ""), string(response, "model", "", "")))

    def read_begun(self, event: Json, events: list[Event]) -> None:
        """Nothing more is in it than that the response has started."""

    # ---- items

    def read_added(self, event: Json, events: list[Event]) -> None:
        self._item(event, events)

    def read_item_done(self, event: Json, events: list[Event]) -> None:
        self._complete(self._item(event, events), event["item"], events)

    def _item(self, event: Json, events: list[Event]) -> _Item:
        """The item an event is about, opened if it is new; without a word about it, it is a message."""
        place = event.get("output_index")
        if place is None:
            place = max(self._items, default=0)
        item = self._items.get(place)
        if item is None:
            told = event.get("item") or {}
            item = self._items[place] = _Item(string(told, "type", "item", "message"), told)
            self._open(item, events)
        return item

    def _open(self, item: _Item, events: list[Event]) -> None:
        match item.kind:
            case "message":
                return
            case "function_call" | "custom_tool_call" as kind:
                if not item.item.get("name"):
                    return  # it opens once its name is known
                call = read_call({**item.item, "arguments": "", "input": ""}, kind, f"output.{self._opened}")
                self._called = True
                item.one = self._add(ToolCall(call.id, call.name, "", sealed=call.sealed), events)
                if kind == "custom_tool_call":
                    events.append(PartGrew(item.one.index, '{"input":"'))
            case "reasoning":
                named = {"id": item.item["id"]} if item.item.get("id") else {}
                item.one = self._add(Thinking("", seal(ORIGIN, named)), events)
            case kind:
                item.one = self._add(Opaque(kind, Sealed(ORIGIN, item.item)), events)

    def _add(self, part: Part, events: list[Event]) -> _Part:
        for item in self._shown:
            # Open models' servers end a reasoning after the text it led to, and have nothing to add to it.
            if item.one is not None and item.one.open:
                self._close(item.one, reasoning_seal(item.item), events)
        self._shown.clear()
        events.append(PartOpened(self._opened, part))
        self._opened += 1
        return _Part(self._opened - 1)

    def _complete(self, item: _Item, done: Json, events: list[Event]) -> None:
        """An item is whole: grow what did not grow by deltas, and close it."""
        if item.kind == "message":
            for at, value in enumerate(done.get("content") or ()):
                self._complete_text(item, at, value, events)
            self._close_all(item, events)
            return
        if item.one is None:
            item.item = done
            self._open(item, events)
        part = item.one
        if part is None or not part.open:
            return
        sealed: Sealed | None
        match item.kind:
            case "function_call" as kind:
                self._grow_rest(part, arguments_text(done.get("arguments")), events)
                sealed = call_seal(done, kind)
            case "custom_tool_call" as kind:
                self._grow_rest(part, _inside(string(done, "input", "item", "")), events)
                events.append(PartGrew(part.index, '"}'))
                sealed = call_seal(done, kind)
            case "reasoning":
                whole = read_reasoning(done, "item")
                self._grow_rest(part, whole.text, events)
                sealed = whole.sealed
            case _:
                sealed = Sealed(ORIGIN, done)
        self._close(part, sealed, events)

    def _grow(self, part: _Part, text: str, events: list[Event]) -> None:
        if text and part.open:  # what comes behind its end is nobody's
            part.pieces.append(text)
            events.append(PartGrew(part.index, text))

    def _grow_rest(self, part: _Part, whole: str, events: list[Event]) -> None:
        """What a `done` says beyond the deltas. Where it says something else, the deltas count."""
        grown = "".join(part.pieces)
        if len(whole) > len(grown) and whole.startswith(grown):
            self._grow(part, whole[len(grown) :], events)

    def _close(self, part: _Part, sealed: Sealed | None, events: list[Event]) -> None:
        part.open = False
        events.append(PartClosed(part.index, sealed))

    def _close_all(self, item: _Item, events: list[Event]) -> None:
        """Close what the provider left open."""
        for part in (*item.texts.values(), item.one):
            if part is not None and part.open:
                if item.kind == "custom_tool_call":
                    events.append(PartGrew(part.index, '"}'))
                self._close(part, None, events)

    # ---- texts

    def read_text_delta(self, event: Json, events: list[Event]) -> None:
        item = self._items.get(event.get("output_index", -1))
        part = item.texts.get(event.get("content_index", 0)) if item is not None else None
        if part is None:
            kind = "refusal" if event["type"] == "response.refusal.delta" else "output_text"
            part = self._text(event, {"type": kind, "text": "", "refusal": ""}, events)
        self._grow(part, a_string(event["delta"], "delta"), events)
        if event.get("logprobs"):
            part.logprobs += event["logprobs"]

    def read_text_done(self, event: Json, events: list[Event]) -> None:
        refusal = event["type"] == "response.refusal.done"
        text = event.get("refusal") if refusal else event.get("text")
        part = self._text(event, {"type": "refusal", "refusal": ""} if refusal else _NO_TEXT, events)
        self._grow_rest(part, a_string(text or "", "text"), events)

    def read_part_added(self, event: Json, events: list[Event]) -> None:
        if self._item(event, events).kind == "message":
            self._text(event, event["part"], events)

    def read_part_done(self, event: Json, events: list[Event]) -> None:
        item = self._item(event, events)
        if item.kind == "message":
            self._complete_text(item, event.get("content_index", 0), event["part"], events)

    def _text(self, event: Json, value: Json, events: list[Event]) -> _Part:
        item, at = self._item(event, events), event.get("content_index", 0)
        if item.kind != "message":
            raise ValueError(f"a text for an item of the kind {item.kind}")
        return item.texts.get(at) or self._open_text(item, at, value, events)

    def _open_text(self, item: _Item, at: int, value: Json, events: list[Event]) -> _Part:
        part = read_part(value, "content", at)
        if isinstance(part, Text):
            self._refused = self._refused or is_refusal(part)
            part = Text("", None, part.sealed if is_refusal(part) else None)
        item.texts[at] = self._add(part, events)
        return item.texts[at]

    def _complete_text(self, item: _Item, at: int, value: Json, events: list[Event]) -> None:
        part = item.texts.get(at) or self._open_text(item, at, value, events)
        if not part.open:
            return
        whole = read_part(value, "content", at)
        sealed = whole.sealed
        if isinstance(whole, Text):
            self._grow_rest(part, whole.text, events)
            if part.logprobs and not value.get("logprobs"):
                sealed = read_part({**value, "logprobs": part.logprobs}, "content", at).sealed
            if at == 0:
                sealed = with_message(sealed, message_fields(item.item))
        self._close(part, sealed, events)

    # ---- calls and reasoning

    def read_call_delta(self, event: Json, events: list[Event]) -> None:
        item = self._item(event, events)
        if item.kind not in _CALLS or item.one is None:
            return
        delta = a_string(event["delta"], "delta")
        self._grow(item.one, _inside(delta) if item.kind == "custom_tool_call" else delta, events)

    def read_call_done(self, event: Json, events: list[Event]) -> None:
        item = self._item(event, events)
        if item.kind not in _CALLS or item.one is None:
            return
        if item.kind == "custom_tool_call":
            self._grow_rest(item.one, _inside(a_string(event.get("input") or "", "input")), events)
        else:
            self._grow_rest(item.one, arguments_text(event.get("arguments")), events)

    def read_reasoning_delta(self, event: Json, events: list[Event]) -> None:
        item = self._item(event, events)
        if item.kind != "reasoning" or item.one is None or not item.one.open:
            return
        field = "summary_index" if "summary" in event["type"] else _SHOWN
        section = (field, event.get(field, 0))
        if item.section is not None and item.section[0] != field:
            return  # the reasoning itself was shown, and this is its summary
        if item.section is not None and item.section != section and item.one.pieces:
            self._grow(item.one, "\n\n", events)
        if item.section is None and field == _SHOWN:
            self._shown.append(item)
        item.section = section
        self._grow(item.one, a_string(event["delta"], "delta"), events)

    # ---- the end

    def read_end(self, event: Json, events: list[Event]) -> None:
        response = event["response"]
        self._complete_response(response.get("output") or [], events)
        left = leftover(response, NAMES.reply_fields)
        stop = stop_of(response, self._called, self._refused)
        events.append(Stopped(stop, read_usage(response), seal(ORIGIN, left)))
        self._ended = True

    def _complete_response(self, output: list[Any], events: list[Event]) -> None:
        silent = not self._items
        for place, value in enumerate(output):
            item = self._items.get(place)
            if silent or (item is not None and _is_open(item) and item.kind == value.get("type")):
                self.read_item_done({"output_index": place, "item": value}, events)
        for item in self._items.values():
            if item.kind in _CALLS and item.one is None:
                # Clients loop on a call that they cannot find.
                raise ValueError("the stream holds a tool call without a name")
            self._close_all(item, events)

    def read_failure(self, event: Json, events: list[Event]) -> None:
        response = event.get("response") or {}
        self._ended = True
        events.append(Broke(fault_of(response), read_usage(response)))


def _is_open(item: _Item) -> bool:
    parts = (*item.texts.values(), item.one)
    return any(part is not None and part.open for part in parts) or not any(parts)


def _inside(text: str) -> str:
    """A text as it stands inside a JSON string."""
    return wire.dumps(text).decode()[1:-1]


_NO_TEXT: Json = {"type": "output_text", "text": ""}
_Read = Callable[[EventReader, Json, list[Event]], None]
_READERS: dict[str, _Read] = {
    f"response.{kind}": read
    for kind, read in {
        "created": EventReader.read_begun,
        "queued": EventReader.read_begun,
        "in_progress": EventReader.read_begun,
        "output_item.added": EventReader.read_added,
        "output_item.done": EventReader.read_item_done,
        "content_part.added": EventReader.read_part_added,
        "content_part.done": EventReader.read_part_done,
        "output_text.delta": EventReader.read_text_delta,
        "output_text.done": EventReader.read_text_done,
        "refusal.delta": EventReader.read_text_delta,
        "refusal.done": EventReader.read_text_done,
        "function_call_arguments.delta": EventReader.read_call_delta,
        "function_call_arguments.done": EventReader.read_call_done,
        "custom_tool_call_input.delta": EventReader.read_call_delta,
        "custom_tool_call_input.done": EventReader.read_call_done,
        "reasoning_text.delta": EventReader.read_reasoning_delta,
        "reasoning_summary_text.delta": EventReader.read_reasoning_delta,
        "completed": EventReader.read_end,
        "incomplete": EventReader.read_end,
        "failed": EventReader.read_failure,
        "cancelled": EventReader.read_failure,
    }.items()
}

_HEAD = b'{"type":"response.'
_TELLING = (b"output_item.added", b"completed", b"incomplete", b"failed", b"cancelled")


_BEGUN = (b"created", b"queued", b"in_progress")
_EMPTY = (b'"delta":""', b'"delta": ""')  # inside a text quotation marks are escaped


def tap() -> ReaderTap:
    return ReaderTap(EventReader(), _glance)


def _glance(data: bytes) -> Glance:
    """All that a tap wants to know is in the last event, and in what items there are."""
    if not data.startswith(_HEAD) or not data.endswith(b"}") or data.startswith(_TELLING, len(_HEAD)):
        return ""
    if data.startswith(_BEGUN, len(_HEAD)) or any(mark in data for mark in _EMPTY):
        return "empty"
    return "speaking" if data.startswith(b"output_text.", len(_HEAD)) else "same"
