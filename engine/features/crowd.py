"""Conversations of tens of thousands of parts: what is walked of them, and what the rest is taken to be.

No agent sends so many; they come from broken or hostile clients, and the walk runs where every other request
waits for it. So of a crowd only the opening and the end are walked whole, because they tell the first words and
the latest step, and of the middle stretches at even distances, whose counts and tokens stand for the rest.
A message of very many parts is cut into several first; it may then count as several turns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.core.conversation import Message

CROWD = 10_000  # messages and their parts, together, from which a conversation is one
OPENING = 1_000
MIDDLE = 2_000
END = 2_000
STRETCH = 50  # messages
MANY = 200  # parts in one place, of which the first and the last half are looked at


@dataclass(frozen=True, slots=True)
class Crowd:
    """`middle` stands for `factor` times what it is."""

    opening: Sequence[Message]
    middle: Sequence[Message]
    end: Sequence[Message]
    factor: float


def crowd_of(messages: Sequence[Message]) -> Crowd | None:
    """None for a conversation that can be walked whole."""
    counts = [len(message.parts) for message in messages]
    if sum(counts) + len(counts) <= CROWD:
        return None
    return _thinned(_cut(messages) if max(counts) > MANY else messages)


def stretched(count: int, before: int, factor: float) -> int:
    """A count whose growth since `before` stands for `factor` times as much."""
    return before + round((count - before) * factor)


def _cut(messages: Sequence[Message]) -> list[Message]:
    cut: list[Message] = []
    for message in messages:
        parts = message.parts
        if len(parts) <= MANY:
            cut.append(message)
        else:
            cut += [Message(message.role, parts[at : at + MANY]) for at in range(0, len(parts), MANY)]
    return cut


def _thinned(messages: Sequence[Message]) -> Crowd:
    first = _within(messages, OPENING)
    last = len(messages) - _within(reversed(messages), END)
    middle = messages[first : max(first, last)]
    whole = _weight(middle)
    stride = STRETCH * max(1, whole // MIDDLE)
    chosen = [each for at in range(0, len(middle), stride) for each in middle[at : at + STRETCH]]
    # Where weights are uneven, the stretches may hold more than their share.
    chosen = chosen[: _within(chosen, 2 * MIDDLE)]
    return Crowd(messages[:first], chosen, messages[max(first, last) :], whole / max(1, _weight(chosen)))


def _within(messages: Iterable[Message], weight: int) -> int:
    """How many messages make up the weight."""
    count = 0
    for message in messages:
        weight -= 1 + len(message.parts)
        if weight < 0:
            break
        count += 1
    return count


def _weight(messages: Sequence[Message]) -> int:
    return sum([len(message.parts) for message in messages]) + len(messages)
