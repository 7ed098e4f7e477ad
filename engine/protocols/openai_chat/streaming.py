"""OpenAI Chat streams: one reader, one writer, one tap.

Reading. Chunks carry deltas of the first choice. Text and reasoning are one part at a time; tool calls
are told apart by `index` and may interleave. A call opens once its name is known; a call whose JSON is
whole closes when another part opens, one whose JSON is not stays open. Providers that give every call the
index 0 are recognised by a second id with a second name. The stop comes with `finish_reason`, but the
usage often one chunk later, so `Stopped` waits for a usage, for `[DONE]`, or for the end of the bytes,
whichever is first. A usage of nothing but zeros is a placeholder. `[DONE]` without a `finish_reason`
still ends a reply that has begun; the bytes ending without either does not.

Writing. The role is in the first delta, the usage in a chunk of its own with no choices, `[DONE]` comes
once and never behind an error.
"""

import re
from collections.abc import Mapping
from typing import Any, assert_never

from engine import wire
from engine.core.conversation import Loss, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import RequestError
from engine.core.reply import Reply, Usage
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped
from engine.protocols.faults import fault_in_stream
from engine.protocols.fields import Json, a_string, leftover, string
from engine.protocols.mapping import WireMap
from engine.protocols.openai_chat.errors import write_fault
from engine.protocols.openai_chat.parts import ORIGIN, arguments_text, is_signed, thinkings, write_detail
from engine.protocols.openai_chat.reading import NAMES
from engine.protocols.openai_chat.reply import (
    CHOICE_FIELDS,
    MESSAGE_FIELDS,
    call_seed,
    no_place,
    read_reply,
    read_stop,
    read_usage,
    write_stop,
    write_usage,
)
from engine.protocols.pulse import Glance
from engine.protocols.sealing import opened, report_foreign, seal
from engine.protocols.shape import ReplyContext
from engine.protocols.sse import frame
from engine.protocols.streams import ReaderTap, StreamReader, hung_up
from engine.protocols.turns import CallIds, made_id


class _Call:
    """A tool call being read. `index` is its part's, or -1 while its name is not known."""

    __slots__ = ("arguments", "id", "index", "name", "open")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.index = -1
        self.open = False
        self.arguments: list[str] = []

    def is_whole(self) -> bool:
        text = "".join(self.arguments)
        if not text.endswith(("}", "]", '"')):
            return False
        try:
            wire.loads(text)
        except ValueError:
            return False
        return True


class EventReader(StreamReader):
    """`names` are a dialect's, where it has words of its own for errors."""

    def __init__(self, names: WireMap = NAMES) -> None:
        super().__init__()
        self._names = names
        self._started = False
        self._seed = ""
        self._opened = 0
        self._text = -1  # the open text part, or -1
        self._refusal = False  # whether that part is a refusal
        self._thinking = -1  # the open thinking part, or -1
        self._thinking_field = ""
        self._thought: list[str] = []
        self._details: list[Any] = []
        self._calls: dict[Any, _Call] = {}  # by the provider's index
        self._all_calls: list[_Call] = []
        self._grown: dict[
            int, _Call
        ] = {}  # the open ones that grew since it was looked whether they are whole
        self._reason: str | None = None
        self._refused = False
        self._usage = Usage()
        self._has_usage = False
        self._left: dict[str, Any] = {}

    def _read(self, data: bytes, events: list[Event]) -> None:
        if data.startswith(b"[DONE]"):
            if not self._started:
                raise ValueError("[DONE] comes before any reply")
            self._complete(events)
            return
        chunk = wire.loads(data)
        if chunk.get("error"):
            self._break(fault_in_stream(self._names, chunk["error"]), events)
            return
        if not self._started:
            self._start(chunk, events)
        choices = chunk.get("choices")
        if choices:
            self._read_choice(choices[0], events)
        if chunk.get("usage") or "x_groq" in chunk:
            self._note_usage(chunk)
            if self._reason is not None and self._has_usage:
                self._complete(events)

    def _finish(self, events: list[Event]) -> None:
        if self._reason is not None:
            self._complete(events)

    def _read_whole(self, body: Mapping[str, Any]) -> Reply:
        return read_reply(body)

    def _start(self, chunk: Json, events: list[Event]) -> None:
        if "choices" not in chunk:
            raise ValueError("the first chunk has no choices")
        self._started = True
        self._seed = call_seed(chunk)
        events.append(Started(string(chunk, "id", "", ""), string(chunk, "model", "", "")))

    def _read_choice(self, choice: Json, events: list[Event]) -> None:
        if choice.get("index"):
            # Only the first of several answers has a place in a reply.
            self._left.setdefault("choices", []).append(choice)
            return
        delta = choice.get("delta")
        if delta and not self._read_plain(delta, events):
            self._read_delta(delta, events)
        reason = choice.get("finish_reason")
        if reason:
            self._reason = a_string(reason, "finish_reason")
        if choice.get("logprobs") is not None or not choice.keys() <= _CHOICE:
            self._left |= _kept(choice)

    def _read_plain(self, delta: Json, events: list[Event]) -> bool:
        """A delta of the commonest shape: one field that lets what is open grow. False for every other, which is then
        read with care."""
        field, value = "", None
        for name, said in delta.items():
            if not said or name == "role":
                continue
            if field:
                return False
            field, value = name, said
        if field == "content":
            index = -1 if self._refusal else self._text
        elif field == "tool_calls":
            return self._read_plain_call(value, events)
        elif field == self._thinking_field:
            index = self._thinking
        else:
            return False
        if index < 0 or type(value) is not str:
            return False
        if index == self._thinking:
            self._thought.append(value)
        events.append(PartGrew(index, value))
        return True

    def _read_plain_call(self, calls: Any, events: list[Event]) -> bool:
        try:
            (delta,) = calls
            call, function = self._calls[delta["index"]], delta["function"]
            text = function["arguments"]
        except (KeyError, TypeError, ValueError):
            return False
        if not call.open or delta.get("id") or function.get("name") or type(text) is not str or not text:
            return False
        call.arguments.append(text)
        self._grown[call.index] = call
        events.append(PartGrew(call.index, text))
        return True

    def _read_delta(self, delta: Json, events: list[Event]) -> None:
        content = delta.get("content")
        if content and type(content) is str:
            if self._text < 0 or self._refusal:
                self._open_text(events, refusal=False)
            events.append(PartGrew(self._text, content))
        elif content:
            self._read_pieces(content, events)
        if len(delta) > 1 or not content:
            self._read_rest(delta, events)

    def _read_rest(self, delta: Json, events: list[Event]) -> None:
        """Everything in a delta but its content."""
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        details = delta.get("reasoning_details")
        if reasoning or details:
            field = (
                "reasoning_content" if delta.get("reasoning_content") else "reasoning" if reasoning else ""
            )
            self._think(reasoning or "", field, details or [], events)
        if delta.get("refusal"):
            if self._text < 0 or not self._refusal:
                self._open_text(events, refusal=True)
            self._refused = True
            events.append(PartGrew(self._text, a_string(delta["refusal"], "refusal")))
        calls = delta.get("tool_calls")
        if calls:
            for call in calls:
                self._read_call(call, events)
        if not delta.keys() <= MESSAGE_FIELDS:
            rest = {key: value for key, value in leftover(delta, MESSAGE_FIELDS).items() if value}
            for key, value in rest.items():
                said = self._left.setdefault("message", {})
                said[key] = [*said[key], *value] if key in said and isinstance(value, list) else value

    def _read_pieces(self, content: Any, events: list[Event]) -> None:
        """Content in a list, as Mistral streams its thinking."""
        for piece in content:
            if piece.get("type") == "thinking":
                inner = piece.get("thinking") or ()
                said = (
                    inner if isinstance(inner, str) else "".join(str(one.get("text") or "") for one in inner)
                )
                self._think(said, "reasoning_content", [], events)
            elif piece.get("text"):
                if self._text < 0 or self._refusal:
                    self._open_text(events, refusal=False)
                events.append(PartGrew(self._text, a_string(piece["text"], "content.text")))

    def _open_text(self, events: list[Event], *, refusal: bool) -> None:
        self._close_others(events)
        self._text, self._refusal = self._next(), refusal
        sealed = Sealed(ORIGIN, {"type": "refusal"}) if refusal else None
        events.append(PartOpened(self._text, Text("", None, sealed)))

    def _think(self, text: Any, field: str, details: list[Any], events: list[Event]) -> None:
        said = a_string(text, "reasoning")
        if not said and not self._thinking_field:  # details repeat what came beside them
            said = "".join(str(one.get("text") or one.get("summary") or "") for one in details)
        if self._thinking < 0:
            if not said and not details:
                return
            self._close_others(events)
            self._thinking = self._next()
            events.append(PartOpened(self._thinking, Thinking("")))
        self._thinking_field = field or self._thinking_field
        self._details += details
        self._thought.append(said)
        if said:
            events.append(PartGrew(self._thinking, said))
        if any(is_signed(detail) for detail in details):
            self._close_thinking(events)

    def _close_thinking(self, events: list[Event]) -> None:
        events.append(PartClosed(self._thinking, self._thinking_seal()))
        self._thinking, self._thinking_field = -1, ""
        self._details, self._thought = [], []

    def _read_call(self, delta: Json, events: list[Event]) -> None:
        call = self._call_of(delta)
        function = delta.get("function") or delta.get("custom") or {}
        name, arguments = function.get("name"), function.get("arguments")
        if name and not call.name:
            call.name = a_string(name, "function.name")
            self._open_call(call, events)
        if arguments:
            text = arguments_text(arguments)
            call.arguments.append(text)
            if call.open:
                self._grown[call.index] = call
                events.append(PartGrew(call.index, text))

    def _call_of(self, delta: Json) -> _Call:
        number, call_id = delta.get("index"), delta.get("id")
        if number is None:
            number = len(self._all_calls) if call_id or not self._all_calls else len(self._all_calls) - 1
        call = self._calls.get(number)
        if call is not None and call_id and call.name and call_id != call.id:
            function = delta.get("function")
            if isinstance(function, dict) and function.get("name"):
                call = None  # the next call under the same index
        if call is None:
            seed = f"{self._seed}\0{len(self._all_calls)}"
            call = _Call(a_string(call_id, "id") if call_id else made_id(seed))
            self._calls[number] = call
            self._all_calls.append(call)
        elif call_id and not call.open:
            call.id = a_string(call_id, "id")
        return call

    def _open_call(self, call: _Call, events: list[Event]) -> None:
        self._close_others(events)
        call.index, call.open = self._next(), True
        events.append(PartOpened(call.index, ToolCall(call.id, call.name, "")))
        if call.arguments:
            self._grown[call.index] = call
            events.append(PartGrew(call.index, "".join(call.arguments)))

    def _next(self) -> int:
        self._opened += 1
        return self._opened - 1

    def _close_others(self, events: list[Event]) -> None:
        """Before a part opens, those close that can be complete."""
        if self._text >= 0:
            events.append(PartClosed(self._text))
            self._text = -1
        if self._thinking >= 0:
            self._close_thinking(events)
        for _, call in sorted(self._grown.items()):
            if call.is_whole():
                events.append(PartClosed(call.index))
                call.open = False
        self._grown.clear()

    def _thinking_seal(self) -> Sealed | None:
        if not self._details:
            return Sealed(ORIGIN, {"field": self._thinking_field})
        found = thinkings(_joined(self._details), self._thinking_field, "".join(self._thought))
        return found[-1].sealed

    def _note_usage(self, chunk: Json) -> None:
        usage = read_usage(chunk)
        if usage.input_tokens or usage.output_tokens:
            self._usage, self._has_usage = usage, True

    def _complete(self, events: list[Event]) -> None:
        self._close_others(events)
        for call in self._all_calls:
            if not call.name:
                # Clients loop on a call that they cannot find.
                raise RequestError("the stream holds a tool call without a name")
            if call.open:
                events.append(PartClosed(call.index))
                call.open = False
        stop = read_stop(self._reason, bool(self._all_calls), self._refused)
        events.append(Stopped(stop, self._usage, seal(ORIGIN, self._left)))
        self._ended = True


_KNOWN = CHOICE_FIELDS | NAMES.reply_fields
_CHOICE = _KNOWN | {"logprobs"}


def _kept(choice: Json) -> dict[str, Any]:
    rest = leftover(choice, _KNOWN)
    return {"choice": rest} if rest else {}


def _joined(details: list[Any]) -> list[Any]:
    """Details that streamed in pieces, whole: pieces of one index and type are one detail."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for place, detail in enumerate(details):
        if not isinstance(detail, dict):
            continue
        index = detail.get("index")
        key = (place if index is None else index, detail.get("type"))
        known = found.setdefault(key, {})
        for name, value in detail.items():
            if name in ("text", "summary", "data") and isinstance(value, str):
                known[name] = known.get(name, "") + value
            elif value is not None or name not in known:
                known[name] = value
    return list(found.values())


_UNREMARKABLE = (b'"finish_reason":null', b'"finish_reason": null')
_REMARKABLE = (b'"error"', b'"usage":{', b'"usage": {', b'"x_groq"', b'"name"')
_QUOTE = ord('"')


_CONTENT = b'"content":"'
_SAID = re.compile(
    rb'"(?:(content|refusal)|reasoning|reasoning_content|arguments|text|summary|data)": ?"(?!")'
)


def tap() -> ReaderTap:
    return ReaderTap(EventReader(), _glance)


def _glance(data: bytes) -> Glance:
    """Plain deltas need no reading. Inside JSON strings quotation marks are escaped, so none of these marks is ever
    found in a model's words."""
    if not data.endswith(b"}"):
        return ""  # whatever it is, it is not whole
    if not any(mark in data for mark in _UNREMARKABLE) or any(mark in data for mark in _REMARKABLE):
        return ""
    at = data.find(_CONTENT)
    if at >= 0 and data[at + len(_CONTENT)] != _QUOTE:
        return "speaking"
    said = _SAID.search(data)
    if said is None:
        return "empty"
    return "speaking" if said[1] else "working"


class EventWriter:
    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._ids = CallIds(NAMES.limits)
        self._losses: list[Loss] = []
        self._head = b""
        self._ended = False
        self._parts: dict[int, Part] = {}
        self._thought: dict[int, list[str]] = {}
        self._details = 0
        self._calls: dict[int, int] = {}  # part -> its index among the calls
        self._grown: set[int] = set()
        self._growth: dict[int, tuple[bytes, bytes]] = {}  # part -> what stands around the text of its deltas

    @property
    def dropped(self) -> tuple[Loss, ...]:
        return tuple(self._losses)

    def feed(self, event: Event) -> list[bytes]:
        if self._ended:
            return []
        if isinstance(event, PartGrew):
            return self._grow(event)
        match event:
            case Started(id=reply_id):
                return [self._start(reply_id)]
            case PartOpened(index=index, part=part):
                return self._open(index, part)
            case PartClosed(index=index, sealed=sealed):
                return self._close(index, sealed)
            case Stopped():
                return self._stop(event)
            case Broke(fault=fault):
                self._ended = True
                return [frame(wire.dumps(write_fault(fault)))]
            case _ as never:
                assert_never(never)

    def close(self) -> list[bytes]:
        return self.feed(Broke(hung_up()))

    def _start(self, reply_id: str) -> bytes:
        head = {
            "id": self._context.id or reply_id,
            "object": "chat.completion.chunk",
            "created": self._context.created,
            "model": self._context.model,
        }
        self._head = b"data: " + wire.dumps(head)[:-1]
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return b'%b,"choices":[%b]}\n\n' % (self._head, wire.dumps(choice))

    def _around(self, delta: bytes, closing: bytes) -> tuple[bytes, bytes]:
        before = b'%b,"choices":[{"index":0,"delta":{%b' % (self._head, delta)
        return before, closing + b'},"finish_reason":null,"logprobs":null}]}\n\n'

    def _grow(self, event: PartGrew) -> list[bytes]:
        index, text = event.index, event.text
        around = self._growth.get(index)
        if around is None or not text:
            return []
        if index in self._thought:
            self._thought[index].append(text)
        self._grown.add(index)
        return [around[0] + wire.dumps(text) + around[1]]

    def _open(self, index: int, part: Part) -> list[bytes]:
        self._parts[index] = part
        match part:
            case Text(text=text):
                field = (
                    b'"refusal":' if opened(part.sealed, ORIGIN).get("type") == "refusal" else b'"content":'
                )
                self._growth[index] = self._around(field, b"")
                report_foreign(part.sealed, ORIGIN, f"content.{index}", self._losses)
                return self._grow(PartGrew(index, text))
            case Thinking(text=text):
                self._growth[index] = self._around(b'"reasoning_content":', b"")
                self._thought[index] = []
                return self._grow(PartGrew(index, text))
            case ToolCall():
                return [self._open_call(index, part)]
            case _:
                self._losses.append(no_place(part, f"content.{index}"))
                return []

    def _open_call(self, index: int, call: ToolCall) -> bytes:
        number = self._calls[index] = len(self._calls)
        self._growth[index] = self._around(
            b'"tool_calls":[{"index":%d,"function":{"arguments":' % number, b"}}]"
        )
        report_foreign(call.sealed, ORIGIN, f"content.{index}", self._losses)
        call_id = self._ids.give(call.id or made_id(f"{self._context.id}\0{index}"))
        function = {"name": call.name, "arguments": ""}
        return self._chunk(
            {"tool_calls": [{"index": number, "id": call_id, "type": "function", "function": function}]}
        )

    def _close(self, index: int, sealed: Sealed | None) -> list[bytes]:
        part = self._parts.pop(index)
        written: list[bytes] = []
        if isinstance(part, ToolCall) and index not in self._grown:
            written = self._grow(PartGrew(index, "{}"))
        elif isinstance(part, Thinking):
            written = self._close_thinking(Thinking("".join(self._thought.pop(index)), sealed or part.sealed))
        elif isinstance(part, Text) and sealed is not None:
            report_foreign(sealed, ORIGIN, f"content.{index}", self._losses)
        self._growth.pop(index, None)
        return written

    def _close_thinking(self, thinking: Thinking) -> list[bytes]:
        # Nothing of the details was sent yet, so the one that carries the signature carries the text as well.
        detail = write_detail(thinking, self._details)
        if detail is None:
            return []
        self._details += 1
        return [self._chunk({"reasoning_details": [detail]})]

    def _stop(self, event: Stopped) -> list[bytes]:
        self._ended = True
        report_foreign(event.sealed, ORIGIN, "", self._losses)
        written = [self._chunk({}, write_stop(event.stop, bool(self._calls)))]
        if self._context.include_usage:
            written.append(
                b'%b,"choices":[],"usage":%b}\n\n' % (self._head, wire.dumps(write_usage(event.usage)))
            )
        written.append(b"data: [DONE]\n\n")
        return written
