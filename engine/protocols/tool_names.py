"""Names of tools that a vendor would refuse (too long, or with letters it does not know) on their way there and back.

Such a name is sent under another that says nearly the same and ends in a digest of the whole, so that it is the
same in every request of a session and no two tools meet under one name. Calls come back under the client's name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from engine.core.conversation import Message, Request, ToolCall
from engine.core.reply import Reply
from engine.core.stream import Event, PartOpened
from engine.protocols.mapping import Limits

_DIGEST = 8
_STRANGE = re.compile(r"[^a-zA-Z0-9_-]+")


def aliases(names: Iterable[str], limits: Limits) -> dict[str, str]:
    """The names that cannot go as they are, and what they go as."""
    return {name: _alias(name, limits) for name in names if not _fits(name, limits)}


def _fits(name: str, limits: Limits) -> bool:
    return len(name) <= limits.tool_name_length and limits.tool_name.fullmatch(name) is not None


def _alias(name: str, limits: Limits) -> str:
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    plain = _STRANGE.sub("_", name)
    if not plain[:1].isalpha():
        plain = f"t{plain}"
    return f"{plain[: limits.tool_name_length - _DIGEST - 1]}_{digest}"


def offered(request: Request) -> set[str]:
    """The names of all tools a request speaks of, those of earlier calls included."""
    names = {tool.name for tool in request.tools if tool.kind == "function"}
    for message in request.messages:
        if message.role == "assistant":
            names |= {part.name for part in message.parts if isinstance(part, ToolCall)}
    return names


def clients_names(request: Request, limits: Limits) -> dict[str, str]:
    """What went under another name, and what the client calls it."""
    return {alias: name for name, alias in aliases(offered(request), limits).items()}


def renamed(request: Request, to: Mapping[str, str]) -> Request:
    """The request with its tools, its calls and its choice under other names."""
    if not to:
        return request
    tuning, choice = request.tuning, request.tuning.tool_choice
    if choice is not None and choice.name in to:
        tuning = replace(tuning, tool_choice=replace(choice, name=to[choice.name]))
    return replace(
        request,
        tools=tuple(
            replace(tool, name=to[tool.name]) if tool.name in to and tool.kind == "function" else tool
            for tool in request.tools
        ),
        messages=tuple(_renamed(message, to) for message in request.messages),
        tuning=tuning,
    )


def _renamed(message: Message, to: Mapping[str, str]) -> Message:
    if not any(isinstance(part, ToolCall) and part.name in to for part in message.parts):
        return message
    return replace(
        message,
        parts=tuple(
            replace(part, name=to[part.name]) if isinstance(part, ToolCall) and part.name in to else part
            for part in message.parts
        ),
    )


def told_reply(reply: Reply, back: Mapping[str, str]) -> Reply:
    """The reply with its calls under the client's names."""
    if not back:
        return reply
    return replace(reply, parts=tuple(_told(part, back) for part in reply.parts))


def told_events(events: list[Event], back: Mapping[str, str]) -> list[Event]:
    if not back:
        return events
    return [
        replace(event, part=_told(event.part, back)) if isinstance(event, PartOpened) else event
        for event in events
    ]


def _told(part: Any, back: Mapping[str, str]) -> Any:
    if isinstance(part, ToolCall) and part.name in back:
        return replace(part, name=back[part.name])
    return part
