"""The log: the one door to structlog. One line per event, rendered and written off the event loop.

A terminal or pipe that stops reading must not stop the engine, so lines go through a bounded queue to a thread;
when the queue is full, lines are dropped and counted, and the next line that fits says how many. The thread looks
twenty times a second rather than being woken for each line: a wake-up costs the event loop more than the line does.
"""

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from engine import wire

Event = dict[str, Any]
Logger = Callable[..., None]

MOST_WAITING = 10_000
LOOK_SECONDS = 0.05

_OURS = os.path.join("engine", "")


class Log:
    """Writes events to `out`: as JSON lines, or readable ones."""

    def __init__(self, out: TextIO, json: bool) -> None:
        self._out = out
        self._render = (
            _json_line if json else structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=9)
        )
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def __call__(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Log one event. Never waits. No prompt text and no secret belongs in `fields`."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append({"timestamp": time.time(), "level": level, "event": event, **fields})

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._closing.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        while self._waiting:
            event = self._waiting.popleft()
            if self._dropped:
                event["lines_dropped"], self._dropped = self._dropped, 0
            moment = event["timestamp"]
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
            event["timestamp"] = f"{stamp}.{int(moment % 1 * 1000):03d}Z"
            try:
                self._out.write(f"{self._render(None, event['level'], event)}\n")
            except (OSError, ValueError):  # nobody reads the log any more; the engine goes on
                continue
        try:
            self._out.flush()
        except (OSError, ValueError):
            return


def _json_line(_logger: object, _name: str, event: Event) -> str:
    return wire.dumps({key: value for key, value in event.items() if value is not None}).decode()


def where(error: BaseException) -> str:
    """The last place of ours an exception passed, for the log; never its values."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _OURS in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def unnoticed(log: Logger) -> Callable[[object, dict[str, Any]], None]:
    """For the event loop: logs exceptions that nobody awaited, by type and place. asyncio's own handler would write out
    what they say, and with it whatever they quote."""

    def handle(_loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            log("bug", level="error", error=type(error).__name__, at=where(error))
        else:
            log("bug", level="error", error="asyncio")

    return handle


def to_standard_error(json: bool | None) -> Log:
    return Log(sys.stderr, json=not sys.stderr.isatty() if json is None else json)
