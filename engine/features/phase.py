"""What a call is for: a turn of the work, and which kind, or a chore beside it.

Chores (titles, summaries, probes, a client's safety check) and plan mode are recognised by markers,
`schemas/clients.v1.yaml`. What is left is work, and what it is doing shows in the latest step, the tool
calls of the last assistant message: tests validate, edits execute, looking around gathers context. At the
start of a turn nothing has been done yet: an agent without tools that change anything can only gather
context.
"""

from engine.features.actions import Kind, tool_kind
from engine.features.markers import Look, holds, phase_markers

Step = set[Kind]


def phase_of(look: Look, step: Step, edited_this_turn: bool) -> str:
    for marker in phase_markers():
        if all(holds(condition, look) for condition in marker.when):
            return marker.phase
    if not step:
        return _beginning(look)
    if "test" in step:
        return "validate"
    if step <= {"read", "search"}:
        return "execute" if edited_this_turn else "context"
    if step == {"plan"}:
        return "plan"
    return "execute"


def _beginning(look: Look) -> str:
    if not look.tools:
        return "chat"
    kinds = {tool_kind(name) for name in look.tools}
    return "execute" if kinds & {"edit", "shell", "other"} else "context"
