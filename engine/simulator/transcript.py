"""A streamed reply put together again as the whole reply it stands for, the way an agent's client does it."""

import json
from collections.abc import Iterator
from typing import Any


class BrokenOff(Exception):  # noqa: N818  # the provider failed; what it said is in the message
    """The stream held an error, or ended before its end."""


def whole(content_type: str, data: bytes) -> dict[str, Any]:
    """The reply's JSON, whether it came whole or as events. Raises BrokenOff where it is no complete
    reply."""
    if not content_type.startswith("text/event-stream"):
        return _object(data.decode())
    events = list(_events(data.decode()))
    for event in events:
        if event.get("error") is not None:
            raise BrokenOff(json.dumps(event["error"]))
    if any(event.get("type") == "message_start" for event in events):
        return _from_anthropic(events)
    return _from_openai(events, ended="data: [DONE]" in data.decode())


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as wrong:
        raise BrokenOff(str(wrong)) from wrong
    if not isinstance(value, dict):
        raise BrokenOff("the reply is no object")
    return value


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        payload = line.removeprefix("data:").strip()
        if line.startswith("data:") and payload != "[DONE]":
            yield _object(payload)


def _from_anthropic(events: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    ended = False
    for event in events:
        match event["type"]:
            case "message_start":
                message = dict(event["message"])
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _grow(blocks[event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                message |= event["delta"]
                message["usage"] = {**message.get("usage", {}), **event.get("usage", {})}
            case "message_stop":
                ended = True
    if not ended:
        raise BrokenOff("the stream ended before message_stop")
    for index, text in inputs.items():
        blocks[index]["input"] = _object(text or "{}")
    return {**message, "content": [blocks[index] for index in sorted(blocks)]}


def _grow(block: dict[str, Any], delta: dict[str, Any], inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]


def _from_openai(events: list[dict[str, Any]], ended: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    reply: dict[str, Any] = {}
    finish = None
    for event in events:
        reply |= {key: value for key, value in event.items() if key != "choices" and value is not None}
        for choice in event.get("choices") or ():
            delta = choice["delta"]
            for field in ("content", "reasoning_content", "refusal"):
                if delta.get(field):
                    message[field] = (message.get(field) or "") + delta[field]
            for piece in delta.get("tool_calls") or ():
                _add_call(calls, piece)
            finish = choice.get("finish_reason") or finish
    if not ended or finish is None:
        raise BrokenOff("the stream ended before its finish_reason")
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {**reply, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _add_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    call = calls.setdefault(
        piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    )
    call["id"] = piece.get("id") or call["id"]
    function = piece.get("function") or {}
    call["function"]["name"] = function.get("name") or call["function"]["name"]
    call["function"]["arguments"] += function.get("arguments") or ""
