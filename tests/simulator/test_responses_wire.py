"""OpenAI's own SDK reads what the simulator writes in its newer format."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from engine.simulator import Simulator

Ask = Callable[..., Response]
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
PATCH = {"type": "custom", "name": "apply_patch"}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture
def sdk(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.url("responses"), api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def ask(sdk: openai.OpenAI, request: pytest.FixtureRequest) -> Ask:
    """One question, answered whole or as a stream whose last event is the answer."""

    def asked(text: Any, **fields: Any) -> Response:
        fields = {"model": "gpt-5.5", "input": text, "store": False, **fields}
        if not request.param:
            response: Response = sdk.responses.create(**fields)
            return response
        *events, last = list(sdk.responses.create(**fields, stream=True))
        for number, event in enumerate([*events, last]):
            EVENT.validate_python(event.to_dict())
            assert event.sequence_number == number
        done = [event.item for event in events if event.type == "response.output_item.done"]
        assert [item.to_dict() for item in last.response.output] == [item.to_dict() for item in done]
        final: Response = last.response
        return final

    return asked


def test_text_and_its_tokens_reach_the_sdk(ask: Ask) -> None:
    response = ask("[[sim: text=Good morning]]")
    assert (response.output_text, response.status, response.model) == ("Good morning", "completed", "gpt-5.5")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_a_call_and_its_output_make_two_rounds(ask: Ask) -> None:
    question = {"role": "user", "content": '[[sim: tool=get_weather {"city": "Oslo"}]]'}
    (call,) = ask([question], tools=[TOOL]).output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Oslo"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "4 degrees"}
    second = ask([question, call.to_dict(), output], tools=[TOOL])
    assert second.output_text == "get_weather returned: 4 degrees"


def test_a_custom_tool_is_given_text(ask: Ask) -> None:
    (call,) = ask('[[sim: tool=apply_patch {"input": "*** Begin"}]]', tools=[PATCH]).output
    assert call.type == "custom_tool_call"
    assert (call.input, (call.id or "")[:4]) == ("*** Begin", "ctc_")


def test_reasoning_is_told_and_sealed_as_far_as_it_is_asked_for(ask: Ask) -> None:
    said = "[[sim: thinking=Because.]] [[sim: text=So.]]"
    thought = ask(said, reasoning={"effort": "low"}).output[0]
    assert thought.type == "reasoning"
    assert (thought.summary, thought.encrypted_content) == ([], None)
    wanted = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    thought = ask(said, **wanted).output[0]
    assert thought.type == "reasoning"
    assert ([part.text for part in thought.summary], bool(thought.encrypted_content)) == (["Because."], True)


def test_an_answer_cut_short_is_incomplete(ask: Ask) -> None:
    response = ask("[[sim: words=300]]", max_output_tokens=30)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_refusal_has_its_own_part(ask: Ask) -> None:
    (message,) = ask("[[sim: refusal]]").output
    assert message.type == "message"
    assert [part.type for part in message.content] == ["refusal"]


def test_a_stream_that_fails_says_so_in_its_last_event(sdk: openai.OpenAI) -> None:
    asked = "[[sim: words=50]] [[sim: error_in_stream=3]]"
    events = list(sdk.responses.create(model="gpt-5.5", input=asked, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert str(last.response.error.code) == "server_is_overloaded"


def test_a_header_names_a_model_that_clients_should_not_see(simulator: Simulator, http: httpx.Client) -> None:
    url = f"{simulator.url('responses')}/responses"
    answer = http.post(url, json={"model": "gpt-5.5", "input": "hi"}, headers={"authorization": "Bearer k"})
    assert "openai-model" in answer.headers


def test_tokens_are_counted(simulator: Simulator, http: httpx.Client) -> None:
    url = f"{simulator.url('responses')}/responses/input_tokens"
    answer = http.post(url, json={"model": "gpt-5.5", "input": "hi"}, headers={"authorization": "Bearer k"})
    assert answer.json()["input_tokens"] > 0
