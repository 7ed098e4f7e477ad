"""Anthropic's own SDK reads what the simulator writes; where it says too little, the bytes are read."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock

from engine.simulator import Simulator
from engine.simulator.transcript import whole

Post = Callable[..., httpx.Response]
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
def sdk(simulator: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=simulator.url("anthropic"), api_key="k", max_retries=0) as client:
        yield client


def ask(sdk: anthropic.Anthropic, text: str, streamed: bool, **fields: Any) -> Message:
    """One question, answered whole or as a stream that the SDK puts together."""
    asked: dict[str, Any] = {
        "model": "claude-opus-4-5",
        "max_tokens": 4_000,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }
    if not streamed:
        message = sdk.messages.create(**asked)
        assert isinstance(message, Message)
        return message
    with sdk.messages.stream(**asked) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("streamed", [False, True])
def test_text_reaches_the_sdk(sdk: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(sdk, "[[sim: text=Good morning, world]]", streamed)
    assert [block.text for block in message.content if isinstance(block, TextBlock)] == [
        "Good morning, world"
    ]
    assert (message.stop_reason, message.model) == ("end_turn", "claude-opus-4-5")
    assert message.id.startswith("msg_")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 5)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_and_its_result_make_two_rounds(sdk: anthropic.Anthropic, streamed: bool) -> None:
    text = '[[sim: text=One moment.]] [[sim: tool=get_weather {"city": "Oslo", "days": [1, 2]}]]'
    first = ask(sdk, text, streamed, tools=[TOOL])
    call = first.content[1]
    assert isinstance(call, ToolUseBlock)
    assert (call.name, call.input, first.stop_reason) == (
        "get_weather",
        {"city": "Oslo", "days": [1, 2]},
        "tool_use",
    )
    history: list[Any] = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": [block.to_dict() for block in first.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "4 degrees"}],
        },
    ]
    for message in history[1]["content"]:
        message.pop("caller", None)
        message.pop("citations", None)
        message.pop("toolset_name", None)
    second = ask(sdk, "", streamed, tools=[TOOL], messages=history)
    assert isinstance(second.content[0], TextBlock)
    assert second.content[0].text == "get_weather returned: 4 degrees"
    assert second.stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_calls_have_ids_of_their_own(sdk: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(sdk, "[[sim: tools=2]]", streamed, tools=[TOOL])
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert len({call.id for call in calls}) == 2
    assert all(call.id.startswith("toolu_") for call in calls)


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_comes_sealed_and_counted(sdk: anthropic.Anthropic, streamed: bool) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    message = ask(sdk, "[[sim: thinking=Because.]] [[sim: text=So.]]", streamed, thinking=thinking)
    thought, said = message.content
    assert isinstance(thought, ThinkingBlock)
    assert isinstance(said, TextBlock)
    assert (thought.thinking, said.text) == ("Because.", "So.")
    assert thought.signature
    assert message.usage.output_tokens == 3
    history: list[Any] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [thought.to_dict(), {"type": "text", "text": said.text}]},
        {"role": "user", "content": "again"},
    ]
    assert ask(sdk, "", streamed, thinking=thinking, messages=history).stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("directive", "fields", "reason", "sequence"),
    [
        ("stop_sequence", {"stop_sequences": ["END"]}, "stop_sequence", "END"),
        ("words=99", {"max_tokens": 3}, "max_tokens", None),
        ("refusal", {}, "refusal", None),
    ],
)
def test_stop_reasons_are_the_vendors(
    sdk: anthropic.Anthropic,
    streamed: bool,
    directive: str,
    fields: dict[str, Any],
    reason: str,
    sequence: str | None,
) -> None:
    message = ask(sdk, f"[[sim: {directive}]]", streamed, **fields)
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_pictures_are_seen_also_inside_results(sdk: anthropic.Anthropic, png: str) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}
    history: list[Any] = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "shot", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [picture]},
                picture,
                {"type": "text", "text": "[[sim: image]]"},
            ],
        },
    ]
    message = ask(sdk, "", False, messages=history)
    assert isinstance(message.content[0], TextBlock)
    assert message.content[0].text == "I see 2 image(s): image/png of 108 bytes; image/png of 108 bytes."


def test_cached_tokens_are_no_part_of_input_tokens(sdk: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "rules " * 1_500, "cache_control": {"type": "ephemeral"}}]
    first = ask(sdk, "cached?", False, system=system).usage
    second = ask(sdk, "cached?", True, system=system).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (2_252, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 2_252)
    assert first.input_tokens == second.input_tokens < 10


def test_tokens_are_counted_and_models_listed(sdk: anthropic.Anthropic) -> None:
    question: list[Any] = [{"role": "user", "content": "x" * 400}]
    counted = sdk.messages.count_tokens(model="claude-opus-4-5", messages=question)
    asked = ask(sdk, "x" * 400, False)
    assert counted.input_tokens == asked.usage.input_tokens == 102
    assert "claude-haiku-4-5" in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve("claude-haiku-4-5").display_name == "Haiku"


def test_a_stream_has_the_events_of_the_vendor_in_their_order(messages: Post) -> None:
    reply = messages(stream=True, messages=[{"role": "user", "content": "[[sim: tool=a {}]]"}])
    events = [line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event: ")]
    assert events == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    # The vendor opens arguments with an empty piece, and a tool without arguments has no other.
    assert '"partial_json": ""' in reply.text


@pytest.mark.parametrize(
    "script", ["[[sim: words=40]]", "[[sim: thinking]] [[sim: tools=3]]", "[[sim: tool=a {}]]", "plain"]
)
def test_a_stream_says_what_the_whole_reply_says(messages: Post, script: str) -> None:
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": script}], "tools": [TOOL]}
    streamed = messages(**fields, stream=True)
    told = whole(streamed.headers["content-type"], streamed.content)
    plain = messages(**fields, stream=False).json()
    for reply in (told, plain):
        for block in reply["content"]:
            block.pop("id", None)
    assert [told[name] for name in ("content", "stop_reason", "role", "model")] == [
        plain[name] for name in ("content", "stop_reason", "role", "model")
    ]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 504, 529, 418])
def test_statuses_come_as_the_sdk_expects_them(sdk: anthropic.Anthropic, status: int) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        ask(sdk, f"[[sim: status={status} retry_after=7]]", False)
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.json()["type"] == "error"


def test_an_unknown_model_is_not_found(messages: Post) -> None:
    reply = messages(model="claude-sonet-4-5")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"anthropic-version": "2023-06-01"}, 401),
        ({"x-api-key": "k"}, 400),
        ({"authorization": "Bearer k", "anthropic-version": "2023-06-01"}, 200),
    ],
)
def test_credentials_and_the_version_are_wanted(messages: Post, headers: dict[str, str], status: int) -> None:
    assert messages(headers=headers).status_code == status


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(
    simulator: Simulator, http: httpx.Client, body: bytes
) -> None:
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    reply = http.post(f"{simulator.url('anthropic')}/v1/messages", content=body, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("The request body is not valid JSON")


def test_an_error_event_has_the_vendors_form(messages: Post) -> None:
    reply = messages(stream=True, messages=[{"role": "user", "content": "[[sim: first_event_error]]"}])
    assert reply.status_code == 200
    kind, data = reply.text.strip().split("\n")
    assert kind == "event: error"
    error = json.loads(data.removeprefix("data: "))
    assert error == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
