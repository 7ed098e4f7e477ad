import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from engine import turn
from engine.commands.simulate import PAGE, Replay
from engine.core.cost import cost_usd
from engine.core.decision import Decision, Lesson, Outcome, Result, StepRun
from engine.core.identity import LOCAL
from engine.core.reply import Usage
from engine.documents import shipped_text
from engine.learning.state import State
from engine.protocols import PROTOCOLS
from engine.routing.pins import MemoryPins, pin_after
from engine.server.journal import Journal
from engine.server.reload import load_from
from engine.snapshot import Snapshot, build

Weave = Callable[..., Any]

USAGE = Usage(1_000_000, 100_000, cache_read_tokens=0)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the past: what was asked for, in which phase of the work, with how many tools."""

    model: str = "large"
    phase: str = ""
    tools: int = 0
    headers: tuple[tuple[str, str], ...] = ()


TITLE = Asked(phase="title")
WORK = Asked(tools=1)
SESSION = (("x-weave-session", "s"),)


def past(
    snapshot: Snapshot, asked: Sequence[Asked], lessons: Sequence[Lesson] = ()
) -> list[tuple[Decision, Result]]:
    """What an engine with this snapshot would have journaled, one request a minute."""
    pins, trust, made = MemoryPins(), State(), list[tuple[Decision, Result]]()
    waiting = list(lessons)
    for number, one in enumerate(asked):
        now = 60.0 * (number + 1)
        while waiting and waiting[0].at <= now:
            trust.learn(waiting.pop(0))
        tools = [{"type": "function", "function": {"name": "edit", "parameters": {}}}] * one.tools
        body = {"model": one.model, "messages": [{"role": "user", "content": "Hello"}], "tools": tools}
        request = PROTOCOLS["openai-chat"].read_request(body, b"")
        facts = turn.read(request, dict(one.headers), LOCAL, snapshot)
        if one.phase:
            features = {**facts.inputs["features"], "phase": one.phase}
            facts = replace(facts, inputs={**facts.inputs, "features": features})
        moment = turn.Moment(
            f"d{number:08}", now, 1.0, pins.get(facts.pin_key, now) if facts.session else None, trust
        )
        decision = turn.decide(facts, snapshot, moment)
        pin = pin_after(decision, facts.inputs["features"], snapshot.policy.pinning, now)
        if pin is not None:
            pins.put(facts.pin_key, pin)
        cost = cost_usd(USAGE, snapshot.catalog.models[decision.model].price)
        ended = Result(
            decision.id, now + 1, 200, decision.model, "home", 1, "end_turn", USAGE, cost, 1.0, 0.5
        )
        made.append((decision, ended))
    return made


def write(path: Path, recorded: Sequence[tuple[Decision, Result]], lessons: Sequence[Lesson] = ()) -> None:
    async def run() -> None:
        journal = await Journal.open(path)
        for decision, result in recorded:
            journal.record(decision)
            journal.record(result)
        await journal.record_outcome(Outcome("o", 1.0), lessons)
        await journal.close()

    asyncio.run(run())


@pytest.fixture
def snapshot(policies: Path) -> Snapshot:
    return load_from(policies, "")()


@pytest.fixture
def draft(policies: Path, tmp_path: Path) -> Callable[..., Path]:
    """The policies with words replaced, in a folder of their own."""

    def make(*changes: tuple[str, str]) -> Path:
        folder = tmp_path / "draft"
        folder.mkdir()
        for file in policies.iterdir():
            text = file.read_text()
            for old, new in changes:
                text = text.replace(old, new)
            (folder / file.name).write_text(text)
        return folder

    return make


def taught(model: str, at: float) -> list[Lesson]:
    """Enough to be sure of a model from then on."""
    good = [
        Lesson("o", at, "picker", "context", (StepRun(name),), 1.0)
        for name in (model, "large")
        for _ in range(200)
    ]
    return [
        replace(lesson, signature=signature)
        for lesson in good
        for signature in ("execute", "context", "chat")
    ]


def test_the_same_policies_change_nothing(snapshot: Snapshot) -> None:
    """With pins that were set and ran out, and a learner that came to trust a model on the way."""
    lessons = sorted(taught("little", 150.0), key=lambda lesson: lesson.at)
    asked = [
        WORK,
        WORK,
        WORK,
        TITLE,
        replace(WORK, headers=SESSION),
        replace(WORK, tools=0, headers=SESSION),
        Asked(),
    ]
    made = past(snapshot, asked, lessons)
    assert {decision.model for decision, _ in made} == {"large", "little"}
    assert {decision.source for decision, _ in made} == {"default", "learner", "rule", "pin"}
    replay = Replay(snapshot, lessons)
    for decision, result in made:
        replay.take(decision, result)
    assert (replay.found.requests, replay.found.changed, replay.found.routes) == (len(asked), 0, {})
    assert replay.found.usd_after == pytest.approx(replay.found.usd_before)
    assert replay.found.tiers_after == replay.found.tiers_before


def test_routes_that_change_are_told_with_bills_and_examples(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [Asked(), TITLE, Asked(), Asked(model="little")]))
    told = json.loads(
        weave("simulate", draft(("default: {use: requested}", "default: {use: small}")), "--json").out
    )
    assert (told["requests"], told["changed"]) == (4, 2)
    (route,) = told["routes"]
    assert (route["before"], route["after"]) == ("large", "little")
    assert (route["rule_before"], route["rule_after"]) == ("default", "default")
    assert route["examples"] == ["d00000000", "d00000002"]
    assert route["usd_before"] == pytest.approx(2 * (10 + 5))
    assert route["usd_after"] == pytest.approx(2 * (1 + 0.5))
    assert told["usd_before"] == pytest.approx(2 * 15 + 2 * 1.5)
    assert told["usd_after"] == pytest.approx(4 * 1.5)
    assert told["shares_before"] == {"frontier": 0.5, "small": 0.5}
    assert told["shares_after"] == {"small": 1.0}


def test_people_are_told_the_same_and_what_is_assumed(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [Asked(), TITLE]))
    ran = weave("simulate", draft(("default: {use: requested}", "default: {use: small}")))
    assert ran.code == 0
    assert ran.out.startswith("2 requests decided again by house")
    assert "1 would go elsewhere" in ran.out
    assert "d00000000" in ran.out
    assert "2 answered requests: $16.5000 before, $3.0000 after (-81.8%)" in ran.out
    assert "the same tokens written, the same cache hits" in ran.out


def test_new_prices_count_for_routes_that_stay(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [Asked()]))
    told = json.loads(
        weave("simulate", draft(("usd: {in: 10, out: 50}", "usd: {in: 20, out: 100}")), "--json").out
    )
    assert (told["changed"], told["usd_before"], told["usd_after"]) == (
        0,
        pytest.approx(15),
        pytest.approx(30),
    )


def test_sessions_are_pinned_as_the_draft_pins_them(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = replace(WORK, headers=SESSION), Asked(headers=SESSION)
    write(tmp_path / "weave.db", past(snapshot, [first, second]))
    moved = draft(
        ("then: {choose: [small, mid], by: picker}", "then: {use: mid}"),
        ("  - {name: work", "  # - {name: w"),
    )
    told = json.loads(weave("simulate", moved, "--json").out)
    assert [(route["after"], route["rule_after"], route["count"]) for route in told["routes"]] == [
        ("middle", "working", 2)
    ], "the second request follows the first"


def test_lessons_count_from_the_moment_they_came(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    lessons = taught("middle", 150.0)  # between the second request and the third
    write(tmp_path / "weave.db", past(snapshot, [WORK] * 4), lessons)
    told = json.loads(weave("simulate", draft(), "--json").out)
    assert [(route["after"], route["count"], route["examples"]) for route in told["routes"]] == [
        ("middle", 2, ["d00000002", "d00000003"])
    ]


def test_requests_the_draft_cannot_serve_are_counted_with_the_reason(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [WORK, TITLE, Asked(model="little")]))
    gone = draft(("  little:\n", "  tiny:\n"), ("use: little", "use: tiny"), ("model: little", "model: tiny"))
    (gone / "catalog.yaml").write_text((gone / "catalog.yaml").read_text().replace("little-1", "tiny-1"))
    told = json.loads(weave("simulate", gone, "--json").out)
    assert told["refused"] == {"model 'little' is not known": 1}
    assert told["shares_after"] == {"frontier": 1 / 3, "small": 1 / 3, "refused": 1 / 3}
    assert told["priced"] == 2
    assert "1 request would be refused: model 'little' is not known" in weave("simulate", gone).out


def test_a_request_that_got_no_answer_has_no_bill(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    ((decision, result),) = past(snapshot, [Asked()])
    write(tmp_path / "weave.db", [(decision, replace(result, model="", cost_usd=0.0))])
    told = json.loads(weave("simulate", draft(), "--json").out)
    assert (told["requests"], told["priced"]) == (1, 0)


def test_decisions_of_an_older_engine_are_left_out_and_counted(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    ((decision, result),) = past(snapshot, [Asked()])
    older = {name: value for name, value in decision.features.items() if name != "phase"}
    write(tmp_path / "weave.db", [(replace(decision, features=older), result)])
    ran = weave("simulate", draft())
    assert ran.code == 0
    assert "1 request left out: recorded without phase" in ran.out


def test_only_the_newest_are_read_and_more_than_a_page_of_them(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    ((decision, result),) = past(snapshot, [Asked()])
    ids = [f"d{number:08}" for number in range(PAGE + 5)]
    write(tmp_path / "weave.db", [(replace(decision, id=id), replace(result, decision=id)) for id in ids])
    assert json.loads(weave("simulate", draft(), "--json").out)["requests"] == PAGE + 5
    assert json.loads(weave("simulate", tmp_path / "draft", "--limit", 7, "--json").out)["requests"] == 7


def test_a_trial_is_left_out_and_it_is_said(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [TITLE]))
    trial = "rollout: {canary: {policy: next, percent: 5}, shadow: {policy: next}}\n"
    folder = draft(("pinning: {key", f"{trial}pinning: {{key"))
    following = (folder / "house.yaml").read_text().replace(trial, "").replace("name: house", "name: next")
    (folder / "next.yaml").write_text(following)
    ran = weave("simulate", folder, "--policy", "house")
    assert "the canary is left out: house decides for the 5 % of next too" in ran.out
    assert "the shadow next is left out: it would have served nobody" in ran.out
    told = json.loads(weave("simulate", folder, "--policy", "house", "--json").out)
    assert len(told["not_followed"]) == 2
    assert json.loads(weave("simulate", folder, "--policy", "next", "--json").out)["not_followed"] == []


def test_a_draft_may_be_tried_before_its_tests_are_right(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [Asked()]))
    assert (
        weave("simulate", draft(("expect: {rule: default, model: large}", "expect: {model: little}"))).code
        == 0
    )


def test_a_draft_that_does_not_hold_is_told_with_its_places(weave: Weave, draft: Callable[..., Path]) -> None:
    ran = weave("simulate", draft(("features.phase ==", "features.phse ==")))
    assert ran.code == 3
    assert "house.yaml:11:11  WV201 error" in ran.err


def test_without_a_journal_it_says_what_to_do(
    weave: Weave, draft: Callable[..., Path], tmp_path: Path
) -> None:
    ran = weave("simulate", draft())
    assert (ran.code, ran.err) == (
        2,
        "weave-engine: there is no journal weave.db; name one with --journal, or let serve write one\n",
    )
    write(tmp_path / "weave.db", [])
    assert "holds no decisions yet" in weave("simulate", tmp_path / "draft").err


@pytest.mark.parametrize("limit", ["0", "-1", "many", "9" * 30])
def test_a_limit_is_a_number(weave: Weave, draft: Callable[..., Path], limit: str) -> None:
    ran = weave("simulate", draft(), "--limit", limit)
    assert ran.code == 2
    assert "takes a whole number from 1" in ran.err or "expected one argument" in ran.err


def test_how_the_work_would_have_gone_is_estimated_from_what_was_explored(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    """Each second task was given to `middle`, which did well; the draft gives it all of them."""
    made, told = [], list[tuple[Outcome, list[Lesson]]]()
    for number, (decision, result) in enumerate(past(snapshot, [WORK] * 200)):
        explored = number % 2 == 0
        model = "middle" if explored else "large"
        chosen = replace(decision, targets=(model,), source="learner", propensity=0.5, session="", task=0)
        made.append((chosen, replace(result, model=model)))
        about = Outcome(f"o{number}", decision.at + 30, decision.id, subject=decision.id, worth=1.0)
        score = 0.0 if model == "large" and number % 4 == 1 else 1.0
        steps = (StepRun(model, cost_usd=0.2 if explored else 1.0),)
        told.append((about, [Lesson(about.id, about.at, "picker", decision.signature, steps, score)]))
    write(tmp_path / "weave.db", made)

    async def tell() -> None:
        journal = await Journal.open(tmp_path / "weave.db")
        for outcome, lessons in told:
            await journal.record_outcome(outcome, lessons)
        await journal.close()

    asyncio.run(tell())
    everything = draft(("then: {choose: [small, mid], by: picker}", "then: {use: mid}"))
    found = json.loads(weave("simulate", everything, "--json").out)["estimates"]
    assert (found["tasks"], found["agreeing"], found["warnings"]) == (200, 100, [])
    assert found["effective_sample_size"] == pytest.approx(100.0)
    assert found["score"]["logged"]["value"] == pytest.approx(0.75)
    assert found["score"]["snips"]["value"] == pytest.approx(1.0)
    assert found["score"]["dr"]["value"] == pytest.approx(1.0, abs=0.01)
    assert found["cost_usd"]["dr"]["value"] == pytest.approx(0.2, abs=0.02)
    out = weave("simulate", everything).out
    assert "How the work would have gone" in out
    assert "doubly robust" in out
    assert "effective sample size 100.0" in out


def test_where_nothing_can_be_said_of_the_work_it_says_so(
    weave: Weave, snapshot: Snapshot, draft: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "weave.db", past(snapshot, [WORK] * 3))
    assert "no task that a learner was asked about has an outcome yet" in weave("simulate", draft()).out


MOVING = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
rules:
  - {name: planning, when: has(hints.task), then: {use: frontier}}
  - {name: work, when: true, then: {use: small}}
default: {use: frontier}
pinning: {switch_when_saving_usd: 0.01}
"""


@pytest.mark.parametrize(("cached", "stays"), [(100_000, 2), (0, 1)])
def test_a_replay_knows_what_was_warm_in_a_session(cached: int, stays: int) -> None:
    snapshot = build({"catalog.yaml": shipped_text("policies/catalog.yaml"), "p.yaml": MOVING})
    replay = Replay(snapshot, [])
    planned = Asked("opus", headers=(*SESSION, ("x-weave-task", "plan")))
    for decision, result in past(snapshot, [planned, Asked("opus", headers=SESSION)]):
        long = replace(decision, features={**decision.features, "context_tokens": 100_000})
        replay.take(long, replace(result, usage=Usage(100_000, 400, cache_read_tokens=cached)))
    assert replay.found.tiers_after == Counter({"frontier": stays, **({"small": 1} if stays == 1 else {})})
