"""A reply as it happens: the canonical stream events, and the bridge between streams and whole replies.

`unfold` turns a reply into events and `fold` turns events into a reply, so that the two can never say
different things: a protocol that knows how to read and write events knows how to read and write replies.

The order of events is a small grammar, which `Grammar` checks one event at a time:

    stream := Started part* Stopped | Started part* Broke | Broke
    part   := PartOpened(i) PartGrew(i)* PartClosed(i)

Parts open in index order 0, 1, 2 …; several may be open at once (parallel tool calls interleave), and each is
closed before `Stopped`. `Broke` may come at any time and ends everything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from engine.core.conversation import Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import Fault, StreamOrderError
from engine.core.reply import Reply, Stop, Usage
from engine.core.values import quick


@dataclass(frozen=True, slots=True)
class Started:
    """The vendor accepted the call. `usage` holds what it already knows, often only the prompt."""

    id: str
    model: str
    usage: Usage | None = None


@quick
@dataclass(frozen=True, slots=True)
class PartOpened:
    """A part begins. Its text or arguments are empty and grow; kinds that do not stream come whole."""

    index: int
    part: Part


@quick
@dataclass(frozen=True, slots=True)
class PartGrew:
    """More of the part's text, thinking, or argument JSON, whichever the part is made of."""

    index: int
    text: str


@quick
@dataclass(frozen=True, slots=True)
class PartClosed:
    """The part is complete; `sealed` is what the vendor added at its end (a thinking signature)."""

    index: int
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The reply is complete. `usage` is final and whole."""

    stop: Stop
    usage: Usage
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class Broke:
    """The stream failed: the provider reported an error, or ended without a proper end. `usage` is what it cost
    all the same, where the provider says so."""

    fault: Fault
    usage: Usage | None = None


Event = Started | PartOpened | PartGrew | PartClosed | Stopped | Broke


def has_content(event: Event) -> bool:
    """Whether the client would have seen something: from here on no other model may take over."""
    if isinstance(event, PartGrew):
        return event.text != ""
    if not isinstance(event, PartOpened):
        return False
    match event.part:
        case Text(text=text):
            return text != ""
        case Thinking(text=text, sealed=sealed):
            return text != "" or (
                sealed is not None and sealed.data.keys() != {"id"}
            )  # an id is no thought yet
        case _:
            return True


def unfold(reply: Reply) -> Iterator[Event]:
    """The events of a stream that would have ended in this reply."""
    yield Started(reply.id, reply.model, reply.usage)
    for index, part in enumerate(reply.parts):
        match part:
            case Text(text=text) if part.sealed is None and part.cache_control is None:
                yield PartOpened(index, Text(""))
                yield PartGrew(index, text)
                yield PartClosed(index)
            case Thinking(text=text, sealed=sealed) if text:
                yield PartOpened(index, Thinking("", sealed))  # a Responses client is told its id first
                yield PartGrew(index, text)
                yield PartClosed(index, sealed)
            case ToolCall(arguments=arguments):
                yield PartOpened(index, replace(part, arguments=""))
                yield PartGrew(index, arguments)
                yield PartClosed(index)
            case _:
                yield PartOpened(index, part)
                yield PartClosed(index)
    yield Stopped(reply.stop, reply.usage, reply.sealed)


def fold(events: Iterable[Event]) -> Reply | Fault:
    """The reply a stream amounts to, or the fault that broke it.

    Raises StreamOrderError where the events break the grammar above.
    """
    grammar = Grammar()
    started = Started("", "")
    parts: list[Part] = []
    grown: list[list[str]] = []
    for event in events:
        grammar.check(event)
        match event:
            case Started():
                started = event
            case PartOpened(part=part):
                parts.append(part)
                grown.append([])
            case PartGrew(index=index, text=text):
                grown[index].append(text)
            case PartClosed(index=index, sealed=sealed):
                parts[index] = _complete(parts[index], "".join(grown[index]), sealed)
            case Stopped(stop=stop, usage=usage, sealed=sealed):
                return Reply(started.id, started.model, tuple(parts), stop, usage, sealed)
            case Broke(fault=fault):
                return fault
    raise StreamOrderError("the events end without Stopped or Broke")


def _complete(part: Part, text: str, sealed: Sealed | None) -> Part:
    match part:
        case Text():
            return replace(part, text=part.text + text, sealed=sealed or part.sealed)
        case Thinking():
            return replace(part, text=part.text + text, sealed=sealed or part.sealed)
        case ToolCall():
            return replace(part, arguments=(part.arguments + text) or "{}", sealed=sealed or part.sealed)
        case Opaque():
            return replace(part, text=part.text + text, sealed=sealed or part.sealed)
        case _:
            return part


class Grammar:
    """Checks that events come in order, one at a time. Raises StreamOrderError at the first that does not."""

    __slots__ = ("_ended", "_open", "_opened", "_started")

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._opened = 0
        self._open: set[int] = set()

    def check(self, event: Event) -> None:
        if self._ended:
            raise StreamOrderError(f"{event} comes after the end")
        if isinstance(event, Broke):
            self._ended = True
            return
        if isinstance(event, Started):
            if self._started:
                raise StreamOrderError("the stream starts twice")
            self._started = True
            return
        if not self._started:
            raise StreamOrderError(f"{event} comes before Started")
        match event:
            case PartOpened(index=index):
                if index != self._opened:
                    raise StreamOrderError(f"part {index} opens where part {self._opened} was due")
                self._opened += 1
                self._open.add(index)
            case PartGrew(index=index):
                if index not in self._open:
                    raise StreamOrderError(f"part {index} grows while it is not open")
            case PartClosed(index=index):
                if index not in self._open:
                    raise StreamOrderError(f"part {index} closes while it is not open")
                self._open.discard(index)
            case Stopped():
                if self._open:
                    raise StreamOrderError(f"the stream stops while parts {sorted(self._open)} are open")
                self._ended = True

    @property
    def ended(self) -> bool:
        return self._ended
