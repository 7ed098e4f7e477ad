"""What became of the work: taken, learned, kept, and refused where it makes no sense."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from engine.core.decision import Outcome
from engine.learning.state import fold
from engine.server import outcomes

TOOL = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_an_outcome_told_today_changes_a_decision_tomorrow_also_after_a_restart(house: Any) -> None:
    """Two models earn their record on one kind of task; then the cheaper one is trusted with it."""

    def eager(policy: str) -> str:
        return policy.replace("margin: 0.03", "margin: 0.1").replace(
            "explore: {rate: 0.2", "explore: {rate: 0"
        )

    async def play() -> None:
        async with house() as it:
            policy = eager(it.policy.read_text())
        headers = {"x-weave-task": "execute"}
        async with house(policy=policy) as it:
            before = await it.ask("Rename one.", headers=headers, tools=[TOOL])
            assert before.headers["x-weave-model"] == "opus"
            for forced in ("haiku", "opus"):
                for number in range(40):
                    reply = await it.ask(
                        "Rename it.", headers={**headers, "x-weave-model": forced}, tools=[TOOL]
                    )
                    told = {"decision": reply.headers["x-weave-decision"], "tests_passed": 3}
                    if forced == "opus" and number % 4 == 0:
                        told["tests_failed"] = 1
                    outcome = await it.client.post("/v1/outcomes", json=told)
                    assert outcome.status_code == 200, outcome.text
                    (lesson,) = outcome.json()["lessons"]
                    assert lesson["models"] == [forced]
            after = await it.ask("Rename two.", headers=headers, tools=[TOOL])
            assert after.headers["x-weave-model"] == "haiku"
        async with house() as it:
            reopened = await it.ask("Rename three.", headers=headers, tools=[TOOL])
            assert reopened.headers["x-weave-model"] == "haiku"
            for number in range(40):
                cheap = {**headers, "x-weave-model": "haiku"}
                reply = await it.ask(f"Rename it {number}.", headers=cheap, tools=[TOOL])
                told = {"decision": reply.headers["x-weave-decision"], "tests_failed": 1}
                assert (await it.client.post("/v1/outcomes", json=told)).status_code == 200
            distrusted = await it.ask("Rename four.", headers=headers, tools=[TOOL])
            assert distrusted.headers["x-weave-model"] == "opus"

    run(play())


def test_an_outcome_sent_twice_counts_once(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", tools=[TOOL])
            told = {"decision": reply.headers["x-weave-decision"], "rating": 1, "id": "ci-1"}
            first = (await it.client.post("/v1/outcomes", json=told)).json()
            again = (await it.client.post("/v1/outcomes", json=told)).json()
            assert first["repeated"] is False
            assert again["repeated"] is True
            assert it.engine.learners.lessons == 1

    run(play())


def test_words_without_an_id_are_a_repeat_until_something_else_is_said_or_done(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", headers={"x-weave-session": "s"}, tools=[TOOL])
            told = {"session": "s", "tests_passed": 1}
            ids = []
            for changed in (told, told, {**told, "tests_failed": 1}, told):
                answer = (await it.client.post("/v1/outcomes", json=changed)).json()
                ids.append((answer["id"], answer["repeated"], bool(answer["remarks"])))
            (first, *_), (second, repeated, _), (third, _, against), (fourth, again, _) = ids
            assert (first, repeated, again) == (second, True, False)
            assert len({first, third, fourth}) == 3
            assert against
            await it.ask("Rename another.", headers={"x-weave-session": "s"}, tools=[TOOL])
            later = (await it.client.post("/v1/outcomes", json=told)).json()
            assert not later["repeated"]
            assert later["decisions"][0] == reply.headers["x-weave-decision"]

    run(play())


def test_an_id_that_says_something_else_is_refused(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", tools=[TOOL])
            told = {"decision": reply.headers["x-weave-decision"], "rating": 1, "id": "ci-1"}
            assert (await it.client.post("/v1/outcomes", json=told)).status_code == 200
            refused = await it.client.post("/v1/outcomes", json={**told, "rating": -1})
            assert refused.status_code == 409
            assert "send what is true now under another id" in refused.json()["error"]["message"]

    run(play())


def beliefs(it: Any) -> Any:
    """What the learners know, without how many lessons it took."""
    return {**it.engine.learners.to_json(), "lessons": 0}


def test_the_latest_word_counts_and_what_the_earlier_one_taught_is_withdrawn(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", tools=[TOOL])
            name = reply.headers["x-weave-decision"]
            bad = (await it.client.post("/v1/outcomes", json={"decision": name, "tests_failed": 1})).json()
            good = (await it.client.post("/v1/outcomes", json={"decision": name, "tests_passed": 1})).json()
            assert good["outranks"] == [bad["id"]]
            assert good["remarks"] == [f"contradicts {bad['id']}"]
            assert it.engine.learners.lessons == 2
            after = beliefs(it)
        logged = [json.loads(line) for line in it.log.getvalue().splitlines()]
        told = [line.get("outranks") for line in logged if line["event"] == "outcome"]
        assert told == [None, [bad["id"]]]
        async with house() as it:
            assert beliefs(it) == after
            lessons = await it.engine.journal.lessons()
            assert [lesson.score for lesson in lessons] == [0.0, 1.0]
            assert beliefs(it) == {**fold(lessons[1:]).to_json(), "lessons": 0}

    run(play())


def test_what_was_said_outranks_what_was_read_from_the_conversation(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", tools=[TOOL])
            name = reply.headers["x-weave-decision"]
            decision = await it.engine.journal.decision(name)
            read = Outcome("read", time.time(), decision=name, tests_failed=1, source="evidence")
            seen = await outcomes.tell(it.engine, read, [decision], accepted=False)
            assert [step.accepted for lesson in seen.lessons for step in lesson.steps] == [False]
            said = (await it.client.post("/v1/outcomes", json={"decision": name, "rating": 1})).json()
            assert (said["outranks"], said["remarks"]) == (["read"], [])
            late = await outcomes.tell(it.engine, replace(read, id="again"), [decision])
            assert late.lessons == ()
            assert late.outcome.remarks == (f"outranked by {said['id']}",)

    run(play())


def test_an_outcome_of_a_decision_speaks_of_the_task_it_worked_on(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            headers = {"x-weave-session": "s"}
            first = await it.ask("Rename it.", headers=headers, tools=[TOOL])
            second = await it.ask("Rename it.", headers=headers, tools=[TOOL])
            forced = await it.ask("Rename it.", headers={**headers, "x-weave-model": "haiku"}, tools=[TOOL])
            names = [reply.headers["x-weave-decision"] for reply in (first, second, forced)]
            task = (await it.client.post("/v1/outcomes", json={"decision": names[0], "rating": 1})).json()
            assert task["decisions"] == names[:2]
            apart = (await it.client.post("/v1/outcomes", json={"decision": names[2], "rating": -1})).json()
            assert (apart["decisions"], apart["outranks"]) == (names[2:], [])

    run(play())


def test_what_comes_a_week_late_is_kept_and_teaches_nothing(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", tools=[TOOL])
            decision = await it.engine.journal.decision(reply.headers["x-weave-decision"])
            it.engine.journal.record(replace(decision, at=decision.at - 8 * 86_400))
            told = {"decision": decision.id, "tests_passed": 1}
            late = (await it.client.post("/v1/outcomes", json=told)).json()
            assert (late["lessons"], late["remarks"]) == ([], ["late: 8.0 days after the work"])

    run(play())


def test_work_is_valued_by_the_policy_that_decided_it_also_when_it_has_changed(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("Rename it.", tools=[TOOL])
            policy = it.policy.read_text()
            then = it.engine.policies.snapshot.fingerprint
            it.policy.write_text(
                policy.replace("tests_passed > 0, reward: 1", "tests_passed > 0, reward: 0.5")
            )
            async with asyncio.timeout(20):
                while it.engine.policies.snapshot.fingerprint == then:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
            told = {"decision": reply.headers["x-weave-decision"], "tests_passed": 1}
            valued = (await it.client.post("/v1/outcomes", json=told)).json()
            assert (valued["worth"], valued["valued_by"]) == (1.0, f"coding-agents@{then}")
            assert valued["remarks"] == []
        async with house() as it:  # which knows the sets that it has served itself, and no others
            other = (await it.client.post("/v1/outcomes", json={**told, "tool_errors": 1})).json()
            now = it.engine.policies.snapshot.fingerprint
            assert (other["worth"], other["valued_by"]) == (0.5, f"coding-agents@{now}")
            assert other["remarks"] == [
                f"valued by coding-agents as it is now: coding-agents@{then} is not known any more"
            ]

    run(play())


def test_an_outcome_may_speak_of_a_session_as_the_client_names_it(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            for _ in range(2):
                await it.ask("Rename it.", headers={"x-weave-session": "mine"}, tools=[TOOL])
            told = (await it.client.post("/v1/outcomes", json={"session": "mine", "rating": -1})).json()
            assert len(told["decisions"]) == 2
            unknown = await it.client.post("/v1/outcomes", json={"session": "nobody", "rating": 1})
            assert unknown.status_code == 404

    run(play())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"rating": 1}, "names one decision or one session"),
        ({"decision": "d1", "session": "s1", "rating": 1}, "names one decision or one session"),
        ({"decision": "d1"}, "says what happened"),
        ({"decision": "d1", "rating": 2}, "rating is a number from -1 to 1"),
        ({"decision": "d1", "rating": True}, "rating is a number from -1 to 1"),
        ({"decision": "d1", "tests_failed": -1}, "tests_failed is a whole number"),
        ({"decision": "d1", "test_failed": 1}, "an outcome has no field 'test_failed'"),
        ({"decision": "d1", "rating": 1}, "no decision 'd1' in the journal"),
        ({"decision": 4, "rating": 1}, "decision is text"),
        ({"decision": "d1", "labels": {"ci": 4}}, "labels is an object whose values are text"),
        ({"decision": "d1", "labels": {f"l{number}": "" for number in range(51)}}, "labels are at most 50"),
    ],
)
def test_an_outcome_that_makes_no_sense_is_told_why(house: Any, body: dict[str, Any], says: str) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.client.post("/v1/outcomes", json=body)
            assert 400 <= reply.status_code < 500
            assert says in reply.json()["error"]["message"]

    run(play())
