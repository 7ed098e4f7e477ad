"""One provider stream on its way to one client: bytes in, bytes out, and what the engine must know of it.

A `Forwarding` hands the bytes on as they are and only looks at them; a `Translation` reads them into events and
writes those in the client's protocol. Both tell the same things, so whoever drives them need not know which.
"""

import re
from dataclasses import replace
from typing import Any
from typing import Protocol as Shape

from engine import wire
from engine.core.conversation import Loss
from engine.core.errors import Fault
from engine.core.reply import Reply, StopReason, Usage
from engine.core.stream import Broke, Event, PartGrew, Started, Stopped, has_content
from engine.protocols.arguments import ArgumentRepair, put_right, repaired_reply
from engine.protocols.pulse import Pulse
from engine.protocols.shape import Encoded, Protocol, ReplyContext
from engine.protocols.sse import Frames
from engine.protocols.streams import hung_up
from engine.protocols.tool_names import told_events, told_reply


class Pipe(Shape):
    """`content_started`: the client has something no other model may replace. `ended`: nothing more will come.
    `fault`: how the stream failed. `pulse`: whether it gets on. `usage` is None until the provider gave any.
    `losses`: what of the reply so far its client was not told as the provider said it. `reply_id`: the provider's
    name of the reply, where the client is told it."""

    @property
    def content_started(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def fault(self) -> Fault | None: ...
    @property
    def pulse(self) -> Pulse: ...
    @property
    def stop(self) -> StopReason | None: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def losses(self) -> tuple[Loss, ...]: ...
    @property
    def reply_id(self) -> str: ...

    def feed(self, chunk: bytes) -> bytes: ...
    def close(self, why: Fault | None = None) -> bytes:
        """What completes the client's stream once the provider's bytes have ended, however they did; `why` they did,
        where that is known, is the fault of a stream that was not complete."""
        ...


def pipe(client: Protocol, provider: Protocol, context: ReplyContext, withhold_usage: bool) -> Pipe:
    if provider.is_read_by(client) and not context.renamed:
        return Forwarding(provider, context, withhold_usage)
    return Translation(client, provider, context)


class Forwarding:
    """The provider's bytes, unchanged; but for the usage chunk where only the engine asked for it."""

    def __init__(self, protocol: Protocol, context: ReplyContext, withhold_usage: bool) -> None:
        self._protocol = protocol
        self._context = context
        self._tap = protocol.tap()
        self._frames = WholeFrames()
        self._filter = UsageFilter() if withhold_usage else None
        self._last = b""  # of what was handed on
        self.pulse = self._tap.pulse
        self.content_started = False

    @property
    def ended(self) -> bool:
        return self._tap.ended

    @property
    def fault(self) -> Fault | None:
        return self._tap.fault

    @property
    def stop(self) -> StopReason | None:
        return self._tap.stop.reason if self._tap.stop else None

    @property
    def usage(self) -> Usage | None:
        return self._tap.usage

    @property
    def losses(self) -> tuple[Loss, ...]:
        return ()

    @property
    def reply_id(self) -> str:
        return self._tap.id

    def feed(self, chunk: bytes) -> bytes:
        self._tap.feed(chunk)
        if self._tap.unreadable:
            return b""  # what the engine cannot read its client cannot either; `close` says so in words
        self.content_started = self._tap.content_started
        whole = self._frames.feed(chunk)
        if self._tap.ended and self._tap.fault is None:
            whole = _without_afterthoughts(whole)
        handed_on = self._filter.feed(whole) if self._filter else whole
        self._last = handed_on or self._last
        return handed_on

    def close(self, why: Fault | None = None) -> bytes:
        rest = b"" if self._tap.unreadable else self._frames.close()
        if self._filter:
            rest = self._filter.feed(rest) + self._filter.close()
        told_by_provider = self._tap.ended and not self._tap.unreadable
        self._tap.close()
        if self._tap.fault is None:
            rest = _last_frame(rest)
            rest += _missing(self._protocol.last_words, rest or self._last)
            self._last = rest or self._last
            return rest
        if told_by_provider:
            return rest
        self._tap.fault = _cut(self._tap.fault, why)
        # What was cut off in the middle of a frame stays behind: the client could not read it.
        told = replace(self._context, id=self._tap.id or self._context.id, number=_next_number(self._last))
        writer = self._protocol.event_writer(told)
        return b"".join([*writer.feed(Broke(self._tap.fault)), *writer.close()])


def _without_afterthoughts(told: bytes) -> bytes:
    """The frames in which a reply became complete, without errors and what cannot be read: those can only have come
    behind its end, in the same bytes, and an end is the last that a client hears."""
    pieces = _FRAME_ENDS.split(told)  # a frame, its blank line, a frame, …
    kept = [
        piece
        for place in range(0, len(pieces), 2)
        if _is_said(pieces[place])
        for piece in pieces[place : place + 2]
    ]
    return told if len(kept) == len(pieces) else b"".join(kept)


def _is_said(frame: bytes) -> bool:
    frames = Frames()
    data = [data for _, data in (*frames.feed(frame), *frames.close())]
    return not data or data[0] == b"[DONE]" or (_is_json(data[0]) and not _is_error(wire.loads(data[0])))


def _is_error(event: Any) -> bool:
    return isinstance(event, dict) and bool(event.get("error") or event.get("type") == "error")


_FRAME_ENDS = re.compile(rb"(\r?\n\r?\n|\r\r)")


def _last_frame(rest: bytes) -> bytes:
    """What follows the last blank line of a reply that is complete: a frame whose own is missing, or the beginning of
    one that says nothing any more."""
    frames = Frames()
    data = [data for _, data in (*frames.feed(rest), *frames.close())]
    if not data or not all(one == b"[DONE]" or _is_json(one) for one in data):
        return b""
    return rest.rstrip(b"\r\n") + b"\n\n"


def _missing(words: bytes, told: bytes) -> bytes:
    """The last words of a protocol, where a client was not told them. Providers hang up without them, and nobody waits
    for them behind the last that a reply has to say."""
    if not words:
        return b""
    said, expected = Frames().feed(told)[-1:], Frames().feed(words)
    return b"" if said and _kind_of(said[0][1]) == _kind_of(expected[0][1]) else words


def _kind_of(data: bytes) -> object:
    return wire.loads(data).get("type") if data.startswith(b"{") and _is_json(data) else data


def _is_json(data: bytes) -> bool:
    try:
        wire.loads(data)
    except ValueError:
        return False
    return True


def _next_number(told: bytes) -> int:
    """Of the event behind these, where events are numbered: an end goes on where the provider stopped counting."""
    numbers = _NUMBER.findall(told)
    return int(numbers[-1]) + 1 if numbers else 0


_NUMBER = re.compile(rb'"sequence_number":\s*(\d{1,9})\b')


class Translation:
    """The provider's events, written in the client's protocol."""

    def __init__(self, client: Protocol, provider: Protocol, context: ReplyContext) -> None:
        self._reader = provider.event_reader()
        self._writer = client.event_writer(context)
        self._renamed = context.renamed
        self._arguments = ArgumentRepair(context.tools)
        self.pulse = Pulse()
        self.reply_id = ""
        self.content_started = False
        self.ended = False
        self.fault: Fault | None = None
        self.stop: StopReason | None = None
        self.usage: Usage | None = None

    @property
    def losses(self) -> tuple[Loss, ...]:
        return (*self._arguments.losses, *self._writer.dropped)

    def feed(self, chunk: bytes) -> bytes:
        return self._written(self._reader.feed(chunk))

    def close(self, why: Fault | None = None) -> bytes:
        events = self._reader.close()
        if events and isinstance(events[-1], Broke):
            events[-1] = replace(events[-1], fault=_cut(events[-1].fault, why))
        return self._written(events) + b"".join(self._writer.close())

    def _written(self, events: list[Event]) -> bytes:
        self.pulse.note(events)
        written: list[bytes] = []
        for event in self._arguments.feed(told_events(events, self._renamed)):
            if not (self.content_started and isinstance(event, PartGrew)):
                self._note(event)
            written += self._writer.feed(event)
        return b"".join(written)

    def _note(self, event: Event) -> None:
        if not self.content_started and has_content(event):
            self.content_started = True
        match event:
            case Started(usage=usage):
                self.usage = usage
            case Stopped(stop=stop, usage=usage):
                self.stop, self.usage, self.ended = stop.reason, usage, True
            case Broke(fault=fault, usage=usage):
                self.fault, self.ended = fault, True
                self.usage = usage or self.usage


def _cut(fault: Fault, why: Fault | None) -> Fault:
    """Bytes that ended too early did so for a reason, where it is known."""
    return why if why is not None and fault == hung_up() else fault


def told(reply: Reply, client: Protocol, context: ReplyContext) -> Encoded:
    """A whole reply in the client's protocol."""
    reply = told_reply(reply, context.renamed)
    repaired = repaired_reply(reply, context.tools)
    encoded = client.write_reply(repaired, context)
    pairs = zip(reply.parts, repaired.parts, strict=True)
    mended = [put_right(at) for at, (before, after) in enumerate(pairs) if before != after]
    return Encoded(encoded.body, (*mended, *encoded.dropped)) if mended else encoded


class WholeFrames:
    """Hands bytes on up to the last blank line and keeps the rest, so that an end can be written behind a whole
    frame. Nothing is lost by that: a client cannot read half a frame either."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._tail = b""  # the last bytes of what is held: a blank line may begin in them

    def feed(self, chunk: bytes) -> bytes:
        before = self._tail
        joined = before + chunk
        end = max(joined.rfind(mark) + len(mark) if mark in joined else 0 for mark in _BLANK_LINES)
        end -= len(before)
        if end <= 0:
            self._held.append(chunk)
            self._tail = joined[-3:]
            return b""
        whole = b"".join([*self._held, chunk[:end]])
        self._tail = chunk[end:][-3:]
        self._held = [chunk[end:]] if end < len(chunk) else []
        return whole

    def close(self) -> bytes:
        rest, self._held = b"".join(self._held), []
        return rest


_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")


class UsageFilter:
    """Takes the usage chunk out of an OpenAI Chat stream: the one whose `choices` is empty and that has a usage.

    Frames are handed on as soon as they are complete; what stands between them is kept as it is.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        *frames, self._rest = (self._rest + chunk).split(b"\n\n")
        return b"".join(frame + b"\n\n" for frame in frames if not _is_usage_only(frame))

    def close(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


def _is_usage_only(frame: bytes) -> bool:
    if b'"usage"' not in frame or not frame.lstrip().startswith(b"data:"):
        return False
    try:
        chunk = wire.loads(frame.lstrip()[len(b"data:") :])
    except ValueError:
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)
