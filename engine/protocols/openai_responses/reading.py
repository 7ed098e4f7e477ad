"""What a Responses client asks, read into a Request.

The input is a list of items where others have messages. What a model wrote in one turn comes in several
items: reasoning, text, and each call on its own. They become one assistant's message, and the outputs that
follow one another one message of results. System and developer messages at the beginning are the system
prompt, behind the instructions; later ones keep their place.

Clients of this API are many and loose: an item may lack its type or id, and the input may be a plain string.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.core.conversation import (
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    Role,
    Sealed,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Tuning,
)
from engine.protocols.fields import (
    Json,
    a_list,
    an_object,
    knobs,
    leftover,
    maybe_boolean,
    maybe_list,
    maybe_object,
    string,
    wrong,
)
from engine.protocols.openai_responses.content import read_content, said
from engine.protocols.openai_responses.items import message_fields, read_item, read_message, with_message
from engine.protocols.openai_responses.names import NAMES, ORIGIN
from engine.protocols.openai_responses.tools import flat_name, read_tools
from engine.protocols.sealing import seal

_OUTPUT = frozenset({"type", "id", "call_id", "output", "status"})
_FORMAT = frozenset({"type", "name", "schema", "strict"})
_USERS = frozenset({"compaction_trigger", "item_reference"})


def read_request(body: Mapping[str, Any], raw: bytes) -> Request:
    """Raises RequestError with the path of what is wrong."""
    told = body.get("instructions")
    system = read_content(told, "instructions") if told is not None else ()
    conversation = _Conversation()
    asked = body.get("input")
    if type(asked) is str:
        conversation.say("user", (Text(asked),))
    elif asked is not None:
        for at, item in enumerate(a_list(asked, "input")):
            conversation.read(an_object(item, f"input.{at}"), f"input.{at}")
    elif not body.keys() & NAMES.stored:
        raise wrong("input", "a string or a list of items", asked)
    tools = read_tools(maybe_list(body, "tools", ""), "tools")
    return Request(
        protocol=ORIGIN,
        model=string(body, "model", ""),
        system=(*system, *conversation.system),
        messages=conversation.end(),
        tools=_once(tools + conversation.tools),
        tuning=_read_tuning(body),
        stream=maybe_boolean(body, "stream", "") is True,
        raw=raw,
        body=body,
    )


def _once(tools: list[Tool]) -> tuple[Tool, ...]:
    """A tool that was found by a search is also among those that were offered. Hosted tools have no names of their
    own: two servers are two tools."""
    kept: list[Tool] = []
    names: set[str] = set()
    for tool in tools:
        if tool.kind != "function" and tool in kept:
            continue
        if tool.kind == "function" and tool.name in names:
            continue
        names.add(tool.name)
        kept.append(tool)
    return tuple(kept)


class _Conversation:
    """Items on their way to being messages."""

    def __init__(self) -> None:
        self.system: list[Part] = []
        self.tools: list[Tool] = []
        self._messages: list[Message] = []
        self._role: Role = "assistant"
        self._parts: list[Part] = []  # of the message being gathered: an assistant's, or tool results
        self._spoke = False  # whether a text was the last that this assistant had to say

    def read(self, item: Json, path: str) -> None:
        kind = _kind_of(item, path)
        match kind:
            case "message":
                self._read_message(item, path)
            case "function_call_output" | "custom_tool_call_output":
                self._gather("user", (_read_result(item, path),))
            case "function_call" | "custom_tool_call" | "reasoning":
                self._gather("assistant", read_item(item, kind, path))
            case "agent_message":  # what one of Codex's agents says to another
                self.say("user", _read_agent_message(item, path))
            case "additional_tools":
                self.tools += read_tools(maybe_list(item, "tools", path), f"{path}.tools")
            case _:
                if kind == "tool_search_output":
                    self.tools += read_tools(maybe_list(item, "tools", path), f"{path}.tools")
                self._read_unknown(item, kind)

    def say(self, role: Role, parts: tuple[Part, ...]) -> None:
        """A message that stands for itself."""
        self._flush()
        self._messages.append(Message(role, parts))

    def end(self) -> tuple[Message, ...]:
        self._flush()
        return tuple(self._messages)

    def _read_message(self, item: Json, path: str) -> None:
        role = string(item, "role", path)
        parts = read_message(item, path)
        match role:
            case "assistant":
                if self._spoke:
                    self._flush()  # two texts are two messages, or they would run into one another
                self._gather("assistant", parts)
                self._spoke = True
            case "user":
                self.say("user", parts)
            case "system" | "developer":
                if self._messages or self._parts:
                    self.say("system", parts)
                else:
                    self.system += parts
            case _:
                raise wrong(f"{path}.role", "`user`, `assistant`, `system` or `developer`", role)

    def _read_unknown(self, item: Json, kind: str) -> None:
        """What only OpenAI understands stays where it is; no other vendor will see it."""
        part = Opaque(kind, Sealed(ORIGIN, item))
        if kind in _USERS or item.get("role") in ("user", "developer", "system"):
            self.say("user", (part,))
        else:
            self._gather("assistant", (part,))

    def _gather(self, role: Role, parts: tuple[Part, ...]) -> None:
        if role != self._role:
            self._flush()
            self._role = role
        self._parts += parts
        self._spoke = self._spoke and not any(isinstance(part, ToolCall) for part in parts)

    def _flush(self) -> None:
        if self._parts:
            self._messages.append(Message(self._role, tuple(self._parts)))
        self._parts, self._spoke = [], False


def _kind_of(item: Json, path: str) -> str:
    kind = string(item, "type", path, "")
    if kind:
        return kind
    if "role" in item:
        return "message"
    if "output" in item and "call_id" in item:
        return "function_call_output"
    if "arguments" in item and "name" in item:
        return "function_call"
    if "id" in item:
        return "item_reference"
    raise wrong(f"{path}.type", "a string", item.get("type"))


def _read_result(item: Json, path: str) -> ToolResult:
    return ToolResult(
        string(item, "call_id", path),
        read_content(item.get("output"), f"{path}.output"),
        sealed=seal(ORIGIN, said(leftover(item, _OUTPUT))),
    )


def _read_agent_message(item: Json, path: str) -> tuple[Part, ...]:
    parts = read_content(item.get("content"), f"{path}.content")
    if not parts or not isinstance(parts[0], Text):
        return (Opaque("agent_message", Sealed(ORIGIN, item)),)
    rest = {"type": "agent_message", **message_fields(item)}
    return (replace(parts[0], sealed=with_message(parts[0].sealed, rest)), *parts[1:])


# ---- tuning


def _read_tuning(body: Json) -> Tuning:
    found = knobs(body, NAMES)
    extra = leftover(body, NAMES.request_fields)
    choice = body.get("tool_choice")
    if choice is not None:
        found["tool_choice"] = _read_choice(choice, extra)
    reasoning = maybe_object(body, "reasoning", "")
    if reasoning:
        effort = string(reasoning, "effort", "reasoning", "")
        found["reasoning"] = Reasoning(effort=effort) if effort else None
        _keep(extra, "reasoning", leftover(reasoning, {"effort"}))
    text = maybe_object(body, "text", "")
    if text:
        _keep(extra, "text", leftover(text, {"format"}))
        form = maybe_object(text, "format", "text")
        if form is not None:
            _read_format(form, found, extra)
    return Tuning(**found, extra=extra)


def _keep(extra: dict[str, Any], field: str, rest: Mapping[str, Any]) -> None:
    if rest:
        extra[field] = {**extra.get(field, {}), **rest}


def _read_choice(choice: Any, extra: dict[str, Any]) -> ToolChoice | None:
    if type(choice) is str:
        match choice:
            case "auto":
                return ToolChoice("auto")
            case "none":
                return ToolChoice("none")
            case "required" | "any":
                return ToolChoice("any")
            case _:
                raise wrong("tool_choice", "`auto`, `none`, `required` or an object", choice)
    choice = an_object(choice, "tool_choice")
    match string(choice, "type", "tool_choice"):
        case "function" | "custom":
            namespace = string(choice, "namespace", "tool_choice", "")
            return ToolChoice("tool", flat_name(namespace, string(choice, "name", "tool_choice")))
        case "allowed_tools":
            extra["tool_choice"] = choice
            return ToolChoice("any" if choice.get("mode") == "required" else "auto")
        case _:
            extra["tool_choice"] = choice  # a tool that runs at the vendor
            return None


def _read_format(form: Json, found: dict[str, Any], extra: dict[str, Any]) -> None:
    match string(form, "type", "text.format"):
        case "text":
            return
        case "json_object":
            found["json_mode"] = True
        case "json_schema":
            found["output_schema"] = maybe_object(form, "schema", "text.format") or {}
            found["output_schema_name"] = string(form, "name", "text.format", "")
            found["output_schema_strict"] = maybe_boolean(form, "strict", "text.format")
            rest = leftover(form, _FORMAT)
            if rest:
                _keep(extra, "text", {"format": rest})
        case _:
            _keep(extra, "text", {"format": form})
