"""How many tokens a request has, about, without a tokenizer.

Tokenizers differ by a third between vendors, and running one takes milliseconds; deciding needs the size,
not the count. Text is weighed by what it is made of: letters come about five to a token in prose,
punctuation and digits two or less, ideographs one. Long texts are weighed by three samples, short ones
together, so the work is bounded by the number of texts, not by their length. What is no text has its own
price: images by the piece, documents by size, base64 not at all.

The rates were fitted to providers' reported usage; `tests/features/test_tokens.py` measures the error.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Document, Tool

SHORT = 640  # texts up to here are weighed together
SAMPLE = 224
POOLED = 65_536  # of the short texts, how much is weighed

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
TOOL = 24
TOOLS = {"anthropic-messages": 430}  # what a vendor adds as soon as there are tools
TOOLS_ELSEWHERE = 12
REQUEST = 6

LETTERS = bytes(range(65, 91)) + bytes(range(97, 123)) + b" \n\t\r"


def text_tokens(text: str) -> float:
    """Of one text, whatever its length, in constant time."""
    length = len(text)
    if length <= 4 * SAMPLE:
        return _rate(text) * length
    middle = length // 2
    sample = text[:SAMPLE] + text[middle : middle + SAMPLE] + text[-SAMPLE:]
    return _rate(sample) * length


class Ruler:
    """Adds up a request's tokens as a walk meets its texts."""

    __slots__ = ("_short", "_tokens")

    def __init__(self) -> None:
        self._tokens = 0.0
        self._short: list[str] = []

    def text(self, text: str) -> None:
        if len(text) <= SHORT:
            self._short.append(text)
        else:
            self._tokens += text_tokens(text)

    def add(self, tokens: float) -> None:
        self._tokens += tokens

    def document(self, document: Document) -> None:
        if document.text:
            self.text(document.text)
        elif document.base64:
            self._tokens += PDF_BASE64 * len(document.base64)
        else:
            self._tokens += REMOTE_DOCUMENT

    def tool(self, tool: Tool) -> None:
        self._tokens += TOOL
        self.text(tool.name)
        self.text(tool.description)
        self._tokens += _schema_characters(tool.schema) * CODE_LETTERS

    def total(self) -> int:
        joined = "".join(self._short)
        weighed = joined[:POOLED]
        short = _rate(weighed) * len(joined) if joined else 0.0
        return round(self._tokens + short)


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


def _schema_characters(schema: Mapping[str, Any]) -> int:
    """About the length of the schema's JSON, without writing it. Not recursive: schemas come from clients."""
    total = 0
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if value.__class__ is str:
            total += len(value) + 3
        elif value.__class__ is dict:
            for key, held in value.items():
                total += len(key) + 4
                if held.__class__ is str:
                    total += len(held) + 3
                else:
                    waiting.append(held)
        elif value.__class__ is list:
            total += 2
            waiting.extend(value)
        else:
            total += 5
    return total
