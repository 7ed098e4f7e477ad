"""The door: what every request passes before anything is made of it.

    crowded   more connections than the engine takes: 503, ask again
    head      more headers, or larger ones, than anybody needs: 431
    host      while no client key protects the engine, whoever can make the operator's browser send a request could
              use it: a page of a foreign site by a plain cross-site POST, or by a name of its own that it points at
              the loopback address (DNS rebinding). Such requests say so, in `Origin` and `Host`, and are refused: 403

It is the last place, too, where an exception of ours is caught: what an exception says may quote a prompt or a key, so
only its type and its place reach the log.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import wire
from engine.core.errors import Fault
from engine.server.asking import protocol_of
from engine.server.connection import CROWDED
from engine.server.engine import Engine
from engine.server.log import where

MOST_HEADERS = 128
MOST_HEAD_BYTES = 64 * 1024
MOST_KNOWN = 256  # hosts whose admission is remembered
BUSY_SECONDS = 2.0


class Door:
    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        settings = engine.settings
        self._allowed = frozenset(name.lower() for name in settings.allowed_hosts)
        self._hosts = self._allowed | {settings.host.lower()}
        self._known: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._fault(scope)
        if fault is not None:
            self._engine.metrics.turned_away.add((str(fault.http_status),))
            self._engine.log("turned away", level="warning", status=fault.http_status, message=fault.message)
            await _refuse(scope, send, fault)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            self._engine.log("bug", level="error", error=type(error).__name__, at=where(error))
            if not started:
                message = "the engine made a mistake; its log says which"
                await _refuse(scope, send, Fault("server_error", message))

    def _fault(self, scope: Scope) -> Fault | None:
        if scope.get("state", {}).get(CROWDED):
            message = "the engine has as many connections as it takes (WEAVE_MAX_CONNECTIONS); ask again"
            return Fault("overloaded", message, 503, retry_after_seconds=BUSY_SECONDS)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = len(scope["raw_path"]) + len(scope["query_string"])
        hosts: list[bytes] = []
        origins: list[bytes] = []
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
        if len(headers) > MOST_HEADERS or size > MOST_HEAD_BYTES:
            message = (
                f"the head of this request is larger than {MOST_HEADERS} headers or {MOST_HEAD_BYTES} bytes"
            )
            return Fault("invalid_request", message, 431, "client")
        if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
            return Fault(
                "invalid_request", "a request names its host once, in the header Host", 400, "client"
            )
        if self._engine.keyring.closed and not self._engine.settings.allowed_hosts:
            return None
        return self._foreign(hosts, origins)

    def _foreign(self, hosts: list[bytes], origins: list[bytes]) -> Fault | None:
        """Whether somebody else's page may have sent this."""
        for host in hosts:
            if host not in self._known and not self._admits(host_in(host.decode("latin-1"))):
                return _forbidden("Host", host)
            if len(self._known) < MOST_KNOWN:
                self._known.add(host)
        own = [host.lower() for host in hosts]
        for origin in origins:
            scheme, _, authority = origin.lower().partition(b"://")
            if not (scheme and authority in own) and not self._takes(origin.decode("latin-1").lower()):
                return _forbidden("Origin", origin)
        return None

    def _takes(self, origin: str) -> bool:
        """A page of the operator's: its whole origin is named, or the host of it."""
        return origin in self._allowed or host_in(origin.partition("://")[2]) in self._allowed

    def _admits(self, name: str) -> bool:
        return name in self._hosts or name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def host_in(authority: str) -> str:
    """The name in `name:port`, lower-case and without brackets; empty where there is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _forbidden(header: str, value: bytes) -> Fault:
    shown = value.decode("latin-1")[:100]
    message = (
        f"{header} {shown!r} is not this engine's: without client keys it answers its own address alone, so that no"
        " web page can use it; name the host in WEAVE_ALLOWED_HOSTS to allow it"
    )
    return Fault("permission", message, 403, "client")


async def _refuse(scope: Scope, send: Send, fault: Fault) -> None:
    body = wire.dumps(protocol_of(scope).write_fault(fault))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if fault.retry_after_seconds is not None:
        headers += [(b"retry-after", b"%d" % fault.retry_after_seconds), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": fault.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
