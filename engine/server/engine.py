"""The running engine: everything a request needs, in one place, built by the composition root."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from engine import rollout, turn, wire
from engine.core.catalog import Endpoint
from engine.core.conversation import Request
from engine.core.decision import Decision, Result
from engine.core.errors import RequestError
from engine.core.identity import Identity
from engine.core.lineage import Lineage, Lineages
from engine.core.ports import Pin, PinStore, Warm, Warmth
from engine.features import History
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol
from engine.protocols.ties import RESPONSES, keeps_replies
from engine.rollout import Trial, trial_of
from engine.routing.balance import Balance
from engine.routing.health import Health
from engine.routing.holding import MemoryLineages, foreign_before, lineage_after, lineage_key, reply_key
from engine.routing.pins import follows_pin, pin_after, pin_elsewhere
from engine.routing.rates import Rates
from engine.routing.reuse import MemoryReuse, is_repeatable, reuse_key
from engine.routing.tasks import Finished, TaskBook
from engine.routing.warmth import NOTHING_WARM, MemoryWarmth, conversation_of, warm_after
from engine.server.clock import EvenClock
from engine.server.contents import contents, reply_text
from engine.server.credentials import Resting
from engine.server.identity import Keyring
from engine.server.journal import Journal
from engine.server.keeping import Stops
from engine.server.knocking import Knocks
from engine.server.learner import Learners
from engine.server.ledger import Books
from engine.server.log import Logger
from engine.server.metrics import Metrics
from engine.server.receiving import aside
from engine.server.reload import Policies
from engine.server.upstream import Upstream
from engine.settings import Settings
from engine.snapshot import Snapshot

MOST_CHORES = 5_000


class Ids:
    """Names for decisions that sort by time and cannot be guessed. Where time goes back, they go on.

    Randomness comes from the system, a block at a time: asking for it costs more than deciding does.
    """

    __slots__ = ("_at", "_block", "_last")
    SIZE, BLOCK = 6, 4096 * 6

    def __init__(self) -> None:
        self._block = b""
        self._at = 0
        self._last = 0

    def after(self, newest: str) -> None:
        """Go on behind this one, which an engine gave whose clock may have been ahead."""
        with suppress(ValueError):
            self._last = max(self._last, int(newest[1:12], 16))

    def new(self, now: float) -> str:
        if self._at >= len(self._block):
            self._block, self._at = secrets.token_bytes(self.BLOCK), 0
        self._at += self.SIZE
        millisecond = int(now * 1000)
        self._last = millisecond if millisecond >= self._last else self._last + 1
        return f"d{self._last:011x}{self._block[self._at - self.SIZE : self._at].hex()}"


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
    books: Books
    started: float = field(default_factory=time.time)
    running: int = 0  # requests under way
    draining: bool = False
    malformed: Counter[str] = field(
        default_factory=Counter
    )  # by endpoint: answers that were none of its protocol
    ids: Ids = field(default_factory=Ids)
    clock: EvenClock = field(default_factory=EvenClock)
    lineages: Lineages = field(default_factory=MemoryLineages)
    health: Health = field(default_factory=Health)
    balance: Balance = field(default_factory=Balance)
    metrics: Metrics = field(default_factory=Metrics)
    warmth: Warmth = field(default_factory=MemoryWarmth)
    reuse: MemoryReuse = field(default_factory=MemoryReuse)
    tasks: TaskBook = field(default_factory=TaskBook)
    history: History = field(default_factory=History)  # how calls went lately
    contents_key: bytes = b""  # of the hashes of what was said
    stops: Stops | None = None  # the canaries that were switched off, also before the last restart
    trial: Trial | None = None  # of the snapshot that last decided; ask `current_trial`
    chores: set[asyncio.Task[None]] = field(default_factory=set)  # work beside requests, under way
    keyring: Keyring = field(default_factory=Keyring)
    rates: Rates = field(default_factory=Rates)
    knocks: Knocks = field(default_factory=Knocks)
    resting: Resting = field(default_factory=Resting)  # credentials of clients that are spent for a while

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that no request waits for, unless so much of it is under way that it will not end."""
        if len(self.chores) >= MOST_CHORES:
            work.close()
            self.log("chores", level="warning", dropped=1, running=len(self.chores))
            return
        task = asyncio.ensure_future(work)
        self.chores.add(task)
        task.add_done_callback(self.chores.discard)


@dataclass(frozen=True, slots=True)
class Decided:
    """A request that was read and decided, and the snapshot that did; the request keeps it to its end. `tried` is
    there while another policy is on trial."""

    request: Request
    facts: turn.Facts
    decision: Decision
    snapshot: Snapshot
    trial: Trial | None = None
    tried: rollout.Tried | None = None


async def decide(
    engine: Engine,
    protocol: Protocol,
    raw: bytes,
    headers: Mapping[str, str],
    identity: Identity,
    told: Mapping[str, object] | None = None,
) -> Decided:
    """`told` is what a protocol says of a request outside its body. Raises RequestError for what the client got
    wrong, UnservableError where nothing can serve it."""
    snapshot = engine.policies.snapshot
    facts = await aside(raw, _read, protocol, raw, headers, identity, told, snapshot)
    request = facts.request
    now = engine.clock()
    facts = _with_history(facts, engine.history, now)
    alone = turn.Moment(
        id=engine.ids.new(now),
        now=now,
        draw=random.random(),  # noqa: S311 - exploration needs chance, not secrecy
        pin=_pin(engine, facts, now),
        trust=engine.learners,
        clock=time.perf_counter,
        lineages=engine.lineages,
        spend=engine.books.ledger,
        warm=_warm(engine, facts),
        earlier=_earlier(engine, facts, snapshot, now),
    )
    trial = current_trial(engine)
    if trial is None:
        return Decided(request, facts, turn.decide(facts, snapshot, alone), snapshot)
    tried = rollout.decide(trial, facts, partial(_moment_of, engine, alone))
    return Decided(request, tried.facts, tried.decision, tried.snapshot, trial, tried)


def _with_history(facts: turn.Facts, history: History, now: float) -> turn.Facts:
    """The same facts, with what is known of calls like this one."""
    features = facts.inputs["features"]
    return replace(facts, inputs={**facts.inputs, "features": {**features, **history.recent(features, now)}})


def _read(
    protocol: Protocol,
    raw: bytes,
    headers: Mapping[str, str],
    identity: Identity,
    told: Mapping[str, object] | None,
    snapshot: Snapshot,
) -> turn.Facts:
    body = parse(raw)
    request = read_request(protocol, {**body, **told} if told else body, raw)
    return turn.read(request, headers, identity, snapshot)


def current_trial(engine: Engine) -> Trial | None:
    """The trial that the serving policy asks for, if it asks for one."""
    before, trial = engine.trial, trial_of(engine.trial, engine.policies.snapshot)
    if trial is not None and trial is not before and engine.stops is not None:
        trial.stopped = engine.stops.why(trial.key)
    engine.trial = trial
    return trial


def _pin(engine: Engine, facts: turn.Facts, now: float) -> Pin | None:
    return engine.pins.get(facts.pin_key, now) if facts.pin_key else None


def _moment_of(engine: Engine, moment: turn.Moment, facts: turn.Facts) -> turn.Moment:
    """The same moment for a policy on trial, whose sessions, pins and decisions are its own."""
    pin, warm, snapshot = _pin(engine, facts, moment.now), _warm(engine, facts), engine.policies.snapshot
    return replace(moment, pin=pin, warm=warm, earlier=_earlier(engine, facts, snapshot, moment.now))


def _earlier(engine: Engine, facts: turn.Facts, snapshot: Snapshot, now: float) -> Decision | None:
    """A decision about a request like this one that may be used again."""
    policy = snapshot.policies[facts.lane] if facts.lane else snapshot.policy
    key = reuse_key(policy, facts.inputs, facts.request.model)
    if key is None or policy.reuse is None:
        return None
    return engine.reuse.get(key, policy.reuse.seconds, snapshot.fingerprint, now)


def _warm(engine: Engine, facts: turn.Facts) -> Mapping[str, Warm]:
    conversation = conversation_of(facts.session, facts.inputs["features"])
    return engine.warmth.of(conversation) if conversation else NOTHING_WARM


def remember(engine: Engine, decided: Decided) -> Finished | None:
    """Keep what a decision means for the session's next turn, and for the record. The task that it ended, if it did."""
    task, finished = _enter(engine, decided.facts, decided.decision.at)
    decision = replace(decided.decision, task=task) if task else decided.decision
    _put_pin(engine, decided.facts, decision, decided.snapshot)
    _put_reuse(engine, decided.facts, decision, decided.snapshot)
    if decided.trial is not None and decided.tried is not None:
        _remember_trial(engine, decided.trial, decided.tried)
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
        identity=decision.identity or None,
        phase=decision.features["phase"],
        context_tokens=decision.features["context_tokens"],
        confidence=decision.confidence,
    )
    return finished


def _enter(engine: Engine, facts: turn.Facts, now: float) -> tuple[int, Finished | None]:
    """The task of its session that a request works on, and the one it ended. Calls that are not part of a session's
    work are of no task."""
    features = facts.inputs["features"]
    if not facts.session or not follows_pin(features):
        return 0, None
    return engine.tasks.enter(facts.session, features["first_user_hash"], facts.tasks, now)


def conclude(engine: Engine, decided: Decided, result: Result, reply: str = "", copied: bytes = b"") -> None:
    """Keep how a request ended and who may read what is sealed in its answer, and count it for the policy that
    decided it. `reply` is the provider's name of the answer, where the client was told it; `copied` is the beginning
    of what it was sent."""
    engine.books.settle(result, decided.snapshot)
    engine.journal.record(result)
    engine.history.answered(decided.decision.features, result)
    engine.metrics.concluded(decided.decision, decided.facts.requested, result)
    _put_contents(engine, decided, result, copied)
    _put_lineage(engine, decided, result, reply)
    _put_warm(engine, decided, result)
    _follow(engine, decided, result)
    if decided.trial is not None and decided.tried is not None:
        _log_stop(engine, decided.trial, decided.trial.record(decided.tried.arm, result))


def _remember_trial(engine: Engine, trial: Trial, tried: rollout.Tried) -> None:
    shadowed = tried.shadowed
    if shadowed is not None and shadowed.decision is not None and trial.shadow is not None:
        _put_pin(engine, shadowed.facts, shadowed.decision, trial.shadow)
    _log_stop(engine, trial, trial.remember(tried))


def _put_pin(engine: Engine, facts: turn.Facts, decision: Decision, snapshot: Snapshot) -> None:
    features, held = facts.inputs["features"], _pin(engine, facts, decision.at)
    pin = pin_after(decision, features, snapshot.policy.pinning, decision.at, held, snapshot.catalog.models)
    if pin is not None:
        engine.pins.put(facts.pin_key, pin)


def _put_reuse(engine: Engine, facts: turn.Facts, decision: Decision, snapshot: Snapshot) -> None:
    key = reuse_key(snapshot.policy, facts.inputs, facts.request.model)
    if key is not None and is_repeatable(decision):
        engine.reuse.put(key, decision)


def _put_warm(engine: Engine, decided: Decided, result: Result) -> None:
    """What the vendor that answered has in its cache now."""
    facts, model = decided.facts, decided.snapshot.catalog.models.get(result.model)
    conversation = conversation_of(facts.session, facts.inputs["features"])
    if not conversation or model is None or result.usage.estimated:
        return
    before = engine.warmth.of(conversation).get(model.name)
    warm = warm_after(before, result.usage, model, result.endpoint, result.at)
    engine.warmth.put(conversation, model.name, warm)


def _follow(engine: Engine, decided: Decided, result: Result) -> None:
    """Where no way to the session's model was open, not even to try, its pin goes with the model that served, if the
    policy says so. Otherwise the session returns once its own is well."""
    facts, policy, own = decided.facts, decided.snapshot.policy, decided.decision.model
    passed_over = result.model not in ("", own) and result.attempts == 1
    if not passed_over or "endpoint_down" not in policy.pinning.move_when:
        return
    pin = _pin(engine, facts, result.at)
    if pin is None or pin.model != own or policy.locked(facts.inputs):
        return
    if all(map(engine.health.is_down, decided.snapshot.catalog.models[own].served_by)):
        engine.pins.put(facts.pin_key, pin_elsewhere(pin, result.model, policy.pinning, result.at))


def _put_contents(engine: Engine, decided: Decided, result: Result, copied: bytes) -> None:
    """What was said, where the policy asks for it."""
    kind = decided.snapshot.policy.recording.prompts
    if kind == "off":
        return
    request = decided.request
    reply = reply_text(PROTOCOLS[request.protocol], copied, streamed=request.stream) if kind == "full" else ""
    engine.journal.record_contents(
        contents(kind, engine.contents_key, result.decision, result.at, request, reply)
    )


def _put_lineage(engine: Engine, decided: Decided, result: Result, reply: str) -> None:
    facts, request = decided.facts, decided.request
    endpoint = decided.snapshot.catalog.endpoints.get(result.endpoint)
    if endpoint is None:  # nothing was answered
        return
    key = lineage_key(facts.session, facts.inputs["features"], endpoint.protocol)
    if key:
        known = engine.lineages.get(key)
        engine.lineages.put(key, lineage_after(known, endpoint, result.model, len(request.messages)))
    if request.protocol == RESPONSES and keeps_replies(request.body):
        # A reply that was written anew goes by the decision's id, and nobody keeps it.
        known_as, origin = (reply, endpoint.origin) if reply else (decided.decision.id, "")
        engine.lineages.put(reply_key(facts.inputs["identity"], known_as), Lineage(origin, result.model))


def before_of(engine: Engine, decided: Decided, endpoint: Endpoint) -> int:
    """How many of the conversation's first messages another provider of the endpoint's protocol sealed."""
    facts = decided.facts
    key = lineage_key(facts.session, facts.inputs["features"], endpoint.protocol)
    known = engine.lineages.get(key) if key else None
    return foreign_before(known, endpoint, len(decided.request.messages))


def _log_stop(engine: Engine, trial: Trial, why: str) -> None:
    canary = trial.rollout.canary
    if why and canary is not None:
        if engine.stops is not None:
            engine.stops.put(trial.key, why, time.time())
        engine.log("canary", level="error", policy=canary.policy, stopped=why, **trial.stats)


def read_request(protocol: Protocol, body: Mapping[str, object], raw: bytes) -> Request:
    """Raises RequestError for what is wrong, which includes nesting deeper than JSON can be written again."""
    try:
        return protocol.read_request(body, raw)
    except ValueError as error:
        raise RequestError(f"the request cannot be read: {error}") from error


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
