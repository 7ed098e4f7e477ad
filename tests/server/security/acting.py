"""How the tests of the edges play a scene."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Opening = Callable[..., Any]

VENDORS = ("anthropic", "openai", "responses", "google")


def run(play: Awaitable[None], seconds: float = 60.0) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await play

    asyncio.run(bounded())
