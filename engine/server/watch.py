"""Gives up on a provider that does not get on, and on no other.

What counts is content (`engine/protocols/pulse.py` says what that is), and how long it may fail to come depends on
what the model does:

    silent     nothing of its answer has come: `first_content_seconds`, which the policy's deadline cuts shorter,
               because another provider may still be tried
    working    it has begun and may be thinking: `thinking_seconds`. No deadline ends that: what it thinks is paid for,
               and whoever came next would have to think too
    speaking   `stall_seconds` since it said something last

Gemini and some who speak OpenAI's Chat say nothing while a model thinks. So where one was asked to think, and its
provider has taken the call up (with the headers of an answer), silence is work as well.

A client that does not read holds the provider up, so no time passes while it is waited for. One timer for each stream
looks now and then; what a stream costs is a comparison for each of its pieces.
"""

import asyncio
from dataclasses import dataclass, replace
from types import TracebackType
from typing import assert_never

from engine.core.errors import Fault
from engine.protocols.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds without content are borne, by what the model does."""

    silent: float
    working: float
    speaking: float


class Watch:
    """`async with watch` raises TimeoutError in the task that entered it; `fault` then says what for. It may be left
    and entered again. `held_up` is set while the client is waited for."""

    __slots__ = ("_at", "_beats", "_bound", "_loop", "_patience", "_pulse", "_shortest", "_timer", "held_up")

    def __init__(self, patience: Patience) -> None:
        self.held_up = False
        self._patience = patience
        self._shortest = min(patience.silent, patience.working, patience.speaking)
        self._pulse = Pulse()
        self._beats = 0
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._bound = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    def spare(self) -> None:
        """What says nothing is thinking, as far as anybody can know."""
        self._patience = replace(self._patience, silent=self._patience.working)

    def follow(self, pulse: Pulse) -> None:
        self._pulse, self._beats = pulse, pulse.beats

    def heard(self) -> None:
        """Something came; whether it was anything the pulse says."""
        if self._pulse.beats != self._beats:
            self._beats = self._pulse.beats
            self._at = self._loop.time()

    def beat(self) -> None:
        """Something was said, where nobody else counts."""
        self._at = self._loop.time()

    @property
    def fault(self) -> Fault:
        seconds = f"{round(self._limit, 3):g} seconds"
        match self._pulse.phase:
            case "silent":
                message = f"the provider sent no content for {seconds}"
            case "working":
                message = f"the model began its answer and then said nothing for {seconds}"
            case "speaking":
                message = f"the provider's stream stalled: no content for {seconds}"
            case phase:
                assert_never(phase)
        return Fault("timeout", message, 0, "provider")

    async def __aenter__(self) -> "Watch":
        self._bound = asyncio.timeout(None)
        await self._bound.__aenter__()
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._bound.__aexit__(kind, error, trace)

    @property
    def _limit(self) -> float:
        match self._pulse.phase:
            case "silent":
                return self._patience.silent
            case "working":
                return self._patience.working
            case "speaking":
                return self._patience.speaking
            case phase:
                assert_never(phase)

    def _look(self) -> None:
        now = self._loop.time()
        if self.held_up:
            self._at = now
        due = self._at + self._limit
        if now >= due:
            self._bound.reschedule(now)
        else:
            # What is said until then may change the limit, but to none that ends before it.
            self._timer = self._loop.call_at(min(due, now + self._shortest), self._look)
