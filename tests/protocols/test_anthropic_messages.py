"""What is Anthropic's own: blocks, hosted tools, thinking, and what a client of it sees."""

import json
from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import (
    Document,
    Image,
    Opaque,
    Request,
    Sealed,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from engine.core.errors import UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Event, Stopped, fold, unfold
from engine.protocols import PROTOCOLS
from engine.protocols.shape import ReplyContext

ANTHROPIC = PROTOCOLS["anthropic-messages"]
ORIGIN = "anthropic-messages"
CONTEXT = ReplyContext("shown", "id_1", 1)
Json = dict[str, Any]


def asked(*content: Json, **fields: Any) -> Request:
    body = {
        "model": "m",
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": list(content)}],
        **fields,
    }
    return ANTHROPIC.read_request(body, orjson.dumps(body))


BLOCKS: list[tuple[Json, Any]] = [
    ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", {"type": "ephemeral"})),
    (
        {"type": "text", "text": "a", "citations": [{"type": "x"}]},
        Text("a", None, Sealed(ORIGIN, {"citations": [{"type": "x"}]})),
    ),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
        Image("image/png", "QQ=="),
    ),
    ({"type": "image", "source": {"type": "url", "url": "https://x/y"}}, Image(url="https://x/y")),
    (
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        Image(sealed=Sealed(ORIGIN, {"source": {"type": "file", "file_id": "f"}})),
    ),
    (
        {
            "type": "document",
            "title": "t",
            "source": {"type": "text", "media_type": "text/plain", "data": "d"},
        },
        Document("text/plain", text="d", name="t"),
    ),
    (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}},
        Document("application/pdf", "QQ=="),
    ),
    ({"type": "document", "source": {"type": "url", "url": "https://x/y"}}, Document(url="https://x/y")),
    (
        {"type": "document", "source": {"type": "content", "content": "c"}, "context": "k"},
        Document(sealed=Sealed(ORIGIN, {"context": "k", "source": {"type": "content", "content": "c"}})),
    ),
    (
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        Thinking("hm", Sealed(ORIGIN, {"signature": "s"})),
    ),
    ({"type": "redacted_thinking", "data": "d"}, Thinking("", Sealed(ORIGIN, {"data": "d"}))),
    (
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}, "caller": {"type": "direct"}},
        ToolCall("t", "n", '{"a":1}', None, Sealed(ORIGIN, {"caller": {"type": "direct"}})),
    ),
    (
        {"type": "server_tool_use", "id": "t", "name": "n", "input": {}},
        Opaque(
            "server_tool_use",
            Sealed(ORIGIN, {"type": "server_tool_use", "id": "t", "name": "n", "input": {}}),
        ),
    ),
]


@pytest.mark.parametrize(("block", "part"), BLOCKS, ids=[json.dumps(block)[:60] for block, _ in BLOCKS])
def test_a_block_is_a_part_and_the_same_block_again(block: Json, part: Any, model: Model) -> None:
    body = {"model": "m", "messages": [{"role": "assistant", "content": [block]}]}
    request = ANTHROPIC.read_request(body, b"")
    assert request.messages[0].parts == (part,)
    encoded = ANTHROPIC.write_request(request, model, "m")
    assert encoded.body["messages"][0]["content"] == [block]
    reply = ANTHROPIC.read_reply({"id": "r", "model": "m", "content": [block], "usage": {}})
    assert reply.parts == (part,)
    assert ANTHROPIC.write_reply(reply, CONTEXT).body["content"] == [block]
    if "cache_control" in block:
        return  # a mark of requests; no reply streams it
    reader, writer = ANTHROPIC.event_reader(), ANTHROPIC.event_writer(CONTEXT)
    stream = b"".join(piece for event in unfold(reply) for piece in writer.feed(event))
    again = fold([*reader.feed(stream), *reader.close()])
    assert isinstance(again, Reply)
    assert again.parts == (part,)


def test_results_hold_text_or_parts_and_may_be_errors(model: Model) -> None:
    calls = [{"type": "tool_use", "id": name, "name": "n", "input": {}} for name in "abc"]
    results: list[Json] = [
        {"type": "tool_result", "tool_use_id": "a", "content": "ok"},
        {
            "type": "tool_result",
            "tool_use_id": "b",
            "content": [{"type": "tool_reference", "tool_name": "x"}],
        },
        {"type": "tool_result", "tool_use_id": "c", "is_error": True},
    ]
    messages = [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    request = ANTHROPIC.read_request({"model": "m", "messages": messages}, b"")
    assert request.messages[1].parts[2] == ToolResult("c", (), is_error=True)
    assert ANTHROPIC.write_request(request, model, "m").body["messages"] == messages


TOOLS: list[Json] = [
    {
        "name": "a",
        "description": "d",
        "input_schema": {"type": "object"},
        "strict": True,
        "defer_loading": True,
    },
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
    {"type": "mcp_toolset", "mcp_server_name": "s"},
]


def test_tools_are_the_same_again_and_hosted_ones_stay_home(model: Model) -> None:
    request = asked({"type": "text", "text": "a"}, tools=TOOLS)
    assert ANTHROPIC.write_request(request, model, "m").body["tools"] == TOOLS
    chat = PROTOCOLS["openai-chat"].write_request(request, model, "gpt-4o")
    assert [tool["function"]["name"] for tool in chat.body["tools"]] == ["a"]
    assert {loss.path for loss in chat.dropped} == {"tools.0.defer_loading", "tools.1", "tools.2"}


def test_an_output_schema_is_carried(model: Model) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    config = {"format": {"type": "json_schema", "schema": schema}}
    request = asked({"type": "text", "text": "a"}, output_config=config)
    assert request.tuning.output_schema == schema
    assert ANTHROPIC.write_request(request, model, "m").body["output_config"] == config
    chat = PROTOCOLS["openai-chat"].write_request(request, model, "gpt-4o").body
    assert chat["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("fields", "sent", "lost"),
    [
        ({"temperature": 1.7}, {"temperature": 1.0}, {"temperature"}),
        ({"temperature": 0.3, "top_p": 0.9}, {"temperature": 0.3}, {"top_p"}),
        ({"top_p": 0.9}, {"top_p": 0.9}, set()),
        ({"stop": ["x", " \n"]}, {"stop_sequences": ["x"]}, {"stop"}),
        ({"seed": 4}, {}, {"seed"}),
        ({"response_format": {"type": "json_object"}}, {}, {"response_format"}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}, set()),
        ({"user": "u" * 300}, {}, {"user"}),
        ({"max_tokens": 100_000}, {"max_tokens": 64_000}, {"max_tokens"}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, set()),
        ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 4096}}, set()),
        (
            {"reasoning_effort": "low", "temperature": 1},
            {"thinking": {"type": "enabled", "budget_tokens": 4096}},
            set(),
        ),
        (
            {"reasoning_effort": "low", "temperature": 0.5},
            {"thinking": {"type": "enabled", "budget_tokens": 4096}},
            {"temperature"},
        ),
    ],
)
def test_knobs_are_fitted_to_what_anthropic_takes(
    fields: Json, sent: Json, lost: set[str], model: Model
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields
    encoded = ANTHROPIC.write_request(
        PROTOCOLS["openai-chat"].read_request(body, b""), model, "claude-sonnet-4-5"
    )
    knobs = {key: value for key, value in encoded.body.items() if key not in ("model", "messages")}
    knobs.pop("max_tokens") if "max_tokens" not in fields else None
    assert knobs == sent
    assert {loss.path for loss in encoded.dropped} == lost


def test_a_forced_tool_is_called_without_thinking(model: Model) -> None:
    tool = {"type": "function", "function": {"name": "n"}}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [tool],
        "tool_choice": "required",
    }
    request = PROTOCOLS["openai-chat"].read_request(body | {"reasoning_effort": "high"}, b"")
    encoded = ANTHROPIC.write_request(request, model, "claude-sonnet-4-5")
    assert "thinking" not in encoded.body
    assert {loss.path for loss in encoded.dropped} == {"thinking"}


def test_a_conversation_of_system_text_alone_gets_a_message(model: Model) -> None:
    body = {"model": "m", "messages": [{"role": "system", "content": "be"}]}
    encoded = ANTHROPIC.write_request(PROTOCOLS["openai-chat"].read_request(body, b""), model, "m")
    assert encoded.body["system"] == "be"
    assert encoded.body["messages"] == [{"role": "user", "content": "Continue."}]


def test_a_reply_keeps_its_further_fields_and_usage() -> None:
    body = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "stop_sequence",
        "stop_sequence": "x",
        "container": {"id": "k"},
        "usage": {"input_tokens": 3, "output_tokens": 2, "service_tier": "standard"},
    }
    reply = ANTHROPIC.read_reply(body)
    assert (reply.stop, reply.usage) == (Stop("stop_sequence", "x"), Usage(3, 2))
    written = ANTHROPIC.write_reply(reply, CONTEXT).body
    assert {key: written[key] for key in ("container", "stop_reason", "stop_sequence")} == {
        key: body[key] for key in ("container", "stop_reason", "stop_sequence")
    }
    assert written["usage"]["service_tier"] == "standard"


@pytest.mark.parametrize(
    "body",
    [{}, {"content": "text"}, {"content": [7]}, {"content": [{"type": "text"}]}, {"id": 7, "content": []}],
)
def test_a_body_that_is_no_reply_is_the_providers_fault(body: Json) -> None:
    with pytest.raises(UpstreamError) as caught:
        ANTHROPIC.read_reply(body)
    assert caught.value.fault.origin == "provider"


def test_an_error_with_status_200_is_a_fault() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    with pytest.raises(UpstreamError, match="busy") as caught:
        ANTHROPIC.read_reply(error)
    assert caught.value.fault.kind == "overloaded"


def frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def test_what_streams_into_hosted_blocks_and_citations_is_sealed_whole() -> None:
    citation = {"type": "char_location", "cited_text": "x"}
    deltas: list[tuple[Json, list[Json]]] = [
        (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"q":', "1}")],
        ),
        ({"type": "text", "text": ""}, [{"type": "citations_delta", "citation": citation}]),
        ({"type": "compaction", "content": None}, [{"type": "compaction_delta", "content": "sum"}]),
        ({"type": "new_block"}, [{"type": "new_delta", "x": 1}]),
    ]
    stream = frame("message_start", message={"id": "m", "model": "c", "usage": {}})
    for index, (block, grown) in enumerate(deltas):
        stream += frame("content_block_start", index=index, content_block=block)
        stream += b"".join(frame("content_block_delta", index=index, delta=delta) for delta in grown)
        stream += frame("content_block_stop", index=index)
    stream += frame("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
    stream += frame("message_stop")
    reader = ANTHROPIC.event_reader()
    events: list[Event] = [*reader.feed(stream), *reader.close()]
    assert isinstance(events[-1], Stopped)
    reply = fold(events)
    assert isinstance(reply, Reply)
    sealed = [part.sealed.data for part in reply.parts if part.sealed is not None]
    assert sealed[0]["input"] == {"q": 1}
    assert sealed[1] == {"citations": [citation]}
    assert sealed[2]["content"] == "sum"
    assert sealed[3]["deltas"] == [{"type": "new_delta", "x": 1}]
    writer = ANTHROPIC.event_writer(CONTEXT)
    written = b"".join(piece for event in events for piece in writer.feed(event))
    assert b"citations_delta" in written
    assert b"compaction_delta" in written
    assert writer.dropped == ()
