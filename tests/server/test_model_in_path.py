"""Gemini's paths against a live engine."""

import asyncio
import json
from typing import Any

import pytest

from engine.server.model_in_path import InOneList

MODELS = "/v1beta/models"


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def asked(text: str = "[[sim: text=Hello there]]") -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def text_of(*replies: Any) -> str:
    parts = [part for reply in replies for part in reply["candidates"][0]["content"]["parts"]]
    return "".join(part.get("text", "") for part in parts)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_the_path_says_the_model_and_whether_to_stream(house: Any, version: str) -> None:
    async def play() -> None:
        async with house() as it:
            at = f"/{version}/models/haiku"
            whole = await it.client.post(f"{at}:generateContent", json=asked())
            assert text_of(whole.json()) == "Hello there"
            assert whole.json()["modelVersion"] == "haiku"
            assert whole.headers["x-weave-model"] == "haiku"
            stream = await it.client.post(f"{at}:streamGenerateContent?alt=sse", json=asked())
            assert stream.headers["content-type"].startswith("text/event-stream")
            frames = stream.text.split("\r\n\r\n")
            assert frames.pop() == ""
            assert text_of(*(json.loads(frame.removeprefix("data: ")) for frame in frames)) == "Hello there"
            listed = await it.client.post(f"{at}:streamGenerateContent", json=asked())
            assert listed.headers["content-type"].startswith("application/json")
            assert text_of(*listed.json()) == "Hello there"
            odd = await it.client.post(f"{at}:dance", json=asked())
            assert (odd.status_code, odd.json()["error"]["status"]) == (404, "NOT_FOUND")

    run(play())


def test_what_is_wrong_is_told_in_googles_words(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            for path, body, status in (
                ("nobody:generateContent", asked(), 404),
                ("haiku:generateContent", {"contents": 7}, 400),
                ("haiku:streamGenerateContent", {}, 400),
            ):
                reply = await it.client.post(f"{MODELS}/{path}", json=body)
                assert reply.status_code == status
                assert reply.json()["error"]["code"] == status
            broken = await it.client.post(f"{MODELS}/haiku:generateContent", content=b"{")
            assert broken.json()["error"]["status"] == "INVALID_ARGUMENT"
            lost = await it.client.get("/v1beta/nothing")
            assert lost.json()["error"]["status"] == "NOT_FOUND"

    run(play())


def test_tokens_are_counted_for_gemini_clients(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            for body in (asked("word " * 400), {"generateContentRequest": asked("word " * 400)}):
                counted = await it.client.post(f"{MODELS}/opus:countTokens", json=body)
                assert counted.headers["x-weave-estimated"] == "true"
                assert 300 < counted.json()["totalTokens"] < 800

    run(play())


def test_models_are_listed_in_googles_shape(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            listed = (await it.client.get(MODELS)).json()["models"]
            assert {"models/opus", "models/auto"} <= {entry["name"] for entry in listed}
            keyed = await it.client.get("/v1/models/opus", headers={"x-goog-api-key": "k"})
            assert keyed.json()["inputTokenLimit"] == 200_000
            assert (await it.client.get(f"{MODELS}/nobody")).status_code == 404

    run(play())


def played(*messages: Any) -> list[Any]:
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def play() -> None:
        out = InOneList(send)
        for message in messages:
            await out(message)

    asyncio.run(play())
    return told


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_becomes_one_list_in_any_chunking(size: int) -> None:
    stream = b'data: {"a":1}\r\n\r\ndata: {"b":"\\r\\n\\r\\n"}\r\n\r\n'
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/event-stream")],
    }
    bites = [stream[at : at + size] for at in range(0, len(stream), size)]
    pieces = [{"type": "http.response.body", "body": bite, "more_body": True} for bite in bites]
    head, *body = played(start, *pieces, {"type": "http.response.body", "body": b"", "more_body": False})
    assert head["headers"] == [(b"content-type", b"application/json; charset=utf-8")]
    assert json.loads(b"".join(piece["body"] for piece in body)) == [{"a": 1}, {"b": "\r\n\r\n"}]
    assert [piece["more_body"] for piece in body][-1] is False


def test_a_stream_of_nothing_is_an_empty_list_and_an_error_stays_itself() -> None:
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/event-stream")],
    }
    *_, last = played(start, {"type": "http.response.body", "body": b"", "more_body": False})
    assert last["body"] == b"[]"
    error = {
        "type": "http.response.start",
        "status": 429,
        "headers": [(b"content-type", b"application/json")],
    }
    body = {"type": "http.response.body", "body": b"{}"}
    assert played(error, body) == [error, body]
