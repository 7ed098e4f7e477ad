"""What changes in a body that is otherwise forwarded byte for byte."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request, Sealed
from engine.protocols.openai_responses.repairing import repairs
from engine.protocols.sealing import to_signature

Asked = Callable[..., Request]
THOUGHT: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
HI = {"role": "user", "content": "hi"}


def test_an_ordinary_request_is_left_alone(asked: Asked, model: Model) -> None:
    request = asked(HI, {**THOUGHT, "encrypted_content": "gA"}, reasoning={"effort": "low"}, store=False)
    for model_id in ("m", "gpt-5"):
        fixes = repairs(request, model, model_id, "")
        assert (fixes.edits, fixes.removed, fixes.dropped) == ({}, (), ())
    assert repairs(asked(HI), model, "m", "").edits == {}


def test_another_vendors_thinking_does_not_reach_openai(asked: Asked, model: Model) -> None:  # W33
    foreign = {**THOUGHT, "encrypted_content": to_signature(Sealed("anthropic-messages", {"signature": "s"}))}
    fixes = repairs(asked(foreign, HI), model, "m", "")
    assert fixes.edits == {"input": [HI]}
    assert [loss.path for loss in fixes.dropped] == ["input.0"]


@pytest.mark.parametrize(("store", "stripped"), [(False, True), (True, False), (None, False)])
def test_reasoning_that_cannot_be_found_loses_its_id(  # G50
    asked: Asked, model: Model, store: bool | None, stripped: bool
) -> None:
    fixes = repairs(asked(THOUGHT, HI, store=store), model, "m", "")
    assert fixes.edits == ({"input": [{"type": "reasoning", "summary": []}, HI]} if stripped else {})


def test_a_policys_effort_is_set_beside_what_else_is_asked(asked: Asked, model: Model) -> None:
    request = asked(HI, reasoning={"effort": "low", "summary": "auto"})
    assert repairs(request, model, "m", "high").edits == {"reasoning": {"effort": "high", "summary": "auto"}}
    assert repairs(asked(HI), model, "m", "high").edits == {"reasoning": {"effort": "high"}}


def test_a_model_that_does_not_think_is_not_asked_to(asked: Asked, model: Model) -> None:
    plain = replace(model, can=frozenset({"tools"}), output_tokens=50)
    fixes = repairs(asked(HI, reasoning={"effort": "low"}, max_output_tokens=99), plain, "other", "")
    assert (fixes.edits, fixes.removed) == ({"max_output_tokens": 50}, ("reasoning",))
    assert {loss.path for loss in fixes.dropped} == {"max_output_tokens", "reasoning"}
    assert repairs(asked(HI, reasoning={"summary": "auto"}), model, "other", "").edits == {}
