"""Google's generateContent format, as its server speaks it: the model and the stream in the path, lines that end
in CRLF, calls that come whole, and a signature on the first of them."""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from engine.simulator.dice import token
from engine.simulator.gemini_rules import check, named, parts_of, refuse, signature
from engine.simulator.models import Provider, SimulatedModel, find
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
    "end": "STOP",
    "length": "MAX_TOKENS",
    "stop_sequence": "STOP",
    "tools": "STOP",
    "refusal": "SAFETY",
}
_TROUBLES = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    402: ("FAILED_PRECONDITION", "Billing is not enabled for this project."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "The model is not found for API version v1beta."),
    413: ("INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    429: (
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The service was unable to finish processing within the deadline."),
    529: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}
_ACTIONS: dict[str, Operation] = {
    "generateContent": "answer",
    "streamGenerateContent": "answer",
    "countTokens": "count",
}


def _route(method: str, path: str) -> Operation | None:
    if method == "POST" and path.startswith("/models/"):
        return _ACTIONS.get(path.rpartition(":")[2])
    if method == "GET" and path == "/models":
        return "models"
    return "model" if method == "GET" and path.startswith("/models/") else None


def _told(path: str) -> dict[str, Any]:
    """What the path says, under names no body has."""
    model, _, action = path.rpartition("/models/")[2].rpartition(":")
    return {"@model": model, "@stream": action == "streamGenerateContent"}


def _allow(provider: Provider, headers: Mapping[str, str]) -> None:
    if provider.wants_key and not headers.get("x-goog-api-key"):
        raise Refused(
            403,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity).",
        )


def _broken(why: str) -> Refused:
    return refuse(f"Invalid JSON payload received. {why}")


def _read(asked: Asked, operation: Operation) -> Prompt:
    name = asked.body["@model"]
    model = find(asked.models, asked.provider.name, name)
    if model is None:
        raise Refused(
            404,
            "NOT_FOUND",
            f"models/{name} is not found for API version v1beta, or is not supported for generateContent.",
        )
    sent = {key: value for key, value in asked.body.items() if not key.startswith("@")}
    if operation == "count" and "generateContentRequest" in sent:
        sent = {key: value for key, value in sent["generateContentRequest"].items() if key != "model"}
    prompt = _prompt(check(sent, model), model, asked.body["@stream"])
    if prompt.tokens > model.context_tokens:
        raise refuse(
            f"The input token count ({prompt.tokens}) exceeds the maximum number of tokens allowed "
            f"({model.context_tokens})."
        )
    return prompt


def _prompt(body: Mapping[str, Any], model: SimulatedModel, stream: bool) -> Prompt:
    task = ""
    newest: list[str] = []
    called: list[str] = []
    returned: list[Returned] = []
    pictures: list[Picture] = []
    for content in body["contents"]:
        parts = parts_of(content)
        if content.get("role") == "model":
            newest, returned, pictures = [], [], []
            called += [part["functionCall"]["name"] for part in parts if "functionCall" in part]
            continue
        results = [named(part["functionResponse"]) for part in parts if "functionResponse" in part]
        texts = [part["text"] for part in parts if part.get("text")]
        for result in results:
            returned.append(Returned(result["name"], _told_by(result), "error" in result["response"]))
            pictures += _pictures(map(named, result.get("parts") or []))
        pictures += _pictures(iter(parts))
        newest += [*texts, *(_told_by(result) for result in results)]
        if texts and not results:
            task, called = texts[-1], []
    config = named(body.get("generationConfig") or {})
    thinking = named(config.get("thinkingConfig") or {})
    return Prompt(
        model=model,
        system="\n".join(part.get("text", "") for part in _system(body)),
        task=task,
        newest="\n".join(newest),
        called=tuple(called),
        returned=tuple(returned),
        pictures=tuple(pictures),
        tools=tuple(_offered(body)),
        segments=tuple(_segments(body)),
        digest=digest(body),
        stream=stream,
        choice=_choice(body),
        thinking=model.reasons
        and thinking.get("includeThoughts") is True
        and thinking.get("thinkingBudget") != 0,
        stop=tuple(config.get("stopSequences") or ()),
        max_tokens=config.get("maxOutputTokens"),
        schema=config.get("responseJsonSchema") or config.get("responseSchema"),
        json_mode=config.get("responseMimeType") == "application/json",
    )


def _system(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    instruction = body.get("systemInstruction")
    return parts_of(instruction) if instruction else []


def _told_by(result: Mapping[str, Any]) -> str:
    response = result["response"]
    for key in ("output", "error", "result"):
        if isinstance(response.get(key), str):
            return str(response[key])
    return json.dumps(response) if response else ""


def _pictures(parts: Iterator[dict[str, Any]]) -> list[Picture]:
    found = []
    for part in parts:
        if "inlineData" in part:
            blob = named(part["inlineData"])
            if blob["mimeType"].startswith("image/"):
                found.append(Picture(blob["mimeType"], len(b64decode(blob["data"], altchars=b"-_"))))
        elif "fileData" in part:
            found.append(Picture("", 0, named(part["fileData"]).get("fileUri", "")))
    return found


def _declared(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    tools = body.get("tools") or []
    for tool in tools if isinstance(tools, list) else [tools]:
        yield from map(named, named(tool).get("functionDeclarations") or [])


def _offered(body: Mapping[str, Any]) -> Iterator[Offered]:
    for declared in _declared(body):
        schema = declared.get("parametersJsonSchema") or declared.get("parameters") or {}
        yield Offered(declared["name"], schema)


def _choice(body: Mapping[str, Any]) -> str:
    calling = named(named(body.get("toolConfig") or {}).get("functionCallingConfig") or {})
    allowed = calling.get("allowedFunctionNames") or []
    match calling.get("mode"):
        case "ANY" if len(allowed) == 1:
            return f"tool:{allowed[0]}"
        case "ANY":
            return "any"
        case "NONE":
            return "none"
    return "auto"


def _segments(body: Mapping[str, Any]) -> Iterator[Segment]:
    for declared in _declared(body):
        yield segment(declared, count(json.dumps(declared)))
    for part in _system(body):
        yield segment(["system", part], _size(part))
    for content in body["contents"]:
        for part in parts_of(content):
            yield segment([content.get("role"), part], _size(part))


def _size(part: Mapping[str, Any]) -> int:
    if "text" in part:
        return count(part["text"]) + 2
    return IMAGE_TOKENS if "inlineData" in part or "fileData" in part else count(json.dumps(part)) + 4


def _counted(prompt: Prompt) -> dict[str, Any]:
    return {"totalTokens": prompt.tokens}


def call_id(key: str) -> str:
    return token(8, key).lower()


def _whole(answer: Answer, prompt: Prompt, _provider: Provider) -> dict[str, Any]:
    parts = [part for block in _blocks(answer, prompt) for part, _ in block]
    return _chunk(answer, prompt, parts, _STOPS[answer.stop], _usage(answer))


def _blocks(answer: Answer, prompt: Prompt) -> Iterator[list[tuple[dict[str, Any], int]]]:
    """What each block is as a part, or as parts of a stream, with the tokens each carries."""
    signed = False
    for block in answer.blocks:
        match block:
            case Say(text):
                yield [({"text": text}, count(text))]
            case Think(text) if prompt.thinking:
                yield [({"text": text, "thought": True}, count(text))]
            case Call(key, name, arguments):
                call = {"functionCall": {"name": name, "args": _args(arguments), "id": call_id(key)}}
                if not signed:
                    signed, call["thoughtSignature"] = True, signature(key)  # type: ignore[assignment]  # a text
                yield [(call, count(arguments) + 4)]
            case Think():
                pass  # thoughts that nobody asked to see are only counted


def _args(arguments: str) -> dict[str, Any]:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _chunk(
    answer: Answer,
    prompt: Prompt,
    parts: list[dict[str, Any]],
    finish: str | None,
    usage: dict[str, Any],
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": prompt.model.id,
        "responseId": token(22, answer.key),
    }


def _usage(answer: Answer, said: bool = True) -> dict[str, Any]:
    tokens = answer.tokens
    usage: dict[str, Any] = {"promptTokenCount": tokens.prompt, "totalTokenCount": tokens.prompt}
    if tokens.read:
        usage["cachedContentTokenCount"] = tokens.read
    if said:
        usage["candidatesTokenCount"] = tokens.output - tokens.thinking
        usage["totalTokenCount"] = tokens.prompt + tokens.output
        if tokens.thinking:
            usage["thoughtsTokenCount"] = tokens.thinking
    return usage


def _frames(answer: Answer, prompt: Prompt, _provider: Provider) -> Iterator[Frame]:
    early = _usage(answer, said=False)
    for block in _blocks(answer, prompt):
        for part, tokens in block:
            if "functionCall" in part:
                yield _data(_chunk(answer, prompt, [part], None, early), tokens)
                continue
            for piece in pieces(part["text"]):
                yield _data(_chunk(answer, prompt, [{**part, "text": piece}], None, early), count(piece))
    ending = {"text": "", "thoughtSignature": signature(answer.key)} if prompt.thinking else {"text": ""}
    yield _data(_chunk(answer, prompt, [ending], _STOPS[answer.stop], _usage(answer)))


def _data(value: dict[str, Any], tokens: int = 0) -> Frame:
    return Frame(f"data: {json.dumps(value)}\r\n\r\n".encode(), tokens)


def _listed(models: tuple[SimulatedModel, ...], wanted: str | None) -> dict[str, Any]:
    rows = [
        {
            "name": f"models/{model.id}",
            "displayName": model.name,
            "inputTokenLimit": model.context_tokens,
            "outputTokenLimit": model.output_tokens,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        for model in models
    ]
    if wanted is None:
        return {"models": rows}
    for row in rows:
        if row["name"] == f"models/{wanted}":
            return row
    raise Refused(404, "NOT_FOUND", f"Model is not found: models/{wanted}")


def _trouble(status: int, message: str) -> Refused:
    kind, usual = _TROUBLES.get(status, _TROUBLES[500] if status >= 500 else _TROUBLES[400])
    return Refused(status, kind, message or usual)


def _refusal(refused: Refused, _provider: Provider, _request_id: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": refused.status, "message": refused.message, "status": refused.kind}
    if refused.retry_after is not None:
        retry = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": retry, "retryDelay": f"{refused.retry_after:g}s"}]
    return {"error": error}


def _error_frame(refused: Refused, provider: Provider, _told: int) -> bytes:
    return f"data: {json.dumps(_refusal(refused, provider, ''))}\r\n\r\n".encode()


def _headers(_provider: Provider, _request_id: str) -> dict[str, str]:
    return {"server": "scaffolding on HTTPServer2", "x-frame-options": "SAMEORIGIN"}


GEMINI = Wire(
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
    garbage=b'data: {"candidates": [{"content": {"par\r\n\r\n',
    headers=_headers,
    told=_told,
)
