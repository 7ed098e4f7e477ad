"""Drives one request: decide, call a provider, hand its answer on, and write down what happened.

What may still change and what may not turns on one moment: the first content that reaches the client. Before it,
a failed attempt is thrown away, whatever it sent (`message_start` and pings included), and the next one begins
with the request as it arrived. After it, the answer ends properly or in an error of the client's protocol.

Headers wait for content too, but not for ever: after `hold_seconds` they go out, so that a client behind a
patient proxy sees life. From then on a failure is told inside the stream, and another model may still take over.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from starlette.types import Receive, Scope, Send

from engine import turn
from engine.core.cost import cost_usd
from engine.core.decision import Attempt, AttemptEnd, AttemptRecord, Failed, Pause, Result
from engine.core.errors import MALFORMED, BudgetError, Fault, WeaveError
from engine.core.reply import Usage
from engine.protocols.shape import Protocol
from engine.routing.health import Condition
from engine.routing.ways import RequestWays
from engine.server import losses
from engine.server.answer import Answer, header_value
from engine.server.attempt import Dispatch
from engine.server.credentials import SPENT
from engine.server.engine import Decided, Engine, conclude, decide, remember
from engine.server.identity import identify, key_in_query
from engine.server.ledger import retry_advice
from engine.server.log import Logger, where
from engine.server.rates import Admission
from engine.server.receiving import GoneError, Watcher, header_map, read_body
from engine.server.tasks import finish

# Wire bytes of a streamed reply for each token in it, framing included; a median of recorded streams.
BYTES_PER_TOKEN = 100

MISTAKE = Fault("server_error", "the engine made a mistake; its log says which")


class Relay:
    """The ASGI application behind one path: everything a client of `protocol` sends there."""

    def __init__(self, engine: Engine, protocol: Protocol, told: Mapping[str, object] | None = None) -> None:
        self._engine = engine
        self._protocol = protocol
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine, answer = self._engine, Answer(send, self._protocol)
        arrived = time.monotonic()
        admission = Admission(engine.rates, engine.policies.snapshot.policy.rate_limits)
        exchange: Exchange | None = None
        engine.running += 1
        try:
            headers = header_map(scope)
            identity = identify(engine, headers, scope["query_string"])
            headers |= key_in_query(headers, scope["query_string"])
            admission.enter(identity)
            raw = await read_body(receive, headers, engine.settings)
            read = time.perf_counter()
            decided = await decide(engine, self._protocol, raw, headers, identity, self._told)
            engine.metrics.decided(time.perf_counter() - read)
            admission.expect(decided.decision.features["context_tokens"])
            engine.books.hold(decided.facts, decided.decision, decided.snapshot)
            try:
                if (finished := remember(engine, decided)) is not None:
                    engine.beside(finish(engine, finished))
                await engine.books.committed(decided.decision.id)
                exchange = Exchange(engine, self._protocol, decided, headers, answer, arrived)
                admission.tokens = await exchange.run(receive)
            finally:
                engine.books.release(decided.decision.id)
        except GoneError:
            return
        except WeaveError as error:
            engine.metrics.refused(self._protocol.name, error.fault.http_status)
            engine.log(
                "refused",
                level="warning",
                protocol=self._protocol.name,
                kind=error.fault.kind,
                message=error.fault.message,
            )
            if isinstance(error, BudgetError):
                answer.headers += retry_advice(error.fault)
            await answer.fail(error.fault)
        except Exception as error:
            if exchange is None:  # else it is counted by its result
                engine.metrics.refused(self._protocol.name, 500)
            engine.log(
                "bug",
                level="error",
                protocol=self._protocol.name,
                error=type(error).__name__,  # no more: its text may quote a prompt, or a key
                at=where(error),
            )
            await answer.fail(MISTAKE)
        finally:
            engine.running -= 1
            admission.leave()
            answer.release()


class Exchange:
    """One decided request, from its first attempt to its result."""

    def __init__(
        self,
        engine: Engine,
        protocol: Protocol,
        decided: Decided,
        headers: Mapping[str, str],
        answer: Answer,
        arrived: float,
    ) -> None:
        self._engine = engine
        self._protocol = protocol
        self._decided = decided
        self._headers = headers
        self._answer = answer
        self._arrived = arrived
        self._dispatch: Dispatch | None = None  # the last one
        self._failed = False  # and came to nothing; a client may leave before there is another
        self._given_up: list[Dispatch] = []  # those before it
        self._ways = RequestWays(engine.health, engine.balance, decided.decision.session, decided.decision.id)
        self._verbatim: dict[Fault, bytes] = {}

    async def run(self, receive: Receive) -> int:
        """Serve the client, unless it leaves first: then the provider's call is given up at once. Gives the
        tokens it took."""
        fault: Fault | None = None
        gone = False
        watcher = Watcher(receive, self._answer)
        settings = self._engine.settings
        if self._decided.snapshot.policy.recording.prompts == "full":
            self._answer.copied = bytearray()
        if self._decided.request.stream:
            self._answer.hold(settings.hold_seconds, settings.keep_alive_seconds)
        try:
            fault = await self._serve()
            if fault is not None:
                await self._answer.fail(fault, self._verbatim.get(fault))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            gone = watcher.gone
            if not gone:  # the engine stops, and has waited long enough
                fault = Fault("overloaded", "the engine is shutting down; ask again", 503)
                await self._answer.fail(fault)
        except Exception:
            fault = MISTAKE
            raise
        finally:
            watcher.stop()
            tokens = self._record(fault, gone)
        return tokens

    async def _serve(self) -> Fault | None:
        """Attempt after attempt until one serves; the fault to show where none did."""
        decided = self._decided
        chance = random.random()  # noqa: S311 - it spreads retries, and is no secret
        attempts = turn.attempts(decided.decision, decided.snapshot, time.monotonic(), self._ways, chance)
        try:
            step = next(attempts)
            while True:
                end = await self._performed(step)
                step = attempts.send((end, time.monotonic()))
        except StopIteration as stop:
            fault: Fault | None = stop.value
            return fault

    async def _performed(self, step: Attempt | Pause) -> AttemptEnd | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        self._answer.headers = self._identifying_headers(step)
        return await self._attempted(step)

    async def _attempted(self, attempt: Attempt) -> AttemptEnd:
        """One attempt from its beginning to its end, and what it says of the way it took."""
        began = time.monotonic()
        self._ways.began(attempt.binding, began)
        if self._dispatch is not None:
            self._given_up.append(self._dispatch)
        self._dispatch = dispatch = Dispatch(
            self._engine, self._protocol, self._decided, self._headers, self._answer, attempt
        )
        self._failed = False
        try:
            try:
                fault = await dispatch.begin()
                end = await dispatch.deliver() if fault is None else Failed(fault)
            finally:
                await dispatch.close()
        except BaseException:  # the client left, which says nothing about the provider
            self._ways.abandoned(attempt.binding)
            self._record_attempt(attempt, None, began, abandoned=True)
            raise
        fault = end.fault if isinstance(end, Failed) else None
        self._failed = fault is not None
        if fault is not None and dispatch.verbatim is not None:
            self._verbatim[fault] = dispatch.verbatim
        self._judge(dispatch, fault, began)
        self._record_attempt(attempt, fault, began)
        return end

    def _record_attempt(
        self, attempt: Attempt, fault: Fault | None, began: float, abandoned: bool = False
    ) -> None:
        if fault is not None and fault.code == MALFORMED:
            self._count_malformed(attempt, fault)
        record = AttemptRecord(
            decision=self._decided.decision.id,
            number=attempt.number,
            model=attempt.model.name,
            endpoint=attempt.endpoint.name,
            binding_id=attempt.binding.id,
            at=self._engine.clock(),
            seconds=time.monotonic() - began,
            fault=fault,
            abandoned=abandoned,
        )
        self._engine.metrics.attempted(record)
        self._engine.journal.record(record)

    def _count_malformed(self, attempt: Attempt, fault: Fault) -> None:
        """What is no answer of its protocol is the provider's bug or ours, and nobody else will tell the operator."""
        endpoint = attempt.endpoint.name
        self._engine.malformed[endpoint] += 1
        self._engine.log(
            "malformed",
            level="warning",
            decision=self._decided.decision.id,
            model=attempt.model.name,
            endpoint=endpoint,
            detail=fault.detail or fault.message,
        )

    def _judge(self, dispatch: Dispatch, fault: Fault | None, began: float) -> None:
        """What this attempt says of the way it took. A whole answer takes as long as it is, which is not slow. What a
        vendor says of the client's own credential says nothing of the way for others."""
        attempt, first = dispatch.attempt, dispatch.first_content
        if dispatch.clients_own and fault is not None and fault.kind in SPENT:
            self._ways.abandoned(attempt.binding)
            return
        rules = self._decided.snapshot.policy.failover.breaker
        waited = first - began if first is not None and self._decided.request.stream else None
        now = time.monotonic()
        for change in self._ways.ended(
            attempt.model, attempt.binding, fault, waited, rules, now, dispatch.reached
        ):
            self._tell(change)
            if change.state == "open" and not change.model:  # nobody can be reached there at all
                engine, name = self._engine, change.endpoint
                seconds = engine.settings.connect_timeout_seconds
                engine.knocks.begin(name, partial(_address, engine, name), engine.health, seconds, self._tell)

    def _tell(self, change: Condition) -> None:
        level = "warning" if change.state == "open" else "info"
        self._engine.log(
            "breaker", level=level, endpoint=change.endpoint, model=change.model, state=change.state
        )

    def _identifying_headers(self, attempt: Attempt) -> list[tuple[bytes, bytes]]:
        decision = self._decided.decision
        return [
            (b"x-weave-decision", decision.id.encode()),
            (b"x-weave-model", header_value(attempt.model.name)),
            (b"x-weave-rule", header_value(decision.rule)),
            (b"x-weave-reason", header_value(decision.reason)),
        ]

    def _record(self, fault: Fault | None, gone: bool) -> int:
        """How the request ended; the last attempt is the one that served it, if any did. Gives the tokens it took."""
        engine, last, now = self._engine, self._dispatch, time.monotonic()
        failed = fault is not None or self._failed
        served = last if last is not None and (not failed or last.first_content is not None) else None
        stop, usage = (served.stop, served.usage) if served is not None else (None, Usage())
        if usage is None or (served is not None and stop is None):
            usage = self._estimated(usage or Usage())
        first = last.first_content if last is not None else None
        attempt = served.attempt if served is not None else None
        result = Result(
            decision=self._decided.decision.id,
            at=self._engine.clock(),
            status=self._answer.status,
            model=attempt.model.name if attempt else "",
            endpoint=attempt.endpoint.name if attempt else "",
            attempts=last.attempt.number if last is not None else 0,
            stop=stop,
            usage=usage,
            cost_usd=cost_usd(usage, attempt.model.price) if attempt else 0.0,
            seconds=now - self._arrived,
            first_content_seconds=first - self._arrived if first is not None else None,
            fault=fault,
            client_gone=gone,
            dropped=losses.recorded(*last.losses) if last is not None else (),
            edits=last.outbound.edits if last is not None else (),
            credential="client" if served is not None and served.clients_own else "",
            wasted_usd=self._wasted_usd(last if served is None else None),
        )
        copied = bytes(self._answer.copied or b"")
        conclude(engine, self._decided, result, served.reply_id if served is not None else "", copied)
        log_result(engine.log, result)
        return usage.input_tokens + usage.output_tokens

    def _wasted_usd(self, last: Dispatch | None) -> float:
        """What attempts that did not serve must have cost: those that the provider took up."""
        tokens = self._decided.decision.features["context_tokens"]
        tried = self._given_up if last is None else (*self._given_up, last)
        taken = [
            (each.usage or Usage(), each.attempt.model.price)
            for each in tried
            if each.taken and not each.clients_own  # that is for the client's own account
        ]
        return sum(
            cost_usd(replace(usage, input_tokens=usage.input_tokens or tokens), price)
            for usage, price in taken
        )

    def _estimated(self, told: Usage) -> Usage:
        """What the tokens must have been where the provider did not come to tell, so that a hang-up is not free."""
        return replace(
            told,
            input_tokens=told.input_tokens or self._decided.decision.features["context_tokens"],
            output_tokens=max(told.output_tokens, self._answer.sent // BYTES_PER_TOKEN),
            estimated=True,
        )


def _address(engine: Engine, endpoint: str) -> str:
    found = engine.policies.snapshot.catalog.endpoints.get(endpoint)
    return found.base_url if found is not None else ""


def log_result(log: Logger, result: Result) -> None:
    log(
        "result",
        level="info" if result.fault is None else "warning",
        decision=result.decision,
        status=result.status,
        model=result.model or None,
        endpoint=result.endpoint or None,
        attempts=result.attempts,
        stop=result.stop,
        input_tokens=result.usage.input_tokens,
        output_tokens=result.usage.output_tokens,
        cost_usd=round(result.cost_usd, 6),
        seconds=round(result.seconds, 3),
        fault=result.fault.kind if result.fault else None,
        detail=(result.fault.detail or result.fault.message) if result.fault else None,
        client_gone=result.client_gone or None,
    )
