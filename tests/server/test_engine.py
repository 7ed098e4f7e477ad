import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.errors import Fault, RequestError
from engine.core.policy import Breaker
from engine.routing.health import Health
from engine.routing.holding import lineage_key
from engine.server.engine import Ids, parse


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = Ids()
    made = [ids.new(1000.0 + number) for number in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert len({ids.new(5.0) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "no body"),
        (b"{", "not valid JSON"),
        (b"nope", "not valid JSON"),
        (b"[]", "a list"),
        (b'"text"', "a str"),
        (b"\xff", "not valid JSON"),
        (b"[" * 5000, "not valid JSON"),
    ],
)
def test_a_body_that_is_no_object_is_told_what_it_is(raw: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        parse(raw)


def test_a_body_that_is_an_object_is_read() -> None:
    assert parse(b'{"a": [1]}') == {"a": [1]}


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_a_reply_that_was_written_anew_cannot_be_gone_on_from(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            first = await it.client.post("/v1/responses", json={"model": "opus", "input": "hi"})
            assert first.status_code == 200, first.text
            on = {"model": "opus", "input": "and?", "previous_response_id": first.json()["id"]}
            second = await it.client.post("/v1/responses", json=on)
            assert second.status_code == 400
            assert "previous_response_id" in second.json()["error"]["message"]
            assert "send the whole conversation instead" in second.json()["error"]["message"]

    run(play())


def test_a_session_that_is_served_is_remembered_beyond_its_pin(house: Any) -> None:  # W33
    async def play() -> None:
        async with house() as it:
            reply = await it.ask("hi", headers={"x-weave-session": "s1"})
            assert reply.status_code == 200
            decision = await it.engine.journal.decision(reply.headers["x-weave-decision"])
            key = lineage_key(decision.session, decision.features, "anthropic-messages")
            await until(lambda: it.engine.lineages.get(key))
            lineage = it.engine.lineages.get(key)
            assert (lineage.model, lineage.since) == ("opus", 0)

    run(play())


def test_how_calls_went_lately_is_told_of_the_next_one(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            first, second = await it.ask("hi"), await it.ask("hi")
            assert (first.status_code, second.status_code) == (200, 200)
            before, after = [await _features(it, reply) for reply in (first, second)]
            assert before["recent_latency_seconds"] == 0.0
            assert after["recent_latency_seconds"] > 0.0
            assert (after["recent_failure_rate"], after["latency_sensitive"]) == (0.0, False)
            told = {"decision": second.headers["x-weave-decision"], "tests_passed": 1}
            assert (await it.client.post("/v1/outcomes", json=told)).status_code == 200
            third = await _features(it, await it.ask("hi"))
            assert third["recent_outcome"] == pytest.approx(1.0, abs=0.01)

    run(play())


SESSION = {"x-weave-session": "s1"}


def test_what_an_answer_leaves_in_its_vendors_cache_is_known_when_the_session_goes_on(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            mark = {"cache_control": {"type": "ephemeral"}}
            system = [{"type": "text", "text": "You rename things. " * 2_000, **mark}]
            for _ in range(2):
                assert (await it.ask("hi", headers=SESSION, system=system)).status_code == 200
            await until(lambda: it.engine.warmth.known and turns(it) == 2)
            ((_, known),) = it.engine.warmth.known.items()
            assert known["opus"].endpoint in ("anthropic", "openrouter")
            assert known["opus"].tokens > 5_000
            assert known["opus"].written > 0
            await it.ask(
                "hi", headers={**SESSION, "x-weave-model": "haiku"}, max_tokens=1
            )  # a probe is no work
            assert set(next(iter(it.engine.warmth.known.values()))) == {"opus"}

    def turns(it: Any) -> int:
        ((_, known),) = it.engine.warmth.known.items()
        return int(known["opus"].turns)

    run(play())


def test_a_decision_is_used_again_until_the_policies_change_and_the_journal_says_so(house: Any) -> None:
    policy = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
rules: [{name: work, when: true, then: {use: mid}}]
default: {use: frontier}
pinning: {key: [hints.session]}
reuse: {for: 60s, key: [features.signature]}
"""

    async def play() -> None:
        async with house(policy=policy) as it:
            first, second = await it.ask("hi"), await it.ask("hi")
            names = [reply.headers["x-weave-decision"] for reply in (first, second)]
            assert second.headers["x-weave-reason"].startswith("work, as 0 s ago")
            made = [await it.engine.journal.decision(name) for name in names]
            assert [one.reused_from for one in made] == ["", names[0]]
            it.policy.write_text(policy.replace("use: mid", "use: small"))
            before = it.engine.policies.snapshot
            await until(lambda: it.engine.policies.snapshot is not before)
            assert (await it.ask("hi")).headers["x-weave-model"] == "haiku"

    run(play())


ELSEWHERE = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
pinning: {MOVES}
failover: {chains: {frontier: [mid]}}
default: {use: frontier}
"""


@pytest.mark.parametrize(
    ("moves", "stays"),
    [
        ("move_when: [endpoint_down]", "sonnet"),
        ("move_when: [over_context]", "opus"),
        ("move_when: [endpoint_down], lock_while: true", "opus"),
    ],
)
def test_a_session_moves_for_good_where_no_way_to_its_model_is_left_if_the_policy_says_so(
    house: Any, moves: str, stays: str
) -> None:
    async def play() -> None:
        async with house(policy=ELSEWHERE.replace("MOVES", moves)) as it:
            assert (await it.ask("hi", headers=SESSION)).headers["x-weave-model"] == "opus"
            close(it, "opus")
            there = await it.ask("hi", headers=SESSION)
            assert (there.status_code, there.headers["x-weave-model"]) == (200, "sonnet")
            await until(lambda: not it.engine.running)
            it.engine.health = Health()  # all is well again
            assert (await it.ask("hi", headers=SESSION)).headers["x-weave-model"] == stays

    run(play())


async def until(holds: Callable[[], Any]) -> None:
    """What comes after an answer is there a moment later."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def close(it: Any, model: str) -> None:
    """Open every breaker on the way to a model."""
    ill, rules, now = Fault("server_error", "ill", origin="provider"), Breaker(), time.monotonic()
    for binding in it.engine.policies.snapshot.catalog.models[model].served_by:
        for _ in range(rules.failures):
            it.engine.health.ended(binding, ill, 1.0, rules, now)


async def _features(it: Any, reply: Any) -> Any:
    return (await it.engine.journal.decision(reply.headers["x-weave-decision"])).features
