"""Who is asking: the client, its session, and whether a sub-agent speaks.

A client is known by several markers together, never by its user-agent alone: Qwen Code calls itself
`claude-cli`. A sub-agent has a session key of its own, so that pinning one does not pin its parent. Where a
client sends the parent's id for both, the sub-agent's is appended: `<session>/<agent>`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from engine.features.markers import Client, Condition, Look, anyone, clients, find, holds


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
    is_subagent = any(holds(condition, look) for condition in client.subagent)
    if is_subagent and session and not client.parent:
        parent = session
        session = f"{session}/{find(client.subagent_id, look) or conversation}"
    agent = look.headers.get("x-weave-agent", "") or find(client.agent, look)
    return Caller(client.name, agent, is_subagent, session, parent if is_subagent else "")


def recognise(look: Look) -> Client:
    """The client most of whose markers show, if enough do; of two, the first in the file."""
    known = clients()
    seen = [0] * len(known)
    index = _index()
    for header in look.headers:
        for at, condition in index.by_header.get(header, ()):
            seen[at] += holds(condition, look)
    for at, condition in index.others:
        seen[at] += holds(condition, look)
    best, most = anyone(), 0
    for client, count in zip(known, seen, strict=True):
        if count >= client.needs and count > most:
            best, most = client, count
    return best


@dataclass(frozen=True, slots=True)
class _Index:
    """All clients' markers: those that ask for a header by its name, and the others. Most headers are nobody's
    marker and most markers' headers are not sent, so few conditions are left to look at."""

    by_header: Mapping[str, Sequence[tuple[int, Condition]]]
    others: Sequence[tuple[int, Condition]]


@cache
def _index() -> _Index:
    by_header: dict[str, list[tuple[int, Condition]]] = {}
    others: list[tuple[int, Condition]] = []
    for at, client in enumerate(clients()):
        for condition in client.markers:
            if condition.place == "header" and condition.test != "absent":
                by_header.setdefault(condition.key, []).append((at, condition))
            else:
                others.append((at, condition))
    return _Index(by_header, others)
