"""Gemini's own requests on their way to a Gemini model."""

from collections.abc import Callable
from typing import Any

import orjson

from engine.core.catalog import Model
from engine.core.conversation import Request, Sealed
from engine.protocols import PROTOCOLS
from engine.protocols.gemini.signatures import thought_signature
from engine.protocols.outbound import Outbound, outbound

Ask = Callable[..., Request]
GEMINI = PROTOCOLS["gemini"]
THREE = "gemini-3-flash-preview"
FOREIGN = thought_signature(Sealed("anthropic-messages", {"signature": "s"}))
USER = {"role": "user", "parts": [{"text": "hi"}]}
RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}


def turn(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def call(**fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": "f", "args": {}}, **fields}


def sent(out: Outbound) -> Any:
    return orjson.loads(out.body)


def test_to_the_model_asked_for_go_the_very_bytes(asked: Ask, model: Model) -> None:
    request = asked(USER, turn(call()), RESULT, generationConfig={"thinkingConfig": {"thinkingLevel": "low"}})
    assert outbound(request, GEMINI, model, request.model, "") == Outbound(request.raw)


def test_another_name_changes_nothing_in_the_body(asked: Ask, model: Model) -> None:
    request = asked(model="weave")
    assert outbound(request, GEMINI, model, THREE, "") == Outbound(request.raw)


def test_what_others_sealed_leaves_the_history(asked: Ask, model: Model) -> None:  # W36
    thought = {"text": "hm", "thought": True, "thoughtSignature": FOREIGN}
    request = asked(USER, turn(thought, {"text": "ok"}, call()), RESULT)
    out = outbound(request, GEMINI, model, request.model, "")
    assert sent(out)["contents"][1]["parts"] == [
        {"text": "ok"},
        call(thoughtSignature="skip_thought_signature_validator"),
    ]
    assert (out.edits, [loss.path for loss in out.losses]) == (("contents",), ["contents.1.parts.0"])
    old = outbound(request, GEMINI, model, "gemini-2.0-flash", "")
    assert sent(old)["contents"][1]["parts"] == [{"text": "ok"}, call()]


def test_calls_of_an_older_model_are_marked_for_a_newer_one(asked: Ask, model: Model) -> None:  # G84
    request = asked(USER, turn(call(), call()), RESULT, turn(call(thoughtSignature="S="), call()), RESULT,
                    model="gemini-2.5-pro")  # fmt: skip
    contents = sent(outbound(request, GEMINI, model, THREE, ""))["contents"]
    signatures = [[part.get("thoughtSignature") for part in content["parts"]] for content in contents]
    skip = "skip_thought_signature_validator"
    assert signatures == [[None], [skip, skip], [None], ["S=", None], [None]]


def test_a_level_becomes_a_budget_for_an_older_model(asked: Ask, model: Model) -> None:  # W39
    config = {"thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": False}, "topP": 0.5}
    request = asked(generationConfig=config)
    out = outbound(request, GEMINI, model, "gemini-2.5-flash", "")
    assert sent(out)["generationConfig"] == {
        "thinkingConfig": {"thinkingBudget": 24_576, "includeThoughts": False},
        "topP": 0.5,
    }
    snake = asked(generation_config={"thinking_config": {"thinking_budget": 100}}, model="gemini-2.5-flash")
    body = sent(outbound(snake, GEMINI, model, THREE, ""))
    assert body["generation_config"] == {"thinkingConfig": {"thinkingLevel": "minimal"}}


def test_a_policys_effort_is_set(asked: Ask, model: Model) -> None:
    body = sent(outbound(asked(), GEMINI, model, THREE, "low"))
    assert body["generationConfig"] == {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}}
