"""What a model is given to answer, and its answer, in words of the simulator's own: what every wire meets
in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from engine.simulator.models import SimulatedModel

IMAGE_TOKENS = 1_600


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the prompt as a prompt cache sees it. `marked` is where Anthropic clients end what is
    kept."""

    digest: bytes
    tokens: int
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """`size` is in bytes; 0 for a picture by URL."""

    media_type: str
    size: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class Offered:
    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """A tool's result in the newest turn."""

    name: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """`task` is the last thing the user wrote, `newest` all text since the model's last turn, `called` the
    tools the model has called since `task`. `choice` is auto, any, none, or a tool's name after a colon."""

    model: SimulatedModel
    system: str
    task: str
    newest: str
    called: tuple[str, ...]
    returned: tuple[Returned, ...]
    pictures: tuple[Picture, ...]
    tools: tuple[Offered, ...]
    segments: tuple[Segment, ...]
    digest: str
    stream: bool = False
    choice: str = "auto"
    parallel: bool = True
    thinking: bool = False
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    schema: Mapping[str, Any] | None = None
    json_mode: bool = False
    include_usage: bool = True
    summary: bool = False  # whether thinking is to be shown, where a vendor asks
    encrypted: bool = False  # whether it is to be handed out sealed
    customs: frozenset[str] = frozenset()  # the tools that take text instead of arguments

    @property
    def tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Think:
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    key: str  # what the wire makes the vendor's id of
    name: str
    arguments: str


Block = Say | Think | Call
Stop = str  # "end", "length", "stop_sequence", "tools" or "refusal"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one answer. `prompt` is the whole prompt, `read` and `written` the parts of it that the cache has to
    do with; `output` counts thinking too."""

    prompt: int
    read: int
    written: int
    output: int
    thinking: int


@dataclass(frozen=True, slots=True)
class Answer:
    key: str  # what the wire makes the vendor's ids of
    created: int
    blocks: tuple[Block, ...]
    stop: Stop
    sequence: str | None
    tokens: Tokens


def count(text: str) -> int:
    """Tokens of a text: four characters each, which is near enough and never changes."""
    return (len(text) + 3) // 4


def segment(value: Any, tokens: int, marked: bool = False) -> Segment:
    """A piece of a prompt from its JSON. Cache marks are no content, and moving one does not spoil the
    cache."""
    text = json.dumps(value, sort_keys=True, default=str)
    return Segment(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), tokens, marked)


def digest(body: Mapping[str, Any]) -> str:
    """What tells requests apart. Whether the answer is streamed makes no difference to the answer."""
    asked = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    text = json.dumps(asked, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
