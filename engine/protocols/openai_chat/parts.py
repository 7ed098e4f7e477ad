"""What OpenAI Chat messages are made of, read into parts and written from them.

Reasoning has no place in OpenAI's own protocol; those who speak it have three: `reasoning_content`
(DeepSeek, Z.AI, vLLM), `reasoning` (Groq, Ollama), and `reasoning_details` (OpenRouter), where signatures
travel too. A thinking remembers in `sealed` which fields it came in and goes back in the same ones;
Anthropic's signatures are read and written in the form that OpenRouter gave them.
"""

from collections.abc import Mapping
from typing import Any

from engine import wire
from engine.core.conversation import Document, Image, Loss, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import RequestError
from engine.protocols.fields import Json, an_object, leftover, maybe_list, maybe_object, string, wrong
from engine.protocols.readable import readable
from engine.protocols.sealing import from_signature, opened, report_foreign, seal, to_signature
from engine.protocols.turns import made_id

ORIGIN = "openai-chat"
ANTHROPIC = "anthropic-messages"
ANTHROPIC_FORMAT = "anthropic-claude-v1"
CARRIED_FORMAT = "weave-v1"  # details that hold another vendor's sealed data, in our own wrapping

_TEXT = frozenset({"type", "text", "cache_control"})
_IMAGE = frozenset({"type", "image_url", "cache_control"})
_FILE = frozenset({"type", "file", "cache_control"})
_CALL = frozenset({"id", "type", "index", "function", "custom"})
REASONING_FIELDS = ("reasoning_content", "reasoning")


def read_content(content: Any, path: str) -> tuple[Part, ...]:
    """A message's content: nothing, text, or a list of parts."""
    if type(content) is str:
        return (Text(content),) if content else ()
    if content is None:
        return ()
    if type(content) is not list:
        raise wrong(path, "a string or a list of content parts", content)
    return tuple(read_part(part, f"{path}.{at}") for at, part in enumerate(content))


def read_part(value: Any, path: str) -> Part:
    part = an_object(value, path)
    mark = maybe_object(part, "cache_control", path)
    match string(part, "type", path):
        case "text":
            return Text(string(part, "text", path), mark, seal(ORIGIN, leftover(part, _TEXT)))
        case "image_url":
            return _read_image(part, path, mark)
        case "file":
            return _read_file(part, path, mark)
        case "document_url":  # Mistral
            url = part.get("document_url")
            if type(url) is str:
                return document_at(url, "", mark, {"type": "document_url"})
            return Opaque("document_url", Sealed(ORIGIN, part))
        case "refusal":
            return Text(string(part, "refusal", path), None, Sealed(ORIGIN, {"type": "refusal"}))
        case "thinking":  # Mistral
            return Thinking(_spoken(part.get("thinking")), Sealed(ORIGIN, {"content": part}))
        case kind:
            return Opaque(kind, Sealed(ORIGIN, part))


def _spoken(thinking: Any) -> str:
    if type(thinking) is str:
        return thinking
    pieces = thinking if type(thinking) is list else []
    return "".join(str(piece.get("text") or "") for piece in pieces if type(piece) is dict)


def _read_image(part: Json, path: str, mark: Json | None) -> Image:
    at = f"{path}.image_url"
    image = part.get("image_url")
    if type(image) is str:  # Mistral and others take the bare address
        image = {"url": image}
    image = an_object(image, at)
    url, detail = string(image, "url", at), string(image, "detail", at, "")
    rest = leftover(part, _IMAGE)
    more = leftover(image, {"url", "detail"})
    sealed = seal(ORIGIN, rest | ({"image_url": more} if more else {}))
    media, text = data_url(url)
    if text:
        return Image(media, text, detail=detail, cache_control=mark, sealed=sealed)
    return Image(url=url, detail=detail, cache_control=mark, sealed=sealed)


def _read_file(part: Json, path: str, mark: Json | None) -> Document:
    file = an_object(part.get("file"), f"{path}.file")
    name = string(file, "filename", f"{path}.file", "")
    rest = leftover(part, _FILE)
    more = leftover(file, {"file_data", "filename"})
    if more:
        rest["file"] = more
    return document_at(string(file, "file_data", f"{path}.file", ""), name, mark, rest)


def document_at(url: str, name: str, mark: Json | None, rest: Mapping[str, Any]) -> Document:
    media, text = data_url(url)
    if text:
        return Document(media, text, name=name, cache_control=mark, sealed=seal(ORIGIN, rest))
    return Document(url=url, name=name, cache_control=mark, sealed=seal(ORIGIN, rest))


def data_url(url: str) -> tuple[str, str]:
    """Media type and base64 text of a data URL; two empty strings where it is none."""
    if not url.startswith("data:"):
        return "", ""
    head, _, text = url[5:].partition(",")
    if not head.endswith(";base64"):
        return "", ""
    return head.removesuffix(";base64").partition(";")[0], text


# ---- tool calls


def read_calls(message: Json, path: str, seed: str = "") -> list[ToolCall]:
    """The calls of an assistant's message. `seed` makes ids for calls that have none."""
    calls = [
        read_call(call, f"{path}.tool_calls.{at}", f"{seed}\0{at}")
        for at, call in enumerate(maybe_list(message, "tool_calls", path))
    ]
    old = message.get("function_call")
    if type(old) is dict and old.get("name"):
        name = string(old, "name", f"{path}.function_call")
        calls.append(ToolCall(name, name, arguments_text(old.get("arguments"))))
    return calls


def read_call(value: Any, path: str, seed: str) -> ToolCall:
    call = an_object(value, path)
    call_id = string(call, "id", path, "") or made_id(seed)
    extra = leftover(call, _CALL)
    if call.get("type") == "custom":
        custom = an_object(call.get("custom"), f"{path}.custom")
        arguments = wire.dumps({"input": string(custom, "input", f"{path}.custom", "")}).decode()
        sealed = Sealed(ORIGIN, extra | {"type": "custom"})
        return ToolCall(call_id, string(custom, "name", f"{path}.custom"), arguments, None, sealed)
    function = an_object(call.get("function"), f"{path}.function")
    name = string(function, "name", f"{path}.function")
    if not name:
        raise RequestError(f"{path}.function.name: a tool call needs a name")
    return ToolCall(call_id, name, arguments_text(function.get("arguments")), None, seal(ORIGIN, extra))


def arguments_text(arguments: Any) -> str:
    if type(arguments) is str:
        return arguments or "{}"
    return "{}" if arguments is None else wire.dumps(arguments).decode()


def write_call(call: ToolCall, call_id: str) -> dict[str, Any]:
    own = dict(opened(call.sealed, ORIGIN))
    if own.pop("type", "") == "custom":
        return {
            "id": call_id,
            "type": "custom",
            "custom": {"name": call.name, "input": _custom_input(call)},
        } | own
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call_id, "type": "function", "function": function} | own


def _custom_input(call: ToolCall) -> str:
    try:
        text = wire.loads(call.arguments)["input"]
    except (ValueError, KeyError, TypeError):
        return call.arguments
    return text if isinstance(text, str) else call.arguments


# ---- reasoning


def read_reasoning(message: Json) -> list[Thinking]:
    """The thinking of an assistant's message, from whichever of the three fields are there."""
    field, text = "", ""
    for name in REASONING_FIELDS:
        value = message.get(name)
        if type(value) is str and value:
            field, text = name, value
            break
    details = message.get("reasoning_details")
    if type(details) is not list or not details:
        return [Thinking(text, Sealed(ORIGIN, {"field": field}))] if text else []
    return thinkings(details, field, text)


def thinkings(details: list[Any], field: str, text: str) -> list[Thinking]:
    """Details become one thinking, or one for each that another vendor signed. `text` is what came beside them."""
    signed = [_signed(detail) for detail in details if type(detail) is dict]
    if signed and all(one is not None for one in signed):
        found = [one for one in signed if one is not None]
        if len(found) == 1 and not found[0].text and "data" not in opened(found[0].sealed, ANTHROPIC):
            found = [Thinking(text, found[0].sealed)]
        return found
    whole = text or "".join(
        str(detail.get("text") or detail.get("summary") or "") for detail in details if type(detail) is dict
    )
    data: dict[str, Any] = {"reasoning_details": details}
    if field:
        data["field"] = field
    return [Thinking(whole, Sealed(ORIGIN, data))]


def _signed(detail: Json) -> Thinking | None:
    """A detail that carries another vendor's thinking, sealed or not."""
    text, form = detail.get("text"), detail.get("format")
    text = text if type(text) is str else ""
    if form == CARRIED_FORMAT:
        cipher = detail.get("data") or detail.get("signature")
        return Thinking(text, from_signature(cipher) if type(cipher) is str else None)
    if form != ANTHROPIC_FORMAT:
        return None
    if type(detail.get("signature")) is str:
        return Thinking(text, Sealed(ANTHROPIC, {"signature": detail["signature"]}))
    if detail.get("type") == "reasoning.encrypted" and type(detail.get("data")) is str:
        return Thinking("", Sealed(ANTHROPIC, {"data": detail["data"]}))
    return None


def is_signed(detail: Any) -> bool:
    """Whether a detail ends a thinking that another vendor sealed."""
    return type(detail) is dict and _signed(detail) is not None


def write_detail(thinking: Thinking, index: int) -> dict[str, Any] | None:
    """The detail that carries another vendor's thinking to a client, so that it stays apart from those around it; None
    where it is this protocol's own."""
    sealed = thinking.sealed
    if sealed is None:
        unsealed = {"type": "reasoning.text", "text": thinking.text, "format": CARRIED_FORMAT, "index": index}
        return unsealed if thinking.text else None
    if sealed.origin == ORIGIN:
        return None
    data = opened(sealed, ANTHROPIC)
    if data.keys() == {"data"}:
        return {
            "type": "reasoning.encrypted",
            "data": data["data"],
            "format": ANTHROPIC_FORMAT,
            "index": index,
        }
    detail: dict[str, Any] = {"type": "reasoning.text", "text": thinking.text, "index": index}
    if data.keys() == {"signature"}:
        return detail | {"signature": data["signature"], "format": ANTHROPIC_FORMAT}
    return detail | {"signature": to_signature(sealed), "format": CARRIED_FORMAT}


def write_reasoning(thinkings: list[tuple[str, Thinking]], losses: list[Loss]) -> dict[str, Any]:
    """The fields of an assistant's message on its way to a provider: only what this protocol's vendors wrote."""
    texts: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for path, thinking in thinkings:
        data = opened(thinking.sealed, ORIGIN)
        if not data:
            losses.append(Loss(path, "thinking belongs to the vendor that wrote it", stake="sealed"))
            continue
        if "content" in data:
            fields.setdefault("content", []).append(data["content"])
            continue
        fields["reasoning_details"] = [
            *fields.get("reasoning_details", ()),
            *data.get("reasoning_details", ()),
        ]
        field = data.get("field", "" if "reasoning_details" in data else "reasoning_content")
        if field:
            texts[field] = texts.get(field, "") + thinking.text
    if not fields.get("reasoning_details"):
        fields.pop("reasoning_details", None)
    return fields | texts


# ---- content on its way out


def write_part(
    part: Part, path: str, losses: list[Loss], *, home: bool, marks: bool
) -> dict[str, Any] | None:
    """A part of a user's or system's message; None where it cannot be one. `home` says that the request came in
    this protocol, `marks` that cache marks mean something to this provider."""
    written = _part(part, path, losses, home)
    if written is None:
        return None
    mark = getattr(part, "cache_control", None)
    if mark is not None and marks:
        written["cache_control"] = mark
    elif mark is not None:
        losses.append(Loss(f"{path}.cache_control", "this protocol's vendors cache without being asked"))
    sealed = part.sealed
    if sealed is None:
        return written
    report_foreign(sealed, ORIGIN, path, losses)
    for key, value in opened(sealed, ORIGIN).items():
        if key in ("file", "image_url") and isinstance(value, dict):
            if key in written:  # or it could not be carried, and something stands in its place
                written[key] = {**written[key], **value}
        elif key != "message":
            written[key] = value
    return written


def _part(part: Part, path: str, losses: list[Loss], home: bool) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            if opened(part.sealed, ORIGIN).get("type") == "refusal":
                return {"type": "refusal", "refusal": text}
            return {"type": "text", "text": text} if text else None
        case Image():
            url = part.url or (
                f"data:{part.media_type or 'image/png'};base64,{part.base64}" if part.base64 else ""
            )
            if not url:
                losses.append(
                    Loss(path, "the image is stored where only its origin can read it", stake="content")
                )
                return {"type": "text", "text": "[an image that could not be carried]"}
            image = {"url": url, "detail": part.detail} if part.detail else {"url": url}
            return {"type": "image_url", "image_url": image}
        case Document():
            return _document(part, path, losses, home)
        case Opaque(kind=kind, sealed=sealed) if sealed.origin == ORIGIN:
            return {"type": kind}
        case Opaque(kind=kind, sealed=sealed):
            losses.append(
                Loss(path, f"only {sealed.origin} knows content of the kind {kind}", stake="content")
            )
            return None
        case Thinking() | ToolCall():
            losses.append(Loss(path, "it has no place in a message of this role", stake="content"))
            return None
        case _:
            return None


def _document(part: Document, path: str, losses: list[Loss], home: bool) -> dict[str, Any]:
    own = opened(part.sealed, ORIGIN)
    if own.get("type") == "document_url":
        url = part.url or f"data:{part.media_type};base64,{part.base64}"
        return {"type": "document_url", "document_url": url}
    part = part if home else readable(part)
    if part.text:
        title = f' title="{part.name}"' if part.name else ""
        return {"type": "text", "text": f"<document{title}>\n{part.text}\n</document>"}
    if part.base64:
        data = f"data:{part.media_type or 'application/pdf'};base64,{part.base64}"
        return {"type": "file", "file": {"filename": part.name or "document.pdf", "file_data": data}}
    if "file" in own or (home and part.url):
        file = {"filename": part.name} if part.name else {}
        return {"type": "file", "file": file | ({"file_data": part.url} if part.url else {})}
    losses.append(Loss(path, "a document can only be sent inline here", stake="content"))
    where = part.url or part.name or "stored at its vendor"
    return {"type": "text", "text": f"[a document that could not be carried: {where}]"}
