"""What Anthropic's Messages API refuses, in its own words: checked before a simulated model is asked
anything.

Written from the public API reference and from error replies seen in the wild. Checks stop at the first fault,
as the vendor's do, and the order is roughly the vendor's: fields, then blocks, then how messages fit
together.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from engine.simulator.models import SimulatedModel
from engine.simulator.wire import Refused

_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
_HOSTED = re.compile(r"_\d{8}$")
MEDIA = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}

_TOP_FIELDS = (
    "model messages max_tokens system tools tool_choice temperature top_p top_k stop_sequences stream "
    "metadata "
    "thinking service_tier container output_config inference_geo cache_control speed safeguards"
)
TOP = frozenset(_TOP_FIELDS.split())
# Fields of a beta, and the beginning of the word that must stand in `anthropic-beta`.
BETAS = {
    "context_management": "context-management-",
    "mcp_servers": "mcp-client-",
    "output_format": "structured-",
}

_TOOL_FIELDS = (
    "type name description input_schema cache_control strict defer_loading allowed_callers input_examples "
    "eager_input_streaming"
)
_TOOL = frozenset(_TOOL_FIELDS.split())
_SHARED = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "cache_control", "title", "context", "citations"}),
    "search_result": frozenset({"type", "source", "title", "content", "cache_control", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
# Blocks of hosted tools carry what their vendor put there; they are taken as they come.
_HOSTED_BLOCK = re.compile(
    r"_tool_use$|_tool_result$|^(container_upload|compaction|tool_addition|tool_removal)$"
)
_ROLES = {
    "user": frozenset({"text", "image", "document", "search_result", "tool_result"}),
    "assistant": frozenset({"text", "image", "document", "tool_use", "thinking", "redacted_thinking"}),
    "system": frozenset({"text"}),
}


def refuse(message: str) -> Refused:
    return Refused(400, "invalid_request_error", message)


def signature(text: str) -> str:
    """What a simulated model seals a thought with; it comes back with that thought and no other."""
    seal = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=24).digest()
    return base64.b64encode(b"simulated:" + seal).decode()


def check(body: Mapping[str, Any], model: SimulatedModel, betas: str, counting: bool) -> None:
    """Raises Refused for the first thing the vendor would refuse."""
    _check_fields(body, model, betas, counting)
    _check_tools(body)
    _check_thinking(body, model)
    _check_system(body.get("system"))
    _check_messages(body["messages"], model)
    _check_pairs(body["messages"])
    _check_marks(body)


def _check_fields(body: Mapping[str, Any], model: SimulatedModel, betas: str, counting: bool) -> None:
    for field in body:
        if field not in TOP and BETAS.get(field, "\0") not in betas:
            raise refuse(f"{field}: Extra inputs are not permitted")
    messages = _typed(body, "messages", list, "a valid list")
    if not messages:
        raise refuse("messages: at least one message is required")
    if not counting:
        limit = _typed(body, "max_tokens", int, "a valid integer")
        if limit < 1:
            raise refuse("max_tokens: Input should be greater than or equal to 1")
        if limit > model.output_tokens:
            raise refuse(
                f"max_tokens: {limit} > {model.output_tokens}, which is the maximum allowed number of output "
                f"tokens for {model.id}"
            )
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int | float) or not 0 <= value <= 1):
            raise refuse(f"{name}: range: 0..1")
    both = body.get("temperature") is not None and body.get("top_p") is not None
    if both and "one_sampler" in model.quirks:
        raise refuse(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )
    stops = body.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise refuse("stop_sequences: Input should be a valid list of strings")
    if any(not stop.strip() for stop in stops):
        raise refuse("stop_sequences: each stop sequence must contain non-whitespace")
    if not isinstance(body.get("stream", False), bool):
        raise refuse("stream: Input should be a valid boolean")
    for field in body.get("metadata") or {}:
        if field != "user_id":
            raise refuse(f"metadata.{field}: Extra inputs are not permitted")


def _typed(body: Mapping[str, Any], name: str, kind: type, wording: str) -> Any:
    if name not in body:
        raise refuse(f"{name}: Field required")
    value = body[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise refuse(f"{name}: Input should be {wording}")
    return value


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        raise refuse("tools: Input should be a valid list")
    if choice is not None and not tools:
        raise refuse("tool_choice: may only be specified while providing tools")
    names = [_check_tool(tool, f"tools.{index}") for index, tool in enumerate(tools or [])]
    if len(set(names)) != len(names):
        raise refuse("tools: Tool names must be unique.")
    if choice is None:
        return
    kinds = ("auto", "any", "tool", "none")
    if not isinstance(choice, dict) or choice.get("type") not in kinds:
        raise refuse(f"tool_choice: Input tag does not match any of the expected tags: {', '.join(kinds)}")
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise refuse(f"Tool '{choice.get('name')}' not found in provided tools")
    forced = choice["type"] in ("any", "tool")
    if forced and (body.get("thinking") or {}).get("type") == "enabled":
        raise refuse("Thinking may not be enabled when tool_choice forces tool use.")


def _check_tool(tool: Any, at: str) -> str:
    if not isinstance(tool, dict):
        raise refuse(f"{at}: Input should be a valid dictionary or object to extract fields from")
    kind = tool.get("type", "custom")
    name = tool.get("name")
    if not isinstance(name, str):
        raise refuse(f"{at}.{kind}.name: Field required")
    if kind is not None and _HOSTED.search(kind):
        return name
    if kind not in ("custom", None):
        raise refuse(f"{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    for field in tool:
        if field not in _TOOL:
            raise refuse(f"{at}.custom.{field}: Extra inputs are not permitted")
    if not _NAME.match(name):
        raise refuse(f"{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise refuse(f"{at}.custom.input_schema: Field required")
    if schema.get("type") != "object":
        raise refuse(
            f"{at}.custom.input_schema.type: "
            f"{'Input should be object' if 'type' in schema else 'Field required'}"
        )
    return name


def _check_thinking(body: Mapping[str, Any], model: SimulatedModel) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled", "adaptive"):
        raise refuse(
            "thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
        )
    if kind == "disabled":
        return
    adaptive = "adaptive_thinking" in model.quirks
    if kind == "adaptive" and not adaptive:
        raise refuse("adaptive thinking is not supported on this model")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise refuse("thinking.enabled.budget_tokens: Field required")
        if budget < 1024:
            raise refuse("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body.get("max_tokens", budget + 1):
            raise refuse("`max_tokens` must be greater than `thinking.budget_tokens`")
    if body.get("temperature", 1) != 1:
        raise refuse("`temperature` may only be set to 1 when thinking is enabled")
    if body.get("top_k") is not None:
        raise refuse("`top_k` must be unset when thinking is enabled")


def _check_system(system: Any) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise refuse("system: Input should be a valid string or list")
    for index, block in enumerate(system):
        _check_block(block, "system", f"system.{index}")


def _check_messages(messages: list[Any], model: SimulatedModel) -> None:
    for index, message in enumerate(messages):
        at = f"messages.{index}"
        if not isinstance(message, dict):
            raise refuse(f"{at}: Input should be a valid dictionary or object to extract fields from")
        _check_role(message.get("role"), index, model)
        for field in message:
            if field not in ("role", "content") and "system_messages" not in model.quirks:
                raise refuse(f"{at}.{field}: Extra inputs are not permitted")
        if "content" not in message:
            raise refuse(f"{at}.content: Field required")
        _check_content(message, at, final=index == len(messages) - 1)
    last = messages[-1]
    if last["role"] == "assistant":
        if "no_prefill" in model.quirks:
            raise refuse(
                "This model does not support assistant message prefill. "
                "The conversation must end with a user message."
            )
        text = last["content"] if isinstance(last["content"], str) else last["content"][-1].get("text", "")
        if text != text.rstrip():
            raise refuse("messages: final assistant content cannot end with trailing whitespace")


def _check_role(role: Any, index: int, model: SimulatedModel) -> None:
    if role == "system":
        if "system_messages" in model.quirks and index > 0:
            return
        raise refuse(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.'
        )
    if role not in ("user", "assistant"):
        raise refuse(f"messages.{index}.role: Input should be 'user' or 'assistant'")


def _check_content(message: Mapping[str, Any], at: str, final: bool) -> None:
    content = message["content"]
    if isinstance(content, str):
        if not content and not (final and message["role"] == "assistant"):
            raise refuse(f"{at}: {message['role']} messages must have non-empty content")
        return
    if not isinstance(content, list):
        raise refuse(f"{at}.content: Input should be a valid string or list")
    may_be_empty = (final and message["role"] == "assistant") or "output_config" in message
    if not content and not may_be_empty:
        raise refuse(f"{at}: {message['role']} messages must have non-empty content")
    for number, block in enumerate(content):
        _check_block(block, message["role"], f"{at}.content.{number}")


def _check_block(block: Any, role: str, at: str) -> None:
    if not isinstance(block, dict):
        raise refuse(f"{at}: Input should be a valid dictionary or object to extract fields from")
    kind = block.get("type")
    if isinstance(kind, str) and _HOSTED_BLOCK.search(kind) and kind not in _SHARED:
        return
    if kind not in _ROLES[role]:
        tags = ", ".join(f"'{each}'" for each in sorted(_ROLES[role]))
        raise refuse(
            f"{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        )
    for field in block:
        if field not in _SHARED[kind]:
            raise refuse(f"{at}.{kind}.{field}: Extra inputs are not permitted")
    match kind:
        case "text":
            _check_text(block, at)
        case "image":
            _check_image(block, at)
        case "document":
            if not isinstance(block.get("source"), dict):
                raise refuse(f"{at}.document.source: Field required")
        case "tool_use":
            _check_call(block, at)
        case "tool_result":
            _check_result(block, at)
        case "thinking":
            _check_thought(block, at)
        case "redacted_thinking":
            if not isinstance(block.get("data"), str):
                raise refuse(f"{at}.redacted_thinking.data: Field required")


def _check_text(block: Mapping[str, Any], at: str) -> None:
    text = block.get("text")
    if not isinstance(text, str):
        raise refuse(
            f"{at}.text.text: {'Input should be a valid string' if 'text' in block else 'Field required'}"
        )
    if not text:
        raise refuse(f"{at.split('.', 1)[0]}: text content blocks must be non-empty")
    if not text.strip():
        raise refuse(f"{at.split('.', 1)[0]}: text content blocks must contain non-whitespace text")


def _check_image(block: Mapping[str, Any], at: str) -> None:
    source = block.get("source")
    if not isinstance(source, dict):
        raise refuse(f"{at}.image.source: Field required")
    match source.get("type"):
        case "base64":
            if source.get("media_type") not in MEDIA:
                allowed = "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
                raise refuse(f"{at}.image.source.base64.media_type: Input should be {allowed}")
            try:
                data = base64.b64decode(source.get("data", ""), validate=True)
            except (binascii.Error, ValueError, TypeError):
                raise refuse(f"{at}.image.source.base64: invalid base64 data") from None
            if not data:
                raise refuse(f"{at}.image.source.base64.data: image cannot be empty")
            real = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
            if real not in (None, source["media_type"]):
                raise refuse(
                    f"{at}.image.source.base64.data: The image was specified using the "
                    f"{source['media_type']} "
                    f"media type, but the image appears to be a {real} image"
                )
        case "url":
            if not str(source.get("url", "")).startswith(("https://", "http://")):
                raise refuse(f"{at}.image.source.url.url: Only HTTPS URLs are supported.")
        case "file":
            pass
        case kind:
            raise refuse(
                f"{at}.image.source: Input tag '{kind}' found using 'type' does not match any of the "
                "expected tags: 'base64', 'file', 'url'"
            )


def _check_call(block: Mapping[str, Any], at: str) -> None:
    for field in ("id", "name", "input"):
        if field not in block:
            raise refuse(f"{at}.tool_use.{field}: Field required")
    if not isinstance(block["id"], str) or not _ID.match(block["id"]):
        raise refuse(f"{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block["name"], str) or not 1 <= len(block["name"]) <= 200:
        raise refuse(f"{at}.tool_use.name: String should have at least 1 character and at most 200")
    if not isinstance(block["input"], dict):
        raise refuse(f"{at}.tool_use.input: Input should be a valid dictionary")


def _check_result(block: Mapping[str, Any], at: str) -> None:
    if not isinstance(block.get("tool_use_id"), str):
        raise refuse(f"{at}.tool_result.tool_use_id: Field required")
    content = block.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise refuse(f"{at}.tool_result.content: Input should be a valid string or list")
    for number, inner in enumerate(content):
        kind = inner.get("type") if isinstance(inner, dict) else None
        if kind not in ("text", "image", "document", "search_result", "tool_reference"):
            raise refuse(
                f"{at}.tool_result.content.{number}: Input tag '{kind}' does not match any of the expected "
                "tags"
            )
        if kind != "tool_reference":
            _check_block(inner, "user", f"{at}.tool_result.content.{number}")


def _check_thought(block: Mapping[str, Any], at: str) -> None:
    for field in ("thinking", "signature"):
        if not isinstance(block.get(field), str):
            raise refuse(f"{at}.thinking.{field}: Field required")
    try:
        known = base64.b64decode(block["signature"], validate=True).startswith(b"simulated:")
    except (binascii.Error, ValueError):
        known = False
    # A thought whose text was withheld is checked by its seal alone.
    if not known or (block["thinking"] and block["signature"] != signature(block["thinking"])):
        raise refuse(f"{at}: Invalid `signature` in `thinking` block")


def _check_pairs(messages: list[Any]) -> None:
    """Calls and results answer each other in neighbouring turns; messages of one role in a row are one
    turn."""
    waiting: list[str] = []
    for index, role, blocks in _turns(messages):
        results = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
        leading = _leading_results(blocks)
        for number, block in enumerate(blocks):
            if block.get("type") == "tool_result" and block["tool_use_id"] not in waiting:
                raise refuse(
                    f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` "
                    "blocks: "
                    f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` "
                    "block "
                    "in the previous message."
                )
        missing = [call for call in waiting if call not in leading]
        if role == "user" and missing:
            raise refuse(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
                "after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block "
                "in the "
                "next message."
            )
        if len(set(results)) != len(results):
            raise refuse(
                f"messages.{index}.content: each tool_use must have a single result. "
                "Found multiple `tool_result` blocks for one id."
            )
        waiting = [block["id"] for block in blocks if block.get("type") == "tool_use"]
        # Only within a turn: recorded conversations that used an id twice were accepted.
        if len(set(waiting)) != len(waiting):
            raise refuse("messages: `tool_use` ids must be unique")
    if waiting:
        raise refuse(
            f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks "
            "immediately "
            f"after: {', '.join(waiting)}."
        )


def _leading_results(blocks: list[dict[str, Any]]) -> set[str]:
    """Results count only where they stand before everything else of their turn."""
    leading = set()
    for block in blocks:
        if block.get("type") != "tool_result":
            break
        leading.add(block["tool_use_id"])
    return leading


def _turns(messages: list[Any]) -> Iterator[tuple[int, str, list[dict[str, Any]]]]:
    index = 0
    while index < len(messages):
        start, role = index, messages[index]["role"]
        blocks: list[dict[str, Any]] = []
        while index < len(messages) and messages[index]["role"] == role:
            content = messages[index]["content"]
            blocks += [{"type": "text", "text": content}] if isinstance(content, str) else content
            index += 1
        if role != "system":
            yield start, role, blocks


def loop_lost_its_thinking(body: Mapping[str, Any]) -> bool:
    """Whether a tool loop is open whose turn does not begin with thinking: the vendor then answers without any."""
    turns = list(_turns(body["messages"]))
    if len(turns) < 2 or not any(block.get("type") == "tool_result" for block in turns[-1][2]):
        return False
    before = turns[-2][2]
    return not before or before[0].get("type") not in ("thinking", "redacted_thinking")


def _check_marks(body: Mapping[str, Any]) -> None:
    marks = [mark for mark in _marks(body) if mark is not None]
    for mark in marks:
        if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
            raise refuse("cache_control.type: Input should be 'ephemeral'")
        if mark.get("ttl", "5m") not in ("5m", "1h"):
            raise refuse("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
    if len(marks) > 4:
        raise refuse(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")


def _marks(body: Mapping[str, Any]) -> Iterator[Any]:
    places: list[Any] = [body, *(body.get("tools") or [])]
    if isinstance(body.get("system"), list):
        places += body["system"]
    for message in body["messages"]:
        if isinstance(message["content"], list):
            places += message["content"]
            for block in message["content"]:
                if block.get("type") == "tool_result" and isinstance(block.get("content"), list):
                    places += block["content"]
    return (place["cache_control"] for place in places if place.get("cache_control") is not None)
