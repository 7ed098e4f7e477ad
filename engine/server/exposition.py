"""`GET /metrics`: what was counted and what is true now, in Prometheus's text format, version 0.0.4."""

import time
from collections.abc import Iterable, Iterator

from engine.server.engine import Engine
from engine.server.metrics import sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Accounts of budgets that are shown, the fullest.
MOST_SHOWN = 200

Rows = Iterable[tuple[dict[str, str], float]]
Family = tuple[str, str, str, Rows]


def exposition(engine: Engine) -> bytes:
    lines: list[str] = []
    for family in engine.metrics.families():
        lines += _headed(family.name, family.kind, family.help, family.lines())
    for name, kind, help, rows in _standing(engine):
        lines += _headed(name, kind, help, (sample(name, labels.items(), value) for labels, value in rows))
    return ("\n".join(lines) + "\n").encode()


def _headed(name: str, kind: str, help: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    yield from lines


def _standing(engine: Engine) -> Iterator[Family]:
    policies = engine.policies
    served = {"policy": policies.snapshot.policy.name, "snapshot": policies.snapshot.fingerprint}
    problems = policies.problems or policies.snapshot.problems
    yield _one("weave_running", "Requests under way.", engine.running)
    yield _one("weave_sessions", "Sessions that work on a task.", len(engine.tasks))
    yield _one("weave_draining", "1 while the engine stops, and takes nothing new.", engine.draining)
    yield _one("weave_start_time_seconds", "When the engine started.", engine.started)
    yield "weave_policy_info", "gauge", "The policy that serves, and its set.", [(served, 1.0)]
    yield _one(
        "weave_policy_stale", "1 while what is on disk does not hold, and is not what serves.", policies.stale
    )
    yield _one("weave_policy_problems", "What is wrong with the policies on disk.", len(problems))
    yield (
        "weave_breaker_state",
        "gauge",
        "1 for the state a way is in; ways that are well are not here.",
        [
            ({"endpoint": each.endpoint, "model": each.model, "state": each.state}, 1.0)
            for each in engine.health.conditions(time.monotonic())
        ],
    )
    accounts = [
        ({"budget": one["budget"], "per": one["per"], "value": one["value"]}, one)
        for one in engine.books.told(policies.snapshot, engine.clock())[:MOST_SHOWN]
    ]
    for what, help in (
        ("limit", "What may be spent"),
        ("spent", "What was spent"),
        ("reserved", "What is reserved"),
    ):
        rows = [(labels, float(one[f"{what}_usd"])) for labels, one in accounts]
        yield f"weave_budget_{what}_usd", "gauge", f"{help} of a budget, the fullest accounts first.", rows
    malformed = [({"endpoint": name}, float(count)) for name, count in engine.malformed.items()]
    yield "weave_malformed_total", "counter", "Answers that were none of their protocol.", malformed
    journal = engine.journal.health()
    yield _one("weave_journal_waiting", "Events that wait to be written.", journal["waiting"])
    yield _one("weave_journal_lost_total", "Events that were never written.", journal["lost"], "counter")


def _one(name: str, help: str, value: float, kind: str = "gauge") -> Family:
    return name, kind, help, [({}, float(value))]
