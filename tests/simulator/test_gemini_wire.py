"""Google's own SDK reads what the simulator writes; where it says too little, the bytes are read."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from engine.simulator import Simulator

Post = Callable[..., httpx.Response]


@pytest.fixture
def sdk(simulator: Simulator) -> Iterator[genai.Client]:
    base = simulator.url("google").removesuffix("/v1beta")
    options = types.HttpOptions(base_url=base, api_version="v1beta", timeout=10_000)
    client = genai.Client(api_key="k", http_options=options)
    yield client
    client.close()


@pytest.fixture
def post(simulator: Simulator, http: httpx.Client) -> Post:
    def send(body: Any, call: str = "gemini-2.5-flash:generateContent", **headers: str) -> httpx.Response:
        url = f"{simulator.url('google')}/models/{call}"
        return http.post(url, json=body, headers={"x-goog-api-key": "k"} | headers)

    return send


def ask(sdk: genai.Client, text: str, streamed: bool, **config: Any) -> list[types.GenerateContentResponse]:
    asked: Any = {"model": "gemini-2.5-flash", "contents": text, "config": config}
    if streamed:
        return list(sdk.models.generate_content_stream(**asked))
    return [sdk.models.generate_content(**asked)]


def parts_of(replies: list[types.GenerateContentResponse]) -> list[types.Part]:
    return [part for reply in replies for part in reply.parts or ()]


@pytest.mark.parametrize("streamed", [False, True])
def test_text_reaches_the_sdk(sdk: genai.Client, streamed: bool) -> None:
    replies = ask(sdk, "[[sim: text=Good morning, world]]", streamed)
    assert "".join(part.text or "" for part in parts_of(replies)) == "Good morning, world"
    usage = replies[-1].usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (11, 5, 16)
    assert replies[-1].candidates
    assert replies[-1].candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_come_whole_and_the_first_is_signed(sdk: genai.Client, streamed: bool) -> None:
    declared = {"function_declarations": [{"name": name, "description": "d"} for name in ("one", "two")]}
    off = {"disable": True}
    replies = ask(sdk, "[[sim: tools=2]]", streamed, tools=[declared], automatic_function_calling=off)
    calls = [part for part in parts_of(replies) if part.function_call]
    assert [part.function_call.name for part in calls if part.function_call] == ["one", "two"]
    assert [part.thought_signature is not None for part in calls] == [True, False]


@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_are_shown_where_they_are_asked_for(sdk: genai.Client, streamed: bool) -> None:
    text = "[[sim: thinking=Hm.]] [[sim: text=So.]]"
    shown = ask(sdk, text, streamed, thinking_config={"include_thoughts": True, "thinking_budget": 200})
    assert "".join(part.text or "" for part in parts_of(shown) if part.thought) == "Hm."
    usage = shown[-1].usage_metadata
    assert usage is not None
    assert usage.thoughts_token_count
    hidden = ask(sdk, text, streamed, thinking_config={"thinking_budget": 0})
    assert not any(part.thought for part in parts_of(hidden))


def test_refusals_are_googles(sdk: genai.Client, post: Post) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(sdk, "[[sim: status=429 retry_after=7]]", True)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert post({}, "nobody:generateContent").json()["error"]["status"] == "NOT_FOUND"
    assert post({}, **{"x-goog-api-key": ""}).json()["error"]["status"] == "PERMISSION_DENIED"
    assert post({"contents": []}).json()["error"]["status"] == "INVALID_ARGUMENT"
    assert post({}, "gemini-2.5-flash:dance").status_code == 404


def test_lines_end_in_crlf_and_nothing_else_is_sent(post: Post) -> None:
    body = {"contents": [{"parts": [{"text": "[[sim: text=a b c d e f g h]]"}]}]}
    stream = post(body, "gemini-2.5-flash:streamGenerateContent").text
    frames = stream.split("\r\n\r\n")
    assert frames.pop() == ""
    assert all(json.loads(frame.removeprefix("data: "))["candidates"] for frame in frames)


def test_tokens_are_counted_and_models_listed(sdk: genai.Client) -> None:
    assert (sdk.models.count_tokens(model="gemini-2.5-flash", contents="word " * 40).total_tokens or 0) > 40
    assert {"models/gemini-2.5-flash"} <= {model.name for model in sdk.models.list()}
