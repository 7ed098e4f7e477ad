"""Thought signatures: how Gemini's travel through other clients, and other vendors' through Gemini's.

Gemini signs parts: a thought, a text, and above all a call, which newer models take back only signed. No other
protocol has a place for a signature on a call or a text, but each has one on a thinking. So in the canonical
form a signature that is not on a thought stands in a `Thinking` without text right behind its text or before
its call, and names the call it belongs to; every client carries it as it carries any thinking. On the way back
each call gets its own signature again, and a message whose calls have none is given the value that Google
documents for calls that another model made.

Gemini's clients take a signature for base64 and may decode and encode it again, so what is sealed for another
vendor is base64 once more.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error

from engine.core.conversation import Sealed, Thinking
from engine.protocols.sealing import from_signature, opened, to_signature

ORIGIN = "gemini"

# https://ai.google.dev/gemini-api/docs/thought-signatures: for calls that Gemini did not make.
SKIP = "skip_thought_signature_validator"
_SKIPS = frozenset({SKIP, urlsafe_b64encode(SKIP.encode()).decode(), "context_engineering_is_the_way_to_go"})
_OURS = "d2VhdmUu"  # base64 of the mark that `to_signature` begins with
_STANDARD = str.maketrans("+/", "-_")


def is_skip(signature: str) -> bool:
    return signature in _SKIPS


def thought_signature(sealed: Sealed) -> str:
    """What to send a Gemini client, so that it gives the sealed data back."""
    own = opened(sealed, ORIGIN)
    if own:
        return str(own.get("thoughtSignature", ""))
    return urlsafe_b64encode(to_signature(sealed).encode()).decode()


def read_signature(signature: str, call_id: str = "") -> Sealed | None:
    """The seal behind a signature; None where it says nothing. `call_id` is the call's that it stands on."""
    if not signature or is_skip(signature):
        return None
    if signature.startswith(_OURS):
        try:
            text = urlsafe_b64decode(signature.translate(_STANDARD) + "==").decode()
        except (Error, ValueError):
            return None
        return from_signature(text)
    data = {"thoughtSignature": signature}
    return Sealed(ORIGIN, data | {"call": call_id} if call_id else data)


def is_foreign(signature: object) -> bool:
    """Whether a signature holds another vendor's data, which Gemini would refuse."""
    return isinstance(signature, str) and signature.startswith(_OURS)


def signed_call(thinking: Thinking) -> str | None:
    """The id of the call whose signature this stands for; None where it is a thinking of its own."""
    call = opened(thinking.sealed, ORIGIN).get("call")
    return call if isinstance(call, str) else None
