"""`weave-engine explain`: a decision with its reasons, for a request in a file or one that was made before.

A request is decided as the engine would decide it now, by the policies on disk and what the learners in the
journal believe, but without the session's history: a pin is the running engine's to know.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import turn, wire
from engine.commands import terminal
from engine.core.decision import Decision
from engine.core.errors import RequestError
from engine.core.ports import Trust
from engine.protocols import PROTOCOLS
from engine.server.engine import LOCAL_IDENTITY, parse
from engine.server.journal import Journal
from engine.server.learner import Learners
from engine.server.reload import load_from
from engine.server.telling import as_json
from engine.settings import Settings
from engine.snapshot import Snapshot

NOW = 0.0


def explain(
    subject: str, protocol: str | None, headers: Sequence[str], settings: Settings, as_text: bool
) -> int:
    """Prints a tree, or JSON; returns the exit code. Raises RequestError where the subject makes no sense."""
    if subject != "-" and not Path(subject).exists():
        told = asyncio.run(_past(subject, settings))
    else:
        told = asyncio.run(_present(subject, protocol, headers, settings))
    if as_text:
        print(wire.dumps(told).decode())
    else:
        terminal.decision(told)
    return 0


async def _past(name: str, settings: Settings) -> dict[str, Any]:
    if not Path(settings.journal).exists():
        raise RequestError(
            f"{name!r} is no file, and there is no journal {settings.journal} to look it up in; name one with --journal"
        )
    journal = await Journal.open(settings.journal, read_only=True)
    try:
        decision = await journal.decision(name)
        if decision is None:
            raise RequestError(f"{name!r} is neither a file nor a decision in {settings.journal}")
        return as_json(decision, await journal.result(name), await journal.attempts(name))
    finally:
        await journal.close()


async def _present(
    subject: str, protocol: str | None, headers: Sequence[str], settings: Settings
) -> dict[str, Any]:
    raw = sys.stdin.buffer.read() if subject == "-" else Path(subject).read_bytes()
    body = parse(raw)
    request = PROTOCOLS[protocol or told_from(body)].read_request(body, raw)
    snapshot = load_from(settings.policies, settings.policy)()
    facts = turn.read(request, _header_map(headers), LOCAL_IDENTITY, snapshot)
    moment = turn.Moment(id="", now=NOW, draw=1.0, pin=None, trust=await _trust(settings))
    return as_json(explained(turn.decide(facts, snapshot, moment), facts, snapshot), None, ())


def explained(decision: Decision, facts: turn.Facts, snapshot: Snapshot) -> Decision:
    """The decision with every rule in its trace, not only the one that matched."""
    rules = snapshot.policy.explain(facts.inputs).trace
    other = tuple(step for step in decision.trace if step.kind not in ("guard", "rule", "default"))
    return replace(decision, trace=(*rules, *other))


async def _trust(settings: Settings) -> Trust:
    journal = await Journal.open(
        settings.journal if Path(settings.journal).exists() else ":memory:", read_only=True
    )
    try:
        return await Learners.from_journal(journal)
    finally:
        await journal.close()


def told_from(body: Mapping[str, Any]) -> str:
    """The protocol a body must be in: Anthropic's has a `system` of its own, tools without `function`, and always
    `max_tokens`; OpenAI's has system messages and wrapped tools."""
    messages = body.get("messages")
    roles = (
        {message.get("role") for message in messages if isinstance(message, dict)}
        if isinstance(messages, list)
        else set()
    )
    if "system" in body or "anthropic_version" in body:
        return "anthropic-messages"
    if roles & {"system", "developer", "tool"} or "stream_options" in body or "max_completion_tokens" in body:
        return "openai-chat"
    return "anthropic-messages" if "max_tokens" in body else "openai-chat"


def _header_map(headers: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for header in headers:
        name, equals, value = header.partition("=")
        if not equals:
            raise RequestError(f"--header takes NAME=VALUE, not {header!r}")
        pairs[name.strip().lower()] = value.strip()
    return pairs
