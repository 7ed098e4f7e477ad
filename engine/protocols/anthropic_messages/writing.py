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
    Reasoning,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.protocols.anthropic_messages.blocks import ORIGIN, write_block
from engine.protocols.anthropic_messages.reading import NAMES
from engine.protocols.extras import add_extras
from engine.protocols.sealing import opened, report_foreign
from engine.protocols.shape import Encoded, Repairs
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
    body["messages"] = _messages(request, model, losses)
    tools = _tools(request.tools, losses)
    if tools:
        body["tools"] = tools
    _add_tool_choice(body, request, losses)
    _add_tuning(body, request, model, model_id, losses)
    if request.stream:
        body["stream"] = True
    add_extras(body, request, NAMES, losses)
    return Encoded(body, tuple(losses))


def repairs(request: Request, model: Model, model_id: str) -> Repairs:
    """Thinking that another vendor wrote, or that nobody signed, is refused; the history is sent without it."""
    del model, model_id
    if not any(_is_foreign(part) for message in request.messages for part in message.parts):
        return Repairs()
    messages: list[Any] = []
    losses: list[Loss] = []
    for at, (message, sent) in enumerate(zip(request.messages, request.body["messages"], strict=True)):
        foreign = {place for place, part in enumerate(message.parts) if _is_foreign(part)}
        if not foreign:
            messages.append(sent)
            continue
        losses += [
            Loss(f"messages.{at}.content.{place}", "thinking without Anthropic's signature is refused there")
            for place in sorted(foreign)
        ]
        blocks = [block for place, block in enumerate(sent["content"]) if place not in foreign]
        if blocks:
            messages.append({**sent, "content": blocks})
    return Repairs({"messages": messages}, dropped=tuple(losses))


def _is_foreign(part: Part) -> bool:
    return isinstance(part, Thinking) and not opened(part.sealed, ORIGIN)


def _written(placed: Iterable[tuple[str, Part]], losses: list[Loss]) -> list[dict[str, Any]]:
    blocks = (write_block(part, path, losses) for path, part in placed)
    return [block for block in blocks if block is not None]


def _messages(request: Request, model: Model, losses: list[Loss]) -> list[dict[str, Any]]:
    messages: Iterable[Message] = request.messages
    if request.protocol != ORIGIN and "system_messages" not in model.can:
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
            losses.append(Loss(f"tools.{at}", f"a tool of the kind {tool.kind} exists only at its vendor"))
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
                losses.append(Loss("temperature", f"the most is {NAMES.limits.temperature:g}"))
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
        losses.append(Loss("stop", "a stop sequence of nothing but space is refused"))
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
                    "response_format.json_schema.strict", "answers follow a schema strictly, or there is none"
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
        losses.append(Loss("max_tokens", f"lowered to the {most} that {model.name} can write"))
    return max(min(wanted, most), 1)


def _add_reasoning(
    body: dict[str, Any], request: Request, model: Model, model_id: str, losses: list[Loss]
) -> bool:
    """Whether the model will think."""
    wanted = request.tuning.reasoning
    if wanted is None:
        return False
    if wanted.mode == "disabled" or wanted.effort == "none":
        if "thinking" in model.can:
            body["thinking"] = {"type": "disabled"}
        return False
    obstacle = _obstacle(body, request, model, wanted, NAMES.is_model("adaptive_thinking", model_id))
    if obstacle:
        losses.append(Loss("thinking", obstacle))
        return False
    effort = NAMES.efforts.get(wanted.effort, "")
    if wanted.mode == "adaptive" or NAMES.is_model("adaptive_thinking", model_id):
        body["thinking"] = {"type": "adaptive"}
        if not effort and wanted.budget_tokens is not None:
            effort = NAMES.effort_of(wanted.budget_tokens)
            effort = NAMES.efforts.get(effort, effort)
        if effort:
            body["output_config"] = {"effort": effort}
        return True
    if wanted.effort and not wanted.mode and request.protocol == ORIGIN:
        body["output_config"] = {"effort": wanted.effort}
        return False
    budget = wanted.budget_tokens or NAMES.budgets.get(wanted.effort) or NAMES.budgets["medium"]
    _add_budget(body, budget, model)
    if wanted.effort and request.protocol == ORIGIN:
        body["output_config"] = {"effort": wanted.effort}
    return True


def _add_budget(body: dict[str, Any], budget: int, model: Model) -> None:
    """Thinking counts into `max_tokens` here: what the client asked for is the answer, so it is raised by the
    budget where it is too small, and where the model cannot write that much, the budget gives way."""
    answer = body["max_tokens"]
    most = model.output_tokens or answer + budget
    least = NAMES.limits.thinking_budget
    if answer <= budget:
        body["max_tokens"] = min(answer + budget, most)
        budget = min(budget, max(most - min(answer, most // 2), least))
    if budget >= body["max_tokens"]:
        body["max_tokens"] = budget + 1
    body["thinking"] = {"type": "enabled", "budget_tokens": max(budget, least)}


def _obstacle(
    body: Mapping[str, Any], request: Request, model: Model, wanted: Reasoning, adaptive: bool
) -> str:
    """Why the model cannot think on this request; empty where it can."""
    if "thinking" not in model.can:
        return f"{model.name} does not think"
    if request.protocol == ORIGIN:
        return ""  # whoever speaks this protocol knows its rules
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return "a tool is forced, and a model cannot think before that"
    if not adaptive and wanted.mode != "adaptive" and _in_unsigned_loop(request.messages):
        return "the open tool loop has no signed thinking, which would have to be replayed"
    return ""


def _in_unsigned_loop(messages: tuple[Message, ...]) -> bool:
    """Whether the last turn answers calls of an assistant whose thinking Anthropic did not sign."""
    for message in reversed(messages):
        if message.role == "assistant":
            calls = any(isinstance(part, ToolCall) for part in message.parts)
            signed = any(opened(part.sealed, ORIGIN) for part in message.parts if isinstance(part, Thinking))
            return calls and not signed
        if message.role == "user" and not any(isinstance(part, ToolResult) for part in message.parts):
            return False
    return False
