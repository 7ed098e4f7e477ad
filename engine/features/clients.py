"""Who is asking: the client, its session, and whether a sub-agent speaks.

A client is known by several markers together, never by its user-agent alone: Qwen Code calls itself
`claude-cli`. A sub-agent has a session key of its own, so that pinning one does not pin its parent. Where a
client sends the parent's id for both, the sub-agent's is appended: `<session>/<agent>`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from engine.features.markers import Client, Condition, Look, anyone, clients, compare, find, holds


@dataclass(frozen=True, slots=True)
class Caller:
    client: str
    agent: str
    subagent: bool
    session: str
    parent_session: str


def caller(look: Look, conversation: str) -> Caller:
    """`conversation` tells sub-agents apart whose client gives them no id."""
    client = recognise(look)
    session = find(client.session, look)
    parent = find(client.parent, look)
    is_subagent = _is_subagent(client, look)
    if is_subagent and session and not client.parent:
        parent = session
        session = f"{session}/{find(client.subagent_id, look) or conversation}"
    agent = look.headers.get("x-weave-agent", "") or find(client.agent, look)
    return Caller(client.name, agent, is_subagent, session, parent if is_subagent else "")


def _is_subagent(client: Client, look: Look) -> bool:
    for condition in client.subagent:  # noqa: SIM110 - a generator costs more than it asks
        if holds(condition, look):
            return True
    return False


def recognise(look: Look) -> Client:
    """The client most of whose markers show, if enough do; of two, the first in the file."""
    known = clients()
    index = _index()
    seen = [0] * len(known)
    headers = look.headers
    for header in index.by_header.keys() & headers.keys():
        held = headers[header]
        for at, condition in index.by_header[header]:
            if compare(condition, held):
                seen[at] += 1
    for mark in look.system:
        for at in index.by_system.get(mark, ()):
            seen[at] += 1
    for at, names in index.by_tools:
        if names <= look.tools:
            seen[at] += 1
    for key in index.by_member.keys() & look.request.body.keys():
        for at, condition in index.by_member[key]:
            if holds(condition, look):
                seen[at] += 1
    for at, condition in index.others:
        if holds(condition, look):
            seen[at] += 1
    best, most = anyone(), 0
    for at, count in enumerate(seen):
        if count > most and count >= known[at].needs:
            best, most = known[at], count
    return best


@dataclass(frozen=True, slots=True)
class _Index:
    """All clients' markers by what must be there for them to hold, each with its client's place in the file. Most
    headers are nobody's marker and most markers' headers are not sent, so few conditions are left to look at."""

    by_header: Mapping[str, Sequence[tuple[int, Condition]]]
    by_system: Mapping[str, Sequence[int]]
    by_tools: Sequence[tuple[int, frozenset[str]]]
    by_member: Mapping[str, Sequence[tuple[int, Condition]]]  # of the body
    others: Sequence[tuple[int, Condition]]


@cache
def _index() -> _Index:
    by_header: dict[str, list[tuple[int, Condition]]] = {}
    by_system: dict[str, list[int]] = {}
    by_tools: list[tuple[int, frozenset[str]]] = []
    by_member: dict[str, list[tuple[int, Condition]]] = {}
    others: list[tuple[int, Condition]] = []
    for at, client in enumerate(clients()):
        for condition in client.markers:
            if condition.place == "system":
                by_system.setdefault(condition.value, []).append(at)
            elif condition.names and condition.place == "tools":
                by_tools.append((at, condition.names))
            elif condition.place == "header" and condition.test != "absent":
                by_header.setdefault(condition.key, []).append((at, condition))
            elif condition.place == "body" and condition.test != "absent":
                by_member.setdefault(condition.key.partition(".")[0], []).append((at, condition))
            else:
                others.append((at, condition))
    return _Index(by_header, by_system, by_tools, by_member, others)
