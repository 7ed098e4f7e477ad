"""What a protocol calls things: its names, enums and limits, read from `schemas/protocols/<name>.yaml`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from engine.core.errors import FaultKind
from engine.core.reply import StopReason
from engine.documents import shipped_yaml


@dataclass(frozen=True, slots=True)
class Knob:
    """A field of one value: our name in `Tuning`, the protocol's name, and its JSON type."""

    name: str
    field: str
    type: str


@dataclass(frozen=True, slots=True)
class Limits:
    call_id: re.Pattern[str]
    call_id_length: int
    tool_name: re.Pattern[str]
    tool_name_length: int
    stop_sequences: int
    temperature: float
    user_length: int
    thinking_budget: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Manner:
    """What one vendor wants otherwise than others of what a protocol's writer writes."""

    limits: Limits
    cache_marks: bool = False  # whether another protocol's cache marks mean something to it


@dataclass(frozen=True, slots=True, repr=False)
class WireMap:
    """The YAML file as values; its own sentences say what each list means."""

    name: str
    path: str
    keep_alive: bytes
    last_words: bytes
    knobs: tuple[Knob, ...]
    request_fields: frozenset[str]
    kept: frozenset[str]
    idle: Mapping[str, list[Any]]
    reply_fields: frozenset[str]
    usage_fields: frozenset[str]
    stop_read: Mapping[str, StopReason]
    stop_write: Mapping[StopReason, str]
    errors_read: Mapping[str, FaultKind]
    errors_write: Mapping[FaultKind, str]
    codes: Mapping[FaultKind, str]
    context_phrases: tuple[str, ...]
    limits: Limits
    models: Mapping[str, tuple[str, ...]]
    budgets: Mapping[str, int]
    efforts: Mapping[str, str]
    stream_path: str = ""
    count_path: str = ""
    count_field: str = "input_tokens"
    stored: frozenset[str] = frozenset()
    shared: Mapping[str, str] = field(default_factory=dict)
    shared_words: Mapping[str, list[Any]] = field(default_factory=dict)
    hosted_tools: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"WireMap({self.name})"

    def is_model(self, kind: str, model_id: str) -> bool:
        """Whether a provider's model id is one of those the file lists under `models.<kind>`."""
        return any(fnmatchcase(model_id, pattern) for pattern in self.models.get(kind, ()))

    def is_hosted(self, kind: str) -> bool:
        """Whether a tool of this kind runs at the vendor."""
        return any(fnmatchcase(kind, pattern) for pattern in self.hosted_tools)

    def effort_of(self, budget_tokens: int) -> str:
        """The effort whose budget is nearest from above; the highest where none is."""
        for effort, budget in self.budgets.items():
            if budget_tokens <= budget:
                return effort
        return list(self.budgets)[-1]

    def is_idle(self, field: str, value: object) -> bool:
        """Whether a field's value asks for nothing, so that losing it is no loss."""
        return value is None or any(
            type(value) is type(idle) and value == idle for idle in self.idle.get(field, ())
        )


_FILES = {
    "anthropic-messages": "anthropic_messages",
    "openai-chat": "openai_chat",
    "gemini": "gemini",
    "openai-responses": "openai_responses",
}


def protocol_map(protocol: str) -> WireMap:
    """The same by the protocol's name, as in `openai-chat`. Raises KeyError for one that is not ours."""
    return wire_map(_FILES[protocol])


@cache
def wire_map(name: str) -> WireMap:
    """`name` is the file's, as in `openai_chat`."""
    file = shipped_yaml(f"schemas/protocols/{name}.yaml")
    request, reply, errors = file["request"], file["reply"], file["errors"]
    knobs = tuple(Knob(**knob) for knob in request["tuning"])
    limits = dict(file["limits"])
    call_id, tool_name = re.compile(limits.pop("call_id")), re.compile(limits.pop("tool_name"))
    return WireMap(
        name=file["protocol"],
        path=file["path"],
        keep_alive=file["keep_alive"].encode(),
        last_words=file.get("last_words", "").encode(),
        knobs=knobs,
        request_fields=frozenset([*request["structure"], *(knob.field for knob in knobs)]),
        kept=frozenset(request["kept"]),
        idle=request["idle"],
        reply_fields=_names(reply["structure"], reply["machinery"]),
        usage_fields=_names(reply["usage"]),
        stop_read=file["stop_reasons"]["read"],
        stop_write=file["stop_reasons"]["write"],
        errors_read=errors["read"],
        errors_write=errors["write"],
        codes=errors.get("codes", {}),
        context_phrases=tuple(errors["context_phrases"]),
        limits=Limits(call_id=call_id, tool_name=tool_name, **limits),
        models={kind: tuple(patterns) for kind, patterns in file["models"].items()},
        budgets=file["efforts"]["budgets"],
        efforts=file["efforts"]["accepted"],
        stream_path=file.get("stream_path", ""),
        count_path=file.get("count_path", ""),
        count_field=file.get("count_field", "input_tokens"),
        stored=frozenset(request.get("stored", ())),
        shared=request.get("shared", {}),
        shared_words=request.get("shared_words", {}),
        hosted_tools=tuple(request["hosted_tools"]),
    )


def _names(*lists: Iterable[str]) -> frozenset[str]:
    return frozenset(name for names in lists for name in names)
