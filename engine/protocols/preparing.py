"""A request made fit for a vendor while it is still in the canonical form: its tools, its parts, its thinking.

What a vendor refuses is taken out or said in another way here, and reported; what is left the protocol's writer can
write as it is. A request with nothing to change comes back as the very same object, which is how a request that is
forwarded knows that it may stay as it came.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Message,
    Part,
    Request,
    Sealed,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from engine.protocols.dialects import Rules
from engine.protocols.mapping import Limits
from engine.protocols.readable import readable
from engine.protocols.sealing import opened
from engine.protocols.tool_names import aliases, offered, renamed
from engine.protocols.turns import valid_id

_NO_CACHE = "this vendor caches without being asked"

Change = Callable[[Part, str, list[Loss]], Part | None]


def prepared(request: Request, rules: Rules, limits: Limits, losses: list[Loss]) -> Request:
    """The request itself where nothing has to change."""
    request = renamed(request, aliases(offered(request), limits))
    tools = _tools(request.tools, rules, losses)
    if tools is not request.tools:
        request = replace(request, tools=tools)
    changes = list(_changes(request, rules))
    if changes:
        system = _parts(request.system, "system", changes, losses)
        messages = _messages(request.messages, changes, losses)
        if system is not request.system or messages is not request.messages:
            request = replace(request, system=system, messages=messages)
    return request


def has_strange_ids(request: Request, limits: Limits) -> bool:
    """Whether some call has an id that the vendor would refuse; the writer then gives it another."""
    return any(
        isinstance(part, ToolCall) and not valid_id(part.id, limits)
        for message in request.messages
        if message.role == "assistant"
        for part in message.parts
    )


# ---- tools


def _tools(tools: tuple[Tool, ...], rules: Rules, losses: list[Loss]) -> tuple[Tool, ...]:
    fitted = [_tool(tool, f"tools.{at}", rules, losses) for at, tool in enumerate(tools)]
    if 0 < rules.tools < len(fitted):
        losses += [
            Loss(f"tools.{at}", f"at most {rules.tools} tools are taken", stake="content")
            for at in range(rules.tools, len(fitted))
        ]
        return tuple(fitted[: rules.tools])
    return tools if all(a is b for a, b in zip(fitted, tools, strict=True)) else tuple(fitted)


def _tool(tool: Tool, path: str, rules: Rules, losses: list[Loss]) -> Tool:
    if tool.kind != "function":
        return tool
    if tool.strict is not None and not rules.strict_tools:
        if tool.strict:
            losses.append(Loss(f"{path}.strict", "this vendor has no strict mode"))
        tool = replace(tool, strict=None)
    if tool.cache_control is not None and rules.cache_control is False:
        losses.append(Loss(f"{path}.cache_control", _NO_CACHE))
        tool = replace(tool, cache_control=None)
    if rules.schema_drops:
        schema = without_keywords(tool.schema, rules.schema_drops)
        if schema != tool.schema:
            gone = ", ".join(sorted(rules.schema_drops))
            losses.append(Loss(f"{path}.schema", f"this vendor does not take {gone} in it", "converted"))
            tool = replace(tool, schema=schema)
    return tool


_OF_NAMES = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_OF_VALUES = frozenset({"enum", "const", "default", "examples", "required"})


def without_keywords(schema: Any, keywords: frozenset[str]) -> Any:
    """A JSON Schema without some of its keywords; properties that are called like them stay."""
    if isinstance(schema, list):
        return [without_keywords(each, keywords) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {name: _inner(name, value, keywords) for name, value in schema.items() if name not in keywords}


def _inner(name: str, value: Any, keywords: frozenset[str]) -> Any:
    if name in _OF_VALUES:
        return value
    if name in _OF_NAMES and isinstance(value, Mapping):
        return {key: without_keywords(each, keywords) for key, each in value.items()}
    return without_keywords(value, keywords)


# ---- parts


def _changes(request: Request, rules: Rules) -> Iterator[Change]:
    if rules.cache_control is False:
        yield _without_mark
    if not rules.carries >= {"image", "document"}:
        yield _carried_by(rules.carries)
    if rules.document_part != "file":
        yield _in_part(rules.document_part)
    if rules.replay == "never":
        yield _forgotten
    elif rules.replay == "tool_turns":
        yield _of_tool_turns(request.messages, rules.replay_field)
    elif rules.replay == "always":
        yield _shown_as(rules.replay_field)
    if rules.signature is not None:
        yield _signed_here(rules)


def _messages(
    messages: tuple[Message, ...], changes: list[Change], losses: list[Loss]
) -> tuple[Message, ...]:
    fitted: list[Message] = []
    changed = False
    for at, message in enumerate(messages):
        if any(map(_may_change, message.parts)):
            parts = _parts(message.parts, f"messages.{at}.content", changes, losses)
            if parts is not message.parts:
                changed = True
                message = Message(message.role, parts)
        fitted.append(message)
    return tuple(fitted) if changed else messages


def _parts(parts: tuple[Part, ...], path: str, changes: list[Change], losses: list[Loss]) -> tuple[Part, ...]:
    fitted: list[Part] = []
    changed = False
    for at, part in enumerate(parts):
        now = _part(part, f"{path}.{at}", changes, losses) if _may_change(part) else part
        changed = changed or now is not part
        if now is not None:
            fitted.append(now)
    return tuple(fitted) if changed else parts


def _may_change(part: Part) -> bool:
    """False for what every vendor takes as it is: nearly all of a conversation."""
    match part:
        case Text() | ToolCall():
            return part.cache_control is not None
        case ToolResult():
            return part.cache_control is not None or any(map(_may_change, part.parts))
        case _:
            return True


def _part(part: Part, path: str, changes: list[Change], losses: list[Loss]) -> Part | None:
    if isinstance(part, ToolResult):
        inner = _parts(part.parts, f"{path}.content", changes, losses)
        part = part if inner is part.parts else replace(part, parts=inner)
    now: Part | None = part
    for change in changes:
        if now is not None:
            now = change(now, path, losses)
    return now


def _without_mark(part: Part, path: str, losses: list[Loss]) -> Part:
    if isinstance(part, Text | Image | Document | ToolCall | ToolResult) and part.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", _NO_CACHE))
        return replace(part, cache_control=None)
    return part


def _carried_by(kinds: frozenset[str]) -> Change:
    def change(part: Part, path: str, losses: list[Loss]) -> Part:
        if isinstance(part, Image) and "image" not in kinds:
            losses.append(Loss(path, "this vendor takes no images", stake="content"))
            return Text("[an image that could not be carried]", part.cache_control)
        if isinstance(part, Document) and not readable(part).text and "document" not in kinds:
            losses.append(Loss(path, "this vendor takes no documents", stake="content"))
            name = f": {part.name}" if part.name else ""
            return Text(f"[a document that could not be carried{name}]", part.cache_control)
        return part

    return change


def _in_part(kind: str) -> Change:
    """Documents go in a part of the vendor's own kind."""

    def change(part: Part, _path: str, _losses: list[Loss]) -> Part:
        if (
            not isinstance(part, Document)
            or part.text
            or opened(part.sealed, "openai-chat").get("type") == kind
        ):
            return part
        return replace(part, sealed=Sealed("openai-chat", {"type": kind}))

    return change


# ---- thinking in the history


def _forgotten(part: Part, path: str, losses: list[Loss]) -> Part | None:
    if not isinstance(part, Thinking):
        return part
    losses.append(Loss(path, "this vendor takes no reasoning back", stake="sealed"))
    return None


def _shown_as(field: str) -> Change:
    """Reasoning that came in one of this protocol's fields goes back in the vendor's own."""

    def change(part: Part, _path: str, _losses: list[Loss]) -> Part:
        if not isinstance(part, Thinking) or not part.text:
            return part
        own = opened(part.sealed, "openai-chat")
        data = _written_in(field, part.text)
        return part if not own or own == data else replace(part, sealed=Sealed("openai-chat", data))

    return change


def _written_in(field: str, text: str) -> dict[str, Any]:
    if field == "content":  # Mistral's: a part of the content
        return {"content": {"type": "thinking", "thinking": [{"type": "text", "text": text}]}}
    return {"field": field}


def _of_tool_turns(messages: tuple[Message, ...], field: str) -> Change:
    """Between two words of the user's, reasoning goes back only where tools were called."""
    kept = _places_with_calls(messages)
    shown = _shown_as(field)

    def change(part: Part, path: str, losses: list[Loss]) -> Part | None:
        if isinstance(part, Thinking) and int(path.split(".", 2)[1]) not in kept:
            losses.append(
                Loss(path, "this vendor wants reasoning back of turns with tools alone", stake="sealed")
            )
            return None
        return shown(part, path, losses)

    return change


def _places_with_calls(messages: tuple[Message, ...]) -> set[int]:
    """The messages that stand in a stretch in which a tool was called."""
    found: set[int] = set()
    stretch: list[int] = []
    called = False
    for at, message in enumerate(messages):
        if message.role == "user" and any(not isinstance(part, ToolResult) for part in message.parts):
            found |= set(stretch) if called else set()
            stretch, called = [], False
        stretch.append(at)
        called = called or any(isinstance(part, ToolCall) for part in message.parts)
    return found | (set(stretch) if called else set())


def _signed_here(rules: Rules) -> Change:
    """Of signed thinking, what this vendor signed itself."""

    def change(part: Part, path: str, losses: list[Loss]) -> Part | None:
        signature = (
            opened(part.sealed, "anthropic-messages").get("signature", "")
            if isinstance(part, Thinking)
            else ""
        )
        if not isinstance(signature, str) or not signature or rules.signature is None:
            return part
        if rules.signature.fullmatch(signature):
            return part
        losses.append(Loss(path, "thinking goes back to the vendor that signed it alone", stake="sealed"))
        return None

    return change
