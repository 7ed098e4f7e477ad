"""A conversation of any client, written for a Responses provider."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import (
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Request,
    Sealed,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Tuning,
)
from engine.core.errors import RequestError
from engine.protocols import PROTOCOLS
from engine.protocols.openai_responses.writing import write_request

RESPONSES = PROTOCOLS["openai-responses"]
Written = Callable[..., tuple[dict[str, Any], list[str]]]


@pytest.fixture
def write(model: Model) -> Written:
    """The body for a provider, and the paths of what was left out."""

    def write(
        *messages: Message, model_id: str = "gpt-4.1", **fields: Any
    ) -> tuple[dict[str, Any], list[str]]:
        tuning = Tuning(**fields.pop("tuning", {}))
        request = Request("anthropic-messages", "m", (), messages, (), tuning, False, b"", {})
        encoded = write_request(replace(request, **fields), model, model_id)
        return dict(encoded.body), [loss.path for loss in encoded.dropped]

    return write


def test_one_system_text_is_the_instructions_and_several_stay_apart(write: Written) -> None:  # G60
    assert write(system=(Text("a"),))[0]["instructions"] == "a"
    body, dropped = write(system=(Text("a", {"type": "ephemeral"}), Text("b")))
    assert [part["text"] for part in body["input"][0]["content"]] == ["a", "b"]
    assert body["input"][0]["role"] == "developer"
    assert dropped == ["system.0.cache_control"]


def test_a_turn_becomes_items_in_its_order(write: Written) -> None:
    ours = Sealed("openai-responses", {"id": "rs_1", "encrypted_content": "gA"})
    said = (
        Thinking("why", ours),
        Text("I look."),
        Text(" Now."),
        ToolCall("a", "f", "{}"),
        ToolCall("b", "g", "{}"),
    )
    body, dropped = write(
        Message("assistant", said),
        Message("user", (ToolResult("b", (Text("2"),)), Text("and?"), ToolResult("a", ()))),
    )
    assert body["input"] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "why"}],
            "id": "rs_1",
            "encrypted_content": "gA",
        },
        {"type": "message", "role": "assistant", "content": "I look. Now."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
        {"type": "function_call_output", "call_id": "a", "output": ""},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and?"}]},
    ]
    assert dropped == []


def test_nothing_is_stored_so_reasoning_is_asked_for_encrypted(write: Written) -> None:
    body, _ = write(Message("user", (Text("hi"),)))
    assert (body["store"], body["include"]) == (False, ["reasoning.encrypted_content"])


def test_what_other_vendors_thought_stays_behind(write: Written) -> None:  # W33, G50
    foreign = Thinking("x", Sealed("anthropic-messages", {"signature": "s"}))
    stored = Thinking("y", Sealed("openai-responses", {"id": "rs_1"}))
    body, dropped = write(Message("assistant", (foreign, stored, Text("a"))))
    assert [item["type"] for item in body["input"]] == ["message"]
    assert dropped == ["messages.0.content.0", "messages.0.content.1"]


def test_an_output_holds_pictures_and_files(write: Written) -> None:  # G58, W29
    result = ToolResult(
        "a", (Text("t"), Image("image/png", "AA"), Document("application/pdf", "BB")), is_error=True
    )
    body, dropped = write(Message("assistant", (ToolCall("a", "f", "{}"),)), Message("user", (result,)))
    assert [part["type"] for part in body["input"][1]["output"]] == [
        "input_text",
        "input_image",
        "input_file",
    ]
    assert dropped == ["messages.1.content.0.is_error"]


def test_what_only_its_origin_can_read_is_named(write: Written) -> None:
    parts = (
        Image(sealed=Sealed("gemini", {"x": 1})),
        Opaque("search", Sealed("gemini", {})),
        Document(name="a"),
    )
    body, dropped = write(Message("user", parts))
    assert [part["type"] for part in body["input"][0]["content"]] == ["input_text", "input_text"]
    assert {path.split(".x")[0] for path in dropped} == {f"messages.0.content.{at}" for at in range(3)}


def test_functions_say_that_they_are_not_strict(write: Written) -> None:
    body, dropped = write(tools=(Tool("f"), Tool("g", strict=True), Tool("h", kind="hosted")))
    assert [(tool["name"], tool["strict"]) for tool in body["tools"]] == [("f", False), ("g", True)]
    assert body["tools"][0]["parameters"] == {"type": "object", "properties": {}}
    assert dropped == ["tools.2"]


def test_a_custom_tool_of_the_older_api_stays_one(write: Written) -> None:  # G47
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}
    custom = {"type": "custom", "custom": {"name": "patch", "description": "d", "format": form}}
    call = ToolCall("a", "patch", '{"input":"text"}', sealed=Sealed("openai-chat", {"type": "custom"}))
    body, _ = write(
        Message("assistant", (call,)),
        Message("user", (ToolResult("a", (Text("ok"),)),)),
        tools=(Tool("patch", kind="custom", sealed=Sealed("openai-chat", custom)),),
    )
    grammar = {"type": "grammar", "syntax": "lark", "definition": "x"}
    assert body["tools"] == [{"type": "custom", "name": "patch", "description": "d", "format": grammar}]
    assert [item["type"] for item in body["input"]] == ["custom_tool_call", "custom_tool_call_output"]
    assert body["input"][0]["input"] == "text"


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("any"), "required"),
        (ToolChoice("none"), "none"),
        (ToolChoice("tool", "f"), {"type": "function", "name": "f"}),
        (ToolChoice("tool", "gone"), "auto"),
    ],
)
def test_a_choice_is_written_as_it_is_here(write: Written, choice: ToolChoice, written: Any) -> None:  # G88
    assert write(tools=(Tool("f"),), tuning={"tool_choice": choice})[0]["tool_choice"] == written
    assert "tool_choice" not in write(tuning={"tool_choice": choice})[0]  # G89


def test_the_knobs_of_a_plain_model(write: Written) -> None:
    tuning = {"max_tokens": 5, "temperature": 0.3, "stop": ("x",), "seed": 1, "top_k": 2, "user": "u"}
    body, dropped = write(tuning=tuning)
    assert (body["max_output_tokens"], body["temperature"], body["user"]) == (16, 0.3, "u")
    assert sorted(dropped) == ["max_tokens", "seed", "stop", "top_k"]


def test_a_thinking_models_temperature_is_its_own(write: Written) -> None:  # W42
    body, dropped = write(model_id="gpt-5", tuning={"max_tokens": 5, "temperature": 0.3, "top_p": 1.0})
    assert "temperature" not in body
    assert body["max_output_tokens"] == 1024
    assert dropped == ["max_tokens", "temperature"]


@pytest.mark.parametrize(
    ("wanted", "model_id", "reasoning"),
    [
        (Reasoning("enabled", 2_000), "gpt-5", {"effort": "low", "summary": "auto"}),
        (Reasoning("adaptive"), "gpt-5", {"effort": "medium", "summary": "auto"}),
        (Reasoning(effort="max"), "gpt-5.2", {"effort": "xhigh"}),
        (Reasoning(effort="xhigh"), "gpt-5", {"effort": "high"}),  # W38
        (Reasoning("disabled"), "gpt-5.1", {"effort": "none"}),
        (Reasoning("disabled"), "gpt-5", None),  # W40
    ],
)
def test_thinking_is_an_effort(write: Written, wanted: Reasoning, model_id: str, reasoning: Any) -> None:
    assert write(model_id=model_id, tuning={"reasoning": wanted})[0].get("reasoning") == reasoning


def test_a_form_is_written(write: Written) -> None:
    schema = {"type": "object"}
    body, _ = write(tuning={"output_schema": schema, "output_schema_strict": True})
    assert body["text"]["format"] == {
        "type": "json_schema",
        "name": "answer",
        "schema": schema,
        "strict": True,
    }
    assert write(tuning={"json_mode": True})[0]["text"]["format"] == {"type": "json_object"}


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_what_is_stored_at_the_vendor_is_refused_elsewhere_by_name(model: Model, field: str) -> None:
    request = RESPONSES.read_request({"model": "m", "input": "go on", field: "x"}, b"")
    for protocol in PROTOCOLS.values():
        if protocol is not RESPONSES:
            with pytest.raises(RequestError, match=f"^{field}: "):
                protocol.write_request(request, model, "other")
    assert RESPONSES.write_request(request, model, "other").body[field] == "x"


def test_a_request_of_its_own_is_written_as_it_was(model: Model) -> None:
    group = {
        "type": "namespace",
        "name": "n",
        "description": "d",
        "tools": [{"type": "custom", "name": "exec"}],
    }
    function = {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object"},
        "strict": True,
        "defer_loading": True,
    }
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA"},
        {"type": "message", "role": "assistant", "content": "Yes.", "phase": "commentary"},
        {"type": "custom_tool_call", "call_id": "a", "name": "exec", "namespace": "n", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "y"},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
    ]
    choice = {"type": "web_search"}
    body = {
        "model": "m", "instructions": "Rules.", "input": items, "tools": [group, function, {"type": "web_search"}],
        "tool_choice": choice, "text": {"verbosity": "low"}, "include": ["reasoning.encrypted_content"],
        "store": False,
    }  # fmt: skip
    encoded = RESPONSES.write_request(RESPONSES.read_request(body, b""), model, "m")
    assert encoded.dropped == ()
    assert encoded.body == body
