"""Anthropic's Messages format, as its server speaks it."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from engine.simulator.anthropic_rules import check, loop_lost_its_thinking, refuse, signature
from engine.simulator.dice import token
from engine.simulator.models import Provider, SimulatedModel, find
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
from engine.simulator.wire import Asked, Frame, Operation, Refused, Wire, pieces

_STOPS = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tools": "tool_use",
    "refusal": "refusal",
}
_TROUBLES = {
    400: ("invalid_request_error", "Invalid request"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit of input tokens."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def _route(method: str, path: str) -> Operation | None:
    match method, path:
        case "POST", "/v1/messages":
            return "answer"
        case "POST", "/v1/messages/count_tokens":
            return "count"
        case "GET", "/v1/models":
            return "models"
        case "GET", _ if path.startswith("/v1/models/"):
            return "model"
    return None


def _allow(provider: Provider, headers: Mapping[str, str]) -> None:
    bearer = headers.get("authorization", "").startswith("Bearer ")
    if provider.wants_key and not headers.get("x-api-key") and not bearer:
        raise Refused(401, "authentication_error", "x-api-key header is required")


def _broken(why: str) -> Refused:
    return refuse(f"The request body is not valid JSON: {why}")


def _read(asked: Asked, operation: Operation) -> Prompt:
    body = asked.body
    if "anthropic-version" not in asked.headers:
        raise refuse("anthropic-version: header is required")
    if not isinstance(body.get("model"), str):
        raise refuse(f"model: {'Input should be a valid string' if 'model' in body else 'Field required'}")
    model = find(asked.models, asked.provider.name, body["model"])
    if model is None:
        raise Refused(404, "not_found_error", f"model: {body['model']}")
    check(body, model, asked.headers.get("anthropic-beta", ""), operation == "count")
    prompt = _prompt(body, model)
    if prompt.tokens > model.context_tokens:
        raise refuse(f"prompt is too long: {prompt.tokens} tokens > {model.context_tokens} maximum")
    return prompt


def _prompt(body: Mapping[str, Any], model: SimulatedModel) -> Prompt:
    messages = [(message["role"], _blocks(message["content"])) for message in body["messages"]]
    task = ""
    newest: list[str] = []
    called: list[str] = []
    returned: list[Returned] = []
    pictures: list[Picture] = []
    names: dict[str, str] = {}
    for role, blocks in messages:
        if role == "assistant":
            newest, returned, pictures = [], [], []
        for block in blocks:
            match block["type"]:
                case "text" if role == "user":
                    newest.append(block["text"])
                case "image":
                    pictures.append(_picture(block))
                case "tool_use":
                    names[block["id"]] = block["name"]
                    called.append(block["name"])
                case "tool_result":
                    inner = _blocks(block.get("content") or "")
                    text = "".join(part.get("text", "") for part in inner if part.get("type") == "text")
                    pictures += [_picture(part) for part in inner if part.get("type") == "image"]
                    name = names.get(block["tool_use_id"], "")
                    returned.append(Returned(name, text, bool(block.get("is_error"))))
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        if role == "user" and texts and not any(block["type"] == "tool_result" for block in blocks):
            task, called = texts[-1], []
    choice = body.get("tool_choice") or {"type": "auto"}
    output = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return Prompt(
        model=model,
        system="\n".join(block["text"] for block in _blocks(body.get("system") or "")),
        task=task,
        newest="\n".join([*newest, *(result.text for result in returned)]),
        called=tuple(called),
        returned=tuple(returned),
        pictures=tuple(pictures),
        tools=tuple(Offered(tool["name"], tool.get("input_schema", {})) for tool in body.get("tools") or []),
        segments=tuple(_segments(body)),
        digest=digest(body),
        stream=body.get("stream", False),
        choice=f"tool:{choice['name']}" if choice["type"] == "tool" else choice["type"],
        parallel=not choice.get("disable_parallel_tool_use", False),
        thinking=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        and not loop_lost_its_thinking(body),
        stop=tuple(body.get("stop_sequences") or ()),
        max_tokens=body.get("max_tokens"),
        schema=output.get("schema"),
    )


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _picture(block: Mapping[str, Any]) -> Picture:
    source = block["source"]
    if source["type"] == "base64":
        return Picture(source["media_type"], len(base64.b64decode(source["data"])))
    return Picture("", 0, source.get("url") or source.get("file_id", ""))


def _segments(body: Mapping[str, Any]) -> Iterator[Segment]:
    for tool in body.get("tools") or []:
        yield _segment("tool", tool)
    for block in _blocks(body.get("system") or ""):
        yield _segment("system", block)
    messages = body["messages"]
    for index, message in enumerate(messages):
        blocks = _blocks(message["content"])
        for number, block in enumerate(blocks):
            last = index == len(messages) - 1 and number == len(blocks) - 1
            yield _segment(message["role"], block, marked=last and body.get("cache_control") is not None)


def _segment(role: str, block: Mapping[str, Any], marked: bool = False) -> Segment:
    bare = {key: value for key, value in block.items() if key != "cache_control"}
    return segment([role, bare], _size(bare), marked or block.get("cache_control") is not None)


def _size(block: Mapping[str, Any]) -> int:
    match block.get("type"):
        case "text":
            return count(block["text"]) + 2
        case "image":
            return IMAGE_TOKENS
        case "tool_result":
            return 6 + sum(_size(part) for part in _blocks(block.get("content") or ""))
        case "document":
            return count(str(block["source"].get("data") or block["source"])) + 4
        case _:
            return count(json.dumps(block, default=str))


def _counted(prompt: Prompt) -> dict[str, Any]:
    return {"input_tokens": prompt.tokens}


def _whole(answer: Answer, prompt: Prompt, _provider: Provider) -> dict[str, Any]:
    return {
        **_message(answer, prompt),
        "content": [_block(block) for block in answer.blocks],
        "stop_reason": _STOPS[answer.stop],
        "stop_sequence": answer.sequence,
        "usage": _usage(answer),
    }


def _message(answer: Answer, prompt: Prompt) -> dict[str, Any]:
    return {
        "model": prompt.model.id,
        "id": f"msg_01{token(22, answer.key)}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def call_id(key: str) -> str:
    return f"toolu_01{token(22, key)}"


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Say(text):
            return {"type": "text", "text": text}
        case Think(text):
            return {"type": "thinking", "thinking": text, "signature": signature(text)}
        case Call(key, name, arguments):
            return {
                "type": "tool_use",
                "id": call_id(key),
                "name": name,
                "input": _input(arguments),
            }


def _input(arguments: str) -> dict[str, Any]:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _usage(answer: Answer, output: int | None = None) -> dict[str, Any]:
    tokens = answer.tokens
    usage: dict[str, Any] = {
        "input_tokens": tokens.prompt - tokens.read - tokens.written,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.read,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens.output if output is None else output,
        "service_tier": "standard",
    }
    if tokens.thinking and output is None:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.thinking}
    return usage


def _frames(answer: Answer, prompt: Prompt, _provider: Provider) -> Iterator[Frame]:
    message = {**_message(answer, prompt), "usage": _usage(answer, output=1)}
    yield _event("message_start", message=message)
    for index, block in enumerate(answer.blocks):
        yield _event("content_block_start", index=index, content_block=_opened(block))
        if index == 0:
            yield _event("ping")
        for delta, tokens in _deltas(block):
            yield _event("content_block_delta", tokens, index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    delta = {"stop_reason": _STOPS[answer.stop], "stop_sequence": answer.sequence}
    yield _event("message_delta", delta=delta, usage=_usage(answer))
    yield _event("message_stop")


def _opened(block: Block) -> dict[str, Any]:
    match block:
        case Say():
            return {"type": "text", "text": ""}
        case Think():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Call():
            return {**_block(block), "input": {}}


def _deltas(block: Block) -> Iterator[tuple[dict[str, Any], int]]:
    match block:
        case Say(text):
            for piece in pieces(text):
                yield {"type": "text_delta", "text": piece}, count(piece)
        case Think(text):
            for piece in pieces(text):
                yield {"type": "thinking_delta", "thinking": piece}, count(piece)
            yield {"type": "signature_delta", "signature": signature(text)}, 0
        case Call(_, _, arguments):
            # The vendor opens a tool's arguments with an empty piece.
            yield {"type": "input_json_delta", "partial_json": ""}, 0
            if arguments.strip() != "{}":
                for piece in pieces(arguments):
                    yield {"type": "input_json_delta", "partial_json": piece}, count(piece)


def _event(kind: str, tokens: int = 0, **fields: Any) -> Frame:
    return Frame(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode(), tokens)


def _listed(models: tuple[SimulatedModel, ...], wanted: str | None) -> dict[str, Any]:
    rows = [
        {
            "type": "model",
            "id": model.id,
            "display_name": model.name.title(),
            "created_at": "2025-10-01T00:00:00Z",
        }
        for model in models
    ]
    if wanted is None:
        return {"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]}
    for row in rows:
        if row["id"] == wanted:
            return row
    raise Refused(404, "not_found_error", f"model: {wanted}")


def _trouble(status: int, message: str) -> Refused:
    kind, usual = _TROUBLES.get(status, _TROUBLES[500] if status >= 500 else _TROUBLES[400])
    return Refused(status, kind, message or usual)


def _refusal(refused: Refused, _provider: Provider, request_id: str) -> dict[str, Any]:
    error = {"type": refused.kind, "message": refused.message}
    return {"type": "error", "error": error, "request_id": request_id}


def _error_frame(refused: Refused, _provider: Provider, _told: int) -> bytes:
    error = {"type": refused.kind, "message": refused.message}
    return f"event: error\ndata: {json.dumps({'type': 'error', 'error': error})}\n\n".encode()


def _headers(_provider: Provider, request_id: str) -> dict[str, str]:
    return {
        "request-id": request_id,
        "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-tokens-limit": "2000000",
        "anthropic-ratelimit-tokens-remaining": "1990000",
    }


ANTHROPIC = Wire(
    route=_route,
    allow=_allow,
    broken=_broken,
    read=_read,
    counted=_counted,
    whole=_whole,
    frames=_frames,
    listed=_listed,
    trouble=_trouble,
    refusal=_refusal,
    error_frame=_error_frame,
    garbage=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n',
    headers=_headers,
)
