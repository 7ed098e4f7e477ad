"""Figures of calls gone by: they decay, are shared between like calls, and stay bounded."""

from typing import Any

import pytest

from engine.core.decision import Result
from engine.core.errors import Fault
from engine.core.reply import Usage
from engine.features.history import MOST, NEUTRAL, History

CALL: dict[str, Any] = {
    "client": "codex",
    "agent": "",
    "requested_model": "opus",
    "phase": "execute",
    "language": "python",
    "context_bucket": "small",
}
OVERLOADED = Fault("overloaded", "busy", origin="provider")


def result(
    at: float, seconds: float | None = 1.0, fault: Fault | None = None, *, gone: bool = False
) -> Result:
    return Result("d", at, 200, "opus", "e", 1, None, Usage(), 0.0, 2.0, seconds, fault, gone)


def told(history: History, now: float = 0.0, **changed: str) -> dict[str, float | bool]:
    return history.recent({**CALL, **changed}, now)


def test_of_the_unknown_nothing_is_told() -> None:
    history = History()
    assert told(history) == NEUTRAL
    history.answered(CALL, result(0.0))
    assert told(history, client="pi") == NEUTRAL


def test_latency_and_failures_are_those_of_like_calls() -> None:
    history = History()
    for at in range(10):
        history.answered(CALL, result(float(at), 4.0, OVERLOADED if at % 2 else None))
    assert told(history, 10.0)["recent_latency_seconds"] == pytest.approx(4.0)
    assert told(history, 10.0)["recent_failure_rate"] == pytest.approx(0.5, abs=0.01)


def test_a_new_kind_of_call_is_told_what_its_agents_calls_are_like() -> None:
    history = History()
    for at in range(50):
        history.answered(CALL, result(float(at), 4.0))
        history.answered({**CALL, "language": "rust"}, result(float(at), 10.0))
    assert told(history, 50.0, language="go")["recent_latency_seconds"] == pytest.approx(7.0, abs=0.1)
    assert told(history, 50.0)["recent_latency_seconds"] == pytest.approx(4.3, abs=0.2)
    assert told(history, 50.0, requested_model="haiku")["recent_latency_seconds"] == pytest.approx(
        7.0, abs=0.1
    )


def test_what_is_long_ago_counts_little() -> None:
    history = History()
    history.answered(CALL, result(0.0, 1.0))
    history.answered(CALL, result(36_000.0, 9.0))
    assert told(history, 36_000.0)["recent_latency_seconds"] == pytest.approx(9.0, abs=0.1)
    assert told(history, 10_000_000.0)["recent_latency_seconds"] == 0.0


def test_users_who_hang_up_make_their_agent_sensitive_to_latency() -> None:
    history = History()
    for at in range(20):
        history.answered(CALL, result(float(at), None, gone=at % 5 == 0))
    assert told(history, 20.0)["latency_sensitive"] is True
    assert told(history, 20.0)["recent_failure_rate"] == 0.0
    calm = History()
    for at in range(20):
        calm.answered(CALL, result(float(at)))
    assert told(calm, 20.0)["latency_sensitive"] is False
    hasty = History()
    hasty.answered(CALL, result(0.0, gone=True))
    assert told(hasty)["latency_sensitive"] is False


def test_outcomes_are_remembered_for_days() -> None:
    history = History()
    history.judged(CALL, -1.0, 0.0)
    history.judged(CALL, 0.5, 1.0)
    assert told(history, 86_400.0)["recent_outcome"] == pytest.approx(-0.25, abs=0.01)


def test_an_outcome_of_a_call_nothing_is_known_of_is_nobodys() -> None:
    history = History()
    history.judged({}, 1.0, 0.0)
    assert history.recent({}, 0.0) == NEUTRAL


def test_chores_and_clients_mistakes_are_nobodys_figures() -> None:
    history = History()
    history.answered({**CALL, "phase": "title"}, result(0.0, 9.0))
    assert told(history) == NEUTRAL
    history.answered(CALL, result(0.0, 1.0, Fault("invalid_request", "no", origin="client")))
    assert told(history)["recent_failure_rate"] == 0.0


def test_a_late_or_early_clock_makes_nothing_heavier() -> None:
    history = History()
    history.answered(CALL, result(1_000_000.0, 2.0))
    history.answered(CALL, result(0.0, 4.0))
    assert told(history, 0.0)["recent_latency_seconds"] == pytest.approx(3.0)


def test_however_many_agents_call_what_is_kept_is_bounded() -> None:
    history = History()
    for number in range(MOST):
        history.answered({**CALL, "agent": f"agent-{number}"}, result(0.0))
    assert len(history._groups) <= MOST
    assert told(history, agent="agent-0") == NEUTRAL
    assert told(history, agent=f"agent-{MOST - 1}")["recent_latency_seconds"] == 1.0


def test_the_same_calls_give_the_same_figures() -> None:
    first, second = History(), History()
    for history in (first, second):
        for at in range(100):
            history.answered({**CALL, "language": ("go", "rust")[at % 2]}, result(at * 7.0, at / 10))
    assert first.recent(CALL, 700.0) == second.recent(CALL, 700.0)
