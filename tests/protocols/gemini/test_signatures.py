"""Signatures through Gemini's clients and back."""

from base64 import b64decode, urlsafe_b64encode

from engine.core.conversation import Sealed, Thinking
from engine.protocols.gemini.signatures import (
    SKIP,
    is_foreign,
    is_skip,
    read_signature,
    signed_call,
    thought_signature,
)

CLAUDES = Sealed("anthropic-messages", {"signature": "abc/+=="})


def test_another_vendors_seal_survives_a_client_that_decodes_base64() -> None:  # W35
    sent = thought_signature(CLAUDES)
    assert is_foreign(sent)
    raw = b64decode(sent.replace("-", "+").replace("_", "/") + "==")
    for again in (sent, urlsafe_b64encode(raw).decode(), urlsafe_b64encode(raw).decode().rstrip("=")):
        assert read_signature(again) == CLAUDES


def test_geminis_own_signature_is_kept_as_it_is() -> None:
    sealed = read_signature("AbC+/=", "call_1")
    assert sealed == Sealed("gemini", {"thoughtSignature": "AbC+/=", "call": "call_1"})
    assert thought_signature(sealed) == "AbC+/="
    assert signed_call(Thinking("", sealed)) == "call_1"
    assert signed_call(Thinking("", CLAUDES)) is None
    assert not is_foreign("AbC+/=")


def test_the_mark_of_a_foreign_call_is_no_signature() -> None:  # G84
    assert is_skip(SKIP)
    assert read_signature(SKIP) is None
    assert read_signature("") is None
    assert read_signature("d2VhdmUu!!!") is None
