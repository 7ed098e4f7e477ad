"""Another policy tried beside the one that serves: who gets it, how it is counted, and how it ends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine import rollout, turn
from engine.core.decision import Result
from engine.core.errors import Fault, UnservableError
from engine.core.identity import Identity
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Pin, Task
from engine.core.reply import Usage
from engine.documents import shipped_json, shipped_text
from engine.protocols import PROTOCOLS
from engine.rollout import Tally, Trial, Tried, point, trial_of
from engine.routing.pins import MemoryPins, pin_after
from engine.snapshot import Snapshot, build

CATALOG = shipped_text("policies/catalog.yaml")
HEAD = "apiVersion: weave/v1\nkind: Policy\n"
CHEAP = f"{HEAD}metadata: {{name: cheap}}\ndefault: {{use: small}}\n"


def snapshot(
    declared: str = "", cheap: str = CHEAP, serve: str = "now", default: str = "frontier"
) -> Snapshot:
    now = f"{HEAD}metadata: {{name: now}}\ndefault: {{use: {default}}}\n{declared}"
    return build({"catalog.yaml": CATALOG, "now.yaml": now, "cheap.yaml": cheap}, serve)


def canary(percent: float, rest: str = "") -> Snapshot:
    return snapshot(f"rollout: {{canary: {{policy: cheap, percent: {percent}{rest}}}}}\n")


def shadow(sample: float = 1.0) -> Snapshot:
    return snapshot(f"rollout: {{shadow: {{policy: cheap, sample: {sample}}}}}\n")


class Nothing:
    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        return [Belief(0.5, 0.0) for _ in options]


def facts(at: Snapshot, session: str = "s", name: str = "ann", **features: Any) -> turn.Facts:
    asked = {"role": "user", "content": "Rename the parser module."}
    raw = json.dumps({"model": "claude-opus-4-5", "max_tokens": 100, "messages": [asked]}).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    identity = Identity(name, "core", "internal")
    read = turn.read(request, {"x-weave-session": session} if session else {}, identity, at)
    inputs = {**read.inputs, "features": {**read.inputs["features"], **features}}
    return replace(read, inputs=inputs)


def decide(trial: Trial, session: str = "s", pins: MemoryPins | None = None, **told: Any) -> Tried:
    def moment(read: turn.Facts) -> turn.Moment:
        pin = pins.get(read.pin_key, 1000.0) if pins else None
        return turn.Moment("d1", 1000.0, 0.99, pin, Nothing())

    return rollout.decide(trial, facts(trial.snapshot, session, **told), moment)


def trial(at: Snapshot) -> Trial:
    found = trial_of(None, at)
    assert found is not None
    return found


def result(fault: Fault | None = None, cost: float = 0.0, seconds: float = 1.0, gone: bool = False) -> Result:
    return Result("d1", 1001.0, 200, "haiku", "e", 1, None, Usage(), cost, seconds, None, fault, gone)


FAILED = result(Fault("server_error", "it broke", origin="provider"))


# Who gets it --------------------------------------------------------------------------------------------------------


def test_no_rollout_is_no_trial() -> None:
    assert trial_of(None, snapshot()) is None
    assert trial_of(trial(canary(5)), snapshot()) is None


def test_a_canary_serves_about_its_part_of_the_sessions() -> None:
    some = trial(canary(20))
    arms = [some.arm_of(facts(some.snapshot, f"s{n}"), "d") for n in range(2_000)]
    assert 0.17 < arms.count("canary") / len(arms) < 0.23
    assert trial(canary(0)).arm_of(facts(some.snapshot), "d") == "baseline"
    assert trial(canary(100)).arm_of(facts(some.snapshot), "d") == "canary"


def test_a_session_stays_where_it_is_when_the_part_grows() -> None:
    small, large = trial(canary(10)), trial(canary(40))
    for n in range(300):
        asked = facts(small.snapshot, f"s{n}")
        assert small.arm_of(asked, "d") == small.arm_of(asked, "other")
        if small.arm_of(asked, "d") == "canary":
            assert large.arm_of(asked, "d") == "canary"


def test_by_identity_all_sessions_of_one_stay_together() -> None:
    people = trial(canary(50, ", by: identity"))
    arms = {
        name: {people.arm_of(facts(people.snapshot, f"s{n}", name), "d") for n in range(20)}
        for name in ("ann", "bob", "cleo", "dan", "eve", "fay", "gus", "hal")
    }
    assert all(len(arm) == 1 for arm in arms.values())
    assert {next(iter(arm)) for arm in arms.values()} == {"canary", "baseline"}


def test_requests_without_a_session_are_drawn_one_by_one() -> None:
    some = trial(canary(50))
    alone = replace(facts(some.snapshot), session="")
    assert {some.arm_of(alone, f"d{n}") for n in range(30)} == {"canary", "baseline"}


def test_canaries_of_different_names_take_different_sessions() -> None:
    assert point("canary", "a", "s") != point("canary", "b", "s")
    assert 0 <= point("canary", "a", "s") < 1


# What is decided ----------------------------------------------------------------------------------------------------


def test_the_canary_decides_for_its_arm_and_says_so() -> None:
    tried = decide(trial(canary(100)))
    assert (tried.arm, tried.decision.policy, tried.decision.model) == ("canary", "cheap", "haiku")
    assert tried.snapshot.policy.name == "cheap"
    step = tried.decision.trace[-1]
    assert (step.kind, step.name, step.result, step.detail) == (
        "canary",
        "cheap",
        "matched",
        "serves 100 % by session",
    )


def test_the_serving_policy_decides_for_everyone_else() -> None:
    tried = decide(trial(canary(0)))
    assert (tried.arm, tried.decision.policy, tried.decision.model) == ("baseline", "now", "opus")
    assert all(step.kind != "canary" for step in tried.decision.trace)


SEALED = (
    CHEAP
    + "rules:\n  - {name: sealed, guard: true, when: features.images > 0, then: {use: local, failover: none}}\n"
)


def test_what_the_canary_cannot_serve_the_serving_policy_does_and_it_counts_as_an_error() -> None:
    said = "rollout: {canary: {policy: cheap, percent: 100, min_requests: 1, abort_when: stats.errors > 0}}\n"
    some = trial(snapshot(said, SEALED))
    tried = decide(some, images=1)
    assert (tried.arm, tried.unservable, tried.decision.policy) == ("baseline", True, "now")
    assert tried.decision.trace[-1].result == "error"
    assert some.arms["canary"] == Tally()
    assert some.remember(tried) == "stats.errors > 0"
    assert some.arms["canary"] == Tally(1, 1)


def test_a_request_nobody_can_serve_is_refused_as_without_a_trial() -> None:
    with pytest.raises(UnservableError):
        decide(trial(canary(100)), context_tokens=10**9)


def test_a_canary_has_pins_of_its_own() -> None:
    pins = MemoryPins()
    some = trial(canary(100))
    tried = decide(some, pins=pins)
    pin = pin_after(tried.decision, tried.facts.inputs["features"], tried.snapshot.policy.pinning, 1000.0)
    assert pin is not None
    pins.put(tried.facts.pin_key, pin)
    assert decide(some, pins=pins).decision.source == "pin"
    some.stopped = "it did harm"
    freed = decide(some, pins=pins).decision
    assert (freed.source, freed.model) == ("default", "opus")


def test_a_pin_of_the_serving_policy_does_not_hold_in_the_canary() -> None:
    pins = MemoryPins()
    some = trial(canary(100))
    pins.put(facts(some.snapshot).pin_key, Pin("opus", "default", 0.0, 9_999.0))
    assert decide(some, pins=pins).decision.model == "haiku"


# How it does --------------------------------------------------------------------------------------------------------


def test_results_are_counted_for_the_arm_that_served_them() -> None:
    some = trial(canary(50))
    for _ in range(3):
        some.record("baseline", result(cost=0.02, seconds=2.0))
    some.record("canary", result(cost=0.01, seconds=1.0))
    some.record("canary", FAILED)
    assert some.stats == {
        "requests": 2,
        "errors": 1,
        "error_rate": 0.5,
        "mean_cost_usd": 0.005,
        "mean_seconds": 1.0,
        "baseline_requests": 3,
        "baseline_errors": 0,
        "baseline_error_rate": 0.0,
        "baseline_mean_cost_usd": pytest.approx(0.02),
        "baseline_mean_seconds": 2.0,
    }


@pytest.mark.parametrize(
    "ended",
    [
        result(),
        result(Fault("invalid_request", "no such field", origin="client")),
        result(Fault("connection", "gone", origin="provider"), gone=True),
    ],
)
def test_what_the_client_did_is_no_error_of_a_policy(ended: Result) -> None:
    some = trial(canary(50))
    some.record("canary", ended)
    assert some.arms["canary"].errors == 0


ABORTING = ', abort_when: "stats.error_rate > 0.05", min_requests: 10'


def test_a_canary_that_does_harm_is_switched_off_and_stays_off() -> None:
    some = trial(canary(100, ABORTING))
    for _ in range(9):
        assert some.record("canary", FAILED) == ""
    assert decide(some).arm == "canary"
    assert some.record("canary", result()) == "stats.error_rate > 0.05"
    assert decide(some).arm == "baseline"
    assert some.record("canary", result()) == "", "said once"
    assert some.told()["canary"]["on"] is False
    assert some.told()["canary"]["stopped"] == "stats.error_rate > 0.05"


def test_a_canary_that_does_well_stays_on() -> None:
    some = trial(canary(100, ABORTING))
    for _ in range(100):
        assert some.record("canary", result()) == ""
    for _ in range(100):
        assert some.record("baseline", FAILED) == ""
    assert some.told()["canary"]["on"] is True


def test_an_abort_condition_may_compare_with_the_serving_policy() -> None:
    worse = ", abort_when: stats.mean_cost_usd > 2.0 * stats.baseline_mean_cost_usd, min_requests: 1"
    some = trial(canary(100, worse))
    some.record("baseline", result(cost=0.01))
    assert some.record("canary", result(cost=0.015)) == ""
    assert some.record("canary", result(cost=0.5)).startswith("stats.mean_cost_usd > 2.0")


def test_the_published_stats_are_those_that_conditions_read() -> None:
    schema = shipped_json("schemas/stats.v1.schema.json")
    assert set(schema["required"]) == schema["properties"].keys() == trial(canary(5)).stats.keys()


def test_without_a_condition_nothing_switches_it_off() -> None:
    some = trial(canary(100))
    assert [some.record("canary", FAILED) for _ in range(50)] == [""] * 50


# Reloads ------------------------------------------------------------------------------------------------------------


def test_a_trial_goes_on_where_a_reload_leaves_its_policies_as_they_were() -> None:
    before = trial(canary(100, ABORTING))
    before.record("canary", FAILED)
    before.stopped = "it did harm"
    after = trial_of(before, canary(100, ABORTING))
    assert after is before
    assert after.arms["canary"].requests == 1
    assert decide(after).arm == "baseline"


def test_a_trial_begins_anew_where_the_rollout_or_its_policy_changes() -> None:
    before = trial(canary(100, ABORTING))
    said = f"rollout: {{canary: {{policy: cheap, percent: 100{ABORTING}}}}}\n"
    for other in (canary(90, ABORTING), snapshot(said, CHEAP + "# mended\n")):
        assert trial_of(before, other) is not before
    assert trial_of(before, snapshot(said, default="mid")) is before


# Shadows ------------------------------------------------------------------------------------------------------------


def test_a_shadow_decides_and_serves_nobody() -> None:
    some = trial(shadow())
    tried = decide(some)
    assert (tried.decision.model, tried.decision.policy, tried.decision.shadow) == ("opus", "now", "haiku")
    step = tried.decision.trace[-1]
    assert (step.kind, step.name, step.result) == ("shadow", "cheap", "passed")
    assert step.detail == "default would have chosen haiku"
    assert step.values["expected_usd"] < step.values["served_usd"]
    some.remember(tried)
    assert some.comparison.decisions == 1
    assert some.comparison.same_model == 0
    assert some.told()["shadow"]["shadow_usd"] < some.told()["shadow"]["served_usd"]


def test_a_shadow_that_agrees_says_so() -> None:
    same = CHEAP.replace("small", "frontier")
    some = trial(snapshot("rollout: {shadow: {policy: cheap}}\n", same))
    tried = decide(some)
    assert tried.decision.trace[-1].result == "matched"
    some.remember(tried)
    assert some.comparison.same_model == 1


def test_a_shadow_that_cannot_serve_disturbs_nobody() -> None:
    some = trial(snapshot("rollout: {shadow: {policy: cheap}}\n", SEALED))
    tried = decide(some, images=1)
    assert (tried.decision.model, tried.decision.shadow) == ("opus", "")
    assert tried.decision.trace[-1].result == "error"
    some.remember(tried)
    assert some.comparison.unservable == 1


def test_a_shadow_looks_at_whole_sessions() -> None:
    some = trial(shadow(0.3))
    seen = [some.shadows(facts(some.snapshot, f"s{n}"), "d") for n in range(1_000)]
    assert 0.25 < sum(seen) / len(seen) < 0.35
    assert seen == [some.shadows(facts(some.snapshot, f"s{n}"), "another") for n in range(1_000)]
    assert not trial(shadow(0.0)).shadows(facts(some.snapshot), "d")


def test_a_shadow_follows_pins_of_its_own() -> None:
    pins = MemoryPins()
    some = trial(shadow())
    tried = decide(some, pins=pins)
    assert tried.shadowed is not None
    assert tried.shadowed.facts.pin_key != tried.facts.pin_key
    pins.put(tried.shadowed.facts.pin_key, Pin("sonnet", "default", 0.0, 9_999.0))
    again = decide(some, pins=pins)
    assert (again.decision.model, again.decision.shadow) == ("opus", "sonnet")


def test_a_policy_may_be_shadow_and_canary_at_once() -> None:
    both: Mapping[str, Any] = trial(
        snapshot("rollout: {shadow: {policy: cheap}, canary: {policy: cheap, percent: 1}}\n")
    ).told()
    assert set(both) == {"canary", "shadow"}
