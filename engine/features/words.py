"""The user's own words: what is left of a user text when the client's blocks are taken out.

Clients write reminders, environments and command output into user messages, and change them from turn to
turn. Whatever identifies a conversation must not depend on them.
"""

from functools import cache

from engine.documents import shipped_yaml
from engine.features.markers import CLIENTS

COUNTED = 16_384  # characters of a text whose words are counted one by one


@cache
def _wrappers() -> tuple[tuple[str, str], ...]:
    return tuple((f"<{name}>", f"</{name}>") for name in shipped_yaml(CLIENTS)["wrappers"])


@cache
def _preambles() -> tuple[str, ...]:
    return tuple(shipped_yaml(CLIENTS)["preambles"])


def own_words(text: str) -> str:
    """Linear in the text. A block that is never closed reaches to the end."""
    if text.startswith(_preambles()):
        return ""
    if "<" in text:
        for opening, closing in _wrappers():
            if opening in text:
                text = _without(text, opening, closing)
    return text.strip()


def word_count(text: str) -> int:
    """Of a very long text an extrapolation from its beginning."""
    if len(text) <= COUNTED:
        return len(text.split())
    return len(text[:COUNTED].split()) * len(text) // COUNTED


def _without(text: str, opening: str, closing: str) -> str:
    kept: list[str] = []
    at = 0
    while (start := text.find(opening, at)) >= 0:
        kept.append(text[at:start])
        end = text.find(closing, start)
        if end < 0:
            return "".join(kept)
        at = end + len(closing)
    kept.append(text[at:])
    return "".join(kept)
