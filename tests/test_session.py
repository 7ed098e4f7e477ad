"""What becomes of a session that has a model already, through the whole story of a request."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine import turn
from engine.core.decision import Decision, Step
from engine.core.identity import LOCAL
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Pin, Task, Warm
from engine.documents import shipped_text
from engine.protocols import PROTOCOLS
from engine.routing.pins import pin_after
from engine.snapshot import Snapshot, build

HEAD = "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\n"
RULES = """\
plans:
  cheap-first: {steps: [small, mid], escalate: {when: features.session_test_failures >= 1}}
learners:
  picker:
    algorithm: beta
    signature: [features.phase]
    confidence: {threshold: 0.9, min_samples: 1}
    explore: {rate: 1.0}
rules:
  - {name: failing, when: features.session_test_failures >= 2, then: {use: frontier, escalate: true}}
  - {name: planning, when: has(hints.task) && hints.task == 'plan', then: {use: frontier}}
  - {name: learned, when: has(hints.task) && hints.task == 'debug', then: {choose: [small, frontier], by: picker}}
  - {name: work, when: true, then: {use: small}}
default: {use: frontier}
"""
MOVING = "pinning: {lock_while: features.tool_loop_open, switch_when_saving_usd: 0.01}\n"
NOW = 10_000.0
MARK = {"type": "ephemeral"}
TOOL = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}


def built(pinning: str) -> Snapshot:
    return build({"catalog.yaml": shipped_text("policies/catalog.yaml"), "p.yaml": HEAD + RULES + pinning})


@pytest.fixture(scope="module")
def moving() -> Snapshot:
    return built(MOVING)


class Sure:
    """Trust that holds everything for equally sure."""

    def __init__(self, confidence: float = 0.99) -> None:
        self._confidence = confidence

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        reaches = [tuple(0.25**number for number in range(len(option.steps))) for option in options]
        return [Belief(self._confidence, 1_000.0, reach=reach) for reach in reaches]


def decide(
    snapshot: Snapshot,
    pin: Pin,
    *,
    kilotokens: int = 20,
    warm: Mapping[str, Warm] | None = None,
    task: str = "",
    draw: float = 0.99,
    messages: list[dict[str, Any]] | None = None,
    tools: bool = True,
    trust: Sure | None = None,
    headers: Mapping[str, str] | None = None,
) -> Decision:
    system = [{"type": "text", "text": "word " * (1_000 * kilotokens), "cache_control": MARK}]
    body: dict[str, Any] = {
        "model": "claude-opus-4-5",
        "max_tokens": 100,
        "system": system,
        "messages": messages or [{"role": "user", "content": "Rename the parser module."}],
    }
    if tools:
        body["tools"] = [TOOL]
    raw = json.dumps(body).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    named = {"x-weave-session": "s", **({"x-weave-task": task} if task else {}), **(headers or {})}
    facts = turn.read(request, named, LOCAL, snapshot)
    return turn.decide(facts, snapshot, turn.Moment("d1", NOW, draw, pin, trust or Sure(), warm=warm or {}))


def pinned(model: str, **fields: Any) -> Pin:
    return Pin(model, "earlier", 0.0, 99_999.0, **fields)


def warm(model: str, tokens: int, ago: float = 10.0) -> Mapping[str, Warm]:
    return {model: Warm(tokens, NOW - ago, "anthropic", 10, 4_000)}


def switching(decision: Decision) -> list[Step]:
    return [step for step in decision.trace if step.kind == "switching"]


def test_a_session_moves_where_the_rest_of_it_is_cheaper(moving: Snapshot) -> None:
    decision = decide(moving, pinned("opus"))
    assert (decision.model, decision.source, decision.rule) == ("haiku", "rule", "work")
    assert decision.reason.startswith("work; moving from opus to haiku saves $")
    (step,) = switching(decision)
    assert (step.name, step.result, step.values["asked_usd"]) == ("haiku", "matched", 0.01)
    assert step.values["saving_usd"] == pytest.approx(
        step.values["stay_usd"] - step.values["move_usd"], abs=1e-5
    )
    priced = {one.model: one for one in decision.candidates}
    assert priced["haiku"].chosen
    assert not priced["opus"].chosen
    assert priced["haiku"].expected_cost_usd is not None
    assert priced["opus"].expected_cost_usd is not None
    assert priced["haiku"].expected_cost_usd < priced["opus"].expected_cost_usd


def test_a_warm_cache_keeps_a_session_that_is_nearly_over_and_the_sum_is_shown(moving: Snapshot) -> None:
    talk = {"kilotokens": 100, "tools": False}
    kept = decide(moving, pinned("opus"), warm=warm("opus", 100_000), **talk)  # type: ignore[arg-type]
    assert (kept.model, kept.source, kept.rule) == ("opus", "pin", "earlier")
    assert kept.reason.startswith("the session keeps opus: moving from opus to haiku costs $")
    (step,) = switching(kept)
    assert (step.name, step.result, step.values["warm_tokens"]) == ("haiku", "passed", 100_000)
    priced = {one.model: one for one in kept.candidates}
    assert priced["opus"].chosen
    assert not priced["haiku"].chosen
    assert (priced["opus"].expected_cost_usd or 9) < (priced["haiku"].expected_cost_usd or 0)
    # the cache has expired: nothing is lost
    cold = decide(moving, pinned("opus"), warm=warm("opus", 100_000, ago=301.0), **talk)  # type: ignore[arg-type]
    assert (cold.model, cold.source) == ("haiku", "rule")
    assert "no cache is lost" in cold.reason


def test_a_saving_below_what_the_policy_asks_moves_nothing() -> None:
    decision = decide(built("pinning: {switch_when_saving_usd: 50}\n"), pinned("opus"))
    assert (decision.model, decision.source) == ("opus", "pin")
    assert "saves $" in decision.reason
    assert switching(decision)[0].result == "passed"


def test_a_policy_that_asks_for_no_saving_considers_nobody_else() -> None:
    decision = decide(built(""), pinned("opus"))
    assert (decision.model, decision.source, decision.reason) == ("opus", "pin", "the session keeps opus")
    assert switching(decision) == []


def test_a_dearer_choice_saves_nothing(moving: Snapshot) -> None:
    decision = decide(moving, pinned("haiku"), task="plan")
    assert (decision.model, decision.source) == ("haiku", "pin")
    assert "moving from haiku to opus costs $" in decision.reason


LOOP: list[dict[str, Any]] = [
    {"role": "user", "content": "Fix it."},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "e", "name": "Edit", "input": {"file_path": "a.py"}}],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "e", "content": "updated"}]},
]


def failed(runs: int) -> list[dict[str, Any]]:
    """A loop in which tests were run so many times, and failed."""
    messages = list(LOOP)
    for number in range(runs):
        call = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": "pytest"}}
        told = {"type": "tool_result", "tool_use_id": f"t{number}", "content": "=== 2 failed in 0.1s ==="}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [told]}]
    return messages


def test_a_lock_holds_against_any_saving_and_says_so(moving: Snapshot) -> None:
    decision = decide(moving, pinned("opus"), messages=LOOP)
    assert (decision.model, decision.source) == ("opus", "pin")
    assert [(step.result, step.detail) for step in switching(decision)] == [
        ("skipped", "pinning.lock_while holds")
    ]


def test_a_lock_does_not_hold_against_an_escalation_which_shows_its_sum(moving: Snapshot) -> None:
    decision = decide(moving, pinned("haiku"), messages=failed(2), warm=warm("haiku", 20_000))
    assert (decision.model, decision.source, decision.rule) == ("opus", "escalation", "failing")
    (step,) = switching(decision)
    assert (step.name, step.result) == ("opus", "matched")
    assert step.values["saving_usd"] < 0 < step.values["lost_usd"]
    assert {one.model: one.chosen for one in decision.candidates} == {"opus": True, "haiku": False}


def test_a_step_of_a_plan_shows_its_sum(moving: Snapshot) -> None:
    decision = decide(moving, pinned("haiku", plan="cheap-first"), messages=failed(1))
    assert (decision.model, decision.source, decision.step) == ("sonnet", "escalation", 1)
    assert [step.name for step in switching(decision)] == ["sonnet"]


def test_who_was_raised_is_not_taken_down_again_to_save(moving: Snapshot) -> None:
    up = decide(moving, pinned("haiku"), messages=failed(2))
    pin = pin_after(up, up.features, moving.policy.pinning, NOW, pinned("haiku"))
    assert pin is not None
    assert pin.raised
    later = decide(moving, pin)
    assert (later.model, later.source) == ("opus", "pin")
    assert switching(later)[0].detail == "an escalation brought the session here"
    again = pin_after(later, later.features, moving.policy.pinning, NOW, pin)
    assert again is not None
    assert again.raised


def test_who_has_just_moved_stays_as_long_as_a_cache_does(moving: Snapshot) -> None:
    moved = decide(moving, pinned("opus"))
    pin = pin_after(moved, moved.features, moving.policy.pinning, NOW, pinned("opus"))
    assert pin is not None
    assert (pin.model, pin.moved) == ("haiku", NOW)
    at_once = decide(moving, replace(pin, model="opus"))
    assert (at_once.model, switching(at_once)[0].result) == ("opus", "skipped")
    later = decide(moving, replace(pin, model="opus", moved=NOW - 300.0))
    assert later.model == "haiku"


def test_a_learner_moves_a_session_through_its_gate_and_tries_nothing_on_it(moving: Snapshot) -> None:
    decision = decide(moving, pinned("opus"), task="debug", draw=0.0)
    assert (decision.model, decision.source, decision.propensity) == ("haiku", "learner", 1.0)
    assert decision.confidence == 0.99
    assert {one.model: one.chosen for one in decision.candidates} == {"haiku": True, "opus": False}
    kept = decide(
        moving, pinned("opus"), task="debug", warm=warm("opus", 100_000), kilotokens=100, tools=False
    )
    assert (kept.model, kept.source, kept.confidence) == ("opus", "pin", None)
    assert kept.learner == "picker"  # a pinned turn teaches too


@pytest.fixture(scope="module")
def shipped() -> Snapshot:
    names = ("policies/catalog.yaml", "policies/default.yaml")
    return build({name: shipped_text(name) for name in names})


def test_the_shipped_policy_moves_a_session_when_the_user_speaks_again_and_a_learner_is_sure(
    shipped: Snapshot,
) -> None:
    again = [*LOOP, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Now the tests."}]
    sure = decide(shipped, pinned("opus"), messages=again, warm=warm("opus", 20_000))
    assert (sure.model, sure.source, sure.plan) == ("haiku", "learner", "cheap-first")
    assert "20000 warm tokens lost" in sure.reason
    unsure = decide(shipped, pinned("opus"), messages=again, trust=Sure(0.5))
    assert (unsure.model, unsure.source, unsure.reason) == ("opus", "pin", "the session keeps opus")
    in_the_loop = decide(shipped, pinned("opus"), messages=LOOP)
    assert (in_the_loop.model, in_the_loop.source) == ("opus", "pin")


def test_the_shipped_policy_keeps_at_home_a_session_that_once_was_private(shipped: Snapshot) -> None:
    private = decide(shipped, pinned("opus"), headers={"x-weave-private": "1"})
    assert (private.model, private.source) == ("local", "guard")
    pin = pin_after(private, private.features, shipped.policy.pinning, NOW, pinned("opus"))
    assert pin is not None
    after = decide(shipped, pin)
    assert (after.model, after.source, after.rule) == ("local", "pin", "confidential-stays-local")


def test_where_the_policy_chooses_what_the_session_has_there_is_no_sum(moving: Snapshot) -> None:
    decision = decide(moving, pinned("haiku"))
    assert (decision.model, decision.source, decision.reason) == ("haiku", "pin", "the session keeps haiku")
    assert switching(decision) == []
