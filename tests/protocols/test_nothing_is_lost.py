"""Whatever a client sends, each piece of content reaches the provider or is reported, in every direction.

Requests are made of random pieces that can be told apart, in each client's own words; and real agents' requests
are broken at random. Only errors of ours may come of either.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.catalog import Model, Price
from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Lossy,
    Opaque,
    Part,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from engine.core.errors import WeaveError
from engine.protocols import PROTOCOLS
from engine.protocols.outbound import outbound

Json = dict[str, Any]
ABLE = Model(
    "able", "frontier", 200_000, 64_000,
    frozenset({"tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"}), Price(), (),
)  # fmt: skip
LOOSE = Lossy(content="report")
TARGETS = [("anthropic-messages", "claude-opus-4-5"), ("openai-chat", "gpt-5.4"), ("openai-responses", "gpt-5.4"),
           ("gemini", "gemini-3-pro")]  # fmt: skip


# ---- random requests in each client's words

PIECES = (
    "text", "text", "image", "image_url", "pdf", "note", "file_url", "stored", "odd", "blank",
)  # fmt: skip
pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3)
turns = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "assistant", "system"]),
            "pieces": pieces,
            "thinks": st.sampled_from([None, "signed", "unsigned"]),
            "calls": st.lists(pieces, max_size=2),  # each call is answered with these
            "late": st.booleans(),
        }
    ),
    min_size=1,
    max_size=5,
)


class Marks:
    """Words that are each used once, so that it can be told where they went."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def __call__(self, kind: str) -> str:
        self.used.append(f"{kind}-mark-{len(self.used)}-end")
        return self.used[-1]


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def claude(spec: list[Json], mark: Marks) -> Json:
    def block(kind: str) -> Json:
        word = mark(kind)
        match kind:
            case "text":
                return {"type": "text", "text": word}
            case "blank":
                return {"type": "text", "text": " "}
            case "image":
                return {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": b64(word)},
                }
            case "image_url":
                return {"type": "image", "source": {"type": "url", "url": f"https://x.example/{word}.png"}}
            case "pdf":
                source = {"type": "base64", "media_type": "application/pdf", "data": b64(word)}
                return {"type": "document", "source": source}
            case "note":
                source = {"type": "base64", "media_type": "text/markdown", "data": b64(word)}
                return {"type": "document", "source": source, "title": "n.md"}
            case "file_url":
                return {"type": "document", "source": {"type": "url", "url": f"https://x.example/{word}.pdf"}}
            case "stored":
                return {"type": "document", "source": {"type": "file", "file_id": word}}
            case _:
                return {"type": "search_result", "source": word, "title": "t", "content": []}

    messages: list[Json] = []
    for at, turn in enumerate(spec):
        role = turn["role"]
        if role != "assistant":
            messages.append({"role": role, "content": [block(kind) for kind in turn["pieces"]]})
            continue
        content: list[Json] = []
        if turn["thinks"]:
            signature = "c2ln" if turn["thinks"] == "signed" else ""
            content.append({"type": "thinking", "thinking": mark("thought"), "signature": signature})
        content += [block(kind) for kind in turn["pieces"]]
        calls = [f"toolu_{at}_{place}" for place in range(len(turn["calls"]))]
        content += [
            {"type": "tool_use", "id": call, "name": "f", "input": {"a": mark("argument")}} for call in calls
        ]
        messages.append({"role": "assistant", "content": content})
        results = [
            {"type": "tool_result", "tool_use_id": call, "content": [block(kind) for kind in kinds]}
            for call, kinds in zip(calls, turn["calls"], strict=True)
        ]
        if results and turn["late"]:
            messages.append({"role": "user", "content": mark("text")})
        if results:
            messages.append({"role": "user", "content": results})
    return {
        "model": "m",
        "max_tokens": 999,
        "messages": messages,
        "tools": [{"name": "f", "input_schema": {}}],
    }


def chat(spec: list[Json], mark: Marks) -> Json:
    def part(kind: str) -> Json:
        word = mark(kind)
        match kind:
            case "text":
                return {"type": "text", "text": word}
            case "blank":
                return {"type": "text", "text": " "}
            case "image":
                return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(word)}"}}
            case "image_url":
                return {"type": "image_url", "image_url": {"url": f"https://x.example/{word}.png"}}
            case "pdf":
                data = f"data:application/pdf;base64,{b64(word)}"
                return {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
            case "note":
                data = f"data:text/markdown;base64,{b64(word)}"
                return {"type": "file", "file": {"filename": "n.md", "file_data": data}}
            case "file_url":
                return {"type": "document_url", "document_url": f"https://x.example/{word}.pdf"}
            case "stored":
                return {"type": "file", "file": {"file_id": word}}
            case _:
                return {"type": "input_audio", "input_audio": {"data": b64(word), "format": "wav"}}

    messages: list[Json] = []
    for at, turn in enumerate(spec):
        message: Json = {"role": turn["role"], "content": [part(kind) for kind in turn["pieces"]]}
        messages.append(message)
        if turn["role"] != "assistant":
            continue
        if turn["thinks"]:
            message["reasoning_content"] = mark("thought")
        calls = [f"call_{at}_{place}" for place in range(len(turn["calls"]))]
        if calls:
            message["tool_calls"] = [
                {
                    "id": call,
                    "type": "function",
                    "function": {"name": "f", "arguments": json.dumps({"a": mark("argument")})},
                }
                for call in calls
            ]
        if calls and turn["late"]:
            messages.append({"role": "user", "content": mark("text")})
        messages += [
            {"role": "tool", "tool_call_id": call, "content": [part(kind) for kind in kinds]}
            for call, kinds in zip(calls, turn["calls"], strict=True)
        ]
    return {"model": "m", "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}


def codex(spec: list[Json], mark: Marks) -> Json:
    def part(kind: str) -> Json:
        word = mark(kind)
        match kind:
            case "text":
                return {"type": "input_text", "text": word}
            case "blank":
                return {"type": "input_text", "text": " "}
            case "image":
                return {"type": "input_image", "image_url": f"data:image/png;base64,{b64(word)}"}
            case "image_url":
                return {"type": "input_image", "image_url": f"https://x.example/{word}.png"}
            case "pdf":
                data = f"data:application/pdf;base64,{b64(word)}"
                return {"type": "input_file", "filename": "a.pdf", "file_data": data}
            case "note":
                data = f"data:text/markdown;base64,{b64(word)}"
                return {"type": "input_file", "filename": "n.md", "file_data": data}
            case "file_url":
                return {"type": "input_file", "file_url": f"https://x.example/{word}.pdf"}
            case "stored":
                return {"type": "input_image", "file_id": word}
            case _:
                return {"type": "input_audio", "data": b64(word)}

    items: list[Json] = []
    for at, turn in enumerate(spec):
        role = "developer" if turn["role"] == "system" else turn["role"]
        if turn["role"] == "assistant" and turn["thinks"]:
            secret = {"encrypted_content": "zzz"} if turn["thinks"] == "signed" else {}
            summary = [{"type": "summary_text", "text": mark("thought")}]
            items.append({"type": "reasoning", "id": f"rs_{at}", "summary": summary, **secret})
        items.append({"type": "message", "role": role, "content": [part(kind) for kind in turn["pieces"]]})
        if turn["role"] != "assistant":
            continue
        calls = [f"call_{at}_{place}" for place in range(len(turn["calls"]))]
        for call in calls:
            arguments = json.dumps({"a": mark("argument")})
            items.append({"type": "function_call", "call_id": call, "name": "f", "arguments": arguments})
        if calls and turn["late"]:
            items.append({"role": "user", "content": mark("text")})
        for call, kinds in zip(calls, turn["calls"], strict=True):
            output = [part(kind) for kind in kinds]
            items.append({"type": "function_call_output", "call_id": call, "output": output})
    return {"model": "m", "input": items, "tools": [{"type": "function", "name": "f"}], "store": False}


def gemini(spec: list[Json], mark: Marks) -> Json:
    def part(kind: str) -> Json:
        word = mark(kind)
        match kind:
            case "text":
                return {"text": word}
            case "blank":
                return {"text": " "}
            case "image":
                return {"inlineData": {"mimeType": "image/png", "data": b64(word)}}
            case "image_url":
                return {"fileData": {"mimeType": "image/png", "fileUri": f"https://x.example/{word}.png"}}
            case "pdf":
                return {"inlineData": {"mimeType": "application/pdf", "data": b64(word)}}
            case "note":
                return {"inlineData": {"mimeType": "text/markdown", "data": b64(word)}}
            case "file_url":
                return {
                    "fileData": {"mimeType": "application/pdf", "fileUri": f"https://x.example/{word}.pdf"}
                }
            case "stored":
                uri = f"https://generativelanguage.googleapis.com/v1beta/files/{word}"
                return {"fileData": {"mimeType": "application/pdf", "fileUri": uri}}
            case _:
                return {"inlineData": {"mimeType": "audio/wav", "data": b64(word)}}

    contents: list[Json] = []
    for turn in spec:
        if turn["role"] != "assistant":
            contents.append({"role": "user", "parts": [part(kind) for kind in turn["pieces"]]})
            continue
        parts: list[Json] = []
        if turn["thinks"]:
            signed = {"thoughtSignature": "c2ln"} if turn["thinks"] == "signed" else {}
            parts.append({"text": mark("thought"), "thought": True, **signed})
        parts += [part(kind) for kind in turn["pieces"]]
        parts += [{"functionCall": {"name": "f", "args": {"a": mark("argument")}}} for _ in turn["calls"]]
        contents.append({"role": "model", "parts": parts})
        results = [
            {
                "functionResponse": {
                    "name": "f",
                    "response": {"output": mark("result")},
                    "parts": [part(kind) for kind in kinds if kind not in ("text", "blank")],
                }
            }
            for kinds in turn["calls"]
        ]
        if results:
            contents.append({"role": "user", "parts": results})
    declared = [{"name": "f", "parameters": {"type": "OBJECT"}}]
    return {"model": "m", "contents": contents, "tools": [{"functionDeclarations": declared}]}


CLIENTS = {"anthropic-messages": claude, "openai-chat": chat, "openai-responses": codex, "gemini": gemini}


# ---- what became of the pieces


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
            if value[:1] in "{[":
                with suppress(ValueError):
                    yield from strings(orjson.loads(value))
        case dict():
            for key, inner in value.items():
                yield key
                yield from strings(inner)
        case list() | tuple():
            for inner in value:
                yield from strings(inner)


def placed(request: Request) -> Iterator[tuple[str, Part]]:
    for at, part in enumerate(request.system):
        yield from inside(f"system.{at}", part)
    for at, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            yield from inside(f"messages.{at}.content.{place}", part)


def inside(path: str, part: Part) -> Iterator[tuple[str, Part]]:
    yield path, part
    if isinstance(part, ToolResult):
        for at, inner in enumerate(part.parts):
            yield from inside(f"{path}.content.{at}", inner)


def said(part: Part) -> list[str]:
    """What of a part must be found, or its loss."""
    match part:
        case Text(text=text) | Thinking(text=text):
            return [text] if text.strip() else []
        case Image(base64=data, url=url):
            return (
                [data or url] if data or url else list(strings(dict(part.sealed.data if part.sealed else {})))
            )
        case Document(base64=data, text=text, url=url):
            return [data or text or url] if data or text or url else []
        case ToolCall(arguments=arguments):  # names differ with the vendor's rules for them
            try:
                return list(strings(orjson.loads(arguments)))
            except ValueError:
                return [arguments]
        case Opaque(sealed=sealed):
            return [text for text in strings(sealed.data) if "-mark-" in text]
        case _:
            return []


def found(word: str, written: str) -> bool:
    if word.rstrip("=") in written or b64(word) in written:  # base64 is padded where it was not
        return True
    try:
        return b64decode(word, validate=True).decode() in written
    except ValueError:
        return False


def reported(path: str, losses: list[Loss]) -> bool:
    return any(path == loss.path or path.startswith(f"{loss.path}.") for loss in losses)


def unreported(request: Request, body: bytes, losses: list[Loss]) -> list[tuple[str, Part]]:
    written = "\n".join(strings(orjson.loads(body)))
    return [
        (path, part)
        for path, part in placed(request)
        if not all(found(word, written) for word in said(part)) and not reported(path, losses)
    ]


@pytest.mark.parametrize(("target", "model_id"), TARGETS)
@pytest.mark.parametrize("client", list(CLIENTS))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=turns)
def test_every_piece_of_a_request_arrives_or_is_reported(
    client: str, target: str, model_id: str, spec: list[Json]
) -> None:
    mark = Marks()
    body = CLIENTS[client](spec, mark)
    request = PROTOCOLS[client].read_request(body, orjson.dumps(body))
    out = outbound(request, PROTOCOLS[target], ABLE, model_id, "", LOOSE)
    assert unreported(request, out.body, list(out.losses)) == []


@pytest.mark.parametrize(("target", "model_id"), TARGETS)
@pytest.mark.parametrize("client", list(CLIENTS))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=turns)
def test_every_piece_of_a_request_that_is_written_anew_arrives_or_is_reported(
    client: str, target: str, model_id: str, spec: list[Json]
) -> None:
    body = CLIENTS[client](spec, Marks())
    request = PROTOCOLS[client].read_request(body, orjson.dumps(body))
    encoded = PROTOCOLS[target].write_request(request, ABLE, model_id)
    assert unreported(request, orjson.dumps(encoded.body), list(encoded.dropped)) == []


@pytest.mark.parametrize("client", list(CLIENTS))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=turns)
def test_every_piece_of_a_request_is_read(client: str, spec: list[Json]) -> None:
    mark = Marks()
    body = CLIENTS[client](spec, mark)
    request = PROTOCOLS[client].read_request(body, orjson.dumps(body))
    known = repr((request.system, request.messages))
    assert [
        word for word in mark.used if "blank" not in word and word not in known and b64(word) not in known
    ] == []


# ---- real requests, broken

BROKEN: tuple[Any, ...] = (None, "", 0, -1, True, [], {}, "x", [1], {"type": "x"}, 1e400, "\u0000", [[[]]])


def broken(value: Any, dice: Random, depth: int = 0) -> Any:
    """The value with something of it replaced, taken out, or doubled."""
    if (depth and dice.random() < 0.15) or not isinstance(value, dict | list) or not value:
        return dice.choice(BROKEN)
    if isinstance(value, dict):
        key = dice.choice(list(value))
        if dice.random() < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: broken(value[key], dice, depth + 1)}
    at = dice.randrange(len(value))
    match dice.random():
        case chance if chance < 0.1:
            return value[:at] + value[at + 1 :]
        case chance if chance < 0.2:
            return value[: at + 1] + value[at:]
        case _:
            return [*value[:at], broken(value[at], dice, depth + 1), *value[at + 1 :]]


PATHS = {
    "/v1/messages": "anthropic-messages",
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
}


RICH: list[Json] = [
    {"role": "system", "pieces": ["text"], "thinks": None, "calls": [], "late": False},
    {"role": "user", "pieces": ["text", "image", "note", "odd"], "thinks": None, "calls": [], "late": False},
    {
        "role": "assistant",
        "pieces": ["text"],
        "thinks": "signed",
        "calls": [["text", "image"], ["pdf"]],
        "late": True,
    },
    {"role": "user", "pieces": ["stored", "file_url"], "thinks": None, "calls": [], "late": False},
]


def test_a_broken_request_is_an_error_of_ours_or_loses_nothing_unreported() -> None:
    hold([(client, build(RICH, Marks())) for client, build in CLIENTS.items()], 200)


def test_a_real_agents_request_that_is_broken_is_no_different(captures: list[Json]) -> None:
    rows = [row for row in captures if row.get("path") in PATHS and isinstance(row.get("body"), dict)]
    hold([(PATHS[row["path"]], row["body"]) for row in rows], 60)


def hold(bodies: list[tuple[str, Json]], times: int) -> None:
    @settings(max_examples=times, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 2**32), wounds=st.integers(0, 4))
    def holds(seed: int, wounds: int) -> None:
        dice = Random(seed)
        client, body = bodies[dice.randrange(len(bodies))]
        for _ in range(wounds):
            damaged = broken(body, dice)
            body = damaged if isinstance(damaged, dict) else body
        arrives(client, orjson.dumps(body))

    holds()


def arrives(client: str, raw: bytes) -> None:
    try:
        request = PROTOCOLS[client].read_request(orjson.loads(raw), raw)
    except WeaveError:
        return
    for target, model_id in TARGETS:
        try:
            out = outbound(request, PROTOCOLS[target], ABLE, model_id, "", LOOSE)
        except WeaveError:
            continue
        missing = unreported(request, out.body, list(out.losses))
        assert [path for path, _ in missing] == [], (client, target, str(missing)[:500])
