"""A task over sockets: a plan's cheap step fails, the next one mends it, and the learner hears of both."""

import asyncio
from typing import Any

import pytest

from engine.core.decision import Lesson
from engine.core.evidence import TaskEvidence
from engine.routing.tasks import Finished
from engine.server.tasks import outcome_of

POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: default}
plans:
  cheap-first: {steps: [small, frontier]}
rules:
  - {name: work, when: features.tool_count > 0, then: {choose: [cheap-first, frontier], by: picker}}
learners:
  picker: {algorithm: beta, signature: [features.language], explore: {rate: 1.0}}
outcomes:
  - {name: failed, when: outcome.verdict == 'rejected', reward: -1}
  - {name: passed, when: outcome.verdict == 'accepted', reward: 1}
  - {name: rated, when: has(outcome.rating), reward: outcome.rating}
default: {use: frontier}
"""
TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("Edit", "Bash")]
ASKED = {"role": "user", "content": "Fix the parser."}


def worked(number: int, summary: str) -> list[dict[str, Any]]:
    """The agent edits a file and runs the tests."""
    edit = {"type": "tool_use", "id": f"e{number}", "name": "Edit", "input": {"file_path": "a.py"}}
    tests = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": "pytest"}}
    results = [
        {"type": "tool_result", "tool_use_id": f"e{number}", "content": "updated"},
        {"type": "tool_result", "tool_use_id": f"t{number}", "content": summary},
    ]
    return [{"role": "assistant", "content": [edit, tests]}, {"role": "user", "content": results}]


FAILED = worked(1, "=== 2 failed, 3 passed in 0.1s ===")
PASSED = worked(2, "=== 5 passed in 0.1s ===")
NEXT = [
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "Now write the documentation of the parser."},
]


async def ask(it: Any, *messages: dict[str, Any]) -> tuple[str, str]:
    headers = {"x-weave-session": "s"}
    reply = await it.ask("", headers=headers, messages=[ASKED, *messages], tools=TOOLS)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-weave-model"], reply.headers["x-weave-decision"]


async def lessons(it: Any, count: int) -> list[Lesson]:
    async with asyncio.timeout(5):
        while len(found := await it.engine.journal.lessons()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    learned: list[Lesson] = found
    return learned


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_a_failed_test_moves_the_session_up_and_is_held_against_the_cheap_step(house: Any) -> None:
    async def play() -> None:
        async with house(POLICY) as it:
            cheap, _ = await ask(it)
            assert cheap == "haiku"
            dear, name = await ask(it, *FAILED)
            decision = await it.engine.journal.decision(name)
            assert (dear, decision.source, decision.plan, decision.step) == (
                "opus",
                "escalation",
                "cheap-first",
                1,
            )
            assert (await ask(it, *FAILED, *PASSED))[0] == "opus"
            assert await it.engine.journal.lessons() == []
            assert (await ask(it, *FAILED, *PASSED, *NEXT))[0] == "opus"
            (lesson,) = await lessons(it, 1)
            assert [(step.model, step.accepted) for step in lesson.steps] == [
                ("haiku", False),
                ("opus", True),
            ]
            assert lesson.score == 1.0
            assert [round(step.share, 2) for step in lesson.steps] == [0.33, 0.67]
            assert all(step.cost_usd and step.cost_usd > 0 for step in lesson.steps)

    run(play())


@pytest.mark.parametrize(("bound", "model"), [(0.4, "opus"), (0.01, "haiku")])
def test_a_session_moves_up_where_the_learner_holds_the_work_for_wrong(
    house: Any, bound: float, model: str
) -> None:
    policy = POLICY.replace(
        "steps: [small, frontier]", f"steps: [small, frontier], escalate: {{right_below: {bound}}}"
    )

    async def play() -> None:
        async with house(policy) as it:
            assert (await ask(it))[0] == "haiku"
            served, name = await ask(it, *FAILED)
            decision = await it.engine.journal.decision(name)
            assert served == model
            assert ("is right with probability 0." in decision.reason) == (model == "opus")
            assert (await ask(it, *FAILED, *PASSED))[0] == model  # upward only, and for good

    run(play())


def test_what_somebody_says_of_a_task_outranks_what_its_tests_said(house: Any) -> None:
    async def play() -> None:
        async with house(POLICY) as it:
            await ask(it)
            _, name = await ask(it, *PASSED)
            await ask(it, *PASSED, *NEXT)
            (seen,) = await lessons(it, 1)
            assert seen.score == 1.0
            told = await it.client.post("/v1/outcomes", json={"decision": name, "rating": -1})
            assert told.status_code == 200, told.text
            assert told.json()["outranks"] == [seen.outcome]

    run(play())


def test_a_task_goes_on_over_a_restart_and_counts_once(house: Any) -> None:
    async def play() -> None:
        async with house(POLICY) as it:
            await ask(it)
            await ask(it, *PASSED)
        async with house(POLICY) as it:
            await ask(it, *PASSED, *NEXT)
            assert len(await lessons(it, 1)) == 1

    run(play())


def test_a_silent_session_s_task_ends(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.server.tasks.SWEEP_SECONDS", 0.05)

    async def play() -> None:
        async with house(POLICY + "pinning: {ttl: 100ms}\n") as it:
            await ask(it)
            await ask(it, *PASSED)
            (lesson,) = await lessons(it, 1)
            assert lesson.score == 1.0
            assert len(it.engine.tasks) == 0

    run(play())


def test_a_task_that_went_on_after_a_silence_replaces_what_was_told_of_it(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.tasks.SWEEP_SECONDS", 0.05)

    async def play() -> None:
        async with house(POLICY + "pinning: {ttl: 100ms}\n") as it:
            await ask(it)
            await ask(it, *FAILED)
            (first,) = await lessons(it, 1)
            assert first.score == 0.0
            await ask(it, *FAILED, *PASSED)
            both = await lessons(it, 2)
            assert both[-1].score == 1.0
            assert both[-1].outcome != first.outcome
            (withdrawal,) = await it.engine.journal.withdrawals()
            assert withdrawal.first == withdrawal.last == 1

    run(play())


def test_a_task_without_a_trace_of_how_it_went_teaches_nothing() -> None:
    assert outcome_of(Finished("s", 1, TaskEvidence(1, edits=3, ended=True)), 0.0) is None


def test_the_same_task_has_the_same_outcome_whenever_it_is_told() -> None:
    finished = Finished("s", 3, TaskEvidence(3, tests_failed=2, verdict="rejected", grounds="tests"))
    first, again = outcome_of(finished, 1.0), outcome_of(finished, 2.0)
    assert first is not None
    assert again is not None
    assert first.id == again.id
    assert (first.tests_failed, first.verdict, first.grounds, first.source) == (
        2,
        "rejected",
        "tests",
        "evidence",
    )
