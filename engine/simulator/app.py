"""The ASGI application: a request comes in, is judged as its vendor would, meets its troubles, and is
answered.

Plain ASGI and nothing above it, because what it plays is badly behaved: it must see a client leave the moment
it does, stop in the middle of an event, and break a connection without saying so.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.simulator.anthropic_wire import ANTHROPIC
from engine.simulator.caching import RULES, PromptCache
from engine.simulator.channel import Channel, HungUp, Message, Receive, Received, Send
from engine.simulator.faults import KINDS, Faults, Order, Trouble
from engine.simulator.gemini_wire import GEMINI
from engine.simulator.mind import spent, think
from engine.simulator.models import KEY_HEADER, PROVIDERS, Provider, SimulatedModel, find
from engine.simulator.openai_wire import OPENAI
from engine.simulator.prompt import Answer, Prompt
from engine.simulator.responses_wire import RESPONSES
from engine.simulator.script import CALL, Script, parse
from engine.simulator.wire import Asked, Frame, Operation, Refused, Wire

WIRES: Mapping[str, Wire] = {
    "anthropic-messages": ANTHROPIC,
    "openai-chat": OPENAI,
    "openai-responses": RESPONSES,
    "gemini": GEMINI,
}
LARGEST_BODY = 32 * 1024 * 1024
FOR_EVER = 3_600.0
_ORDER_FIELDS = ("status", "retry_after", "seconds", "after", "message")
_HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloud</center>\r\n</body>\r\n</html>\r\n"
)
_ENDINGS = (
    b"[DONE]",
    b"message_delta",
    b"event: response.completed",
    b"event: response.incomplete",
    b'"finishReason"',
)
_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@dataclass(slots=True)
class Application:
    """`pace` multiplies the models' own times: 0 answers at once, 1 takes as long as the real ones do.

    `hang_up` breaks the connection a scope came by; whoever runs the application provides it.
    """

    models: tuple[SimulatedModel, ...]
    seed: int
    pace: float
    bites: bool
    received: deque[Received]
    faults: Faults
    hang_up: Callable[[Mapping[str, Any]], None]
    cache: PromptCache = field(default_factory=PromptCache)
    _number: int = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self._number += 1
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        record = Received(self._number, time.time(), scope["method"], scope["path"], headers)
        body = await _whole_body(receive)
        if body is None:
            record.client_gone = True
            self.received.append(record)
            return
        record.body = body
        channel = Channel(send, record, lambda: self.hang_up(scope), self.bites, self.seed)
        if record.path.startswith("/_sim/"):
            await self._control(record, channel)
            return
        self.received.append(record)
        work = asyncio.create_task(self._serve(record, channel))
        watch = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Without this, a client that hung up would be answered to the end by nobody's leave.
            record.client_gone = not record.done and not work.done()
            watch.cancel()
            if not work.done():
                work.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _serve(self, record: Received, channel: Channel) -> None:
        name, _, path = record.path.lstrip("/").partition("/")
        provider = PROVIDERS.get(name)
        wire = WIRES[provider.protocol] if provider else ANTHROPIC
        path = f"/{path}"
        if provider is None or not path.startswith(provider.base):
            await channel.send_json(404, {"error": {"message": f"no provider at {record.path}"}})
            return
        record.provider = name
        operation = wire.route(record.method, path.removeprefix(provider.base))
        try:
            if operation is None:
                raise wire.trouble(404, f"Invalid URL ({record.method} {path})")
            if KEY_HEADER not in record.headers:
                wire.allow(provider, record.headers)
            await self._operate(operation, wire, provider, record, channel)
        except Refused as refused:
            await self._send_refusal(refused, wire, provider, record, channel)
        except HungUp:
            pass

    async def _operate(
        self, operation: Operation, wire: Wire, provider: Provider, record: Received, channel: Channel
    ) -> None:
        request_id = f"req_{self.seed}_{record.number}"
        served = tuple(model for model in self.models if model.provider == provider.name)
        if operation in ("models", "model"):
            wanted = record.path.split("/models/", 1)[1] if operation == "model" else None
            listed = wire.listed(served, wanted)
            await channel.send_json(200, listed, wire.headers(provider, request_id))
            return
        told = wire.told(record.path)
        record.json = {**_parsed(record.body, wire), **told}
        record.model = str(told.get("@model") or record.json.get("model", ""))
        ordered = self._ordered(provider, record) if operation == "answer" else ()
        await _early(ordered, wire, record, channel)
        prompt = wire.read(Asked(provider, record.headers, record.json, served), operation)
        if operation == "count":
            await channel.send_json(200, wire.counted(prompt), wire.headers(provider, request_id))
            return
        directed = f"{prompt.system}\n{prompt.newest}".replace(CALL, f"{self.seed}-{record.number}")
        script = parse(directed, provider.name, prompt.model.id)
        await _early(script.troubles, wire, record, channel)
        answer = self._answer(prompt, script, provider, record)
        troubles = (*ordered, *script.troubles)
        headers = wire.headers(provider, request_id)
        gzip = script.gzip and "gzip" in record.headers.get("accept-encoding", "")
        reply = _Reply(self, wire, provider, prompt, answer, troubles, record, channel, headers, gzip)
        await (reply.stream() if prompt.stream else reply.whole())

    def _ordered(self, provider: Provider, record: Received) -> tuple[Trouble, ...]:
        model = find(self.models, provider.name, record.model)
        names = (record.model, model.name, model.id) if model else (record.model,)
        return self.faults.due(provider.name, names, record.number)

    def _answer(self, prompt: Prompt, script: Script, provider: Provider, record: Received) -> Answer:
        thought = think(prompt, script, self.seed)
        key = record.headers.get("x-api-key") or record.headers.get("authorization", "")
        owner = f"{provider.name}/{prompt.model.id}/{key}"
        read, written = self.cache.use(owner, prompt.segments, RULES[provider.dialect], time.monotonic())
        tokens = spent(thought, prompt, read, written)
        name = f"{prompt.digest}/{self.seed}/{record.number}"
        record.answer = Answer(name, int(record.at), thought.blocks, thought.stop, thought.sequence, tokens)
        return record.answer

    async def _send_refusal(
        self, refused: Refused, wire: Wire, provider: Provider, record: Received, channel: Channel
    ) -> None:
        request_id = f"req_{self.seed}_{record.number}"
        headers = {**wire.headers(provider, request_id), **_retry(refused)}
        await channel.send_json(refused.status, wire.refusal(refused, provider, request_id), headers)

    async def _control(self, record: Received, channel: Channel) -> None:
        match record.method, record.path:
            case "GET", "/_sim/health":
                await channel.send_json(200, {"models": [model.id for model in self.models]})
            case "GET", "/_sim/received":
                await channel.send_json(200, [each.summary() for each in self.received])
            case "DELETE", "/_sim/faults":
                self.faults.heal()
                await channel.send_json(200, {"standing": 0})
            case "POST", "/_sim/faults":
                try:
                    self.faults.add(order_from(json.loads(record.body)))
                except (ValueError, TypeError) as wrong:
                    await channel.send_json(400, {"error": str(wrong)})
                    return
                await channel.send_json(200, {"standing": len(self.faults.standing)})
            case _:
                await channel.send_json(404, {"error": f"no {record.method} {record.path}"})


@dataclass(slots=True)
class _Reply:
    """One answer on its way out, with the troubles it meets."""

    app: Application
    wire: Wire
    provider: Provider
    prompt: Prompt
    answer: Answer
    troubles: tuple[Trouble, ...]
    record: Received
    channel: Channel
    headers: Mapping[str, str]
    gzip: bool
    told: int = 0  # frames that were sent

    @property
    def _trouble(self) -> Trouble | None:
        return next((trouble for trouble in self.troubles if not trouble.delays), None)

    async def whole(self) -> None:
        await self._wait_first()
        await asyncio.sleep(self.answer.tokens.output * self._token_seconds)
        trouble = self._trouble
        body = self.wire.whole(self.answer, self.prompt, self.provider)
        if trouble is None:
            await self.channel.send_json(200, body, self.headers, self.gzip)
            return
        self.record.trouble = trouble.kind
        match trouble.kind:
            case "error" | "first_event_error":
                raise self.wire.trouble(trouble.status, trouble.message)
            case "stall":
                await asyncio.sleep(trouble.seconds or FOR_EVER)
                await self.channel.send_json(200, body, self.headers)
            case _:
                await self._half(json.dumps(body).encode(), broken=trouble.kind == "cut")

    async def _half(self, body: bytes, broken: bool) -> None:
        """Half of a body: with its connection broken, or sent as if it were all."""
        half = body[: len(body) // 2]
        headers = {"content-type": "application/json", **self.headers}
        if not broken:
            await self.channel.send_body(200, half, headers)
            return
        await self.channel.start(200, {**headers, "content-length": str(len(body))})
        await self.channel.write(half)
        await self.channel.hang_up()

    async def stream(self) -> None:
        await self.channel.start(200, {**_STREAM, **self.headers}, self.gzip)
        content, owed, waited = 0, 0.0, False
        trouble = self._trouble
        if trouble is not None and trouble.kind == "first_event_error":
            await self._strike(trouble)
            return
        for frame in self.wire.frames(self.answer, self.prompt, self.provider):
            if frame.tokens:
                if not waited:
                    waited = True
                    await self._wait_first()
                if trouble is not None and content >= trouble.after and await self._strike(trouble):
                    return
                if trouble is not None and content >= trouble.after:
                    trouble = None
                content += 1
            owed = await self._pay(owed + frame.tokens * self._token_seconds)
            await self.channel.write(frame.data)
            self.told += 1
            if trouble is not None and _closes(frame, content) and await self._strike(trouble):
                return
        await self.channel.end()

    async def _strike(self, trouble: Trouble) -> bool:
        """Let the trouble happen. Whether the stream ends with it."""
        self.record.trouble = trouble.kind
        await self.channel.flush()
        if trouble.kind != "stall":
            await asyncio.sleep(trouble.seconds)  # so that what came before is read before
        match trouble.kind:
            case "cut":
                await self.channel.hang_up()
            case "stall":
                await asyncio.sleep(trouble.seconds or FOR_EVER)
                return False
            case "malformed":
                await self.channel.write(self.wire.garbage)
                return False
            case "error" | "first_event_error":
                refused = self.wire.trouble(trouble.status, trouble.message)
                await self.channel.write(self.wire.error_frame(refused, self.provider, self.told))
        await self.channel.end()
        return True

    async def _wait_first(self) -> None:
        slow = [trouble for trouble in self.troubles if trouble.kind == "slow_first_token"]
        if slow:
            self.record.trouble = "slow_first_token"
        seconds = self.prompt.model.first_token_seconds * self.app.pace + sum(each.seconds for each in slow)
        if seconds:
            await self.channel.flush()
            await asyncio.sleep(seconds)

    @property
    def _token_seconds(self) -> float:
        return self.prompt.model.token_seconds * self.app.pace

    async def _pay(self, owed: float) -> float:
        """Sleep off what is owed once it is long enough for a clock to notice."""
        if owed < 0.002:
            return owed
        await asyncio.sleep(owed)
        return 0.0


def _closes(frame: Frame, content: int) -> bool:
    """Whether a short answer is over, so that a trouble due after more of it must come now."""
    return content > 0 and not frame.tokens and any(mark in frame.data for mark in _ENDINGS)


async def _early(troubles: tuple[Trouble, ...], wire: Wire, record: Received, channel: Channel) -> None:
    """Troubles that come before any answer. Raises Refused or HungUp where they end it."""
    for trouble in troubles:
        match trouble.kind:
            case "slow_headers":
                record.trouble = trouble.kind
                await asyncio.sleep(trouble.seconds)
            case "drop":
                record.trouble = trouble.kind
                await channel.hang_up()
            case "status":
                record.trouble = f"status {trouble.status}"
                refused = wire.trouble(trouble.status, trouble.message)
                refused.status = trouble.status
                refused.retry_after = trouble.retry_after
                raise refused
            case "html" | "empty":
                record.trouble = trouble.kind
                page = _HTML if trouble.kind == "html" else b""
                status = 502 if page else 200
                await channel.send_body(status, page, {"content-type": "text/html"})
                raise HungUp


def _retry(refused: Refused) -> dict[str, str]:
    return {} if refused.retry_after is None else {"retry-after": f"{refused.retry_after:g}"}


def _parsed(body: bytes, wire: Wire) -> dict[str, Any]:
    if len(body) > LARGEST_BODY:
        raise wire.trouble(413, "")
    try:
        value = json.loads(body)
    except ValueError as wrong:
        raise wire.broken(str(wrong)) from None
    if not isinstance(value, dict):
        raise wire.broken("the body is not an object")
    return value


def order_from(value: Any) -> Order:
    """A control request's JSON as an order. Raises ValueError saying what is wrong."""
    if not isinstance(value, dict):
        raise ValueError("a fault is an object")
    kind = value.get("kind", "status")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it is one of {', '.join(KINDS)}")
    known = {"kind", "provider", "model", "times", "rate", *_ORDER_FIELDS}
    if unknown := sorted(value.keys() - known):
        raise ValueError(f"a fault has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    trouble = Trouble(kind, **{name: value[name] for name in _ORDER_FIELDS if name in value})
    where = {name: value[name] for name in ("provider", "model", "times", "rate") if name in value}
    return Order(trouble, **where)


async def _whole_body(receive: Receive) -> bytes | None:
    """The request's body; None if the client left before it was whole."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
