"""What readers of providers' streams have in common, and the tap that is made of one.

A reader takes bytes to one end: `Stopped`, or `Broke` where the provider reports an error, sends what is
no event of its protocol, or hangs up. One malformed event breaks the stream: what follows it could not be
trusted, and a client that is told can ask again. What comes after the end is ignored.

A provider that answers a stream request with one JSON object is read as if it had streamed it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from engine import wire
from engine.core.errors import MALFORMED, Fault, RequestError, UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Broke, Event, Started, Stopped, has_content, unfold
from engine.protocols.pulse import Glance, Pulse
from engine.protocols.sse import LONGEST_FRAME, Frames

UNREADABLE = (RequestError, ValueError, TypeError, KeyError, IndexError, AttributeError)


class StreamReader(ABC):
    """Subclasses read one frame at a time into events; this class keeps the promise of exactly one end.

    `skip` says which frames need no reading once `content_started` is set, and what they tell `pulse` unread; only a
    tap sets them.
    """

    skip: Callable[[bytes], Glance] | None = None
    pulse: Pulse
    content_started = False
    unreadable = False  # whether the stream ended because a frame was none

    def __init__(self) -> None:
        self._frames = Frames()
        self._whole: list[bytes] | None = None
        self._whole_size = 0
        self._began = False
        self._ended = False

    @abstractmethod
    def _read(self, data: bytes, events: list[Event]) -> None:
        """Read one frame's data. Sets `_ended` after a terminal event; may raise any of UNREADABLE."""

    @abstractmethod
    def _finish(self, events: list[Event]) -> None:
        """The bytes are over before an end: append Stopped if that is one, otherwise nothing."""

    @abstractmethod
    def _read_whole(self, body: Mapping[str, Any]) -> Reply:
        """A reply that came as one JSON object. Raises UpstreamError."""

    def feed(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        ended = self._ended
        if ended or not (self._began or self._begin(chunk)):
            return events
        try:
            if self._whole is not None:
                self._keep(chunk)
                return events
            skip = self.skip if self.content_started else None
            for _, data in self._frames.feed(chunk):
                if skip is not None and (glance := skip(data)):
                    self.pulse.glanced(glance)
                    continue
                self._read(data, events)
                if self._ended:
                    return events
        except UpstreamError as error:
            self._break(error.fault, events)
        except UNREADABLE as error:
            self.unreadable = True
            self._break(malformed(error), events)
        return events

    def close(self) -> list[Event]:
        events: list[Event] = []
        if self._ended:
            return events
        try:
            if self._whole is not None:
                events += unfold(self._read_whole(wire.loads(b"".join(self._whole))))
                self._ended = True
                return events
            self._read_tail(events)
            if not self._ended:
                self._finish(events)
        except UpstreamError as error:
            self._break(error.fault, events)
        except UNREADABLE as error:
            self._break(malformed(error), events)
        if not self._ended:
            self._break(hung_up(), events)
        return events

    def _read_tail(self, events: list[Event]) -> None:
        """A last frame without its blank line counts where it is whole; where it is not, it was cut off."""
        with suppress(*UNREADABLE):
            for _, data in self._frames.close():
                self._read(data, events)

    def _begin(self, chunk: bytes) -> bool:
        """Whether it is known by now what the bytes are: frames, or one JSON object."""
        first = chunk.lstrip()[:1]
        if not first:
            return False
        self._began = True
        if first in (b"{", b"[", b"<"):  # no line of events begins so: it is a reply, or a page, in one piece
            self._whole = []
        return True

    def _keep(self, chunk: bytes) -> None:
        assert self._whole is not None
        self._whole.append(chunk)
        self._whole_size += len(chunk)
        if self._whole_size > LONGEST_FRAME:
            self._whole = []
            raise ValueError(f"a reply of more than {LONGEST_FRAME:,} bytes")

    def _break(self, fault: Fault, events: list[Event]) -> None:
        self._ended = True
        events.append(Broke(fault))


def malformed(error: Exception) -> Fault:
    detail = f"{type(error).__name__}: {error}"
    return Fault(
        "server_error", "the provider's stream is malformed", 502, "provider", MALFORMED, detail=detail
    )


def hung_up() -> Fault:
    return Fault("connection", "the provider's stream ended before the reply was complete", origin="provider")


class ReaderTap:
    """A tap that reads all frames until content has started, and after that only those that can matter.

    What it skips it does not check beyond its beginning and its end: an event that was cut short is noticed, one
    that is broken in its middle goes on to the client.
    """

    def __init__(self, reader: StreamReader, skip: Callable[[bytes], Glance]) -> None:
        reader.skip = skip
        reader.pulse = self.pulse = Pulse()
        self._reader = reader
        self.id = ""
        self.content_started = False
        self.ended = False
        self.stop: Stop | None = None
        self.usage: Usage | None = None
        self.fault: Fault | None = None

    @property
    def unreadable(self) -> bool:
        return self._reader.unreadable

    def feed(self, chunk: bytes) -> None:
        self._note(self._reader.feed(chunk))

    def close(self) -> None:
        events = self._reader.close()
        cut = len(events) > 0 and isinstance(events[-1], Broke)
        ended = self.ended
        self._note(events)
        self.ended = ended if cut else self.ended

    def _note(self, events: list[Event]) -> None:
        self.pulse.note(events)
        for event in events:
            if isinstance(event, Started):
                self.id, self.usage = event.id, event.usage
            elif isinstance(event, Stopped):
                self.stop, self.usage, self.ended = event.stop, event.usage, True
            elif isinstance(event, Broke):
                self.fault, self.ended = event.fault, True
                self.usage = event.usage or self.usage
            elif not self.content_started and has_content(event):
                self.content_started = self._reader.content_started = True
