"""Gemini's streams: one reader, one writer, one tap.

Reading. Every chunk is a reply of its own with a few parts. Text and thoughts grow while parts of their kind
follow one another; calls and everything else come whole, or as pieces of arguments that are put together. The
reason to stop comes with the last part, but what the reply rests on (searches) and the usage may come in a
chunk behind it, and there is no mark of the end: `Stopped` waits for the bytes to be over. Bytes that end
without a reason to stop were cut off. The usage of each chunk is all there is so far and replaces the last.

Writing. Clients want a call whole, so it is held until it is complete, and calls keep their order. Lines end in
CRLF as Google's do, and there is nothing but chunks: no comment, no event's name, no mark of the end.
"""

import re
from collections.abc import Mapping
from typing import Any, assert_never

from engine import wire
from engine.core.conversation import Loss, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import UpstreamError
from engine.core.reply import Reply, Usage
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped
from engine.protocols.fields import Json, an_object, maybe_list, string
from engine.protocols.gemini.errors import fault_in_stream, write_fault
from engine.protocols.gemini.partial import PartialCall
from engine.protocols.gemini.parts import maybe_named, named, read_part
from engine.protocols.gemini.reading import NAMES
from engine.protocols.gemini.reply import (
    ReplyParts,
    call_seed,
    is_blocked,
    left_of,
    read_reply,
    read_stop,
    read_usage,
    report_usage,
    write_usage,
)
from engine.protocols.gemini.signatures import ORIGIN, signed_call
from engine.protocols.pulse import Glance
from engine.protocols.sealing import opened, report_foreign, seal
from engine.protocols.shape import ReplyContext
from engine.protocols.streams import ReaderTap, StreamReader, hung_up


class EventReader(StreamReader):
    def __init__(self) -> None:
        super().__init__()
        self.reason: Any = None
        self._message: Any = None
        self._started = False
        self._seed = ""
        self._opened = 0
        self._seen = 0  # parts of the provider's so far, for the ids of calls that have none
        self._text = -1  # the open text part, or -1
        self._thinking = -1  # the open thinking part, or -1
        self._partial: PartialCall | None = None
        self._has_calls = False
        self._feedback: Json | None = None
        self._usage: Any = None  # as it was told last
        self._left: dict[str, Any] = {}

    def _read(self, data: bytes, events: list[Event]) -> None:
        chunk = wire.loads(data)
        if not self._read_plain(chunk, events):
            self._read_chunk(named(an_object(chunk, "")), events)

    def _read_plain(self, chunk: Any, events: list[Event]) -> bool:
        """A chunk of the commonest shape, which only lets the open text or thought grow: nearly all of a stream.
        False for every other, which is then read with care."""
        try:
            (candidate,) = chunk["candidates"]
            content = candidate["content"]
            (part,) = content["parts"]
            text = part["text"]
        except (KeyError, TypeError, ValueError):
            return False
        index = self._text if len(part) == 1 else self._thinking if _is_thought(part) else -1
        if (
            index < 0
            or type(text) is not str
            or not text
            or candidate.get("index")
            or not chunk.keys() <= _PLAIN
            or not candidate.keys() <= _PLAIN_CANDIDATE
            or not content.keys() <= _PLAIN_CONTENT
        ):
            return False
        self._seen += 1
        events.append(PartGrew(index, text))
        self._note_usage(chunk.get("usageMetadata"))
        return True

    def _read_chunk(self, chunk: Json, events: list[Event]) -> None:
        if chunk.get("error"):
            self._break(fault_in_stream(chunk["error"]), events)
            return
        if not self._started:
            self._start(chunk, events)
        feedback = maybe_named(chunk, "promptFeedback", "")
        if feedback:
            self._feedback = feedback
        candidates = maybe_list(chunk, "candidates", "")
        candidate: Json = {}
        for value in candidates:
            one = named(an_object(value, "candidates"))
            if one.get("index"):
                # Only the first of several answers has a place in a reply.
                self._left.setdefault("candidates", []).append(one)
            else:
                candidate = one
                self._read_candidate(one, events)
        self._note_usage(chunk.get("usageMetadata"))
        self._left |= left_of(chunk, candidate)

    def _note_usage(self, told: Any) -> None:
        """Each chunk tells all there is so far; what counts nothing replaces nothing."""
        if type(told) is not dict:
            return
        prompt = told.get("promptTokenCount")
        if (type(prompt) is int and prompt > 0) or read_usage(told) != Usage():
            self._usage = told

    def _finish(self, events: list[Event]) -> None:
        if self.reason is None and not is_blocked(self._feedback):
            return
        if self._partial is not None:
            self._finish_call(events)
        self._close_text(events)
        try:
            stop = read_stop(
                self.reason, self._message, self._has_calls, self._opened > 0, is_blocked(self._feedback)
            )
        except UpstreamError as error:
            self._break(error.fault, events)
            return
        if self._feedback:
            self._left["promptFeedback"] = self._feedback
        events.append(Stopped(stop, read_usage(self._usage), seal(ORIGIN, self._left)))
        self._ended = True

    def _read_whole(self, body: Mapping[str, Any]) -> Reply:
        return read_reply(body)

    def _start(self, chunk: Json, events: list[Event]) -> None:
        if not chunk.keys() & {"candidates", "promptFeedback", "usageMetadata", "responseId"}:
            raise ValueError("the first chunk is no reply")
        self._started = True
        self._seed = call_seed(chunk)
        usage = read_usage(chunk.get("usageMetadata"))
        known = usage if usage.input_tokens else None
        reply_id, model = string(chunk, "responseId", "", ""), string(chunk, "modelVersion", "", "")
        events.append(Started(reply_id, model, known))

    def _read_candidate(self, candidate: Json, events: list[Event]) -> None:
        content = maybe_named(candidate, "content", "candidates.0") or {}
        for value in maybe_list(content, "parts", "candidates.0.content"):
            self._read_part(named(an_object(value, "parts")), events)
        if candidate.get("finishReason"):
            self.reason = string(candidate, "finishReason", "candidates.0")
            self._message = candidate.get("finishMessage")

    def _read_part(self, part: Json, events: list[Event]) -> None:
        call = part.get("functionCall")
        if call is not None:
            self._read_call(part, named(an_object(call, "functionCall")), events)
            return
        seed = f"{self._seed}\0{self._seen}"
        self._seen += 1
        for one in read_part(part, "candidates.0.content.parts", seed):
            self._add(one, events)

    def _read_call(self, part: Json, call: Json, events: list[Event]) -> None:
        name = call.get("name")
        if self._partial is not None and name and name != self._partial.call.get("name"):
            self._finish_call(events)
        if self._partial is not None:
            self._partial.add(call)
        elif call.get("willContinue") or call.get("partialArgs"):
            self._partial = PartialCall(part, call)
        else:
            self._add_call(part, events)
            return
        if not call.get("willContinue"):
            self._finish_call(events)

    def _finish_call(self, events: list[Event]) -> None:
        assert self._partial is not None
        part, self._partial = self._partial.whole(), None
        self._add_call(part, events)

    def _add_call(self, part: Json, events: list[Event]) -> None:
        seed = f"{self._seed}\0{self._seen}"
        self._seen += 1
        for one in read_part(part, "candidates.0.content.parts", seed):
            self._add(one, events)

    def _add(self, part: Part, events: list[Event]) -> None:
        match part:
            case Text(text=text):
                if self._text < 0:
                    self._close_text(events)
                    self._text = self._next()
                    events.append(PartOpened(self._text, Text("")))
                events.append(PartGrew(self._text, text))
            case Thinking():
                self._think(part, events)
            case ToolCall(arguments=arguments):
                self._has_calls = True
                self._close_text(events)
                index = self._next()
                empty = ToolCall(part.id, part.name, "", None, part.sealed)
                events += (PartOpened(index, empty), PartGrew(index, arguments), PartClosed(index))
            case _:
                self._close_text(events)
                index = self._next()
                events += (PartOpened(index, part), PartClosed(index))

    def _think(self, part: Thinking, events: list[Event]) -> None:
        alone = not part.text and (self._thinking < 0 or signed_call(part) is not None)
        if alone:
            self._close_text(events)
            index = self._next()
            events += (PartOpened(index, part), PartClosed(index))
            return
        if self._thinking < 0:
            self._close_text(events)
            self._thinking = self._next()
            events.append(PartOpened(self._thinking, Thinking("")))
        if part.text:
            events.append(PartGrew(self._thinking, part.text))
        if part.sealed is not None:
            events.append(PartClosed(self._thinking, part.sealed))
            self._thinking = -1

    def _next(self) -> int:
        self._opened += 1
        return self._opened - 1

    def _close_text(self, events: list[Event]) -> None:
        if self._text >= 0:
            events.append(PartClosed(self._text))
            self._text = -1
        if self._thinking >= 0:
            events.append(PartClosed(self._thinking))
            self._thinking = -1


def _is_thought(part: Json) -> bool:
    return len(part) == 2 and part.get("thought") is True


_PLAIN = NAMES.reply_fields - {"error", "promptFeedback"}
_PLAIN_CANDIDATE = frozenset({"content", "index"})
_PLAIN_CONTENT = frozenset({"parts", "role"})
_SAID = re.compile(rb'"(?:text|inlineData|inline_data|executableCode|codeExecutionResult)" ?: ?(?:{|"(?!"))')
_REMARKABLE = (
    b'"finishReason"', b'"finish_reason"', b'"error"', b'"functionCall"', b'"function_call"', b'"promptFeedback"',
)  # fmt: skip


def tap() -> ReaderTap:
    reader = EventReader()

    def glance(data: bytes) -> Glance:
        """Inside JSON strings quotation marks are escaped, so none of these is ever found in a model's words."""
        if reader.reason is not None or any(mark in data for mark in _REMARKABLE):
            return ""
        if not data.endswith(b"}"):
            return ""  # whatever it is, it is not whole
        if _SAID.search(data) is None:
            return "empty"
        return "working" if b'"thought"' in data else "speaking"

    return ReaderTap(reader, glance)


class _HeldCall:
    """A call on its way to being whole."""

    __slots__ = ("arguments", "call", "closed", "sealed")

    def __init__(self, call: ToolCall) -> None:
        self.call = call
        self.arguments: list[str] = []
        self.closed = False
        self.sealed: Sealed | None = None


_HEAD = b'data: {"candidates":[{"content":{"parts":[{"text":%b%b%b'


class EventWriter:
    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._losses: list[Loss] = []
        self._parts = ReplyParts(context, self._losses)
        self._head: dict[str, Any] = {}
        self._tail = b""
        self._ended = False
        self._open: dict[int, Part] = {}
        self._calls: dict[int, _HeldCall] = {}
        self._growth: dict[int, bytes] = {}  # part -> what stands behind its text

    @property
    def dropped(self) -> tuple[Loss, ...]:
        return tuple(self._losses)

    def feed(self, event: Event) -> list[bytes]:
        if self._ended:
            return []
        if isinstance(event, PartGrew):
            return self._grow(event)
        match event:
            case Started(id=reply_id, usage=usage):
                self._start(reply_id, usage)
                return []
            case PartOpened(index=index, part=part):
                return self._begin(index, part)
            case PartClosed(index=index, sealed=sealed):
                return self._close(index, sealed)
            case Stopped():
                return self._stop(event)
            case Broke(fault=fault):
                self._ended = True
                return [b"data: %b\r\n\r\n" % wire.dumps(write_fault(fault))]
            case _ as never:
                assert_never(never)

    def close(self) -> list[bytes]:
        return self.feed(Broke(hung_up()))

    def _start(self, reply_id: str, usage: Usage | None) -> None:
        self._head = {"modelVersion": self._context.model, "responseId": self._context.id or reply_id}
        tail = {"usageMetadata": write_usage(usage), **self._head} if usage is not None else self._head
        self._tail = b'],"role":"model"},"index":0}],' + wire.dumps(tail)[1:] + b"\r\n\r\n"

    def _chunk(self, parts: list[dict[str, Any]]) -> list[bytes]:
        if not parts:
            return []
        text = b",".join(map(wire.dumps, parts))
        return [b'data: {"candidates":[{"content":{"parts":[' + text + self._tail]

    def _grow(self, event: PartGrew) -> list[bytes]:
        if not event.text:
            return []
        behind = self._growth.get(event.index)
        if behind is not None:
            return [_HEAD % (wire.dumps(event.text), behind, self._tail)]
        held = self._calls.get(event.index)
        if held is not None:
            held.arguments.append(event.text)
        return []

    def _begin(self, index: int, part: Part) -> list[bytes]:
        match part:
            case Text(text=text):
                self._growth[index] = b"}"
                report_foreign(part.sealed, ORIGIN, f"content.{index}", self._losses)
                return self._grow(PartGrew(index, text))
            case Thinking(text=text):
                self._open[index] = part
                self._growth[index] = b',"thought":true}'
                return self._grow(PartGrew(index, text))
            case ToolCall():
                self._calls[index] = _HeldCall(part)
                return []
            case _:
                return self._chunk(self._parts.written(part, f"content.{index}", index))

    def _close(self, index: int, sealed: Sealed | None) -> list[bytes]:
        self._growth.pop(index, None)
        part = self._open.pop(index, None)
        if isinstance(part, Thinking):
            end = Thinking("", sealed or part.sealed)
            return self._chunk(self._parts.thinking(end))
        held = self._calls.get(index)
        if held is None:
            report_foreign(sealed, ORIGIN, f"content.{index}", self._losses)
            return []
        held.closed, held.sealed = True, sealed
        return self._whole_calls()

    def _whole_calls(self) -> list[bytes]:
        """The calls that are complete and have none before them that is not."""
        written: list[dict[str, Any]] = []
        for index in sorted(self._calls):
            held = self._calls[index]
            if not held.closed:
                break
            del self._calls[index]
            arguments = "".join(held.arguments) or held.call.arguments or "{}"
            sealed = held.sealed or held.call.sealed
            call = ToolCall(held.call.id, held.call.name, arguments, held.call.cache_control, sealed)
            written += self._parts.written(call, f"content.{index}", index)
        return self._chunk(written)

    def _stop(self, event: Stopped) -> list[bytes]:
        self._ended = True
        own = dict(opened(event.sealed, ORIGIN))
        report_foreign(event.sealed, ORIGIN, "", self._losses)
        report_usage(event.usage, self._losses)
        candidate = {
            "content": {"parts": [{"text": ""}], "role": "model"},
            "finishReason": NAMES.stop_write[event.stop.reason],
            "index": 0,
        } | own.pop("candidate", {})
        body = {
            "candidates": [candidate, *own.pop("candidates", ())],
            "usageMetadata": write_usage(event.usage),
            **self._head,
            **own,
        }
        return [b"data: %b\r\n\r\n" % wire.dumps(body)]
