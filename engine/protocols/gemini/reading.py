"""What a Gemini client asks, read into a Request.

The model and whether to stream are in the path; whoever took the request puts them into the body as `model`
and `stream`. Contents of the model that follow one another are one message: clients that stream keep each
piece as a content of its own. Calls and results need no ids here: a call gets one made of its place, and a
result without one answers the first open call of its name.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.core.conversation import (
    Message,
    Part,
    Reasoning,
    Request,
    Role,
    Text,
    Thinking,
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
    maybe_integer,
    maybe_list,
    string,
    wrong,
)
from engine.protocols.gemini.parts import maybe_named, named, read_part, read_plain
from engine.protocols.gemini.schema import from_gemini
from engine.protocols.gemini.signatures import ORIGIN
from engine.protocols.mapping import wire_map
from engine.protocols.sealing import seal

NAMES = wire_map("gemini")

_CONFIG = frozenset(
    {"thinkingConfig", "responseSchema", "responseJsonSchema", "responseMimeType"}
    | {knob.field for knob in NAMES.knobs}
)
_CALLING = frozenset({"mode", "allowedFunctionNames"})
_THINKING = frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"})
_DECLARATION = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_RESULT = frozenset({"id", "name", "response", "parts"})
_PLAIN_RESULT = frozenset({"id", "name", "response"})


def read_request(body: Mapping[str, Any], raw: bytes) -> Request:
    """Raises RequestError with the path of what is wrong."""
    fields = named(body)
    return Request(
        protocol=ORIGIN,
        model=string(fields, "model", "").removeprefix("models/"),
        system=_read_system(fields.get("systemInstruction")),
        messages=_read_contents(a_list(fields.get("contents"), "contents")),
        tools=_read_tools(fields),
        tuning=_read_tuning(fields),
        stream=maybe_boolean(fields, "stream", "") is True,
        raw=raw,
        body=body,
    )


def _read_system(value: Any) -> tuple[Part, ...]:
    if value is None:
        return ()
    if type(value) is str:
        return (Text(value),) if value else ()
    content = named(an_object(value, "systemInstruction"))
    found: list[Part] = []
    for at, part in enumerate(maybe_list(content, "parts", "systemInstruction")):
        found += read_part(part, f"systemInstruction.parts.{at}", f"system\0{at}")
    return tuple(found)


class _OpenCalls:
    """Calls that wait for their results. Looking one up costs the same however many there are."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[int, str] = {}  # the ids of calls by their number
        self._all: deque[int] = deque()
        self._by_id: dict[str, deque[int]] = {}
        self._by_name: dict[str, deque[int]] = {}

    def add(self, parts: list[Part]) -> None:
        for call in parts:
            if isinstance(call, ToolCall):
                number = self._count
                self._count += 1
                self._open[number] = call.id
                self._all.append(number)
                self._by_id.setdefault(call.id, deque()).append(number)
                self._by_name.setdefault(call.name, deque()).append(number)

    def answered(self, call_id: str, name: str) -> str:
        """The id of the call a result answers: its own, else of the first open call of its name, else of the first
        open one."""
        found = self._first(self._by_id.get(call_id)) if call_id else None
        if found is None:
            found = self._first(self._by_name.get(name))
        if found is None and not name and not call_id:
            found = self._first(self._all)
        return call_id or name if found is None else self._open.pop(found)

    def _first(self, numbers: deque[int] | None) -> int | None:
        """The first of the calls that is still open; those before it are forgotten."""
        while numbers:
            number = numbers.popleft()
            if number in self._open:
                return number
        return None


def _read_contents(items: list[Any]) -> tuple[Message, ...]:
    gathered: list[tuple[Role, list[Part]]] = []
    calls = _OpenCalls()
    for at, item in enumerate(items):
        path = f"contents.{at}"
        content = named(an_object(item, path))
        role = string(content, "role", path, "user")
        values = maybe_list(content, "parts", path)
        match role:
            case "model":
                parts = _read_parts(values, f"{path}.parts", str(at))
                calls.add(parts)
                if gathered and gathered[-1][0] == "assistant":
                    gathered[-1][1].extend(parts)
                else:
                    gathered.append(("assistant", parts))
            case "user" | "function" | "":
                gathered.append(("user", _read_user_parts(values, f"{path}.parts", str(at), calls)))
            case "system":
                gathered.append(("system", _read_parts(values, f"{path}.parts", str(at))))
            case _:
                raise wrong(f"{path}.role", "`user` or `model`", role)
    return tuple(
        Message(role, tuple(parts if role == "user" else joined(parts))) for role, parts in gathered if parts
    )


def read_model_parts(values: list[Any], path: str, seed: str) -> list[Part]:
    return joined(_read_parts(values, path, seed))


def _read_parts(values: list[Any], path: str, seed: str) -> list[Part]:
    found: list[Part] = []
    for at, value in enumerate(values):
        found += read_plain(value) or read_part(value, f"{path}.{at}", f"{seed}\0{at}")
    return found


def joined(parts: list[Part]) -> list[Part]:
    """Thoughts that streamed in pieces, each one whole, with the signature that ends it."""
    found: list[Part] = []
    pieces: list[str] = []  # of a thought that may go on
    for part in parts:
        if pieces and isinstance(part, Thinking) and (part.text or _ends_a_thought(part)):
            pieces.append(part.text)
            if part.sealed is not None:
                found.append(Thinking("".join(pieces), part.sealed))
                pieces = []
            continue
        if pieces:
            found.append(Thinking("".join(pieces)))
            pieces = []
        if isinstance(part, Thinking) and part.text and part.sealed is None:
            pieces = [part.text]
        else:
            found.append(part)
    return [*found, Thinking("".join(pieces))] if pieces else found


def _ends_a_thought(part: Thinking) -> bool:
    return part.sealed is not None and part.sealed.data.get("call") is None


def _read_user_parts(values: list[Any], path: str, seed: str, calls: _OpenCalls) -> list[Part]:
    found: list[Part] = []
    for at, value in enumerate(values):
        plain = _read_plain_result(value, calls) or read_plain(value)
        if plain is not None:
            found += plain
            continue
        place = f"{path}.{at}"
        part = named(an_object(value, place))
        result = maybe_named(part, "functionResponse", place)
        if result is None:
            found += read_part(part, place, f"{seed}\0{at}")
        else:
            found.append(_read_result(result, f"{place}.functionResponse", f"{seed}\0{at}", calls))
    return found


def _read_plain_result(value: Any, calls: _OpenCalls) -> list[Part] | None:
    """A result of the commonest shape, a text under its call's id, with exactly its fields. None for every other."""
    if type(value) is not dict or len(value) != 1:
        return None
    result = value.get("functionResponse")
    if type(result) is not dict or result.keys() != _PLAIN_RESULT:
        return None
    call_id, name, response = result["id"], result["name"], result["response"]
    if type(call_id) is not str or type(name) is not str or type(response) is not dict or len(response) != 1:
        return None
    text = response.get("output")
    if type(text) is not str or not text:
        return None
    return [ToolResult(calls.answered(call_id, name), (Text(text),))]


def _read_result(result: Json, path: str, seed: str, calls: _OpenCalls) -> ToolResult:
    call_id = calls.answered(string(result, "id", path, ""), string(result, "name", path, ""))
    text, failed = _result_text(result.get("response"))
    parts: list[Part] = [Text(text)] if text else []
    for at, value in enumerate(maybe_list(result, "parts", path)):
        parts += read_part(value, f"{path}.parts.{at}", f"{seed}\0{at}")
    return ToolResult(call_id, tuple(parts), failed, sealed=seal(ORIGIN, leftover(result, _RESULT)))


def _result_text(response: Any) -> tuple[str, bool]:
    """A result is an object; Google names `output` and `error`, and clients wrap a text in other ways too."""
    if response is None or response == {}:
        return "", False
    match response:
        case {"error": error} if len(response) == 1:
            return _as_text(error), True
        case {"output": only} | {"result": only} | {"content": only} if len(response) == 1:
            return _as_text(only), False
        case {"name": str(), "content": content} if len(response) == 2:
            return _as_text(content), False
    return _as_text(response), False


def _as_text(value: Any) -> str:
    return value if type(value) is str else wire.dumps(value).decode()


def _read_tools(body: Json) -> tuple[Tool, ...]:
    found: list[Tool] = []
    value = body.get("tools")
    items = [value] if type(value) is dict else maybe_list(body, "tools", "")
    for at, item in enumerate(items):
        path = f"tools.{at}"
        tool = named(an_object(item, path))
        for place, declared in enumerate(maybe_list(tool, "functionDeclarations", path)):
            found.append(_read_declaration(declared, f"{path}.functionDeclarations.{place}"))
        found += [
            Tool(kind, kind=kind, sealed=seal(ORIGIN, {kind: described}))
            for kind, described in tool.items()
            if kind != "functionDeclarations" and described is not None
        ]
    return tuple(found)


def _read_declaration(value: Any, path: str) -> Tool:
    declared = named(an_object(value, path))
    schema = declared.get("parametersJsonSchema")
    if schema is None:
        schema = from_gemini(maybe_named(declared, "parameters", path) or {})
    return Tool(
        name=string(declared, "name", path),
        description=string(declared, "description", path, ""),
        schema=an_object(schema, f"{path}.parametersJsonSchema"),
        sealed=seal(ORIGIN, leftover(declared, _DECLARATION)),
    )


def _read_tuning(body: Json) -> Tuning:
    extra = leftover(body, NAMES.request_fields)
    config = maybe_named(body, "generationConfig", "") or {}
    found = knobs(config, NAMES)
    rest = {
        field: value for field, value in leftover(config, _CONFIG).items() if not NAMES.is_idle(field, value)
    }
    _read_choice(body, found, extra)
    found["reasoning"] = _read_reasoning(config, rest)
    _read_format(config, found, rest)
    if rest:
        extra["generationConfig"] = rest
    return Tuning(**found, extra=extra)


def _read_choice(body: Json, found: dict[str, Any], extra: dict[str, Any]) -> None:
    config = maybe_named(body, "toolConfig", "") or {}
    rest = leftover(config, {"functionCallingConfig"})
    calling = maybe_named(config, "functionCallingConfig", "toolConfig") or {}
    path = "toolConfig.functionCallingConfig"
    allowed = maybe_list(calling, "allowedFunctionNames", path)
    mode = string(calling, "mode", path, "").upper()
    more = leftover(calling, _CALLING)
    match mode:
        case "":
            pass
        case "ANY" if len(allowed) == 1:
            found["tool_choice"] = ToolChoice("tool", str(allowed[0]))
            allowed = []
        case "ANY":
            found["tool_choice"] = ToolChoice("any")
        case "NONE":
            found["tool_choice"] = ToolChoice("none")
        case "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED":
            found["tool_choice"] = ToolChoice("auto")
        case _:
            raise wrong(f"{path}.mode", "`AUTO`, `ANY`, `NONE` or `VALIDATED`", mode)
    if allowed:
        more["allowedFunctionNames"] = allowed
    if mode == "VALIDATED":
        more["mode"] = mode
    if more:
        rest["functionCallingConfig"] = more
    if rest:
        extra["toolConfig"] = rest


def _read_reasoning(config: Json, rest: dict[str, Any]) -> Reasoning | None:
    thinking = maybe_named(config, "thinkingConfig", "generationConfig")
    if not thinking:
        return None
    path = "generationConfig.thinkingConfig"
    more = leftover(thinking, _THINKING)
    if more:
        rest["thinkingConfig"] = more
    budget = maybe_integer(thinking, "thinkingBudget", path)
    level = string(thinking, "thinkingLevel", path, "").lower()
    if level and level != "thinking_level_unspecified":
        return Reasoning(effort=level)
    if budget == 0:
        return Reasoning("disabled")
    if budget is not None and budget > 0:
        return Reasoning("enabled", budget)
    return Reasoning("adaptive")


def _read_format(config: Json, found: dict[str, Any], rest: dict[str, Any]) -> None:
    media = string(config, "responseMimeType", "generationConfig", "")
    schema = config.get("responseJsonSchema")
    if schema is None and config.get("responseSchema") is not None:
        schema = from_gemini(an_object(config["responseSchema"], "generationConfig.responseSchema"))
    if media == "application/json" and schema is None:
        found["json_mode"] = True
    elif schema is not None and media in ("", "application/json"):
        found["output_schema"] = an_object(schema, "generationConfig.responseJsonSchema")
    elif media and not NAMES.is_idle("responseMimeType", media):
        rest["responseMimeType"] = media
        if schema is not None:
            rest["responseSchema"] = schema
