"""Drives one request: decide, call a provider, hand its answer on, and write down what happened.

What may still change and what may not turns on one moment: the first content that reaches the client. Before it,
a failed attempt is thrown away, whatever it sent (`message_start` and pings included), and the next one begins
with the request as it arrived. After it, the answer ends properly or in an error of the client's protocol.

Headers wait for content too, but not for ever: after `hold_seconds` they go out, so that a client behind a
patient proxy sees life. From then on a failure is told inside the stream, and another model may still take over.
"""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from engine import turn, wire
from engine.core.cost import cost_usd
from engine.core.decision import Attempt, AttemptEnd, AttemptRecord, Failed, Result, Served
from engine.core.errors import Fault, UpstreamError, WeaveError
from engine.core.reply import StopReason, Usage
from engine.protocols import PROTOCOLS
from engine.protocols.outbound import Outbound, outbound
from engine.protocols.pipe import Pipe, pipe
from engine.protocols.shape import Protocol, ReplyContext
from engine.server.answer import Answer, header_value
from engine.server.engine import Decided, Engine, conclude, decide, remember
from engine.server.log import Logger
from engine.server.receiving import GoneError, Watcher, header_map, read_body
from engine.server.upstream import Call, Response

# A whole answer may take as long as the longest generation does.
WHOLE_READ_SECONDS = 600.0
MOST_REPLY_BYTES = 64 * 1024 * 1024

# Wire bytes of a streamed reply for each token in it, framing included; a median of recorded streams.
BYTES_PER_TOKEN = 100

# What a client says to its own vendor and the vendor must hear; nothing else of its headers travels on.
FORWARDED_HEADERS = ("anthropic-version", "anthropic-beta")

SERVED = Served()


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
            decided = decide(engine, self._protocol, raw, headers, self._told)
            remember(engine, decided)
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
                "bug", level="error", protocol=self._protocol.name, error=repr(error), at=_where(error)
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
        self._verbatim: dict[Fault, bytes] = {}

    async def run(self, receive: Receive) -> None:
        """Serve the client, unless it leaves first: then the provider's call is given up at once."""
        fault: Fault | None = None
        gone = False
        watcher = Watcher(receive, self._answer)
        try:
            fault = await self._serve()
            if fault is not None:
                await self._answer.fail(fault, self._verbatim.get(fault))
        except asyncio.CancelledError:
            if not watcher.gone:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            gone = True
        finally:
            watcher.stop()
            self._record(fault, gone)

    async def _serve(self) -> Fault | None:
        """Attempt after attempt until one serves; the fault to show where none did."""
        decided = self._decided
        attempts = turn.attempts(decided.decision, decided.snapshot, time.monotonic())
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
        end = await self._try(attempt)
        fault = end.fault if isinstance(end, Failed) else None
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

    async def _try(self, attempt: Attempt) -> AttemptEnd:
        """One call of one provider. Never raises for what a provider does wrong."""
        provider = PROTOCOLS[attempt.endpoint.protocol]
        key = self._engine.environment.get(attempt.endpoint.api_key_env, "")
        if attempt.endpoint.api_key_env and not key:
            return Failed(_no_key(attempt))
        decided = self._decided
        response: Response | None = None
        try:
            self._outbound = outbound(
                decided.request, provider, attempt.model, attempt.binding.id, decided.decision.effort
            )
            response = await self._engine.upstream.open(self._call(attempt, provider, key))
            if response.status >= 400:
                return await self._refused(provider, response)
            if decided.request.stream:
                return await self._stream(provider, response)
            return await self._whole(provider, response)
        except WeaveError as error:
            return Failed(error.fault)
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
        if provider is self._protocol:
            headers |= {name: self._headers[name] for name in FORWARDED_HEADERS if name in self._headers}
        return Call(
            url=endpoint.base_url + provider.address(attempt.binding.id, stream=self._decided.request.stream),
            headers=headers,
            body=self._outbound.body,
            connect_seconds=settings.connect_timeout_seconds,
            read_seconds=settings.stall_seconds if self._decided.request.stream else WHOLE_READ_SECONDS,
        )

    async def _refused(self, provider: Protocol, response: Response) -> Failed:
        body = await response.read_start()
        fault = provider.read_fault(response.status, response.headers, body)
        if fault.kind in ("authentication", "billing", "permission") and self._attempt is not None:
            return Failed(_account_trouble(fault, self._attempt))
        if provider is self._protocol and fault.kind in (
            "invalid_request",
            "context_exceeded",
            "request_too_large",
        ):
            self._verbatim[fault] = body  # what the vendor says of its own protocol, nobody says better
        return Failed(fault)

    async def _whole(self, provider: Protocol, response: Response) -> AttemptEnd:
        body = await response.read(MOST_REPLY_BYTES)
        try:
            reply = provider.read_reply(wire.loads(body))
        except ValueError as error:
            fault = Fault(
                "server_error", "the provider's answer is not JSON", 502, "provider", detail=str(error)
            )
            return Failed(fault)
        self._usage, self._stop = reply.usage, reply.stop.reason
        self._first_content = time.monotonic()
        if provider is not self._protocol:
            encoded = self._protocol.write_reply(reply, self._context())
            body = wire.dumps(encoded.body)
        await self._answer.whole(200, body)
        return SERVED

    async def _stream(self, provider: Protocol, response: Response) -> AttemptEnd:
        settings = self._engine.settings
        stream = self._pipe = pipe(self._protocol, provider, self._context(), self._outbound.withhold_usage)
        chunks = response.chunks()
        try:
            async with asyncio.timeout(settings.first_content_seconds):
                held = await self._until_content(stream, chunks)
        except TimeoutError:
            waited = f"{settings.first_content_seconds:g} seconds"
            return Failed(Fault("timeout", f"the provider sent no content for {waited}", 0, "provider"))
        if stream.fault is not None and not stream.content_started:
            return Failed(stream.fault)
        await self._start()
        self._first_content = time.monotonic()
        await self._answer.write(held)
        try:
            async for chunk in chunks:
                await self._answer.write(stream.feed(chunk))
                if stream.ended and stream.fault is not None:
                    break
        except UpstreamError as error:
            self._engine.log(
                "broke", level="warning", decision=self._decided.decision.id, detail=error.fault.detail
            )
        await self._answer.end(stream.close())
        return SERVED if stream.fault is None else Failed(stream.fault, committed=True)

    async def _until_content(self, stream: Pipe, chunks: AsyncIterator[bytes]) -> bytes:
        """What the provider sent up to its first content, translated. Ends too where the stream ends before."""
        held: list[bytes] = []
        hold = asyncio.get_running_loop().call_later(self._engine.settings.hold_seconds, self._show_life)
        try:
            async for chunk in chunks:
                held.append(stream.feed(chunk))
                if stream.content_started or stream.ended:
                    return b"".join(held)
        except UpstreamError as error:
            if stream.usage is None:
                raise
            self._engine.log(
                "broke", level="warning", decision=self._decided.decision.id, detail=error.fault.detail
            )
        finally:
            hold.cancel()
        held.append(stream.close())
        return b"".join(held)

    def _show_life(self) -> None:
        if not self._answer.started:
            self._starting = asyncio.ensure_future(
                self._answer.start_stream(self._engine.settings.keep_alive_seconds)
            )

    async def _start(self) -> None:
        if self._starting is not None:
            await self._starting
        if not self._answer.started:
            await self._answer.start_stream(self._engine.settings.keep_alive_seconds)

    def _context(self) -> ReplyContext:
        request, decision = self._decided.request, self._decided.decision
        return ReplyContext(
            model=request.model,
            id=decision.id,
            created=int(decision.at),
            include_usage=_wants_usage(request.body),
            tools=request.tools,
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
            dropped=self._outbound.dropped,
            edits=self._outbound.edits,
        )
        conclude(engine, self._decided, result)
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


def _wants_usage(body: Mapping[str, object]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _where(error: BaseException) -> str:
    """The last place of ours an exception passed, for the log; never its values."""
    frames = traceback.extract_tb(error.__traceback__)
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
