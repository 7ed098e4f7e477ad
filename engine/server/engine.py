"""The running engine: everything a request needs, in one place, built by the composition root."""

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine import turn, wire
from engine.core.conversation import Request
from engine.core.decision import Decision
from engine.core.errors import RequestError
from engine.core.ports import PinStore
from engine.protocols.shape import Protocol
from engine.routing.pins import pin_after
from engine.server.journal import Journal
from engine.server.learner import Learners
from engine.server.log import Logger
from engine.server.reload import Policies
from engine.server.upstream import Upstream
from engine.settings import Settings
from engine.snapshot import Snapshot

# Whoever reaches a loopback port is the operator; keys that name others come with authentication.
LOCAL_IDENTITY: Mapping[str, str] = {"name": "local", "team": "", "data_class": ""}


class Ids:
    """Names for decisions that sort by time and cannot be guessed.

    Randomness comes from the system, a block at a time: asking for it costs more than deciding does.
    """

    __slots__ = ("_at", "_block")
    SIZE, BLOCK = 6, 4096 * 6

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def new(self, now: float) -> str:
        if self._at >= len(self._block):
            self._block, self._at = secrets.token_bytes(self.BLOCK), 0
        self._at += self.SIZE
        return f"d{int(now * 1000):011x}{self._block[self._at - self.SIZE : self._at].hex()}"


@dataclass(slots=True)
class Engine:
    """`environment` holds provider keys; it is read at each call and goes nowhere else."""

    settings: Settings
    policies: Policies
    pins: PinStore
    learners: Learners
    journal: Journal
    upstream: Upstream
    log: Logger
    environment: Mapping[str, str]
    started: float = field(default_factory=time.time)
    running: int = 0  # requests under way
    draining: bool = False
    ids: Ids = field(default_factory=Ids)


@dataclass(frozen=True, slots=True)
class Decided:
    """A request that was read and decided, and the snapshot that did; the request keeps it to its end."""

    request: Request
    facts: turn.Facts
    decision: Decision
    snapshot: Snapshot


def decide(engine: Engine, protocol: Protocol, raw: bytes, headers: Mapping[str, str]) -> Decided:
    """Raises RequestError for what the client got wrong, UnservableError where nothing can serve it."""
    snapshot = engine.policies.snapshot
    request = protocol.read_request(parse(raw), raw)
    facts = turn.read(request, headers, LOCAL_IDENTITY, snapshot)
    now = time.time()
    moment = turn.Moment(
        id=engine.ids.new(now),
        now=now,
        draw=random.random(),  # noqa: S311 - exploration needs chance, not secrecy
        pin=engine.pins.get(facts.pin_key, now) if facts.pin_key else None,
        trust=engine.learners,
    )
    return Decided(request, facts, turn.decide(facts, snapshot, moment), snapshot)


def remember(engine: Engine, decided: Decided) -> None:
    """Keep what a decision means for the session's next turn, and for the record."""
    decision = decided.decision
    pinning = decided.snapshot.policy.pinning
    pin = pin_after(decision, decided.facts.inputs["features"], pinning, decision.at)
    if pin is not None:
        engine.pins.put(decided.facts.pin_key, pin)
    engine.journal.record(decision)
    engine.log(
        "decision",
        decision=decision.id,
        model=decision.model,
        rule=decision.rule,
        source=decision.source,
        requested=decision.requested_model,
        protocol=decision.protocol,
        session=decision.session or None,
        phase=decision.features["phase"],
        context_tokens=decision.features["context_tokens"],
        confidence=decision.confidence,
    )


def parse(raw: bytes) -> Mapping[str, object]:
    """A JSON object, or a RequestError that says where it stops being one."""
    if not raw:
        raise RequestError("the request has no body; a JSON object is expected")
    try:
        body = wire.loads(raw)
    except ValueError as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError(f"the body is JSON, but a {type(body).__name__}; an object is expected")
    return body
