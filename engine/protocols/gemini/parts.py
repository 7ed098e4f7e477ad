"""Gemini's parts, read into canonical parts and written from them. The same both ways of a call.

Google takes every field in camelCase and in snake_case, and base64 in both of its alphabets; both are read.
What a part holds beyond the common meaning is sealed into it; a part of a kind that only Gemini has (code it
ran, searches, audio and video) becomes an `Opaque` as a whole.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error
from typing import Any

from engine import wire
from engine.core.conversation import Document, Image, Loss, Opaque, Part, Sealed, Text, Thinking, ToolCall
from engine.core.errors import RequestError
from engine.protocols.arguments import as_object
from engine.protocols.fields import Json, an_object, leftover, maybe_object, string, wrong
from engine.protocols.gemini.signatures import ORIGIN, read_signature
from engine.protocols.readable import is_text
from engine.protocols.sealing import opened, report_foreign, seal
from engine.protocols.turns import made_id

_TEXT = frozenset({"text", "thought", "thoughtSignature"})
_CALL_PART = frozenset({"functionCall", "thoughtSignature"})
_CALL = frozenset({"id", "name", "args"})
_BLOB = frozenset({"mimeType", "data"})
_FILE = frozenset({"mimeType", "fileUri"})
_STANDARD = str.maketrans("-_", "+/")
_WORD = re.compile(r"_([a-z0-9])")

# Files only Google itself can fetch.
_GOOGLES_OWN = ("gs://", "https://generativelanguage.googleapis.com/", "https://aiplatform.googleapis.com/")
_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown",
    "html": "text/html", "csv": "text/csv",
}  # fmt: skip


def named(holder: Json) -> Json:
    """An object with its keys in camelCase, whichever way they are written."""
    if "_" not in "".join(holder):
        return holder
    return {_WORD.sub(lambda match: match[1].upper(), key): value for key, value in holder.items()}


def read_plain(value: Any) -> list[Part] | None:
    """A part of the two commonest shapes, with exactly their fields: a text, and a call, signed or not. None for
    every other, which is then read with care."""
    if type(value) is not dict:
        return None
    text, call = value.get("text"), value.get("functionCall")
    if type(text) is str:
        return [Text(text)] if text and len(value) == 1 else None
    if type(call) is not dict or call.keys() != _CALL:
        return None
    call_id, name, args = call["id"], call["name"], call["args"]
    if type(call_id) is not str or not call_id or type(name) is not str or not name or type(args) is not dict:
        return None
    found = ToolCall(call_id, name, arguments_text(args))
    if len(value) == 1:
        return [found]
    signature = value.get("thoughtSignature")
    if len(value) > 2 or type(signature) is not str:
        return None
    sealed = read_signature(signature, call_id)
    return [found] if sealed is None else [Thinking("", sealed), found]


def read_part(value: Any, path: str, seed: str) -> list[Part]:
    """The canonical parts of one part: itself, and its signature where it has one. `seed` makes the id of a call
    that has none."""
    part = named(an_object(value, path))
    if "functionCall" in part:
        return _read_call(part, path, seed)
    if part.get("inlineData") is not None:
        return [_read_blob(part, path)]
    if part.get("fileData") is not None:
        return [_read_file(part, path)]
    if part.keys() <= _TEXT:
        return _read_text(part, path)
    text = part.get("text")
    if text is not None and not (part.keys() - _TEXT - {"partMetadata", "mediaResolution"}):
        return _read_text(part, path)
    kind = next((key for key in part if key not in _TEXT), "")
    return [Opaque(kind, Sealed(ORIGIN, part))]


def _read_text(part: Json, path: str) -> list[Part]:
    if not part:
        raise wrong(path, "a part with something in it", part)
    sealed = read_signature(string(part, "thoughtSignature", path, ""))
    text = string(part, "text", path, "" if "thoughtSignature" in part else None)
    if part.get("thought") is True:
        return [Thinking(text, sealed)] if text or sealed is not None else []
    found: list[Part] = [Text(text)] if text else []
    return found if sealed is None else [*found, Thinking("", sealed)]


def _read_call(part: Json, path: str, seed: str) -> list[Part]:
    call = named(an_object(part["functionCall"], f"{path}.functionCall"))
    name = string(call, "name", f"{path}.functionCall")
    if not name:
        raise RequestError(f"{path}.functionCall.name: a call needs a name")
    call_id = string(call, "id", f"{path}.functionCall", "") or made_id(seed)
    args = call.get("args")
    rest = leftover(part, _CALL_PART) | leftover(call, _CALL)
    found = ToolCall(call_id, name, arguments_text(args), None, seal(ORIGIN, rest))
    sealed = read_signature(string(part, "thoughtSignature", path, ""), call_id)
    return [found] if sealed is None else [Thinking("", sealed), found]


def arguments_text(args: Any) -> str:
    return wire.dumps(args).decode() if args else "{}"


def _read_blob(part: Json, path: str) -> Part:
    blob = named(an_object(part["inlineData"], f"{path}.inlineData"))
    media = string(blob, "mimeType", f"{path}.inlineData", "")
    data = standard_base64(string(blob, "data", f"{path}.inlineData"))
    rest = leftover(part, {"inlineData", "thought"})
    more = leftover(blob, _BLOB)
    sealed = seal(ORIGIN, rest | ({"inlineData": more} if more else {}))
    if media.startswith("image/"):
        return Image(media, data, sealed=sealed)
    if media == "application/pdf":
        return Document(media, data, sealed=sealed)
    if media.startswith("text/"):
        text = _decoded(data)
        if text is not None:
            return Document(media, text=text, sealed=sealed)
    return Opaque("inlineData", Sealed(ORIGIN, part))


def _read_file(part: Json, path: str) -> Part:
    file = named(an_object(part["fileData"], f"{path}.fileData"))
    media = string(file, "mimeType", f"{path}.fileData", "")
    uri = string(file, "fileUri", f"{path}.fileData")
    media = media or _type_of(uri)
    rest = leftover(part, {"fileData", "thought"})
    more = leftover(file, _FILE)
    if more or uri.startswith(_GOOGLES_OWN):
        rest["fileData"] = file
    sealed = seal(ORIGIN, rest)
    url = "" if uri.startswith(_GOOGLES_OWN) else uri
    if media.startswith("image/"):
        return Image(media, url=url, sealed=sealed)
    if media == "application/pdf" or media.startswith("text/"):
        return Document(media, url=url, sealed=sealed)
    return Opaque("fileData", Sealed(ORIGIN, part))


def standard_base64(text: str) -> str:
    """Other vendors take one alphabet of base64, and want it padded."""
    if "-" in text or "_" in text:
        text = text.translate(_STANDARD)
    return text + "=" * (-len(text) % 4)


def _decoded(data: str) -> str | None:
    try:
        return b64decode(data).decode()
    except (Error, ValueError):
        return None


def _type_of(uri: str) -> str:
    return _TYPES.get(uri.partition("?")[0].rpartition(".")[2].lower(), "")


# ---- on their way out


def write_part(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    """A part that is neither thinking, call nor result; None where it cannot be one, which is reported."""
    written = _part(part, path, losses)
    if written is None:
        return None
    if getattr(part, "cache_control", None) is not None:
        losses.append(Loss(f"{path}.cache_control", "Gemini caches without being asked"))
    report_foreign(part.sealed, ORIGIN, path, losses)
    return written


def _part(part: Part, path: str, losses: list[Loss]) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"text": text} if text else None
        case Image() | Document():
            return _media(part, path, losses)
        case Opaque(sealed=sealed) if sealed.origin == ORIGIN:
            return dict(sealed.data)
        case Opaque(kind=kind, sealed=sealed):
            losses.append(
                Loss(path, f"only {sealed.origin} knows content of the kind {kind}", stake="content")
            )
            return None
        case _:
            losses.append(Loss(path, "it has no place in a message of this role", stake="content"))
            return None


def _media(part: Image | Document, path: str, losses: list[Loss]) -> dict[str, Any]:
    own = dict(opened(part.sealed, ORIGIN))
    own.pop("message", None)
    kind = "image" if isinstance(part, Image) else "document"
    if isinstance(part, Document) and part.name and "inlineData" not in own:
        losses.append(Loss(f"{path}.name", "files have no names here"))
    default = "image/png" if kind == "image" else "application/pdf"
    data, media = part.base64, part.media_type or default
    if isinstance(part, Document) and part.text:
        data = b64encode(part.text.encode("utf-8", "surrogatepass")).decode()
        media = part.media_type or "text/plain"
    if isinstance(part, Document) and is_text(media) and not media.startswith("text/"):
        media = "text/plain"  # other texts are refused under their own names
    if data:
        return own | {"inlineData": {"mimeType": media, "data": data, **own.get("inlineData", {})}}
    if part.url:
        media = part.media_type or _type_of(part.url) or default
        return own | {"fileData": {"mimeType": media, "fileUri": part.url, **own.get("fileData", {})}}
    if "fileData" in own:
        return own
    losses.append(Loss(path, f"the {kind} is stored where only its origin can read it", stake="content"))
    return {"text": f"[a {kind} that could not be carried]"}


def write_call(call: ToolCall, path: str, signature: str, losses: list[Loss]) -> dict[str, Any]:
    own = dict(opened(call.sealed, ORIGIN))
    report_foreign(call.sealed, ORIGIN, path, losses)
    written: dict[str, Any] = {"name": call.name, "args": as_object(call.arguments, path, losses)}
    if call.id:
        written["id"] = call.id
    part: dict[str, Any] = {"functionCall": written}
    if signature:
        part["thoughtSignature"] = signature
    if call.cache_control is not None:
        losses.append(Loss(f"{path}.cache_control", "Gemini caches without being asked"))
    return {key: value for key, value in own.items() if key == "partMetadata"} | part


def maybe_named(holder: Json, key: str, path: str) -> Json | None:
    """The object under `key` with its keys in camelCase."""
    found = maybe_object(holder, key, path)
    return None if found is None else named(found)
