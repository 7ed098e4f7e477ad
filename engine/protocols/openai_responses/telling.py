"""Canonical events written for Responses clients: the whole life of every item, each event numbered.

Codex shows nothing without an item's `added`, and acts on nothing without its `done`; opencode loops without
`response.completed` and its usage. So every item is announced, grown, and told once more in full, and the
last event repeats the whole response. Texts that follow one another are parts of one message.

A call whose arguments are no whole JSON when it ends may have been cut off, which only the stop will tell.
Codex would run what it is told is done, so such a call is held back until then, and told as incomplete or not
at all. The input of a custom tool is told in one piece, because it has to be taken out of its arguments.

A whole reply is what the stream's last event says.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from engine import wire
from engine.core.conversation import Image, Loss, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, PartClosed, PartGrew, PartOpened, Started, Stopped, unfold
from engine.protocols.openai_responses.content import is_refusal, own_fields
from engine.protocols.openai_responses.errors import failure
from engine.protocols.openai_responses.items import summary_of
from engine.protocols.openai_responses.names import NAMES, ORIGIN
from engine.protocols.openai_responses.reply import write_usage
from engine.protocols.openai_responses.tools import Named, Names, free_text
from engine.protocols.sealing import opened, report_foreign, to_signature
from engine.protocols.shape import Encoded, ReplyContext
from engine.protocols.sse import frame
from engine.protocols.streams import hung_up
from engine.protocols.turns import CallIds, made_id

NOBODY = Sealed("", {})  # marks reasoning that nobody sealed as not OpenAI's own
_UNREMARKABLE: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}


class _Item:
    """An item being told. `body` is what it will have been; `texts` counts a message's open parts."""

    __slots__ = ("body", "open_texts", "place", "sealed_off", "told")

    def __init__(self, place: int, body: dict[str, Any]) -> None:
        self.place = place
        self.body = body
        self.open_texts = 0
        self.sealed_off = False  # no further text will join this message
        self.told = False  # whether its `done` was sent


class _Part:
    """A part being told: its item, what grew, and how the client knows the call where it is one."""

    __slots__ = ("at", "item", "named", "part", "pieces")

    def __init__(self, part: Part, item: _Item, at: int = 0, named: Named | None = None) -> None:
        self.part = part
        self.item = item
        self.at = at
        self.named = named
        self.pieces: list[str] = []

    @property
    def grown(self) -> str:
        return "".join(self.pieces)


class EventWriter:
    """`response` is the whole response, once it has ended."""

    def __init__(self, context: ReplyContext) -> None:
        self.response: dict[str, Any] = {}
        self._context = context
        self._ids = CallIds(NAMES.limits)
        self._names = Names(context.tools)
        self._losses: list[Loss] = []
        self._head: dict[str, Any] = {}
        self._number = context.number
        self._ended = False
        self._items: list[_Item] = []
        self._message: _Item | None = None  # that the next text joins
        self._parts: dict[int, _Part] = {}
        self._growth: dict[int, tuple[bytes, bytes]] = {}  # part -> what stands around the text of its deltas
        self._held: list[_Part] = []

    @property
    def dropped(self) -> tuple[Loss, ...]:
        return tuple(self._losses)

    def feed(self, event: Event) -> list[bytes]:
        if self._ended:
            return []
        if isinstance(event, PartGrew):
            return self._grow(event.index, event.text)
        match event:
            case Started(id=reply_id):
                return self._start(reply_id)
            case PartOpened(index=index, part=part):
                return self._open(index, part)
            case PartClosed(index=index, sealed=sealed):
                return self._close(index, sealed)
            case Stopped(stop=stop, usage=usage, sealed=sealed):
                return self._stop(stop, usage, sealed)
            case Broke():
                return self._break(event)
            case _:
                assert_never(event)

    def close(self) -> list[bytes]:
        return [] if self._ended else self._break(Broke(hung_up()))

    # ---- the response

    def _start(self, reply_id: str) -> list[bytes]:
        self._begin(reply_id)
        return [
            self._event(f"response.{kind}", {"response": self._head}) for kind in ("created", "in_progress")
        ]

    def _begin(self, reply_id: str) -> None:
        self._head = {
            "id": self._context.id or reply_id,
            "object": "response",
            "created_at": self._context.created,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": self._context.model,
            "output": [],
            "usage": None,
            **_UNREMARKABLE,
        }

    def _event(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        data = wire.dumps({"type": kind, **fields, "sequence_number": self._number})
        self._number += 1
        return frame(data, kind.encode())

    def _about(self, kind: str, item: _Item, **fields: Any) -> bytes:
        return self._event(
            f"response.{kind}", {"item_id": item.body["id"], "output_index": item.place, **fields}
        )

    def _stop(self, stop: Stop, usage: Usage, sealed: Sealed | None) -> list[bytes]:
        refused = any(part.get("type") == "refusal" for item in self._items for part in _content(item))
        reason = None if stop.reason == "refusal" and refused else NAMES.stop_write.get(stop.reason)
        written = self._seal_off()
        for part in self._held:
            if reason is None:
                written += self._tell_call(part)
            else:
                part.item.body["status"] = "incomplete"
        own = opened(sealed, ORIGIN)
        report_foreign(sealed, ORIGIN, "", self._losses)
        status = "completed" if reason is None else "incomplete"
        return [*written, self._end(status, write_usage(usage), None, reason, own)]

    def _break(self, event: Broke) -> list[bytes]:
        if not self._head:
            self._begin("")  # the stream may have begun elsewhere, so its beginning is not told again
        usage = write_usage(event.usage) if event.usage is not None else None
        return [self._end("failed", usage, failure(event.fault), None, {})]

    def _end(
        self,
        status: str,
        usage: dict[str, Any] | None,
        error: dict[str, Any] | None,
        reason: str | None,
        own: Mapping[str, Any],
    ) -> bytes:
        self._ended = True
        self.response = {
            **self._head,
            "status": status,
            "error": error,
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": [item.body for item in self._items if error is None or item.told],
            "usage": usage,
            **own,
        }
        return self._event(f"response.{status}", {"response": self.response})

    # ---- parts

    def _grow(self, index: int, text: str) -> list[bytes]:
        part = self._parts.get(index)
        if part is None or not text:
            return []
        written: list[bytes] = []
        if not part.pieces and isinstance(part.part, Thinking):
            section = {"type": "summary_text", "text": ""}
            written.append(
                self._about("reasoning_summary_part.added", part.item, summary_index=0, part=section)
            )
        part.pieces.append(text)
        around = self._growth.get(index)
        if around is not None:
            written.append(b"%b%b%b%d}\n\n" % (around[0], wire.dumps(text), around[1], self._number))
            self._number += 1
        return written

    def _open(self, index: int, part: Part) -> list[bytes]:
        match part:
            case Text():
                return self._open_text(index, part)
            case Thinking(text=text, sealed=sealed):
                known = opened(sealed, ORIGIN).get("id")  # the vendor's cipher is bound to it
                named = {"id": known} if known else {}
                item, added = self._add("reasoning", "rs", {"summary": [], **named})
                self._parts[index] = _Part(part, item)
                self._around(index, "reasoning_summary_text.delta", item, b'"summary_index":0,"delta":', b"")
                return [*added, *self._grow(index, text)]
            case ToolCall():
                return self._open_call(index, part)
            case Opaque(kind=kind, sealed=sealed) if sealed.origin == ORIGIN:
                item, added = self._add(kind, kind, dict(sealed.data))
                self._parts[index] = _Part(part, item)
                return added
            case Image(base64=data) if data:
                drawn = {"status": "completed", "result": data}
                item, added = self._add("image_generation_call", "ig", drawn)
                self._parts[index] = _Part(part, item)
                return added
            case Opaque(kind=kind, sealed=sealed):
                self._losses.append(
                    Loss(
                        f"content.{index}",
                        f"only {sealed.origin} knows content of the kind {kind}",
                        stake="content",
                    )
                )
                return []
            case _:
                self._losses.append(
                    Loss(f"content.{index}", "a model's answer has no place for it here", stake="content")
                )
                return []

    def _add(self, kind: str, prefix: str, fields: dict[str, Any]) -> tuple[_Item, list[bytes]]:
        """A new item, announced. Where it is no message, the message before it is over."""
        written = [] if kind == "message" else self._seal_off()
        body = {"id": self._item_id(prefix), "type": kind, **fields}
        item = _Item(len(self._items), body)
        self._items.append(item)
        told = {"output_index": item.place, "item": body}
        return item, [*written, self._event("response.output_item.added", told)]

    def _item_id(self, prefix: str) -> str:
        seed = f"{self._context.id}\0{len(self._items)}"
        return f"{prefix}_{made_id(seed).removeprefix('call_')}"

    def _around(self, index: int, kind: str, item: _Item, before: bytes, after: bytes) -> None:
        name = f"response.{kind}".encode()
        head = b'event: %b\ndata: {"type":"%b","item_id":%b,"output_index":%d,%b' % (
            name, name, wire.dumps(item.body["id"]), item.place, before
        )  # fmt: skip
        self._growth[index] = (head, after + b',"sequence_number":')

    def _done(self, item: _Item) -> bytes:
        item.told = True
        return self._event("response.output_item.done", {"output_index": item.place, "item": item.body})

    def _close(self, index: int, sealed: Sealed | None) -> list[bytes]:
        part = self._parts.pop(index, None)
        self._growth.pop(index, None)
        if part is None:
            return []
        match part.part:
            case Text():
                return self._close_text(index, part, sealed)
            case Thinking():
                return self._close_thinking(part, sealed or part.part.sealed)
            case ToolCall():
                return self._close_call(part)
            case _:
                own = opened(sealed, ORIGIN)
                part.item.body |= own
                return [self._done(part.item)]

    # ---- texts

    def _open_text(self, index: int, part: Text) -> list[bytes]:
        written: list[bytes] = []
        message = opened(part.sealed, ORIGIN).get("message", {})
        if self._message is not None and message:
            written += self._seal_off()
        if self._message is None:
            fields = {"role": "assistant", "status": "in_progress", "content": [], **message}
            self._message, added = self._add("message", "msg", fields)
            written += added
        item = self._message
        at, kind = len(item.body["content"]), "refusal" if is_refusal(part) else "output_text"
        empty = {"type": kind, "refusal": ""} if kind == "refusal" else {**_no_text(), **own_fields(part)}
        item.body["content"].append(empty)
        item.open_texts += 1
        self._parts[index] = _Part(part, item, at)
        if not is_refusal(part):
            report_foreign(part.sealed, ORIGIN, f"content.{index}", self._losses)
        logprobs = b"" if kind == "refusal" else b',"logprobs":[]'
        self._around(index, f"{kind}.delta", item, b'"content_index":%d,"delta":' % at, logprobs)
        written.append(self._about("content_part.added", item, content_index=at, part=empty))
        return [*written, *self._grow(index, part.text)]

    def _close_text(self, index: int, part: _Part, sealed: Sealed | None) -> list[bytes]:
        item, at, text = part.item, part.at, part.grown
        told = item.body["content"][at]
        field = "refusal" if told["type"] == "refusal" else "text"
        told = item.body["content"][at] = {**told, field: text}
        if sealed is not None:
            if field == "text":
                told |= own_fields(Text("", None, sealed))
            report_foreign(sealed, ORIGIN, f"content.{index}", self._losses)
        item.open_texts -= 1
        said = {"text": text, "logprobs": []} if field == "text" else {"refusal": text}
        written = [
            self._about(f"{told['type']}.done", item, content_index=at, **said),
            self._about("content_part.done", item, content_index=at, part=told),
        ]
        return [*written, *self._end_message(item)]

    def _seal_off(self) -> list[bytes]:
        """No further text joins the message."""
        item, self._message = self._message, None
        if item is None:
            return []
        item.sealed_off = True
        return self._end_message(item)

    def _end_message(self, item: _Item) -> list[bytes]:
        if not item.sealed_off or item.open_texts or item.told:
            return []
        item.body["status"] = "completed"
        return [self._done(item)]

    # ---- reasoning

    def _close_thinking(self, part: _Part, sealed: Sealed | None) -> list[bytes]:
        item, text = part.item, part.grown
        written: list[bytes] = []
        if text:
            section = {"type": "summary_text", "text": text}
            written += [
                self._about("reasoning_summary_text.done", item, summary_index=0, text=text),
                self._about("reasoning_summary_part.done", item, summary_index=0, part=section),
            ]
        item.body["summary"] = summary_of(text)
        if sealed is not None and sealed.origin == ORIGIN:
            item.body |= {key: value for key, value in sealed.data.items() if key != "id"}
            item.body["id"] = sealed.data.get("id", item.body["id"])
        else:
            item.body["encrypted_content"] = to_signature(sealed or NOBODY)
        return [*written, self._done(item)]

    # ---- calls

    def _open_call(self, index: int, call: ToolCall) -> list[bytes]:
        named = self._names.of(call.name)
        report_foreign(call.sealed, ORIGIN, f"content.{index}", self._losses)
        call_id = self._ids.give(call.id or made_id(f"{self._context.id}\0{index}"))
        own = dict(opened(call.sealed, ORIGIN))
        item = own.pop("item", {})
        if item:
            named = Named(
                item.get("name", call.name), item.get("namespace", ""), item.get("type") == "custom"
            )
        kind, prefix, field = (
            ("custom_tool_call", "ctc", "input") if named.custom else ("function_call", "fc", "arguments")
        )
        fields = {"call_id": call_id, **named.fields, field: "", "status": "in_progress", **own}
        told, written = self._add(kind, prefix, fields)
        self._parts[index] = _Part(call, told, named=named)
        if not named.custom:
            self._around(index, "function_call_arguments.delta", told, b'"delta":', b"")
        return [*written, *self._grow(index, call.arguments)]

    def _close_call(self, part: _Part) -> list[bytes]:
        arguments = part.grown
        self._write_arguments(part, arguments)
        if not _is_whole(arguments):
            self._held.append(part)
            return []
        return self._tell_call(part)

    def _write_arguments(self, part: _Part, arguments: str) -> None:
        assert part.named is not None
        if part.named.custom:
            part.item.body["input"] = free_text(arguments) if arguments else ""
        else:
            part.item.body["arguments"] = arguments or "{}"

    def _tell_call(self, part: _Part) -> list[bytes]:
        assert part.named is not None
        item, written = part.item, []
        item.body["status"] = "completed"
        if part.named.custom:
            text = item.body["input"]
            written.append(self._about("custom_tool_call_input.delta", item, delta=text))
            written.append(self._about("custom_tool_call_input.done", item, input=text))
        else:
            arguments = item.body["arguments"]
            if not part.pieces:
                written.append(self._about("function_call_arguments.delta", item, delta=arguments))
            written.append(
                self._about("function_call_arguments.done", item, name=part.named.name, arguments=arguments)
            )
        return [*written, self._done(item)]


def _no_text() -> dict[str, Any]:
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _content(item: _Item) -> list[dict[str, Any]]:
    content = item.body.get("content") if item.body["type"] == "message" else None
    return content if isinstance(content, list) else []


def _is_whole(arguments: str) -> bool:
    if not arguments.endswith(("}", "]", '"')):
        return False
    try:
        wire.loads(arguments)
    except ValueError:
        return False
    return True


def write_reply(reply: Reply, context: ReplyContext) -> Encoded:
    writer = EventWriter(context if context.id else replace(context, id=reply.id))
    for event in unfold(reply):
        writer.feed(event)
    return Encoded(writer.response, writer.dropped)
