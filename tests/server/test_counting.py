import asyncio
from typing import Any


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_tokens_are_counted_by_the_vendor_or_estimated_and_said_so(house: Any) -> None:
    # G95
    async def play() -> None:
        async with house() as it:
            body = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "count me " * 50}]}
            counted = await it.client.post("/v1/messages/count_tokens", json=body)
            assert counted.status_code == 200
            exact = "x-weave-estimated" not in counted.headers
            estimated = await it.client.post("/v1/messages/count_tokens", json={**body, "model": "gpt-5.4"})
            assert estimated.headers["x-weave-estimated"] == "true"
            assert 50 <= estimated.json()["input_tokens"] <= 300
            assert counted.json()["input_tokens"] > 0
            assert exact == any(
                "count_tokens" in one.path and one.status == 200 for one in it.simulator.received
            )

    run(play())


def test_a_body_that_cannot_be_counted_is_told_why(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.client.post(
                "/v1/messages/count_tokens", json={"model": "claude-opus-4-5", "messages": 3}
            )
            assert reply.status_code == 400
            assert "messages" in reply.json()["error"]["message"]

    run(play())
