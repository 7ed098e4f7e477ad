"""A request cannot make the engine call anything but its own providers, at the paths of their protocol."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.server.security.acting import VENDORS, Opening, run

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def pointing(speaks: str, url: str) -> list[dict[str, Any]]:
    """Requests that name a URL wherever the protocol has a place for one."""
    match speaks:
        case "anthropic":
            parts: list[dict[str, Any]] = [
                {"type": "image", "source": {"type": "url", "url": url}},
                {"type": "document", "source": {"type": "url", "url": url}},
            ]
            said = [{"messages": [{"role": "user", "content": [part]}]} for part in parts]
            servers = {"mcp_servers": [{"type": "url", "url": url, "name": "x"}]}
            return [*said, {"messages": [{"role": "user", "content": "hi"}], **servers}]
        case "openai":
            parts = [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "file", "file": {"file_data": url, "filename": "a.pdf"}},
                {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
            ]
            return [{"messages": [{"role": "user", "content": [part]}]} for part in parts]
        case "responses":
            parts = [
                {"type": "input_image", "image_url": url},
                {"type": "input_file", "file_url": url},
            ]
            said = [{"input": [{"role": "user", "content": [part]}]} for part in parts]
            tools = [{"type": "mcp", "server_label": "x", "server_url": url, "require_approval": "never"}]
            return [*said, {"input": "hi", "tools": tools}]
        case _:
            return [
                {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": url, "mimeType": kind}}]}]}
                for kind in ("image/png", "application/pdf")
            ]


@pytest.mark.parametrize("speaks", VENDORS)
def test_an_address_in_a_request_is_never_called(site: Opening, trap: Any, speaks: str) -> None:
    async def play() -> None:
        async with site() as it, trap() as caught:
            for vendor in VENDORS:
                for fields in pointing(speaks, f"{caught.url}/x.png"):
                    reply = await it.ask(speaks, f"at-{vendor}", **fields)
                    assert reply.status_code < 500, (vendor, fields, reply.text)
            assert caught.calls == []

    run(play())


NAMES = [
    "../../../admin",
    "..%2f..%2fadmin",
    "%2e%2e/%2e%2e/admin",
    "x@127.0.0.1",
    "x?alt=sse&key=1",
    "x#y",
    "//127.0.0.1/x",
    "http://127.0.0.1/x",
    "x:generateContent",
    "x\\..\\y",
    "x;y=z",
    "%00",
    "x%0d%0ahost:evil",
]


@pytest.mark.parametrize("prefixed", [False, True], ids=["unknown", "by an alias"])
def test_a_model_s_name_changes_neither_host_nor_path_of_a_call(site: Opening, prefixed: bool) -> None:
    async def play() -> None:
        async with site() as it:
            for speaks in VENDORS:
                await it.ask(speaks, f"at-{speaks}")
                await it.ask(speaks, f"at-{speaks}", stream=True)
            sound = {head.split(b"\r\n", 1)[0] for _, head, _ in it.wires.sent}
            it.wires.sent.clear()
            for name in NAMES:
                for speaks in VENDORS:
                    asked = f"{speaks}-{name}" if prefixed else name
                    for model in {asked, quote(asked, safe="")}:
                        reply = await it.ask(speaks, model)
                        assert reply.status_code in (200, 400, 404), (model, reply.text)
                    hinted = await it.ask(speaks, f"at-{speaks}", headers={"x-weave-model": asked})
                    assert hinted.status_code in (400, 200)
            assert {head.split(b"\r\n", 1)[0] for _, head, _ in it.wires.sent} <= sound
            assert bool(it.wires.sent) == prefixed
            hosts = {
                line
                for _, head, _ in it.wires.sent
                for line in head.split(b"\r\n")
                if b"host:" in line.lower()
            }
            assert all(b"evil" not in host for host in hosts)

    run(play())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect_is_a_fault_and_not_followed(site: Opening, trap: Any, status: int, stream: bool) -> None:
    async def play() -> None:
        async with site() as it, trap() as caught:
            head = f"HTTP/1.1 {status} there\r\nlocation: {caught.url}/\r\ncontent-length: 0\r\n"
            it.wires.answer = lambda _: f"{head}connection: close\r\n\r\n".encode()
            for speaks in VENDORS:
                reply = await it.ask(speaks, f"at-{speaks}", stream=stream)
                assert 500 <= reply.status_code < 600, reply.text
                assert caught.url not in reply.text + str(reply.headers)
            assert caught.calls == []

    run(play())


@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT", "OPTIONS", "TRACE"])
def test_the_engine_is_no_proxy(site: Opening, trap: Any, method: str) -> None:
    async def play() -> None:
        async with site() as it, trap() as caught:
            there = caught.url.removeprefix("http://")
            target = there if method == "CONNECT" else f"{caught.url}/v1/messages"
            request = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            reply = await it.raw(request.encode())
            assert reply[:10] == b"HTTP/1.1 4", reply
            assert caught.calls == []

    run(play())


FOREIGN: list[dict[str, str]] = [
    {"host": "rebound.example"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_foreign_page_can_use_no_path_of_an_open_engine(site: Opening, headers: dict[str, str]) -> None:
    async def play() -> None:
        async with site() as it:
            for speaks in VENDORS:
                reply = await it.ask(speaks, f"at-{speaks}", headers=headers)
                assert reply.status_code == 403
            for path in ("/ready", "/metrics", "/v1/models", "/v1/outcomes/x", "/openapi.json", "/nowhere"):
                assert (await it.client.get(path, headers=headers)).status_code == 403
            assert it.wires.sent == []

    run(play())


def test_no_answer_lets_a_foreign_page_read_it(site: Opening) -> None:
    async def play() -> None:
        async with site(allowed_hosts=("https://app.example",)) as it:
            headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
            asked: list[httpx.Response] = [
                await it.ask("openai", "at-openai", headers=headers),
                await it.client.options("/v1/chat/completions", headers=headers),
                await it.client.get("/ready", headers=headers),
            ]
            for reply in asked:
                assert not [name for name in reply.headers if name.startswith("access-control-")]

    run(play())


def test_an_inline_image_still_arrives(site: Opening) -> None:
    async def play() -> None:
        async with site() as it:
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
            said = [{"role": "user", "content": [{"type": "image", "source": source}]}]
            for vendor in VENDORS:
                assert (await it.ask("anthropic", f"at-{vendor}", messages=said)).status_code == 200
            assert all(PIXEL in json.loads(body).__str__() for _, _, body in it.wires.sent)

    run(play())
