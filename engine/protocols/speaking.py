"""A protocol spoken in a vendor's dialect: the same record, with those functions replaced that the dialect changes.

Nobody who sends requests needs to know of dialects: they ask for the protocol an endpoint speaks and get one
record of functions, as for a protocol spoken plainly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning, Request
from engine.protocols import PROTOCOLS
from engine.protocols.dialects import (
    Dialect,
    Rules,
    asking_fields,
    default_dialect,
    plain,
    shipped_dialects,
)
from engine.protocols.faults import read_fault
from engine.protocols.fitting import ask_for_reasoning, fit, thinks
from engine.protocols.mapping import Limits, Manner, WireMap, protocol_map
from engine.protocols.openai_chat.streaming import EventReader as ChatReader
from engine.protocols.openai_chat.writing import write_request as write_chat
from engine.protocols.preparing import has_strange_ids, prepared
from engine.protocols.shape import Encoded, Protocol, Repairs

# What of a body the writer writes of tools and messages; a forwarded body whose tools or messages cannot go as they
# came takes these from it.
_DEEP = (
    "messages", "system", "tools", "tool_choice", "input", "instructions",
    "contents", "systemInstruction", "toolConfig",
)  # fmt: skip
_DEEP_LOSSES = ("messages.", "system.", "tools.", "tool_choice")


@cache
def spoken(protocol: str, dialect: str = "") -> Protocol:
    """The protocol as an endpoint speaks it. Without a dialect it is spoken as its own vendor does.

    Raises KeyError for a name nobody knows; catalogs are checked before they serve.
    """
    name = dialect or default_dialect(protocol)
    return speaking(PROTOCOLS[protocol], shipped_dialects()[name] if name else plain(protocol))


def speaking(protocol: Protocol, dialect: Dialect) -> Protocol:
    names = protocol_map(protocol.name)
    if dialect.errors or dialect.context_phrases:
        names = replace(
            names,
            errors_read={**names.errors_read, **dialect.errors},
            context_phrases=(*names.context_phrases, *dialect.context_phrases),
        )
    limits = replace(names.limits, **dialect.limits) if dialect.limits else protocol.limits
    speaker = _Speaker(protocol, dialect, names, limits)
    found = replace(
        protocol,
        dialect=dialect.name,
        rewrites=dialect.rewrites,
        limits=limits,
        write_request=speaker.write_request,
        repairs=speaker.repairs,
    )
    if names is not protocol_map(protocol.name):
        found = replace(found, read_fault=partial(read_fault, names))
        if protocol.name == "openai-chat":
            found = replace(found, event_reader=partial(ChatReader, names))
    if dialect.auth_header:
        found = replace(found, headers=partial(_headers, protocol, dialect))
    if dialect.path:
        found = replace(found, path=dialect.path, stream_path="")
    if dialect.forwards is not None:
        found = replace(found, forwards=dialect.forwards)
    return found


def _headers(protocol: Protocol, dialect: Dialect, key: str) -> Mapping[str, str]:
    """The vendor's own header for the key, beside what the protocol sends without one."""
    return {**protocol.headers(""), **({dialect.auth_header: dialect.auth_prefix + key} if key else {})}


@dataclass(frozen=True, slots=True)
class _Speaker:
    """Writes and repairs requests in one dialect."""

    protocol: Protocol
    dialect: Dialect
    names: WireMap
    limits: Limits

    def write_request(self, request: Request, model: Model, model_id: str) -> Encoded:
        losses: list[Loss] = []
        rules = self._rules(request, model, model_id)
        ready = prepared(request, rules, self.limits, losses)
        if not self.dialect.name:
            encoded = self.protocol.write_request(ready, model, model_id)
            return Encoded(encoded.body, (*losses, *encoded.dropped)) if losses else encoded
        wanted = ready.tuning.reasoning
        if rules.ask is not None:
            ready = replace(ready, tuning=replace(ready.tuning, reasoning=None))
        encoded = self._written(ready, model, model_id, rules)
        top = dict(encoded.body)
        losses += encoded.dropped
        if rules.ask is not None:
            ask_for_reasoning(top, wanted, rules.ask, self.names, model, losses)
        fit(top, rules, self.names, request, model, losses)
        return Encoded(top, tuple(losses))

    def repairs(self, request: Request, model: Model, model_id: str, effort: str) -> Repairs:
        plainly = self.protocol.repairs(request, model, model_id, effort)
        wanted = _with_effort(request.tuning.reasoning, effort)
        asked = replace(request, tuning=replace(request.tuning, reasoning=wanted)) if effort else request
        rules = self._rules(asked, model, model_id)
        top = {**request.body, **plainly.edits}
        for field in plainly.removed:
            top.pop(field, None)
        losses = list(plainly.dropped)
        self._fit_deep(top, request, model, model_id, rules, losses)
        if self.dialect.name:
            self._fit_reasoning(top, asked, model, model_id, effort, rules, losses)
            fit(top, rules, self.names, request, model, losses)
        return _difference(request.body, top, losses)

    def _rules(self, request: Request, model: Model, model_id: str) -> Rules:
        rules = self.dialect.rules(model_id)
        return self.dialect.rules(model_id, thinks=True) if thinks(request, rules, model) else rules

    def _written(self, request: Request, model: Model, model_id: str, rules: Rules) -> Encoded:
        if self.protocol.name != "openai-chat":
            return self.protocol.write_request(request, model, model_id)
        limits = self.limits if rules.stops is None else replace(self.limits, stop_sequences=rules.stops)
        return write_chat(request, model, model_id, Manner(limits, rules.cache_control is True))

    def _fit_deep(
        self,
        top: dict[str, Any],
        request: Request,
        model: Model,
        model_id: str,
        rules: Rules,
        losses: list[Loss],
    ) -> None:
        """Tools and messages that cannot go as they came are written anew."""
        found: list[Loss] = []
        ready = prepared(request, rules, self.limits, found)
        strange = self.limits is not self.protocol.limits and has_strange_ids(ready, self.limits)
        if ready is request and not strange:
            return
        encoded = self._written(ready, model, model_id, rules)
        losses += found
        losses += [loss for loss in encoded.dropped if loss.path.startswith(_DEEP_LOSSES)]
        for field in _DEEP:
            if field in encoded.body:
                if top.get(field) != encoded.body[field]:
                    top[field] = encoded.body[field]
            elif field in request.body and field not in ("tool_choice", "toolConfig"):
                top.pop(field, None)

    def _fit_reasoning(
        self,
        top: dict[str, Any],
        request: Request,
        model: Model,
        model_id: str,
        effort: str,
        rules: Rules,
        losses: list[Loss],
    ) -> None:
        """Whoever asks this very model in the vendor's own fields knows what it takes."""
        ask = rules.ask
        if ask is None:
            return
        fields = asking_fields(self.names.name)
        body = request.body
        foreign = (body.keys() & fields) - ask.fields
        if not effort and not foreign and (request.model == model_id or request.tuning.reasoning is None):
            return
        for field in fields:
            top.pop(field, None)
            if field in body and field in ask.fields:
                top[field] = body[field]
        losses[:] = [loss for loss in losses if loss.path not in fields and loss.path != "thinking"]
        ask_for_reasoning(top, request.tuning.reasoning, ask, self.names, model, losses)


def _with_effort(wanted: Reasoning | None, effort: str) -> Reasoning | None:
    if not effort:
        return wanted
    wanted = wanted or Reasoning()
    mode = "" if wanted.mode == "disabled" else wanted.mode
    return replace(wanted, mode=mode, effort=effort, budget_tokens=None)


def _difference(body: Mapping[str, Any], top: Mapping[str, Any], losses: list[Loss]) -> Repairs:
    edits = {name: value for name, value in top.items() if name not in body or body[name] is not value}
    removed = tuple(name for name in body if name not in top)
    return Repairs(edits, removed, tuple(losses))
