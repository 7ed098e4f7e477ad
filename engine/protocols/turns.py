"""A conversation in the order vendors insist on: every call answered, once, right after the message it is in.

Clients differ: results come late, before other text, twice, or never; ids are too long, hold dots, or
repeat. `in_turns` puts results first in the turn behind their calls and gives every call an id that is
valid and its own, the same on each request of a session, so that prompt caches hold. What it has to bend
it reports.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

from engine.core.conversation import Loss, Message, Part, Role, ToolCall, ToolResult
from engine.core.values import quick
from engine.protocols.mapping import Limits

Placed = tuple[str, Part]  # where a part stood in the request, and the part


@dataclass(slots=True)
class Turn:
    """`results` answer the calls of the turn before and come before `parts`."""

    role: Role
    parts: list[Placed]
    results: list[tuple[str, ToolResult]]


class CallIds:
    """Ids a vendor accepts, each given once."""

    __slots__ = ("_again", "_given", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._given: set[str] = set()
        self._again: dict[str, int] = {}  # how often an id could not be given as it is

    def give(self, wanted: str) -> str:
        """The id itself where it is valid and new; otherwise one that depends on nothing but the ids before it."""
        found = wanted
        while found in self._given or not valid_id(found, self._limits):
            again = self._again.get(wanted, 0)
            found = fitting_id(f"{wanted}\0{again}", self._limits)
            self._again[wanted] = again + 1
        self._given.add(found)
        return found


def valid_id(call_id: str, limits: Limits) -> bool:
    return len(call_id) <= limits.call_id_length and limits.call_id.fullmatch(call_id) is not None


def fitting_id(seed: str, limits: Limits) -> str:
    """A made id, in fewer letters where the vendor wants them so."""
    made = made_id(seed)
    return made if valid_id(made, limits) else sha256(made.encode()).hexdigest()[: limits.call_id_length]


def made_id(seed: str) -> str:
    return "call_" + sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def in_turns(messages: Iterable[Message], limits: Limits, losses: list[Loss], *, merge: bool) -> list[Turn]:
    """`merge` joins neighbours of one role. A call without a result is given an empty one."""
    turns: list[Turn] = []
    ids = CallIds(limits)
    open_calls: dict[str, _Call] = {}  # by the client's id: the latest call of that name without a result
    unanswered: dict[str, _Call] = {}  # by our id
    behind: Turn | None = None  # the turn that holds the results of the assistant turn just made
    for role, parts in _groups(messages, merge):
        if role != "user":
            turn = Turn(role, parts, [])
            behind = _answering(turn, ids, open_calls, unanswered)
            turns += [turn] if behind is None else [turn, behind]
            continue
        turn = behind or Turn("user", [], [])
        for path, part in parts:
            if not isinstance(part, ToolResult):
                turn.parts.append((path, part))
                continue
            call = open_calls.pop(part.call_id, None)
            if call is None:
                losses.append(
                    Loss(
                        path,
                        "it answers no call that is still open, so it became text",
                        "converted",
                        "content",
                    )
                )
                turn.parts += [(path, inner) for inner in part.parts]
                continue
            unanswered.pop(call.id, None)
            own = part if call.id == part.call_id else replace(part, call_id=call.id)
            call.answers.results.append((path, own))
        if turn is not behind:
            turns.append(turn)
        behind = None
    for call in unanswered.values():
        losses.append(
            Loss(call.path, "the call has no result, so an empty one was added", "converted", "content")
        )
        call.answers.results.append((call.path, ToolResult(call.id, ())))
    return turns


@quick
@dataclass(frozen=True, slots=True)
class _Call:
    id: str
    path: str
    answers: Turn


def _groups(messages: Iterable[Message], merge: bool) -> list[tuple[Role, list[Placed]]]:
    groups: list[tuple[Role, list[Placed]]] = []
    for place, message in enumerate(messages):
        parts: list[Placed] = [
            (f"messages.{place}.content.{at}", part) for at, part in enumerate(message.parts)
        ]
        if not parts:
            continue
        if merge and groups and groups[-1][0] == message.role:
            groups[-1][1].extend(parts)
        else:
            groups.append((message.role, parts))
    return groups


def _answering(
    turn: Turn, ids: CallIds, open_calls: dict[str, _Call], unanswered: dict[str, _Call]
) -> Turn | None:
    """Give the turn's calls their ids. The empty turn for their results; None where it has no calls."""
    behind: Turn | None = None
    for at, (path, part) in enumerate(turn.parts):
        if not isinstance(part, ToolCall):
            continue
        behind = behind or Turn("user", [], [])
        call = _Call(ids.give(part.id), path, behind)
        open_calls[part.id] = unanswered[call.id] = call
        if call.id != part.id:
            turn.parts[at] = (path, replace(part, id=call.id))
    return behind
