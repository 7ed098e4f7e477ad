"""OpenAI's own SDK reads what the simulator writes; where it says too little, the bytes are read."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from engine.simulator import Simulator
from engine.simulator.transcript import whole

Post = Callable[..., httpx.Response]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def sdk(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.url("openai"), api_key="k", max_retries=0) as client:
        yield client


def ask(sdk: openai.OpenAI, text: str, streamed: bool, **fields: Any) -> ChatCompletion:
    """One question, answered whole or as a stream that the SDK puts together."""
    asked: dict[str, Any] = {"model": "gpt-5.4", "messages": [{"role": "user", "content": text}], **fields}
    if not streamed:
        completion = sdk.chat.completions.create(**asked)
        assert isinstance(completion, ChatCompletion)
        return completion
    with sdk.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        return stream.get_final_completion()


@pytest.mark.parametrize("streamed", [False, True])
def test_text_reaches_the_sdk(sdk: openai.OpenAI, streamed: bool) -> None:
    completion = ask(sdk, "[[sim: text=Good morning, world]]", streamed)
    assert completion.choices[0].message.content == "Good morning, world"
    assert (completion.choices[0].finish_reason, completion.model) == ("stop", "gpt-5.4")
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (13, 5)
    assert completion.usage.total_tokens == 18


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_and_its_result_make_two_rounds(sdk: openai.OpenAI, streamed: bool) -> None:
    text = '[[sim: tool=get_weather {"city": "Oslo", "days": [1, 2]}]]'
    first = ask(sdk, text, streamed, tools=[TOOL])
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.tool_calls is not None
    (call,) = first.choices[0].message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Oslo", "days": [1, 2]}
    history: list[Any] = [
        {"role": "user", "content": text},
        {"role": "assistant", "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "4 degrees"},
    ]
    for made in history[1]["tool_calls"]:
        made.pop("index", None)
        made["function"] = {key: made["function"][key] for key in ("name", "arguments")}
    second = ask(sdk, "", streamed, tools=[TOOL], messages=history)
    assert second.choices[0].message.content == "get_weather returned: 4 degrees"


@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_calls_have_ids_of_their_own(sdk: openai.OpenAI, streamed: bool) -> None:
    calls = ask(sdk, "[[sim: tools=2]]", streamed, tools=[TOOL]).choices[0].message.tool_calls
    assert calls is not None
    assert len({call.id for call in calls}) == 2
    assert all(call.id.startswith("call_") for call in calls)


@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_is_counted_and_not_shown(sdk: openai.OpenAI, streamed: bool) -> None:
    completion = ask(sdk, "[[sim: text=So.]]", streamed, reasoning_effort="high")
    assert completion.choices[0].message.content == "So."
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    reasoning = completion.usage.completion_tokens_details.reasoning_tokens
    assert reasoning is not None
    assert completion.usage.completion_tokens == reasoning + 1 > 10


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("directive", "fields", "reason"),
    [
        ("stop_sequence", {"model": "gpt-4.1", "stop": ["END"]}, "stop"),
        ("refusal", {}, "stop"),
    ],
)
def test_finish_reasons_are_the_vendors(
    sdk: openai.OpenAI, streamed: bool, directive: str, fields: dict[str, Any], reason: str
) -> None:
    choice = ask(sdk, f"[[sim: {directive}]]", streamed, **fields).choices[0]
    assert choice.finish_reason == reason
    assert (choice.message.refusal == "I can't help with that.") == (directive == "refusal")


def test_the_limit_ends_an_answer_with_length(chat: Post) -> None:
    reply = chat(messages=[{"role": "user", "content": "[[sim: words=99]]"}], max_tokens=3).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 3


def test_pictures_are_seen(sdk: openai.OpenAI, png: str) -> None:
    parts = [
        {"type": "text", "text": "[[sim: image]]"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]
    completion = ask(sdk, "", False, messages=[{"role": "user", "content": parts}])
    told = "I see 2 image(s): image/png of 108 bytes; an image at https://example.com/cat.png."
    assert completion.choices[0].message.content == told


def test_cached_tokens_are_part_of_prompt_tokens(sdk: openai.OpenAI) -> None:
    rules = [{"role": "system", "content": "rules " * 1_500}, {"role": "user", "content": "cached here?"}]
    first, second = (ask(sdk, "", streamed, messages=rules).usage for streamed in (False, True))
    assert first is not None
    assert second is not None
    assert first.prompt_tokens == second.prompt_tokens == 2_261
    assert first.prompt_tokens_details is not None
    assert second.prompt_tokens_details is not None
    assert (first.prompt_tokens_details.cached_tokens, second.prompt_tokens_details.cached_tokens) == (
        0,
        2_176,
    )


def test_models_are_listed(sdk: openai.OpenAI) -> None:
    assert "gpt-4.1" in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve("gpt-4.1").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-0")


def events(reply: httpx.Response) -> list[Any]:
    data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(each) for each in data[:-1]]


def test_a_stream_begins_with_the_role_and_ends_with_usage_of_its_own(chat: Post) -> None:
    chunks = events(chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] > 0
    assert {chunk["usage"] for chunk in chunks[:-1]} == {None}
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_usage_stays_away_unless_asked_for(chat: Post) -> None:
    assert not any("usage" in chunk for chunk in events(chat(stream=True)))


def test_deepseek_shows_its_reasoning_and_puts_usage_on_the_last_chunk(chat: Post) -> None:
    fields: dict[str, Any] = {
        "provider": "deepseek",
        "model": "deepseek-chat",
        "thinking": {"type": "enabled"},
    }
    message = chat(**fields).json()["choices"][0]["message"]
    assert message["reasoning_content"]
    chunks = events(chat(**fields, stream=True))
    assert any(chunk["choices"][0]["delta"].get("reasoning_content") for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["prompt_cache_miss_tokens"] > 0


def test_openrouter_begins_with_a_comment_and_always_tells_usage(chat: Post) -> None:
    fields: dict[str, Any] = {"provider": "openrouter", "model": "anthropic/claude-opus-4.5", "reasoning": {}}
    reply = chat(**fields, stream=True)
    assert reply.text.startswith(": OPENROUTER PROCESSING\n\n")
    assert events(reply)[-1]["usage"]["completion_tokens"] > 0
    thought = chat(**fields, reasoning_effort="high").json()["choices"][0]["message"]
    assert thought["reasoning"] == thought["reasoning_details"][0]["text"]


def test_vllm_wants_no_key_and_numbers_its_codes(chat: Post) -> None:
    assert chat(provider="onprem", model="qwen-coder", headers={}).status_code == 200
    error = chat(provider="onprem", model="qwen-coder", headers={}, messages=[]).json()["error"]
    assert (error["code"], error["type"]) == (400, "BadRequestError")


@pytest.mark.parametrize("script", ["[[sim: words=40]]", "[[sim: tools=3]]", "[[sim: tool=a {}]]", "plain"])
@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-4.1"), ("deepseek", "deepseek-chat"), ("onprem", "qwen-coder")]
)
def test_a_stream_says_what_the_whole_reply_says(chat: Post, provider: str, model: str, script: str) -> None:
    fields: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "messages": [{"role": "user", "content": script}],
        "tools": [TOOL],
    }
    streamed = chat(**fields, stream=True)
    told = whole(streamed.headers["content-type"], streamed.content)["choices"][0]
    plain = chat(**fields).json()["choices"][0]
    for choice in (told, plain):
        for call in choice["message"].get("tool_calls", ()):
            call.pop("id")
    assert told["finish_reason"] == plain["finish_reason"]
    for name in ("content", "tool_calls"):
        assert told["message"].get(name) == plain["message"].get(name)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503, 529, 418])
def test_statuses_come_as_the_sdk_expects_them(sdk: openai.OpenAI, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(sdk, f"[[sim: status={status} retry_after=7]]", False)
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.json()["error"]["message"]


def test_an_unknown_model_is_not_found(chat: Post) -> None:
    reply = chat(model="gpt-0")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_a_request_without_a_key_is_not_let_in(chat: Post) -> None:
    assert chat(headers={}).status_code == 401
    assert chat(headers={"authorization": "Basic x"}).status_code == 401


@pytest.mark.parametrize("streamed", [True])
def test_an_error_event_reaches_the_sdk_as_an_error(sdk: openai.OpenAI, streamed: bool) -> None:
    with pytest.raises(openai.APIError, match="overloaded"):
        ask(sdk, "[[sim: error_in_stream]] [[sim: words=30]]", streamed)


def test_openrouter_ends_a_broken_stream_with_an_error_chunk(chat: Post) -> None:
    script = [{"role": "user", "content": "[[sim: error_in_stream]] [[sim: words=30]]"}]
    reply = chat(provider="openrouter", model="anthropic/claude-opus-4.5", messages=script, stream=True)
    last = json.loads(reply.text.strip().splitlines()[-1].removeprefix("data: "))
    assert last["error"]["code"] == 529
    assert last["choices"][0]["finish_reason"] == "error"
