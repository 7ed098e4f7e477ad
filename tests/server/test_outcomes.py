"""What became of the work: taken, learned, kept, and refused where it makes no sense."""

import asyncio
from typing import Any

import pytest

TOOL = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_an_outcome_told_today_changes_a_decision_tomorrow_also_after_a_restart(house: Any) -> None:
    """Two models earn their record on one kind of task; then the cheaper one is trusted with it."""

    def eager(policy: str) -> str:
        return policy.replace("min_samples: 200", "min_samples: 20").replace("margin: 0.02", "margin: 0.1")

    async def play() -> None:
        async with house() as it:
            policy = eager(it.policy.read_text())
        headers = {"x-weave-task": "execute"}
        async with house(policy=policy) as it:
            before = await it.ask("Rename one.", headers=headers, tools=[TOOL])
            assert before.headers["x-weave-model"] == "opus"
            for forced in ("haiku", "opus"):
                for _ in range(40):
                    reply = await it.ask(
                        "Rename it.", headers={**headers, "x-weave-model": forced}, tools=[TOOL]
                    )
                    told = {"decision": reply.headers["x-weave-decision"], "tests_passed": 3}
                    outcome = await it.client.post("/v1/outcomes", json=told)
                    assert outcome.status_code == 200, outcome.text
                    (lesson,) = outcome.json()["lessons"]
                    assert lesson["model"] == forced
            after = await it.ask("Rename two.", headers=headers, tools=[TOOL])
            assert after.headers["x-weave-model"] == "haiku"
        async with house() as it:
            reopened = await it.ask("Rename three.", headers=headers, tools=[TOOL])
            assert reopened.headers["x-weave-model"] == "haiku"
            for number in range(40):
                name = reopened.headers["x-weave-decision"]
                told = {"decision": name, "tests_failed": 1, "id": f"broken-{number}"}
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
    ],
)
def test_an_outcome_that_makes_no_sense_is_told_why(house: Any, body: dict[str, Any], says: str) -> None:
    async def play() -> None:
        async with house() as it:
            reply = await it.client.post("/v1/outcomes", json=body)
            assert 400 <= reply.status_code < 500
            assert says in reply.json()["error"]["message"]

    run(play())
