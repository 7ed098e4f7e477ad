"""Tools as Responses clients offer them, and the names their calls go by.

Other vendors know functions alone, so two things are bridged. A custom tool takes free text (Codex's
`apply_patch`): elsewhere it is a function with one argument, `input`, and its grammar is told in words. A
namespace groups tools: elsewhere each of them carries the group's name before its own. `Names` leads back: a
call of such a function is told to the client as a call of the tool it offered.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from engine import wire
from engine.core.conversation import Loss, Tool
from engine.protocols.extras import no_such_tool
from engine.protocols.fields import Json, an_object, leftover, maybe_boolean, maybe_list, maybe_object, string
from engine.protocols.openai_responses.names import ORIGIN
from engine.protocols.sealing import opened, report_foreign, seal

CHAT = "openai-chat"
NAME_LENGTH = 64  # the most that every vendor takes
FREE_TEXT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}

_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"type", "name", "description", "format"})
_NAMESPACE = frozenset({"type", "name", "description", "tools"})
_UNSPEAKABLE = re.compile(r"[^a-zA-Z0-9_-]")


def flat_name(namespace: str, name: str) -> str:
    """One name for a tool in a namespace, the same in its offer and in its calls."""
    if not namespace:
        return name
    joined = f"{_UNSPEAKABLE.sub('_', namespace)}__{name}"
    if len(joined) <= NAME_LENGTH:
        return joined
    return f"{joined[: NAME_LENGTH - 13]}_{sha256(joined.encode()).hexdigest()[:12]}"


def read_tools(values: Iterable[Any], path: str, namespace: str = "") -> list[Tool]:
    tools: list[Tool] = []
    for at, value in enumerate(values):
        here = f"{path}.{at}"
        tool = an_object(value, here)
        if tool.get("type") == "namespace":
            tools += _read_namespace(tool, here)
        else:
            tools.append(_read_tool(tool, here, namespace))
    return tools


def _read_namespace(group: Json, path: str) -> list[Tool]:
    name = string(group, "name", path)
    tools = read_tools(maybe_list(group, "tools", path), f"{path}.tools", name)
    if not tools:
        return []
    told = leftover(group, _NAMESPACE - {"description"})
    if not told:
        return tools
    # What is said of the group is kept with its first tool.
    first = tools[0]
    data = dict(first.sealed.data) if first.sealed is not None else {}
    sealed = seal(ORIGIN, data | {"namespace": told})
    return [
        Tool(first.name, first.description, first.schema, first.kind, first.strict, None, sealed),
        *tools[1:],
    ]


def _read_tool(tool: Json, path: str, namespace: str) -> Tool:
    kind = string(tool, "type", path, "function")
    match kind:
        case "function":
            name = string(tool, "name", path)
            item = {"namespace": namespace, "name": name} if namespace else {}
            return Tool(
                flat_name(namespace, name),
                string(tool, "description", path, ""),
                maybe_object(tool, "parameters", path) or {},
                strict=maybe_boolean(tool, "strict", path),
                sealed=_sealed(item, leftover(tool, _FUNCTION)),
            )
        case "custom":
            return _read_custom(tool, path, namespace)
        case _:
            name = string(tool, "name", path, kind)
            item = {"namespace": namespace} if namespace else {}
            return Tool(name, kind=kind, sealed=_sealed(item, dict(tool)))


def _read_custom(tool: Json, path: str, namespace: str) -> Tool:
    name, description = string(tool, "name", path), string(tool, "description", path, "")
    form = maybe_object(tool, "format", path) or {}
    item = {"type": "custom", "name": name, "description": description, "format": tool.get("format")}
    if namespace:
        item["namespace"] = namespace
    grammar = {"grammar": form.get("syntax", "")} if form.get("type") == "grammar" else {}
    return Tool(
        flat_name(namespace, name),
        _in_words(description, form),
        FREE_TEXT,
        sealed=_sealed(item, grammar | leftover(tool, _CUSTOM)),
    )


def _in_words(description: str, form: Json) -> str:
    """A grammar that nothing will enforce is at least told."""
    rules = form.get("definition")
    if form.get("type") != "grammar" or type(rules) is not str:
        return description
    told = f"`input` must follow this {form.get('syntax') or ''} grammar:\n{rules}"
    return f"{description}\n\n{told}" if description else told


def _sealed(item: Mapping[str, Any], rest: dict[str, Any]) -> Any:
    return seal(ORIGIN, ({"item": item} if item else {}) | rest)


# ---- the names of calls


@dataclass(frozen=True, slots=True)
class Named:
    """How a client knows a tool. `custom` tools take text instead of arguments."""

    name: str
    namespace: str = ""
    custom: bool = False

    @property
    def fields(self) -> dict[str, str]:
        return {"name": self.name} | ({"namespace": self.namespace} if self.namespace else {})


class Names:
    """The client's own tools by the names other vendors call them."""

    __slots__ = ("_known",)

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._known: dict[str, Named] = {}
        for tool in tools:
            item = opened(tool.sealed, ORIGIN).get("item")
            if item:
                custom = item.get("type") == "custom"
                self._known[tool.name] = Named(item.get("name", tool.name), item.get("namespace", ""), custom)

    def of(self, name: str) -> Named:
        return self._known.get(name) or Named(name)


def free_text(arguments: str) -> str:
    """What a model wrote for a custom tool: the one text among its arguments, or all of it where it is not so."""
    try:
        found = wire.loads(arguments)
    except ValueError:
        return arguments
    if isinstance(found, dict):
        text = found.get("input", next(iter(found.values()), "") if len(found) <= 1 else None)
        return text if isinstance(text, str) else arguments
    return found if isinstance(found, str) else arguments


def as_arguments(text: str) -> str:
    return wire.dumps({"input": text}).decode()


# ---- on their way to a provider


def write_tools(tools: Sequence[Tool], losses: list[Loss]) -> list[Mapping[str, Any]]:
    written: list[Mapping[str, Any]] = []
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for at, tool in enumerate(tools):
        own = dict(opened(tool.sealed, ORIGIN))
        item, group = own.pop("item", {}), own.pop("namespace", {})
        own.pop("grammar", None)
        entry = _write_tool(tool, item, own, f"tools.{at}", losses, alone=len(tools) == 1)
        if entry is None:
            continue
        namespace = item.get("namespace")
        if not namespace:
            written.append(entry)
        elif namespace in groups:
            groups[namespace].append(entry)
        else:
            groups[namespace] = [entry]
            written.append({"type": "namespace", "name": namespace, "tools": groups[namespace]} | group)
    return written


def _write_tool(
    tool: Tool, item: Mapping[str, Any], own: dict[str, Any], path: str, losses: list[Loss], *, alone: bool
) -> dict[str, Any] | None:
    if tool.kind != "function":
        custom = _from_chat(tool)
        if not own and custom is None:
            losses.append(no_such_tool(tool, path, alone))
        return custom or own or None
    if tool.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", "OpenAI caches without being asked"))
    report_foreign(tool.sealed, ORIGIN, path, losses)
    if item.get("type") == "custom":
        entry = {key: item[key] for key in ("type", "name", "description", "format") if item.get(key)}
        return entry | own
    entry = {"type": "function", "name": item.get("name", tool.name)}
    if tool.description:
        entry["description"] = tool.description
    entry["parameters"] = tool.schema if tool.schema else {"type": "object", "properties": {}}
    # Left out, it means yes here, and a schema that is not meant to be strict would be refused.
    entry["strict"] = tool.strict is True
    return entry | own


def _from_chat(tool: Tool) -> dict[str, Any] | None:
    """A custom tool of OpenAI's other API, which holds its grammar one level deeper."""
    custom = opened(tool.sealed, CHAT).get("custom")
    if tool.kind != "custom" or not isinstance(custom, Mapping):
        return None
    form = custom.get("format")
    entry: dict[str, Any] = {"type": "custom"} | {k: v for k, v in custom.items() if k != "format"}
    if isinstance(form, Mapping):
        grammar = form.get("grammar")
        entry["format"] = {"type": form.get("type"), **(grammar if isinstance(grammar, Mapping) else {})}
    return entry
