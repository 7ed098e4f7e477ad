"""The clients of a run, in a process of their own: many sessions at once, each asking turn after turn, and each answer
judged as it comes. Writes a line of JSON for each request, and a last one of figures.

    python -m tests.chaos.sessions '{"course": {…}, "port": 8484, "keys": [], "out": "answers.jsonl"}'
"""

import asyncio
import json
import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tests.chaos.judges import Answer, Seen, glimpse, judge
from tests.chaos.plan import PEOPLE, Ask, Course, ask, said
from tests.chaos.processes import bounded, event_loop, more_files
from tests.chaos.wire import Line, post, request

HANG_SECONDS = 60.0
REUSE_SECONDS = 50.0  # the engine keeps an idle connection for longer than that
TAIL = 1500
RAMP = 0.15  # of the time, in which the sessions arrive

NONCE = re.compile(rb"n[0-9a-f]{12}")
CALL = re.compile(r"(\d+-\d+)\.\d+")
ENGINE_BUG = "the engine made a mistake"


@dataclass(slots=True)
class Told:
    """One request as its client lived it. `calls` are those whose content it saw."""

    nonce: str
    session: int
    turn: int
    speech: str
    stream: bool
    left: str = ""
    status: int = 0
    decision: str = ""
    end: str = ""
    message: str = ""
    calls: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)
    began: float = 0.0
    seconds: float = 0.0
    tail: str = ""  # of the body, where something was wrong with it


def judged(asked: Ask, answer: Answer, told: Told) -> None:
    """What an answer says of the engine."""
    gone = bool(told.left)
    seen = (glimpse if gone else judge)(asked.speech, asked.stream, answer)
    told.status, told.end, told.message = answer.status, seen.end, seen.message
    told.decision = answer.headers.get("x-weave-decision", "")
    told.crossed = sorted({one.decode() for one in NONCE.findall(answer.body)} - {asked.nonce})
    text = seen.text + "".join(seen.arguments)
    told.calls = sorted(set(CALL.findall(text)))
    told.wrongs += seen.wrongs
    if len(told.calls) == 1 and not asked.tool:
        expected = said(asked.nonce, told.calls[0], asked.words)
        whole = seen.text == expected if seen.end == "whole" and not gone else expected.startswith(seen.text)
        if not whole:
            told.wrongs.append(f"said {seen.text!r}, not {expected!r}")
    if gone:
        return
    if seen.end == "whole":
        _whole(asked, seen, told)
    if seen.end == "error":
        _excused(asked, answer, seen, told)


def _whole(asked: Ask, seen: Seen, told: Told) -> None:
    if len(told.calls) != 1:
        told.wrongs.append(f"a whole answer of calls {told.calls}: {seen.text!r}")
    elif asked.tool:
        expected = {"text": said(asked.nonce, told.calls[0], asked.words)}
        try:
            arguments = [json.loads(one) for one in seen.arguments]
        except ValueError:
            arguments = []
        if arguments != [expected]:
            told.wrongs.append(f"called with {seen.arguments}")


def _excused(asked: Ask, answer: Answer, seen: Seen, told: Told) -> None:
    """An error has a reason: what the client is told is its own fault must have been ordered from a provider."""
    if ENGINE_BUG in seen.message:
        told.wrongs.append(f"a bug: {seen.message}")
    if answer.status in (400, 404, 413, 422) and not any(400 <= status < 500 for status in asked.statuses):
        told.wrongs.append(f"nobody ordered a {answer.status}: {seen.message}")


class Clients:
    def __init__(self, course: Course, port: int, keys: list[str], out: TextIO) -> None:
        self._course, self._port, self._keys, self._out = course, port, keys, out
        self._ends = time.monotonic() + course.seconds
        self.requests = self.running = self.most_running = self.open = self.most_open = 0
        self.outcomes = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for session in range(self._course.sessions):
                group.create_task(self._live(session))

    def _key(self, session: int) -> str:
        return self._keys[session % PEOPLE] if self._keys else ""

    async def _live(self, session: int) -> None:
        await asyncio.sleep(session / self._course.sessions * RAMP * self._course.seconds)
        line: Line | None = None
        turn = 0
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        while time.monotonic() < self._ends:
            line = await self._turn(ask(self._course, session, turn), line)
            pause = ask(self._course, session, turn).pause * self._course.pause_seconds
            turn += 1
            await asyncio.sleep(min(pause, max(0.0, self._ends - time.monotonic())))
        self.open -= 1
        if line is not None:
            line.close()

    async def _turn(self, asked: Ask, line: Line | None) -> Line | None:
        told = Told(asked.nonce, asked.session, asked.turn, asked.speech, asked.stream, began=time.time())
        self.requests += 1
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        began = time.monotonic()
        try:
            async with asyncio.timeout(HANG_SECONDS):
                if line is None or line.is_over or began - line.idle_since > REUSE_SECONDS:
                    if line is not None:
                        line.close()
                    line = await Line.open("127.0.0.1", self._port)
                await self._exchange(asked, line, told)
        except TimeoutError:
            told.wrongs.append(f"hangs since {HANG_SECONDS:g} s")
        except (OSError, EOFError, ValueError, KeyError) as error:
            told.wrongs.append(f"no answer: {type(error).__name__} {error}")
        finally:
            self.running -= 1
            told.seconds = round(time.monotonic() - began, 3)
        if line is not None and told.status:
            judged(asked, line.answer, told)
            told.tail = line.body[-TAIL:].decode(errors="replace") if told.wrongs else ""
        self._out.write(json.dumps(asdict(told)) + "\n")
        if line is None or told.left or told.wrongs or not line.reusable:
            if line is not None:
                line.drop()
            return None
        if asked.outcome and told.end == "whole" and told.decision:
            await self._judge(asked, line, told)
        line.idle_since = time.monotonic()
        return line

    async def _exchange(self, asked: Ask, line: Line, told: Told) -> None:
        """Ask, and read the answer as far as this client's patience goes."""
        head, body = request(asked, self._key(asked.session))
        if asked.leaving in ("connected", "in_head", "in_body"):
            told.left = asked.leaving
            await line.send(
                {"connected": b"", "in_head": head[: len(head) // 2]}.get(asked.leaving, head + body[:-9])
            )
            await asyncio.sleep(asked.patience / 4)
            return
        await line.send(head + body)
        match asked.leaving:
            case "asked":
                told.left = "asked"
            case "waiting":
                with suppress(TimeoutError):
                    async with asyncio.timeout(asked.patience):
                        await line.read_head()
                        await line.read_body()
                if not line.ended:
                    told.left = "waiting"
            case "answered":
                await line.read_head()
                told.left = "answered"
            case "in_answer":
                await line.read_head()
                await line.read_body(asked.patience * 1000)
                if not line.ended:
                    told.left = "in_answer"
            case _:
                await line.read_head()
                await line.read_body()
        told.status = line.status

    async def _judge(self, asked: Ask, line: Line, told: Told) -> None:
        """Tell what became of the work."""
        about = {"decision": told.decision, "rating": asked.outcome}
        key = self._key(asked.session)
        head, body = post("/v1/outcomes", about, {"authorization": f"Bearer {key}"} if key else {})
        self.outcomes += 1
        wrong = ""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                await line.send(head + body)
                await line.read_head()
                await line.read_body()
                if line.status != 200:
                    wrong = f"an outcome was answered {line.status}: {bytes(line.body[:200])!r}"
        except (OSError, EOFError, ValueError, KeyError) as error:
            wrong = f"an outcome was not answered: {type(error).__name__} {error}"
        if wrong:
            late = Told(f"{asked.nonce}-outcome", asked.session, asked.turn, "outcome", False, wrongs=[wrong])
            self._out.write(json.dumps(asdict(late)) + "\n")


def main(told: dict[str, Any]) -> None:
    course = Course(**told["course"])
    bounded(course.seconds + 2 * HANG_SECONDS)
    more_files()
    with (
        Path(told["out"]).open("w", encoding="utf-8") as out,
        asyncio.Runner(loop_factory=event_loop) as runner,
    ):
        clients = Clients(course, told["port"], told["keys"], out)
        runner.run(clients.run())
    figures = {
        "requests": clients.requests,
        "most_running": clients.most_running,
        "sessions": clients.most_open,
        "outcomes": clients.outcomes,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
