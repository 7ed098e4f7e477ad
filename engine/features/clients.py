"""Who is asking: the client, its session, and whether a sub-agent speaks.

A client is known by several markers together, never by its user-agent alone: Qwen Code calls itself
`claude-cli`. A sub-agent has a session key of its own, so that pinning one does not pin its parent. Where a
client sends the parent's id for both, the sub-agent's is appended: `<session>/<agent>`.
"""

from dataclasses import dataclass

from engine.features.markers import Client, Look, anyone, clients, find, holds


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
    best, most = anyone(), 0
    for client in clients():
        seen = sum(holds(condition, look) for condition in client.markers)
        if seen >= client.needs and seen > most:
            best, most = client, seen
    return best
