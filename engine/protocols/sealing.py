"""Vendors' opaque data on its way through another vendor's client and back.

Agents replay what they got. Data that only its origin may read (a thinking's signature, the name of the
field a reasoning came in) is therefore put where the client's protocol has a place for signatures, marked
as ours, and taken out again when the client sends it back. A vendor never sees another vendor's data: an
encoder drops what is sealed for someone else, and reports it.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.core.conversation import Loss, Sealed

_MARK = "weave."
_DIRECT = {"type": "direct"}
# What says nothing of the content: accounting, and how an origin names what others name otherwise.
_MACHINERY = frozenset({"usage", "item"})


def seal(origin: str, data: Mapping[str, Any]) -> Sealed | None:
    return Sealed(origin, data) if data else None


def opened(sealed: Sealed | None, origin: str) -> Mapping[str, Any]:
    """The data for its origin; nothing for anyone else."""
    return sealed.data if sealed is not None and sealed.origin == origin else {}


def report_foreign(sealed: Sealed | None, origin: str, path: str, losses: list[Loss]) -> None:
    """Adds what `sealed` holds for someone else than `origin`; what says nothing is not reported."""
    if sealed is None or sealed.origin == origin:
        return
    for field, value in sealed.data.items():
        if field not in _MACHINERY and value != _DIRECT:  # `direct` is the ordinary way a tool is called
            losses.append(Loss(f"{path}.{field}" if path else field, f"only {sealed.origin} knows it"))


def to_signature(sealed: Sealed) -> str:
    text = wire.dumps([sealed.origin, sealed.data])
    return _MARK + urlsafe_b64encode(text).decode("ascii")


def is_ours(text: str) -> bool:
    """Whether this is what `to_signature` made, even if somebody has damaged it since: no vendor knows it."""
    return text.startswith(_MARK)


def from_signature(text: str) -> Sealed | None:
    """What `to_signature` hid; None where the text is anything else."""
    if not is_ours(text):
        return None
    try:
        origin, data = wire.loads(urlsafe_b64decode(text[len(_MARK) :]))
    except (ValueError, TypeError):
        return None
    return Sealed(origin, data) if isinstance(origin, str) and isinstance(data, dict) else None
