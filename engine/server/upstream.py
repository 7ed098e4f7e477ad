"""Calls to providers: the one door to httpx and aiohttp.

The aiohttp transport is called directly: an httpx client's connection pool scans linearly and slows down with
concurrency. The transport is handed a session of our own, because its default one caps connections at 100,
shares cookies between callers, and follows the environment's proxies.

A connection kept alive may be closed by the provider in the moment it is used again. That says nothing about the
provider, so such a call is made once more before it counts as a failure. A provider that hangs up on a fresh
connection may have done the work already, and is not called twice.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from engine.core.errors import MALFORMED, Fault, UpstreamError
from engine.settings import SettingsError

# aiohttp warns above this size when a body comes as one piece of bytes.
LARGE_BODY_BYTES = 1024 * 1024
SLICE_BYTES = 256 * 1024

# A provider's error body is read up to here; nobody needs more to understand it.
ERROR_BODY_BYTES = 256 * 1024
ERROR_BODY_SECONDS = 5.0

# Whether the call of this task went out on a connection that had been used before.
REUSED: ContextVar[bool] = ContextVar("reused")

# What is unpacked, one at a time: a stack of them turns a few kilobytes into gigabytes. Providers are asked for none.
READABLE = frozenset({"", "identity", "gzip", "deflate"})

# What is unpacked at a time, so that a small piece does not become a large one before anybody can count it.
UNPACKED_BYTES = 256 * 1024

# How a call fails. The transport lets some of aiohttp's own errors through (answers that are no HTTP), and a header
# that cannot be sent, such as a key with a line break, is a ValueError.
BROKEN = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError)

# How a kept-alive connection shows that the provider had closed it.
STALE = (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError, ConnectionResetError)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call. `read_seconds` is how long the provider may be silent, before headers and between bytes; None
    where somebody else watches."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_seconds: float
    read_seconds: float | None


class Response:
    """A provider's answer, its body still coming. Close it always; closing early hangs up."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, decompressed. Raises UpstreamError where the connection breaks."""
        response = self._response
        encoding = response.headers.get("content-encoding", "")
        if encoding.strip().lower() not in READABLE:
            raise UpstreamError(_unreadable(encoding))
        packed = encoding.strip().lower() in ("gzip", "deflate")
        try:
            pieces: AsyncIterator[bytes] = response.stream  # type: ignore[assignment]  # that of an async transport
            async for piece in _unpacked(pieces) if packed else pieces:
                yield piece
        except BROKEN as error:
            raise UpstreamError(_fault(error, "hung up in the middle of its answer")) from error

    async def read(self, most: int, heard: Callable[[], None] | None = None) -> bytes:
        """The whole body; what is beyond `most` bytes is an error. Whenever more than blanks have come, `heard` is
        called: some providers send blanks to keep the connection open."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > most:
                raise UpstreamError(
                    Fault(
                        "server_error", f"the provider's answer is larger than {most} bytes", 502, "provider"
                    )
                )
            pieces.append(piece)
            if heard is not None and not piece.isspace():
                heard()
        return b"".join(pieces)

    async def read_start(self) -> bytes:
        """The beginning of an error's body, whatever comes of the rest, and however slowly."""
        body = b""
        with suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                async for piece in self.chunks():
                    body += piece
                    if len(body) > ERROR_BODY_BYTES:
                        break
        return body

    async def close(self) -> None:
        await self._response.aclose()


class Upstream:
    """Open connections to all providers. Make it inside the event loop that will use it."""

    def __init__(self, trusted: ssl.SSLContext | None = None) -> None:
        self._transport = AiohttpTransport(verify=trusted or trust())
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self._transport.ssl_context, keepalive_timeout=30.0, ttl_dns_cache=60
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
            trust_env=False,
            trace_configs=[_noting_reuse()],
        )
        self._transport.client = self._session

    async def open(self, call: Call) -> Response:
        """Send the call and return once the provider's headers are there. Raises UpstreamError."""
        REUSED.set(False)
        try:
            return await self._send(call)
        except BROKEN as error:
            if not (REUSED.get() and isinstance(error.__cause__, STALE)):
                raise UpstreamError(_fault(error, "cannot be reached")) from error
        try:
            return await self._send(call)
        except BROKEN as error:
            raise UpstreamError(_fault(error, "cannot be reached")) from error

    async def _send(self, call: Call) -> Response:
        request = httpx.Request(
            "POST",
            _url(call.url),
            headers=[(name.encode(), value.encode()) for name, value in call.headers.items()],
            content=call.body if len(call.body) <= LARGE_BODY_BYTES else _slices(call.body),
            extensions={"timeout": {"connect": call.connect_seconds, "read": call.read_seconds}},
        )
        return Response(await self._transport.handle_async_request(request))

    async def close(self) -> None:
        await self._session.close()


def trust(ca_file: str = "") -> ssl.SSLContext:
    """Whom to believe that it is a provider: who has a certificate of the usual authorities (those of SSL_CERT_FILE, or
    the ones that come along), or of those in `ca_file`. Raises SettingsError where it holds none."""
    context = httpx.create_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            why = error.strerror or str(error)
            message = f"WEAVE_CA_FILE is {ca_file!r}, which cannot be used: {why}; it takes a file of PEM certificates"
            raise SettingsError(message) from error
    return context


def _noting_reuse() -> aiohttp.TraceConfig:
    async def reused(*_: object) -> None:
        REUSED.set(True)

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config


@lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    """Endpoints are few, and parsing an address costs as much as sending the request."""
    return httpx.URL(text)


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What gzip or deflate packed. Raises httpx.DecodingError for what neither did."""
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    first = True
    try:
        async for piece in pieces:
            if first and piece and piece[0] != 0x1F and piece[0] & 0x0F != 8:
                unpacking = zlib.decompressobj(-zlib.MAX_WBITS)  # deflate without its frame, as some send it
            first = first and not piece
            while piece:
                yield unpacking.decompress(piece, UNPACKED_BYTES)
                piece = unpacking.unconsumed_tail
        yield unpacking.flush()
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from error


def _unreadable(encoding: str) -> Fault:
    message = f"the provider packed its answer in a way that was not asked for: {encoding[:50]}"
    return Fault("server_error", message, 502, "provider", MALFORMED)


def _fault(error: Exception, what: str) -> Fault:
    """What a broken call means. The transport's exception types mislead (a hang-up is reported as a connect
    timeout), so the cause it wraps decides."""
    cause = error.__cause__
    detail = f"{type(cause or error).__name__}: {cause or error}"
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return Fault(
            "connection", "the provider did not accept a connection in time", 0, "provider", detail=detail
        )
    if isinstance(cause, aiohttp.ServerTimeoutError | TimeoutError) or (
        isinstance(error, httpx.TimeoutException) and cause is None
    ):
        return Fault("timeout", "the provider was silent for too long", 0, "provider", detail=detail)
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        what = "has a certificate that nobody vouches for; WEAVE_CA_FILE names an authority of one's own"
    if isinstance(error, aiohttp.ClientResponseError):
        what = "answered in a way that is no HTTP"
    return Fault("connection", f"the provider {what}", 0, "provider", detail=detail)
