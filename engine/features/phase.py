"""What a call is for: a turn of the work, and which kind, or a chore beside it.

Chores (titles, summaries, probes, a client's safety check) and plan mode are recognised by markers,
`schemas/clients.v1.yaml`. What is left is work, and what it is doing shows in the latest step, the tool
calls of the last assistant message: tests validate, edits execute, looking around gathers context. At the
start of a turn nothing has been done yet: an agent without tools that change anything can only gather
context.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from engine.features.actions import Kind, tool_kind
from engine.features.markers import Condition, Look, holds, phase_markers

Step = set[Kind]

CHANGING = frozenset({"edit", "shell", "other"})
TOOLS_LOOKED_AT = 1_000


def phase_of(look: Look, step: Step, edited_this_turn: bool) -> str:
    if marked := _marked(look):
        return marked
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
    for name in islice(look.tools, TOOLS_LOOKED_AT):
        if tool_kind(name) in CHANGING:
            return "execute"
    return "context"


def _marked(look: Look) -> str:
    """The phase of the first marker in the file all of whose conditions hold; empty where none's do."""
    index = _index()
    possible = list(index.others)
    if look.request.tuning.output_schema is not None:
        possible += index.by_schema
    for header in index.by_header.keys() & look.headers.keys():
        possible += index.by_header[header]
    for mark in look.system:
        possible += index.by_system.get(mark, ())
    for mark in look.user:
        possible += index.by_user.get(mark, ())
    markers = phase_markers()
    for at in sorted(possible):
        for condition in markers[at].when:
            if not holds(condition, look):
                break
        else:
            return markers[at].phase
    return ""


@dataclass(frozen=True, slots=True)
class _Index:
    """The markers' places in the file, by one thing that must be there for each; most of these never are."""

    by_header: Mapping[str, Sequence[int]]
    by_system: Mapping[str, Sequence[int]]
    by_user: Mapping[str, Sequence[int]]
    by_schema: Sequence[int]
    others: Sequence[int]


@cache
def _index() -> _Index:
    by_header: dict[str, list[int]] = {}
    by_system: dict[str, list[int]] = {}
    by_user: dict[str, list[int]] = {}
    by_schema: list[int] = []
    others: list[int] = []
    for at, marker in enumerate(phase_markers()):
        rarest = min(marker.when, key=_commonness)
        if _commonness(rarest) == len(RAREST_FIRST):
            others.append(at)
        elif rarest.place == "header":
            by_header.setdefault(rarest.key, []).append(at)
        elif rarest.place == "system":
            by_system.setdefault(rarest.value, []).append(at)
        elif rarest.place == "user":
            by_user.setdefault(rarest.value, []).append(at)
        else:
            by_schema.append(at)
    return _Index(by_header, by_system, by_user, by_schema, others)


RAREST_FIRST = ("header", "system", "user", "schema")


def _commonness(condition: Condition) -> int:
    """How far down the list. What must be absent is common: a header, or any property of a schema."""
    absent = condition.test == "absent" or (condition.place == "schema" and not condition.names)
    if absent or condition.place not in RAREST_FIRST:
        return len(RAREST_FIRST)
    return RAREST_FIRST.index(condition.place)
