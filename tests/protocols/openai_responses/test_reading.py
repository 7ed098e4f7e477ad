"""What Responses clients send, in all its looseness, becomes a conversation."""

from collections.abc import Callable
from typing import Any

import pytest

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
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.core.errors import RequestError
from engine.protocols import PROTOCOLS
from engine.protocols.sealing import to_signature

Asked = Callable[..., Request]
RESPONSES = PROTOCOLS["openai-responses"]


def call(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": '{"a":1}', **more}


def output(call_id: str, said: Any = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def test_input_may_be_a_string_or_lack_types_and_ids(asked: Asked) -> None:  # G51
    assert RESPONSES.read_request({"model": "m", "input": "hi"}, b"").messages == (
        Message("user", (Text("hi"),)),
    )
    loose = asked(
        {"role": "user", "content": [{"text": "hi"}]},
        {"name": "f", "call_id": "c", "arguments": None},
        {"call_id": "c", "output": None},
        {"id": "msg_1"},
    )
    assert [(message.role, [type(part) for part in message.parts]) for message in loose.messages] == [
        ("user", [Text]),
        ("assistant", [ToolCall]),
        ("user", [ToolResult]),
        ("user", [Opaque]),
    ]


def test_what_a_model_wrote_in_several_items_is_one_turn(asked: Asked) -> None:  # G52
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    said = {"role": "assistant", "content": "I look."}
    request = asked(
        thought, said, call("a"), call("b"), output("b"), output("a"), {"role": "user", "content": "go on"}
    )
    assert [(message.role, [type(part) for part in message.parts]) for message in request.messages] == [
        ("assistant", [Thinking, Text, ToolCall, ToolCall]),
        ("user", [ToolResult, ToolResult]),
        ("user", [Text]),
    ]


def test_two_messages_of_a_model_stay_two(asked: Asked) -> None:
    said = {"role": "assistant", "content": "One."}, {"role": "assistant", "content": "Two."}
    assert len(asked(*said).messages) == 2


def test_developers_open_the_system_prompt_and_keep_their_place_later(asked: Asked) -> None:  # G61
    rule = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]}
    request = asked(rule, {"role": "user", "content": "hi"}, rule, instructions="You are a clerk.")
    assert request.system == (Text("You are a clerk."), Text("Be kind."))
    assert [message.role for message in request.messages] == ["user", "system"]


def test_content_keeps_its_order_and_its_kinds(asked: Asked) -> None:  # G59
    content: list[dict[str, Any]] = [
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        {"type": "input_text", "text": "see"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,BBBB", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://x/a.pdf"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_audio", "input_audio": {}},
    ]
    assert asked({"role": "user", "content": content}).messages[0].parts == (
        Image("image/png", "AAAA", detail="low"),
        Text("see"),
        Document("application/pdf", "BBBB", name="a.pdf"),
        Document(url="https://x/a.pdf"),
        Image(sealed=Sealed("openai-responses", {"file_id": "file_1"})),
        Opaque("input_audio", Sealed("openai-responses", content[5])),
    )


def test_an_output_may_hold_pictures(asked: Asked) -> None:  # G58
    picture = {"type": "input_image", "image_url": "https://x/a.png"}
    result = (
        asked(call("a"), output("a", [{"type": "input_text", "text": "t"}, picture])).messages[1].parts[0]
    )
    assert result == ToolResult("a", (Text("t"), Image(url="https://x/a.png")))


def test_a_custom_tool_is_a_function_of_one_text(asked: Asked) -> None:  # G47
    form = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
    tool = {"type": "custom", "name": "apply_patch", "description": "Edits.", "format": form}
    wish = {
        "type": "custom_tool_call",
        "call_id": "c",
        "name": "apply_patch",
        "input": 'say "hi"\n',
        "id": "ctc_1",
    }
    request = asked(wish, {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}, tools=[tool])
    (offered,) = request.tools
    assert (offered.name, offered.kind, offered.schema["required"]) == ("apply_patch", "function", ["input"])
    assert "start: /.+/" in offered.description
    made = request.messages[0].parts[0]
    assert isinstance(made, ToolCall)
    assert made.arguments == '{"input":"say \\"hi\\"\\n"}'
    assert isinstance(request.messages[1].parts[0], ToolResult)


def test_tools_in_namespaces_and_in_the_input_are_offered(asked: Asked) -> None:  # G49
    spawn = {"type": "function", "name": "spawn", "parameters": {"type": "object"}}
    group = {"type": "namespace", "name": "agents", "description": "Others.", "tools": [spawn]}
    request = asked(
        {"type": "additional_tools", "role": "developer", "tools": [group]},
        call("c", name="spawn", namespace="agents"),
        output("c"),
        tools=[{"type": "web_search"}],
    )
    assert [(tool.name, tool.kind) for tool in request.tools] == [
        ("web_search", "web_search"),
        ("agents__spawn", "function"),
    ]
    made = request.messages[0].parts[0]
    assert isinstance(made, ToolCall)
    assert made.name == "agents__spawn"


def test_a_long_namespace_gives_a_name_every_vendor_takes(asked: Asked) -> None:
    tools = [{"type": "namespace", "name": "n.s" * 30, "tools": [{"name": name} for name in ("a", "b")]}]
    names = [tool.name for tool in asked(tools=tools).tools]
    assert len(set(names)) == 2
    assert all(len(name) <= 64 and "." not in name for name in names)


def test_items_nobody_else_knows_stay_as_they_are(asked: Asked) -> None:  # G49
    items = [{"type": "web_search_call", "id": "ws_1"}, {"type": "compaction_trigger"}]
    request = asked(*items)
    assert [part for message in request.messages for part in message.parts] == [
        Opaque(str(item["type"]), Sealed("openai-responses", item)) for item in items
    ]
    assert [message.role for message in request.messages] == ["assistant", "user"]


def test_what_one_agent_says_to_another_is_heard(asked: Asked) -> None:
    secret = {"type": "encrypted_content", "encrypted_content": "x"}
    content = [{"type": "input_text", "text": "Your task"}, secret]
    item = {"type": "agent_message", "author": "/root", "recipient": "/root/a", "content": content}
    request = asked(item)
    first, second = request.messages[0].parts
    assert isinstance(first, Text)
    assert first.text == "Your task"
    assert isinstance(second, Opaque)


def test_reasoning_is_sealed_for_its_origin(asked: Asked) -> None:
    item = {
        "type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
    }  # fmt: skip
    thought = asked(item).messages[0].parts[0]
    assert isinstance(thought, Thinking)
    assert thought.text == "a\n\nb"
    assert thought.sealed is not None
    assert thought.sealed.data == {"id": "rs_1", "encrypted_content": "gAAA", "summary": item["summary"]}


def test_another_vendors_thinking_comes_back_to_it(asked: Asked) -> None:
    signed = Sealed("anthropic-messages", {"signature": "abc"})
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}
    assert asked({**item, "encrypted_content": to_signature(signed)}).messages[0].parts[0] == Thinking(
        "a", signed
    )
    nobody = to_signature(Sealed("", {}))
    assert asked({**item, "encrypted_content": nobody}).messages[0].parts[0] == Thinking("a")


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("any")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", "f")),
        ({"type": "custom", "name": "f"}, ToolChoice("tool", "f")),
        ({"type": "function", "name": "f", "namespace": "n"}, ToolChoice("tool", "n__f")),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, ToolChoice("any")),
        ({"type": "web_search"}, None),
    ],
)
def test_a_tool_is_chosen_in_every_form(asked: Asked, choice: Any, read: ToolChoice | None) -> None:  # G88
    assert asked(tool_choice=choice).tuning.tool_choice == read


def test_tuning_is_read(asked: Asked) -> None:
    schema = {"type": "object"}
    tuning = asked(
        max_output_tokens=9,
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"},
        text={
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True},
        },
        include=["x"],
    ).tuning
    assert (tuning.max_tokens, tuning.parallel_tools, tuning.reasoning) == (9, False, Reasoning(effort="low"))
    assert (tuning.output_schema, tuning.output_schema_name, tuning.output_schema_strict) == (
        schema,
        "n",
        True,
    )
    assert tuning.extra == {"reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}, "include": ["x"]}
    assert asked(text={"format": {"type": "json_object"}}).tuning.json_mode


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input.0"),
        ({"input": [{}]}, "input.0.type"),
        ({"input": [{"role": "pope", "content": ""}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 7}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text"),
        ({"input": [{"type": "function_call", "name": ""}]}, "input.0.name"),
        ({"input": [{"type": "function_call_output"}]}, "input.0.call_id"),
        ({"input": "", "tools": [1]}, "tools.0"),
        ({"input": "", "tool_choice": "pope"}, "tool_choice"),
        ({"input": "", "max_output_tokens": 1.5}, "max_output_tokens"),
        ({"input": "", "model": 1}, "model"),
    ],
)
def test_a_malformed_request_names_the_field(body: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError, match=rf"^{path}: "):
        RESPONSES.read_request({"model": "m", **body}, b"")


def test_what_is_stored_at_the_vendor_needs_no_input() -> None:
    assert RESPONSES.read_request({"model": "m", "previous_response_id": "resp_1"}, b"").messages == ()


def test_hosted_tools_of_one_kind_are_all_kept(asked: Callable[..., Request]) -> None:
    servers = [{"type": "mcp", "server_label": label, "server_url": f"https://{label}"} for label in "ab"]
    found = {"type": "tool_search_output", "id": "ts_1", "tools": [servers[0]]}
    tools = asked({"role": "user", "content": "hi"}, found, tools=servers).tools
    assert [tool.sealed.data["server_label"] for tool in tools if tool.sealed is not None] == ["a", "b"]
