"""`weave-engine explain`: a decision with its reasons, for a request in a file or one that was made before.

A request is decided as the engine would decide it now, by the policies on disk and what the learners in the
journal believe, but without the session's history: a pin is the running engine's to know.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine import turn, wire
from engine.commands import terminal
from engine.commands.why_not import why_not
from engine.core.decision import AttemptRecord, Decision, Result
from engine.core.errors import InvalidDocumentsError, RequestError
from engine.core.identity import LOCAL
from engine.core.policy import Inputs
from engine.core.ports import Trust
from engine.documents import did_you_mean
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol
from engine.server.engine import parse
from engine.server.journal import Journal
from engine.server.learner import Learners
from engine.server.reload import load_from
from engine.server.telling import as_json, plain
from engine.settings import Settings
from engine.snapshot import Snapshot

NOW = 0.0


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision and what it rests on. `snapshot` is the one that decided, None where it is gone."""

    decision: Decision
    inputs: Inputs
    snapshot: Snapshot | None
    result: Result | None = None
    attempts: Sequence[AttemptRecord] = ()


def explain(
    subject: str,
    headers: Sequence[str],
    settings: Settings,
    *,
    protocol: str = "",
    model: str = "",
    json: bool = False,
    instead: str = "",
) -> int:
    """Prints a tree, or JSON; returns the exit code. `model` is what is asked for, where the body does not say;
    `instead` names a model of which is told why it did not serve. Raises RequestError where the subject makes no
    sense."""
    work = (
        _present(subject, protocol, model, headers, settings)
        if subject == "-" or _exists(subject)
        else _past(subject, settings)
    )
    found = asyncio.run(work)
    told = as_json(found.decision, found.result, found.attempts)
    if instead:
        told["why_not"] = plain(why_not(instead, found.decision, found.inputs, found.snapshot))
    if json:
        print(wire.dumps(told).decode())
    elif instead:
        terminal.why_not(told)
    else:
        terminal.decision(told)
    return 0


def _exists(subject: str) -> bool:
    try:
        return Path(subject).exists()
    except OSError:  # too long for a file's name
        return False


async def _past(name: str, settings: Settings) -> Explained:
    if not Path(settings.journal).exists():
        raise RequestError(
            f"{_short(name)} is no file, and there is no journal {settings.journal} to look it up in; "
            "name one with --journal"
        )
    journal = await Journal.open(settings.journal, read_only=True)
    try:
        decision = await journal.decision(name)
        if decision is None:
            raise RequestError(f"{_short(name)} is neither a file nor a decision in {settings.journal}")
        inputs = {
            "features": decision.features,
            "hints": decision.hints,
            "identity": decision.asker.values,
        }
        result, attempts = await journal.result(name), await journal.attempts(name)
        return Explained(decision, inputs, _same_snapshot(decision, settings), result, attempts)
    finally:
        await journal.close()


def _same_snapshot(decision: Decision, settings: Settings) -> Snapshot | None:
    """The policies on disk, where they are still those that decided."""
    try:
        snapshot = load_from(settings.policies, settings.policy)()
    except InvalidDocumentsError:
        return None
    return snapshot if snapshot.fingerprint == decision.snapshot else None


async def _present(
    subject: str, protocol: str, model: str, headers: Sequence[str], settings: Settings
) -> Explained:
    raw = _read(subject)
    body = {**parse(raw), **({"model": model} if model else {})}
    request = _protocol(protocol or told_from(body)).read_request(body, raw)
    snapshot = load_from(settings.policies, settings.policy)()
    facts = turn.read(request, _header_map(headers), LOCAL, snapshot)
    moment = turn.Moment(id="", now=NOW, draw=1.0, pin=None, trust=await _trust(settings))
    decision = explained(turn.decide(facts, snapshot, moment), facts, snapshot)
    return Explained(decision, facts.inputs, snapshot)


def _read(subject: str) -> bytes:
    if subject == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(subject).read_bytes()
    except IsADirectoryError as error:
        raise RequestError(f"{subject} is a folder; name a file with a request's body in it") from error
    except OSError as error:
        raise RequestError(f"{subject} cannot be read: {error.strerror}") from error


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:60] + "…")


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


def _protocol(name: str) -> Protocol:
    found = PROTOCOLS.get(name)
    if found is None:
        raise RequestError(f"there is no protocol {name!r}; {did_you_mean(name, PROTOCOLS)}")
    return found


def told_from(body: Mapping[str, Any]) -> str:
    """The protocol a body must be in. Gemini has `contents` and OpenAI Responses `input` where others have messages.
    Anthropic has a `system` of its own and always `max_tokens`; OpenAI Chat has system messages."""
    messages = body.get("messages")
    if "contents" in body:
        return "gemini"
    if "input" in body and messages is None:
        return "openai-responses"
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
