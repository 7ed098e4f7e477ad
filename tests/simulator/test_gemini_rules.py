"""What Google refuses, case by case."""

from typing import Any

import pytest

from engine.simulator.gemini_rules import SKIP, check, signature
from engine.simulator.models import MODELS, find
from engine.simulator.wire import Refused

USER = {"role": "user", "parts": [{"text": "hi"}]}
CALL = {"functionCall": {"name": "f", "args": {}}}
RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}


def model_turn(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def declared(**parameters: Any) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": "f", "parameters": parameters}]}]}


def judged(model: str, fields: dict[str, Any]) -> str:
    found = find(MODELS, "google", model)
    assert found is not None
    try:
        check({"contents": [USER], **fields}, found)
    except Refused as refused:
        return refused.message
    return ""


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model": "x"}, 'Unknown name "model"'),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"contents": [{"parts": [{}]}]}, "one initialized field"),
        ({"contents": [{"parts": [{"text": "a", "thoughtSignature": "not base64!"}]}]}, "Base64"),
        ({"contents": [model_turn({"text": "x"})]}, "starts with a user turn"),
        ({"contents": [USER, model_turn(CALL), USER]}, "number of function response parts"),
        ({"contents": [USER, RESULT]}, "immediately after a function call"),
        (
            declared(type="object", properties={"a": {"type": "integer", "exclusiveMinimum": 0}}),
            "exclusiveMinimum",
        ),
        (declared(type="object", **{"$schema": "x"}), "$schema"),
        (declared(type="object", properties={"a": {"type": "array"}}), "items: missing field"),
        (declared(type="object", properties={"a": {"type": "integer", "enum": [7]}}), "TYPE_STRING"),
        (declared(type="object", properties={"a": {}}), "type field"),
        (declared(type="object", properties={"a": {"type": ["string", "null"]}}), "type field"),
        (declared(type="object", properties={"a": {"type": "string", "format": "uri"}}), "format"),
        (declared(type="object", required=["a"]), "not defined"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}}, "level is not supported"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "thinkingBudget": 1}}}, "only one"),
        ({"generationConfig": {"maxOutputTokens": 10**9}}, "max_output_tokens"),
        ({"generationConfig": {"stopSequences": ["a"] * 6}}, "at most 5"),
    ],
)
def test_a_fault_is_named(fields: dict[str, Any], why: str) -> None:
    assert why in judged("gemini-2.5-flash", fields)


def test_a_newer_model_wants_its_calls_signed() -> None:
    for given, why in (
        ({}, "missing a thought_signature"), ({"thoughtSignature": "AAAA"}, "not valid"),
        ({"thoughtSignature": SKIP}, ""), ({"thoughtSignature": signature("x")}, ""),
    ):  # fmt: skip
        history = [USER, model_turn(CALL | given), RESULT]
        assert why in judged("gemini-3-flash-preview", {"contents": history})
        assert judged("gemini-2.5-flash", {"contents": history}) == ""
    earlier = [USER, model_turn(CALL), RESULT, model_turn({"text": "ok"}), USER]
    assert judged("gemini-3-flash-preview", {"contents": earlier}) == ""


def test_both_spellings_are_taken() -> None:
    fields = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"$schema": "x"}}]}],
        "generation_config": {"max_output_tokens": 5},
    }
    assert judged("gemini-2.5-flash", fields) == ""
