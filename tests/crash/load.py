"""Sessions of several turns with outcomes told, and what their clients know for sure."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

TOOL = {"name": "edit", "description": "", "input_schema": {"type": "object"}}
TURNS = 6


@dataclass(slots=True)
class Session:
    """`model` is what served its last turn, which was answered at `at`; on a monotonic clock."""

    name: str
    key: str
    planned: bool
    turns: int = 0
    model: str = ""
    at: float = 0.0


@dataclass(slots=True)
class Known:
    """What clients were told, which must hold from then on."""

    outcomes: set[str] = field(default_factory=set)
    finished: dict[str, float] = field(default_factory=dict)  # decision -> when its answer was whole
    counts: Counter[str] = field(default_factory=Counter)
    moved: list[str] = field(default_factory=list)  # sessions that lost their model, and shall not


class Clients:
    """Work on sessions until they are cancelled. An engine that is not there is waited for."""

    def __init__(self, url: str, keys: list[str], random: Random, known: Known) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=15)
        self._keys = keys
        self._random = random
        self._known = known
        self.killed_at = 0.0  # pins of the last moment before may be lost
        self.sessions: list[Session] = []

    def open(self, count: int) -> None:
        for _ in range(count):
            self.sessions.append(self._new())

    def _new(self) -> Session:
        self._known.counts["sessions"] += 1
        name = f"s{self._known.counts['sessions']}"
        return Session(name, self._random.choice(self._keys), self._random.random() < 0.5)

    async def run(self, number: int) -> None:
        while True:
            session = self.sessions[number]
            try:
                await self._turn(session)
                if session.turns >= TURNS:
                    self.sessions[number] = self._new()
            except httpx.HTTPError:
                self._known.counts["broken"] += 1
                await asyncio.sleep(0.02)

    async def _turn(self, session: Session) -> None:
        headers = {"x-weave-session": session.name, "x-api-key": session.key}
        if session.planned and not session.turns:
            headers["x-weave-task"] = "plan"
        body: dict[str, Any] = {
            "model": "claude-opus-4-5",
            "max_tokens": 200,
            "messages": [{"role": "user", "content": f"Work on {session.name}"}],
            "tools": [TOOL],
            "stream": self._random.random() < 0.5,
        }
        reply = await self._client.post("/v1/messages", json=body, headers=headers)
        if reply.status_code != 200:
            self._known.counts[f"status {reply.status_code}"] += 1
            await asyncio.sleep(0.02)
            return
        self._known.counts["turns"] += 1
        self._remember(session, reply.headers["x-weave-model"])
        decision = reply.headers["x-weave-decision"]
        self._known.finished[decision] = time.monotonic()
        if self._random.random() < 0.5:
            await self._tell(decision, headers)

    def _remember(self, session: Session, model: str) -> None:
        sure = session.turns and not 0 <= self.killed_at - session.at < 1.0
        if sure and session.model != model:
            self._known.moved.append(f"{session.name}: {session.model} -> {model}")
        session.turns, session.model, session.at = session.turns + 1, model, time.monotonic()

    async def _tell(self, decision: str, headers: dict[str, str]) -> None:
        id = f"o-{decision}"
        passed = self._random.random() < 0.7
        told = {"id": id, "decision": decision, "tests_passed" if passed else "tests_failed": 1}
        reply = await self._client.post("/v1/outcomes", json=told, headers=headers)
        self._known.counts[f"outcome {reply.status_code}"] += 1
        if reply.status_code == 200:
            self._known.outcomes.add(id)

    async def close(self) -> None:
        await self._client.aclose()
