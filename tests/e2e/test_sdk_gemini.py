"""Google's own SDK against a live engine: every kind of answer, by every kind of provider, whole and streamed."""

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from google import genai
from google.genai import errors, types

from engine.simulator import Simulator
from engine.simulator.anthropic_wire import call_id as anthropic_id
from engine.simulator.channel import Received
from engine.simulator.gemini_wire import call_id as gemini_id
from engine.simulator.models import PROVIDERS
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
class Heard:
    """A reply as the SDK reads it. `kept` is what a client puts into its history."""

    text: str
    thinking: str
    calls: list[tuple[str, str, Any]]
    stop: str
    usage: Any
    model: str
    kept: list[types.Content]


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "exclusiveMinimum": 0}},
}


class Client:
    def __init__(self, sdk: genai.Client) -> None:
        self.sdk = sdk

    def ask(self, model: str, history: list[Any], streamed: bool, **config: Any) -> Heard:
        asked: Any = {"model": model, "contents": history, "config": types.GenerateContentConfig(**config)}
        if streamed:
            replies = list(self.sdk.models.generate_content_stream(**asked))
        else:
            replies = [self.sdk.models.generate_content(**asked)]
        contents = [reply.candidates[0].content for reply in replies if reply.candidates]
        kept = [content for content in contents if content is not None and content.parts]
        parts = [part for content in kept for part in content.parts or ()]
        calls = [part.function_call for part in parts if part.function_call]
        assert replies[-1].candidates
        finish = replies[-1].candidates[0].finish_reason
        return Heard(
            "".join(part.text for part in parts if part.text and not part.thought),
            "".join(part.text for part in parts if part.text and part.thought),
            [(call.id or "", call.name or "", call.args) for call in calls],
            finish.value if finish else "",
            replies[-1].usage_metadata,
            replies[-1].model_version or "",
            kept,
        )


def user(text: str, *pictures: str) -> types.Content:
    parts = [types.Part.from_bytes(data=base64.b64decode(one), mime_type="image/png") for one in pictures]
    return types.Content(role="user", parts=[*parts, types.Part(text=text)])


def results(heard: Heard, *texts: str) -> list[types.Content]:
    told = [
        types.Part(function_response=types.FunctionResponse(id=id, name=name, response={"output": text}))
        for (id, name, _), text in zip(heard.calls, texts, strict=True)
    ]
    return [*heard.kept, types.Content(role="user", parts=told)]


def tools(*names: str) -> dict[str, Any]:
    declared = [
        types.FunctionDeclaration(name=name, description="Looks.", parameters_json_schema=SCHEMA)
        for name in names
    ]
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return {"tools": [types.Tool(function_declarations=declared)], "automatic_function_calling": off}


def thinking() -> dict[str, Any]:
    return {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_budget=2_000)}


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    options = types.HttpOptions(
        base_url=house.url, headers={"x-weave-session": uuid.uuid4().hex}, timeout=20_000
    )
    sdk = genai.Client(api_key="the client's", http_options=options)
    yield Client(sdk)
    sdk.close()


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


EVERYONE = ("gemini", "gemini-older", "opus", "gpt", "sol", "deepseek", "local", "routed")
everyone = pytest.mark.parametrize("model", EVERYONE)
STOPS = {"end": "STOP", "tools": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
IDS = {
    "anthropic-messages": anthropic_id,
    "openai-chat": openai_id,
    "openai-responses": openai_id,
    "gemini": gemini_id,
}


def check(heard: Heard, house: House) -> None:
    """That the client reads what the model had to say."""
    record = house.last
    assert record.answer is not None
    blocks, tokens = record.answer.blocks, record.answer.tokens
    id_of = IDS[PROVIDERS[record.provider].protocol]
    assert heard.text == "".join(block.text for block in blocks if isinstance(block, Say))
    assert heard.calls == [
        (id_of(block.key), block.name, json.loads(block.arguments))
        for block in blocks
        if isinstance(block, Call)
    ]
    assert heard.stop == STOPS[record.answer.stop]
    usage = heard.usage
    thoughts = usage.thoughts_token_count or 0
    assert usage.prompt_token_count == tokens.prompt
    assert (usage.candidates_token_count or 0) + thoughts == tokens.output
    assert usage.total_token_count == tokens.prompt + tokens.output
    if record.provider != "onprem":  # which tells nothing about its cache and its reasoning
        assert (usage.cached_content_token_count or 0) == tokens.read
        assert thoughts == tokens.thinking


@everyone
def test_text(client: Client, house: House, model: str, streamed: bool) -> None:
    heard = client.ask(model, [user("[[sim: text=Grüße, 世界 🌍! «\\n»]]")], streamed)
    check(heard, house)
    assert heard.text == "Grüße, 世界 🌍! «\\n»"


@everyone
def test_a_tool_call_in_two_rounds(client: Client, house: House, model: str, streamed: bool) -> None:
    script = '[[sim: text=One moment.]] [[sim: tool=get_weather {"city": "Oslo", "days": [1, {"a": "é"}]}]]'
    history: list[Any] = [user(script)]
    first = client.ask(model, history, streamed, **tools("get_weather"))
    check(first, house)
    history += results(first, "4 degrees")
    second = client.ask(model, history, streamed, **tools("get_weather"))
    check(second, house)
    assert second.text == "get_weather returned: 4 degrees"


@everyone
def test_parallel_tools_in_two_rounds(client: Client, house: House, model: str, streamed: bool) -> None:
    offered = tools("get_weather", "get_time", "get_news")
    history: list[Any] = [user("[[sim: tools=3]]")]
    first = client.ask(model, history, streamed, **offered)
    check(first, house)
    assert [name for _, name, _ in first.calls] == ["get_weather", "get_time", "get_news"]
    history += results(first, "rain", "noon", "none")
    second = client.ask(model, history, streamed, **offered)
    check(second, house)
    assert second.text == "get_weather returned: rain; get_time returned: noon; get_news returned: none"


@pytest.mark.parametrize("first_model", ["opus", "gpt", "gemini-older"])
def test_a_loop_moves_to_a_model_that_wants_its_calls_signed(
    client: Client, house: House, first_model: str, streamed: bool
) -> None:  # G84
    history: list[Any] = [user("[[sim: tool=look]]")]
    first = client.ask(first_model, history, streamed, **tools("look"))
    history += results(first, "a door")
    second = client.ask("gemini", history, streamed, **tools("look"))
    check(second, house)
    assert second.text == "look returned: a door"


@pytest.mark.parametrize("model", ["gemini", "opus", "gpt", "routed"])
def test_an_image(client: Client, house: House, png: str, model: str, streamed: bool) -> None:
    heard = client.ask(model, [user("[[sim: image]]", png, png)], streamed)
    check(heard, house)
    assert heard.text == "I see 2 image(s): image/png of 108 bytes; image/png of 108 bytes."


@pytest.mark.parametrize("model", ["gemini-older", "opus", "deepseek", "local", "routed"])
def test_thinking_that_is_shown(client: Client, house: House, model: str, streamed: bool) -> None:
    script = "[[sim: thinking=Because of that.]] [[sim: text=So it is.]]"
    heard = client.ask(model, [user(script)], streamed, **thinking())
    check(heard, house)
    assert (heard.thinking, heard.text) == ("Because of that.", "So it is.")


@pytest.mark.parametrize("model", ["gemini-older", "opus", "deepseek", "routed", "gpt"])
def test_thinking_inside_a_tool_loop(client: Client, house: House, model: str, streamed: bool) -> None:
    history: list[Any] = [user("[[sim: thinking=I must look.]] [[sim: tool=look]]")]
    asked = {**tools("look"), **thinking()}
    first = client.ask(model, history, streamed, **asked)
    check(first, house)
    history += results(first, "a door")
    second = client.ask(model, history, streamed, **asked)
    check(second, house)
    assert second.text == "look returned: a door"
    if model == "opus":  # what Claude signed came back to it through Google's SDK
        assert "signature" in json.dumps(house.last.json["messages"])


@everyone
@pytest.mark.parametrize("name", ["", "second"])
def test_a_forced_tool(client: Client, house: House, model: str, streamed: bool, name: str) -> None:
    calling = types.FunctionCallingConfig(
        mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=[name] if name else None
    )
    config = types.ToolConfig(function_calling_config=calling)
    heard = client.ask(model, [user("go")], streamed, tool_config=config, **tools("first", "second"))
    check(heard, house)
    assert [call[1] for call in heard.calls] == [name or "first"]


@pytest.mark.parametrize("model", [model for model in EVERYONE if model != "local"])
def test_a_429_with_its_delay(client: Client, house: House, model: str, streamed: bool) -> None:
    with pytest.raises(errors.ClientError) as caught:
        client.ask(model, [user("[[sim: status=429 retry_after=17]]")], streamed)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "17s" in str(caught.value.details)


@everyone
def test_an_overload_in_mid_stream(client: Client, house: House, model: str) -> None:
    with pytest.raises(errors.APIError, match="verloaded"):
        client.ask(model, [user("[[sim: words=80]] [[sim: error_in_stream=5 seconds=0.2]]")], True)
    assert len(house.simulator.received) == 1


@everyone
@pytest.mark.parametrize("trouble", ["cut=4", "unended=4"])
def test_an_answer_that_breaks_off_never_looks_complete(
    client: Client, house: House, model: str, trouble: str
) -> None:
    with pytest.raises(errors.APIError):
        client.ask(model, [user(f"[[sim: words=80]] [[sim: {trouble}]]")], True)


@everyone
def test_a_system_prompt_reaches_the_model(client: Client, house: House, model: str, streamed: bool) -> None:
    heard = client.ask(model, [user("hi")], streamed, system_instruction="[[sim: text=As the rules say.]]")
    check(heard, house)
    assert heard.text == "As the rules say."


def test_the_clients_credential_reaches_no_provider(client: Client, house: House) -> None:
    client.ask("gemini", [user("hello")], False)
    assert not any("the client's" in value for value in house.last.headers.values())


@pytest.mark.parametrize("model", ["gemini", "opus"])
def test_tokens_are_counted_before_the_call(client: Client, house: House, model: str) -> None:
    counted = client.sdk.models.count_tokens(model=model, contents="word " * 400)
    assert counted.total_tokens is not None
    assert 300 < counted.total_tokens < 800


def test_models_are_listed(client: Client, house: House) -> None:
    assert {"models/opus", "models/gemini"} <= {model.name for model in client.sdk.models.list()}
