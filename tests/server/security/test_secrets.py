"""What is secret stays where it belongs: each secret carries a canary, and everything the engine says, writes or keeps
is searched for them, after all went well, after everything that can go wrong, and after a mistake of the engine's."""

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import Fault
from engine.protocols.shape import Protocol
from engine.simulator.faults import Kind
from tests.server.security.acting import VENDORS, Opening, run
from tests.server.security.conftest import KEYS, Site, call

CLIENT = "canary-of-the-client"
PROMPT = "canary of the prompt"
LINK_SECRET = "canary-of-the-links"

CREDENTIALS = {
    "authorization": f"Bearer {CLIENT}-1",
    "x-api-key": f"{CLIENT}-2",
    "x-goog-api-key": f"{CLIENT}-3",
    "api-key": f"{CLIENT}-4",
    "cookie": f"session={CLIENT}-5",
    "proxy-authorization": f"Basic {CLIENT}-6",
    "x-weave-key": f"wk_{CLIENT}-7",
}
QUERY = f"key={CLIENT}-8"

FAULTS: tuple[Kind, ...] = (
    "status",
    "html",
    "drop",
    "cut",
    "error",
    "first_event_error",
    "malformed",
    "unended",
    "empty",
)
STATUSES = (400, 401, 402, 403, 404, 429, 500, 529)


async def everything(it: Site, vendors: Sequence[str] = VENDORS) -> list[str]:
    """Asks in every way, and gives what was answered. The vendors may be fewer, where time is short."""
    answers: list[str] = []

    async def post(path: str, body: Any, raw: bytes | None = None) -> None:
        joined = f"{path}{'&' if '?' in path else '?'}{QUERY}"
        content = raw if raw is not None else json.dumps(body).encode()
        reply = await it.client.post(joined, content=content, headers=CREDENTIALS)
        answers.append(f"{reply.headers} {reply.text}")
        if name := reply.headers.get("x-weave-decision"):
            told = await it.client.get(f"/v1/decisions/{name}", headers=CREDENTIALS)
            answers.append(told.text)

    for speaks in VENDORS:
        for vendor in {*vendors, speaks}:
            for stream in (False, True):
                await post(*call(speaks, f"at-{vendor}", f"{PROMPT} [[sim: text=hello]]", stream))
        path, body = call(speaks, f"at-{speaks}", PROMPT, False)
        whole = json.dumps(body).encode()
        await post(path, body, whole[:-5])
        await post(
            path, body, whole.replace(f'"{PROMPT}"'.encode(), b"[" + f'"{PROMPT}"'.encode() * 2 + b"]")
        )
        await post(
            path, {**body, "messages": {PROMPT: PROMPT}, "contents": {PROMPT: 1}, "input": {PROMPT: 1}}
        )
        await post(path, {**body, "stream": PROMPT, PROMPT: PROMPT, "temperature": PROMPT, "tools": PROMPT})
        await post(path, None, b"\xff" + PROMPT.encode())
    await post("/v1/messages/count_tokens", call("anthropic", "at-anthropic", PROMPT, False)[1])
    await post("/v1/route", call("openai", "at-openai", PROMPT, False)[1])
    await post("/v1/outcomes", {"decision": "d0", "labels": {"a": "b"}})
    await post("/v1/outcomes/canary", {})
    for path in ("/ready", "/metrics", "/v1/models", "/v1/models/x", "/nowhere", "/health", "/v1/budgets"):
        reply = await it.client.get(f"{path}?{QUERY}", headers=CREDENTIALS)
        answers.append(f"{reply.headers} {reply.text}")
    return answers


def search(where: str, text: str, canaries: tuple[str, ...]) -> None:
    for canary in canaries:
        spelled = (canary, b64encode(canary.encode()).decode().rstrip("="), canary.encode().hex())
        for form in spelled:
            at = text.find(form)
            assert at < 0, f"{where} holds {form!r}: …{text[max(0, at - 200) : at + 100]}…"


def search_all(it: Site, folder: Path, answers: list[str], caplog: pytest.LogCaptureFixture) -> None:
    keys = (*KEYS.values(), LINK_SECRET, CLIENT)
    search("the log", it.log.getvalue(), (*keys, PROMPT))
    search("what libraries log", caplog.text, (*keys, PROMPT))
    for file in folder.rglob("*"):
        if file.is_file():
            search(str(file.name), file.read_bytes().decode("latin-1"), (*keys, PROMPT))
    for answer in answers:
        search("an answer", answer, keys)


def test_when_all_goes_well(site: Opening, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for library in ("uvicorn", "aiohttp", "asyncio", "concurrent"):  # the test's own client is none of them
        caplog.set_level(logging.DEBUG, logger=library)

    async def play() -> None:
        async with site({"WEAVE_LINK_SECRET": LINK_SECRET}) as it:
            answers = await everything(it)
            assert sum("200" in answer or "hello" in answer for answer in answers) > 20
            await asyncio.sleep(0.5)
            search_all(it, tmp_path, answers, caplog)
        search_all(it, tmp_path, [], caplog)

    run(play())


def test_when_providers_fail(site: Opening, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with site({"WEAVE_LINK_SECRET": LINK_SECRET}, attempts=1) as it:
            for kind in FAULTS:
                it.wires.simulator.faults.heal()
                it.wires.simulator.fail(kind=kind, status=500, after=1)
                answers = await everything(it, ["openai"])
                await asyncio.sleep(0.3)
                search_all(it, tmp_path, answers, caplog)

    run(play())


def test_when_providers_repeat_the_key_they_refuse(
    site: Opening, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refusing(status: int, vendor: str) -> bytes:
        words = f"the key {KEYS[vendor]} may not do this"
        told = {"type": "error", "error": {"type": words, "code": words, "message": words, "status": words}}
        body = json.dumps(told).encode()
        head = f"HTTP/1.1 {status} {words}\r\ncontent-type: application/json\r\nretry-after: {words}\r\n"
        return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body

    async def play() -> None:
        async with site({"WEAVE_LINK_SECRET": LINK_SECRET}, attempts=1) as it:
            for status in STATUSES:
                it.wires.answer = partial(refusing, status)
                answers = await everything(it, ["openai"])
                await asyncio.sleep(0.3)
                search_all(it, tmp_path, answers, caplog)

    run(play())


@pytest.mark.parametrize("stream", [False, True])
def test_when_a_provider_says_the_key_in_what_is_no_answer(
    site: Opening, tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    async def play() -> None:
        async with site(attempts=1) as it:
            for body in (
                f"<p>{KEYS['openai']}</p>",
                f'data: {{"error": {{"message": "{KEYS["openai"]}"}}}}\n\n',
            ):
                kind = "text/event-stream" if stream else "application/json"
                head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
                whole = f"{head}connection: close\r\n\r\n{body}".encode()
                it.wires.answer = lambda _, whole=whole: whole
                reply = await it.ask("openai", "at-openai", stream=stream)
                await asyncio.sleep(0.3)
                search_all(it, tmp_path, [reply.text], caplog)

    run(play())


PLACES = [
    "engine.server.relay.decide",
    "engine.server.relay.remember",
    "engine.server.attempt.outbound",
    "engine.server.attempt.pipe",
    "engine.server.relay.conclude",
    "engine.server.counting.read_request",
    "engine.server.console.decide",
    "engine.server.console.exposition",
    "engine.server.outcomes.parse",
]


@pytest.mark.parametrize("place", PLACES)
def test_when_the_engine_itself_is_wrong(
    site: Opening,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """Whatever an exception says, and whatever its frames hold, is not told."""

    def broken(*values: Any, **named: Any) -> Any:
        raise ZeroDivisionError(f"{PROMPT} {CLIENT} {KEYS['openai']} {values} {named}")

    monkeypatch.setattr(place, broken)

    async def play() -> None:
        async with site({"WEAVE_LINK_SECRET": LINK_SECRET}, attempts=1) as it:
            answers = await everything(it, [])
            await asyncio.sleep(0.3)
            assert '"event":"bug"' in it.log.getvalue()
            search_all(it, tmp_path, answers, caplog)

    run(play())
    told = capfd.readouterr()
    search("the terminal", told.out + told.err, (*KEYS.values(), CLIENT, PROMPT))


def test_a_refusal_is_in_the_words_of_its_protocol_and_names_no_key() -> None:
    from engine.protocols import PROTOCOLS

    def written(protocol: Protocol) -> str:
        return json.dumps(protocol.write_fault(Fault("authentication", "no", detail=KEYS["openai"])))

    assert all(KEYS["openai"] not in written(protocol) for protocol in PROTOCOLS.values())
