"""How many tokens a request has, about, without a tokenizer.

Tokenizers differ by a third between vendors, and running one takes milliseconds; deciding needs the size,
not the count. Text is weighed by what it is made of: letters come about five to a token in prose,
punctuation and digits two or less, ideographs one. Long texts are weighed by three samples, short ones
together, so the work is bounded by the number of texts, not by their length. What is no text has its own
price: images by the piece, documents by size, base64 not at all.

The rates were fitted to providers' reported usage; `tests/features/test_tokens.py` measures the error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine import wire
from engine.core.conversation import Document, Tool

SHORT = 512  # texts up to here are weighed whole, all together
MIDDLING = 8_192  # and up to here by an eighth from their middle, all together
SAMPLE = 256  # longer ones by three samples, each by itself
PIECES, PIECE = 8, 512  # of texts weighed together, how much is weighed when they are long

TOOLS = 500  # offered ones that are weighed; further ones count as these do

PROSE_LETTERS = 0.205  # tokens for each letter or space
CODE_LETTERS = 0.25
CODE_SIGNS = 0.13  # the share of punctuation and digits from which text counts as code or JSON
SIGNS = 0.55  # for each punctuation mark or digit
INDENT = 0.08  # for each space of an indentation
ACCENTED = 0.5  # for each letter that is not ASCII: accents, Cyrillic, Greek, Arabic
IDEOGRAPH = 0.95  # for each character of three bytes or more: Chinese, Japanese, Korean, emoji
UNBROKEN = 0.55  # for each character of text without spaces: base64, minified code

IMAGE = 1_600
PDF_BASE64 = 0.02  # tokens for each base64 character: a page of 100 KB comes at about 2,000
REMOTE_DOCUMENT = 2_000  # one we cannot see

MESSAGE = 4
CALL = 12
REQUEST = 6


@dataclass(frozen=True, slots=True)
class ToolRates:
    """Vendors write tools into the prompt each in their own way: `once` is what comes with the first tool, `each`
    with every one, `member` with every key of a schema, `answer` with a schema for the answer."""

    once: float
    each: float
    member: float
    answer: float


# Anthropic adds a page of instructions and keeps the JSON; OpenAI rewrites schemas as terse type declarations.
ANTHROPIC = ToolRates(once=440, each=20, member=2.0, answer=150)
ELSEWHERE = ToolRates(once=35, each=5, member=0.5, answer=0)

LETTERS = bytes(range(65, 91)) + bytes(range(97, 123)) + b" \n\t\r"


def text_tokens(text: str) -> float:
    """Of one text, whatever its length, in constant time."""
    length = len(text)
    if length <= 3 * SAMPLE:
        return _rate(text) * length
    middle = length // 2
    sample = text[:SAMPLE] + text[middle : middle + SAMPLE] + text[-SAMPLE:]
    return _rate(sample) * length


# Schemas longer than this together are not remembered, and longer than that are not walked.
REMEMBERED_BYTES = 256 * 1024
WALKED_BYTES = 512 * 1024


class Ruler:
    """Adds up a request's tokens. A walk puts the texts it meets into `texts`; they are weighed at the end."""

    __slots__ = ("_rates", "_tokens", "texts")

    def __init__(self, protocol: str) -> None:
        self._rates = ANTHROPIC if protocol == "anthropic-messages" else ELSEWHERE
        self._tokens = 0.0
        self.texts: list[str] = []

    def add(self, tokens: float) -> None:
        self._tokens += tokens

    def document(self, document: Document) -> None:
        if document.text:
            self.texts.append(document.text)
        elif document.base64:
            self._tokens += PDF_BASE64 * len(document.base64)
        else:
            self._tokens += REMOTE_DOCUMENT

    def tools(self, tools: Sequence[Tool]) -> None:
        if tools:
            self._tokens += self._rates.once + self._rates.each * len(tools)
        weighed, before = tools[:TOOLS], self._tokens
        for tool in weighed:
            self.texts += (tool.name, tool.description)
        self._schemas([tool.schema for tool in weighed])
        if len(tools) > TOOLS:
            self._tokens += (self._tokens - before) * (len(tools) / TOOLS - 1)
            self.stretch(len(self.texts) - 2 * TOOLS, len(tools) / TOOLS)

    def answer(self, schema: Mapping[str, Any]) -> None:
        self._tokens += self._rates.answer
        self._schemas([schema])

    def _schemas(self, schemas: Sequence[Mapping[str, Any]]) -> None:
        members, characters = _extent(schemas)
        self._tokens += members * self._rates.member + characters * PROSE_LETTERS

    def stretch(self, since: int, factor: float) -> None:
        """The texts from `since` on stand for `factor` times as many."""
        self._tokens += (factor - 1) * _weigh(self.texts[since:])

    def total(self) -> int:
        return round(self._tokens + _weigh(self.texts))


def _weigh(texts: Sequence[str]) -> float:
    tokens = 0.0
    short: list[str] = []
    middling: list[str] = []
    middling_length = 0
    for text in texts:
        length = len(text)
        if length <= SHORT:
            short.append(text)
        elif length <= MIDDLING:
            middle = length >> 1
            middling.append(text[middle : middle + (length >> 3)])
            middling_length += length
        else:
            tokens += text_tokens(text)
    shorts = "".join(short)
    return tokens + _pooled_rate(shorts) * len(shorts) + _pooled_rate("".join(middling)) * middling_length


def _pooled_rate(pool: str) -> float:
    if len(pool) <= PIECES * PIECE:
        return _rate(pool)
    stride = len(pool) // PIECES
    return _rate("".join([pool[at : at + PIECE] for at in range(0, PIECES * stride, stride)]))


def _rate(sample: str) -> float:
    """Tokens for each character."""
    if not sample:
        return 0.0
    ascii_bytes = sample.encode("ascii", "ignore")
    plain = len(ascii_bytes)
    signs = len(ascii_bytes.translate(None, LETTERS))
    indent = 2 * ascii_bytes.count(b"  ")
    tokens = signs * SIGNS + indent * INDENT
    letters = plain - signs - indent
    if plain >= SAMPLE and not (b" " in ascii_bytes or b"\n" in ascii_bytes):
        return UNBROKEN
    tokens += letters * (CODE_LETTERS if signs > CODE_SIGNS * plain else PROSE_LETTERS)
    if plain < len(sample):
        tokens += _foreign_tokens(sample, plain)
    return tokens / len(sample)


def _foreign_tokens(sample: str, plain: int) -> float:
    """UTF-8 tells scripts apart by the bytes a character takes: two for alphabets, three for ideographs."""
    foreign = len(sample) - plain
    beyond_first = len(sample.encode("utf-8", "replace")) - plain - foreign
    ideographs = min(max(beyond_first - foreign, 0), foreign)
    return ideographs * IDEOGRAPH + (foreign - ideographs) * ACCENTED


def _extent(schemas: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many members schemas have, and how long their texts are. A client sends the same tools with every turn, and
    writing their schemas to look them up costs a tenth of walking them."""
    try:
        text = wire.dumps(schemas)
    except ValueError:
        return _walked(schemas)
    if len(text) <= REMEMBERED_BYTES:
        return _extent_of(text)
    if len(text) <= WALKED_BYTES:
        return _walked(schemas)
    return text.count(b'":'), len(text) // 2


@lru_cache(maxsize=64)
def _extent_of(text: bytes) -> tuple[int, int]:
    return _walked(wire.loads(text))


def _walked(schemas: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Not recursive: schemas come from clients."""
    members = characters = 0
    waiting: list[Any] = [schema.values() for schema in schemas]
    while waiting:
        inside = waiting.pop()
        members += len(inside)
        for held in inside:
            kind = held.__class__
            if kind is str:
                characters += len(held)
            elif kind is dict:
                waiting.append(held.values())
            elif kind is list:
                waiting.append(held)
    return members, characters
