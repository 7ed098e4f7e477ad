"""The official SDKs against a live engine: every kind of answer, by every kind of provider, whole and streamed.

What a client reads is compared with what the simulated model had to say, which the simulator wrote in its vendor's
format by hand. So both directions of a translation are tested by somebody who does not know the engine's code: the
vendor's own SDK on one side, the simulator's validation and wording on the other.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anthropic
import openai
import pytest

from engine.simulator import Simulator
from engine.simulator.anthropic_wire import call_id as anthropic_id
from engine.simulator.channel import Received
from engine.simulator.openai_wire import call_id as openai_id
from engine.simulator.prompt import Call, Say


class House(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def simulator(self) -> Simulator: ...
    @property
    def last(self) -> Received: ...


@dataclass(frozen=True)
class Used:
    """Tokens as every protocol counts them once: `prompt` is all of it, what was cached included."""

    prompt: int
    output: int
    read: int
    written: int
    thinking: int | None


@dataclass(frozen=True)
class Heard:
    """A reply as a client reads it, in the words of no vendor. `kept` is what it puts into its history."""

    text: str
    thinking: str
    calls: tuple[tuple[str, str, Any], ...]
    stop: str | None
    sequence: str | None
    used: Used
    model: str
    kept: Any
    headers: Mapping[str, str]


class Client(Protocol):
    """An SDK with what the tests need of it. `asked` are fields in the SDK's own words."""

    name: str

    def ask(self, model: str, history: Sequence[Any], streamed: bool, **asked: Any) -> Heard: ...
    def user(self, text: str, *pictures: str) -> Any: ...
    def results(self, heard: Heard, *texts: str) -> list[Any]: ...
    def tools(self, *names: str) -> Any: ...
    def stop_at(self, *sequences: str) -> dict[str, Any]: ...
    def at_most(self, tokens: int) -> dict[str, Any]: ...
    def force(self, name: str) -> dict[str, Any]: ...
    def thinking(self) -> dict[str, Any]: ...


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


class Anthropic:
    name = "anthropic"

    def __init__(self, sdk: anthropic.Anthropic) -> None:
        self.sdk = sdk

    def ask(self, model: str, history: Sequence[Any], streamed: bool, **asked: Any) -> Heard:
        fields = {"model": model, "messages": list(history), "max_tokens": 4_000, **asked}
        if streamed:
            with self.sdk.messages.stream(**fields) as stream:
                message: Any = stream.get_final_message()
                headers = dict(stream.response.headers)
        else:
            raw = self.sdk.messages.with_raw_response.create(**fields)
            message, headers = raw.parse(), dict(raw.headers)
        blocks = [_clean(block.to_dict()) for block in message.content]
        usage = message.usage
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        details = usage.output_tokens_details
        thinking = details.thinking_tokens if details is not None else None
        return Heard(
            "".join(block["text"] for block in blocks if block["type"] == "text"),
            "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
            tuple(
                (block["id"], block["name"], block["input"])
                for block in blocks
                if block["type"] == "tool_use"
            ),
            message.stop_reason,
            message.stop_sequence,
            Used(usage.input_tokens + read + written, usage.output_tokens, read, written, thinking),
            message.model,
            {"role": "assistant", "content": blocks},
            headers,
        )

    def user(self, text: str, *pictures: str) -> Any:
        blocks: list[Any] = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}}
            for picture in pictures
        ]
        return {"role": "user", "content": [*blocks, {"type": "text", "text": text}]}

    def results(self, heard: Heard, *texts: str) -> list[Any]:
        blocks = [
            {"type": "tool_result", "tool_use_id": id, "content": text}
            for (id, _, _), text in zip(heard.calls, texts, strict=True)
        ]
        return [heard.kept, {"role": "user", "content": blocks}]

    def tools(self, *names: str) -> Any:
        return [{"name": name, "description": "Looks.", "input_schema": SCHEMA} for name in names]

    def stop_at(self, *sequences: str) -> dict[str, Any]:
        return {"stop_sequences": list(sequences)}

    def at_most(self, tokens: int) -> dict[str, Any]:
        return {"max_tokens": tokens}

    def force(self, name: str) -> dict[str, Any]:
        return {"tool_choice": {"type": "tool", "name": name} if name else {"type": "any"}}

    def thinking(self) -> dict[str, Any]:
        return {"thinking": {"type": "enabled", "budget_tokens": 2_000}}


def _clean(block: dict[str, Any]) -> dict[str, Any]:
    """What the SDK adds to a block for readers and the vendor does not take back."""
    return {
        name: value for name, value in block.items() if value is not None and name not in ("parsed_output",)
    }


class OpenAI:
    name = "openai"

    def __init__(self, sdk: openai.OpenAI) -> None:
        self.sdk = sdk

    def ask(self, model: str, history: Sequence[Any], streamed: bool, **asked: Any) -> Heard:
        fields = {"model": model, "messages": list(history), **asked}
        if streamed:
            raw: Any = self.sdk.chat.completions.with_raw_response.create(
                **fields, stream=True, stream_options={"include_usage": True}
            )
            completion, headers = _put_together(raw.parse()), dict(raw.headers)
        else:
            raw = self.sdk.chat.completions.with_raw_response.create(**fields)
            completion, headers = raw.parse().to_dict(), dict(raw.headers)
        choice, usage = completion["choices"][0], completion["usage"]
        message = choice["message"]
        kept = {
            name: message[name] for name in ("role", "content", "tool_calls") if message.get(name) is not None
        }
        if message.get("reasoning_content"):
            kept["reasoning_content"] = message["reasoning_content"]
        prompt_details = usage.get("prompt_tokens_details") or {}
        output_details = usage.get("completion_tokens_details") or {}
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        return Heard(
            message.get("content") or message.get("refusal") or "",
            message.get("reasoning_content") or message.get("reasoning") or "",
            tuple(
                (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in message.get("tool_calls") or ()
            ),
            choice["finish_reason"],
            None,
            Used(
                usage["prompt_tokens"],
                usage["completion_tokens"],
                prompt_details.get("cached_tokens") or 0,
                prompt_details.get("cache_write_tokens") or 0,
                output_details.get("reasoning_tokens"),
            ),
            completion["model"],
            kept,
            headers,
        )

    def user(self, text: str, *pictures: str) -> Any:
        parts: list[Any] = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
            for picture in pictures
        ]
        return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}

    def results(self, heard: Heard, *texts: str) -> list[Any]:
        told = [
            {"role": "tool", "tool_call_id": id, "content": text}
            for (id, _, _), text in zip(heard.calls, texts, strict=True)
        ]
        return [heard.kept, *told]

    def tools(self, *names: str) -> Any:
        return [
            {"type": "function", "function": {"name": name, "description": "Looks.", "parameters": SCHEMA}}
            for name in names
        ]

    def stop_at(self, *sequences: str) -> dict[str, Any]:
        return {"stop": list(sequences)}

    def at_most(self, tokens: int) -> dict[str, Any]:
        return {"max_completion_tokens": tokens}

    def force(self, name: str) -> dict[str, Any]:
        return {"tool_choice": {"type": "function", "function": {"name": name}} if name else "required"}

    def thinking(self) -> dict[str, Any]:
        return {"reasoning_effort": "high"}


def _put_together(chunks: Any) -> dict[str, Any]:
    """A stream's chunks as the completion they amount to; each part of the order that SDKs rely on is checked."""
    reply: dict[str, Any] = {}
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    finish = usage = None
    for chunk in chunks:
        told = chunk.to_dict()
        assert usage is None, "usage comes last"
        assert reply.get("id", told["id"]) == told["id"]
        reply = {"id": told["id"], "model": told["model"]}
        usage = told.get("usage")
        for choice in told["choices"]:
            assert finish is None, "nothing comes after the finish reason"
            _add(choice["delta"], message, calls)
            finish = choice.get("finish_reason")
    assert finish is not None
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {**reply, "choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def _add(delta: dict[str, Any], message: dict[str, Any], calls: dict[int, dict[str, Any]]) -> None:
    if "role" in delta:
        message["role"] = delta["role"]
    for name in ("content", "refusal", "reasoning_content", "reasoning"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    for piece in delta.get("tool_calls") or ():
        call = calls.setdefault(
            piece["index"], {"type": "function", "function": {"name": "", "arguments": ""}}
        )
        if piece.get("id"):
            assert "id" not in call, "a call's id comes once"
            call["id"] = piece["id"]
        call["function"]["name"] += piece["function"].get("name") or ""
        call["function"]["arguments"] += piece["function"].get("arguments") or ""


@pytest.fixture(params=["anthropic", "openai"])
def client(house: House, request: pytest.FixtureRequest) -> Iterator[Client]:
    headers = {"x-weave-session": uuid.uuid4().hex}
    if request.param == "anthropic":
        with anthropic.Anthropic(
            base_url=house.url, api_key="the client's", max_retries=0, timeout=20, default_headers=headers
        ) as sdk:
            yield Anthropic(sdk)
    else:
        with openai.OpenAI(
            base_url=f"{house.url}/v1",
            api_key="the client's",
            max_retries=0,
            timeout=20,
            default_headers=headers,
        ) as other:
            yield OpenAI(other)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# Who serves: Anthropic itself, OpenAI's reasoning and plain models, and the vendors who copied OpenAI's format.
EVERYONE = ("opus", "gpt", "gpt-plain", "sol", "deepseek", "local", "routed")
SEEING = ("opus", "gpt", "gpt-plain", "sol", "routed")
THINKING = ("opus", "deepseek", "local", "routed")  # those that show what they think
ALONE = tuple(model for model in EVERYONE if model != "local")  # local has a chain of others behind it

everyone = pytest.mark.parametrize("model", EVERYONE)

STOPS = {
    "anthropic": {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "refusal": "refusal"},
    "openai": {"end": "stop", "tools": "tool_calls", "length": "length", "refusal": "content_filter"},
}


def check(heard: Heard, house: House, client: Client) -> None:
    """That the client reads what the model had to say: words, calls with their ids, why it stopped, what it used."""
    record = house.last
    assert record.answer is not None
    blocks, tokens = record.answer.blocks, record.answer.tokens
    id_of = anthropic_id if record.provider == "anthropic" else openai_id
    assert heard.text == "".join(block.text for block in blocks if isinstance(block, Say))
    assert heard.calls == tuple(
        (id_of(block.key), block.name, json.loads(block.arguments))
        for block in blocks
        if isinstance(block, Call)
    )
    assert heard.stop == STOPS[client.name][record.answer.stop]
    assert (heard.used.prompt, heard.used.output) == (tokens.prompt, tokens.output)
    if record.provider != "onprem":  # which tells nothing about its cache and its reasoning
        assert heard.used.read == tokens.read
    if record.provider == "anthropic" and client.name == "anthropic":
        assert heard.used.written == tokens.written
    if record.provider != "onprem" and tokens.thinking:
        assert heard.used.thinking == tokens.thinking


@everyone
def test_text(client: Client, house: House, model: str, streamed: bool) -> None:
    heard = client.ask(model, [client.user("[[sim: text=Grüße, 世界 🌍! «\\n»]]")], streamed)
    check(heard, house, client)
    assert heard.text == "Grüße, 世界 🌍! «\\n»"
    assert heard.headers["x-weave-model"] == model
    assert heard.headers["x-weave-rule"] == "default"
    assert heard.headers["x-weave-decision"]


@everyone
def test_a_tool_call_in_two_rounds(client: Client, house: House, model: str, streamed: bool) -> None:
    script = (
        '[[sim: text=One moment.]] [[sim: tool=get_weather {"city": "Oslo", "days": [1, {"a": "\\u00e9"}]}]]'
    )
    history = [client.user(script)]
    first = client.ask(model, history, streamed, tools=client.tools("get_weather"))
    check(first, house, client)
    assert [call[1:] for call in first.calls] == [("get_weather", {"city": "Oslo", "days": [1, {"a": "é"}]})]
    history += client.results(first, "4 degrees")
    second = client.ask(model, history, streamed, tools=client.tools("get_weather"))
    check(second, house, client)
    assert second.text == "get_weather returned: 4 degrees"


@everyone
def test_a_tool_without_arguments(client: Client, house: House, model: str, streamed: bool) -> None:
    history = [client.user("[[sim: tool=now]]")]
    first = client.ask(model, history, streamed, tools=client.tools("now"))
    check(first, house, client)
    assert [call[1:] for call in first.calls] == [("now", {})]
    history += client.results(first, "noon")
    check(client.ask(model, history, streamed, tools=client.tools("now")), house, client)


@everyone
def test_parallel_tools_in_two_rounds(client: Client, house: House, model: str, streamed: bool) -> None:
    tools = client.tools("get_weather", "get_time", "get_news")
    history = [client.user("[[sim: tools=3]]")]
    first = client.ask(model, history, streamed, tools=tools)
    check(first, house, client)
    assert [name for _, name, _ in first.calls] == ["get_weather", "get_time", "get_news"]
    history += client.results(first, "rain", "noon", "none")
    second = client.ask(model, history, streamed, tools=tools)
    check(second, house, client)
    assert second.text == "get_weather returned: rain; get_time returned: noon; get_news returned: none"


@pytest.mark.parametrize("model", SEEING)
def test_an_image(client: Client, house: House, png: str, model: str, streamed: bool) -> None:
    heard = client.ask(model, [client.user("[[sim: image]]", png, png)], streamed)
    check(heard, house, client)
    assert heard.text == "I see 2 image(s): image/png of 108 bytes; image/png of 108 bytes."


@pytest.mark.parametrize("client", ["anthropic"], indirect=True)  # OpenAI's tool messages hold no images
@pytest.mark.parametrize("model", SEEING)
def test_an_image_in_a_tool_result(
    client: Client, house: House, png: str, model: str, streamed: bool
) -> None:
    history = [client.user("[[sim: tool=look]]")]
    first = client.ask(model, history, streamed, tools=client.tools("look"))
    said, result = client.results(first, "here: [[sim: image]]")
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}
    result["content"][0]["content"] = [{"type": "text", "text": "here: [[sim: image]]"}, picture]
    second = client.ask(model, [*history, said, result], streamed, tools=client.tools("look"))
    check(second, house, client)
    assert second.text == "I see 1 image(s): image/png of 108 bytes."


@pytest.mark.parametrize("model", THINKING)
def test_thinking_that_is_shown(client: Client, house: House, model: str, streamed: bool) -> None:
    script = "[[sim: thinking=Because of that.]] [[sim: text=So it is.]]"
    heard = client.ask(model, [client.user(script)], streamed, **client.thinking())
    check(heard, house, client)
    assert (heard.thinking, heard.text) == ("Because of that.", "So it is.")


def test_reasoning_that_is_only_counted(client: Client, house: House, streamed: bool) -> None:
    heard = client.ask("gpt", [client.user("[[sim: text=So it is.]]")], streamed, **client.thinking())
    check(heard, house, client)
    assert house.last.json["reasoning_effort"] in ("low", "medium", "high")
    assert (heard.thinking, heard.text) == ("", "So it is.")
    assert heard.used.thinking is not None
    assert heard.used.thinking > 0


@pytest.mark.parametrize("model", [*THINKING, "gpt", "sol"])
def test_thinking_inside_a_tool_loop(client: Client, house: House, model: str, streamed: bool) -> None:
    """The thought goes back with the call it led to, in whatever way the provider wants it back, or not at all."""
    history = [client.user("[[sim: thinking=I must look.]] [[sim: tool=look]]")]
    asked = {"tools": client.tools("look"), **client.thinking()}
    first = client.ask(model, history, streamed, **asked)
    check(first, house, client)
    history += client.results(first, "a door")
    second = client.ask(model, history, streamed, **asked)
    check(second, house, client)
    assert second.text == "look returned: a door"


@pytest.mark.parametrize("model", ["opus", "gpt-plain", "deepseek", "local", "routed"])
def test_a_stop_sequence(client: Client, house: House, model: str, streamed: bool) -> None:
    heard = client.ask(
        model, [client.user("[[sim: stop_sequence]]")], streamed, **client.stop_at("END", "FIN")
    )
    assert heard.text == "Counting: one, two, "
    if client.name == "openai":
        assert heard.stop == "stop"
    elif model == "opus":
        assert (heard.stop, heard.sequence) == ("stop_sequence", "END")
    else:  # OpenAI's format does not tell a stop sequence from an end
        assert heard.stop in ("end_turn", "stop_sequence")


@everyone
def test_the_limit_of_tokens(client: Client, house: House, model: str, streamed: bool) -> None:
    # A reasoning model's limit holds its reasoning too, so the engine does not let it be tiny.
    limit = 1_100 if model in ("gpt", "sol") else 30
    heard = client.ask(model, [client.user("[[sim: words=1500]]")], streamed, **client.at_most(limit))
    check(heard, house, client)
    assert heard.used.output == limit


@pytest.mark.parametrize("model", ["opus", "gpt", "local"])
def test_a_refusal(client: Client, house: House, model: str, streamed: bool) -> None:
    heard = client.ask(model, [client.user("[[sim: refusal]]")], streamed)
    assert heard.text in ("", "I can't help with that.")
    assert heard.stop in (STOPS[client.name]["refusal"], "stop" if client.name == "openai" else "refusal")


@everyone
@pytest.mark.parametrize("name", ["", "second"])
def test_a_forced_tool(client: Client, house: House, model: str, streamed: bool, name: str) -> None:
    heard = client.ask(
        model, [client.user("go")], streamed, tools=client.tools("first", "second"), **client.force(name)
    )
    check(heard, house, client)
    assert [call[1] for call in heard.calls] == [name or "first"]


@pytest.mark.parametrize("model", ["opus", "gpt", "routed"])
def test_a_prompt_the_provider_has_cached(client: Client, house: House, model: str, streamed: bool) -> None:
    rules = f"{uuid.uuid4()} " + "Keep to the rules of the house. " * 400
    history = [client.user(rules), client.user("[[sim: text=ok]]")]
    if client.name == "anthropic":
        history[0]["content"][0]["cache_control"] = {"type": "ephemeral"}
    client.ask(model, history, streamed)
    heard = client.ask(model, history, streamed)
    check(heard, house, client)
    marked = client.name == "anthropic" and model == "opus"
    if marked or model == "gpt":
        assert heard.used.read > 2_000


def errors(client: Client) -> type[Exception]:
    return anthropic.APIStatusError if client.name == "anthropic" else openai.APIStatusError


@pytest.mark.parametrize("model", ALONE)
def test_a_429_with_retry_after(client: Client, house: House, model: str, streamed: bool) -> None:
    with pytest.raises(errors(client)) as caught:
        client.ask(model, [client.user("[[sim: status=429 retry_after=17]]")], streamed)
    error: Any = caught.value
    assert error.status_code == 429
    assert error.response.headers["retry-after"] == "17"
    kind = anthropic.RateLimitError if client.name == "anthropic" else openai.RateLimitError
    assert isinstance(error, kind)


@everyone
def test_an_overload_in_mid_stream(client: Client, house: House, model: str) -> None:
    kind = anthropic.APIError if client.name == "anthropic" else openai.APIError
    with pytest.raises(kind, match="verloaded"):
        client.ask(model, [client.user("[[sim: words=80]] [[sim: error_in_stream=5 seconds=0.2]]")], True)
    assert len(house.simulator.received) == 1


@pytest.mark.parametrize("model", ALONE)
@pytest.mark.parametrize("trouble", ["error_in_stream=before", "first_event_error"])
def test_an_overload_before_any_content_is_a_status(
    client: Client, house: House, model: str, trouble: str, streamed: bool
) -> None:
    with pytest.raises(errors(client), match="verloaded") as caught:
        client.ask(model, [client.user(f"[[sim: {trouble}]]")], streamed)
    error: Any = caught.value
    assert error.status_code >= 500


@pytest.mark.parametrize(
    "trouble",
    ["status=529", "status=500", "status=429", "html_502", "drop", "empty", "error_in_stream=before",
     "first_event_error", "cut=0", "malformed=0", "unended=0"],
)  # fmt: skip
def test_another_model_takes_over_while_nothing_was_said(
    client: Client, house: House, trouble: str, streamed: bool
) -> None:
    script = f"[[sim: provider=onprem {trouble}]] [[sim: text=I am another.]]"
    heard = client.ask("local", [client.user(script)], streamed)
    check(heard, house, client)
    assert heard.text == "I am another."
    assert heard.headers["x-weave-model"] == "haiku"
    asked = [record.provider for record in house.simulator.received]
    if trouble == "drop" and asked[:2] == ["onprem", "onprem"]:
        asked.pop(
            0
        )  # a connection closed before any answer may have been a stale one: the engine asks once more
    assert asked == ["onprem", "anthropic"]


@everyone
@pytest.mark.parametrize("trouble", ["cut=4", "unended=4"])
def test_an_answer_that_breaks_off_never_looks_complete(
    client: Client, house: House, model: str, trouble: str
) -> None:
    kind = anthropic.APIError if client.name == "anthropic" else openai.APIError
    with pytest.raises(kind):
        client.ask(model, [client.user(f"[[sim: words=80]] [[sim: {trouble}]]")], True)
    assert len(house.simulator.received) == 1


@pytest.mark.parametrize("model", ["opus", "gpt"])
def test_a_client_that_leaves_takes_the_provider_with_it(client: Client, house: House, model: str) -> None:
    history = [client.user("[[sim: words=80]] [[sim: stall=4]]")]
    if isinstance(client, Anthropic):
        with client.sdk.messages.stream(model=model, max_tokens=500, messages=history) as stream:
            next(text for text in stream.text_stream)
    else:
        assert isinstance(client, OpenAI)
        with client.sdk.chat.completions.create(model=model, messages=history, stream=True) as chunks:
            next(chunk for chunk in chunks if chunk.choices[0].delta.content)
    assert _until(lambda: house.last.client_gone)


def _until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_the_clients_credential_reaches_no_provider(client: Client, house: House) -> None:
    client.ask("opus", [client.user("hello")], False)
    assert not any("the client's" in value for value in house.last.headers.values())


@pytest.mark.parametrize("model", EVERYONE)
def test_a_system_prompt_reaches_the_model(client: Client, house: House, model: str, streamed: bool) -> None:
    rule = "[[sim: text=As the rules say.]]"
    if client.name == "anthropic":
        heard = client.ask(model, [client.user("hi")], streamed, system=[{"type": "text", "text": rule}])
    else:
        heard = client.ask(model, [{"role": "system", "content": rule}, client.user("hi")], streamed)
    check(heard, house, client)
    assert heard.text == "As the rules say."


def test_tokens_are_counted_before_the_call(house: House) -> None:
    with anthropic.Anthropic(base_url=house.url, api_key="x", max_retries=0) as sdk:
        for model in ("opus", "gpt"):
            counted = sdk.messages.count_tokens(
                model=model, messages=[{"role": "user", "content": "word " * 400}]
            )
            assert 300 < counted.input_tokens < 800


def test_models_are_listed_for_both(house: House) -> None:
    with anthropic.Anthropic(base_url=house.url, api_key="x", max_retries=0) as claude:
        assert {"opus", "gpt"} <= {model.id for model in claude.models.list()}
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="x", max_retries=0) as gpt:
        assert {"opus", "gpt"} <= {model.id for model in gpt.models.list()}
