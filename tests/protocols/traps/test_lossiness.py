"""What may not change on the way, whatever else does. Ids are those of the list of traps."""

import json
from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import Request, Sealed, Text, Thinking, ToolCall
from engine.core.errors import RequestError
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import unfold
from engine.protocols import PROTOCOLS
from engine.protocols.outbound import outbound
from engine.protocols.pipe import pipe
from engine.protocols.sealing import from_signature, to_signature
from engine.protocols.shape import ReplyContext

Json = dict[str, Any]
MODELS = {
    "anthropic-messages": "claude-opus-4-5",
    "openai-chat": "gpt-5.4",
    "openai-responses": "gpt-5.4",
    "gemini": "gemini-3-pro",
}
PAIRS = [(client, provider) for client in PROTOCOLS for provider in PROTOCOLS if client != provider]
each_pair = pytest.mark.parametrize(("client", "provider"), PAIRS)

# What only that protocol's streams say.
WORDS = {
    "anthropic-messages": b"content_block",
    "openai-chat": b"chat.completion.chunk",
    "openai-responses": b"response.output",
    "gemini": b"candidates",
}


@each_pair
def test_half_a_foreign_chunk_never_reaches_the_client(
    client: str, provider: str, context: ReplyContext
) -> None:  # G16
    reply = Reply("id", "m", (Text("hello"), ToolCall("c", "f", '{"a":"b"}')), Stop("tool_use"), Usage(9, 4))
    writer = PROTOCOLS[provider].event_writer(context)
    stream = b"".join(piece for event in unfold(reply) for piece in writer.feed(event))
    one = pipe(PROTOCOLS[client], PROTOCOLS[provider], context, False)
    for at in range(len(stream)):
        out = one.feed(stream[at : at + 1])
        assert out == b"" or out.endswith((b"\n\n", b"\r\n\r\n"))
        assert WORDS[provider] not in out
    assert WORDS[provider] not in one.close()


OFFERED = ("Task", "TaskCreate", "CronCreate", "Monitor", "Read")


def offered(client: str) -> Json:
    """A request that offers some tools, and whose history called one that is offered no more."""
    match client:
        case "anthropic-messages":
            call = {"type": "tool_use", "id": "t", "name": "Gone", "input": {}}
            done = {"type": "tool_result", "tool_use_id": "t", "content": "ok"}
            return {
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": [call]},
                    {"role": "user", "content": [done]},
                ],
                "tools": [{"name": name, "input_schema": {"type": "object"}} for name in OFFERED],
            }
        case "openai-chat":
            called = {"id": "t", "type": "function", "function": {"name": "Gone", "arguments": "{}"}}
            return {
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": None, "tool_calls": [called]},
                    {"role": "tool", "tool_call_id": "t", "content": "ok"},
                ],
                "tools": [{"type": "function", "function": {"name": name}} for name in OFFERED],
            }
        case "openai-responses":
            return {
                "input": [
                    {"role": "user", "content": "hi"},
                    {"type": "function_call", "call_id": "t", "name": "Gone", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "t", "output": "ok"},
                ],
                "tools": [{"type": "function", "name": name} for name in OFFERED],
            }
        case _:
            return {
                "contents": [
                    {"role": "user", "parts": [{"text": "hi"}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "Gone", "args": {}}}]},
                    {
                        "role": "user",
                        "parts": [{"functionResponse": {"name": "Gone", "response": {"output": "ok"}}}],
                    },
                ],
                "tools": [{"functionDeclarations": [{"name": name} for name in OFFERED]}],
            }


def names(provider: str, body: Json) -> tuple[str, ...]:
    tools = body["tools"]
    match provider:
        case "openai-chat":
            return tuple(tool["function"]["name"] for tool in tools)
        case "gemini":
            return tuple(one["name"] for tool in tools for one in tool["functionDeclarations"])
        case _:
            return tuple(tool["name"] for tool in tools)


@pytest.mark.parametrize("provider", list(PROTOCOLS))
@pytest.mark.parametrize("client", list(PROTOCOLS))
def test_a_model_is_offered_the_clients_tools_no_more_and_no_fewer(
    client: str, provider: str, model: Model
) -> None:  # W15, W16
    body = {"model": "m", "max_tokens": 99, **offered(client)}
    request = PROTOCOLS[client].read_request(body, orjson.dumps(body))
    out = outbound(request, PROTOCOLS[provider], model, MODELS[provider], "")
    assert names(provider, orjson.loads(out.body)) == OFFERED
    assert not [loss for loss in out.losses if loss.path.startswith("tools.")]


SIGNATURE = "EqoBCkgIARABGAIiQL2UoU0b1OHYi+/ABCDEFG=="


def signed(signature: str) -> Request:
    thought = {"type": "thinking", "thinking": "hm", "signature": signature}
    call = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [thought, call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]},
    ]
    body = {"model": "claude-opus-5-5", "max_tokens": 9999, "messages": messages}
    return PROTOCOLS["anthropic-messages"].read_request(body, orjson.dumps(body))


def test_a_signature_is_never_touched_by_what_else_is_changed(model: Model) -> None:  # W20
    request = signed(SIGNATURE)
    out = outbound(request, PROTOCOLS["anthropic-messages"], model, "claude-opus-4-6", "high")
    assert out.edits
    sent = orjson.loads(out.body)["messages"][1]["content"][0]
    assert sent == {"type": "thinking", "thinking": "hm", "signature": SIGNATURE}
    assert json.dumps(SIGNATURE).encode() in out.body


@pytest.mark.parametrize("nonce", [" ", "x", "=", "\n#17", "é", "A" * 4])
def test_a_seal_that_somebody_wrote_into_is_dropped_and_nothing_worse(
    nonce: str, model: Model
) -> None:  # W20
    whole = to_signature(Sealed("gemini", {"thoughtSignature": SIGNATURE}))
    assert from_signature(whole) == Sealed("gemini", {"thoughtSignature": SIGNATURE})
    request = signed(whole + nonce)
    for provider, model_id in MODELS.items():
        out = outbound(request, PROTOCOLS[provider], model, model_id, "")
        assert whole not in out.body.decode()  # no vendor is sent our wrapping, damaged or not


def test_a_seal_of_ours_that_cannot_be_opened_is_not_sent_to_anthropic(model: Model) -> None:  # W33, W36
    broken = to_signature(Sealed("gemini", {"thoughtSignature": "abc"}))[:-7]
    out = outbound(signed(broken), PROTOCOLS["anthropic-messages"], model, "claude-opus-5-5", "")
    kinds = [block["type"] for block in orjson.loads(out.body)["messages"][1]["content"]]
    assert kinds == ["tool_use"]
    assert [(loss.place, loss.stake) for loss in out.losses] == [("messages[1].content[0]", "sealed")]


def test_thinking_that_is_sealed_for_another_vendor_is_told_by_its_seal_alone() -> None:  # W33
    request = signed(to_signature(Sealed("gemini", {"thoughtSignature": "abc"})))
    (thinking, _) = request.messages[1].parts
    assert isinstance(thinking, Thinking)
    assert thinking.sealed == Sealed("gemini", {"thoughtSignature": "abc"})


def test_a_tools_input_that_nests_too_deeply_is_told_with_its_place() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    call = {"type": "tool_use", "id": "t", "name": "Read", "input": deep}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": [call]}]}
    with pytest.raises(RequestError, match=r"messages\.0\.content\.0\.input nests"):
        PROTOCOLS["anthropic-messages"].read_request(body, b"")


@pytest.mark.parametrize("provider", ["openai-chat", "openai-responses", "gemini"])
def test_an_effort_that_a_model_does_not_know_becomes_the_nearest_and_is_told(
    provider: str, model: Model
) -> None:  # W38
    body = {
        "model": "m",
        "max_tokens": 9999,
        "messages": [{"role": "user", "content": "hi"}],
        "output_config": {"effort": "max"},
        "thinking": {"type": "adaptive"},
    }
    request = PROTOCOLS["anthropic-messages"].read_request(body, orjson.dumps(body))
    out = outbound(request, PROTOCOLS[provider], model, MODELS[provider], "")
    assert ("effort", "converted") in {(loss.path, loss.fate) for loss in out.losses}
