"""A decision that is used again, through the whole story of a request."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from engine import turn
from engine.core.decision import Decision
from engine.core.identity import LOCAL, Identity
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Pin, Task
from engine.documents import shipped_text
from engine.protocols import PROTOCOLS
from engine.routing.reuse import MemoryReuse, is_repeatable, reuse_key
from engine.snapshot import Snapshot, build

POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
plans:
  cheap-first: {steps: [small, mid], escalate: {when: features.session_test_failures >= 1}}
learners:
  picker:
    algorithm: beta
    signature: [features.phase, features.language]
    confidence: {threshold: 0.9, min_samples: 1}
    explore: {rate: 0.5, loss: 1, when: "!features.tool_loop_open"}
rules:
  - {name: private, guard: true, when: has(hints.private), then: {use: local, failover: none}}
  - {name: failing, when: features.session_test_failures >= 2, then: {use: frontier, escalate: true}}
  - {name: asked-for, when: has(hints.task), then: {use: frontier, effort: high}}
  - {name: work, when: true, then: {choose: [small, frontier], by: picker}}
default: {use: frontier}
reuse: {for: 60s, key: [features.signature, features.focus_file]}
pinning: {lock_while: features.tool_loop_open, switch_when_saving_usd: 0.01}
"""
TOOL = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}
NOW = 1_000.0


class Counting:
    """Trust that counts how often it is asked."""

    def __init__(self, confidence: float = 0.99) -> None:
        self.asked = 0
        self._confidence = confidence

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        self.asked += 1
        return [Belief(self._confidence, 1_000.0) for _ in options]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build({"catalog.yaml": shipped_text("policies/catalog.yaml"), "p.yaml": POLICY})


def edited(path: str = "a.py", runs: int = 0, says: str = "Go on.") -> list[dict[str, Any]]:
    """A conversation that edits a file, runs tests that fail so many times, and then hears the user again."""

    def step(id: str, name: str, asked: dict[str, str], told: str) -> list[dict[str, Any]]:
        call = {"type": "tool_use", "id": id, "name": name, "input": asked}
        result = {"type": "tool_result", "tool_use_id": id, "content": told}
        return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]

    messages = [{"role": "user", "content": "Fix it."}, *step("e", "Edit", {"file_path": path}, "updated")]
    for number in range(runs):
        messages += step(f"t{number}", "Bash", {"command": "pytest"}, "=== 2 failed in 0.1s ===")
    spoken = [{"role": "assistant", "content": "Done."}, {"role": "user", "content": says}]
    return [*messages, *spoken] if says else messages


def decide(
    snapshot: Snapshot,
    earlier: Decision | None = None,
    *,
    trust: Counting | None = None,
    draw: float = 0.99,
    pin: Pin | None = None,
    at: float = NOW,
    headers: Mapping[str, str] | None = None,
    **messages: Any,
) -> Decision:
    body = {
        "model": "claude-opus-4-5",
        "max_tokens": 9_000,
        "tools": [TOOL],
        "messages": edited(**messages),
    }
    raw = json.dumps(body).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    facts = turn.read(request, headers or {}, LOCAL, snapshot)
    moment = turn.Moment(f"d{at:.0f}", at, draw, pin, trust or Counting(), earlier=earlier)
    return turn.decide(facts, snapshot, moment)


def test_a_choice_is_used_again_without_asking_and_says_whose_it_is(snapshot: Snapshot) -> None:
    first = decide(snapshot, draw=0.99)
    trust = Counting(0.0)
    second = decide(snapshot, first, trust=trust, at=NOW + 12)
    assert trust.asked == 0
    assert (
        (second.model, second.source, second.rule)
        == (first.model, "learner", "work")
        == ("haiku", "learner", "work")
    )
    assert second.reason == f"{first.reason}, as 12 s ago"
    assert (second.reused_from, first.reused_from) == (first.id, "")
    assert (second.confidence, second.propensity) == (first.confidence, first.propensity)
    assert (second.learner, second.signature, second.inputs) == (first.learner, first.signature, first.inputs)
    assert second.candidates == first.candidates
    assert [(step.kind, step.name) for step in second.trace] == [("reuse", "work")]


def test_what_was_tried_keeps_the_chance_it_had_and_is_not_tried_where_trying_is_forbidden(
    snapshot: Snapshot,
) -> None:
    tried = decide(snapshot, trust=Counting(0.5), draw=0.1)
    assert (tried.model, tried.propensity) == ("haiku", 0.5)
    again = decide(snapshot, tried, trust=Counting(0.5), draw=0.99)
    assert (again.model, again.propensity, again.reused_from) == ("haiku", 0.5, tried.id)
    in_a_loop = decide(snapshot, tried, trust=Counting(0.5), says="")
    assert (in_a_loop.model, in_a_loop.propensity, in_a_loop.reused_from) == ("opus", 1.0, "")


def test_a_guard_and_a_rule_that_escalates_are_asked_each_time(snapshot: Snapshot) -> None:
    first = decide(snapshot)
    guarded = decide(snapshot, first, headers={"x-weave-private": "1"})
    assert (guarded.model, guarded.source, guarded.reused_from) == ("local", "guard", "")
    failing = decide(snapshot, first, runs=2)
    assert (failing.model, failing.rule, failing.reused_from) == ("opus", "failing", "")


def test_a_pin_outranks_what_is_used_again_and_evidence_outranks_both(snapshot: Snapshot) -> None:
    first = decide(snapshot)
    kept = decide(snapshot, first, pin=Pin("sonnet", "earlier", 0.0, 9_999.0), says="")
    assert (kept.model, kept.source, kept.reused_from) == (
        "sonnet",
        "pin",
        "",
    )  # what may be tried no longer stands
    raised = decide(snapshot, first, pin=Pin("haiku", "earlier", 0.0, 9_999.0, "cheap-first"), runs=1)
    assert (raised.model, raised.source, raised.step) == ("sonnet", "escalation", 1)


def test_what_is_used_again_may_move_a_session_where_that_pays(snapshot: Snapshot) -> None:
    first, trust = decide(snapshot), Counting()
    moved = decide(snapshot, first, pin=Pin("opus", "earlier", 0.0, 9_999.0), trust=trust)
    assert (moved.model, moved.source, moved.reused_from, trust.asked) == ("haiku", "learner", first.id, 0)
    assert "moving from opus to haiku saves" in moved.reason


def test_a_model_that_cannot_carry_the_request_is_not_used_again(snapshot: Snapshot) -> None:
    first = decide(snapshot)
    narrow = Decision(**{**_fields(first), "targets": ("local",)})
    assert decide(snapshot, narrow, says="word " * 140_000).model != "local"
    gone = Decision(**{**_fields(first), "targets": ("no-such-model",)})
    assert decide(snapshot, gone).reused_from == ""
    renamed = Decision(**{**_fields(first), "rule": "no-such-rule"})
    assert decide(snapshot, renamed).reused_from == ""


def _fields(decision: Decision) -> dict[str, Any]:
    return {name: getattr(decision, name) for name in Decision.__slots__}


def inputs(identity: Identity = LOCAL, **features: Any) -> dict[str, Any]:
    usual = {"phase": "execute", "signature": "execute/python/small", "focus_file": "a.py"}
    return {"features": {**usual, **features}, "hints": {}, "identity": identity.values}


def test_requests_are_alike_by_who_asks_for_what_and_by_the_values_the_policy_names(
    snapshot: Snapshot,
) -> None:
    policy = snapshot.policy
    key = reuse_key(policy, inputs(), "opus")
    assert key is not None
    assert key == reuse_key(policy, {**inputs(), "hints": {"session": "s"}}, "opus")
    others = [
        reuse_key(policy, inputs(), "sonnet"),
        reuse_key(policy, inputs(Identity("ann")), "opus"),
        reuse_key(policy, inputs(focus_file="b.py"), "opus"),
        reuse_key(policy, inputs(signature="validate/python/small"), "opus"),
        reuse_key(policy, {**inputs(), "hints": {"task": "plan"}}, "opus"),
    ]
    assert len({key, *others}) == 6
    assert reuse_key(policy, inputs(focus_file=""), "opus") is None
    assert reuse_key(policy, inputs(phase="title"), "opus") is None


def test_only_a_policys_own_choice_is_used_again_and_only_once_removed(snapshot: Snapshot) -> None:
    first = decide(snapshot)
    assert is_repeatable(first)
    assert not is_repeatable(decide(snapshot, first))
    assert not is_repeatable(decide(snapshot, pin=Pin("opus", "earlier", 0.0, 9_999.0), says=""))
    moved = decide(snapshot, pin=Pin("opus", "earlier", 0.0, 9_999.0))
    assert (moved.source, is_repeatable(moved)) == ("learner", False)
    assert not is_repeatable(decide(snapshot, headers={"x-weave-model": "opus"}))
    assert not is_repeatable(decide(snapshot, headers={"x-weave-private": "1"}))


def test_a_decision_is_forgotten_with_time_with_a_reload_and_for_want_of_room(snapshot: Snapshot) -> None:
    first, kept = decide(snapshot), MemoryReuse(most=2)
    kept.put(("a",), first)
    assert kept.get(("a",), 60.0, snapshot.fingerprint, NOW + 59.9) is first
    assert kept.get(("a",), 60.0, "another", NOW) is None
    assert kept.get(("a",), 60.0, snapshot.fingerprint, NOW - 1.0) is None  # the clock went back
    for key in ("a", "b"):
        kept.put((key,), first)
    kept.get(("a",), 60.0, snapshot.fingerprint, NOW)
    kept.put(("c",), first)
    assert kept.get(("b",), 60.0, snapshot.fingerprint, NOW) is None
    assert kept.get(("a",), 60.0, snapshot.fingerprint, NOW + 60.0) is None
    assert len(kept) == 1
    kept.put(("d",), Decision(**{**_fields(first), "snapshot": "another"}))
    assert len(kept) == 1
