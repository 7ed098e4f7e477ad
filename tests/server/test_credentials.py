"""Whose credential a provider is called with, and that none ever goes to another vendor."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.app import running, serving
from engine.core.catalog import Endpoint
from engine.core.errors import Fault
from engine.core.identity import Identity
from engine.protocols.speaking import spoken
from engine.server.credentials import (
    FAMILIES,
    LONGEST_REST_SECONDS,
    MOST_RESTING,
    Credential,
    Resting,
    credentials,
    fitting,
    missing,
    own_fault,
)
from engine.server.engine import Engine
from engine.server.keys import change, new_key
from engine.server.log import Log
from engine.server.reload import Source
from engine.settings import DEFAULTS

OURS = "wk_0123456789ab_" + "0" * 64
OAUTH = "Bearer sk-ant-oat01-of-the-client"


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def found(
    protocol: str, headers: dict[str, str], client: str = "", auth: Any = "client", key: str = "operators-key"
) -> list[tuple[str, dict[str, str]]]:
    endpoint = Endpoint("e", protocol, "https://vendor.example", "KEY", auth=auth)
    environment = {"KEY": key} if key else {}
    every = credentials(endpoint, spoken(protocol, ""), client or protocol, headers, environment)
    return [(one.whose, {n: v for n, v in one.headers.items() if n != "anthropic-version"}) for one in every]


# what the client speaks, what the endpoint speaks, what the client sends, and what of it goes on
OWN: list[tuple[str, str, dict[str, str], dict[str, str]]] = [
    ("anthropic-messages", "anthropic-messages", {"x-api-key": "a"}, {"x-api-key": "a"}),
    ("anthropic-messages", "anthropic-messages", {"authorization": OAUTH}, {"authorization": OAUTH}),
    ("anthropic-messages", "anthropic-messages", {"x-goog-api-key": "a", "cookie": "b"}, {}),
    ("anthropic-messages", "openai-chat", {"x-api-key": "a", "authorization": OAUTH}, {}),
    ("anthropic-messages", "gemini", {"x-api-key": "a", "authorization": OAUTH}, {}),
    ("openai-chat", "anthropic-messages", {"authorization": "Bearer a"}, {}),
    ("openai-chat", "openai-responses", {"authorization": "Bearer a"}, {"authorization": "Bearer a"}),
    (
        "openai-responses",
        "openai-responses",
        {"authorization": "Bearer a", "chatgpt-account-id": "b", "openai-project": "c", "x-api-key": "d"},
        {"authorization": "Bearer a", "chatgpt-account-id": "b", "openai-project": "c"},
    ),
    ("openai-responses", "openai-chat", {"chatgpt-account-id": "b"}, {}),
    ("gemini", "gemini", {"x-goog-api-key": "a"}, {"x-goog-api-key": "a"}),
    ("gemini", "openai-chat", {"x-goog-api-key": "a", "authorization": "Bearer b"}, {}),
    ("anthropic-messages", "anthropic-messages", {"x-api-key": OURS}, {}),
    ("anthropic-messages", "anthropic-messages", {"authorization": f"Bearer {OURS}"}, {}),
    ("anthropic-messages", "anthropic-messages", {"x-weave-key": OURS, "x-api-key": "a"}, {"x-api-key": "a"}),
    (
        "anthropic-messages",
        "anthropic-messages",
        {"x-api-key": OURS, "authorization": OAUTH},
        {"authorization": OAUTH},
    ),
    ("anthropic-messages", "anthropic-messages", {"x-api-key": f"a, {OURS}"}, {}),
    ("anthropic-messages", "anthropic-messages", {"x-api-key": "  "}, {}),
    ("anthropic-messages", "anthropic-messages", {"x-api-key": "rawk_1_2"}, {"x-api-key": "rawk_1_2"}),
]


@pytest.mark.parametrize(("client", "protocol", "sent", "goes_on"), OWN, ids=range(len(OWN)))
def test_a_client_s_credential_goes_where_its_protocol_is_spoken_and_a_key_of_ours_nowhere(
    client: str, protocol: str, sent: dict[str, str], goes_on: dict[str, str]
) -> None:
    every = found(protocol, sent, client)
    own = [headers for whose, headers in every if whose == "client"]
    assert own == ([goes_on] if goes_on else [])
    assert every[-1][0] == "operator"
    assert "operators-key" in str(every[-1][1])
    assert not set(sent.values()) & set(every[-1][1].values())


@pytest.mark.parametrize("protocol", FAMILIES)
def test_other_endpoints_never_see_what_a_client_sent(protocol: str) -> None:
    sent = {"x-api-key": "a-secret", "authorization": "Bearer a-secret", "x-goog-api-key": "a-secret"}
    every = found(protocol, sent, auth="key")
    assert [whose for whose, _ in every] == ["operator"]
    assert "a-secret" not in str(every)


def test_without_any_credential_there_is_nothing_to_call_with() -> None:
    assert found("anthropic-messages", {}, key="") == []
    assert found("anthropic-messages", {}, auth="key", key="") == []
    own = Endpoint("own", "anthropic-messages", "https://a.example", auth="client")
    assert credentials(own, spoken("anthropic-messages", ""), "anthropic-messages", {}, {}) == ()
    local = Endpoint("local", "openai-chat", "http://127.0.0.1:1")
    assert len(credentials(local, spoken("openai-chat", ""), "openai-chat", {}, {})) == 1
    assert "set KEY where" in missing(Endpoint("e", "gemini", "https://a.example", "KEY")).message
    assert "x-weave-key" in missing(own).message


def test_flags_of_a_subscription_go_with_its_token_alone() -> None:
    client, operator = Credential("client", {}), Credential("operator", {})
    sent = {"anthropic-version": "v", "anthropic-beta": "oauth-2025-04-20, context-1m"}
    assert fitting(sent, client) == sent
    assert fitting(sent, operator) == {"anthropic-version": "v", "anthropic-beta": "context-1m"}
    assert fitting({"anthropic-beta": "oauth-2025-04-20"}, operator) == {}
    assert fitting({"anthropic-beta": "context-1m"}, operator) == {"anthropic-beta": "context-1m"}


def test_a_credential_shows_no_secret() -> None:
    credential = Credential("client", {"x-api-key": "sk-secret"}, ("sk-secret",))
    assert "sk-secret" not in repr(credential)
    assert credential.clean(b"your key sk-secret is") == b"your key *** is"
    fault = credential.cleaned(Fault("authentication", "no sk-secret", detail="sk-secret?"))
    assert (fault.message, fault.detail) == ("no ***", "***?")


@pytest.mark.parametrize(
    ("kind", "origin"),
    [
        ("authentication", "client"),
        ("billing", "client"),
        ("permission", "client"),
        ("rate_limit", "provider"),
    ],
)
def test_what_a_client_can_mend_is_its_own_fault_and_a_limit_is_not(kind: Any, origin: str) -> None:
    endpoint = Endpoint("own", "gemini", "https://a.example", auth="client")
    assert own_fault(Fault(kind, "no", origin="provider"), endpoint).origin == origin


def test_a_spent_credential_rests_as_long_as_its_vendor_says_and_no_other_does() -> None:
    endpoint = Endpoint("own", "gemini", "https://a.example", auth="client")
    one, other = (Credential("client", {"x-goog-api-key": key}) for key in "ab")
    operator = Credential("operator", {})
    resting = Resting()

    def limit(seconds: float | None) -> Fault:
        return Fault("rate_limit", "", origin="provider", retry_after_seconds=seconds)

    resting.rest(one, endpoint, limit(60), 100)
    assert resting.awake((one, operator), endpoint, 159) == (operator,)
    assert resting.awake((one, operator), endpoint, 160) == (one, operator)
    assert resting.awake((other, operator), endpoint, 159) == (other, operator)
    assert resting.awake((one,), endpoint, 159) == (one,)  # there is nothing else to call with
    resting.rest(other, endpoint, limit(10**9), 100)
    assert resting.awake((other, operator), endpoint, 100 + LONGEST_REST_SECONDS) == (other, operator)
    fresh = Resting()
    fresh.rest(one, endpoint, limit(None), 100)
    fresh.rest(one, endpoint, Fault("authentication", "", retry_after_seconds=9), 100)
    fresh.rest(operator, endpoint, limit(60), 100)
    assert fresh.awake((one, operator), endpoint, 101) == (one, operator)


def test_the_memory_of_spent_credentials_is_bounded() -> None:
    endpoint = Endpoint("own", "gemini", "https://a.example", auth="client")
    resting = Resting()
    fault = Fault("rate_limit", "", retry_after_seconds=60)
    for number in range(MOST_RESTING + 10):
        resting.rest(Credential("client", {"x-goog-api-key": str(number)}), endpoint, fault, 0)
    assert len(resting._until) == MOST_RESTING


# Over sockets -------------------------------------------------------------------------------------------------------

REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
CHAT_REPLY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@dataclass(slots=True)
class Vendor:
    """Keeps the headers it is sent. `refuse` says which status a call gets, by its headers; 0 is served."""

    reply: dict[str, Any]
    seen: list[dict[str, str]] = field(default_factory=list)
    refuse: Callable[[dict[str, str]], int] = lambda _: 0
    url: str = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, _, value in lines}
            await reader.readexactly(int(headers.get("content-length", 0)))
            self.seen.append(headers)
            status = self.refuse(headers)
            key = headers.get("x-api-key") or headers.get("authorization", "")
            error = {"type": "error", "error": {"type": "e", "message": f"no {status} for {key}"}}
            body = json.dumps(error if status else self.reply).encode()
            wait = "retry-after: 30\r\n" if status == 429 else ""
            start = (
                f"HTTP/1.1 {status or 200} X\r\ncontent-type: application/json\r\n{wait}connection: close\r\n"
            )
            writer.write(f"{start}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@dataclass(frozen=True, slots=True)
class Site:
    engine: Engine
    client: httpx.AsyncClient
    anthropic: Vendor
    openai: Vendor
    log: StringIO
    folder: Path

    async def ask(self, model: str = "claude", **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        said = [{"role": "user", "content": "hi"}]
        body = {"model": model, "max_tokens": 9, "messages": said}
        return await self.client.post("/v1/messages", json=body, headers=sent)

    async def chat(self, model: str = "gpt", **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return await self.client.post("/v1/chat/completions", json=body, headers=sent)


def catalog(anthropic: str, openai: str) -> str:
    usd = "usd: {in: 1, out: 1}, context: 100000, output: 1000"
    return f"""
apiVersion: weave/v1
kind: Catalog
metadata: {{name: own}}
endpoints:
  anthropic: {{protocol: anthropic-messages, base_url: "{anthropic}", api_key_env: KEY_A, auth: client}}
  openai: {{protocol: openai-chat, base_url: "{openai}", api_key_env: KEY_O, auth: client}}
models:
  claude: {{tier: frontier, {usd}, served_by: [{{endpoint: anthropic, id: c}}]}}
  gpt: {{tier: frontier, {usd}, served_by: [{{endpoint: openai, id: g}}]}}
"""


POLICY = """
apiVersion: weave/v1
kind: Policy
metadata: {name: plain}
input: input.v1
default: {use: requested}
pinning: {key: [hints.session], ttl: 30m}
failover: {chains: {frontier: [frontier]}, attempts: 4, deadline: 30s, breaker: {failures: 2}}
"""

OPERATORS = {"KEY_A": "operators-anthropic-key", "KEY_O": "operators-openai-key"}


@asynccontextmanager
async def site(
    folder: Path, environment: dict[str, str] | None = None, policy: str = POLICY
) -> AsyncIterator[Site]:
    vendors = Vendor(REPLY), Vendor(CHAT_REPLY)
    servers = [await asyncio.start_server(vendor, "127.0.0.1", 0) for vendor in vendors]
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    files = {"catalog.yaml": catalog(*urls), "policy.yaml": policy}
    out = StringIO()
    log = Log(out, json=True)
    settings = replace(DEFAULTS, journal=str(folder / "weave.db"), policies=folder / "none")
    keys = OPERATORS if environment is None else environment
    try:
        async with (
            running(settings, keys, log, Source(lambda: files, "")) as engine,
            serving(engine) as url,
            httpx.AsyncClient(base_url=url, timeout=20) as client,
        ):
            yield Site(engine, client, *vendors, out, folder)
    finally:
        for server in servers:
            server.close()
        log.close()


def test_a_subscription_s_token_and_its_flags_reach_their_vendor(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path) as it:
            reply = await it.ask(authorization=OAUTH, anthropic_beta="oauth-2025-04-20,context-1m")
            assert reply.status_code == 200
            (seen,) = it.anthropic.seen
            assert seen["authorization"] == OAUTH
            assert seen["anthropic-beta"] == "oauth-2025-04-20,context-1m"
            assert "x-api-key" not in seen

    run(play())


def test_no_credential_crosses_to_another_vendor(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path) as it:
            assert (await it.ask("gpt", authorization=OAUTH, x_api_key="clients-own")).status_code == 200
            assert (await it.chat("claude", authorization="Bearer clients-own")).status_code == 200
            assert it.openai.seen[0]["authorization"] == "Bearer operators-openai-key"
            assert it.anthropic.seen[0]["x-api-key"] == "operators-anthropic-key"
            # nor where failover leads to it
            it.anthropic.refuse = lambda _: 529
            assert (await it.ask(authorization=OAUTH, x_api_key="clients-own")).status_code == 200
            assert it.anthropic.seen[-1]["authorization"] == OAUTH
            every = str(it.openai.seen)
            assert OAUTH not in every
            assert "clients-own" not in every
            assert "anthropic-key" not in every
            assert "clients-own" not in str(it.anthropic.seen[0])

    run(play())


def test_with_a_key_of_ours_the_other_headers_are_the_client_s_own(tmp_path: Path) -> None:
    text, key = new_key(Identity("ann"), int(time.time()), None)
    change(tmp_path / "weave-keys.json", lambda keys: keys.with_key(key))

    async def play() -> None:
        async with site(tmp_path) as it:
            assert (await it.ask(x_weave_key=text, authorization=OAUTH)).status_code == 200
            assert (await it.ask(x_api_key=text, authorization=OAUTH)).status_code == 200
            assert (await it.ask(x_api_key=text)).status_code == 200
            assert (await it.chat(authorization=f"Bearer {text}")).status_code == 200
            assert [seen.get("authorization") for seen in it.anthropic.seen] == [OAUTH, OAUTH, None]
            assert it.anthropic.seen[2]["x-api-key"] == "operators-anthropic-key"
            assert "wk_" not in str(it.anthropic.seen + it.openai.seen)

    run(play())


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_spent_credential_is_followed_by_the_operator_s_key(tmp_path: Path, status: int) -> None:
    async def play() -> None:
        async with site(tmp_path) as it:
            it.anthropic.refuse = lambda headers: status if "authorization" in headers else 0
            reply = await it.ask(authorization=OAUTH, anthropic_beta="oauth-2025-04-20")
            assert reply.status_code == 200
            own, operators = it.anthropic.seen
            assert own["authorization"] == OAUTH
            assert "authorization" not in operators
            assert "anthropic-beta" not in operators
            assert operators["x-api-key"] == "operators-anthropic-key"
            await it.ask(authorization=OAUTH)
            # a limit says for how long; anything else may be mended at any time
            assert len(it.anthropic.seen) == (3 if status == 429 else 4)
            await it.ask(authorization="Bearer of-somebody-else")
            assert it.anthropic.seen[-2]["authorization"] == "Bearer of-somebody-else"

    run(play())


@pytest.mark.parametrize("status", [401, 402, 403])
def test_without_a_key_of_the_operator_s_the_client_hears_its_vendor_as_it_spoke(
    tmp_path: Path, status: int
) -> None:
    async def play() -> None:
        async with site(tmp_path, {"KEY_O": "operators-openai-key"}) as it:
            it.anthropic.refuse = lambda _: status
            for _ in range(4):
                reply = await it.ask(authorization=OAUTH)
                assert reply.status_code == status
                assert reply.json()["error"]["message"] == f"no {status} for Bearer ***"
            assert not it.openai.seen  # it is the client's to mend, and no other model's to pay for
            assert len(it.anthropic.seen) == 4
            assert not it.engine.health.conditions(time.monotonic())
            it.anthropic.refuse = lambda _: 0
            assert (await it.ask(x_api_key="another-client")).status_code == 200
            await asyncio.sleep(0.2)
            assert "oat01" not in it.log.getvalue()

    run(play())


def test_a_limit_of_one_client_s_credential_pauses_nobody_else(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path, {}) as it:
            it.anthropic.refuse = lambda headers: 429 if headers.get("authorization") == OAUTH else 0
            for _ in range(4):
                reply = await it.ask(authorization=OAUTH)
                assert reply.status_code == 429
                assert reply.headers["retry-after"] == "30"
            assert not it.engine.health.conditions(time.monotonic())
            assert (await it.ask(authorization="Bearer of-somebody-else")).status_code == 200

    run(play())


def test_a_client_without_a_credential_breaks_nothing_for_those_who_have_one(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path, {}) as it:
            for _ in range(4):
                reply = await it.ask()
                assert reply.status_code == 401
                assert "takes the client's own credential" in reply.json()["error"]["message"]
            assert not it.anthropic.seen
            assert (await it.ask(authorization=OAUTH)).status_code == 200

    run(play())


def test_a_limit_of_the_operator_s_own_key_still_pauses_the_way(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path) as it:
            it.anthropic.refuse = lambda _: 429
            await it.ask(authorization=OAUTH)
            assert len(it.anthropic.seen) == 2
            assert it.engine.health.conditions(time.monotonic())

    run(play())


def test_no_credential_of_a_client_is_kept(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path) as it:
            it.anthropic.refuse = lambda headers: 401 if "authorization" in headers else 0
            await it.ask(authorization=OAUTH)
            it.anthropic.refuse = lambda _: 403
            reply = await it.ask(authorization=OAUTH, x_api_key="clients-own-key")
            await asyncio.sleep(0.3)
            kept = await asyncio.to_thread(everything_in, it.folder)
            for secret in ("oat01-of-the-client", "clients-own-key", "operators-anthropic-key"):
                assert secret not in it.log.getvalue()
                assert secret not in reply.text + str(reply.headers)
                assert secret.encode() not in kept

    run(play())


BUDGET = "budgets: [{name: day, per: identity.name, usd: 100, window: 24h, over: {reject: 429}}]"


def test_what_a_client_s_own_credential_pays_is_no_spend_of_the_operator_s(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path, policy=POLICY + BUDGET) as it:
            own = await it.ask(authorization=OAUTH)
            operators = await it.ask()
            await asyncio.sleep(0.3)

            async def paid(reply: httpx.Response) -> tuple[str, float]:
                result = await it.engine.journal.result(reply.headers["x-weave-decision"])
                assert result is not None
                return result.credential, result.cost_usd

            (whose, cost), (whose_not, _) = await paid(own), await paid(operators)
            assert (whose, whose_not) == ("client", "")
            assert cost > 0  # as it would have been at the list price
            told = (await it.client.get("/v1/budgets")).json()["budgets"]
            assert sum(one["spent_usd"] for one in told) == pytest.approx(cost)

    run(play())


def test_what_a_call_with_a_client_s_own_credential_wasted_is_no_spend_of_the_operator_s(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        async with site(tmp_path, policy=POLICY + BUDGET) as it:
            it.anthropic.reply = {"content": 3}  # taken up, and no answer of its protocol
            reply = await it.ask(authorization=OAUTH)
            assert reply.headers["x-weave-model"] == "gpt"
            await asyncio.sleep(0.3)
            result = await it.engine.journal.result(reply.headers["x-weave-decision"])
            assert result is not None
            assert (result.attempts, result.credential, result.wasted_usd) == (2, "", 0.0)

    run(play())


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("weave.db*"))


def test_tokens_are_counted_with_the_client_s_own_credential(tmp_path: Path) -> None:
    async def play() -> None:
        async with site(tmp_path, {}) as it:
            it.anthropic.reply = {"input_tokens": 7}
            body = {"model": "claude", "messages": [{"role": "user", "content": "hi"}]}
            path = "/v1/messages/count_tokens"
            own = await it.client.post(path, json=body, headers={"authorization": OAUTH})
            assert own.json() == {"input_tokens": 7}
            assert it.anthropic.seen[0]["authorization"] == OAUTH
            none = await it.client.post(path, json=body)
            assert none.headers["x-weave-estimated"] == "true"
            assert len(it.anthropic.seen) == 1

    run(play())
