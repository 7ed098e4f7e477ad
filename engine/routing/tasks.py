"""Task-sessions: the user's requests in a session, each worked on until the next one, and how each of them ended.

A conversation tells everything about itself again with every request, so what its client sends says which of its tasks
it is at. A session may hold several conversations, though: a client that shortens its history, rewinds it, or lets
sub-agents work under one name begins counting anew. So a session numbers its tasks itself, and a conversation is known
by its first words.

A task ends when the next one begins, whose first words may say what the user thinks of it, or when nothing came for a
while. A task of which no request was seen (the engine was restarted) still ends when the next one tells of it; its
outcome then has the same name as before, so that it counts once.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from engine.core.evidence import TaskEvidence, Tasks

MOST_SESSIONS = 50_000
MOST_CONVERSATIONS = 16  # of one session


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that ended, by its number in the session."""

    session: str
    number: int
    evidence: TaskEvidence


@dataclass(slots=True)
class _Conversation:
    """`told` is the number its client gives the task it is at, `number` the session's."""

    told: int
    number: int
    evidence: TaskEvidence


@dataclass(slots=True)
class _Session:
    last: int = 0  # the highest number given
    seen: float = 0.0
    conversations: OrderedDict[str, _Conversation] = field(default_factory=OrderedDict)


class TaskBook:
    """The tasks under way, in memory; the sessions that were silent longest are forgotten first. One event loop owns
    it. Times are in seconds, on one clock."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._most = most

    def enter(self, session: str, conversation: str, tasks: Tasks, now: float) -> tuple[int, Finished | None]:
        """The number of the task that a request works on, and the task that it ended, if it did. `conversation` is
        what its conversation is known by."""
        found = self._sessions.setdefault(session, _Session())
        self._sessions.move_to_end(session)
        while len(self._sessions) > self._most:
            self._sessions.popitem(last=False)
        found.seen = now
        told = tasks.current.number
        here = found.conversations.get(conversation)
        if here is not None and here.told == told:
            here.evidence = tasks.current
            return here.number, None
        number = max(found.last + 1, told) if found.last else max(told, 1)
        finished = _former(session, here, tasks, number)
        found.last = number
        found.conversations[conversation] = _Conversation(told, number, tasks.current)
        found.conversations.move_to_end(conversation)
        while len(found.conversations) > MOST_CONVERSATIONS:
            found.conversations.popitem(last=False)
        return number, finished

    def idle(self, before: float) -> list[Finished]:
        """The tasks of sessions that said nothing since `before`; they are forgotten."""
        ended = []
        while self._sessions:
            session, oldest = next(iter(self._sessions.items()))
            if oldest.seen >= before:
                break
            del self._sessions[session]
            ended += [Finished(session, one.number, one.evidence) for one in oldest.conversations.values()]
        return ended

    def __len__(self) -> int:
        return len(self._sessions)


def _former(session: str, here: _Conversation | None, tasks: Tasks, number: int) -> Finished | None:
    """The task before, as the request that begins the next one tells it; else as it was last seen."""
    former = tasks.former
    if here is None:  # not seen here yet: after a restart the conversation's own count is the session's
        return Finished(session, number - 1, former) if former is not None and number > 1 else None
    told = former is not None and former.number == here.told
    return Finished(session, here.number, former if told and former is not None else here.evidence)
