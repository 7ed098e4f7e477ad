"""What Gemini's clients ask."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.conversation import (
    Message,
    Reasoning,
    Request,
    Sealed,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.core.errors import RequestError

Ask = Callable[..., Request]
USER = {"role": "user", "parts": [{"text": "hi"}]}


def call(name: str, call_id: str = "", **args: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args} | ({"id": call_id} if call_id else {})}


def result(name: str, response: Any, call_id: str = "") -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response} | ({"id": call_id} if call_id else {})}


def test_the_model_and_the_stream_come_from_the_path(asked: Ask) -> None:
    request = asked(model="models/gemini-x", stream=True)
    assert (request.model, request.stream) == ("gemini-x", True)
    assert b"gemini-x" not in request.raw


def test_calls_without_ids_are_matched_by_name_and_order(asked: Ask) -> None:  # G29
    contents = [
        USER,
        {"role": "model", "parts": [call("a", x=1), call("b"), call("a", x=2)]},
        {"role": "user", "parts": [result("b", {"output": "B"}), result("a", {"output": "A1"}),
                                   result("a", {"output": "A2"})]},
    ]  # fmt: skip
    request = asked(*contents)
    calls = [part for part in request.messages[1].parts if isinstance(part, ToolCall)]
    results = [part for part in request.messages[2].parts if isinstance(part, ToolResult)]
    assert [r.call_id for r in results] == [calls[1].id, calls[0].id, calls[2].id]
    assert len({one.id for one in calls}) == 3
    assert asked(*contents).messages == request.messages  # the same on each request of a session


def test_an_id_decides_before_a_name(asked: Ask) -> None:
    request = asked(
        USER,
        {"role": "model", "parts": [call("a", "1"), call("a", "2")]},
        {"role": "function", "parts": [result("a", {}, "2"), result("a", {}, "1")]},
    )
    assert [part.call_id for part in request.messages[2].parts if isinstance(part, ToolResult)] == ["2", "1"]


@pytest.mark.parametrize(
    ("response", "text", "failed"),
    [({"output": "x"}, "x", False), ({"result": "x"}, "x", False), ({"error": "x"}, "x", True),
     ({"name": "a", "content": "x"}, "x", False), ({"output": {"a": 1}}, '{"a":1}', False),
     ({"a": 1, "output": "x"}, '{"a":1,"output":"x"}', False), ({}, "", False), (None, "", False),
     ([1], "[1]", False)],
)  # fmt: skip
def test_a_results_text_is_found(asked: Ask, response: Any, text: str, failed: bool) -> None:
    request = asked(
        USER, {"role": "model", "parts": [call("a")]}, {"role": "user", "parts": [result("a", response)]}
    )
    found = request.messages[2].parts[0]
    assert isinstance(found, ToolResult)
    assert found.parts == ((Text(text),) if text else ())
    assert found.is_error is failed


def test_pieces_a_client_kept_of_a_stream_are_one_message(asked: Ask) -> None:
    pieces: list[Any] = [{"text": "I ", "thought": True}, {"text": "see", "thought": True}]
    end: list[Any] = [{"text": "", "thought": True, "thoughtSignature": "S="}, {"text": "ok"}]
    contents = [{"role": "model", "parts": [part]} for part in pieces + end]
    request = asked(USER, *contents, USER)
    signed = Thinking("I see", Sealed("gemini", {"thoughtSignature": "S="}))
    assert request.messages[1] == Message("assistant", (signed, Text("ok")))


def test_tools_of_every_spelling_are_read(asked: Ask) -> None:
    schema = {"type": "object", "properties": {"a_b": {"type": "string"}}}
    google = {"type": "OBJECT", "properties": {"a_b": {"type": "STRING", "nullable": True}}}
    tools = [
        {"functionDeclarations": [{"name": "one", "description": "d", "parametersJsonSchema": schema}]},
        {"function_declarations": [{"name": "two", "parameters_json_schema": schema}]},
        {"functionDeclarations": [{"name": "three", "parameters": google}], "googleSearch": {}},
    ]
    request = asked(tools=tools)
    assert [tool.name for tool in request.tools] == ["one", "two", "three", "googleSearch"]
    assert request.tools[0] == Tool("one", "d", schema)
    assert request.tools[1].schema == schema
    assert request.tools[2].schema["properties"]["a_b"] == {"type": ["string", "null"]}
    assert request.tools[3].kind == "googleSearch"


@pytest.mark.parametrize(
    ("config", "choice", "extra"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto"), {}),
        ({"mode": "NONE"}, ToolChoice("none"), {}),
        ({"mode": "any"}, ToolChoice("any"), {}),
        ({"mode": "ANY", "allowedFunctionNames": ["a"]}, ToolChoice("tool", "a"), {}),
        ({"mode": "ANY", "allowed_function_names": ["a", "b"]}, ToolChoice("any"),
         {"allowedFunctionNames": ["a", "b"]}),
        ({"mode": "VALIDATED"}, ToolChoice("auto"), {"mode": "VALIDATED"}),
    ],
)  # fmt: skip
def test_a_tool_choice_is_read(asked: Ask, config: Any, choice: ToolChoice, extra: Any) -> None:
    tuning = asked(toolConfig={"functionCallingConfig": config}).tuning
    assert tuning.tool_choice == choice
    assert tuning.extra.get("toolConfig", {}).get("functionCallingConfig", {}) == extra


@pytest.mark.parametrize(
    ("thinking", "reasoning"),
    [
        ({"thinkingBudget": 0}, Reasoning("disabled")),
        ({"thinkingBudget": 2000, "includeThoughts": True}, Reasoning("enabled", 2000)),
        ({"thinking_budget": -1}, Reasoning("adaptive")),
        ({"includeThoughts": True}, Reasoning("adaptive")),
        ({"thinkingLevel": "HIGH"}, Reasoning(effort="high")),
        ({"thinking_level": "low", "include_thoughts": True}, Reasoning(effort="low")),
        ({}, None),
    ],
)
def test_thinking_is_read(asked: Ask, thinking: Any, reasoning: Reasoning | None) -> None:
    assert asked(generationConfig={"thinkingConfig": thinking}).tuning.reasoning == reasoning


def test_the_generation_config_is_tuning(asked: Ask) -> None:
    config = {"maxOutputTokens": 5, "temperature": 1, "top_p": 0.5, "topK": 3, "seed": 7, "candidateCount": 1,
              "stopSequences": ["x"], "responseModalities": ["TEXT"], "responseMimeType": "application/json",
              "mediaResolution": "MEDIA_RESOLUTION_LOW"}  # fmt: skip
    tuning = asked(generationConfig=config, safetySettings=[{"category": "x"}]).tuning
    assert (tuning.max_tokens, tuning.temperature, tuning.top_p, tuning.top_k, tuning.seed) == (
        5,
        1,
        0.5,
        3,
        7,
    )
    assert tuning.stop == ("x",)
    assert tuning.json_mode
    assert tuning.extra == {
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"},
        "safetySettings": [{"category": "x"}],
    }
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}
    form = asked(generationConfig={"responseMimeType": "application/json", "responseSchema": schema}).tuning
    assert form.output_schema == {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert not form.json_mode


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"contents": None}, "contents"),
        ({"contents": {}}, "contents"),
        ({"contents": ["x"]}, "contents.0"),
        ({"contents": [{"role": "pope", "parts": []}]}, "contents.0.role"),
        ({"contents": [{"role": "user", "parts": 7}]}, "contents.0.parts"),
        ({"contents": [{"role": "user", "parts": [{"text": 7}]}]}, "contents.0.parts.0.text"),
        ({"systemInstruction": 7}, "systemInstruction"),
        ({"tools": 7}, "tools"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools.0.functionDeclarations.0.name"),
        ({"generationConfig": 7}, "generationConfig"),
        ({"generationConfig": {"temperature": "hot"}}, "temperature"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "maxOutputTokens"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"model": 7}, "model"),
    ],
)
def test_a_malformed_request_names_the_field(asked: Ask, fields: Any, path: str) -> None:
    with pytest.raises(RequestError, match=f"^{re.escape(path)}: expected .*found ") as caught:
        asked(**fields)
    assert caught.value.fault.http_status == 400
