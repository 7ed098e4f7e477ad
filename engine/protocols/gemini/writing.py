"""A Request written for a Gemini provider, within the rules Google checks.

The rules that shape this file: the first content is the user's; results answer the calls of the content before,
by name; a newer model takes a call back only with its signature; a schema may hold only what the subset knows,
and a tool without parameters none at all; a level and a budget of thinking exclude each other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Message,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from engine.protocols.extras import add_extras, no_such_tool
from engine.protocols.gemini.parts import write_call, write_part
from engine.protocols.gemini.reading import NAMES
from engine.protocols.gemini.schema import for_gemini
from engine.protocols.gemini.signatures import ORIGIN, SKIP, signed_call
from engine.protocols.gemini.thinking import plan
from engine.protocols.sealing import opened, report_foreign
from engine.protocols.shape import Encoded
from engine.protocols.turns import Placed, Turn, in_turns

_CACHED = "Gemini caches without being asked"


def write_request(request: Request, model: Model, model_id: str) -> Encoded:
    """The model and whether to stream are not in the body: they are in the path."""
    losses: list[Loss] = []
    body: dict[str, Any] = {"contents": _contents(request, model_id, losses)}
    system: list[dict[str, Any]] = []
    for at, part in enumerate(request.system):
        _add(system, write_part(part, f"system.{at}", losses))
    if system:
        body["systemInstruction"] = {"parts": system}
    tools = _tools(request.tools, losses)
    if tools:
        body["tools"] = tools
    _add_tool_choice(body, request, losses)
    config = _config(request, model, model_id, bool(tools), losses)
    if config:
        body["generationConfig"] = config
    add_extras(body, request, NAMES, losses)
    return Encoded(body, tuple(losses))


def _add(parts: list[dict[str, Any]], part: dict[str, Any] | None) -> None:
    if part is not None:
        parts.append(part)


def _contents(request: Request, model_id: str, losses: list[Loss]) -> list[dict[str, Any]]:
    signs = NAMES.is_model("signed_calls", model_id)
    nested = NAMES.is_model("pictures_in_results", model_id)
    names: dict[str, str] = {}  # of the calls so far, by their ids
    contents: list[dict[str, Any]] = []
    messages = map(_spoken_by_user, request.messages)
    for turn in in_turns(messages, NAMES.limits, losses, merge=True):
        if turn.role == "assistant":
            names |= {part.id: part.name for _, part in turn.parts if isinstance(part, ToolCall)}
            content = {"role": "model", "parts": _model_parts(turn.parts, signs, losses)}
        else:
            content = {"role": "user", "parts": _user_parts(turn, names, nested, losses)}
        if content["parts"]:
            contents.append(content)
    if not contents or contents[0]["role"] != "user":
        contents.insert(0, {"role": "user", "parts": [{"text": "Continue."}]})
    return contents


def _spoken_by_user(message: Message) -> Message:
    """There are no system messages inside a conversation; moved to the top one would lose its place, so it stays
    where it is, marked, as the user's."""
    if message.role != "system":
        return message
    parts = tuple(
        replace(part, text=f"<system>\n{part.text}\n</system>") if isinstance(part, Text) else part
        for part in message.parts
    )
    return Message("user", parts)


def _model_parts(placed: list[Placed], signs: bool, losses: list[Loss]) -> list[dict[str, Any]]:
    signatures = _signatures(placed)
    skip = SKIP if signs and not any(signatures.values()) else ""
    parts: list[dict[str, Any]] = []
    for path, part in placed:
        match part:
            case Thinking():
                _add_thinking(parts, part, path, losses)
            case ToolCall():
                parts.append(write_call(part, path, signatures.get(part.id) or skip, losses))
            case _:
                _add(parts, write_part(part, path, losses))
    return parts


def _signatures(placed: list[Placed]) -> dict[str, str]:
    """Each call's own signature. One whose call has changed its id on the way belongs to the first call without."""
    calls = [part.id for _, part in placed if isinstance(part, ToolCall)]
    found = dict.fromkeys(calls, "")
    strays: list[str] = []
    for _, part in placed:
        if not isinstance(part, Thinking) or (call := signed_call(part)) is None:
            continue
        signature = str(opened(part.sealed, ORIGIN).get("thoughtSignature", ""))
        if call in found:
            found[call] = signature
        else:
            strays.append(signature)
    for signature, call in zip(strays, [call for call in calls if not found[call]], strict=False):
        found[call] = signature
    return found


def _add_thinking(parts: list[dict[str, Any]], thinking: Thinking, path: str, losses: list[Loss]) -> None:
    own = opened(thinking.sealed, ORIGIN)
    if "call" in own:
        if thinking.text:  # a client joined the summary before a call and the call's signature
            losses.append(Loss(path, "a summary of thoughts is not read again", stake="sealed"))
        return
    signature = own.get("thoughtSignature")
    if not signature:
        losses.append(Loss(path, "thinking goes back to the vendor that signed it alone", stake="sealed"))
    elif thinking.text:
        parts.append({"text": thinking.text, "thought": True, "thoughtSignature": signature})
    elif parts and parts[-1].keys() == {"text"}:
        parts[-1]["thoughtSignature"] = signature
    else:
        parts.append({"text": "", "thoughtSignature": signature})


def _user_parts(
    turn: Turn, names: Mapping[str, str], nested: bool, losses: list[Loss]
) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    behind: list[dict[str, Any]] = []
    for path, result in turn.results:
        written, media = _result(result, names.get(result.call_id, ""), path, losses)
        if nested and media:
            written["parts"] = media
        elif media:
            behind += [{"text": f"Further result of the call of {written['name']}:"}, *media]
        parts.append({"functionResponse": written})
    parts += behind
    for path, part in turn.parts:
        if isinstance(part, Thinking):
            losses.append(Loss(path, "it has no place in a message of this role", stake="sealed"))
        else:
            _add(parts, write_part(part, path, losses))
    return parts


def _result(
    result: ToolResult, name: str, path: str, losses: list[Loss]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The response, and the media that do not fit into its JSON."""
    texts: list[str] = []
    media: list[dict[str, Any]] = []
    for at, part in enumerate(result.parts):
        place = f"{path}.content.{at}"
        written = write_part(part, place, losses)
        if isinstance(part, Image | Document) and written is not None and "text" not in written:
            media.append(written)
        elif written is not None and "text" in written:
            texts.append(written["text"])
    if result.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", _CACHED))
    report_foreign(result.sealed, ORIGIN, path, losses)
    text = "\n".join(texts)
    response = {"error": text or "The tool failed."} if result.is_error else {"output": text}
    return {
        "name": name,
        "response": response,
        "id": result.call_id,
        **opened(result.sealed, ORIGIN),
    }, media


def _tools(tools: tuple[Tool, ...], losses: list[Loss]) -> list[Mapping[str, Any]]:
    declared: list[Mapping[str, Any]] = []
    hosted: list[Mapping[str, Any]] = []
    for at, tool in enumerate(tools):
        own = opened(tool.sealed, ORIGIN)
        if tool.kind == "function":
            declared.append(_declaration(tool, own))
            report_foreign(tool.sealed, ORIGIN, f"tools.{at}", losses)
            if tool.cache_control is not None:
                losses.append(Loss(f"tools.{at}.cache_control", _CACHED))
        elif own:
            hosted.append(own)
        else:
            losses.append(no_such_tool(tool, f"tools.{at}", len(tools) == 1))
    return [*([{"functionDeclarations": declared}] if declared else []), *hosted]


def _declaration(tool: Tool, own: Mapping[str, Any]) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    if tool.schema:
        parameters = for_gemini({"type": "object", **tool.schema})
        if parameters.get("properties") or "anyOf" in parameters:
            declared["parameters"] = parameters
    return {**declared, **own}


def _add_tool_choice(body: dict[str, Any], request: Request, losses: list[Loss]) -> None:
    choice, tuning = request.tuning.tool_choice, request.tuning
    offered = _offered(body.get("tools", ()))
    if not offered:
        if choice is not None and choice.mode in ("any", "tool"):
            losses.append(Loss("tool_choice", "there is no tool to choose"))
        return
    if tuning.parallel_tools is False:
        losses.append(Loss("parallel_tools", "a model cannot be kept from calling several tools at once"))
    if choice is None:
        return
    calling: dict[str, Any] = {"mode": {"any": "ANY", "tool": "ANY", "none": "NONE"}.get(choice.mode, "AUTO")}
    if choice.mode == "tool" and choice.name in offered:
        calling["allowedFunctionNames"] = [choice.name]
    elif choice.mode == "tool":
        losses.append(Loss("tool_choice", f"there is no tool {choice.name}"))
        calling["mode"] = "AUTO"
    body["toolConfig"] = {"functionCallingConfig": calling}


def _offered(tools: Iterable[Mapping[str, Any]]) -> set[str]:
    return {declared["name"] for tool in tools for declared in tool.get("functionDeclarations", ())}


def _config(
    request: Request, model: Model, model_id: str, has_tools: bool, losses: list[Loss]
) -> dict[str, Any]:
    tuning = request.tuning
    chosen = plan(tuning.reasoning, tuning.max_tokens, model, model_id)
    losses += chosen.losses
    knobs = {
        "maxOutputTokens": None if chosen.max_tokens is None else max(chosen.max_tokens, 1),
        "temperature": tuning.temperature,
        "topP": tuning.top_p,
        "topK": tuning.top_k,
        "seed": tuning.seed,
    }
    found: dict[str, Any] = {field: value for field, value in knobs.items() if value is not None}
    stops = [stop for stop in tuning.stop if stop][: NAMES.limits.stop_sequences]
    if stops:
        found["stopSequences"] = stops
    if len(stops) < len(tuning.stop):
        losses.append(
            Loss("stop", f"at most {NAMES.limits.stop_sequences} stop sequences are taken", "converted")
        )
    if tuning.user:
        losses.append(Loss("user", "there is no field for it"))
    _add_format(found, request, model_id, has_tools, losses)
    if chosen.thinking is not None:
        found["thinkingConfig"] = chosen.thinking
    return found


def _add_format(
    found: dict[str, Any], request: Request, model_id: str, has_tools: bool, losses: list[Loss]
) -> None:
    tuning = request.tuning
    if tuning.output_schema is None and not tuning.json_mode:
        return
    if has_tools and not NAMES.is_model("schema_with_tools", model_id):
        field = "output_schema" if tuning.output_schema is not None else "response_format"
        losses.append(Loss(field, "this model cannot be held to a form while it is offered tools"))
        return
    found["responseMimeType"] = "application/json"
    if tuning.output_schema is not None:
        found["responseSchema"] = for_gemini(tuning.output_schema)
