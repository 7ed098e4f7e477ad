"""A Request written for an OpenAI Chat provider.

Tool results become messages of their own right behind the assistant's; what text cannot hold of them
(images) follows in a user message that names the call. Assistant content is one string: many providers
take no parts there.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import (
    Loss,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.protocols.efforts import effort_for
from engine.protocols.extras import add_extras, no_such_tool
from engine.protocols.mapping import Manner
from engine.protocols.openai_chat.parts import ORIGIN, write_call, write_part, write_reasoning
from engine.protocols.openai_chat.reading import NAMES
from engine.protocols.sealing import opened, report_foreign
from engine.protocols.shape import Encoded
from engine.protocols.strict_schema import for_strict
from engine.protocols.turns import Placed, Turn, in_turns

PLAINLY = Manner(NAMES.limits)
_NO_TEXT = {"type": "text", "text": ""}


def write_request(request: Request, model: Model, model_id: str, manner: Manner = PLAINLY) -> Encoded:
    losses: list[Loss] = []
    home = request.protocol == ORIGIN
    body: dict[str, Any] = {"model": model_id, "messages": _messages(request, losses, home, manner)}
    tools = _tools(request.tools, losses, home, manner)
    if tools:
        body["tools"] = tools
    _add_tool_choice(body, request, losses)
    _add_tuning(body, request, model, model_id, losses, manner)
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    add_extras(body, request, NAMES, losses)
    return Encoded(body, tuple(losses))


def _messages(request: Request, losses: list[Loss], home: bool, manner: Manner) -> list[dict[str, Any]]:
    marks = home or manner.cache_marks
    written: list[dict[str, Any]] = []
    if request.system:
        placed: list[Placed] = [(f"system.{at}", part) for at, part in enumerate(request.system)]
        _add_message(written, "system", placed, losses, home, marks)
    for turn in in_turns(request.messages, manner.limits, losses, merge=False):
        if turn.role == "assistant":
            _add_assistant(written, turn, losses, manner)
            continue
        left: list[Placed] = []
        for path, result in turn.results:
            left += _add_result(written, path, result, losses, home, manner)
        _add_message(written, turn.role, left + turn.parts, losses, home, marks)
    return written


def _add_message(
    written: list[dict[str, Any]],
    role: str,
    placed: list[Placed],
    losses: list[Loss],
    home: bool,
    marks: bool,
) -> None:
    found = (write_part(part, path, losses, home=home, marks=marks) for path, part in placed)
    content = [part for part in found if part is not None]
    if not content:
        return
    message: dict[str, Any] = {"role": role, "content": content}
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        message["content"] = content[0]["text"]
    for _, part in placed:
        message |= opened(part.sealed, ORIGIN).get("message", {})
    written.append(message)


def _add_assistant(written: list[dict[str, Any]], turn: Turn, losses: list[Loss], manner: Manner) -> None:
    thinkings = [(path, part) for path, part in turn.parts if isinstance(part, Thinking)]
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: list[dict[str, Any]] = []
    texts: list[str] = []
    marked: Mapping[str, Any] | None = None  # the last cache mark in the text, where it means something
    parted = False  # whether a call stands between two texts, which are then two paragraphs
    for path, part in turn.parts:
        match part:
            case Text(text=text) if opened(part.sealed, ORIGIN).get("type") == "refusal":
                message["refusal"] = text
            case Text(text=text, sealed=sealed, cache_control=mark):
                if parted and text and texts:
                    texts.append("\n\n")
                parted = False
                texts.append(text)
                message |= opened(sealed, ORIGIN).get("message", {})
                if mark is not None and manner.cache_marks:
                    marked = mark
                elif mark is not None:
                    losses.append(
                        Loss(f"{path}.cache_control", "there is no place for it in an assistant's text")
                    )
                if sealed is not None and sealed.origin != ORIGIN:
                    losses += [
                        Loss(f"{path}.{field}", f"only {sealed.origin} knows it") for field in sealed.data
                    ]
            case ToolCall():
                parted = True
                calls.append(write_call(part, part.id))
                _report_call(part, path, losses)
            case Thinking():
                pass
            case _:
                losses.append(Loss(path, "it has no place in an assistant's message", stake="content"))
    fields = write_reasoning(thinkings, losses)
    text = "".join(texts)
    spoken = fields.pop("content", None)
    said: dict[str, Any] = {"type": "text", "text": text}
    if marked is not None and text:
        said["cache_control"] = marked
        message["content"] = [*(spoken or ()), said]
    else:
        message["content"] = [*spoken, said] if spoken else text or None
    if calls:
        message["tool_calls"] = calls
    if message["content"] is None and not calls and "refusal" not in message:
        # An empty assistant message is refused, whatever was thought before it.
        why = "there is nothing in the message but reasoning, which is refused"
        losses += [Loss(path, why, stake="sealed") for path, part in thinkings if opened(part.sealed, ORIGIN)]
        return
    written.append(message | fields)


def _report_call(call: ToolCall, path: str, losses: list[Loss]) -> None:
    if call.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", "there is no place for it in a tool call"))
    report_foreign(call.sealed, ORIGIN, path, losses)


def _add_result(
    written: list[dict[str, Any]],
    path: str,
    result: ToolResult,
    losses: list[Loss],
    home: bool,
    manner: Manner,
) -> list[Placed]:
    """Adds the tool message; gives back what has to follow in a user message."""
    texts: list[dict[str, Any]] = []
    others: list[Placed] = []
    for at, part in enumerate(result.parts):
        if isinstance(part, Text):
            text = write_part(
                part, f"{path}.content.{at}", losses, home=home, marks=home or manner.cache_marks
            )
            texts += [] if text is None else [text]
        else:
            others.append((f"{path}.content.{at}", part))
    if result.is_error:
        losses.append(
            Loss(
                f"{path}.is_error",
                "a tool's failure has no mark here; its text stays",
                "converted",
                "content",
            )
        )
    if result.cache_control is not None and manner.cache_marks:
        texts = [*texts[:-1], {**(texts[-1] if texts else _NO_TEXT), "cache_control": result.cache_control}]
    elif result.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", "there is no place for it in a tool message"))
    own = opened(result.sealed, ORIGIN)
    report_foreign(result.sealed, ORIGIN, path, losses)
    content: Any = texts
    if all(text.keys() == {"type", "text"} for text in texts) and len(texts) < 2:
        content = texts[0]["text"] if texts else ""
    if not texts and others:
        content = "The result follows in the next message."
    elif not texts and result.is_error:
        content = "The tool failed."
    written.append({"role": "tool", "tool_call_id": result.call_id, "content": content, **own})
    carried: list[Placed] = []
    for place, part in others:
        lost: list[Loss] = []
        if write_part(part, place, lost, home=home, marks=True) is None:
            losses += lost
        else:
            carried.append((place, part))
    if not carried:
        return []
    return [(path, Text(f"Further result of the tool call {result.call_id}:")), *carried]


def _tools(
    tools: tuple[Tool, ...], losses: list[Loss], home: bool, manner: Manner
) -> list[Mapping[str, Any]]:
    written: list[Mapping[str, Any]] = []
    for at, tool in enumerate(tools):
        own = opened(tool.sealed, ORIGIN)
        if tool.kind != "function" and not own:
            losses.append(no_such_tool(tool, f"tools.{at}", len(tools) == 1))
            continue
        if tool.kind != "function":
            written.append(own)
            continue
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = tool.schema if tool.schema else {"type": "object", "properties": {}}
        if tool.strict is not None:
            _add_strict(function, tool, home, f"tools.{at}.strict", losses)
        entry: dict[str, Any] = {"type": "function", "function": function | own.get("function", {})}
        entry |= {key: value for key, value in own.items() if key != "function"}
        if tool.cache_control is not None and (home or manner.cache_marks):
            entry["cache_control"] = tool.cache_control
        elif tool.cache_control is not None:
            losses.append(
                Loss(f"tools.{at}.cache_control", "this protocol's vendors cache without being asked")
            )
        report_foreign(tool.sealed, ORIGIN, f"tools.{at}", losses)
        written.append(entry)
    return written


def _add_strict(function: dict[str, Any], tool: Tool, home: bool, path: str, losses: list[Loss]) -> None:
    """A schema of another protocol's client is put into the words of strict mode, where it has words for it."""
    function["strict"] = tool.strict
    if home or not tool.strict:
        return
    strict = for_strict(tool.schema)
    if strict is None:
        function["strict"] = False
        losses.append(Loss(path, "strict mode has no way to say this schema"))
    else:
        function["parameters"] = strict


def _add_tool_choice(body: dict[str, Any], request: Request, losses: list[Loss]) -> None:
    choice, tuning = request.tuning.tool_choice, request.tuning
    if "tools" not in body:
        if choice is not None and choice.mode in ("any", "tool"):
            losses.append(Loss("tool_choice", "there is no tool to choose"))
        return
    if choice is not None and choice.mode == "tool" and not _offers(body["tools"], choice.name):
        losses.append(Loss("tool_choice", f"there is no tool {choice.name}"))
        choice = ToolChoice("auto")
    match choice:
        case None:
            pass
        case ToolChoice(mode="any"):
            body["tool_choice"] = "required"
        case ToolChoice(mode="tool", name=name):
            body["tool_choice"] = {"type": "function", "function": {"name": name}}
        case ToolChoice(mode=mode):
            body["tool_choice"] = mode
    if tuning.parallel_tools is not None:
        body["parallel_tool_calls"] = tuning.parallel_tools


def _offers(tools: list[Mapping[str, Any]], name: str) -> bool:
    return any((tool.get("function") or tool.get("custom") or {}).get("name") == name for tool in tools)


def _add_tuning(
    body: dict[str, Any],
    request: Request,
    model: Model,
    model_id: str,
    losses: list[Loss],
    manner: Manner,
) -> None:
    tuning, limits = request.tuning, manner.limits
    if tuning.max_tokens is not None:
        _add_max_tokens(body, tuning.max_tokens, model, model_id, losses)
    if tuning.temperature is not None:
        body["temperature"] = tuning.temperature
    if tuning.top_p is not None:
        body["top_p"] = tuning.top_p
    if tuning.top_k is not None and request.protocol != ORIGIN:
        losses.append(Loss("top_k", "this protocol has no such field"))
    if tuning.seed is not None:
        body["seed"] = tuning.seed
    if tuning.stop:
        body["stop"] = list(tuning.stop[: limits.stop_sequences])
        if len(tuning.stop) > limits.stop_sequences:
            losses.append(
                Loss("stop", f"at most {limits.stop_sequences} stop sequences are taken", "converted")
            )
    if tuning.user and len(tuning.user) <= limits.user_length:
        body["user"] = tuning.user
    elif tuning.user:
        losses.append(Loss("user", f"longer than {limits.user_length} characters"))
    if tuning.json_mode:
        body["response_format"] = {"type": "json_object"}
    if tuning.output_schema is not None:
        schema: dict[str, Any] = {
            "name": tuning.output_schema_name or "answer",
            "schema": tuning.output_schema,
        }
        strict = tuning.output_schema_strict
        if strict and request.protocol != ORIGIN:
            worded = for_strict(tuning.output_schema)
            if worded is None:
                losses.append(Loss("output_schema.strict", "strict mode has no way to say this schema"))
            strict, schema["schema"] = worded is not None, worded or tuning.output_schema
        if strict is not None:
            schema["strict"] = strict
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    kept = request.protocol == ORIGIN and (NAMES.kept & tuning.extra.keys() & {"reasoning", "thinking"})
    if tuning.reasoning is not None and not kept:
        effort = effort_for(tuning.reasoning, model, model_id, NAMES, losses)
        if effort:
            body["reasoning_effort"] = effort


def _add_max_tokens(
    body: dict[str, Any], wanted: int, model: Model, model_id: str, losses: list[Loss]
) -> None:
    reasons = NAMES.is_model("completion_tokens", model_id)
    least = NAMES.limits.completion_tokens
    if reasons and wanted < least:
        # A reasoning model thinks inside this limit: with less it would answer nothing at all.
        losses.append(
            Loss("max_tokens", f"raised to {least}, because the model thinks inside it", "converted")
        )
        wanted = least
    if model.output_tokens and wanted > model.output_tokens:
        losses.append(
            Loss(
                "max_tokens", f"lowered to the {model.output_tokens} that {model.name} can write", "converted"
            )
        )
        wanted = model.output_tokens
    body["max_completion_tokens" if reasons else "max_tokens"] = wanted
