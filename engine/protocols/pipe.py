"""One provider stream on its way to one client: bytes in, bytes out, and what the engine must know of it.

A `Forwarding` hands the bytes on as they are and only looks at them; a `Translation` reads them into events and
writes those in the client's protocol. Both tell the same things, so whoever drives them need not know which.
"""

from typing import Protocol as Shape

from engine import wire
from engine.core.errors import Fault
from engine.core.reply import StopReason, Usage
from engine.core.stream import Broke, Event, Started, Stopped, has_content
from engine.protocols.shape import Protocol, ReplyContext


class Pipe(Shape):
    """`content_started`: the client has something no other model may replace. `ended`: nothing more will come.
    `fault`: how the stream failed. `usage` is None until the provider gave any."""

    @property
    def content_started(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def fault(self) -> Fault | None: ...
    @property
    def stop(self) -> StopReason | None: ...
    @property
    def usage(self) -> Usage | None: ...

    def feed(self, chunk: bytes) -> bytes: ...
    def close(self) -> bytes:
        """What completes the client's stream once the provider's bytes have ended, however they did."""
        ...


def pipe(client: Protocol, provider: Protocol, context: ReplyContext, withhold_usage: bool) -> Pipe:
    if client is provider:
        return Forwarding(provider, context, withhold_usage)
    return Translation(client, provider, context)


class Forwarding:
    """The provider's bytes, unchanged; but for the usage chunk where only the engine asked for it."""

    def __init__(self, protocol: Protocol, context: ReplyContext, withhold_usage: bool) -> None:
        self._protocol = protocol
        self._context = context
        self._tap = protocol.tap()
        self._filter = UsageFilter() if withhold_usage else None

    @property
    def content_started(self) -> bool:
        return self._tap.content_started

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

    def feed(self, chunk: bytes) -> bytes:
        self._tap.feed(chunk)
        return self._filter.feed(chunk) if self._filter else chunk

    def close(self) -> bytes:
        rest = self._filter.close() if self._filter else b""
        told_by_provider = self._tap.ended
        self._tap.close()
        if self._tap.fault is None or told_by_provider:
            return rest
        writer = self._protocol.event_writer(self._context)
        return rest + b"\n\n" + b"".join([*writer.feed(Broke(self._tap.fault)), *writer.close()])


class Translation:
    """The provider's events, written in the client's protocol."""

    def __init__(self, client: Protocol, provider: Protocol, context: ReplyContext) -> None:
        self._reader = provider.event_reader()
        self._writer = client.event_writer(context)
        self.content_started = False
        self.ended = False
        self.fault: Fault | None = None
        self.stop: StopReason | None = None
        self.usage: Usage | None = None

    def feed(self, chunk: bytes) -> bytes:
        return self._written(self._reader.feed(chunk))

    def close(self) -> bytes:
        return self._written(self._reader.close()) + b"".join(self._writer.close())

    def _written(self, events: list[Event]) -> bytes:
        written: list[bytes] = []
        for event in events:
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
            case Broke(fault=fault):
                self.fault, self.ended = fault, True


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
