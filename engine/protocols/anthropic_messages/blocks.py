"""Anthropic's content blocks, read into parts and written from them. The same both ways of a call.

What a block holds beyond the common meaning (citations, a file id, who called a tool) is sealed into its
part; a block of a kind that only Anthropic has becomes an `Opaque` part as a whole.
"""

from typing import Any

from engine import wire
from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Opaque,
    Part,
    Sealed,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from engine.core.errors import RequestError
from engine.protocols.arguments import as_object
from engine.protocols.fields import Json, an_object, leftover, maybe_object, string, wrong
from engine.protocols.readable import readable
from engine.protocols.sealing import from_signature, is_ours, opened, report_foreign, seal

ORIGIN = "anthropic-messages"

_TEXT = frozenset({"type", "text", "cache_control"})
_SOURCED = frozenset({"type", "source", "cache_control"})
_DOCUMENT = frozenset({"type", "source", "title", "cache_control"})
_THINKING = frozenset({"type", "thinking", "signature"})
_TOOL_USE = frozenset({"type", "id", "name", "input", "cache_control"})
_READ_INLINE = frozenset({"", "application/pdf"})  # of documents in base64
_TOOL_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})


def read_content(content: Any, path: str) -> tuple[Part, ...]:
    """A message's content: text, or a list of blocks."""
    if type(content) is str:
        return (Text(content),) if content else ()
    if type(content) is not list:
        raise wrong(path, "a string or a list of content blocks", content)
    return tuple([_read_plain(block) or _read_block(block, path, at) for at, block in enumerate(content)])


def read_block(block: Any, inside: str, at: int) -> Part:
    """One block; `inside` and `at` name its place, which is spelled out only where something is wrong."""
    return _read_plain(block) or _read_block(block, inside, at)


def _read_block(block: Any, inside: str, at: int) -> Part:
    path = f"{inside}.{at}"
    block = an_object(block, path)
    match string(block, "type", path):
        case "text":
            extra = seal(ORIGIN, leftover(block, _TEXT))
            return Text(string(block, "text", path), maybe_object(block, "cache_control", path), extra)
        case "tool_use":
            return _read_call(block, path)
        case "tool_result":
            return _read_result(block, path)
        case "thinking":
            return _read_thinking(block, path)
        case "redacted_thinking":
            return Thinking("", Sealed(ORIGIN, {"data": string(block, "data", path)}))
        case "image":
            return _read_image(block, path)
        case "document":
            return _read_document(block, path)
        case other:
            return Opaque(other, Sealed(ORIGIN, block))


def _read_plain(block: Any) -> Part | None:
    """A block of the commonest shapes, with exactly their fields: nearly all of a long conversation. None for
    every other, which is then read with care."""
    if type(block) is not dict:
        return None
    get, size = block.get, len(block)
    kind = get("type")
    if kind == "text":
        text = get("text")
        return Text(text) if size == 2 and type(text) is str else None
    if kind == "tool_use":
        call, name, arguments = get("id"), get("name"), get("input")
        if size == 4 and type(call) is str and type(name) is str and type(arguments) is dict:
            try:
                return ToolCall(call, name, wire.dumps(arguments).decode())
            except ValueError:  # it nests too deeply, which is told with its place
                return None
    elif kind == "tool_result":
        call, text = get("tool_use_id"), get("content")
        failed = get("is_error") is True
        if size == 3 + ("is_error" in block) and type(call) is str and type(text) is str:
            return ToolResult(call, (Text(text),) if text else (), failed)
    return None


def _read_call(block: Json, path: str) -> ToolCall:
    arguments = block.get("input")
    if arguments is None:
        arguments = {}
    try:
        text = wire.dumps(arguments).decode() if arguments else "{}"
    except ValueError as error:
        raise RequestError(f"{path}.input nests too deeply to be sent on: {error}") from error
    return ToolCall(
        string(block, "id", path, ""),
        string(block, "name", path),
        text,
        maybe_object(block, "cache_control", path),
        seal(ORIGIN, leftover(block, _TOOL_USE)),
    )


def _read_result(block: Json, path: str) -> ToolResult:
    content = block.get("content")
    return ToolResult(
        string(block, "tool_use_id", path),
        () if content is None else read_content(content, f"{path}.content"),
        block.get("is_error") is True,
        maybe_object(block, "cache_control", path),
        seal(ORIGIN, leftover(block, _TOOL_RESULT)),
    )


def _read_thinking(block: Json, path: str) -> Thinking:
    signature = string(block, "signature", path, "")
    data = leftover(block, _THINKING)
    if is_ours(signature):
        return Thinking(string(block, "thinking", path), from_signature(signature))
    if signature:
        data["signature"] = signature
    return Thinking(string(block, "thinking", path), seal(ORIGIN, data))


def _read_image(block: Json, path: str) -> Image:
    source = an_object(block.get("source"), f"{path}.source")
    mark = maybe_object(block, "cache_control", path)
    extra = leftover(block, _SOURCED)
    match string(source, "type", f"{path}.source"):
        case "base64":
            media, text = (
                string(source, "media_type", f"{path}.source"),
                string(source, "data", f"{path}.source"),
            )
            return Image(media, text, cache_control=mark, sealed=seal(ORIGIN, extra))
        case "url":
            url = string(source, "url", f"{path}.source")
            return Image(url=url, cache_control=mark, sealed=seal(ORIGIN, extra))
        case _:
            return Image(cache_control=mark, sealed=Sealed(ORIGIN, {**extra, "source": source}))


def _read_document(block: Json, path: str) -> Document:
    at = f"{path}.source"
    source = an_object(block.get("source"), at)
    mark = maybe_object(block, "cache_control", path)
    name = string(block, "title", path, "")
    extra = leftover(block, _DOCUMENT)
    match string(source, "type", at):
        case "base64":
            media, text = string(source, "media_type", at), string(source, "data", at)
            return Document(media, text, name=name, cache_control=mark, sealed=seal(ORIGIN, extra))
        case "text":
            media, text = string(source, "media_type", at, "text/plain"), string(source, "data", at)
            return Document(media, text=text, name=name, cache_control=mark, sealed=seal(ORIGIN, extra))
        case "url":
            url = string(source, "url", at)
            return Document(url=url, name=name, cache_control=mark, sealed=seal(ORIGIN, extra))
        case _:
            sealed = Sealed(ORIGIN, {**extra, "source": source})
            return Document(name=name, cache_control=mark, sealed=sealed)


def write_block(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    """A part as a block for Anthropic; None where it cannot be one, which is reported."""
    block = _block(part, path, losses)
    if block is None:
        return None
    mark = getattr(part, "cache_control", None)
    if mark is not None:
        block["cache_control"] = mark
    block |= opened(part.sealed, ORIGIN)
    report_foreign(part.sealed, ORIGIN, path, losses)
    return block


def _block(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            if text.strip():  # text of nothing but space is refused
                return {"type": "text", "text": text}
            return None
        case ToolCall(id=call_id, name=name, arguments=arguments):
            return {
                "type": "tool_use",
                "id": call_id,
                "name": name,
                "input": as_object(arguments, path, losses),
            }
        case ToolResult():
            return _result(part, path, losses)
        case Thinking():
            return _thinking(part, path, losses)
        case Image():
            return _sourced("image", _image_source(part), part, path, losses)
        case Document(base64=data) if data and (words := readable(part)) is not part:
            return _block(words, path, losses)
        case Document(media_type=media, base64=data) if data and media not in _READ_INLINE:
            losses.append(Loss(path, f"documents of the type {media} are not read there", stake="content"))
            return {"type": "text", "text": f"[a document that could not be carried: {part.name or media}]"}
        case Document(name=name):
            block = _sourced("document", _document_source(part), part, path, losses)
            if block is not None and name:
                block["title"] = name
            return block
        case Opaque(kind=kind, sealed=sealed):
            if sealed.origin == ORIGIN:
                return {"type": kind}
            losses.append(
                Loss(path, f"only {sealed.origin} knows content of the kind {kind}", stake="content")
            )
            return None


def _result(part: ToolResult, path: str, losses: list[Loss]) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    match part.parts:
        case ():
            pass
        case (Text(text=text, cache_control=None, sealed=None),):
            block["content"] = text
        case parts:
            written = (write_block(inner, f"{path}.content.{at}", losses) for at, inner in enumerate(parts))
            block["content"] = [inner for inner in written if inner is not None]
    if part.is_error:
        block["is_error"] = True
    return block


def _thinking(part: Thinking, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    # A thinking without Anthropic's own signature is refused, so it stays behind.
    data = opened(part.sealed, ORIGIN)
    if "data" in data:
        return {"type": "redacted_thinking"}
    if data.get("signature"):
        return {"type": "thinking", "thinking": part.text}
    losses.append(Loss(path, "thinking without Anthropic's signature is refused there", stake="sealed"))
    return None


def _sourced(
    kind: str, source: Json | None, part: Image | Document, path: str, losses: list[Loss]
) -> dict[str, Any] | None:
    if source is not None:
        return {"type": kind, "source": source}
    if "source" in opened(part.sealed, ORIGIN):
        return {"type": kind}
    losses.append(Loss(path, f"the {kind} is stored where only its origin can read it", stake="content"))
    return None


def _image_source(part: Image) -> Json | None:
    if part.base64:
        return {"type": "base64", "media_type": part.media_type or "image/png", "data": part.base64}
    return {"type": "url", "url": part.url} if part.url else None


def _document_source(part: Document) -> Json | None:
    if part.base64:
        return {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.base64}
    if part.url:
        return {"type": "url", "url": part.url}
    return {"type": "text", "media_type": "text/plain", "data": part.text} if part.text else None
