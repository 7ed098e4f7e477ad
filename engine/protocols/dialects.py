"""Dialects: how vendors speak a protocol that another vendor made, read from `schemas/dialects/*.yaml`.

A dialect is data. Its file says what the vendor takes and refuses, how reasoning is asked for and returned, and
which ids and names it accepts; `fitting` and `speaking` follow it. What holds for some models alone stands under
`models`, what holds while a model thinks under `while_thinking`; both are laid over what holds for all.

Plain is the dialect of a protocol spoken as it is written down: it changes nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any, Literal

from engine.core.errors import FaultKind
from engine.documents import shipped_names, shipped_yaml

Replay = Literal["as_it_came", "never", "tool_turns", "always"]

_LADDER = ("minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Ask:
    """How reasoning is asked for. `on` and `off` are fields to send; `effort` and `budget` are dotted places of one
    value. An `off` of None: the model cannot be told not to think."""

    on: Mapping[str, Any] = field(default_factory=dict)
    off: Mapping[str, Any] | None = None
    effort: str = ""
    efforts: tuple[str, ...] = _LADDER
    budget: str = ""
    least_budget: int = 0
    unasked: bool = True  # whether a model that can think does so when nothing was asked

    @property
    def fields(self) -> frozenset[str]:
        """The top-level fields it is made of."""
        places = [place.partition(".")[0] for place in (self.effort, self.budget) if place]
        return frozenset([*self.on, *(self.off or ()), *places])

    def nearest(self, effort: str) -> str:
        """The effort that is accepted and nearest, rather more than less."""
        if effort in self.efforts:
            return effort
        at = _LADDER.index(effort) if effort in _LADDER else _LADDER.index("medium")
        known = [place for place, name in enumerate(_LADDER) if name in self.efforts]
        if not known:
            return self.efforts[0] if self.efforts else ""
        return _LADDER[min(known, key=lambda place: (abs(place - at), -place))]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vendor wants of a request for one model."""

    takes: frozenset[str] = frozenset()  # top-level fields; empty where all are taken
    refuses: Mapping[str, str] = field(default_factory=dict)  # field -> why
    renames: Mapping[str, str] = field(default_factory=dict)
    adds: Mapping[str, Any] = field(default_factory=dict)
    stream_adds: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    not_both: tuple[tuple[str, str], ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)  # field -> the one it may only stand beside
    roles: Mapping[str, str] = field(default_factory=dict)
    tool_choice: frozenset[str] = frozenset({"auto", "none", "required", "named"})
    any_tool: str = "required"  # the word for "call some tool"
    formats: frozenset[str] = frozenset({"text", "json_object", "json_schema"})
    strict_tools: bool = True
    schema_drops: frozenset[str] = frozenset()
    carries: frozenset[str] = frozenset({"image", "document"})
    document_part: str = "file"  # the kind of part that holds a document
    cache_control: bool | None = None  # None: as the protocol does
    stops: int | None = None
    tools: int = 0  # the most there may be; 0 where nobody says
    least_tokens: int = 0
    ask: Ask | None = None  # None: as the protocol does
    replay: Replay = "as_it_came"
    replay_field: str = ""
    placeholder: str = ""
    signature: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One vendor's way of speaking. Compared by identity: there is one of each name."""

    name: str
    protocol: str
    file: Mapping[str, Any]
    limits: Mapping[str, Any] = field(default_factory=dict)  # where they are not the protocol's
    errors: Mapping[str, FaultKind] = field(default_factory=dict)
    context_phrases: tuple[str, ...] = ()
    rewrites: bool = False  # whether clients of the same protocol cannot read its replies as they are
    auth_header: str = ""
    auth_prefix: str = ""
    path: str = ""
    forwards: tuple[str, ...] | None = (
        None  # headers of the client that are handed on; None: as the protocol does
    )

    def rules(self, model_id: str, *, thinks: bool = False) -> Rules:
        """The rules for a model, by its id at the vendor."""
        return _rules(self, model_id, thinks)


def plain(protocol: str) -> Dialect:
    return Dialect("", protocol, {})


def read_dialect(file: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> Dialect:
    """A dialect's file as values, laid over the file it is `like`. It is ours, or was checked against its schema."""
    if base is not None:
        file = _joined({key: value for key, value in base.items() if key not in _OWN}, file)
    reply, auth = file.get("reply", {}), file.get("auth", {})
    forwards = file.get("forward_headers")
    return Dialect(
        name=file["dialect"],
        protocol=file["protocol"],
        file=file,
        limits=_limits(file.get("limits", {})),
        errors=reply.get("errors", {}),
        context_phrases=tuple(reply.get("context_phrases", ())),
        rewrites=reply.get("translate", False),
        auth_header=auth.get("header", ""),
        auth_prefix=auth.get("prefix", ""),
        path=file.get("path", ""),
        forwards=None if forwards is None else tuple(forwards),
    )


# What a dialect says of itself alone, and not of those that are like it.
_OWN = frozenset({"dialect", "protocol", "title", "default", "base_url", "sources", "notes", "path", "like"})


@cache
def shipped_dialects() -> Mapping[str, Dialect]:
    """Every dialect that comes with the package, by name."""
    files = {
        file["dialect"]: file for file in (shipped_yaml(name) for name in shipped_names("schemas/dialects"))
    }
    found: dict[str, Dialect] = {}

    def of(name: str) -> Dialect:
        if name not in found:
            like = files[name].get("like")
            found[name] = read_dialect(files[name], of(like).file if like else None)
        return found[name]

    return {name: of(name) for name in files}


@cache
def default_dialect(protocol: str) -> str:
    """What an endpoint speaks that names no dialect; empty where that is the plain protocol."""
    defaults = (
        d.name for d in shipped_dialects().values() if d.protocol == protocol and d.file.get("default")
    )
    return next(defaults, "")


@cache
def known_fields(protocol: str) -> frozenset[str]:
    """Every top-level field that some dialect of the protocol takes: what a vendor may be known not to take."""
    return frozenset(
        name
        for dialect in shipped_dialects().values()
        if dialect.protocol == protocol
        for name in _every_take(dialect.file)
    )


@cache
def asking_fields(protocol: str) -> frozenset[str]:
    """Every top-level field in which some dialect of the protocol asks for reasoning."""
    asks = (
        _ask(section.get("reasoning", {}).get("ask"))
        for dialect in shipped_dialects().values()
        if dialect.protocol == protocol
        for section in (dialect.file, *dialect.file.get("models", ()))
    )
    return frozenset(name for ask in asks if ask is not None for name in ask.fields)


def _every_take(file: Mapping[str, Any]) -> Iterable[str]:
    for section in (file, *file.get("models", ())):
        yield from section.get("request", {}).get("takes", ())


@lru_cache(maxsize=2048)
def _rules(dialect: Dialect, model_id: str, thinks: bool) -> Rules:
    file = dialect.file
    said: dict[str, Any] = {}
    for section in (file, *(one for one in file.get("models", ()) if _meant(one, model_id))):
        said = _laid_over(said, section.get("request", {}), section.get("reasoning", {}))
        if thinks:
            said = _laid_over(said, section.get("while_thinking", {}), {})
    return _as_rules(said)


def _meant(section: Mapping[str, Any], model_id: str) -> bool:
    return any(fnmatchcase(model_id, pattern) for pattern in section["ids"])


def _laid_over(said: dict[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are joined and a null takes a name out of them; anything else is replaced, how to ask included."""
    found = dict(said)
    for layer in layers:
        for name, value in layer.items():
            old = found.get(name)
            if isinstance(old, Mapping) and isinstance(value, Mapping) and name != "ask":
                value = {key: each for key, each in {**old, **value}.items() if each is not None}
            found[name] = value
    return found


def _joined(base: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in file.items():
        old = found.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[name] = _joined(old, value) if both and old is not None else value
    return found


def _as_rules(said: Mapping[str, Any]) -> Rules:
    rules = Rules()
    found: dict[str, Any] = {}
    for name, value in said.items():
        match name:
            case "takes" | "tool_choice" | "formats" | "schema_drops" | "carries":
                found[name] = frozenset(value)
            case "ranges":
                found[name] = {key: (low, high) for key, (low, high) in value.items()}
            case "not_both":
                found[name] = tuple((first, second) for first, second in value)
            case "ask":
                found[name] = _ask(value)
            case "signature":
                found[name] = _pattern(value)
            case _:
                found[name] = value
    return replace(rules, **found)


def _ask(value: Mapping[str, Any] | None) -> Ask | None:
    if value is None:
        return None
    said = dict(value)
    if "efforts" in said:
        said["efforts"] = tuple(said["efforts"])
    return Ask(**said)


def _limits(said: Mapping[str, Any]) -> dict[str, Any]:
    patterns = {name: re.compile(said[name]) for name in ("call_id", "tool_name") if name in said}
    return {**said, **patterns}


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text) if text else None
