"""A Request written for a Responses provider.

Nothing is stored there: the whole conversation is sent each time, so reasoning is asked for in its encrypted
form, which comes back with the next request. Models that think take no temperature. There are no stop
sequences, seeds or `top_k`.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import (
    Loss,
    Opaque,
    Part,
    Reasoning,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.protocols.efforts import effort_for
from engine.protocols.extras import add_extras
from engine.protocols.openai_responses.content import is_refusal, own_fields, write_part
from engine.protocols.openai_responses.items import write_call, write_reasoning
from engine.protocols.openai_responses.names import NAMES, ORIGIN
from engine.protocols.openai_responses.tools import write_tools
from engine.protocols.sealing import opened, report_foreign
from engine.protocols.shape import Encoded
from engine.protocols.turns import Placed, Turn, in_turns

LEAST_TOKENS = 16  # the smallest limit that is accepted
ENCRYPTED = "reasoning.encrypted_content"


def write_request(request: Request, model: Model, model_id: str) -> Encoded:
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": model_id}
    items = _system(request.system, body, losses)
    customs: set[str] = set()
    for turn in in_turns(request.messages, NAMES.limits, losses, merge=False):
        _add_turn(items, turn, customs, losses)
    body["input"] = items
    body["store"] = False
    tools = write_tools(request.tools, losses)
    if tools:
        body["tools"] = tools
    _add_tool_choice(body, request, losses)
    _add_tuning(body, request, model, model_id, losses)
    if request.stream:
        body["stream"] = True
    add_extras(body, request, NAMES, losses)
    return Encoded(body, tuple(losses))


# ---- the conversation


def _system(parts: tuple[Part, ...], body: dict[str, Any], losses: list[Loss]) -> list[dict[str, Any]]:
    """One text is the instructions; several stay apart, in a developer's message."""
    placed = [(f"system.{at}", part) for at, part in enumerate(parts)]
    content = _content(placed, losses)
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        body["instructions"] = content[0]["text"]
        return []
    return [{"type": "message", "role": "developer", "content": content}] if content else []


def _content(placed: list[Placed], losses: list[Loss]) -> list[dict[str, Any]]:
    found = (write_part(part, path, losses) for path, part in placed)
    return [part for part in found if part is not None]


def _add_turn(items: list[dict[str, Any]], turn: Turn, customs: set[str], losses: list[Loss]) -> None:
    """`customs` are the ids of the calls whose tools take text; it grows."""
    if turn.role == "assistant":
        for path, part in turn.parts:
            _add_spoken(items, part, path, losses)
            if isinstance(part, ToolCall) and items[-1]["type"] == "custom_tool_call":
                customs.add(part.id)
        return
    items += [_result(result, path, customs, losses) for path, result in turn.results]
    own = [(path, part) for path, part in turn.parts if not (isinstance(part, Opaque) and _is_item(part))]
    items += [dict(part.sealed.data) for _, part in turn.parts if isinstance(part, Opaque) and _is_item(part)]
    content = _content(own, losses)
    if content:
        role = "developer" if turn.role == "system" else "user"
        message = {"type": "message", "role": role, "content": content}
        for _, part in own:
            message |= opened(part.sealed, ORIGIN).get("message", {})
        if message["type"] == "agent_message":
            del message["role"]
        items.append(message)


def _is_item(part: Opaque) -> bool:
    """Whether it stood in the input for itself, and not inside a message."""
    kind = part.kind
    return part.sealed.origin == ORIGIN and not kind.startswith("input_") and kind != "encrypted_content"


def _add_spoken(items: list[dict[str, Any]], part: Part, path: str, losses: list[Loss]) -> None:
    match part:
        case Text():
            _add_text(items, part, path, losses)
        case ToolCall():
            if part.cache_control is not None:
                losses.append(Loss(f"{path}.cache_control", "there is no place for it in a tool call"))
            report_foreign(part.sealed, ORIGIN, path, losses)
            items.append(write_call(part))
        case Thinking():
            item = write_reasoning(part, path, losses)
            items += [item] if item is not None else []
        case Opaque(sealed=sealed) if sealed.origin == ORIGIN:
            items.append(dict(sealed.data))
        case Opaque(kind=kind, sealed=sealed):
            losses.append(
                Loss(path, f"only {sealed.origin} knows content of the kind {kind}", stake="content")
            )
        case _:
            losses.append(Loss(path, "it has no place in an assistant's message", stake="content"))


def _add_text(items: list[dict[str, Any]], part: Text, path: str, losses: list[Loss]) -> None:
    if not part.text:
        return
    if part.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", "OpenAI caches without being asked"))
    if not is_refusal(part):
        report_foreign(part.sealed, ORIGIN, path, losses)
    message, own = opened(part.sealed, ORIGIN).get("message", {}), own_fields(part)
    last = items[-1] if items else {}
    if is_refusal(part):
        said: Any = [{"type": "refusal", "refusal": part.text}]
    elif own:
        said = [{"type": "output_text", "text": part.text, "annotations": [], **own}]
    elif last.get("role") == "assistant" and isinstance(last["content"], str) and not message:
        last["content"] += part.text
        return
    else:
        said = part.text
    items.append({"type": "message", "role": "assistant", "content": said, **message})


def _result(result: ToolResult, path: str, customs: set[str], losses: list[Loss]) -> dict[str, Any]:
    content = _content([(f"{path}.content.{at}", part) for at, part in enumerate(result.parts)], losses)
    if result.is_error:
        losses.append(
            Loss(
                f"{path}.is_error",
                "a tool's failure has no mark here; its text stays",
                "converted",
                "content",
            )
        )
    if result.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", "OpenAI caches without being asked"))
    report_foreign(result.sealed, ORIGIN, path, losses)
    output: Any = content
    if not content:
        output = "The tool failed." if result.is_error else ""
    elif len(content) == 1 and content[0].keys() == {"type", "text"}:
        output = content[0]["text"]
    kind = "custom_tool_call_output" if result.call_id in customs else "function_call_output"
    return {"type": kind, "call_id": result.call_id, "output": output, **opened(result.sealed, ORIGIN)}


# ---- tools and tuning


def _add_tool_choice(body: dict[str, Any], request: Request, losses: list[Loss]) -> None:
    choice, tuning = request.tuning.tool_choice, request.tuning
    if "tools" not in body:
        if choice is not None and choice.mode in ("any", "tool"):
            losses.append(Loss("tool_choice", "there is no tool to choose"))
        return
    if choice is not None and choice.mode == "tool":
        chosen = next((tool for tool in request.tools if tool.name == choice.name), None)
        if chosen is None:
            losses.append(Loss("tool_choice", f"there is no tool {choice.name}"))
            choice = ToolChoice("auto")
        else:
            body["tool_choice"] = _named(chosen)
            choice = None
    if choice is not None:
        body["tool_choice"] = "required" if choice.mode == "any" else choice.mode
    if tuning.parallel_tools is not None:
        body["parallel_tool_calls"] = tuning.parallel_tools


def _named(tool: Tool) -> dict[str, str]:
    item: Mapping[str, str] = opened(tool.sealed, ORIGIN).get("item", {})
    custom = item.get("type") == "custom" or tool.kind == "custom"
    return {"type": "custom" if custom else "function", "name": item.get("name", tool.name)}


def _add_tuning(
    body: dict[str, Any], request: Request, model: Model, model_id: str, losses: list[Loss]
) -> None:
    tuning, home = request.tuning, request.protocol == ORIGIN
    if tuning.max_tokens is not None:
        body["max_output_tokens"] = limit_for(tuning.max_tokens, model, model_id, losses)
    fixed = NAMES.is_model("reasons", model_id)
    for name, value in (("temperature", tuning.temperature), ("top_p", tuning.top_p)):
        if value is not None and not fixed:
            body[name] = value
        elif value is not None and value != 1:
            losses.append(Loss(name, f"{model_id} thinks, so it is fixed"))
    for name, unset in (
        ("top_k", tuning.top_k is None),
        ("seed", tuning.seed is None),
        ("stop", not tuning.stop),
    ):
        if not unset:
            losses.append(Loss(name, "this protocol has no such field"))
    if tuning.user and len(tuning.user) <= NAMES.limits.user_length:
        body["user"] = tuning.user
    elif tuning.user:
        losses.append(Loss("user", f"longer than {NAMES.limits.user_length} characters"))
    form = _format(request)
    if form is not None:
        body["text"] = {"format": form}
    _add_reasoning(body, tuning.reasoning, model, model_id, losses, home)


def limit_for(wanted: int, model: Model, model_id: str, losses: list[Loss]) -> int:
    least = NAMES.limits.completion_tokens if NAMES.is_model("reasons", model_id) else LEAST_TOKENS
    if wanted < least:
        # A reasoning model thinks inside this limit: with less it would answer nothing at all.
        losses.append(
            Loss("max_tokens", f"raised to {least}, the least that {model_id} can do with", "converted")
        )
        return least
    if 0 < model.output_tokens < wanted:
        losses.append(
            Loss(
                "max_tokens", f"lowered to the {model.output_tokens} that {model.name} can write", "converted"
            )
        )
        return model.output_tokens
    return wanted


def _format(request: Request) -> dict[str, Any] | None:
    tuning = request.tuning
    if tuning.output_schema is None:
        return {"type": "json_object"} if tuning.json_mode else None
    form: dict[str, Any] = {
        "type": "json_schema",
        "name": tuning.output_schema_name or "answer",
        "schema": tuning.output_schema,
    }
    if tuning.output_schema_strict is not None:
        form["strict"] = tuning.output_schema_strict
    return form


def _add_reasoning(
    body: dict[str, Any],
    wanted: Reasoning | None,
    model: Model,
    model_id: str,
    losses: list[Loss],
    home: bool,
) -> None:
    if "thinking" in model.can:
        body["include"] = [ENCRYPTED]
    if wanted is None:
        return
    effort = effort_for(wanted, model, model_id, NAMES, losses, "medium")
    if effort:
        body["reasoning"] = {"effort": effort}
        if wanted.mode in ("enabled", "adaptive") and not home:
            body["reasoning"]["summary"] = "auto"  # who asks for thinking wants to see it
