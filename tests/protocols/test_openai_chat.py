"""What is OpenAI Chat's own: messages, the fields of those who speak it, and what a client of it sees."""

import json
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import (
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Sealed,
    Text,
    Thinking,
    ToolCall,
)
from engine.core.errors import UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols import PROTOCOLS
from engine.protocols.shape import ReplyContext

CHAT = PROTOCOLS["openai-chat"]
ORIGIN = "openai-chat"
CONTEXT = ReplyContext("shown", "id_1", 1)
Json = dict[str, Any]


def asked(*messages: Json, **fields: Any) -> Request:
    return CHAT.read_request({"model": "m", "messages": list(messages), **fields}, b"")


PARTS: list[tuple[Json, Any]] = [
    ({"type": "text", "text": "a"}, Text("a")),
    ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", {"type": "ephemeral"})),
    (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ==", "detail": "low"}},
        Image("image/png", "QQ==", detail="low"),
    ),
    ({"type": "image_url", "image_url": {"url": "https://x/y"}}, Image(url="https://x/y")),
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
        Document("application/pdf", "QQ==", name="a.pdf"),
    ),
    (
        {"type": "file", "file": {"file_id": "f"}},
        Document(sealed=Sealed(ORIGIN, {"file": {"file_id": "f"}})),
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        Opaque(
            "input_audio",
            Sealed(ORIGIN, {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}),
        ),
    ),
    (
        {"type": "document_url", "document_url": "https://x/y.pdf"},
        Document(url="https://x/y.pdf", sealed=Sealed(ORIGIN, {"type": "document_url"})),
    ),
]


@pytest.mark.parametrize(("content", "part"), PARTS, ids=[json.dumps(content)[:60] for content, _ in PARTS])
def test_a_content_part_is_a_part_and_the_same_again(content: Json, part: Any, model: Model) -> None:
    request = asked({"role": "user", "content": [content, {"type": "text", "text": "z"}]})
    assert request.messages[0].parts == (part, Text("z"))
    encoded = CHAT.write_request(request, model, "gpt-4o")
    assert encoded.body["messages"][0]["content"][0] == content
    assert encoded.dropped == ()


def test_system_messages_lead_and_later_ones_keep_their_place(model: Model) -> None:
    request = asked(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "developer", "content": "d"},
    )
    assert request.system == (Text("a"), Text("b"))
    assert request.messages[1] == Message("system", (Text("d"),))
    roles = [message["role"] for message in CHAT.write_request(request, model, "gpt-4o").body["messages"]]
    assert roles == ["system", "user", "system"]


def test_a_messages_own_further_fields_return_home_and_are_reported_elsewhere(model: Model) -> None:
    message = {"role": "user", "content": "hi", "name": "bob"}
    request = asked(message)
    assert CHAT.write_request(request, model, "gpt-4o").body["messages"] == [message]
    lost = PROTOCOLS["anthropic-messages"].write_request(request, model, "c").dropped
    assert [loss.path for loss in lost] == ["messages.0.content.0.message"]


def call(call_id: str, **more: Any) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "n", "arguments": "{}"}, **more}


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "format": "x"}]},
        {"refusal": "no"},
    ],
)
def test_an_assistants_fields_return_as_they_came(fields: Json, model: Model) -> None:
    message = {"role": "assistant", "content": "a", "tool_calls": [call("c")], **fields}
    answer = {"role": "tool", "tool_call_id": "c", "content": "ok"}
    request = asked({"role": "user", "content": "x"}, message, answer)
    encoded = CHAT.write_request(request, model, "gpt-4o")
    assert encoded.body["messages"][1:] == [message, answer]
    assert encoded.dropped == ()


def test_thinking_in_a_content_list_is_read_and_returned(model: Model) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    message = {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}
    request = asked({"role": "user", "content": "x"}, message)
    thought = request.messages[1].parts[0]
    assert isinstance(thought, Thinking)
    assert thought.text == "hm"
    assert CHAT.write_request(request, model, "mistral").body["messages"][1] == message


def test_custom_tools_and_calls_return_as_they_came(model: Model) -> None:
    tool = {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}],
    }
    request = asked(
        {"role": "user", "content": "x"},
        message,
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
        tools=[tool],
    )
    body = CHAT.write_request(request, model, "gpt-5.1").body
    assert (body["tools"], body["messages"][1]) == ([tool], message)
    bridged = PROTOCOLS["anthropic-messages"].write_request(request, model, "c")
    assert bridged.body["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert "tools.0" in {loss.path for loss in bridged.dropped}


def test_old_function_messages_are_calls_and_results(model: Model) -> None:
    request = asked(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        {"role": "function", "name": "f", "content": "ok"},
    )
    assert request.messages[1].parts == (ToolCall("f", "f", '{"a":1}'),)
    roles = [message["role"] for message in CHAT.write_request(request, model, "m").body["messages"]]
    assert roles == ["user", "assistant", "tool"]


def test_a_choice_among_some_tools_returns_home(model: Model) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}
    tool = {"type": "function", "function": {"name": "n", "parameters": {"type": "object"}}}
    request = asked({"role": "user", "content": "x"}, tools=[tool], tool_choice=choice)
    assert CHAT.write_request(request, model, "gpt-5.1").body["tool_choice"] == choice
    encoded = PROTOCOLS["anthropic-messages"].write_request(request, model, "c")
    assert encoded.body["tool_choice"] == {"type": "any"}
    assert {loss.path for loss in encoded.dropped} == {"tool_choice.type", "tool_choice.allowed_tools"}


def test_five_stop_sequences_are_one_too_many(model: Model) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [], "stop_sequences": list("abcde")}
    encoded = CHAT.write_request(PROTOCOLS["anthropic-messages"].read_request(body, b""), model, "gpt-4o")
    assert encoded.body["stop"] == list("abcd")
    assert {loss.path for loss in encoded.dropped} == {"stop"}


def test_a_failed_tools_mark_is_reported_and_its_silence_filled(model: Model) -> None:
    block = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t", "is_error": True}
    messages = [{"role": "assistant", "content": [block]}, {"role": "user", "content": [answer]}]
    request = PROTOCOLS["anthropic-messages"].read_request({"model": "m", "messages": messages}, b"")
    encoded = CHAT.write_request(request, model, "gpt-4o")
    assert encoded.body["messages"][1]["content"] == "The tool failed."
    assert {loss.path for loss in encoded.dropped} == {"messages.1.content.0.is_error"}


def test_a_document_at_an_address_is_named_in_its_place(model: Model) -> None:
    block = {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [block]}]}
    encoded = CHAT.write_request(PROTOCOLS["anthropic-messages"].read_request(body, b""), model, "gpt-4o")
    assert "https://x/y.pdf" in encoded.body["messages"][0]["content"]
    assert {loss.path for loss in encoded.dropped} == {"messages.0.content.0"}


def whole(message: Json, finish: Any = "stop", **more: Any) -> Json:
    return {
        "id": "r",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        **more,
    }


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4}, Usage(9, 4)),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}},
            Usage(9, 4, 3),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 3}, Usage(9, 4, 3)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "num_cached_tokens": 3}, Usage(9, 4, 3)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 3}, Usage(9, 4, 3)),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cache_write_tokens": 2}},
            Usage(9, 4, 0, 2),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(9, 4, reasoning_tokens=2),
        ),
        ({"prompt_tokens": None, "completion_tokens": "4"}, Usage()),
        (None, Usage()),
        ("many", Usage()),
    ],
)
def test_usage_is_counted_once_under_every_name(usage: Any, expected: Usage) -> None:
    assert CHAT.read_reply(whole({"content": "a"}, usage=usage)).usage == expected


@pytest.mark.parametrize("finish", [None, "", "unheard-of"])
def test_a_missing_finish_reason_is_what_the_reply_shows(finish: Any) -> None:
    assert CHAT.read_reply(whole({"content": "a"}, finish)).stop.reason == "end_turn"
    assert CHAT.read_reply(whole({"tool_calls": [call("c")]}, finish)).stop.reason == "tool_use"
    assert CHAT.read_reply(whole({"refusal": "no"}, finish)).stop.reason == "refusal"


def test_a_replys_further_fields_are_kept_and_reported_elsewhere() -> None:
    body = whole(
        {"content": "a", "annotations": [{"type": "url_citation"}], "audio": {"id": ""}}, moderation={"x": 1}
    )
    body["choices"].append({"index": 1, "message": {"content": "b"}, "finish_reason": "stop"})
    reply = CHAT.read_reply(body)
    assert reply.sealed is not None
    assert reply.sealed.data.keys() == {"moderation", "message", "choices"}
    written = CHAT.write_reply(reply, CONTEXT).body
    assert written["choices"][0]["message"]["annotations"] == [{"type": "url_citation"}]
    assert len(written["choices"]) == 2
    elsewhere = PROTOCOLS["anthropic-messages"].write_reply(reply, CONTEXT)
    assert {loss.path for loss in elsewhere.dropped} == {"moderation", "message", "choices"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": [{"index": 0}]},
        whole({"content": 7}),
        whole({"tool_calls": [7]}),
        whole({"tool_calls": [{"id": "x", "function": {"arguments": "{}"}}]}),
    ],
)
def test_a_body_that_is_no_reply_is_the_providers_fault(body: Json) -> None:
    with pytest.raises(UpstreamError) as caught:
        CHAT.read_reply(body)
    assert caught.value.fault.origin == "provider"


def test_an_error_with_status_200_is_a_fault() -> None:
    with pytest.raises(UpstreamError, match="busy"):
        CHAT.read_reply({"error": {"message": "busy", "code": 503}})


def test_anthropics_thinking_reaches_a_chat_client_with_its_signature() -> None:
    thinking = Thinking("hm", Sealed("anthropic-messages", {"signature": "s"}))
    redacted = Thinking("", Sealed("anthropic-messages", {"data": "d"}))
    reply = Reply("r", "m", (thinking, redacted, Text("a")), Stop("end_turn"), Usage())
    body = CHAT.write_reply(reply, CONTEXT).body
    message = body["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    assert [detail["type"] for detail in message["reasoning_details"]] == [
        "reasoning.text",
        "reasoning.encrypted",
    ]
    assert CHAT.read_reply(body).parts == reply.parts


def test_strict_is_said_in_the_words_it_has(model: Model) -> None:  # W14
    open_schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
        "required": ["a"],
    }
    mapped = {
        "type": "object",
        "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}},
    }
    tools = [
        {"name": name, "input_schema": schema, "strict": True}
        for name, schema in (("f", open_schema), ("g", mapped))
    ]
    body = {"model": "c", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "tools": tools}
    encoded = CHAT.write_request(PROTOCOLS["anthropic-messages"].read_request(body, b""), model, "gpt-4o")
    first, second = (tool["function"] for tool in encoded.body["tools"])
    assert first["strict"] is True
    assert first["parameters"]["required"] == ["a", "b"]
    assert first["parameters"]["properties"]["b"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert (second["strict"], second["parameters"]) == (False, mapped)
    assert [loss.path for loss in encoded.dropped] == ["tools.1.strict"]
