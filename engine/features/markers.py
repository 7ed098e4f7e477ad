"""What gives a client or a kind of call away: conditions from `schemas/clients.v1.yaml`, and how they hold.

A condition looks at one place of a request and is cheap: headers, a dotted path of the body, the openings
of the first system texts, the ends of the latest user text, the names of the tools offered. Long texts are
only looked at where they begin and end, so a hostile body costs no more than an honest one.

Texts are searched for all marks of the file at once, and what was found is remembered by the text: a client
opens its system prompt with the same words for months, and repeats the user's in every step of a turn.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from engine.core.conversation import Request
from engine.documents import shipped_yaml

CLIENTS = "schemas/clients.v1.yaml"
REMEMBERED = 256  # texts of which the marks are known
LONGEST_VALUE = 300  # of a session key or agent name; longer ones are cut


@dataclass(frozen=True, slots=True)
class Look:
    """The places of a request that conditions look at, gathered once."""

    request: Request
    headers: Mapping[str, str]
    system: frozenset[str]  # marks in the openings of the first system texts
    user: frozenset[str]  # marks in the opening and the end of the latest user message
    tools: frozenset[str]


@dataclass(frozen=True, slots=True)
class Condition:
    """`place` says where to look, `key` which header or path, `test` how, `value` for what."""

    place: str
    key: str
    test: str
    value: str
    names: frozenset[str] = frozenset()
    number: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a text is found: a header or body path, and the JSON key or the mark inside it."""

    place: str
    key: str
    json_key: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    needs: int
    markers: tuple[Condition, ...]
    session: tuple[Source, ...]
    parent: tuple[Source, ...]
    agent: tuple[Source, ...]
    subagent: tuple[Condition, ...]
    subagent_id: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class PhaseMarker:
    phase: str
    when: tuple[Condition, ...]


@cache
def clients() -> tuple[Client, ...]:
    return tuple(_client(entry) for entry in shipped_yaml(CLIENTS)["clients"])


@cache
def anyone() -> Client:
    """How the session of a client nobody recognised is found."""
    return _client({"name": "other", "markers": [], **shipped_yaml(CLIENTS)["anyone"]})


@cache
def phase_markers() -> tuple[PhaseMarker, ...]:
    return tuple(
        PhaseMarker(entry["phase"], tuple(_condition(each) for each in entry["when"]))
        for entry in shipped_yaml(CLIENTS)["phases"]
    )


@lru_cache(maxsize=REMEMBERED)
def system_marks(text: str) -> frozenset[str]:
    """Which marks of all conditions on system texts stand in this one."""
    return frozenset([mark for mark in _marks("system") if mark in text])


@lru_cache(maxsize=REMEMBERED)
def user_marks(text: str) -> frozenset[str]:
    return frozenset([mark for mark in _marks("user") if mark in text])


@cache
def _marks(place: str) -> frozenset[str]:
    conditions = [each for client in (*clients(), anyone()) for each in (*client.markers, *client.subagent)]
    conditions += [each for marker in phase_markers() for each in marker.when]
    return frozenset(each.value for each in conditions if each.place == place)


def holds(condition: Condition, look: Look) -> bool:
    match condition.place:
        case "header":
            return compare(condition, look.headers.get(condition.key))
        case "system":
            return condition.value in look.system
        case "user":
            return condition.value in look.user
        case "tools":
            return condition.names <= look.tools if condition.names else not look.tools
        case "body":
            return compare(condition, _at(look.request.body, condition.key))
        case "stop":
            return condition.value in look.request.tuning.stop
        case "schema":
            return _properties(look.request) == condition.names
        case "max_tokens":
            limit = look.request.tuning.max_tokens
            return limit is not None and limit <= condition.number
        case "messages":
            return len(look.request.messages) <= condition.number
        case _:
            return condition.value == look.request.protocol


def find(sources: Sequence[Source], look: Look) -> str:
    """The text of the first source that has one; empty where none has."""
    for source in sources:
        held = (
            look.headers.get(source.key) if source.place == "header" else _at(look.request.body, source.key)
        )
        if isinstance(held, str) and held and (text := _inside(source, held)):
            return text[:LONGEST_VALUE]
    return ""


def _inside(source: Source, held: str) -> str:
    if source.json_key:
        return _json_member(held[:8_192], source.json_key)
    if source.after:
        return held.partition(source.after)[2]
    return held


def _json_member(text: str, key: str) -> str:
    if not text.startswith("{"):
        return ""
    try:
        value = json.loads(text).get(key)
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def compare(condition: Condition, held: object) -> bool:
    """Whether what stands at the condition's place, or None, is what it asks for."""
    match condition.test:
        case "absent":
            return held is None
        case "there":
            return held is not None and held != ""
        case _ if not isinstance(held, str):
            return False
        case "is":
            return held == condition.value
        case "starts":
            return held.startswith(condition.value)
        case _:
            return condition.value in held


def _at(body: Mapping[str, Any], path: str) -> object:
    found: object = body
    for key in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _properties(request: Request) -> frozenset[str]:
    schema = request.tuning.output_schema
    properties = schema.get("properties") if schema is not None else None
    return frozenset(properties) if isinstance(properties, Mapping) else frozenset()


def _client(entry: Mapping[str, Any]) -> Client:
    return Client(
        name=entry["name"],
        needs=entry.get("needs", 1),
        markers=_conditions(entry, "markers"),
        session=_sources(entry, "session"),
        parent=_sources(entry, "parent"),
        agent=_sources(entry, "agent"),
        subagent=_conditions(entry, "subagent"),
        subagent_id=_sources(entry, "subagent_id"),
    )


def _conditions(entry: Mapping[str, Any], name: str) -> tuple[Condition, ...]:
    return tuple(_condition(each) for each in entry.get(name, ()))


def _sources(entry: Mapping[str, Any], name: str) -> tuple[Source, ...]:
    return tuple(_source(each) for each in entry.get(name, ()))


def _source(entry: Mapping[str, str]) -> Source:
    place = "header" if "header" in entry else "body"
    return Source(place, entry[place], entry.get("json", ""), entry.get("after", ""))


def _condition(entry: Mapping[str, Any]) -> Condition:
    for place in ("header", "body"):
        if place in entry:
            test = next((name for name in ("is", "starts", "contains", "absent") if name in entry), "there")
            return Condition(place, entry[place], test, str(entry.get(test, "")))
    ((place, value),) = entry.items()
    match value:
        case list():
            return Condition(place, "", "", "", names=frozenset(value))
        case int():
            return Condition(place, "", "", "", number=value)
        case _:
            return Condition(place, "", "", str(value))
