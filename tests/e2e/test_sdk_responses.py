"""OpenAI's SDK in its newer API against a live engine: every kind of answer, by providers of every protocol.

What the client reads is compared with what the simulated model had to say. Streams are held to the order that
Codex and opencode rely on: every item announced, grown, told in full, and the whole response at the end.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import httpx
import openai
import pytest

from engine.simulator import Simulator
from engine.simulator.anthropic_wire import call_id as anthropic_id
from engine.simulator.channel import Received
from engine.simulator.gemini_wire import call_id as gemini_id
from engine.simulator.openai_wire import call_id as openai_id
from engine.simulator.prompt import Call, Say

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
PATCH = "*** Begin Patch\n*** Add File: a.py\n+print('hé')\n*** End Patch\n"
APPLY_PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" /.+/'},
}

# One for each protocol, and one of those who copied OpenAI's older format.
EVERYONE = ("opus", "gpt", "sol", "gemini", "deepseek")
everyone = pytest.mark.parametrize("model", EVERYONE)
streamed = pytest.mark.parametrize("client", [True], indirect=True, ids=["streamed"])


class House(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def simulator(self) -> Simulator: ...
    @property
    def last(self) -> Received: ...


class Client:
    def __init__(self, sdk: openai.OpenAI, streamed: bool) -> None:
        self.sdk = sdk
        self.streamed = streamed
        self.headers: dict[str, str] = {}

    def ask(self, model: str, history: Any, **asked: Any) -> dict[str, Any]:
        """The response, whole; a stream's is checked against its own events."""
        fields = {"model": model, "input": history, "store": False, **asked}
        if not self.streamed:
            raw: Any = self.sdk.responses.with_raw_response.create(**fields)
            self.headers = dict(raw.headers)
            told: dict[str, Any] = raw.parse().to_dict()
            return told
        raw = self.sdk.responses.with_raw_response.create(**fields, stream=True)
        self.headers = dict(raw.headers)
        return put_together([event.to_dict() for event in raw.parse()])


def put_together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The response at a stream's end, after checking that the events before it come to the same."""
    last = events.pop()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    begun: dict[int, dict[str, Any]] = {}
    done: dict[int, dict[str, Any]] = {}
    grown: dict[tuple[int, str, int], str] = {}
    for event in events[2:]:
        kind, place = event["type"].removeprefix("response."), event["output_index"]
        if kind == "output_item.added":
            assert place == len(begun)
            begun[place] = event["item"]
            continue
        assert place in begun, f"{kind} before its item"
        assert place not in done, f"{kind} after its item"
        if kind == "output_item.done":
            done[place] = event["item"]
            assert event["item"]["id"] == begun[place]["id"]
        elif kind.endswith(".delta"):
            where = (place, kind, event.get("content_index", event.get("summary_index", 0)))
            grown[where] = grown.get(where, "") + event["delta"]
    assert last["type"] in ("response.completed", "response.incomplete", "response.failed")
    response: dict[str, Any] = last["response"]
    if last["type"] == "response.failed":
        return response  # which holds nothing but what was done before it failed
    assert last["sequence_number"] == len(events)
    for place, item in done.items():
        assert response["output"][place] == item
    for (place, kind, at), text in grown.items():
        assert said(response["output"][place], kind, at) == text
    return response


def said(item: dict[str, Any], kind: str, at: int) -> Any:
    match kind.removesuffix(".delta"):
        case "output_text":
            return item["content"][at]["text"]
        case "refusal":
            return item["content"][at]["refusal"]
        case "reasoning_summary_text":
            return item["summary"][at]["text"]
        case "custom_tool_call_input":
            return item["input"]
    return item["arguments"]


def text_of(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


def items(response: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == kind]


def tools(*names: str) -> list[dict[str, Any]]:
    return [
        {"type": "function", "name": name, "description": "Looks.", "parameters": SCHEMA, "strict": False}
        for name in names
    ]


def outputs(response: dict[str, Any], *texts: str) -> list[dict[str, Any]]:
    """What a client sends back: everything the model wrote, and what its calls came to."""
    calls = [item for item in response["output"] if item["type"] in ("function_call", "custom_tool_call")]
    told = [
        {"type": f"{call['type']}_output", "call_id": call["call_id"], "output": text}
        for call, text in zip(calls, texts, strict=True)
    ]
    return [*response["output"], *told]


def check(response: dict[str, Any], house: House) -> None:
    record = house.last
    assert record.answer is not None
    blocks, tokens = record.answer.blocks, record.answer.tokens
    id_of = {"anthropic": anthropic_id, "google": gemini_id}.get(record.provider, openai_id)
    assert text_of(response) == "".join(block.text for block in blocks if isinstance(block, Say))
    assert [
        (call["call_id"], call["name"], json.loads(call["arguments"]))
        for call in items(response, "function_call")
    ] == [
        (id_of(block.key), block.name, json.loads(block.arguments))
        for block in blocks
        if isinstance(block, Call)
    ]
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (tokens.prompt, tokens.output)
    assert usage["input_tokens_details"]["cached_tokens"] == tokens.read
    assert usage["output_tokens_details"]["reasoning_tokens"] == tokens.thinking
    assert usage["total_tokens"] == tokens.prompt + tokens.output


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def client(house: House, request: pytest.FixtureRequest) -> Iterator[Client]:
    headers = {"x-weave-session": uuid.uuid4().hex}
    with openai.OpenAI(
        base_url=f"{house.url}/v1", api_key="the client's", max_retries=0, timeout=20, default_headers=headers
    ) as sdk:
        yield Client(sdk, bool(request.param))


@everyone
def test_text(client: Client, house: House, model: str) -> None:
    response = client.ask(model, "[[sim: text=Grüße, 世界 🌍! «\\n»]]", instructions="Be kind.")
    check(response, house)
    assert text_of(response) == "Grüße, 世界 🌍! «\\n»"
    assert response["status"] == "completed"
    assert client.headers["x-weave-model"] == model


@everyone
def test_no_header_warns_codex_of_another_model(client: Client, house: House, model: str) -> None:
    client.ask(model, "hello")
    assert "openai-model" not in client.headers


@everyone
def test_instructions_reach_the_model(client: Client, house: House, model: str) -> None:
    response = client.ask(model, "hi", instructions="[[sim: text=As the rules say.]]")
    assert text_of(response) == "As the rules say."


@everyone
def test_a_tool_call_in_two_rounds(client: Client, house: House, model: str) -> None:
    history: list[Any] = [
        {"role": "user", "content": '[[sim: text=A moment.]] [[sim: tool=get_weather {"city": "Oslo"}]]'}
    ]
    first = client.ask(model, history, tools=tools("get_weather"))
    check(first, house)
    # Gemini signs its calls, and signatures travel as reasoning.
    told = [item["type"] for item in first["output"] if item["type"] != "reasoning"]
    assert told == ["message", "function_call"]
    second = client.ask(model, [*history, *outputs(first, "4 degrees")], tools=tools("get_weather"))
    check(second, house)
    assert text_of(second) == "get_weather returned: 4 degrees"


@everyone
def test_parallel_tools_in_two_rounds(client: Client, house: House, model: str) -> None:
    offered = tools("get_weather", "get_time", "now")
    history: list[Any] = [{"role": "user", "content": "[[sim: tools=3]]"}]
    first = client.ask(model, history, tools=offered, parallel_tool_calls=True)
    check(first, house)
    assert len(items(first, "function_call")) == 3
    second = client.ask(model, [*history, *outputs(first, "rain", "noon", "12")], tools=offered)
    check(second, house)
    assert text_of(second) == "get_weather returned: rain; get_time returned: noon; now returned: 12"


@everyone
def test_codexs_patch_tool_keeps_its_kind_in_two_rounds(  # G47, W21
    client: Client, house: House, model: str
) -> None:
    wish = json.dumps({"input": PATCH})
    history: list[Any] = [{"role": "user", "content": f"[[sim: tool=apply_patch {wish}]]"}]
    first = client.ask(model, history, tools=[APPLY_PATCH])
    (call,) = items(first, "custom_tool_call")
    assert (call["name"], call["input"], call["status"]) == ("apply_patch", PATCH, "completed")
    assert call["id"].startswith("ctc_")
    assert items(first, "function_call") == []
    second = client.ask(model, [*history, *outputs(first, "Done!")], tools=[APPLY_PATCH])
    assert text_of(second) == "apply_patch returned: Done!"


@pytest.mark.parametrize("model", ["opus", "gpt", "gemini", "deepseek"])
def test_a_tool_in_a_namespace_is_called_by_both_its_names(client: Client, house: House, model: str) -> None:
    group = {"type": "namespace", "name": "agents", "description": "Others.", "tools": tools("spawn")}
    history: list[Any] = [{"role": "user", "content": "[[sim: tool=agents__spawn]]"}]
    first = client.ask(model, history, tools=[group])
    (call,) = items(first, "function_call")
    assert (call["namespace"], call["name"]) == ("agents", "spawn")
    second = client.ask(model, [*history, *outputs(first, "born")], tools=[group])
    assert text_of(second) == "agents__spawn returned: born"


@pytest.mark.parametrize("model", ["opus", "gpt", "sol", "gemini"])
def test_an_image(client: Client, house: House, png: str, model: str) -> None:
    parts = [
        {"type": "input_image", "image_url": f"data:image/png;base64,{png}", "detail": "auto"},
        {"type": "input_text", "text": "[[sim: image]]"},
    ]
    response = client.ask(model, [{"role": "user", "content": parts}])
    check(response, house)
    assert text_of(response) == "I see 1 image(s): image/png of 108 bytes."


@pytest.mark.parametrize("model", ["opus", "gpt", "sol", "gemini"])
def test_an_image_in_a_tools_output(client: Client, house: House, png: str, model: str) -> None:  # G58, W29
    history: list[Any] = [{"role": "user", "content": "[[sim: tool=look]]"}]
    first = client.ask(model, history, tools=tools("look"))
    said, output = outputs(first, "")[-2:]
    output["output"] = [
        {"type": "input_text", "text": "here: [[sim: image]]"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{png}", "detail": "auto"},
    ]
    second = client.ask(model, [*history, said, output], tools=tools("look"))
    assert text_of(second) == "I see 1 image(s): image/png of 108 bytes."


REASONED = {
    "reasoning": {"effort": "high", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 4_000,
}


@pytest.mark.parametrize("model", ["opus", "sol", "gemini", "deepseek"])
def test_thinking_is_shown_and_goes_back_inside_a_tool_loop(client: Client, house: House, model: str) -> None:
    history: list[Any] = [{"role": "user", "content": "[[sim: thinking=I must look.]] [[sim: tool=look]]"}]
    # DeepSeek thinks where it is told to in its own words, which a client of this API does not know.
    first = client.ask(model, history, tools=tools("look"), **REASONED)
    check(first, house)
    thoughts = items(first, "reasoning")
    assert [part["text"] for thought in thoughts for part in thought["summary"]] == ["I must look."]
    assert all(thought["encrypted_content"] for thought in thoughts)
    second = client.ask(model, [*history, *outputs(first, "a door")], tools=tools("look"), **REASONED)
    check(second, house)
    assert text_of(second) == "look returned: a door"
    if model == "opus":
        kept = house.last.json["messages"][1]["content"][0]
        assert (kept["type"], kept["thinking"]) == ("thinking", "I must look.")


def test_one_vendors_thinking_is_not_shown_to_another(client: Client, house: House) -> None:
    history: list[Any] = [{"role": "user", "content": "[[sim: thinking=I must look.]] [[sim: tool=look]]"}]
    history += outputs(client.ask("opus", history, tools=tools("look"), **REASONED), "a door")
    history += client.ask("opus", history, tools=tools("look"), **REASONED)["output"]
    history.append({"role": "user", "content": "[[sim: text=Now I know.]]"})
    for model in ("sol", "gpt"):
        assert text_of(client.ask(model, history, tools=tools("look"), **REASONED)) == "Now I know."
        sent = house.last.json["messages" if model == "gpt" else "input"]
        assert "I must look." not in json.dumps(sent[1:])


def test_an_open_tool_loop_stays_with_the_vendor_that_thought_in_it(client: Client, house: House) -> None:
    history: list[Any] = [{"role": "user", "content": "[[sim: thinking=I must look.]] [[sim: tool=look]]"}]
    history += outputs(client.ask("opus", history, tools=tools("look"), **REASONED), "a door")
    assert text_of(client.ask("sol", history, tools=tools("look"), **REASONED)) == "look returned: a door"
    assert client.headers["x-weave-model"] == "opus"


@everyone
def test_the_limit_of_tokens_makes_a_response_incomplete(  # G44
    client: Client, house: House, model: str
) -> None:
    limit = 1_100 if model in ("gpt", "sol", "gemini") else 30
    response = client.ask(model, "[[sim: words=1500]]", max_output_tokens=limit)
    check(response, house)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["output_tokens"] == limit


@pytest.mark.parametrize("model", ["opus", "gpt", "sol", "gemini"])
def test_a_refusal_is_told(client: Client, house: House, model: str) -> None:
    response = client.ask(model, "[[sim: refusal]]")
    refused = [part for item in items(response, "message") for part in item["content"]]
    assert response["status"] == "incomplete" or [part["type"] for part in refused] == ["refusal"]


@everyone
def test_a_429_with_retry_after(client: Client, house: House, model: str) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.ask(model, "[[sim: status=429 retry_after=17]]")
    assert caught.value.response.headers["retry-after"] == "17"
    assert caught.value.code == "rate_limit_exceeded"


@streamed
@everyone
def test_an_overload_in_mid_stream_is_a_failed_response(house: House, client: Client, model: str) -> None:
    response = client.ask(model, "[[sim: words=80]] [[sim: error_in_stream=5 seconds=0.2]]")
    assert response["status"] == "failed"
    assert response["error"]["code"] == "server_is_overloaded"
    assert len(house.simulator.received) == 1


@streamed
@everyone
@pytest.mark.parametrize("trouble", ["cut=4", "unended=4"])
def test_an_answer_that_breaks_off_never_looks_complete(
    client: Client, house: House, model: str, trouble: str
) -> None:
    response = client.ask(model, f"[[sim: words=80]] [[sim: {trouble}]]")
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")


@pytest.mark.parametrize(
    "trouble", ["status=529", "html_502", "empty", "first_event_error", "cut=0", "unended=0"]
)
def test_another_model_takes_over_while_nothing_was_said(client: Client, house: House, trouble: str) -> None:
    response = client.ask("local", f"[[sim: provider=onprem {trouble}]] [[sim: text=I am another.]]")
    assert text_of(response) == "I am another."
    assert client.headers["x-weave-model"] == "haiku"


@pytest.mark.parametrize("model", ["opus", "gpt", "sol", "gemini"])
def test_an_answer_in_a_schema(client: Client, house: House, model: str) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    form = {"type": "json_schema", "name": "who", "schema": schema}
    response = client.ask(model, "Who is it?", text={"format": form})
    assert json.loads(text_of(response)).keys() == {"name"}


@pytest.mark.parametrize("model", ["opus", "gpt"])
def test_a_stored_conversation_is_asked_for_where_such_are_stored(
    client: Client, house: House, model: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="resp_1"):
        client.ask(model, "go on", previous_response_id="resp_1")
    assert [each.path.rpartition("/")[2] for each in house.simulator.received] == ["responses"]


def test_its_own_vendor_is_asked_for_what_is_stored_there(client: Client, house: House) -> None:
    with pytest.raises(openai.BadRequestError, match="Previous response with id 'resp_1' not found"):
        client.ask("sol", "go on", previous_response_id="resp_1")


def test_a_websocket_is_refused_at_once(house: House) -> None:
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = httpx.get(f"{house.url}/v1/responses", headers=asked)
    assert answer.status_code == 426
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{house.url}/v1/responses").status_code == 405
