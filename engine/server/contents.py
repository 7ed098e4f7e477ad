"""What is kept of the words themselves, where a policy asks for it with `record`; nothing where it does not.

    hashed   a keyed hash of what the user said last and of each message: the same text has the same hash, and nobody
             reads it back
    full     what the user said last and what was replied, as far as they go, without what looks like a secret

It goes into a table of its own, with a time of its own after which it is forgotten (`retention: {contents: 7d}`). The
key of the hashes is the environment's `WEAVE_RECORD_SECRET`, or else one that the journal makes for itself, which
keeps hashes of two journals apart but is no secret to who has the journal.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from engine import wire
from engine.core.conversation import Message, Request, Text
from engine.core.errors import WeaveError
from engine.core.stream import Event, PartGrew, PartOpened
from engine.protocols.shape import Protocol

SECRET = "WEAVE_RECORD_SECRET"  # noqa: S105 - the name of the variable

MOST_CHARACTERS = 16_000  # of either text
MOST_MESSAGES = 500  # of a conversation, the newest

# What vendors' and common keys look like, and what stands where one was.
LOOKS_SECRET = re.compile(
    r"\b(?:"
    r"(?:sk|rk|pk|wk|xai|gsk|fw|hf|key|glpat|npm|pypi)[-_][A-Za-z0-9_\-]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{30,}|xox[abeprs]-[A-Za-z0-9\-]{10,}"
    r"|eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]*"
    r")"
    r"|(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=\-]{12,}"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
)
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one decision. Hashes and texts are empty where they are not kept."""

    decision: str
    at: float
    user_hash: str = ""
    message_hashes: tuple[str, ...] = ()
    user_text: str = ""
    reply_text: str = ""


def contents(
    kind: Literal["hashed", "full"], key: bytes, decision: str, at: float, request: Request, reply: str
) -> Contents:
    """`reply` is the text of the answer, of which nothing is kept unless all is."""
    said = _said(request.messages)
    match kind:
        case "hashed":
            newest = request.messages[-MOST_MESSAGES:]
            hashes = tuple(hashed(f"{one.role}\0{_whole(one)}", key) for one in newest)
            return Contents(decision, at, hashed(said, key) if said else "", hashes)
        case "full":
            return Contents(decision, at, user_text=_kept(said), reply_text=_kept(reply))
        case _ as never:
            assert_never(never)


def hashed(text: str, key: bytes) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=key[:64], digest_size=12).hexdigest()


def without_secrets(text: str) -> str:
    return LOOKS_SECRET.sub(REDACTED, text)


def reply_text(protocol: Protocol, copied: bytes, *, streamed: bool) -> str:
    """The words of an answer as its client was handed it, or of its beginning."""
    if streamed:
        return _streamed(protocol.event_reader().feed(copied))
    try:
        reply = protocol.read_reply(wire.loads(copied))
    except (ValueError, WeaveError):  # cut off, or an error
        return ""
    return "\n".join(part.text for part in reply.parts if isinstance(part, Text))


def _streamed(events: Iterable[Event]) -> str:
    texts: dict[int, str] = {}
    for event in events:
        if isinstance(event, PartOpened) and isinstance(event.part, Text):
            texts[event.index] = event.part.text
        elif isinstance(event, PartGrew) and event.index in texts:
            texts[event.index] += event.text
    return "\n".join(texts.values())


def _said(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        texts = [part.text for part in message.parts if isinstance(part, Text)]
        if message.role == "user" and texts:
            return "\n".join(texts)
    return ""


def _whole(message: Message) -> str:
    return "\n".join(part.text if isinstance(part, Text) else repr(part) for part in message.parts)


def _kept(text: str) -> str:
    """Cut after it was cleaned, so that half a key does not pass for none."""
    return without_secrets(text[: 2 * MOST_CHARACTERS])[:MOST_CHARACTERS]
