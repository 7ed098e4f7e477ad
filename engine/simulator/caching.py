"""A vendor's prompt cache: which part of a prompt has been seen before, by each vendor's rules.

A prompt is a row of segments. The cache keeps digests of whole beginnings of prompts, with the time they were
last used. Anthropic keeps the beginnings that a client marks; OpenAI and DeepSeek keep every beginning long
enough.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from engine.simulator.models import Dialect
from engine.simulator.prompt import Segment

LOOKBACK = 20  # Anthropic looks this many blocks back from a mark for something it has kept
FIVE_MINUTES = 300.0


@dataclass(frozen=True, slots=True)
class Rules:
    """`least` tokens are worth keeping, in whole `blocks`; `marks` says clients choose what is kept."""

    marks: bool
    least: int
    blocks: int


RULES: dict[Dialect, Rules] = {
    "anthropic": Rules(marks=True, least=1_024, blocks=1),
    "openrouter": Rules(marks=True, least=1_024, blocks=1),
    "openai": Rules(marks=False, least=1_024, blocks=128),
    "google": Rules(marks=False, least=1_024, blocks=1),
    "deepseek": Rules(marks=False, least=64, blocks=64),
    "vllm": Rules(marks=False, least=16, blocks=16),
}


class PromptCache:
    """Bounded, and forgets what was not used for five minutes."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, float] = OrderedDict()

    def use(self, owner: str, segments: tuple[Segment, ...], rules: Rules, now: float) -> tuple[int, int]:
        """Tokens read from the cache and written to it by one call of an owner: a model under one key."""
        beginnings = list(_beginnings(owner, segments))
        marks = [i for i, item in enumerate(segments) if item.marked] if rules.marks else None
        last = len(segments) - 1 if marks is None else max(marks, default=-1)
        read = 0
        for index in range(last, -1, -1):
            digest, tokens = beginnings[index]
            near = marks is None or any(0 <= mark - index < LOOKBACK for mark in marks)
            if near and tokens >= rules.least and self._fresh(digest, now):
                read = tokens
                break
        written = 0
        for index in range(last + 1):
            digest, tokens = beginnings[index]
            if tokens >= rules.least and (marks is None or index in marks):
                self._keep(digest, now)
                written = max(written, tokens - read)
        return read // rules.blocks * rules.blocks, written

    def _fresh(self, digest: bytes, now: float) -> bool:
        return now - self._kept.get(digest, float("-inf")) <= FIVE_MINUTES

    def _keep(self, digest: bytes, now: float) -> None:
        self._kept[digest] = now
        self._kept.move_to_end(digest)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)


def _beginnings(owner: str, segments: tuple[Segment, ...]) -> Iterator[tuple[bytes, int]]:
    """Of each beginning of the prompt: its digest and its tokens."""
    state = blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=16)
    tokens = 0
    for item in segments:
        state.update(item.digest)
        tokens += item.tokens
        yield state.digest(), tokens
