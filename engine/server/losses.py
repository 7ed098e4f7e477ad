"""What did not come through as it was, told where people look: the journal and the `x-weave-dropped` header."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engine.core.conversation import Loss
from engine.server.answer import header_value

HEADER = b"x-weave-dropped"
LONGEST_HEADER = 600  # characters; proxies in between allow few kilobytes for all headers together
MOST_LOSSES = 100  # that the journal keeps of one request


def recorded(request: Sequence[Loss], reply: Sequence[Loss]) -> tuple[Loss, ...]:
    """As the journal keeps them; those of the answer stand under `reply`."""
    all_of_them = [*request, *(replace(loss, path=f"reply.{loss.path}") for loss in reply)]
    kept = tuple(replace(loss, path=loss.place) for loss in all_of_them[:MOST_LOSSES])
    more = len(all_of_them) - MOST_LOSSES
    return (*kept, Loss("...", f"and {more} more")) if more > 0 else kept


def header(request: Iterable[Loss], reply: Iterable[Loss] = ()) -> list[tuple[bytes, bytes]]:
    """The header that names what was dropped; none where nothing was."""
    places = [loss.place for loss in request if loss.fate != "converted"]
    places += [f"reply.{loss.place}" for loss in reply if loss.fate != "converted"]
    if not places:
        return []
    shown: list[str] = []
    room = LONGEST_HEADER
    for place in places:
        # A client chooses the names of its own fields; in a list they must not look like several.
        name = place.replace(",", "?")[:100]
        room -= len(name) + 2
        if room < 0:
            break
        shown.append(name)
    if len(shown) < len(places):
        shown.append(f"and {len(places) - len(shown)} more")
    return [(HEADER, header_value(", ".join(shown), LONGEST_HEADER + 20))]
