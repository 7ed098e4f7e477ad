"""Drives one request: decide, call a provider, hand its answer on, and write down what happened.

What may still change and what may not turns on one moment: the first content that reaches the client. Before it,
a failed attempt is thrown away, whatever it sent (`message_start` and pings included), and the next one begins
with the request as it arrived. After it, the answer ends properly or in an error of the client's protocol.

Headers wait for content too, but not for ever: after `hold_seconds` they go out, so that a client behind a
patient proxy sees life. From then on a failure is told inside the stream, and another model may still take over.
"""

import asyncio
import os
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from engine import turn, wire
from engine.core.conversation import Loss
from engine.core.cost import cost_usd
from engine.core.decision import Attempt, AttemptEnd, AttemptRecord, Failed, Result, Served
from engine.core.errors import MALFORMED, Fault, LossError, UpstreamError, WeaveError
from engine.core.reply import StopReason, Usage
from engine.protocols.outbound import Outbound, outbound
from engine.protocols.pipe import Pipe, Translation, pipe, told
from engine.protocols.shape import Protocol, ReplyContext
from engine.protocols.speaking import spoken
from engine.protocols.tool_names import clients_names
from engine.routing.ways import RequestWays
from engine.server import losses
from engine.server.answer import Answer, header_value
from engine.server.engine import Decided, Engine, before_of, conclude, decide, remember
from engine.server.log import Logger
from engine.server.receiving import GoneError, Watcher, aside, header_map, read_body
from engine.server.tasks import finish
from engine.server.upstream import Call, Response

# A whole answer may take as long as the longest generation does.
WHOLE_READ_SECONDS = 600.0
MOST_REPLY_BYTES = 64 * 1024 * 1024

# Wire bytes of a streamed reply for each token in it, framing included; a median of recorded streams.
BYTES_PER_TOKEN = 100

# A provider that has told its whole stream gets this long to hang up, so that its connection can be used again.
LINGER_SECONDS = 1.0

# What is shorter is no secret, and replacing it would hide words.
SHORTEST_KEY = 8

SERVED = Served()

_OURS = os.path.join("engine", "")


class Relay:
    """The ASGI application behind one path: everything a client of `protocol` sends there."""

    def __init__(self, engine: Engine, protocol: Protocol, told: Mapping[str, object] | None = None) -> None:
        self._engine = engine
        self._protocol = protocol
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine, answer = self._engine, Answer(send, self._protocol)
        arrived = time.monotonic()
        engine.running += 1
        try:
            headers = header_map(scope)
            raw = await read_body(receive, headers, engine.settings.max_body_bytes)
            decided = await decide(engine, self._protocol, raw, headers, self._told)
            if (finished := remember(engine, decided)) is not None:
                engine.beside(finish(engine, finished))
            await Exchange(engine, self._protocol, decided, headers, answer, arrived).run(receive)
        except GoneError:
            return
        except WeaveError as error:
            engine.log(
                "refused",
                level="warning",
                protocol=self._protocol.name,
                kind=error.fault.kind,
                message=error.fault.message,
            )
            await answer.fail(error.fault)
        except Exception as error:
            engine.log(
                "bug",
                level="error",
                protocol=self._protocol.name,
                error=type(error).__name__,  # no more: its text may quote a prompt, or a key
                at=_where(error),
            )
            await answer.fail(Fault("server_error", "the engine made a mistake; its log says which"))
        finally:
            engine.running -= 1
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
        self._attempt: Attempt | None = None
        self._outbound = Outbound(b"")
        self._pipe: Pipe | None = None
        self._usage: Usage | None = None
        self._stop: StopReason | None = None
        self._starting: asyncio.Task[None] | None = None
        self._first_content: float | None = None
        self._ways = RequestWays(engine.health, engine.balance, decided.decision.session, decided.decision.id)
        self._reached = False  # whether the attempt under way was answered at all
        self._verbatim: dict[Fault, bytes] = {}
        self._reply_losses: tuple[Loss, ...] = ()
        self._reply_id = ""

    async def run(self, receive: Receive) -> None:
        """Serve the client, unless it leaves first: then the provider's call is given up at once."""
        fault: Fault | None = None
        gone = False
        watcher = Watcher(receive, self._answer)
        hold = asyncio.get_running_loop().call_later(self._engine.settings.hold_seconds, self._show_life)
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
        finally:
            hold.cancel()
            watcher.stop()
            self._record(fault, gone)

    async def _serve(self) -> Fault | None:
        """Attempt after attempt until one serves; the fault to show where none did."""
        decided = self._decided
        attempts = turn.attempts(decided.decision, decided.snapshot, time.monotonic(), self._ways)
        try:
            attempt = next(attempts)
            while True:
                self._attempt = attempt
                self._answer.headers = self._identifying_headers(attempt)
                end = await self._recorded(attempt)
                attempt = attempts.send((end, time.monotonic()))
        except StopIteration as stop:
            fault: Fault | None = stop.value
            return fault

    async def _recorded(self, attempt: Attempt) -> AttemptEnd:
        began = time.monotonic()
        self._ways.began(attempt.binding, began)
        self._reached, self._first_content = False, None
        try:
            end = await self._try(attempt)
        except BaseException:  # the client left, which says nothing about the provider
            self._ways.abandoned(attempt.binding)
            raise
        fault = end.fault if isinstance(end, Failed) else None
        self._judge(attempt, fault, began)
        if fault is not None and fault.code == MALFORMED:
            self._count_malformed(attempt, fault)
        self._engine.journal.record(
            AttemptRecord(
                decision=self._decided.decision.id,
                number=attempt.number,
                model=attempt.model.name,
                endpoint=attempt.endpoint.name,
                binding_id=attempt.binding.id,
                at=time.time(),
                seconds=time.monotonic() - began,
                fault=fault,
            )
        )
        return end

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

    def _judge(self, attempt: Attempt, fault: Fault | None, began: float) -> None:
        """What this attempt says of the way it took. A whole answer takes as long as it is, which is not slow."""
        rules = self._decided.snapshot.policy.failover.breaker
        streamed = self._first_content is not None and self._decided.request.stream
        waited = self._first_content - began if streamed and self._first_content is not None else None
        now = time.monotonic()
        for change in self._ways.ended(
            attempt.model, attempt.binding, fault, waited, rules, now, self._reached
        ):
            level = "warning" if change.state == "open" else "info"
            self._engine.log(
                "breaker", level=level, endpoint=change.endpoint, model=change.model, state=change.state
            )

    async def _try(self, attempt: Attempt) -> AttemptEnd:
        """One call of one provider. Never raises for what a provider does wrong."""
        provider = spoken(attempt.endpoint.protocol, attempt.endpoint.dialect)
        key = self._engine.environment.get(attempt.endpoint.api_key_env, "")
        if attempt.endpoint.api_key_env and not key:
            return Failed(_no_key(attempt))
        try:
            end = await self._tried(attempt, provider, key)
        except WeaveError as error:
            end = Failed(error.fault)
        if isinstance(end, Failed):
            end = replace(end, fault=_without_key(end.fault, key))
        return end

    async def _tried(self, attempt: Attempt, provider: Protocol, key: str) -> AttemptEnd:
        request, effort = self._decided.request, self._decided.decision.effort
        lossy = self._decided.snapshot.policy.lossy
        self._outbound = Outbound(b"")
        try:
            self._outbound = await aside(
                request.raw,
                outbound,
                request,
                provider,
                attempt.model,
                attempt.binding.id,
                effort,
                lossy,
                before_of(self._engine, self._decided, attempt.endpoint),
            )
        except LossError as error:
            self._outbound = Outbound(b"", losses=error.losses)
            self._answer.headers += losses.header(error.losses)
            raise
        self._answer.headers += losses.header(self._outbound.losses)
        patience = self._engine.settings.first_content_seconds if request.stream else None
        response: Response | None = None
        try:
            async with asyncio.timeout(patience):
                response = await self._engine.upstream.open(self._call(attempt, provider, key))
                self._reached = True
                self._engine.balance.heard(attempt.binding, response.headers, time.monotonic())
                if not 200 <= response.status < 300:
                    return await self._refused(provider, response, key)
                if not request.stream:
                    return await self._whole(provider, response)
                stream, chunks = self._piped(provider, response), response.chunks()
                held = await self._until_content(stream, chunks)
            return await self._stream(stream, held, chunks)
        except TimeoutError:
            silent = f"the provider sent no content for {patience:g} seconds"
            return Failed(Fault("timeout", silent, 0, "provider"))
        finally:
            if response is not None:
                await response.close()

    def _call(self, attempt: Attempt, provider: Protocol, key: str) -> Call:
        settings, endpoint = self._engine.settings, attempt.endpoint
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if self._decided.request.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "weave-engine",
            **provider.headers(key),
            **endpoint.headers,
        }
        if provider.name == self._protocol.name:  # nothing else of a client's headers travels on
            headers |= {name: self._headers[name] for name in provider.forwards if name in self._headers}
        return Call(
            url=endpoint.base_url + provider.address(attempt.binding.id, stream=self._decided.request.stream),
            headers=headers,
            body=self._outbound.body,
            connect_seconds=settings.connect_timeout_seconds,
            read_seconds=settings.stall_seconds if self._decided.request.stream else WHOLE_READ_SECONDS,
        )

    async def _refused(self, provider: Protocol, response: Response, key: str) -> Failed:
        body = await response.read_start()
        if len(key) >= SHORTEST_KEY:
            body = body.replace(key.encode("utf-8", "replace"), b"***")
        fault = provider.read_fault(response.status, response.headers, body)
        if fault.kind in ("authentication", "billing", "permission") and self._attempt is not None:
            return Failed(_account_trouble(fault, self._attempt))
        if (
            provider.is_read_by(self._protocol)
            and fault.kind in ("invalid_request", "context_exceeded", "request_too_large")
            and _is_object(body)
        ):
            self._verbatim[fault] = body  # what the vendor says of its own protocol, nobody says better
        return Failed(fault)

    async def _whole(self, provider: Protocol, response: Response) -> AttemptEnd:
        body = await response.read(MOST_REPLY_BYTES)
        try:
            found = wire.loads(body)
        except ValueError as error:
            found = str(error)
        if not isinstance(found, dict):
            message = "the provider's answer is no JSON object"
            return Failed(Fault("server_error", message, 502, "provider", MALFORMED, detail=str(found)[:200]))
        reply = provider.read_reply(found)
        self._usage, self._stop = reply.usage, reply.stop.reason
        self._first_content = time.monotonic()
        context = self._context(provider)
        if context.renamed or not provider.is_read_by(self._protocol):
            encoded = told(reply, self._protocol, context)
            body = wire.dumps(encoded.body)
            self._reply_losses = encoded.dropped
            self._answer.headers = [one for one in self._answer.headers if one[0] != losses.HEADER]
            self._answer.headers += losses.header(self._outbound.losses, encoded.dropped)
        else:
            self._reply_id = reply.id
        await self._answer.whole(200, body)
        return SERVED

    def _piped(self, provider: Protocol, response: Response) -> Pipe:
        context, withhold_usage = self._context(provider), self._outbound.withhold_usage
        if "json" in response.headers.get("content-type", ""):
            # A whole answer, though a stream was asked for: clients ask again without end when they are given that.
            self._pipe = Translation(self._protocol, provider, context)
        else:
            self._pipe = pipe(self._protocol, provider, context, withhold_usage)
        return self._pipe

    async def _stream(self, stream: Pipe, held: bytes, chunks: AsyncIterator[bytes]) -> AttemptEnd:
        if stream.fault is not None and not stream.content_started:
            return Failed(stream.fault)
        await self._start()
        self._first_content = time.monotonic()
        await self._answer.write(held)
        try:
            if not stream.ended:
                await self._rest(stream, chunks)
        except UpstreamError as error:
            self._engine.log(
                "broke", level="warning", decision=self._decided.decision.id, detail=error.fault.detail
            )
        await self._answer.end(stream.close())
        if stream.fault is None:
            await _linger(chunks)
        return SERVED if stream.fault is None else Failed(stream.fault, committed=True)

    async def _rest(self, stream: Pipe, chunks: AsyncIterator[bytes]) -> None:
        """Hand on what comes, to the end; what a provider sends behind its own end is for nobody."""
        async for chunk in chunks:
            await self._answer.write(stream.feed(chunk))
            if stream.ended:
                return

    async def _until_content(self, stream: Pipe, chunks: AsyncIterator[bytes]) -> bytes:
        """What the provider sent up to its first content, translated. Ends too where the stream ends before."""
        held: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > MOST_REPLY_BYTES:
                    raise UpstreamError(_endless())
                held.append(stream.feed(chunk))
                if stream.content_started or stream.ended:
                    return b"".join(held)
        except UpstreamError as error:
            if stream.usage is None:
                raise
            self._engine.log(
                "broke", level="warning", decision=self._decided.decision.id, detail=error.fault.detail
            )
        held.append(stream.close())
        return b"".join(held)

    def _show_life(self) -> None:
        if self._decided.request.stream and not self._answer.started:
            self._starting = asyncio.ensure_future(
                self._answer.start_stream(self._engine.settings.keep_alive_seconds)
            )

    async def _start(self) -> None:
        if self._starting is not None:
            await self._starting
        await self._answer.start_stream(self._engine.settings.keep_alive_seconds)

    def _context(self, provider: Protocol) -> ReplyContext:
        request, decision = self._decided.request, self._decided.decision
        return ReplyContext(
            model=request.model,
            id=decision.id,
            created=int(decision.at),
            include_usage=_wants_usage(request.body),
            tools=request.tools,
            renamed=clients_names(request, provider.limits),
        )

    def _identifying_headers(self, attempt: Attempt) -> list[tuple[bytes, bytes]]:
        decision = self._decided.decision
        return [
            (b"x-weave-decision", decision.id.encode()),
            (b"x-weave-model", header_value(attempt.model.name)),
            (b"x-weave-rule", header_value(decision.rule)),
            (b"x-weave-reason", header_value(decision.reason)),
        ]

    def _record(self, fault: Fault | None, gone: bool) -> None:
        engine, attempt, now = self._engine, self._attempt, time.monotonic()
        served = (
            attempt if attempt is not None and (fault is None or self._first_content is not None) else None
        )
        if self._pipe is not None and self._first_content is not None:
            self._usage, self._stop = self._pipe.usage, self._pipe.stop
            self._reply_losses, self._reply_id = self._pipe.losses, self._pipe.reply_id
        usage = self._usage
        if served is None:
            usage = Usage()
        elif usage is None or self._stop is None:
            usage = self._estimated(usage or Usage())
        result = Result(
            decision=self._decided.decision.id,
            at=time.time(),
            status=self._answer.status,
            model=served.model.name if served else "",
            endpoint=served.endpoint.name if served else "",
            attempts=attempt.number if attempt else 0,
            stop=self._stop,
            usage=usage,
            cost_usd=cost_usd(usage, served.model.price) if served else 0.0,
            seconds=now - self._arrived,
            first_content_seconds=self._first_content - self._arrived if self._first_content else None,
            fault=fault,
            client_gone=gone,
            dropped=losses.recorded(self._outbound.losses, self._reply_losses),
            edits=self._outbound.edits,
        )
        conclude(engine, self._decided, result, self._reply_id)
        log_result(engine.log, result)

    def _estimated(self, told: Usage) -> Usage:
        """What the tokens must have been where the provider did not come to tell, so that a hang-up is not free."""
        return replace(
            told,
            input_tokens=told.input_tokens or self._decided.decision.features["context_tokens"],
            output_tokens=max(told.output_tokens, self._answer.sent // BYTES_PER_TOKEN),
            estimated=True,
        )


def _no_key(attempt: Attempt) -> Fault:
    endpoint = attempt.endpoint
    return Fault(
        "authentication",
        f"the engine has no key for endpoint {endpoint.name!r}: set {endpoint.api_key_env} where weave-engine runs",
        origin="provider",
    )


def _account_trouble(fault: Fault, attempt: Attempt) -> Fault:
    """A provider that refuses the engine's account must not look as if it refused the client's."""
    endpoint = attempt.endpoint
    key = f" ({endpoint.api_key_env})" if endpoint.api_key_env else ""
    return replace(
        fault, message=f"endpoint {endpoint.name!r} refused the engine's key{key}: {fault.message}"
    )


async def _linger(chunks: AsyncIterator[bytes]) -> None:
    """Let a provider finish its body, so that the connection can be used again; the client has its answer already."""
    with suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(LINGER_SECONDS):
            async for _ in chunks:
                pass


def _without_key(fault: Fault, key: str) -> Fault:
    """Some providers repeat the key they refuse; it is nobody's business, the log's included."""
    if len(key) < SHORTEST_KEY or key not in fault.message + fault.detail:
        return fault
    return replace(fault, message=fault.message.replace(key, "***"), detail=fault.detail.replace(key, "***"))


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(wire.loads(body), dict)
    except ValueError:
        return False


def _endless() -> Fault:
    return Fault(
        "server_error", f"the provider sent {MOST_REPLY_BYTES} bytes without content", 502, "provider"
    )


def _wants_usage(body: Mapping[str, object]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _where(error: BaseException) -> str:
    """The last place of ours an exception passed, for the log; never its values."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _OURS in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


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
