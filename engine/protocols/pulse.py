"""Whether a stream gets on, measured in what it says and not in bytes: for who must decide that it is dead.

Providers keep connections open in many ways that say nothing of the work. OpenRouter and DeepSeek send comments while
a call waits its turn, Anthropic sends pings, OpenAI `keepalive` events, and most know deltas without a text. None
of that is a beat. A beat is a part that opened, grew or closed, or that the reply began.

How long silence is no bad sign depends on what was said last:

    silent     nothing yet. Nobody may be there at all, and another provider can still take over.
    working    the model has begun (`message_start`, `response.created`, a first chunk), and what it says next may take
               minutes to come: it thinks without showing it (Anthropic pings behind an open thinking block, OpenAI
               opens a reasoning item and is silent to its end), it writes a call whose arguments Anthropic sends in
               large pieces, or a tool runs at the vendor.
    speaking   text has come, or a call is complete. What comes next comes at once.

A slow stream of content is content. The client has begun to read it and no other model may take over, so ending it
would only break what still works; what it says of its provider is told to the breaker by how late its first content
came.

Gemini, and some who speak OpenAI's Chat, say nothing at all until hidden thinking is over: there `silent` is all that
the stream tells.
"""

from collections.abc import Sequence
from typing import Literal

from engine.core.conversation import Text, ToolCall
from engine.core.stream import Event, PartClosed, PartGrew, PartOpened, Started

Phase = Literal["silent", "working", "speaking"]

# What a look at a frame tells that need not be read: that it says nothing, that something grew, or that it did and
# what the model does now. An empty word says that the frame has to be read.
Glance = Literal["", "empty", "same", "working", "speaking"]


class Pulse:
    """`beats` counts what was said; nothing but its change means anything."""

    __slots__ = ("_call", "beats", "phase")

    def __init__(self) -> None:
        self.beats = 0
        self.phase: Phase = "silent"
        self._call = -1  # the call that opened last, and nothing after it

    def note(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, PartGrew):
                if event.text:
                    self.beats += 1
            else:
                self.beats += 1
                self._turn(event)

    def glanced(self, glance: Glance) -> None:
        """The same for a frame that was not read."""
        if glance == "empty" or not glance:
            return
        self.beats += 1
        if glance != "same":
            self.phase = glance

    def _turn(self, event: Event) -> None:
        if isinstance(event, PartOpened):
            self._call = event.index if isinstance(event.part, ToolCall) else -1
            self.phase = "speaking" if isinstance(event.part, Text) else "working"
        elif isinstance(event, PartClosed) and event.index == self._call:
            self.phase = "speaking"
        elif isinstance(event, Started):
            self.phase = "working"
