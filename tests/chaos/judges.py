"""Whether an answer ends as its protocol wants it, for each of the four: written from the vendors' own descriptions,
and with nothing of the engine's, so that a mistake there cannot hide behind itself here.

A judge reads what came over the wire and says what the answer told, how it ended, and all that is wrong with it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.chaos.plan import Speech

Json = Mapping[str, Any]

STATUSES = frozenset({400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. `ended` says that the body was complete by HTTP's own rules, not cut off."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    ended: bool


@dataclass(slots=True)
class Seen:
    """`end` is how the answer ended: with all there was to say, in an error of its protocol, or not at all."""

    end: Literal["whole", "error", ""] = ""
    text: str = ""
    calls: dict[int, list[str]] = field(
        default_factory=dict
    )  # by place: the name, then the pieces of arguments
    message: str = ""  # of the error
    wrongs: list[str] = field(default_factory=list)

    def demand(self, holds: bool, wrong: str) -> None:
        if not holds:
            self.wrongs.append(wrong)

    @property
    def arguments(self) -> list[str]:
        return ["".join(pieces[1:]) for pieces in self.calls.values()]


def judge(speech: Speech, stream: bool, answer: Answer) -> Seen:
    seen = Seen()
    if answer.status != 200:
        _error_reply(speech, answer, seen)
    elif stream:
        _streamed(speech, answer, seen)
    else:
        seen.demand(answer.ended, "the body was cut off")
        body = _object(answer.body, seen)
        _kind(answer, "application/json", seen)
        if not seen.wrongs:
            _read(WHOLE[speech], body, seen)
            seen.end = "whole"
    return seen


def glimpse(speech: Speech, stream: bool, answer: Answer) -> Seen:
    """What a client that left had seen till then. Nothing has to be complete."""
    seen = Seen()
    if answer.status == 200 and stream:
        body = answer.body[: answer.body.rfind(b"\n\n") + 2] if b"\n\n" in answer.body else b""
        if b"\r\n\r\n" in answer.body:
            body = answer.body[: answer.body.rfind(b"\r\n\r\n") + 4]
        _streamed(speech, Answer(200, answer.headers, body, True), seen)
        seen.wrongs = []
    return seen


def _streamed(speech: Speech, answer: Answer, seen: Seen) -> None:
    _kind(answer, "text/event-stream", seen)
    try:
        _read(STREAM[speech], list(_events(answer.body, seen)), seen)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        seen.wrongs.append(f"cannot be read: {type(error).__name__} {error}")
    seen.demand(seen.end != "", "the stream has no end")
    seen.demand(answer.ended, "the body was cut off")


def _read(reader: Callable[[Any, Seen], None], told: Any, seen: Seen) -> None:
    try:
        reader(told, seen)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        seen.wrongs.append(f"lacks something: {type(error).__name__} {error}")


def _kind(answer: Answer, expected: str, seen: Seen) -> None:
    seen.demand(answer.headers.get("content-type", "").startswith(expected), f"is no {expected}")


def _object(body: bytes, seen: Seen) -> Json:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    seen.demand(isinstance(value, dict), f"is no JSON object: {body[:80]!r}")
    return value if isinstance(value, dict) else {}


# ---- errors

ANTHROPIC_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
}  # fmt: skip
ANTHROPIC_TROUBLE = frozenset({"api_error", "overloaded_error", "timeout_error"})
GOOGLE_WORDS = frozenset({
    "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND",
    "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "UNKNOWN",
})  # fmt: skip


def _error_reply(speech: Speech, answer: Answer, seen: Seen) -> None:
    seen.end = "error"
    seen.demand(answer.ended, "the body was cut off")
    seen.demand(answer.status in STATUSES, f"status {answer.status} is none for a client")
    _kind(answer, "application/json", seen)
    body = _object(answer.body, seen)
    if not seen.wrongs:
        _error(speech, body, answer.status, seen)


def _error(speech: Speech, body: Json, status: int | None, seen: Seen) -> None:
    """An error as the protocol shapes it. `status` is None inside a stream."""
    error = body.get("error")
    if not isinstance(error, dict):
        seen.wrongs.append(f"has no error: {str(body)[:80]}")
        return
    seen.end, seen.message = "error", str(error.get("message", ""))
    seen.demand(bool(seen.message), "the error says nothing")
    word = error.get("type")
    match speech:
        case "anthropic":
            seen.demand(body.get("type") == "error", "an error has the type error")
            expected = ANTHROPIC_ERRORS.get(status or 0)
            fits = word in ANTHROPIC_TROUBLE if status is None or status >= 500 else word == expected
            known = word in ANTHROPIC_TROUBLE or word in ANTHROPIC_ERRORS.values()
            seen.demand(known if expected is None and (status or 0) < 500 else fits, f"{word} with {status}")
        case "chat" | "responses":
            # Some vendors of the protocol have no type; what they say goes through as they say it.
            seen.demand(bool(word) or bool(error.get("code")), "an error has a type or a code")
            seen.demand("type" not in body and "status" not in error, "the error is another protocol's")
        case "gemini":
            code = error.get("code")
            seen.demand(type(code) is int and 400 <= code < 600, f"the code is {code}")
            seen.demand(status in (None, code), f"the code is {code}, the status {status}")
            seen.demand(error.get("status") in GOOGLE_WORDS, f"the word is {error.get('status')}")


# ---- streams

Event = tuple[str, str]  # its name, and its data


def _events(body: bytes, seen: Seen) -> Iterator[Event]:
    """Frames of server-sent events; a comment is none."""
    text = body.decode("utf-8").replace("\r\n", "\n")
    seen.demand(not text or text.endswith("\n\n"), "ends in the middle of a frame")
    for frame in text.split("\n\n"):
        lines = [line for line in frame.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        name = [line[6:].strip() for line in lines if line.startswith("event:")]
        data = [line[5:].strip() for line in lines if line.startswith("data:")]
        seen.demand(len(name) + len(data) == len(lines), f"is no frame: {frame[:80]!r}")
        yield (name[0] if name else "", "\n".join(data))


def _anthropic_stream(events: list[Event], seen: Seen) -> None:
    opened, stopped, begun, told = -1, -1, False, False
    kinds: dict[int, str] = {}
    for place, (name, data) in enumerate(events):
        event = json.loads(data)
        kind = event["type"]
        seen.demand(name == kind, f"event {name} holds {kind}")
        seen.demand(seen.end == "", f"{kind} behind the end")
        seen.demand(begun or kind in ("message_start", "ping", "error"), f"{kind} before message_start")
        match kind:
            case "ping":
                pass
            case "error":
                _error("anthropic", event, None, seen)
                seen.demand(place == len(events) - 1, "something behind the error")
            case "message_start":
                message = event["message"]
                seen.demand(not begun, "a second message_start")
                seen.demand(
                    message["role"] == "assistant" and message["content"] == [], "starts with content"
                )
                seen.demand(type(message["usage"]["input_tokens"]) is int, "input_tokens is no number")
                begun = True
            case "content_block_start":
                seen.demand(opened == stopped and event["index"] == opened + 1, "a block out of order")
                opened = event["index"]
                block = event["content_block"]
                kinds[opened] = block["type"]
                if block["type"] == "tool_use":
                    seen.calls[opened] = [block["name"]]
                    seen.demand(
                        block["input"] == {} and bool(block["id"]), "a call begins empty and with an id"
                    )
            case "content_block_delta":
                seen.demand(event["index"] == opened > stopped, "a delta of a block that is not open")
                _anthropic_delta(kinds.get(event["index"], ""), event["delta"], event["index"], seen)
            case "content_block_stop":
                seen.demand(event["index"] == opened > stopped, "a stop of a block that is not open")
                stopped = opened
            case "message_delta":
                seen.demand(opened == stopped and not told, "message_delta while a block is open")
                seen.demand(isinstance(event["delta"]["stop_reason"], str), "no stop_reason")
                seen.demand(type(event["usage"]["output_tokens"]) is int, "output_tokens is no number")
                told = True
            case "message_stop":
                seen.demand(told, "message_stop without message_delta")
                seen.end = "whole"
            case _:
                seen.wrongs.append(f"an event {kind}")


def _anthropic_delta(block: str, delta: Json, index: int, seen: Seen) -> None:
    match delta["type"]:
        case "text_delta":
            seen.demand(block == "text", f"text in {block}")
            seen.text += delta["text"]
        case "input_json_delta":
            seen.demand(block == "tool_use", f"arguments in {block}")
            seen.calls[index].append(delta["partial_json"])
        case "thinking_delta" | "signature_delta":
            seen.demand(block == "thinking", f"thinking in {block}")
        case other:
            seen.wrongs.append(f"a delta {other}")


def _chat_stream(events: list[Event], seen: Seen) -> None:
    ids: set[str] = set()
    begun, finish, usage = False, "", False
    for place, (_, data) in enumerate(events):
        seen.demand(seen.end == "", "a chunk behind the end")
        if data == "[DONE]":
            seen.demand(finish != "", "done without a finish_reason")
            seen.demand(usage, "usage was asked for and is missing")
            seen.end = "whole"
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            _error("chat", chunk, None, seen)
            seen.demand(place == len(events) - 1, "something behind the error")
            continue
        seen.demand(chunk["object"] == "chat.completion.chunk", f"a chunk is a {chunk['object']}")
        ids.add(chunk["id"])
        alone = isinstance(chunk.get("usage"), dict) and not chunk["choices"]
        seen.demand(not (alone and usage), "usage is told twice")
        usage = usage or isinstance(chunk.get("usage"), dict)
        for choice in chunk["choices"]:
            seen.demand(finish == "", "a choice behind its finish_reason")
            delta = choice["delta"]
            seen.demand(begun or delta.get("role") == "assistant", "the first delta has no role")
            begun = True
            seen.text += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                _chat_call(call, seen)
            finish = choice.get("finish_reason") or ""
    seen.demand(len(ids) <= 1, f"{len(ids)} ids in one answer")


def _chat_call(call: Json, seen: Seen) -> None:
    function = call.get("function") or {}
    if call["index"] not in seen.calls:
        seen.demand(bool(call.get("id")) and bool(function.get("name")), "a call begins with id and name")
        seen.demand(call["index"] == len(seen.calls), "a call out of order")
        seen.calls[call["index"]] = [function.get("name", "")]
    seen.calls[call["index"]].append(function.get("arguments") or "")


def _responses_stream(events: list[Event], seen: Seen) -> None:
    number, begun = -1, False
    done: dict[int, Json] = {}
    open_items: set[int] = set()
    texts: dict[tuple[int, int], str] = {}
    for place, (name, data) in enumerate(events):
        event = json.loads(data)
        kind = event["type"]
        seen.demand(name == kind, f"event {name} holds {kind}")
        seen.demand(seen.end == "", f"{kind} behind the end")
        seen.demand(
            event["sequence_number"] == number + 1, f"{number} is followed by {event['sequence_number']}"
        )
        number = event["sequence_number"]
        first = kind in ("response.created", "response.failed", "error")
        seen.demand(begun or first, f"{kind} before response.created")
        match kind:
            case "response.created":
                begun = True
                seen.demand(event["response"]["status"] == "in_progress", "is created, but not in progress")
            case "response.output_item.added":
                open_items.add(event["output_index"])
                if event["item"]["type"] == "function_call":
                    seen.calls[event["output_index"]] = [event["item"]["name"]]
            case "response.output_item.done":
                seen.demand(event["output_index"] in open_items, "an item is done that was not added")
                open_items.discard(event["output_index"])
                done[event["output_index"]] = event["item"]
            case "response.output_text.delta":
                where = event["output_index"], event["content_index"]
                seen.demand(event["output_index"] in open_items, "text of an item that is not open")
                texts[where] = texts.get(where, "") + event["delta"]
                seen.text += event["delta"]
            case "response.output_text.done":
                where = event["output_index"], event["content_index"]
                seen.demand(event["text"] == texts.get(where, ""), "the text that is done is another one")
            case "response.function_call_arguments.delta":
                seen.calls[event["output_index"]].append(event["delta"])
            case "response.function_call_arguments.done":
                told = "".join(seen.calls[event["output_index"]][1:])
                seen.demand(event["arguments"] == told, "the arguments that are done are others")
            case "response.completed" | "response.incomplete":
                response = event["response"]
                seen.demand(response["status"] == kind.partition(".")[2], f"{kind} says {response['status']}")
                seen.demand(not open_items, "completed with an item open")
                seen.demand(
                    [done[key] for key in sorted(done)] == response["output"], "the output is another"
                )
                seen.demand(type(response["usage"]["output_tokens"]) is int, "output_tokens is no number")
                seen.end = "whole"
            case "response.failed":
                response = event["response"]
                seen.end, seen.message = "error", response["error"]["message"]
                seen.demand(response["status"] == "failed" and bool(seen.message), "failed without an error")
                seen.demand(bool(response["error"]["code"]), "failed without a code")
            case "error":
                seen.end, seen.message = "error", event["message"]
                seen.demand(place == len(events) - 1, "something behind the error")
            case _:
                seen.demand(kind.startswith("response."), f"an event {kind}")


def _gemini_stream(events: list[Event], seen: Seen) -> None:
    finished = False
    for place, (name, data) in enumerate(events):
        chunk = json.loads(data)
        seen.demand(name == "", "Gemini's events have no names")
        if "error" in chunk:
            _error("gemini", chunk, None, seen)
            seen.demand(place == len(events) - 1, "something behind the error")
            continue
        seen.demand(seen.end != "error", "a chunk behind the error")
        for candidate in chunk.get("candidates", []):
            seen.demand(not finished, "a candidate behind its finishReason")
            _gemini_parts(candidate, seen)
            finished = finished or "finishReason" in candidate
    if finished and seen.end == "":
        seen.demand("usageMetadata" in json.loads(events[-1][1]), "the last chunk has no usage")
        seen.end = "whole"


def _gemini_parts(candidate: Json, seen: Seen) -> None:
    for part in candidate.get("content", {}).get("parts", []):
        if part.get("thought"):
            continue
        seen.text += part.get("text", "")
        if "functionCall" in part:
            call = part["functionCall"]
            seen.calls[len(seen.calls)] = [call["name"], json.dumps(call["args"])]


# ---- whole replies


def _anthropic_whole(body: Json, seen: Seen) -> None:
    seen.demand((body["type"], body["role"]) == ("message", "assistant"), "is no message of the assistant")
    seen.demand(isinstance(body["stop_reason"], str) and bool(body["id"]), "has no stop_reason or id")
    usage = body["usage"]
    seen.demand(type(usage["input_tokens"]) is int and type(usage["output_tokens"]) is int, "has no usage")
    for index, block in enumerate(body["content"]):
        if block["type"] == "text":
            seen.text += block["text"]
        elif block["type"] == "tool_use":
            seen.calls[index] = [block["name"], json.dumps(block["input"])]


def _chat_whole(body: Json, seen: Seen) -> None:
    seen.demand(body["object"] == "chat.completion" and bool(body["id"]), "is no chat.completion")
    choice = body["choices"][0]
    seen.demand(isinstance(choice["finish_reason"], str), "has no finish_reason")
    seen.demand(type(body["usage"]["completion_tokens"]) is int, "has no usage")
    seen.text += choice["message"]["content"] or ""
    for index, call in enumerate(choice["message"].get("tool_calls") or []):
        seen.calls[index] = [call["function"]["name"], call["function"]["arguments"]]


def _responses_whole(body: Json, seen: Seen) -> None:
    seen.demand(body["object"] == "response" and bool(body["id"]), "is no response")
    seen.demand(body["status"] in ("completed", "incomplete"), f"the status is {body['status']}")
    seen.demand(type(body["usage"]["output_tokens"]) is int, "has no usage")
    for index, item in enumerate(body["output"]):
        if item["type"] == "message":
            seen.text += "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
        elif item["type"] == "function_call":
            seen.calls[index] = [item["name"], item["arguments"]]


def _gemini_whole(body: Json, seen: Seen) -> None:
    candidate = body["candidates"][0]
    seen.demand(isinstance(candidate["finishReason"], str), "has no finishReason")
    seen.demand("usageMetadata" in body, "has no usage")
    _gemini_parts(candidate, seen)


STREAM: Mapping[Speech, Callable[[list[Event], Seen], None]] = {
    "anthropic": _anthropic_stream,
    "chat": _chat_stream,
    "responses": _responses_stream,
    "gemini": _gemini_stream,
}
WHOLE: Mapping[Speech, Callable[[Json, Seen], None]] = {
    "anthropic": _anthropic_whole,
    "chat": _chat_whole,
    "responses": _responses_whole,
    "gemini": _gemini_whole,
}
