"""One attempt: one call of one provider, from the body it is sent to the last byte its client is handed.

It has two halves, and the first content parts them. `begin` ends where the provider's answer has begun, and whatever
came before that can still be thrown away, because nothing of it has reached the client. `deliver` hands the
answer on; from then on no other attempt may follow.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace

from engine import turn, wire
from engine.core.conversation import Loss
from engine.core.decision import Attempt, AttemptEnd, Failed, Served
from engine.core.errors import MALFORMED, Fault, FaultKind, LossError, UpstreamError, WeaveError
from engine.core.reply import StopReason, Usage
from engine.protocols.outbound import Outbound, outbound
from engine.protocols.pipe import Pipe, Translation, pipe, told
from engine.protocols.shape import Protocol, ReplyContext
from engine.protocols.speaking import spoken
from engine.protocols.tool_names import clients_names
from engine.server import losses
from engine.server.answer import Answer
from engine.server.credentials import (
    NO_CREDENTIAL,
    SPENT,
    credentials,
    fitting,
    missing,
    own_fault,
)
from engine.server.engine import Decided, Engine, before_of
from engine.server.receiving import aside
from engine.server.upstream import Call, Response
from engine.server.watch import Patience, Watch

# A whole answer may take as long as the longest generation does.
WHOLE_READ_SECONDS = 600.0
MOST_REPLY_BYTES = 64 * 1024 * 1024

# A provider that has told its whole stream gets this long to hang up, so that its connection can be used again.
LINGER_SECONDS = 1.0

# What a provider says of these is about the request, which is the client's.
VERBATIM: frozenset[FaultKind] = frozenset(
    {"invalid_request", "context_exceeded", "incapable", "request_too_large"}
)

# A byte order mark and blanks.
_BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"

SERVED = Served()


class Dispatch:
    """An attempt under way. `clients_own`: it carries its client's own credential, or should. `reached`: the provider
    answered at all. `taken`: it took the call up, and may charge for it whatever comes of it. `first_content`: when
    its answer began, on the monotonic clock. `verbatim`: the vendor's own body of the fault it ended in, where its
    client can read that."""

    def __init__(
        self,
        engine: Engine,
        protocol: Protocol,
        decided: Decided,
        headers: Mapping[str, str],
        answer: Answer,
        attempt: Attempt,
    ) -> None:
        self.attempt = attempt
        self.provider = spoken(attempt.endpoint.protocol, attempt.endpoint.dialect)
        self.clients_own = False
        self.reached = False
        self.taken = False
        self.first_content: float | None = None
        self.outbound = Outbound(b"")
        self.verbatim: bytes | None = None
        self._engine = engine
        self._protocol = protocol
        self._decided = decided
        self._headers = headers
        self._answer = answer
        self._credential = NO_CREDENTIAL
        self._response: Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._pipe: Pipe | None = None
        self._watch = Watch(self._patience())
        self._held = b""  # what is to be handed on first
        self._usage: Usage | None = None
        self._stop: StopReason | None = None
        self._reply_losses: tuple[Loss, ...] = ()
        self._reply_id = ""

    @property
    def usage(self) -> Usage | None:
        return self._pipe.usage if self._pipe is not None else self._usage

    @property
    def stop(self) -> StopReason | None:
        return self._pipe.stop if self._pipe is not None else self._stop

    @property
    def losses(self) -> tuple[tuple[Loss, ...], tuple[Loss, ...]]:
        """Of the request, and of the answer."""
        return self.outbound.losses, self._pipe.losses if self._pipe is not None else self._reply_losses

    @property
    def reply_id(self) -> str:
        return self._pipe.reply_id if self._pipe is not None else self._reply_id

    async def begin(self) -> Fault | None:
        """Up to the answer's first content; None where it is to be delivered now. Never raises for what a provider
        does wrong."""
        endpoint, engine = self.attempt.endpoint, self._engine
        found = credentials(endpoint, self.provider, self._protocol.name, self._headers, engine.environment)
        if not found:
            self.clients_own = endpoint.auth == "client"
            return missing(endpoint)
        try:
            await self._translate()
        except WeaveError as error:
            return error.fault
        fault: Fault | None = None
        for credential in engine.resting.awake(found, endpoint, time.monotonic()):
            await self.close()
            self._pipe, self.verbatim, self.taken = None, None, False
            self._credential, self.clients_own = credential, credential.whose == "client"
            fault = await self._asked()
            if fault is None or not self.clients_own or fault.kind not in SPENT:
                return fault
            engine.resting.rest(credential, endpoint, fault, time.monotonic())
        return fault

    async def _asked(self) -> Fault | None:
        try:
            fault = await self._begun()
        except WeaveError as error:
            fault = error.fault
        return fault if fault is None else self._credential.cleaned(fault)

    async def deliver(self) -> AttemptEnd:
        """Hand the answer on, to its end."""
        if self._pipe is None:
            await self._answer.whole(200, self._held)
            return SERVED
        return await self._stream(self._pipe)

    async def close(self) -> None:
        """Always; before the provider has come to its end this hangs up."""
        if self._response is not None:
            await self._response.close()

    async def _begun(self) -> Fault | None:
        try:
            async with self._watch:
                self._response = response = await self._engine.upstream.open(self._call())
                self.reached = True
                if not self.clients_own:  # the limits of one client are not those of this way
                    self._engine.balance.heard(self.attempt.binding, response.headers, time.monotonic())
                if not 200 <= response.status < 300:
                    return await self._refused(response)
                self.taken = True
                if not self._decided.request.stream:
                    return await self._whole(response)
                if self._thinks:
                    self._watch.spare()
                self._chunks = response.chunks()
                return await self._until_content(response, self._chunks)
        except TimeoutError:
            self.taken = True  # silence does not say that nothing is done
            return self._watch.fault

    @property
    def _thinks(self) -> bool:
        return "thinking" in self.attempt.model.can and turn.thinks(
            self._decided.request, self._decided.decision
        )

    def _patience(self) -> Patience:
        settings = self._engine.settings
        if not self._decided.request.stream:  # nothing of a whole answer comes before all of it is there
            return Patience(WHOLE_READ_SECONDS, WHOLE_READ_SECONDS, WHOLE_READ_SECONDS)
        silent = min(settings.first_content_seconds, self.attempt.left_seconds)
        return Patience(silent, settings.thinking_seconds, settings.stall_seconds)

    async def _translate(self) -> None:
        """The request as it arrived, for this provider; nothing of an earlier attempt is in it."""
        request = self._decided.request
        try:
            self.outbound = await aside(
                request.raw,
                outbound,
                request,
                self.provider,
                self.attempt.model,
                self.attempt.binding.id,
                self._decided.decision.effort,
                self._decided.snapshot.policy.lossy,
                before_of(self._engine, self._decided, self.attempt.endpoint),
            )
        except LossError as error:
            self.outbound = Outbound(b"", losses=error.losses)
            raise
        finally:
            self._answer.headers += losses.header(*self.losses)

    def _call(self) -> Call:
        settings, endpoint, provider = self._engine.settings, self.attempt.endpoint, self.provider
        stream = self._decided.request.stream
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "weave-engine",
            **self._credential.headers,
            **endpoint.headers,
        }
        if provider.name == self._protocol.name:  # nothing else of a client's headers travels on
            forwarded = {name: self._headers[name] for name in provider.forwards if name in self._headers}
            headers |= fitting(forwarded, self._credential)
        return Call(
            url=endpoint.base_url + provider.address(self.attempt.binding.id, stream=stream),
            headers=headers,
            body=self.outbound.body,
            connect_seconds=min(settings.connect_timeout_seconds, self.attempt.left_seconds),
            read_seconds=None,
        )

    async def _refused(self, response: Response) -> Fault:
        body = self._credential.clean(await response.read_start())
        fault = self.provider.read_fault(response.status, response.headers, body)
        if self.clients_own and fault.kind in SPENT:
            if self.provider.is_read_by(self._protocol) and _is_object(body):
                self.verbatim = body
            return own_fault(fault, self.attempt.endpoint)
        if fault.kind in ("authentication", "billing", "permission"):
            return _account_trouble(fault, self.attempt)
        if self.provider.is_read_by(self._protocol) and fault.kind in VERBATIM and _is_object(body):
            self.verbatim = body  # what the vendor says of its own protocol, nobody says better
        return fault

    async def _whole(self, response: Response) -> Fault | None:
        body = await response.read(MOST_REPLY_BYTES, self._watch.beat)
        try:
            found = wire.loads(body)
        except ValueError as error:
            found = str(error)
        if not isinstance(found, dict):
            message = "the provider's answer is no JSON object"
            return Fault("server_error", message, 502, "provider", MALFORMED, detail=str(found)[:200])
        reply = self.provider.read_reply(found)
        self._usage, self._stop = reply.usage, reply.stop.reason
        self.first_content = time.monotonic()
        context = self._context()
        if context.renamed or not self.provider.is_read_by(self._protocol):
            encoded = told(reply, self._protocol, context)
            body = wire.dumps(encoded.body)
            self._reply_losses = encoded.dropped
            self._answer.headers = [one for one in self._answer.headers if one[0] != losses.HEADER]
            self._answer.headers += losses.header(*self.losses)
        else:
            self._reply_id = reply.id
        self._held = body
        return None

    def _piped(self, response: Response, first: bytes) -> Pipe:
        """What an answer goes through that begins so."""
        context = self._context()
        if "json" in response.headers.get("content-type", "") or first.lstrip(_BEFORE_JSON).startswith(b"{"):
            # A whole answer, though a stream was asked for: clients ask again without end when they are given that.
            self._pipe = Translation(self._protocol, self.provider, context)
        else:
            self._pipe = pipe(self._protocol, self.provider, context, self.outbound.withhold_usage)
        self._watch.follow(self._pipe.pulse)
        return self._pipe

    async def _until_content(self, response: Response, chunks: AsyncIterator[bytes]) -> Fault | None:
        """Keep what the provider sends up to its first content, translated. Ends too where the stream ends before.

        An error that came together with content, in one piece, came in time: nobody has seen that content."""
        held: list[bytes] = []
        size = 0
        stream: Pipe | None = None
        try:
            async for chunk in chunks:
                stream = stream or self._piped(response, chunk)
                size += len(chunk)
                if size > MOST_REPLY_BYTES:
                    raise UpstreamError(_endless())
                held.append(stream.feed(chunk))
                self._watch.heard()
                if stream.content_started or stream.ended:
                    break
            else:
                stream = stream or self._piped(response, b"")
                held.append(stream.close())
        except UpstreamError as error:
            stream = stream or self._piped(response, b"")
            held.append(stream.close(error.fault))
        if stream.fault is not None:
            return stream.fault
        self._held = b"".join(held)
        self.first_content = time.monotonic()
        return None

    async def _stream(self, stream: Pipe) -> AttemptEnd:
        chunks = self._chunks
        assert chunks is not None
        await self._answer.start_stream(self._engine.settings.keep_alive_seconds)
        await self._answer.write(self._held)
        why: Fault | None = None
        try:
            if not stream.ended:
                async with self._watch:
                    await self._rest(stream, chunks)
        except UpstreamError as error:
            why = error.fault
        except TimeoutError:
            why = self._watch.fault
        last = stream.close(why)
        await self._answer.end(last if stream.fault is None else self._credential.clean(last))
        if stream.fault is None:
            await _linger(chunks)
            return SERVED
        return Failed(self._credential.cleaned(stream.fault), committed=True)

    async def _rest(self, stream: Pipe, chunks: AsyncIterator[bytes]) -> None:
        """Hand on what comes, to the end; what a provider sends behind its own end is for nobody."""
        answer, watch = self._answer, self._watch
        async for chunk in chunks:
            piece = stream.feed(chunk)
            watch.heard()
            if stream.fault is not None:
                piece = self._credential.clean(piece)
            watch.held_up = True
            await answer.write(piece)
            watch.held_up = False
            if stream.ended:
                return

    def _context(self) -> ReplyContext:
        request, decision = self._decided.request, self._decided.decision
        return ReplyContext(
            model=request.model,
            id=decision.id,
            created=int(decision.at),
            include_usage=_wants_usage(request.body),
            tools=request.tools,
            renamed=clients_names(request, self.provider.limits),
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
