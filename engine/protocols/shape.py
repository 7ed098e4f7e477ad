"""What a protocol is: one record of functions. Each protocol fills it once; two meet in the canonical form.

A `Stage` is one step of a stream: `feed` takes what came and returns what that yields, `close` says
nothing more will come and returns the rest. Stages keep their state to themselves and never do I/O, so a
test may feed them whole, byte by byte, or in random bites and must see the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from typing import Protocol as Shape
from urllib.parse import quote

from engine.core.catalog import Model
from engine.core.conversation import Loss, Request, Tool
from engine.core.errors import Fault
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Event
from engine.protocols.mapping import Limits
from engine.protocols.pulse import Pulse

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out")  # invariant: a stage returns lists


class Stage(Shape[In, Out]):
    def feed(self, data: In, /) -> list[Out]: ...
    def close(self) -> list[Out]: ...


class Writer(Stage[Event, bytes], Shape):
    """A stage that writes a client's stream and remembers what it could not carry."""

    @property
    def dropped(self) -> tuple[Loss, ...]: ...


class Tap(Shape):
    """Listens to a stream that is handed on unread, and reads only what the engine must know.

    `id` is the reply's; `content_started` is `has_content` of what passed; `ended` says that the provider came to an
    end of its own, good or bad; `stop` and `usage` are there once told; `fault` is why the stream failed; `pulse` says
    whether it gets on. `close` says that the bytes are over, which is a fault where the stream had not ended.
    """

    id: str
    pulse: Pulse
    content_started: bool
    ended: bool
    stop: Stop | None
    usage: Usage | None
    fault: Fault | None

    @property
    def unreadable(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request or reply in a protocol's own JSON, and what could not be carried into it."""

    body: Mapping[str, Any]
    dropped: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Repairs:
    """Edits to the top level of a body that is otherwise forwarded as it is: field -> its new value; and the
    fields that have to go."""

    edits: Mapping[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    dropped: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplyContext:
    """What an encoder of replies needs to know of the request it answers.

    `model` is the name to show the client; `include_usage` is OpenAI's `stream_options.include_usage`;
    `created` is seconds since the epoch; `tools` are those the client offered, which calls are told as; `renamed`
    are tools that went to the provider under another name, and what the client calls them; `number` is that of the
    next event, where a protocol counts them and the client was told some already.
    """

    model: str
    id: str
    created: int = 0
    include_usage: bool = True
    tools: tuple[Tool, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True, slots=True)
class Protocol:
    """How to speak one wire protocol, as either side. All functions are pure.

    read_request    parsed body and raw bytes -> Request; raises RequestError with a path for what is wrong
    write_request   Request, the model that serves it, that model's id there -> body for the provider
    read_reply      whole provider body -> Reply; raises UpstreamError if it is none
    write_reply     Reply -> body for the client
    event_reader    provider bytes -> canonical events, for one stream. Ends in exactly one Stopped or Broke:
                    `close()` before a terminal event yields Broke(Fault("connection", …))
    event_writer    canonical events -> client bytes, for one stream, always with a complete ending
    tap             listens to a stream of this protocol that is forwarded as it is
    repairs         Request in this protocol, the model that serves it, that model's id there, an effort the
                    policy sets (or "") -> what has to change before the body is forwarded; mostly nothing
    read_fault      status, headers (lower-case names) and body of a provider's error reply -> Fault
    write_fault     Fault -> body for the client
    keep_alive      bytes that keep a silent stream open without meaning; empty where clients cannot take any
    last_words      what stands behind every complete stream, as one frame; empty where nothing does
    headers         key -> headers that authenticate to a provider of this protocol
    path            the path under an endpoint's base_url; `{model}` stands for the model's id there
    stream_path     the same for a stream, where it differs
    count_path      the same for counting a prompt's tokens; empty where the vendor has none
    count_field     the field of the count's reply that holds the number
    limits          what ids of calls and names of tools may look like there
    forwards        headers of a client of this protocol that its providers must hear
    dialect         the vendor's way of speaking it; empty where it is spoken plainly
    rewrites        whether clients of the same protocol cannot read its replies as they are
    """

    name: str
    path: str
    keep_alive: bytes
    read_request: Callable[[Mapping[str, Any], bytes], Request]
    write_request: Callable[[Request, Model, str], Encoded]
    read_reply: Callable[[Mapping[str, Any]], Reply]
    write_reply: Callable[[Reply, ReplyContext], Encoded]
    event_reader: Callable[[], Stage[bytes, Event]]
    event_writer: Callable[[ReplyContext], Writer]
    tap: Callable[[], Tap]
    repairs: Callable[[Request, Model, str, str], Repairs]
    read_fault: Callable[[int, Mapping[str, str], bytes], Fault]
    write_fault: Callable[[Fault], Mapping[str, Any]]
    headers: Callable[[str], Mapping[str, str]]
    limits: Limits
    last_words: bytes = b""
    stream_path: str = ""
    count_path: str = ""
    count_field: str = "input_tokens"
    forwards: tuple[str, ...] = ()
    dialect: str = ""
    rewrites: bool = False

    def is_read_by(self, client: "Protocol") -> bool:
        """Whether a client can be handed what a provider of this protocol sends, as it is."""
        return self.name == client.name and not self.rewrites

    @property
    def model_in_path(self) -> bool:
        """Whether the model's name is in the path and not in the body."""
        return "{model}" in self.path

    def address(self, model_id: str, *, stream: bool) -> str:
        """The path of one call under an endpoint's base_url."""
        return _filled(self.stream_path if stream and self.stream_path else self.path, model_id)

    def count_address(self, model_id: str) -> str:
        return _filled(self.count_path, model_id)


def _filled(path: str, model_id: str) -> str:
    return path.replace("{model}", quote(model_id, safe="/:@")) if "{model}" in path else path
