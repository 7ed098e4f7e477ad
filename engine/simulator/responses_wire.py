"""OpenAI's Responses format, as its server speaks it: items, and a stream that tells each of them in full."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from engine.simulator.dice import token
from engine.simulator.models import Provider, SimulatedModel, find
from engine.simulator.openai_refusals import refuse
from engine.simulator.openai_wire import OPENAI
from engine.simulator.prompt import (
    IMAGE_TOKENS,
    Answer,
    Block,
    Call,
    Offered,
    Picture,
    Prompt,
    Returned,
    Say,
    Segment,
    Think,
    count,
    digest,
    segment,
)
from engine.simulator.responses_rules import SECRET, check
from engine.simulator.wire import Asked, Frame, Operation, Refused, Wire, pieces


def _route(method: str, path: str) -> Operation | None:
    match method, path:
        case "POST", "/responses":
            return "answer"
        case "POST", "/responses/input_tokens":
            return "count"
        case "GET", "/models":
            return "models"
        case "GET", _ if path.startswith("/models/"):
            return "model"
    return None


# ---- what is asked


def _read(asked: Asked, _operation: Operation) -> Prompt:
    body = asked.body
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise refuse("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    model = find(asked.models, asked.provider.name, name)
    if model is None:
        message = f"The requested model '{name}' does not exist."
        raise Refused(400, "invalid_request_error", message, "model", "model_not_found")
    check(body, model)
    prompt = _prompt(body, model)
    if prompt.tokens > model.context_tokens:
        message = (
            "Your input exceeds the context window of this model. Please adjust your input and try again."
        )
        raise refuse(message, "input", "context_length_exceeded")
    return prompt


def _prompt(body: Mapping[str, Any], model: SimulatedModel) -> Prompt:
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    heard = _Heard([body["instructions"]] if body.get("instructions") else [])
    for item in items:
        heard.item(item)
    offered = [tool for tool in body.get("tools") or () if tool["type"] in ("function", "custom")]
    asked = body.get("reasoning") or {}
    form = (body.get("text") or {}).get("format") or {}
    effort = asked.get("effort")
    return Prompt(
        model=model,
        system="\n".join(heard.system),
        task=heard.task,
        newest="\n".join(heard.newest),
        called=tuple(heard.called),
        returned=tuple(heard.returned),
        pictures=tuple(heard.pictures),
        tools=tuple(Offered(tool["name"], tool.get("parameters") or {}) for tool in offered),
        segments=tuple(_segments(body, items)),
        digest=digest(body),
        stream=bool(body.get("stream")),
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        thinking=model.reasons and (effort not in (None, "none") or "reasons_unasked" in model.quirks),
        max_tokens=body.get("max_output_tokens"),
        schema=form.get("schema"),
        json_mode=form.get("type") == "json_object",
        summary=asked.get("summary") is not None,
        encrypted="reasoning.encrypted_content" in (body.get("include") or ()),
        customs=frozenset(tool["name"] for tool in offered if tool["type"] == "custom"),
    )


class _Heard:
    """What a model makes of the items, read in order."""

    def __init__(self, system: list[str]) -> None:
        self.system = system
        self.task = ""
        self.newest: list[str] = []
        self.called: list[str] = []
        self.returned: list[Returned] = []
        self.pictures: list[Picture] = []
        self._names: dict[str, str] = {}
        self._spoke = False

    def item(self, item: Mapping[str, Any]) -> None:
        match item.get("type", "message"):
            case "message":
                self._message(item)
            case "function_call" | "custom_tool_call":
                self._model_spoke()
                self._names[item["call_id"]] = item["name"]
                self.called.append(item["name"])
            case "function_call_output" | "custom_tool_call_output":
                self._spoke = False
                text = _text(item["output"])
                self.newest.append(text)
                self.pictures += _pictures(item["output"])
                self.returned.append(Returned(self._names.get(item["call_id"], ""), text))
            case "reasoning":
                self._model_spoke()

    def _message(self, item: Mapping[str, Any]) -> None:
        text = _text(item["content"])
        match item["role"]:
            case "system" | "developer":
                self.system.append(text)
            case "assistant":
                self._model_spoke()
            case _:
                self._spoke = False
                self.newest.append(text)
                self.pictures += _pictures(item["content"])
                if text:
                    self.task, self.called = text, []

    def _model_spoke(self) -> None:
        if not self._spoke:
            self.newest, self.returned, self.pictures = [], [], []
        self._spoke = True


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if "text" in part)
    return str(content)


def _pictures(content: Any) -> list[Picture]:
    if not isinstance(content, list):
        return []
    return [_picture(part["image_url"]) for part in content if part["type"] == "input_image"]


def _picture(url: str) -> Picture:
    head, found, data = url.partition(";base64,")
    return Picture(head.removeprefix("data:"), len(base64.b64decode(data))) if found else Picture("", 0, url)


def _choice(choice: Any) -> str:
    match choice:
        case "required":
            return "any"
        case {"type": "function" | "custom", "name": name}:
            return f"tool:{name}"
        case str():
            return choice
    return "auto"


def _segments(body: Mapping[str, Any], items: list[Any]) -> Iterator[Segment]:
    if body.get("instructions"):
        yield segment(body["instructions"], count(body["instructions"]))
    for tool in body.get("tools") or ():
        yield segment(tool, count(json.dumps(tool)))
    for item in items:
        yield segment(item, _size(item))


def _size(item: Mapping[str, Any]) -> int:
    told = "".join(str(item.get(field, "")) for field in ("name", "arguments", "input"))
    content = item.get("content", item.get("output", ""))
    thought = _text(item.get("summary") or "")
    return 4 + count(told) + count(_text(content)) + count(thought) + len(_pictures(content)) * IMAGE_TOKENS


# ---- what is answered


def _items(answer: Answer, prompt: Prompt) -> list[dict[str, Any]]:
    return [_item(block, at, answer, prompt) for at, block in enumerate(answer.blocks)]


def _item(block: Block, at: int, answer: Answer, prompt: Prompt) -> dict[str, Any]:
    name = token(48, f"{answer.key}/{at}")
    cut = answer.stop == "length" and at == len(answer.blocks) - 1
    status = "incomplete" if cut else "completed"
    match block:
        case Say(text):
            content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            if answer.stop == "refusal":
                content = {"type": "refusal", "refusal": text}
            return {
                "id": f"msg_{name}", "type": "message", "role": "assistant", "status": status,
                "content": [content],
            }  # fmt: skip
        case Think(text):
            summary = [{"type": "summary_text", "text": text}] if prompt.summary else []
            item = {"id": f"rs_{name}", "type": "reasoning", "summary": summary}
            return item | ({"encrypted_content": f"{SECRET}{token(80, name)}"} if prompt.encrypted else {})
        case Call(key, tool, arguments):
            call = {"call_id": call_id(key), "name": tool, "status": status}
            if tool in prompt.customs:
                said = custom_input(arguments)
                return {"id": f"ctc_{name}", "type": "custom_tool_call", **call, "input": said}
            return {"id": f"fc_{name}", "type": "function_call", **call, "arguments": arguments}


def call_id(key: str) -> str:
    return f"call_{token(24, key)}"


def custom_input(arguments: str) -> str:
    """What a script's arguments say to a tool that takes text."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    return str(value["input"]) if isinstance(value, dict) and "input" in value else arguments


def _envelope(answer: Answer, prompt: Prompt) -> dict[str, Any]:
    return {
        "id": f"resp_{token(48, answer.key)}",
        "object": "response",
        "created_at": answer.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": prompt.max_tokens,
        "model": prompt.model.id,
        "output": [],
        "parallel_tool_calls": prompt.parallel,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }


def _whole(answer: Answer, prompt: Prompt, _provider: Provider) -> dict[str, Any]:
    tokens = answer.tokens
    cut = answer.stop == "length"
    return {
        **_envelope(answer, prompt),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": _items(answer, prompt),
        "usage": {
            "input_tokens": tokens.prompt,
            "input_tokens_details": {"cached_tokens": tokens.read, "cache_write_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.thinking},
            "total_tokens": tokens.prompt + tokens.output,
        },
    }


class _Numbers:
    """Events are numbered through."""

    def __init__(self) -> None:
        self._next = 0

    def frame(self, kind: str, tokens: int = 0, **fields: Any) -> Frame:
        data = {"type": f"response.{kind}", **fields, "sequence_number": self._next}
        self._next += 1
        return Frame(_sse(f"response.{kind}", data), tokens)


def _sse(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _frames(answer: Answer, prompt: Prompt, provider: Provider) -> Iterator[Frame]:
    numbers = _Numbers()
    envelope = _envelope(answer, prompt)
    yield numbers.frame("created", response=envelope)
    yield numbers.frame("in_progress", response=envelope)
    for place, item in enumerate(_items(answer, prompt)):
        yield numbers.frame("output_item.added", output_index=place, item=_begun(item))
        where = {"item_id": item["id"], "output_index": place}
        match item["type"]:
            case "message":
                yield from _said(numbers, item["content"][0], where)
            case "reasoning" if item["summary"]:
                yield from _thought(numbers, item["summary"][0], where)
            case "reasoning":
                pass  # it thinks in silence
            case "function_call":
                yield from _called(numbers, "function_call_arguments", "arguments", item, where)
            case _:
                yield from _called(numbers, "custom_tool_call_input", "input", item, where)
        yield numbers.frame("output_item.done", output_index=place, item=item)
    whole = _whole(answer, prompt, provider)
    yield numbers.frame(whole["status"], response=whole)


def _begun(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it is announced: all there is of it but what it says."""
    empty: dict[str, Any] = {
        "content": [],
        "summary": [],
        "arguments": "",
        "input": "",
        "status": "in_progress",
    }
    return {name: empty.get(name, value) for name, value in item.items()}


def _said(numbers: _Numbers, content: Mapping[str, Any], where: Mapping[str, Any]) -> Iterator[Frame]:
    field = "refusal" if content["type"] == "refusal" else "text"
    at = {**where, "content_index": 0}
    yield numbers.frame("content_part.added", **at, part={**content, field: ""})
    extra: dict[str, Any] = {"logprobs": []} if field == "text" else {}
    for piece in pieces(content[field]):
        yield numbers.frame(f"{content['type']}.delta", count(piece), **at, delta=piece, **extra)
    yield numbers.frame(f"{content['type']}.done", **at, **{field: content[field]}, **extra)
    yield numbers.frame("content_part.done", **at, part=content)


def _thought(numbers: _Numbers, summary: Mapping[str, Any], where: Mapping[str, Any]) -> Iterator[Frame]:
    at = {**where, "summary_index": 0}
    yield numbers.frame("reasoning_summary_part.added", **at, part={**summary, "text": ""})
    for piece in pieces(summary["text"]):
        yield numbers.frame("reasoning_summary_text.delta", count(piece), **at, delta=piece)
    yield numbers.frame("reasoning_summary_text.done", **at, text=summary["text"])
    yield numbers.frame("reasoning_summary_part.done", **at, part=summary)


def _called(
    numbers: _Numbers, kind: str, field: str, item: Mapping[str, Any], where: Mapping[str, Any]
) -> Iterator[Frame]:
    for piece in pieces(item[field]):
        yield numbers.frame(f"{kind}.delta", count(piece), **where, delta=piece)
    named = {"name": item["name"]} if field == "arguments" else {}
    yield numbers.frame(f"{kind}.done", **where, **named, **{field: item[field]})


def _error_frame(refused: Refused, _provider: Provider, told: int) -> bytes:
    code = refused.code if isinstance(refused.code, str) else "server_error"
    failed = {
        "id": "resp_failed", "object": "response", "created_at": 0, "status": "failed", "model": "",
        "error": {"code": code, "message": refused.message}, "incomplete_details": None, "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None,
    }  # fmt: skip
    return _sse("response.failed", {"type": "response.failed", "response": failed, "sequence_number": told})


def _headers(provider: Provider, request_id: str) -> dict[str, str]:
    # A client that is shown this one and asked for another model takes it for a warning.
    return {**OPENAI.headers(provider, request_id), "openai-model": "simulated"}


def _counted(prompt: Prompt) -> dict[str, Any]:
    return {"object": "response.input_tokens", "input_tokens": prompt.tokens}


RESPONSES = Wire(
    route=_route,
    allow=OPENAI.allow,
    broken=OPENAI.broken,
    read=_read,
    counted=_counted,
    whole=_whole,
    frames=_frames,
    listed=OPENAI.listed,
    trouble=OPENAI.trouble,
    refusal=OPENAI.refusal,
    error_frame=_error_frame,
    garbage=b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n',
    headers=_headers,
)
