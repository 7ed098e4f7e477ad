"""The words of a request, as the numbers of hash buckets.

What is kept of a text are these numbers alone: many words share each bucket, so the text cannot be read back.
"""

import re
import zlib
from itertools import pairwise

BUCKETS = 1 << 16
LONGEST_TEXT = 4_000  # characters that are looked at; what is asked for is said early
MOST_GRAMS = 256

_WORD = re.compile(r"[^\W_]+")


def grams_of(text: str) -> tuple[int, ...]:
    """The buckets of the first words of a text and of their pairs, each once, in order."""
    words = [word.lower() for word in _WORD.findall(text[:LONGEST_TEXT])[: MOST_GRAMS // 2]]
    pairs = (f"{first} {second}" for first, second in pairwise(words))
    return tuple(sorted({zlib.crc32(gram.encode()) % BUCKETS for gram in (*words, *pairs)}))
