"""Documents that are text under another name: files in base64 that any model can read once they are decoded."""

from base64 import b64decode
from binascii import Error
from dataclasses import replace

from engine.core.conversation import Document

_TEXT = frozenset(
    {
        "application/json", "application/jsonl", "application/ld+json", "application/xml", "application/yaml",
        "application/x-yaml", "application/toml", "application/javascript", "application/typescript",
        "application/x-javascript", "application/x-python", "application/x-sh", "application/sql",
        "application/csv", "application/rtf", "application/x-ndjson", "application/graphql", "image/svg+xml",
    }
)  # fmt: skip


def readable(part: Document) -> Document:
    """The document with its text in words where it is a text in base64; the very object where it is not."""
    if not part.base64 or not is_text(part.media_type):
        return part
    text = decoded(part.base64)
    return part if text is None else replace(part, base64="", text=text)


def is_text(media_type: str) -> bool:
    media = media_type.partition(";")[0].strip().lower()
    return media.startswith("text/") or media in _TEXT or media.endswith(("+json", "+xml"))


def decoded(data: str) -> str | None:
    """The text that some base64 holds; None where it holds none."""
    try:
        return b64decode(data + "=" * (-len(data) % 4), validate=True).decode("utf-8-sig")
    except (Error, ValueError):
        return None
