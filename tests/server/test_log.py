import io
import json
import threading
from typing import Any

from engine.server.log import Log, unnoticed


def test_an_event_becomes_one_json_line_without_what_is_not_known() -> None:
    out = io.StringIO()
    log = Log(out, json=True)
    log("decision", model="opus", rule=None, cost_usd=0.5)
    log.close()
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert event["event"] == "decision"
    assert event["model"] == "opus"
    assert event["level"] == "info"
    assert "rule" not in event
    assert event["timestamp"].endswith("Z")


def test_text_for_people_names_the_event_and_its_fields() -> None:
    out = io.StringIO()
    log = Log(out, json=False)
    log("serving", url="http://127.0.0.1:8484")
    log.close()
    assert "serving" in out.getvalue()
    assert "url=http://127.0.0.1:8484" in out.getvalue()


class Stuck(io.StringIO):
    """A terminal that has stopped reading, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def write(self, text: str) -> int:
        self.free.wait(timeout=20)
        return super().write(text)


def test_a_terminal_that_stops_reading_costs_lines_but_never_waits() -> None:
    out = Stuck()
    log = Log(out, json=True)
    for number in range(12_000):
        log("decision", number=number)
    out.free.set()
    log.close()
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    dropped = sum(event.get("lines_dropped", 0) for event in events)
    assert dropped > 0
    assert len(events) + dropped == 12_000


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("nobody reads")


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    log = Log(Broken(), json=True)
    log("decision")
    log.close()


def test_an_exception_nobody_awaited_is_told_by_type_and_place_alone() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    handle = unnoticed(lambda event, **fields: told.append((event, fields)))
    handle(None, {"message": "what was said", "exception": ValueError("sk-secret")})
    handle(None, {"message": "sk-secret was lost"})
    assert [(event, fields["error"]) for event, fields in told] == [("bug", "ValueError"), ("bug", "asyncio")]
    assert "sk-secret" not in str(told)
