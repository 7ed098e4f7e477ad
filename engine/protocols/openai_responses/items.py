"""What a model writes: messages, calls and reasoning, each an item of its own; read into parts.

The same items come back in the next request's input, so requests and replies read them alike. An item that
only OpenAI understands (a hosted tool's call, a compaction) is `Opaque` as a whole.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine import wire
from engine.core.conversation import Loss, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import RequestError
from engine.protocols.fields import Json, leftover, string
from engine.protocols.openai_responses.content import read_content, said
from engine.protocols.openai_responses.names import ORIGIN
from engine.protocols.openai_responses.tools import Named, as_arguments, flat_name, free_text
from engine.protocols.sealing import from_signature, is_ours, opened, seal
from engine.protocols.turns import made_id

_MESSAGE = frozenset({"type", "id", "role", "status", "content"})
_CALL = frozenset({"type", "id", "call_id", "name", "namespace", "arguments", "input", "status"})
_REASONING = frozenset({"type", "id", "status", "summary", "content", "encrypted_content"})


def read_item(item: Json, kind: str, path: str) -> tuple[Part, ...]:
    """What a model wrote, as parts of an assistant's message."""
    match kind:
        case "message":
            return read_message(item, path)
        case "function_call" | "custom_tool_call":
            return (read_call(item, kind, path),)
        case "reasoning":
            return (read_reasoning(item, path),)
        case _:
            return (Opaque(kind, Sealed(ORIGIN, item)),)


def read_message(item: Json, path: str) -> tuple[Part, ...]:
    """Fields of the message itself (Codex's `phase`) ride on its first text, sealed."""
    parts = read_content(item.get("content"), f"{path}.content")
    rest = message_fields(item)
    if not rest or not parts or not isinstance(parts[0], Text):
        return parts
    return (replace(parts[0], sealed=with_message(parts[0].sealed, rest)), *parts[1:])


def message_fields(item: Json) -> dict[str, Any]:
    return said(leftover(item, _MESSAGE))


def with_message(sealed: Sealed | None, rest: Mapping[str, Any]) -> Sealed | None:
    data = dict(sealed.data) if sealed is not None else {}
    return seal(ORIGIN, data | ({"message": rest} if rest else {}))


# ---- calls


def read_call(item: Json, kind: str, path: str) -> ToolCall:
    name = string(item, "name", path)
    if not name:
        raise RequestError(f"{path}.name: a tool call needs a name")
    call_id = string(item, "call_id", path, "") or string(item, "id", path, "")
    if not call_id:
        call_id = made_id(f"{path}\0{name}")
    arguments = (
        as_arguments(string(item, "input", path, ""))
        if kind == "custom_tool_call"
        else arguments_text(item.get("arguments"))
    )
    return ToolCall(
        call_id,
        flat_name(string(item, "namespace", path, ""), name),
        arguments,
        sealed=call_seal(item, kind),
    )


def arguments_text(arguments: Any) -> str:
    if type(arguments) is str:
        return arguments or "{}"
    return "{}" if arguments is None else wire.dumps(arguments).decode()


def call_seal(item: Json, kind: str) -> Sealed | None:
    """How the client knows the call, where other vendors know it by another name or kind."""
    namespace = item.get("namespace")
    known = {"namespace": namespace, "name": item.get("name")} if namespace else {}
    if kind == "custom_tool_call":
        known["type"] = "custom"
    return seal(ORIGIN, ({"item": known} if known else {}) | said(leftover(item, _CALL)))


def write_call(call: ToolCall) -> dict[str, Any]:
    """A call in a request's history."""
    own = dict(opened(call.sealed, ORIGIN))
    item = own.pop("item", {})
    named = Named(item.get("name", call.name), item.get("namespace", "")).fields
    if item.get("type") == "custom" or opened(call.sealed, "openai-chat").get("type") == "custom":
        written = {
            "type": "custom_tool_call",
            "call_id": call.id,
            **named,
            "input": free_text(call.arguments),
        }
        return written | own
    return {"type": "function_call", "call_id": call.id, **named, "arguments": call.arguments or "{}"} | own


# ---- reasoning


def read_reasoning(item: Json, path: str) -> Thinking:
    secret = item.get("encrypted_content")
    text = reasoning_text(item)
    if type(secret) is str and is_ours(secret):  # another vendor's thinking, shown to this client as OpenAI's
        foreign = from_signature(secret)
        return Thinking(text, foreign if foreign is not None and foreign.origin else None)
    string(item, "id", path, "")
    return Thinking(text, reasoning_seal(item))


def reasoning_text(item: Json) -> str:
    """The reasoning itself where it is shown, else its summary; sections apart by an empty line."""
    return "\n\n".join(_sections(item.get("content")) or _sections(item.get("summary")))


def _sections(value: Any) -> list[str]:
    sections = value if type(value) is list else []
    texts = (section.get("text") for section in sections if type(section) is dict)
    return [text for text in texts if type(text) is str and text]


def reasoning_seal(item: Json) -> Sealed | None:
    data: dict[str, Any] = said(leftover(item, _REASONING))
    for field in ("id", "encrypted_content"):
        if item.get(field):
            data[field] = item[field]
    content, summary = item.get("content"), item.get("summary")
    if content:
        data["content"] = content
        data["summary"] = summary or []
    elif type(summary) is list and len(summary) > 1:
        data["summary"] = summary
    return seal(ORIGIN, data)


def write_reasoning(thinking: Thinking, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    """A reasoning item for the provider that wrote it. What it kept to itself it would not find again: requests
    are not stored."""
    data = opened(thinking.sealed, ORIGIN)
    if not data:
        losses.append(Loss(path, "thinking belongs to the vendor that wrote it", stake="sealed"))
        return None
    if not data.get("encrypted_content"):
        losses.append(
            Loss(
                path,
                "reasoning that is not encrypted inside it can only be found where it is stored",
                stake="sealed",
            )
        )
        return None
    return {"type": "reasoning", "summary": summary_of(thinking.text), **data}


def summary_of(text: str) -> list[dict[str, str]]:
    return [{"type": "summary_text", "text": text}] if text else []
