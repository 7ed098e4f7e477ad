"""Headers cross the engine by name: to a vendor what its protocol says it must hear, to a client what is ours."""

import json
from typing import Any

import pytest

from engine.protocols import PROTOCOLS
from engine.simulator.models import PROVIDERS
from tests.server.security.acting import VENDORS, Opening, run

EVIL = "zz-evil"

# What a client may send, in good faith or bad, and no vendor may see.
FROM_CLIENTS = {
    "cookie": f"session={EVIL}",
    "authorization": f"Bearer {EVIL}",
    "proxy-authorization": f"Basic {EVIL}",
    "x-api-key": EVIL,
    "api-key": EVIL,
    "x-goog-api-key": EVIL,
    "x-goog-user-project": EVIL,
    "openai-organization": EVIL,
    "openai-project": EVIL,
    "x-forwarded-for": EVIL,
    "x-forwarded-host": EVIL,
    "x-forwarded-proto": EVIL,
    "x-real-ip": EVIL,
    "x-original-url": f"/{EVIL}",
    "x-rewrite-url": f"/{EVIL}",
    "forwarded": f"for={EVIL}",
    "via": f"1.1 {EVIL}",
    "traceparent": f"00-{EVIL}-1",
    "tracestate": EVIL,
    "baggage": f"a={EVIL}",
    "x-request-id": EVIL,
    "idempotency-key": EVIL,
    "te": EVIL,
    "trailer": EVIL,
    "keep-alive": EVIL,
    "referer": f"http://{EVIL}/",
    "user-agent": EVIL,
    "accept-language": EVIL,
    "range": EVIL,
    "if-none-match": EVIL,
    "x-weave-decision": EVIL,
    "x-weave-rule": EVIL,
    "x-weave-reason": EVIL,
    "x-weave-session": EVIL,
    "x-weave-whatever": EVIL,
    "x-stainless-lang": EVIL,
    "x-http-method-override": "DELETE",
}

# What any call may carry, whoever it goes to.
PLAIN = {"host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}


def seen(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize("speaks", VENDORS)
def test_a_vendor_sees_of_a_client_s_headers_what_its_protocol_names(site: Opening, speaks: str) -> None:
    async def play() -> None:
        async with site() as it:
            for vendor in VENDORS:
                for stream in (False, True):
                    versions = {"anthropic-version": "2023-06-01", "anthropic-beta": "beta-1"}
                    reply = await it.ask(
                        speaks, f"at-{vendor}", stream=stream, headers={**FROM_CLIENTS, **versions}
                    )
                    assert reply.status_code == 200, reply.text
            assert len(it.wires.sent) == 8
            for vendor, head, body in it.wires.sent:
                protocol = PROTOCOLS[PROVIDERS[vendor].protocol]
                named = set(protocol.forwards) if vendor == speaks else set()
                own = {name.lower() for name in protocol.headers("key")}
                assert set(seen(head)) <= PLAIN | own | named, vendor
                assert EVIL.encode() not in head + body
                assert ("anthropic-beta" in seen(head)) == (vendor == speaks == "anthropic")

    run(play())


@pytest.mark.parametrize("speaks", VENDORS)
def test_a_key_goes_to_its_own_vendor_and_to_no_other(site: Opening, speaks: str) -> None:
    # also when one vendor after another fails and the next is asked
    async def play() -> None:
        async with site() as it:
            it.wires.answer = lambda _: b"HTTP/1.1 500 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            for vendor in VENDORS:
                await it.ask(speaks, f"at-{vendor}")
            it.wires.answer = None
            for vendor in VENDORS:
                await it.ask(speaks, f"at-{vendor}")
            assert {vendor for vendor, _, _ in it.wires.sent} == set(VENDORS)
            assert len(it.wires.sent) > 8  # some were asked in place of others
            for vendor, head, body in it.wires.sent:
                told = {other for other in VENDORS if f"sk-canary-of-{other}".encode() in head + body}
                assert told == {vendor}

    run(play())


# What a vendor may say, in good faith or bad, and no client may be told.
FROM_VENDORS = (
    f"X-Weave-Decision: {EVIL}",
    f"x-weave-model: {EVIL}",
    f"x-weave-rule: {EVIL}",
    f"x-weave-estimated: {EVIL}",
    f"x-weave-dropped: {EVIL}",
    f"Set-Cookie: {EVIL}=1",
    f"Location: http://{EVIL}/",
    f"WWW-Authenticate: Basic realm={EVIL}",
    f"Server: {EVIL}",
    f"Via: {EVIL}",
    f"X-Request-Id: {EVIL}",
    f"Alt-Svc: h3={EVIL}",
    f"Link: <http://{EVIL}/>",
    f"Refresh: 0; url=http://{EVIL}/",
    f"Access-Control-Allow-Origin: http://{EVIL}",
    f"Content-Security-Policy: {EVIL}",
    f"Strict-Transport-Security: {EVIL}",
    f"Clear-Site-Data: {EVIL}",
    f"Trailer: {EVIL}",
    f"Upgrade: {EVIL}",
    f"Content-Disposition: attachment; filename={EVIL}",
)

OURS = {
    "content-type",
    "content-length",
    "date",
    "cache-control",
    "transfer-encoding",
    "retry-after",
    "x-accel-buffering",
    "x-weave-decision",
    "x-weave-model",
    "x-weave-rule",
    "x-weave-reason",
    "x-weave-dropped",
}


@pytest.mark.parametrize("status", [200, 400, 429, 503])
@pytest.mark.parametrize("speaks", VENDORS)
def test_a_client_sees_none_of_a_vendor_s_headers(site: Opening, speaks: str, status: int) -> None:
    # G97
    async def play() -> None:
        async with site() as it:
            if status != 200:
                it.wires.simulator.fail(status=status, retry_after=60)
            it.wires.inject = "".join(f"{line}\r\n" for line in FROM_VENDORS).encode()
            for vendor in VENDORS:
                for stream in (False, True):
                    reply = await it.ask(speaks, f"at-{vendor}", stream=stream)
                    assert (reply.status_code == 200) == (status == 200), reply.text
                    assert {name for name in reply.headers if not name.startswith("x-weave-budget")} <= OURS
                    assert EVIL not in str(reply.headers)

    run(play())


def test_a_client_cannot_say_how_its_request_was_decided(site: Opening) -> None:
    async def play() -> None:
        async with site() as it:
            reply = await it.ask("anthropic", "at-openai", headers=FROM_CLIENTS)
            assert EVIL not in reply.headers["x-weave-decision"]
            assert reply.headers["x-weave-model"] == "at-openai"
            told = (await it.client.get(f"/v1/decisions/{reply.headers['x-weave-decision']}")).json()
            assert set(told["hints"]) == {"session"}
            assert EVIL not in json.dumps({**told, "hints": {}, "features": {}})

    run(play())


@pytest.mark.parametrize("header", [b"connection: x-weave-private", b"connection: content-length, host"])
def test_a_header_that_is_said_to_belong_to_the_connection_is_none_the_less_read(
    site: Opening, header: bytes
) -> None:
    """A client that could make its own headers vanish could shed what a proxy in front had set."""

    async def play() -> None:
        async with site() as it:
            body = b'{"model":"at-openai","messages":[{"role":"user","content":"hi"}]}'
            told = await it.raw(
                b"POST /v1/route HTTP/1.1\r\nhost: localhost\r\nx-weave-private: true\r\nconnection: close\r\n"
                + header
                + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )
            found: dict[str, Any] = json.loads(told.split(b"\r\n\r\n", 1)[1])
            assert found["hints"] == {"private": True}

    run(play())
