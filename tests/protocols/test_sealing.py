"""Opaque vendor data on its way through another vendor's client."""

import pytest

from engine.core.conversation import Loss, Sealed
from engine.protocols.sealing import from_signature, opened, report_foreign, seal, to_signature


def test_a_seal_hidden_in_a_signature_comes_back_whole() -> None:
    sealed = Sealed("gemini", {"signature": "ü=", "index": 3})
    assert from_signature(to_signature(sealed)) == sealed


@pytest.mark.parametrize(
    "text", ["", "c2ln", "weave.", "weave.%%%", "weave.W10=", "weave.WzEsMl0=", "weave.e30="]
)
def test_any_other_signature_is_not_ours(text: str) -> None:
    assert from_signature(text) is None


def test_only_the_origin_opens_a_seal() -> None:
    sealed = seal("a", {"x": 1})
    assert opened(sealed, "a") == {"x": 1}
    assert opened(sealed, "b") == {}
    assert opened(None, "a") == {}
    assert seal("a", {}) is None


def test_what_is_sealed_for_others_is_reported_unless_it_says_nothing() -> None:
    losses: list[Loss] = []
    report_foreign(Sealed("a", {"x": 1, "usage": {}, "caller": {"type": "direct"}}), "b", "content.0", losses)
    assert [loss.path for loss in losses] == ["content.0.x"]
    report_foreign(Sealed("a", {"x": 1}), "a", "content.0", losses)
    assert len(losses) == 1
