"""What operators ask a running engine, and what it says to requests that make no sense."""

import asyncio
import json
from typing import Any

import pytest


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


CHAT_TOOL = {"type": "function", "function": {"name": "Edit", "parameters": {"type": "object"}}}


def test_health_and_readiness_are_told_apart(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            assert (await it.client.get("/health")).json()["status"] == "ok"
            ready = (await it.client.get("/ready")).json()
            assert ready["status"] == "ready"
            assert ready["policy"] == "coding-agents"
            assert ready["policy_stale"] is False
            assert ready["problems"] == []
            it.engine.draining = True
            assert (await it.client.get("/ready")).status_code == 503
            assert (await it.client.get("/health")).status_code == 200

    run(play())


def test_the_catalog_is_listed_for_both_kinds_of_clients(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            listed = (await it.client.get("/v1/models")).json()
            ids = [entry["id"] for entry in listed["data"]]
            assert listed["object"] == "list"
            assert ids[0] == listed["first_id"]
            assert {"opus", "haiku", "auto"} <= set(ids)
            assert all(entry["type"] == entry["object"] == "model" for entry in listed["data"])
            assert (await it.client.get("/v1/models/opus")).json()["id"] == "opus"
            assert (await it.client.get("/v1/models/nobody")).status_code == 404

    run(play())


def test_a_route_is_decided_without_a_call_a_pin_or_a_record(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            body = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}], "tools": [CHAT_TOOL]}
            headers = {"x-weave-session": "s", "x-weave-task": "plan"}
            told = (await it.client.post("/v1/route", json=body, headers=headers)).json()
            assert told["model"] == "gpt"
            assert told["rule"] == "planning-and-debugging"
            assert told["features"]["tool_count"] == 1
            assert not it.simulator.received
            after = (await it.client.post("/v1/route", json=body, headers={"x-weave-session": "s"})).json()
            assert after["source"] != "pin"
            assert (await it.client.get(f"/v1/decisions/{told['id']}")).status_code == 404

    run(play())


def test_a_decision_can_be_looked_up_with_what_came_of_it(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("hello", headers={"x-weave-task": "plan"})
            name = reply.headers["x-weave-decision"]
            await asyncio.sleep(0.1)
            told = (await it.client.get(f"/v1/decisions/{name}")).json()
            assert told["id"] == name
            assert told["model"] == "opus"
            assert told["result"]["status"] == 200
            assert [attempt["model"] for attempt in told["tried"]] == ["opus"]
            assert any(step["name"] == "planning-and-debugging" for step in told["trace"])
            missing = await it.client.get("/v1/decisions/d0")
            assert missing.status_code == 404
            assert "no decision 'd0'" in missing.text

    run(play())


BAD_BODIES = [
    (b"", "no body"),
    (b"{", "not valid JSON"),
    (b"[1]", "an object is expected"),
    (b'{"model": "claude-opus-4-5", "messages": 3, "max_tokens": 10}', "messages"),
    (
        b'{"model": "claude-opus-4-5", "messages": [{"role": "user", "content": 3}], "max_tokens": 10}',
        "messages.0.content",
    ),
    (
        b'{"model": "claude-opus-4-5", "messages": [{"role": "robot", "content": "x"}], "max_tokens": 10}',
        "messages.0.role",
    ),
    (b'{"model": 4, "messages": [], "max_tokens": 10}', "model"),
    (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10}', "nobody"),
    (b"\xff\xfe", "not valid JSON"),
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize(("body", "says"), BAD_BODIES)
def test_a_bad_body_is_told_what_is_wrong_in_the_clients_protocol(
    house: Any, path: str, body: bytes, says: str
) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.client.post(path, content=body, headers={"content-type": "application/json"})
            assert reply.status_code in (400, 404)
            error = reply.json()
            assert says in error["error"]["message"], error
            assert (error.get("type") == "error") == (path == "/v1/messages")
            assert "Traceback" not in reply.text
            assert (await it.ask("still there?")).status_code == 200

    run(play())


def test_a_body_that_is_too_large_is_refused(house: Any) -> None:
    async def play() -> None:
        async with house(max_body_bytes=1_000_000) as it:
            reply = await it.ask("x" * 2_000_000)
            assert reply.status_code == 413
            assert reply.json()["error"]["type"] == "request_too_large"
            assert "WEAVE_MAX_BODY_BYTES" in reply.json()["error"]["message"]

    run(play())


def test_a_large_body_within_the_limit_is_answered_or_refused_in_words(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("word " * 4_000_000)
            assert reply.status_code == 400
            assert "tokens" in reply.json()["error"]["message"]
            assert (await it.ask("still there?")).status_code == 200

    run(play())


def test_a_hint_of_the_wrong_kind_is_told_what_it_takes(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("hello", headers={"x-weave-max-cost": "cheap"})
            assert reply.status_code == 400
            assert "x-weave-max-cost" in reply.json()["error"]["message"]
            forced = await it.ask("hello", headers={"x-weave-model": "hiaku"})
            assert forced.status_code == 400
            assert "it takes one of" in forced.json()["error"]["message"]

    run(play())


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_missing_provider_key_is_named(house: Any, path: str) -> None:
    async def play() -> None:
        async with house() as it:
            catalog = it.engine.policies.snapshot.catalog
            for endpoint in catalog.endpoints.values():
                object.__setattr__(endpoint, "api_key_env", "NO_SUCH_KEY")
            body = {
                "model": "claude-opus-4-5",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "x"}],
            }
            reply = await it.client.post(path, json=body)
            assert reply.status_code == 401
            assert "set NO_SUCH_KEY" in reply.json()["error"]["message"]

    run(play())


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/messages", 405)]
)
def test_what_nobody_answers_is_a_sentence_in_json(house: Any, method: str, path: str, status: int) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.client.request(method, path)
            assert reply.status_code == status
            assert path in reply.json()["error"]["message"]
            assert ("allow" in reply.headers) == (status == 405)

    run(play())


def test_a_hello_from_claude_code_is_answered(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            assert (await it.client.head("/api/hello")).status_code == 200

    run(play())


def test_answers_of_the_engine_itself_are_json(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            for path in ("/health", "/ready", "/v1/models"):
                json.loads((await it.client.get(path)).text)

    run(play())
