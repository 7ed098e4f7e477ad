"""The log: the one door to structlog. One line per event, rendered and written off the event loop.

A terminal or pipe that stops reading must not stop the engine, so lines go through a bounded queue to a thread;
when the queue is full, lines are dropped and counted, and the next line that fits says how many.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from engine import wire

Event = dict[str, Any]


class Log:
    """Writes events to `out`: as JSON lines, or readable ones."""

    def __init__(self, out: TextIO, json: bool) -> None:
        self._out = out
        self._render = (
            _json_line if json else structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=9)
        )
        self._queue: queue.Queue[Event | None] = queue.Queue(10_000)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def __call__(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Log one event. Never blocks. No prompt text and no secret belongs in `fields`."""
        try:
            self._queue.put_nowait({"timestamp": time.time(), "level": level, "event": event, **fields})
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is queued and stop."""
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _write(self) -> None:
        while (event := self._queue.get()) is not None:
            if self._dropped:
                event["lines_dropped"], self._dropped = self._dropped, 0
            moment = event["timestamp"]
            event["timestamp"] = (
                time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"
            )
            try:
                self._out.write(f"{self._render(None, event['level'], event)}\n")
                if self._queue.empty():
                    self._out.flush()
            except (OSError, ValueError):  # nobody reads the log any more; the engine goes on
                continue


def _json_line(_logger: object, _name: str, event: Event) -> str:
    return wire.dumps({key: value for key, value in event.items() if value is not None}).decode()


def to_standard_error(json: bool | None) -> Log:
    return Log(sys.stderr, json=not sys.stderr.isatty() if json is None else json)


Logger = Callable[..., None]
