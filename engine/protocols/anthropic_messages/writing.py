"""A Request written for an Anthropic provider, within the rules Anthropic checks.

The rules that shape this file: results come first in the turn behind their calls; text of nothing but
space is refused; `max_tokens` is required and must exceed the thinking budget; while thinking is on,
temperature is 1, no tool may be forced, and an open tool loop must replay its signed thinking; newer
models take a temperature or a `top_p`, not both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import (
    Loss,
    Message,
    Part,
    Request,
    Text,
    Tool,
    ToolChoice,
)
from engine.protocols.anthropic_messages.blocks import ORIGIN, write_block
from engine.protocols.anthropic_messages.reading import NAMES
from engine.protocols.anthropic_messages.thinking import Plan, in_unsigned_loop, plan
from engine.protocols.extras import add_extras, nearest, no_such_tool
from engine.protocols.sealing import opened, report_foreign
from engine.protocols.shape import Encoded
from engine.protocols.turns import in_turns

DEFAULT_MAX_TOKENS = 8192  # where neither the client nor the catalog says


def write_request(request: Request, model: Model, model_id: str) -> Encoded:
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": model_id}
    system = _written(((f"system.{at}", part) for at, part in enumerate(request.system)), losses)
    if system:
        body["system"] = (
            system[0]["text"] if len(system) == 1 and system[0].keys() == {"type", "text"} else system
        )
    body["messages"] = _messages(request, model, model_id, losses)
    tools = _tools(request.tools, losses)
    if tools:
        body["tools"] = tools
    _add_tool_choice(body, request, losses)
    _add_tuning(body, request, model, model_id, losses)
    if request.stream:
        body["stream"] = True
    add_extras(body, request, NAMES, losses)
    if "type" not in body.get("thinking", ("type",)):
        del body["thinking"]  # what is left of a thinking that was not asked for in the end
    return Encoded(body, tuple(losses))


def _written(placed: Iterable[tuple[str, Part]], losses: list[Loss]) -> list[dict[str, Any]]:
    blocks = (write_block(part, path, losses) for path, part in placed)
    return [block for block in blocks if block is not None]


def _messages(request: Request, model: Model, model_id: str, losses: list[Loss]) -> list[dict[str, Any]]:
    messages: Iterable[Message] = request.messages
    if request.protocol != ORIGIN and not takes_system_messages(model, model_id):
        messages = map(_spoken_by_user, messages)
    written: list[dict[str, Any]] = []
    for turn in in_turns(messages, NAMES.limits, losses, merge=request.protocol != ORIGIN):
        blocks = _written([*turn.results, *turn.parts], losses)
        if blocks:
            written.append({"role": turn.role, "content": blocks})
    if not written:
        # A conversation of system text alone has no message yet, and one is required.
        written.append({"role": "user", "content": "Continue."})
    return written


def takes_system_messages(model: Model, model_id: str) -> bool:
    return "system_messages" in model.can or NAMES.is_model("system_messages", model_id)


def _spoken_by_user(message: Message) -> Message:
    """Most models take no system message inside a conversation; moved to the top it would break the cache and lose
    its place, so it stays where it is, marked, as the user's."""
    if message.role != "system":
        return message
    parts = tuple(
        replace(part, text=f"<system>\n{part.text}\n</system>") if isinstance(part, Text) else part
        for part in message.parts
    )
    return Message("user", parts)


def _tools(tools: tuple[Tool, ...], losses: list[Loss]) -> list[Mapping[str, Any]]:
    written: list[Mapping[str, Any]] = []
    for at, tool in enumerate(tools):
        own = opened(tool.sealed, ORIGIN)
        if tool.kind != "function" and not own:
            losses.append(no_such_tool(tool, f"tools.{at}", len(tools) == 1))
            continue
        if tool.kind != "function":
            written.append(own)
            continue
        entry: dict[str, Any] = {"name": tool.name}
        if tool.description:
            entry["description"] = tool.description
        entry["input_schema"] = tool.schema if "type" in tool.schema else {"type": "object", **tool.schema}
        if tool.strict is not None:
            entry["strict"] = tool.strict
        if tool.cache_control is not None:
            entry["cache_control"] = tool.cache_control
        entry |= own
        report_foreign(tool.sealed, ORIGIN, f"tools.{at}", losses)
        written.append(entry)
    return written


def _add_tool_choice(body: dict[str, Any], request: Request, losses: list[Loss]) -> None:
    choice, parallel = request.tuning.tool_choice, request.tuning.parallel_tools
    if "tools" not in body:
        if choice is not None and choice.mode in ("any", "tool"):
            losses.append(Loss("tool_choice", "there is no tool to choose"))
        return
    if (
        choice is not None
        and choice.mode == "tool"
        and all(tool.get("name") != choice.name for tool in body["tools"])
    ):
        losses.append(Loss("tool_choice", f"there is no tool {choice.name}"))
        choice = ToolChoice("auto")
    if choice is None and parallel is not False:
        return
    written: dict[str, Any] = {"type": choice.mode if choice is not None else "auto"}
    if choice is not None and choice.mode == "tool":
        written["name"] = choice.name
    if parallel is not None and written["type"] != "none":
        written["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = written


def _add_tuning(
    body: dict[str, Any], request: Request, model: Model, model_id: str, losses: list[Loss]
) -> None:
    tuning = request.tuning
    body["max_tokens"] = _max_tokens(tuning.max_tokens, model, losses)
    thinks = _add_reasoning(body, request, model, model_id, losses)
    if tuning.temperature is not None and not (thinks and tuning.temperature == 1):
        if thinks:
            losses.append(Loss("temperature", "it is fixed while the model thinks"))
        else:
            body["temperature"] = min(tuning.temperature, NAMES.limits.temperature)
            if tuning.temperature > NAMES.limits.temperature:
                losses.append(Loss("temperature", f"the most is {NAMES.limits.temperature:g}", "converted"))
    if tuning.top_p is not None and ("temperature" not in body or request.protocol == ORIGIN):
        body["top_p"] = tuning.top_p
    elif tuning.top_p is not None and tuning.top_p != 1:
        losses.append(Loss("top_p", "a temperature is set, and models take only one of them"))
    if tuning.top_k is not None and thinks:
        losses.append(Loss("top_k", "it cannot be set while the model thinks"))
    elif tuning.top_k is not None:
        body["top_k"] = tuning.top_k
    stops = [stop for stop in tuning.stop if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(tuning.stop):
        losses.append(Loss("stop", "a stop sequence of nothing but space is refused", "converted"))
    if tuning.user and len(tuning.user) <= NAMES.limits.user_length:
        body["metadata"] = {"user_id": tuning.user}
    elif tuning.user:
        losses.append(Loss("user", f"longer than {NAMES.limits.user_length} characters"))
    if tuning.output_schema is not None:
        body.setdefault("output_config", {})["format"] = {
            "type": "json_schema",
            "schema": tuning.output_schema,
        }
        if tuning.output_schema_strict is False:
            losses.append(
                Loss(
                    "response_format.json_schema.strict",
                    "answers follow a schema strictly, or there is none",
                    "converted",
                )
            )
    if tuning.json_mode:
        losses.append(Loss("response_format", "there is no JSON mode without a schema"))
    if tuning.seed is not None:
        losses.append(Loss("seed", "there are no seeds"))


def _max_tokens(wanted: int | None, model: Model, losses: list[Loss]) -> int:
    most = model.output_tokens or wanted or DEFAULT_MAX_TOKENS
    if wanted is None:
        return most
    if wanted > most:
        losses.append(Loss("max_tokens", f"lowered to the {most} that {model.name} can write", "converted"))
    return max(min(wanted, most), 1)


def _add_reasoning(
    body: dict[str, Any], request: Request, model: Model, model_id: str, losses: list[Loss]
) -> bool:
    """Whether the model will think."""
    wanted = request.tuning.reasoning
    if wanted is None:
        return False
    home = request.protocol == ORIGIN  # whoever speaks this protocol knows its rules
    forced = not home and body.get("tool_choice", {}).get("type") in ("any", "tool")
    unsigned = in_unsigned_loop(request.messages)
    chosen = plan(wanted, body["max_tokens"], forced, unsigned, model, model_id)
    if home and not wanted.mode:
        chosen = Plan(None, chosen.effort, body["max_tokens"])  # an effort without thinking asks for none
    if chosen.why:
        losses.append(Loss("thinking", chosen.why))
    if chosen.max_tokens > body["max_tokens"]:
        why = f"raised to {chosen.max_tokens}, because the model thinks inside it"
        losses.append(Loss("max_tokens", why, "converted"))
    body["max_tokens"] = chosen.max_tokens
    if chosen.thinking is not None:
        body["thinking"] = chosen.thinking
    if chosen.effort:
        body["output_config"] = {"effort": nearest(wanted.effort, chosen.effort, losses)}
    return chosen.thinks
