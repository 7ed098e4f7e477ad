"""Requests for a Gemini provider."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request
from engine.protocols.shape import Encoded

Ask = Callable[..., Request]
Write = Callable[..., Encoded]
SKIP = "skip_thought_signature_validator"
OLD = "gemini-2.0-flash"
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


def use(name: str, call_id: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def answer(call_id: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call_id, "content": content} | fields],
    }


def looped(*blocks: Any, content: Any = "ok", **fields: Any) -> tuple[Any, ...]:
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = [answer(call_id, content, **fields)["content"][0] for call_id in ids]
    return (
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": list(blocks)},
        {"role": "user", "content": results},
    )


def losses(encoded: Encoded) -> set[str]:
    return {loss.path for loss in encoded.dropped}


def test_a_conversation_begins_with_the_user(claude: Ask, to_gemini: Write) -> None:  # G86
    said = {"role": "assistant", "content": "hello"}
    body = to_gemini(claude(said, {"role": "user", "content": "hi"})).body
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert to_gemini(claude(messages=[])).body["contents"] == [
        {"role": "user", "parts": [{"text": "Continue."}]}
    ]


def test_the_model_is_in_the_path_and_not_in_the_body(claude: Ask, to_gemini: Write) -> None:
    body = to_gemini(claude(stream=True)).body
    assert body.keys() == {"contents", "generationConfig"}


def test_system_texts_keep_their_places(claude: Ask, to_gemini: Write) -> None:  # G60, G61
    messages = [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    blocks = [
        {"type": "text", "text": "s1"},
        {"type": "text", "text": "s2", "cache_control": {"type": "ephemeral"}},
    ]
    encoded = to_gemini(claude(*messages, system=blocks))
    assert encoded.body["systemInstruction"] == {"parts": [{"text": "s1"}, {"text": "s2"}]}
    said = [part["text"] for content in encoded.body["contents"] for part in content["parts"]]
    assert said == ["a", "<system>\nb\n</system>", "c"]
    assert losses(encoded) == {"system.1.cache_control"}


def test_results_come_first_and_carry_the_name_of_their_call(claude: Ask, to_gemini: Write) -> None:  # G55
    messages = looped(use("a", "1", x=1), use("b", "2"))
    messages[2]["content"] = [{"type": "text", "text": "and"}, *reversed(messages[2]["content"])]
    body = to_gemini(claude(*messages)).body
    calls = [part["functionCall"] for part in body["contents"][1]["parts"]]
    assert calls == [{"name": "a", "args": {"x": 1}, "id": "1"}, {"name": "b", "args": {}, "id": "2"}]
    *results, text = body["contents"][2]["parts"]
    assert [(r["functionResponse"]["name"], r["functionResponse"]["id"]) for r in results] == [
        ("b", "2"),
        ("a", "1"),
    ]
    assert results[0]["functionResponse"]["response"] == {"output": "ok"}
    assert text == {"text": "and"}


def test_a_failure_is_an_error(claude: Ask, to_gemini: Write) -> None:
    for content, told in (("no such file", "no such file"), ("", "The tool failed.")):
        body = to_gemini(claude(*looped(use("a", "1"), content=content, is_error=True))).body
        assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"error": told}


def test_a_picture_in_a_result_is_carried(claude: Ask, to_gemini: Write) -> None:  # G58, W29
    request = claude(*looped(use("look", "1"), content=[{"type": "text", "text": "see"}, PNG]))
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    (result,) = to_gemini(request).body["contents"][2]["parts"]
    assert result["functionResponse"]["parts"] == [picture]
    result, note, beside = to_gemini(request, OLD).body["contents"][2]["parts"]
    assert "parts" not in result["functionResponse"]
    assert "look" in note["text"]
    assert beside == picture


def test_a_call_of_another_model_is_marked_where_signatures_are_wanted(
    claude: Ask, to_gemini: Write
) -> None:  # G84
    request = claude(*looped(use("a", "1"), use("b", "2")))
    parts = to_gemini(request).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [SKIP, SKIP]
    parts = to_gemini(request, "gemini-2.5-flash").body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, None]


def test_each_call_keeps_its_own_signature(asked: Ask, to_gemini: Write) -> None:  # G84
    def call(name: str, signature: str = "") -> dict[str, Any]:
        part: dict[str, Any] = {"functionCall": {"name": name, "id": name}}
        return part | ({"thoughtSignature": signature} if signature else {})

    parts = [{"text": "t", "thoughtSignature": "T="}, call("a", "A="), call("b"), call("c", "C=")]
    results = [{"functionResponse": {"name": name, "id": name, "response": {}}} for name in "abc"]
    user = {"role": "user", "parts": [{"text": "hi"}]}
    request = asked(user, {"role": "model", "parts": parts}, {"role": "user", "parts": results})
    written = to_gemini(request).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in written] == ["T=", "A=", None, "C="]


def test_anothers_thinking_stays_behind_and_is_reported(claude: Ask, to_gemini: Write) -> None:  # G64, W36
    thinking = {"type": "thinking", "thinking": "hm", "signature": "claude's"}
    encoded = to_gemini(claude(*looped(thinking, use("a", "1"))))
    assert "claude's" not in str(encoded.body)
    assert losses(encoded) == {"messages.1.content.0"}


def test_tools_lose_what_would_be_refused(claude: Ask, to_gemini: Write) -> None:  # G87, W1, W2
    schema = {"$schema": "x", "type": "object", "additionalProperties": False,
              "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}, "const": {"type": "string"}}}  # fmt: skip
    tools = [
        {"name": "a", "description": "d", "input_schema": schema},
        {"name": "b", "input_schema": {"type": "object"}},
    ]
    body = to_gemini(claude(tools=tools)).body
    first, second = body["tools"][0]["functionDeclarations"]
    fields = {"n": {"type": "integer", "minimum": 1}, "const": {"type": "string"}}
    assert first == {"name": "a", "description": "d", "parameters": {"type": "object", "properties": fields}}
    assert second == {"name": "b"}


def test_hosted_tools_of_others_are_reported(claude: Ask, to_gemini: Write) -> None:
    encoded = to_gemini(claude(tools=[{"type": "web_search_20250305", "name": "web_search"}]))
    assert "tools" not in encoded.body
    assert losses(encoded) == {"tools.0"}


@pytest.mark.parametrize(
    ("choice", "calling", "lost"),
    [
        ({"type": "auto"}, {"mode": "AUTO"}, set()),
        ({"type": "any"}, {"mode": "ANY"}, set()),
        ({"type": "none"}, {"mode": "NONE"}, set()),
        ({"type": "tool", "name": "a"}, {"mode": "ANY", "allowedFunctionNames": ["a"]}, set()),
        ({"type": "tool", "name": "gone"}, {"mode": "AUTO"}, {"tool_choice"}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"mode": "AUTO"}, {"parallel_tools"}),
    ],
)
def test_a_tool_choice_is_written(
    claude: Ask, to_gemini: Write, choice: Any, calling: Any, lost: set[str]
) -> None:  # G88
    encoded = to_gemini(claude(tools=[{"name": "a", "input_schema": {}}], tool_choice=choice))
    assert encoded.body["toolConfig"] == {"functionCallingConfig": calling}
    assert losses(encoded) == lost


def test_a_tool_choice_without_tools_is_left_out(claude: Ask, to_gemini: Write) -> None:  # G89
    encoded = to_gemini(claude(tool_choice={"type": "any"}))
    assert "toolConfig" not in encoded.body
    assert losses(encoded) == {"tool_choice"}


def test_a_form_and_tools_together_are_for_newer_models(claude: Ask, to_gemini: Write) -> None:
    schema = {"type": "object", "properties": {"a": {"const": "x"}}}
    form = {"format": {"type": "json_schema", "schema": schema}}
    request = claude(output_config=form, tools=[{"name": "a", "input_schema": {}}])
    config = to_gemini(request).body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseSchema"]["properties"] == {"a": {"type": "string", "enum": ["x"]}}
    encoded = to_gemini(request, "gemini-2.5-flash")
    assert "responseSchema" not in encoded.body["generationConfig"]
    assert losses(encoded) == {"output_schema"}


def test_limits_are_kept_and_what_has_no_place_is_reported(
    claude: Ask, to_gemini: Write, model: Model
) -> None:
    stops = ["a", "b", "c", "d", "e", "f"]
    request = claude(
        stop_sequences=stops, metadata={"user_id": "u"}, max_tokens=90_000, top_k=3, temperature=0.5
    )
    encoded = to_gemini(request, OLD, replace(model, output_tokens=8_000))
    assert encoded.body["generationConfig"] == {
        "maxOutputTokens": 8_000, "temperature": 0.5, "topK": 3, "stopSequences": stops[:5],
    }  # fmt: skip
    assert losses(encoded) == {"stop", "user", "max_tokens"}
