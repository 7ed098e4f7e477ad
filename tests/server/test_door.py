"""The door, asked by hand: no socket is needed to knock."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from engine.server.connection import CROWDED
from engine.server.door import MOST_HEADERS, Door, host_in
from engine.server.metrics import Metrics
from engine.settings import DEFAULTS, Settings


@dataclass(slots=True)
class Ring:
    closed: bool = False


@dataclass(slots=True)
class House:
    """As much of an engine as the door knows."""

    settings: Settings = DEFAULTS
    keyring: Ring = field(default_factory=Ring)
    metrics: Metrics = field(default_factory=Metrics)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def log(self, event: str, level: str = "info", **fields: Any) -> None:
        self.told.append((event, fields))


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("sk-secret and what the user wrote")


def knock(
    *headers: tuple[str, str],
    version: str = "1.1",
    app: Any = inside,
    house: House | None = None,
    crowded: bool = False,
) -> tuple[int, dict[str, Any], list[Message]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "http_version": version,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "state": {CROWDED: True} if crowded else {},
    }
    asyncio.run(Door(app, house or House())(scope, receive, send))  # type: ignore[arg-type]  # all that it asks for
    body = sent[1].get("body", b"") if len(sent) > 1 else b""
    return sent[0]["status"], json.loads(body) if body else {}, sent


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8484",
        "LOCALHOST:1",
        "127.0.0.1:8484",
        "127.1.2.3",
        "[::1]:8484",
        "weave.localhost",
    ],
)
def test_a_loopback_name_is_the_engine_s_own(host: str) -> None:
    assert knock(("host", host))[0] == 204


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:8484",
        "127.0.0.1.evil.example",
        "169.254.169.254",
        "localhost@evil.example",
        "evil.example#localhost",
        "[::1",
        "",
        "0.0.0.0",
    ],
)
def test_a_name_that_somebody_pointed_at_the_loopback_address_is_refused(host: str) -> None:
    status, body, _ = knock(("host", host))
    assert status == 403
    assert "WEAVE_ALLOWED_HOSTS" in body["error"]["message"]


def test_hosts_that_the_operator_names_are_answered() -> None:
    house = House(
        replace(DEFAULTS, host="engine.lan", allowed_hosts=("Weave.corp", "vscode-file://vscode-app"))
    )
    assert knock(("host", "engine.lan:8484"), house=house)[0] == 204
    assert knock(("host", "weave.corp"), house=house)[0] == 204
    assert knock(("host", "weave.corp"), ("origin", "https://weave.corp"), house=house)[0] == 204
    assert knock(("host", "localhost"), ("origin", "vscode-file://vscode-app"), house=house)[0] == 204
    assert knock(("host", "localhost"), ("origin", "vscode-file://other"), house=house)[0] == 403
    assert knock(("host", "other.corp"), house=house)[0] == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:3000",
        "http://127.0.0.1:8484",
        "http://localhost:8484.evil.example",
        "file://",
        "",
        "http://localhost:8484@evil.example",
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    status, body, _ = knock(("host", "localhost:8484"), ("origin", origin))
    assert status == 403
    assert "Origin" in body["error"]["message"]


def test_a_page_of_the_engine_s_own_is_served() -> None:
    assert knock(("host", "localhost:8484"), ("origin", "http://localhost:8484"))[0] == 204


def test_where_keys_are_needed_no_page_can_do_harm_and_any_host_will_do() -> None:
    house = House(keyring=Ring(closed=True))
    assert knock(("host", "weave.corp"), ("origin", "https://app.corp"), house=house)[0] == 204
    named = House(replace(DEFAULTS, allowed_hosts=("weave.corp",)), Ring(closed=True))
    assert knock(("host", "other.corp"), house=named)[0] == 403


@pytest.mark.parametrize("headers", [[], [("host", "localhost"), ("host", "localhost")]])
def test_a_request_names_its_host_once(headers: list[tuple[str, str]]) -> None:
    assert knock(*headers)[0] == 400


def test_an_old_client_need_not_name_its_host() -> None:
    assert knock(version="1.0")[0] == 204


def test_too_many_headers_or_too_large_ones_are_refused() -> None:
    host = ("host", "localhost")
    assert knock(host, *[("x-a", "b")] * (MOST_HEADERS - 1))[0] == 204
    status, body, _ = knock(host, *[("x-a", "b")] * MOST_HEADERS)
    assert (status, "headers" in body["error"]["message"]) == (431, True)
    assert knock(host, ("x-a", "b" * 64_000))[0] == 204
    assert knock(host, ("x-a", "b" * 66_000))[0] == 431


def test_who_comes_when_it_is_crowded_is_asked_to_come_again() -> None:
    status, body, sent = knock(("host", "localhost"), crowded=True)
    headers = dict(sent[0]["headers"])
    assert (status, headers[b"retry-after"], headers[b"connection"]) == (503, b"2", b"close")
    assert "WEAVE_MAX_CONNECTIONS" in body["error"]["message"]


def test_the_words_of_an_exception_stay_inside() -> None:
    house = House()
    status, body, _ = knock(("host", "localhost"), app=broken, house=house)
    assert status == 500
    ((event, fields),) = house.told
    assert (event, fields["error"]) == ("bug", "ValueError")
    assert "secret" not in f"{body}{fields}"


def test_an_error_is_in_the_words_of_who_asks() -> None:
    _, body, _ = knock(("host", "evil.example"), ("anthropic-version", "2023-06-01"))
    assert (body["type"], body["error"]["type"]) == ("error", "permission_error")


def test_hosts_are_remembered_up_to_a_number() -> None:
    house = House(replace(DEFAULTS, allowed_hosts=("weave.corp",)))
    door = Door(inside, house)  # type: ignore[arg-type]
    for port in range(2_000):
        assert door._foreign([b"weave.corp:%d" % port], []) is None
    assert len(door._known) < 1_000


@pytest.mark.parametrize(("authority", "name"), [("A:1", "a"), ("[::1]:2", "::1"), ("", ""), ("[x", "")])
def test_a_host_is_found_in_an_authority(authority: str, name: str) -> None:
    assert host_in(authority) == name
