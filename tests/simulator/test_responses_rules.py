"""What OpenAI's newer API refuses. Each row is a body that differs from a valid one, and how its refusal begins."""

from typing import Any

import httpx
import pytest

from engine.simulator import Simulator


def call(call_id: str = "c", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **more}


def output(call_id: str = "c", **more: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok", **more}


def said(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


THOUGHT: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "Missing required parameter: 'model'."),
    ({"model": "gpt-9"}, "The requested model 'gpt-9' does not exist."),
    ({"messages": []}, "Unknown parameter: 'messages'."),
    ({"stop": "x"}, "Unknown parameter: 'stop'."),
    ({"input": None}, "Missing required parameter: 'input'."),
    ({"input": 7}, "Invalid type for 'input'"),
    ({"input": [7]}, "Invalid type for 'input[0]'"),
    ({"input": [{"type": "wish"}]}, "Invalid value: 'wish'."),
    ({"input": [{"role": "model", "content": "x"}]}, "Invalid value: 'model'."),
    ({"input": [{"role": "user"}]}, "Missing required parameter: 'input[0].content'."),
    ({"input": [said("user", {"type": "text", "text": "x"})]}, "Invalid value: 'text'. Supported values"),
    ({"input": [said("assistant", {"type": "input_text", "text": "x"})]}, "Invalid value: 'input_text'."),
    ({"input": [said("user", {"type": "input_text"})]}, "Missing required parameter: 'input[0].content[0].text'."),
    ({"input": [said("user", {"type": "input_image", "image_url": "x"})]}, "Invalid 'input[0].content[0].image_url'."),
    ({"input": [call()]}, "No tool output found for function call c."),
    ({"input": [output()]}, "No tool call found for function call output with call_id c."),
    ({"input": [call(), output(), output()]}, "No tool call found for function call output"),
    ({"input": [call(), output(type="custom_tool_call_output")]}, "No tool call found for custom tool call output"),
    ({"input": [call(id="call_1"), output()]}, "Invalid 'input[0].id': 'call_1'. Expected an ID that begins"),
    ({"input": [call("c" * 65), output("c" * 65)]}, "Invalid 'input[0].call_id': string too long."),
    ({"input": [call(name="a b"), output()]}, "Invalid 'input[0].name'"),
    ({"input": [call(arguments=None), output()]}, "Missing required parameter: 'input[0].arguments'."),
    ({"input": [call(), output(output=None)]}, "Missing required parameter: 'input[1].output'."),
    ({"input": [THOUGHT], "store": False}, "Item with id 'rs_1' not found. Items are not persisted"),
    ({"input": [{**THOUGHT, "encrypted_content": "weave.x"}]}, "The encrypted content weave.x... could not be"),
    ({"input": [{"type": "reasoning", "id": "rs_1"}]}, "Missing required parameter: 'input[0].summary'."),
    ({"previous_response_id": "resp_1"}, "Previous response with id 'resp_1' not found."),
    ({"temperature": 1}, "Unsupported parameter: 'temperature' is not supported with this model."),
    ({"max_output_tokens": 15}, "Invalid 'max_output_tokens': integer below minimum value."),
    ({"max_output_tokens": "x"}, "Invalid type for 'max_output_tokens'"),
    ({"reasoning": {"effort": "max"}}, "Invalid value: 'max'. Supported values are: 'none'"),
    ({"tools": [{"type": "function", "function": {}}]}, "Missing required parameter: 'tools[0].name'."),
    ({"tools": [{"type": "function", "name": "f"}]}, "Missing required parameter: 'tools[0].parameters'."),
    ({"tools": [{"type": "wish"}]}, "Invalid value: 'wish'."),
    ({"tool_choice": "required"}, "Tool choice 'required' must be specified with 'tools'"),
    ({"tool_choice": "any"}, "Invalid value: 'any'."),
    ({"tool_choice": {"type": "function", "name": "g"}}, "Tool choice 'g' not found in 'tools' parameter."),
    ({"text": {"format": {"type": "xml"}}}, "Invalid value: 'xml'."),
    ({"text": {"format": {"type": "json_object"}}}, "Response input messages must contain the word 'json'"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "Missing required parameter: 'text.format.schema'."),
    ({"input": "word " * 1_700_000}, "Your input exceeds the context window"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "begins"), REFUSED, ids=[begins for _, begins in REFUSED])
def test_a_wrong_request_is_refused_in_the_vendors_words(
    simulator: Simulator, http: httpx.Client, fields: dict[str, Any], begins: str
) -> None:
    body = {"model": "gpt-5.5", "input": "hello", **fields}
    sent = {name: value for name, value in body.items() if value is not None}
    url = f"{simulator.url('responses')}/responses"
    answer = http.post(url, json=sent, headers={"authorization": "Bearer k"})
    assert answer.json()["error"]["message"].startswith(begins)
    assert answer.status_code == (404 if "not found. Items" in begins else 400)


def test_what_it_does_not_know_of_others_items_it_takes(simulator: Simulator, http: httpx.Client) -> None:
    items = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {**THOUGHT, "encrypted_content": "gAAAAABx"},
        {"role": "user", "content": "hi"},
    ]
    url = f"{simulator.url('responses')}/responses"
    answer = http.post(url, json={"model": "gpt-5.5", "input": items}, headers={"authorization": "Bearer k"})
    assert answer.status_code == 200
