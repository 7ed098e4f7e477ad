import asyncio
from typing import Any

import httpx
import pytest

from engine.server.doorstep import Doorstep


async def asked(doorstep: Doorstep, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=doorstep)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("/health", 200, "starting"), ("/ready", 503, "starting"), ("/v1/messages", 503, "ask again")],
)
def test_before_the_engine_is_there_the_process_lives_and_is_not_to_be_asked(
    path: str, status: int, said: str
) -> None:
    reply = asyncio.run(asked(Doorstep(), path))
    assert (reply.status_code, said in reply.text) == (status, True)
    assert reply.headers["connection"] == "close"
    assert ("retry-after" in reply.headers) == (status != 200)


def test_who_is_refused_is_told_in_their_own_protocol() -> None:
    reply = asyncio.run(asked(Doorstep(), "/v1/messages"))
    assert reply.json()["type"] == "error"
    assert asyncio.run(asked(Doorstep(), "/v1beta/models/g:generateContent")).json()["error"]["status"]


def test_while_the_engine_goes_probes_are_answered_and_nobody_else(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            assert (await it.client.get("/v1/models")).status_code == 200
            it.engine.draining = True
            assert (await it.client.get("/health")).status_code == 200
            assert (await it.client.get("/ready")).json()["status"] == "draining"
            reply = await it.ask("hello")
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
            assert reply.json()["error"]["type"] == "overloaded_error"

    asyncio.run(play())
