"""Where a session's sealed data came from, and what that asks of the next request.

A seal names the protocol its data came in, which is not enough: two providers of one protocol cannot read each
other's. So each session keeps, for each protocol it was served in, the origin (address and key) that served it last,
and how many messages the conversation had when that one took over. What is sealed in earlier messages came from
somebody else. Unlike a pin this does not end with time: the seals are in the history for as long as that is sent.
"""

from dataclasses import dataclass
from typing import Protocol

from engine.core.conversation import Loss


@dataclass(frozen=True, slots=True)
class Lineage:
    """`origin` is `Endpoint.origin`; empty where nobody holds it. What is sealed in the first `since` messages is
    not that origin's."""

    origin: str
    model: str
    since: int = 0


@dataclass(frozen=True, slots=True)
class Tie:
    """What makes a request depend on where a part of it came from. `fast`: without it nobody knows what was said, so
    nobody else may serve; otherwise another provider does without, which is reported."""

    protocol: str
    path: str
    what: str
    fast: bool = False
    stored: str = ""  # the id of a reply that is kept at its vendor

    @property
    def place(self) -> str:
        return Loss(self.path, self.what).place


class Lineages(Protocol):
    def get(self, key: str) -> Lineage | None: ...
    def put(self, key: str, lineage: Lineage) -> None: ...
