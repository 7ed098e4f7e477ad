"""What a coding agent asks: the canonical request, in the words of no single vendor.

A protocol's decoder reads its wire format into a `Request`; any encoder writes a `Request` out again.
Three ideas carry the rest:

* A conversation is messages made of *parts*. What a vendor has and others lack is either a part of its own
  (`Opaque`) or rides on a common part as `sealed` data, which only its origin may read.
* Tool arguments stay the JSON *text* the model wrote. Models write malformed JSON; text carries it unharmed,
  and an encoder that needs an object parses it at the edge.
* `raw` is the body as it arrived. A request that leaves in the protocol it came in is forwarded from `raw`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.core.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Sealed:
    """Opaque vendor data that returns only to where it came from: signatures, encrypted reasoning.

    `origin` is a protocol name; `data` is the vendor's own fields, verbatim.
    """

    origin: str
    data: Mapping[str, Any]


@quick
@dataclass(frozen=True, slots=True)
class Text:
    text: str
    cache_control: Mapping[str, Any] | None = None
    sealed: Sealed | None = None


@quick
@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning a model showed. A redacted block has empty text and its cipher in `sealed`."""

    text: str
    sealed: Sealed | None = None


@quick
@dataclass(frozen=True, slots=True)
class Image:
    """A picture, either by `url` or inline: base64 text in `base64` with its `media_type`."""

    media_type: str = ""
    base64: str = ""
    url: str = ""
    detail: str = ""  # OpenAI's "low", "high" or "auto"; empty where nobody said
    cache_control: Mapping[str, Any] | None = None
    sealed: Sealed | None = None


@quick
@dataclass(frozen=True, slots=True)
class Document:
    """A file the model reads: a PDF or plain text. Inline as base64 or as text, by `url`, or a vendor's file id
    (in `sealed`)."""

    media_type: str = ""
    base64: str = ""
    text: str = ""
    url: str = ""
    name: str = ""
    cache_control: Mapping[str, Any] | None = None
    sealed: Sealed | None = None


@quick
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to run a tool. `arguments` is JSON text exactly as written, `"{}"` where there are none."""

    id: str
    name: str
    arguments: str
    cache_control: Mapping[str, Any] | None = None
    sealed: Sealed | None = None


@quick
@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    parts: tuple["Part", ...]
    is_error: bool = False
    cache_control: Mapping[str, Any] | None = None
    sealed: Sealed | None = None


@quick
@dataclass(frozen=True, slots=True)
class Opaque:
    """Content only its origin understands (hosted tools, audio, uploads). `text` is what streamed into it."""

    kind: str
    sealed: Sealed
    text: str = ""


Part = Text | Thinking | Image | Document | ToolCall | ToolResult | Opaque
Role = Literal["user", "assistant", "system"]


@quick
@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]


@quick
@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the client offers. A hosted tool runs at its vendor: `kind` is its type there, and only `sealed`
    describes it."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "function"
    strict: bool | None = None
    cache_control: Mapping[str, Any] | None = None
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    mode: Literal["auto", "any", "none", "tool"]
    name: str = ""  # of the tool, where mode is "tool"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How much a model may think. A vendor gives a mode, a budget in tokens, an effort, or several of them."""

    mode: Literal["enabled", "disabled", "adaptive", ""] = ""
    budget_tokens: int | None = None
    effort: str = ""  # "minimal", "low", "medium", "high", "xhigh", "max", "none", or empty


@dataclass(frozen=True, slots=True)
class Tuning:
    """The knobs of a request. `None` means the client did not say. `extra` holds top-level fields that have no
    common meaning, verbatim, for the protocol they came in."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    reasoning: Reasoning | None = None
    output_schema: Mapping[str, Any] | None = None  # JSON Schema the answer must follow
    output_schema_name: str = ""
    output_schema_strict: bool | None = None
    json_mode: bool = False  # any JSON object, without a schema
    seed: int | None = None
    user: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a client, whole. `body` is `raw` parsed once; nobody changes it."""

    protocol: str
    model: str
    system: tuple[Part, ...]
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    tuning: Tuning
    stream: bool
    raw: bytes
    body: Mapping[str, Any]


Fate = Literal[
    "converted",  # it is carried, in other words or within other limits
    "dropped",  # it is not carried; where it was content, something visible stands in its place
    "refused",  # it would have been dropped, and the policy does not allow that
]
Stake = Literal[
    "content",  # what the model must see to do the work: texts, images, documents, calls, results, tools
    "offer",  # a tool that would have run at its vendor, which the model has to do without
    "tuning",  # how the work is done: sampling, limits, efforts, cache marks, names
    "sealed",  # what only its origin can read, and nobody else misses
]


@quick
@dataclass(frozen=True, slots=True)
class Loss:
    """A field that did not come through as it was, and why; what is not named came through. `path` is dotted, as in
    `messages.3.content.0`, in the words of the canonical form; `stake` says what it was worth."""

    path: str
    why: str
    fate: Fate = "dropped"
    stake: Stake = "tuning"

    @property
    def place(self) -> str:
        """The path as people write it: `messages[3].content[0]`."""
        first, *steps = self.path.split(".")
        return first + "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in steps)


@dataclass(frozen=True, slots=True)
class Lossy:
    """What an operator allows to be lost on the way to a model: `refuse` rather does without the model, `report`
    sends the rest and says so."""

    content: Literal["refuse", "report"] = "refuse"
    offer: Literal["refuse", "report"] = "report"
    tuning: Literal["refuse", "report"] = "report"

    def refuses(self, loss: Loss) -> bool:
        """What others cannot read anyway is no reason to refuse."""
        if loss.fate == "converted" or loss.stake == "sealed":
            return False
        allowed = {"content": self.content, "offer": self.offer, "tuning": self.tuning}
        return allowed[loss.stake] == "refuse"


AS_USUAL = Lossy()
