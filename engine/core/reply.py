"""What a model answers: the canonical reply, and what it cost in tokens."""

from dataclasses import dataclass
from typing import Literal

from engine.core.conversation import Part, Sealed
from engine.core.values import quick

StopReason = Literal[
    "end_turn",  # the model was done
    "max_tokens",  # it ran into the limit the client set
    "stop_sequence",
    "tool_use",  # it waits for tool results
    "refusal",  # it, or a filter, declined
    "pause_turn",  # a hosted tool takes long; the client may continue
    "context_exceeded",  # the context window was full
]


@quick
@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, each counted once whatever the vendor's convention.

    `input_tokens` is the whole prompt, cache reads and writes included; `output_tokens` is everything the model
    wrote, reasoning included. `estimated` marks figures the engine made itself because the vendor gave none.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    reason: StopReason
    sequence: str | None = None  # the stop sequence that was met


@dataclass(frozen=True, slots=True)
class Reply:
    id: str
    model: str  # the vendor's own name of what served it
    parts: tuple[Part, ...]
    stop: Stop
    usage: Usage
    sealed: Sealed | None = None
