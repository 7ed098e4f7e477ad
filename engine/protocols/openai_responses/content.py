"""What messages and tool results are made of, read into parts and written from them.

What clients send and what models write have the same kinds under two names: `input_text` and `output_text`.
What a part holds beyond the common meaning (annotations, log probabilities) is sealed into it; a kind that
only OpenAI has becomes an `Opaque` part as a whole.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Document, Image, Loss, Opaque, Part, Sealed, Text
from engine.protocols.fields import Json, an_object, leftover, string, wrong
from engine.protocols.openai_responses.names import ORIGIN
from engine.protocols.readable import readable
from engine.protocols.sealing import opened, report_foreign, seal

_TEXT = frozenset({"type", "text"})
_IMAGE = frozenset({"type", "image_url", "detail"})
_FILE = frozenset({"type", "file_data", "file_url", "filename"})
_REFUSING = frozenset({ORIGIN, "openai-chat"})  # those who seal a refusal as such
NO_PICTURE = "[an image that could not be carried]"


def read_content(content: Any, path: str) -> tuple[Part, ...]:
    """A message's content or a tool's output: nothing, text, or a list of parts."""
    if type(content) is str:
        return (Text(content),) if content else ()
    if content is None:
        return ()
    if type(content) is not list:
        raise wrong(path, "a string or a list of content parts", content)
    return tuple(read_part(part, path, at) for at, part in enumerate(content))


def read_part(value: Any, inside: str, at: int) -> Part:
    if type(value) is dict and len(value) == 2 and value.get("type") == "input_text":
        text = value.get("text")
        if type(text) is str:
            return Text(text)
    path = f"{inside}.{at}"
    part = an_object(value, path)
    kind = string(part, "type", path, "text" if "text" in part else None)
    match kind:
        case "input_text" | "output_text" | "text":
            return Text(string(part, "text", path), None, seal(ORIGIN, said(leftover(part, _TEXT))))
        case "refusal":
            return Text(string(part, "refusal", path), None, Sealed(ORIGIN, {"type": "refusal"}))
        case "input_image":
            return _read_image(part, path)
        case "input_file":
            return _read_file(part, path)
        case _:
            return Opaque(kind, Sealed(ORIGIN, part))


def said(fields: dict[str, Any]) -> dict[str, Any]:
    """Without the lists that are there only to be empty."""
    return {key: value for key, value in fields.items() if value != []}


def _read_image(part: Json, path: str) -> Image:
    url, detail = string(part, "image_url", path, ""), string(part, "detail", path, "")
    sealed = seal(ORIGIN, leftover(part, _IMAGE))
    media, text = data_url(url)
    if text:
        return Image(media, text, detail=detail, sealed=sealed)
    return Image(url=url, detail=detail, sealed=sealed)


def _read_file(part: Json, path: str) -> Document:
    data, name = string(part, "file_data", path, ""), string(part, "filename", path, "")
    sealed = seal(ORIGIN, leftover(part, _FILE))
    if not data:
        return Document(url=string(part, "file_url", path, ""), name=name, sealed=sealed)
    media, text = data_url(data)
    return Document(media, text or data, name=name, sealed=sealed)


def data_url(url: str) -> tuple[str, str]:
    """Media type and base64 text of a data URL; two empty strings where it is none."""
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return "", ""
    return head[5:].removesuffix(";base64").partition(";")[0], text


def is_refusal(part: Text) -> bool:
    sealed = part.sealed
    return sealed is not None and sealed.origin in _REFUSING and sealed.data.get("type") == "refusal"


def own_fields(part: Text) -> Mapping[str, Any]:
    """What this protocol sealed into a text, but for what belongs to the message around it."""
    return {
        key: value for key, value in opened(part.sealed, ORIGIN).items() if key not in ("message", "type")
    }


# ---- on their way to a provider


def write_part(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    """A part of a user's or system's message, or of a tool's output; None where it cannot be one."""
    written = _part(part, path, losses)
    if written is None:
        return None
    if getattr(part, "cache_control", None) is not None:
        losses.append(Loss(f"{path}.cache_control", "OpenAI caches without being asked"))
    report_foreign(part.sealed, ORIGIN, path, losses)
    own = opened(part.sealed, ORIGIN)
    return written | {key: value for key, value in own.items() if key not in ("message", "type")}


def _part(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text} if text else None
        case Image():
            return _image(part, path, losses)
        case Document():
            return _document(part, path, losses)
        case Opaque(kind=kind, sealed=sealed) if sealed.origin == ORIGIN:
            return {"type": kind}
        case Opaque(kind=kind, sealed=sealed):
            losses.append(
                Loss(path, f"only {sealed.origin} knows content of the kind {kind}", stake="content")
            )
            return None
        case _:
            losses.append(Loss(path, "it has no place in a message of this role", stake="content"))
            return None


def _image(part: Image, path: str, losses: list[Loss]) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
    if part.base64:
        return written | {"image_url": f"data:{part.media_type or 'image/png'};base64,{part.base64}"}
    if part.url:
        return written | {"image_url": part.url}
    if "file_id" in opened(part.sealed, ORIGIN):
        return written
    losses.append(Loss(path, "the image is stored where only its origin can read it", stake="content"))
    return {"type": "input_text", "text": NO_PICTURE}


def _document(part: Document, path: str, losses: list[Loss]) -> dict[str, Any]:
    named = {"filename": part.name} if part.name else {}
    part = part if opened(part.sealed, ORIGIN) else readable(part)
    if part.text:
        title = f' title="{part.name}"' if part.name else ""
        return {"type": "input_text", "text": f"<document{title}>\n{part.text}\n</document>"}
    if part.base64:
        data = f"data:{part.media_type or 'application/pdf'};base64,{part.base64}"
        return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": data}
    if part.url:
        return {"type": "input_file", "file_url": part.url}  # which takes no name beside it
    if "file_id" in opened(part.sealed, ORIGIN):
        return {"type": "input_file"} | named
    losses.append(Loss(path, "the document is stored where only its origin can read it", stake="content"))
    return {"type": "input_text", "text": f"[a document that could not be carried: {part.name or 'unnamed'}]"}
