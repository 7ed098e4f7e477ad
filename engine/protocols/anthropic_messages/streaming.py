"""Anthropic's event streams: one reader, one writer, one tap.

Reading. `message_start`, which may hold blocks already, then blocks by index, then `message_delta` with the
stop reason and the final usage, then `message_stop`. Tolerated: a second `message_start`, pings, unknown
events, empty deltas, a missing `message_stop` once the stop reason is known. Usage in `message_delta` is
cumulative and replaces what was known, except that a zero never replaces a figure: compatible providers
fill what they do not know with zeros.

Writing. Clients follow one block at a time, so a part that opens while another is open waits, with all
that it grows by, until its turn comes. Every stream ends in `message_delta` and `message_stop`, or in one
`error` event.
"""

from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.core.conversation import Loss, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.reply import Reply, Usage
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped
from engine.protocols.anthropic_messages.blocks import ORIGIN, read_block
from engine.protocols.anthropic_messages.errors import write_fault
from engine.protocols.anthropic_messages.reading import NAMES
from engine.protocols.anthropic_messages.reply import (
    client_block,
    left_of_reply,
    read_reply,
    read_stop,
    read_usage,
    write_stop,
    write_usage,
)
from engine.protocols.faults import fault_in_stream
from engine.protocols.fields import Json, a_string, an_object, leftover, maybe_list, string
from engine.protocols.pulse import Glance
from engine.protocols.sealing import from_signature, is_ours, opened, report_foreign, seal, to_signature
from engine.protocols.shape import ReplyContext
from engine.protocols.sse import frame
from engine.protocols.streams import ReaderTap, StreamReader, hung_up
from engine.protocols.turns import CallIds, made_id


class _Block:
    """A block being read. `sealed` is what its part is sealed with when it closes."""

    __slots__ = ("_lists", "arguments", "index", "kind", "sealed", "start_input")

    def __init__(self, index: int, kind: str, sealed: dict[str, Any]) -> None:
        self.index = index
        self.kind = kind
        self.sealed = sealed
        self.arguments: list[str] = []
        self.start_input: Any = None
        self._lists: dict[str, list[Any]] = {}

    def add(self, field: str, value: Any) -> None:
        """One more in a list that is sealed; what the block began with stays as it was."""
        if field not in self._lists:
            self.sealed[field] = self._lists[field] = list(self.sealed.get(field) or ())
        self._lists[field].append(value)


class EventReader(StreamReader):
    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._blocks: dict[int, _Block] = {}
        self._opened = 0
        self._has_calls = False
        self._usage: dict[str, Any] = {}
        self._stop: tuple[Any, Any] | None = None
        self._left: dict[str, Any] = {}

    def _read(self, data: bytes, events: list[Event]) -> None:
        event = wire.loads(data)
        kind = event["type"]
        if kind == "content_block_delta":
            self._grow(self._blocks[event["index"]], event["delta"], events)
        elif kind == "content_block_start":
            self._open(event["index"], event["content_block"], events)
        elif kind == "content_block_stop":
            self._close(self._blocks.pop(event["index"]), events)
        elif kind == "message_start":
            self._start(event["message"], events)
        elif kind == "message_delta":
            self._note_end(event)
        elif kind == "message_stop":
            self._complete(events)
        elif kind == "error" or event.get("error"):
            self._break(fault_in_stream(NAMES, event.get("error")), events)

    def _finish(self, events: list[Event]) -> None:
        if self._stop is not None:
            self._complete(events)

    def _read_whole(self, body: Mapping[str, Any]) -> Reply:
        return read_reply(body)

    def _start(self, message: Json, events: list[Event]) -> None:
        usage = message.get("usage")
        self._merge_usage(usage if isinstance(usage, dict) else {})
        self._left |= leftover(message, NAMES.reply_fields)
        if self._started:
            return
        self._started = True
        known = read_usage(self._usage) if self._usage else None
        events.append(Started(string(message, "id", "", ""), string(message, "model", "", ""), known))
        # A reply that goes on with what a hosted tool's program asks for has its calls, and its end, in here.
        for number, block in enumerate(maybe_list(message, "content", "message")):
            self._open(number, block, events)
            self._close(self._blocks.pop(number), events)
        self._note_stop(message)

    def _open(self, number: int, value: Any, events: list[Event]) -> None:
        if not self._started or type(number) is not int or number in self._blocks:
            raise ValueError(f"block {number} opens where it cannot")
        part = read_block(value, "content_block", number)
        index = self._opened
        self._opened += 1
        sealed = dict(part.sealed.data) if part.sealed is not None else {}
        block = self._blocks[number] = _Block(index, value["type"], sealed)
        match part:
            case Text(text=text, cache_control=mark):
                events.append(PartOpened(index, Text("", mark)))
                if text:
                    events.append(PartGrew(index, text))
            case Thinking(text=text) if block.kind == "thinking":
                events.append(PartOpened(index, Thinking("")))
                if text:
                    events.append(PartGrew(index, text))
            case ToolCall():
                self._has_calls = True
                block.start_input = value.get("input")
                events.append(PartOpened(index, ToolCall(part.id, part.name, "", None, part.sealed)))
            case _:
                events.append(PartOpened(index, part))

    def _grow(self, block: _Block, delta: Json, events: list[Event]) -> None:
        kind = delta["type"]
        if kind == "text_delta":
            text = delta["text"]
        elif kind == "input_json_delta":
            text = delta["partial_json"]
            if text:
                block.arguments.append(a_string(text, "partial_json"))
        elif kind == "thinking_delta":
            text = delta["thinking"]
        elif kind == "signature_delta":
            block.sealed["signature"] = block.sealed.get("signature", "") + delta["signature"]
            return
        elif kind == "citations_delta":
            block.add("citations", delta["citation"])
            return
        elif kind == "compaction_delta":
            text = delta["content"]
            block.sealed["content"] = (block.sealed.get("content") or "") + (text or "")
        else:
            block.add("deltas", delta)
            return
        if text:
            events.append(PartGrew(block.index, a_string(text, kind)))

    def _close(self, block: _Block, events: list[Event]) -> None:
        if block.kind == "tool_use":
            if block.start_input and not block.arguments:
                events.append(PartGrew(block.index, wire.dumps(block.start_input).decode()))
            events.append(PartClosed(block.index))
            return
        if block.arguments and self.skip is None:
            # A hosted tool's input: whoever replays the block needs it whole. A tap has not read all of it.
            block.sealed["input"] = wire.loads("".join(block.arguments))
        signature = block.sealed.get("signature") or ""
        ours = block.kind == "thinking" and is_ours(signature)  # there is another engine behind this one
        sealed = from_signature(signature) if ours else seal(ORIGIN, block.sealed)
        events.append(PartClosed(block.index, sealed))

    def _note_end(self, event: Json) -> None:
        delta = an_object(event.get("delta") or {}, "delta")
        self._note_stop(delta)
        usage = event.get("usage")
        self._merge_usage(usage if isinstance(usage, dict) else {})
        self._left |= leftover(delta, NAMES.reply_fields) | leftover(event, _END_FIELDS)

    def _note_stop(self, holder: Json) -> None:
        if holder.get("stop_reason") is not None:
            self._stop = (holder["stop_reason"], holder.get("stop_sequence"))

    def _merge_usage(self, usage: Json) -> None:
        for key, value in usage.items():
            if value or key not in self._usage:
                self._usage[key] = value

    def _complete(self, events: list[Event]) -> None:
        if not self._started:
            raise ValueError("message_stop comes before message_start")
        for number in sorted(self._blocks):
            self._close(self._blocks.pop(number), events)
        reason, sequence = self._stop or (None, None)
        left = self._left | left_of_reply({}, self._usage)
        stop = read_stop(reason, sequence, self._has_calls)
        events.append(Stopped(stop, read_usage(self._usage), seal(ORIGIN, left)))
        self._ended = True


_END_FIELDS = frozenset({"type", "delta", "usage"})
_DELTA = (b'{"type":"content_block_delta"', b'{"type": "content_block_delta"')


_EMPTY = (
    b':""}}',
    b': ""}}',
)  # how a delta ends that adds nothing; inside a text quotation marks are escaped


def tap() -> ReaderTap:
    return ReaderTap(EventReader(), _glance)


def _glance(data: bytes) -> Glance:
    """A tap wants to know of deltas only whether they say anything; their block's start has told what they are."""
    if not (data.startswith(_DELTA) and data.endswith(b"}")):
        return ""
    return "empty" if data.endswith(_EMPTY) else "same"


class _Waiting:
    """A part that opened while another was open."""

    __slots__ = ("closed", "grown", "part", "sealed")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.grown: list[str] = []
        self.closed = False
        self.sealed: Sealed | None = None


class EventWriter:
    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._ids = CallIds(NAMES.limits)
        self._losses: list[Loss] = []
        self._started = False
        self._ended = False
        self._has_calls = False
        self._blocks = 0
        self._current = -1  # the part whose block is open
        self._growth: tuple[bytes, bytes] | None = None  # what stands around the text of its deltas
        self._part: Part = Text("")
        self._shown = False  # whether that part has a block: some cannot be carried
        self._waiting: dict[int, _Waiting] = {}

    @property
    def dropped(self) -> tuple[Loss, ...]:
        return tuple(self._losses)

    def feed(self, event: Event) -> list[bytes]:
        if self._ended:
            return []
        if isinstance(event, PartGrew):
            return self._grow(event)
        written: list[bytes] = []
        match event:
            case Started(id=reply_id, usage=usage):
                self._start(reply_id, usage, written)
            case PartOpened(index=index, part=part):
                if self._current < 0:
                    self._open(index, part, written)
                else:
                    self._waiting[index] = _Waiting(part)
            case PartClosed(index=index, sealed=sealed):
                if index == self._current:
                    self._close(sealed, written)
                    self._open_waiting(written)
                elif index in self._waiting:
                    self._waiting[index].closed = True
                    self._waiting[index].sealed = sealed
            case Stopped():
                self._stop(event, written)
            case Broke(fault=fault):
                written.append(frame(wire.dumps(write_fault(fault)), b"error"))
                self._ended = True
        return written

    def close(self) -> list[bytes]:
        return self.feed(Broke(hung_up()))

    def _start(self, reply_id: str, usage: Usage | None, written: list[bytes]) -> None:
        message: dict[str, Any] = {
            "id": self._context.id or reply_id,
            "type": "message",
            "role": "assistant",
            "model": self._context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(usage or Usage()),
        }
        written.append(_event({"type": "message_start", "message": message}))
        self._started = True

    def _grow(self, event: PartGrew) -> list[bytes]:
        if event.index == self._current:
            if self._growth is None or not event.text:
                return []
            before, after = self._growth
            return [before + wire.dumps(event.text) + after]
        waiting = self._waiting.get(event.index)
        if waiting is not None:
            waiting.grown.append(event.text)
        return []

    def _open(self, index: int, part: Part, written: list[bytes]) -> None:
        self._current, self._part, self._growth = index, part, None
        block = self._start_block(index, part)
        self._shown = block is not None
        if block is None:
            return
        event = {"type": "content_block_start", "index": self._blocks, "content_block": block}
        written.append(_event(event))
        kind = _growth_of(part)
        if kind is not None:
            head = (
                b"event: content_block_delta\n"
                b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            )
            self._growth = (head % (self._blocks, *kind), b"}}\n\n")
            text = part.text if isinstance(part, Text | Thinking) else ""
            if text:
                written.append(self._growth[0] + wire.dumps(text) + self._growth[1])
        self._blocks += 1

    def _start_block(self, index: int, part: Part) -> dict[str, Any] | None:
        match part:
            case Text():
                return {"type": "text", "text": ""}
            case Thinking(sealed=sealed) if "data" not in opened(sealed, ORIGIN):
                return {"type": "thinking", "thinking": "", "signature": ""}
            case ToolCall(id=call_id, name=name, sealed=sealed):
                self._has_calls = True
                own = self._ids.give(call_id or made_id(f"{self._context.id}\0{index}"))
                return {"type": "tool_use", "id": own, "name": name, "input": {}, **opened(sealed, ORIGIN)}
            case _:
                return client_block(part, f"content.{index}", self._losses)

    def _close(self, sealed: Sealed | None, written: list[bytes]) -> None:
        self._current = -1
        if not self._shown:
            return
        if self._growth is not None:
            written += self._last_deltas(sealed or self._part.sealed)
        written.append(_event({"type": "content_block_stop", "index": self._blocks - 1}))

    def _last_deltas(self, sealed: Sealed | None) -> list[bytes]:
        number = self._blocks - 1
        deltas: list[dict[str, Any]] = []
        data = opened(sealed, ORIGIN)
        if isinstance(self._part, Thinking) and sealed is not None:
            signature = data.get("signature") if data else to_signature(sealed)
            deltas.append({"type": "signature_delta", "signature": signature or ""})
        if isinstance(self._part, Text):
            deltas += [{"type": "citations_delta", "citation": one} for one in data.get("citations") or ()]
        return [_event({"type": "content_block_delta", "index": number, "delta": delta}) for delta in deltas]

    def _open_waiting(self, written: list[bytes]) -> None:
        while self._waiting and self._current < 0:
            index = next(iter(self._waiting))
            waiting = self._waiting.pop(index)
            self._open(index, waiting.part, written)
            text = "".join(waiting.grown)
            if text:
                written += self._grow(PartGrew(index, text))
            if waiting.closed:
                self._close(waiting.sealed, written)

    def _stop(self, event: Stopped, written: list[bytes]) -> None:
        own = dict(opened(event.sealed, ORIGIN))
        usage = write_usage(event.usage) | own.pop("usage", {})
        delta = {"stop_reason": write_stop(event.stop, self._has_calls), "stop_sequence": event.stop.sequence}
        written.append(_event({"type": "message_delta", "delta": delta, "usage": usage}))
        written.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        report_foreign(event.sealed, ORIGIN, "", self._losses)
        self._ended = True


def _growth_of(part: Part) -> tuple[bytes, bytes] | None:
    """The type of the deltas a part grows by, and the field that carries them."""
    match part:
        case Text():
            return b"text_delta", b"text"
        case Thinking(sealed=sealed) if "data" not in opened(sealed, ORIGIN):
            return b"thinking_delta", b"thinking"
        case ToolCall():
            return b"input_json_delta", b"partial_json"
        case Opaque(kind="compaction"):
            return b"compaction_delta", b"content"
        case Opaque(sealed=Sealed(origin="anthropic-messages")):
            return b"input_json_delta", b"partial_json"
        case _:
            return None


def _event(event: Mapping[str, Any]) -> bytes:
    return frame(wire.dumps(event), event["type"].encode())
