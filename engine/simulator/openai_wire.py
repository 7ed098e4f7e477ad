"""OpenAI's Chat Completions format, as its server speaks it, and as the vendors speak it who copied it.

What the copies do differently, each as it is in the wild: DeepSeek shows its reasoning as `reasoning_content`
and puts usage on the last chunk; OpenRouter begins with comments, calls reasoning `reasoning` and always
sends usage; vLLM numbers its error codes.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from engine.simulator.dice import token
from engine.simulator.models import Dialect, Provider, SimulatedModel, find
from engine.simulator.openai_refusals import refuse
from engine.simulator.openai_rules import check
from engine.simulator.prompt import (
    IMAGE_TOKENS,
    Answer,
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
    "end": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "tools": "tool_calls",
    "refusal": "content_filter",
}
_TROUBLES: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Invalid request"),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "Insufficient Balance"),
    403: ("invalid_request_error", "unsupported_country", "Country, region, or territory not supported"),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you have no access to it.",
    ),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again in 7s."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: (
        "server_error",
        "server_is_overloaded",
        "The engine is currently overloaded, please try again later.",
    ),
}
_THOUGHTS: dict[Dialect, str] = {
    "deepseek": "reasoning_content",
    "vllm": "reasoning_content",
    "openrouter": "reasoning",
}


def _route(method: str, path: str) -> Operation | None:
    match method, path:
        case "POST", "/chat/completions":
            return "answer"
        case "GET", "/models":
            return "models"
        case "GET", _ if path.startswith("/models/"):
            return "model"
    return None


def _allow(provider: Provider, headers: Mapping[str, str]) -> None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if provider.wants_key and (scheme.lower() != "bearer" or not key.strip()):
        raise Refused(
            401,
            "invalid_request_error",
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using "
            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )


def _broken(why: str) -> Refused:
    return refuse(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
        "HTTP "
        f"library correctly. The API expects a JSON payload, but what was sent was not valid JSON: {why})"
    )


def _read(asked: Asked, _operation: Operation) -> Prompt:
    body, dialect = asked.body, asked.provider.dialect
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise refuse("you must provide a model parameter")
    model = find(asked.models, asked.provider.name, name)
    if model is None:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise Refused(404, "invalid_request_error", message, None, "model_not_found")
    check(body, model, dialect)
    prompt = _prompt(body, model, dialect)
    if prompt.tokens > model.context_tokens:
        raise refuse(
            f"This model's maximum context length is {model.context_tokens} tokens. However, your messages "
            "resulted "
            f"in {prompt.tokens} tokens. Please reduce the length of the messages.",
            "messages",
            "context_length_exceeded",
        )
    return prompt


def _prompt(body: Mapping[str, Any], model: SimulatedModel, dialect: Dialect) -> Prompt:
    task = ""
    system: list[str] = []
    newest: list[str] = []
    called: list[str] = []
    returned: list[Returned] = []
    pictures: list[Picture] = []
    names: dict[str, str] = {}
    for message in body["messages"]:
        text = _text(message.get("content"))
        match message["role"]:
            case "system" | "developer":
                system.append(text)
            case "user":
                newest.append(text)
                pictures += _pictures(message["content"])
                if text:
                    task, called = text, []
            case "tool" | "function":
                newest.append(text)
                returned.append(Returned(names.get(message.get("tool_call_id", ""), ""), text))
            case "assistant":
                newest, returned, pictures = [], [], []
                for call in message.get("tool_calls") or ():
                    name = (call.get("function") or call.get("custom") or {}).get("name", "")
                    names[call["id"]] = name
                    called.append(name)
    wanted = body.get("response_format") or {}
    stop = body.get("stop") or ()
    return Prompt(
        model=model,
        system="\n".join(system),
        task=task,
        newest="\n".join(newest),
        called=tuple(called),
        returned=tuple(returned),
        pictures=tuple(pictures),
        tools=tuple(_offered(tool) for tool in body.get("tools") or () if tool["type"] in tool),
        segments=tuple(_segments(body)),
        digest=digest(body),
        stream=bool(body.get("stream")),
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        thinking=_thinks(body, model, dialect),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        schema=(wanted.get("json_schema") or {}).get("schema"),
        json_mode=wanted.get("type") == "json_object",
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _pictures(content: Any) -> list[Picture]:
    if not isinstance(content, list):
        return []
    return [_picture(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]


def _picture(url: str) -> Picture:
    head, found, data = url.partition(";base64,")
    return Picture(head.removeprefix("data:"), len(base64.b64decode(data))) if found else Picture("", 0, url)


def _offered(tool: Mapping[str, Any]) -> Offered:
    inner = tool[tool["type"]]
    return Offered(inner["name"], inner.get("parameters") or {})


def _choice(choice: Any) -> str:
    match choice:
        case None | "auto":
            return "auto"
        case "required":
            return "any"
        case str():
            return choice
        case {"type": "allowed_tools"}:
            return "auto"
    return f"tool:{choice[choice['type']]['name']}"


def _thinks(body: Mapping[str, Any], model: SimulatedModel, dialect: Dialect) -> bool:
    if not model.reasons:
        return False
    effort = body.get("reasoning_effort")
    if dialect == "deepseek":
        return (body.get("thinking") or {}).get("type") == "enabled"
    if dialect == "openrouter" and body.get("reasoning"):
        asked = body["reasoning"]
        return bool(asked.get("enabled", True)) and asked.get("effort") != "none"
    return effort not in (None, "none") or (effort is None and "reasons_unasked" in model.quirks)


def _segments(body: Mapping[str, Any]) -> Iterator[Segment]:
    for tool in body.get("tools") or ():
        yield segment(tool, count(json.dumps(tool)))
    for message in body["messages"]:
        yield segment(_unmarked(message), _size(message), _marked(message))


def _unmarked(message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(message.get("content"), list):
        return dict(message)
    parts = [
        {key: value for key, value in part.items() if key != "cache_control"} for part in message["content"]
    ]
    return {**message, "content": parts}


def _marked(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part.get("cache_control") for part in content)


def _size(message: Mapping[str, Any]) -> int:
    images = len(_pictures(message.get("content")))
    calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
    thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
    return 4 + count(_text(message.get("content"))) + count(calls) + count(thoughts) + images * IMAGE_TOKENS


def _counted(prompt: Prompt) -> dict[str, Any]:
    return {"input_tokens": prompt.tokens}


def _whole(answer: Answer, prompt: Prompt, provider: Provider) -> dict[str, Any]:
    text = "".join(block.text for block in answer.blocks if isinstance(block, Say))
    calls = [block for block in answer.blocks if isinstance(block, Call)]
    refused = answer.stop == "refusal" and provider.dialect == "openai"
    message: dict[str, Any] = {"role": "assistant", "content": None if refused or not text else text}
    if provider.dialect == "openai":
        message |= {"refusal": text if refused else None, "annotations": []}
    thoughts = "".join(block.text for block in answer.blocks if isinstance(block, Think))
    if thoughts:
        message |= _thought(thoughts, provider.dialect)
    if calls:
        message["tool_calls"] = [_call(call) for call in calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer, refused)}
    return {
        **_envelope(answer, prompt, provider, "chat.completion"),
        "choices": [choice],
        "usage": _usage(answer, provider.dialect),
    }


def _envelope(answer: Answer, prompt: Prompt, provider: Provider, kind: str) -> dict[str, Any]:
    prefix = "gen-" if provider.dialect == "openrouter" else "chatcmpl-"
    envelope: dict[str, Any] = {
        "id": f"{prefix}{token(29, answer.key)}",
        "object": kind,
        "created": answer.created,
        "model": prompt.model.id,
    }
    if provider.dialect == "openai":
        envelope |= {"service_tier": "default", "system_fingerprint": "fp_simulated"}
    if provider.dialect == "openrouter":
        envelope["provider"] = "Simulated"
    return envelope


def _finish(answer: Answer, refused: bool) -> str:
    return "stop" if refused else _STOPS[answer.stop]


def _thought(text: str, dialect: Dialect) -> dict[str, Any]:
    """How a vendor shows reasoning. OpenAI does not; it only counts it."""
    if dialect not in _THOUGHTS:
        return {}
    shown: dict[str, Any] = {_THOUGHTS[dialect]: text}
    if dialect == "openrouter":
        shown["reasoning_details"] = [
            {"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0}
        ]
    return shown


def call_id(key: str) -> str:
    return f"call_{token(24, key)}"


def _call(call: Call, arguments: str | None = None) -> dict[str, Any]:
    written = call.arguments if arguments is None else arguments
    return {
        "id": call_id(call.key),
        "type": "function",
        "function": {"name": call.name, "arguments": written},
    }


def _usage(answer: Answer, dialect: Dialect) -> dict[str, Any]:
    tokens = answer.tokens
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.prompt + tokens.output,
    }
    if dialect == "vllm":
        return {**usage, "prompt_tokens_details": None}
    usage["prompt_tokens_details"] = {"cached_tokens": tokens.read}
    usage["completion_tokens_details"] = {"reasoning_tokens": tokens.thinking}
    match dialect:
        case "openai":
            usage["prompt_tokens_details"]["audio_tokens"] = 0
            usage["completion_tokens_details"] |= {
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            }
        case "deepseek":
            usage |= {
                "prompt_cache_hit_tokens": tokens.read,
                "prompt_cache_miss_tokens": tokens.prompt - tokens.read,
            }
        case "openrouter":
            usage["prompt_tokens_details"]["cache_write_tokens"] = tokens.written
            usage["cost"] = 0
    return usage


def _frames(answer: Answer, prompt: Prompt, provider: Provider) -> Iterator[Frame]:
    dialect = provider.dialect
    envelope = _envelope(answer, prompt, provider, "chat.completion.chunk")
    if prompt.include_usage:
        envelope["usage"] = None
    refused = answer.stop == "refusal" and dialect == "openai"
    if dialect == "openrouter":
        yield Frame(b": OPENROUTER PROCESSING\n\n")
    yield _chunk(envelope, _opening(answer, dialect))
    for delta, tokens in _deltas(answer, dialect, refused):
        yield _chunk(envelope, delta, tokens=tokens)
    usage = _usage(answer, dialect)
    if dialect == "deepseek":
        yield _chunk({**envelope, "usage": usage}, {"content": ""}, _finish(answer, refused))
    else:
        yield _chunk(envelope, {}, _finish(answer, refused))
    if (prompt.include_usage or dialect == "openrouter") and dialect != "deepseek":
        yield _data({**envelope, "choices": [], "usage": usage})
    yield Frame(b"data: [DONE]\n\n")


def _opening(answer: Answer, dialect: Dialect) -> dict[str, Any]:
    says = any(isinstance(block, Say) for block in answer.blocks)
    opening: dict[str, Any] = {"role": "assistant", "content": "" if says else None}
    return {**opening, "refusal": None} if dialect == "openai" else opening


def _deltas(answer: Answer, dialect: Dialect, refused: bool) -> Iterator[tuple[dict[str, Any], int]]:
    index = -1
    for block in answer.blocks:
        match block:
            case Say(text):
                field = "refusal" if refused else "content"
                for piece in pieces(text):
                    yield {field: piece}, count(piece)
            case Think(text):
                for piece in pieces(text):
                    if shown := _thought(piece, dialect):
                        yield {"content": None, **shown}, count(piece)
            case Call():
                index += 1
                yield {"tool_calls": [{"index": index, **_call(block, "")}]}, 4
                for piece in pieces(block.arguments):
                    yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, count(piece)


def _chunk(
    envelope: dict[str, Any], delta: dict[str, Any], finish: str | None = None, tokens: int = 0
) -> Frame:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _data({**envelope, "choices": [choice]}, tokens)


def _data(value: dict[str, Any], tokens: int = 0) -> Frame:
    return Frame(f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode(), tokens)


def _listed(models: tuple[SimulatedModel, ...], wanted: str | None) -> dict[str, Any]:
    rows = [
        {"id": model.id, "object": "model", "created": 1_764_547_200, "owned_by": model.provider}
        for model in models
    ]
    if wanted is None:
        return {"object": "list", "data": rows}
    for row in rows:
        if row["id"] == wanted:
            return row
    raise Refused(
        404, "invalid_request_error", f"The model '{wanted}' does not exist", "model", "model_not_found"
    )


def _trouble(status: int, message: str) -> Refused:
    kind, code, usual = _TROUBLES.get(
        status, _TROUBLES[503 if status == 529 else 500 if status >= 500 else 400]
    )
    return Refused(status, kind, message or usual, None, code)


def _refusal(refused: Refused, provider: Provider, _request_id: str) -> dict[str, Any]:
    error: dict[str, Any] = {
        "message": refused.message,
        "type": refused.kind,
        "param": refused.param,
        "code": refused.code,
    }
    match provider.dialect:
        case "vllm":
            error |= {"type": "BadRequestError" if refused.status == 400 else "Error", "code": refused.status}
        case "openrouter":
            error = {
                "message": refused.message,
                "code": refused.status,
                "metadata": {"provider_name": "Simulated"},
            }
    return {"error": error}


def _error_frame(refused: Refused, provider: Provider, _told: int) -> bytes:
    body = _refusal(refused, provider, "")
    if provider.dialect == "openrouter":
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        body = {"id": "gen-error", "object": "chat.completion.chunk", **body, "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n".encode()


def _headers(provider: Provider, request_id: str) -> dict[str, str]:
    headers = {"x-request-id": request_id}
    if provider.dialect == "openai":
        headers |= {
            "openai-organization": "simulated",
            "openai-processing-ms": "12",
            "openai-version": "2020-10-01",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-tokens": "1990000",
            "x-ratelimit-reset-requests": "6ms",
        }
    return headers


OPENAI = Wire(
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
    garbage=b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","choices":[{"ind\n\n',
    headers=_headers,
)
