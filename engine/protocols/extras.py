"""Fields without a common meaning: verbatim for the protocol they came in, reported anywhere else."""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Loss, Request
from engine.core.errors import RequestError
from engine.protocols.mapping import WireMap, wire_map

_FILES = {
    "anthropic-messages": "anthropic_messages",
    "openai-chat": "openai_chat",
    "gemini": "gemini",
    "openai-responses": "openai_responses",
}


def add_extras(body: dict[str, Any], request: Request, names: WireMap, losses: list[Loss]) -> None:
    """An extra that a reader understood in part is merged into what was written of it.

    Raises RequestError where an extra stands for a part of the conversation that is stored at its vendor.
    """
    extra = request.tuning.extra
    if not extra:
        return
    if request.protocol == names.name:
        for field, value in extra.items():
            body[field] = _merged(body[field], value) if field in body else value
        return
    source = wire_map(_FILES[request.protocol]) if request.protocol in _FILES else None
    for field, value in extra.items():
        if source is not None and field in source.stored:
            raise RequestError(
                f"{field}: what it refers to is stored at the vendor that spoke it, and {request.model} is not served "
                "there; send the whole conversation instead"
            )
        if source is not None and (field in source.kept or source.is_idle(field, value)):
            continue
        if field in (source.request_fields if source is not None else ()) and isinstance(value, Mapping):
            losses.extend(Loss(f"{field}.{inner}", f"only {request.protocol} knows it") for inner in value)
        else:
            losses.append(Loss(field, f"only {request.protocol} knows it"))


def _merged(written: Any, extra: Any) -> Any:
    if not isinstance(written, Mapping) or not isinstance(extra, Mapping):
        return extra
    return {
        **written,
        **{key: _merged(written[key], value) if key in written else value for key, value in extra.items()},
    }
