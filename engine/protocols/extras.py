"""Fields without a common meaning: verbatim for the protocol they came in, reported anywhere else."""

from collections.abc import Mapping
from typing import Any

from engine.core.conversation import Loss, Request, Tool
from engine.core.errors import RequestError
from engine.protocols.mapping import WireMap, protocol_map


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
    source = protocol_map(request.protocol)
    carried = _carry_shared(body, extra, source, names)
    for field, value in extra.items():
        if field in source.stored:
            raise RequestError(
                f"{field}: what it refers to is stored at the vendor that spoke it, and {request.model} is not served "
                "there; send the whole conversation instead"
            )
        if field in source.kept or field in carried or source.is_idle(field, value):
            continue
        if field in source.request_fields and isinstance(value, Mapping):
            left = [f"{field}.{inner}" for inner in value if f"{field}.{inner}" not in carried]
            losses.extend(Loss(place, f"only {request.protocol} knows it") for place in left)
        else:
            losses.append(Loss(field, f"only {request.protocol} knows it"))


def nearest(asked: str, given: str, losses: list[Loss]) -> str:
    """The effort that is given; another one than was asked for is told."""
    if asked and given and given != asked:
        losses.append(Loss("effort", f"the model knows {given}, not {asked}", "converted"))
    return given


def no_such_tool(tool: Tool, path: str, alone: bool) -> Loss:
    """A tool of one vendor's is lost. One that would have run there was an offer, which most requests never take
    up; one that the client runs is part of the work, and so is one that is offered `alone`."""
    origin = tool.sealed.origin if tool.sealed is not None else ""
    hosted = not alone and origin != "" and protocol_map(origin).is_hosted(tool.kind)
    why = f"a tool of the kind {tool.kind} exists only at its vendor"
    return Loss(path, why, stake="offer" if hosted else "content")


def _carry_shared(
    body: dict[str, Any], extra: Mapping[str, Any], source: WireMap, names: WireMap
) -> frozenset[str]:
    """Fields that two protocols of one vendor have in common, from one's place to the other's; what was carried."""
    carried: set[str] = set()
    for name in source.shared.keys() & names.shared.keys():
        place = source.shared[name]
        value: Any = extra
        for step in place.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        words = names.shared_words.get(name)
        if value is None or source.is_idle(place, value) or (words is not None and value not in words):
            continue
        carried.add(place)
        *outer, last = names.shared[name].split(".")
        holder = body
        for step in outer:
            holder[step] = holder = dict(holder.get(step) or {})
        holder[last] = value
    return frozenset(carried)


def _merged(written: Any, extra: Any) -> Any:
    if not isinstance(written, Mapping) or not isinstance(extra, Mapping):
        return extra
    return {
        **written,
        **{key: _merged(written[key], value) if key in written else value for key, value in extra.items()},
    }
