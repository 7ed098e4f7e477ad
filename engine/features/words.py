"""The user's own words: what is left of a user text when the client's blocks are taken out.

Clients write reminders, environments and command output into user messages, and change them from turn to
turn. Whatever identifies a conversation must not depend on them.
"""

import re
from functools import cache

from engine.documents import shipped_yaml
from engine.features.markers import CLIENTS

COUNTED = 4_096  # characters of a text whose words are counted one by one
SCANNED = 16_384  # characters up to which one expression looks for all blocks at once


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
    if "<" in text and _may_hold_blocks(text):
        for opening, closing in _wrappers():
            if opening in text:
                text = _without(text, opening, closing)
    return text.strip()


def _may_hold_blocks(text: str) -> bool:
    """Most texts with a `<` hold code. Long ones are not asked: nothing but `<` would keep an expression busy."""
    return len(text) > SCANNED or _any_opening().search(text) is not None


@cache
def _any_opening() -> re.Pattern[str]:
    return re.compile("|".join(re.escape(opening) for opening, _ in _wrappers()))


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
