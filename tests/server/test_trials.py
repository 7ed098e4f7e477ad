"""A canary and a shadow in a live engine, over sockets."""

import asyncio
from typing import Any

from engine.documents import shipped_text

SHIPPED = shipped_text("policies/default.yaml")
NEXT = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: next}
default: {use: small}
"""


def serving(rollout: str) -> str:
    return SHIPPED.replace("name: coding-agents,", "name: default,") + f"\nrollout: {rollout}\n"


def test_a_canary_serves_until_it_does_harm_and_stays_off_until_it_is_another(house: Any) -> None:
    async def story() -> None:
        said = "{canary: {policy: next, percent: 100, abort_when: stats.error_rate > 0.3, min_requests: 4}}"
        (house._policies / "next.yaml").write_text(NEXT)
        async with house(serving(said)) as at:

            async def ask() -> Any:
                return await at.ask("What is a monad?", headers={"x-weave-session": "mine"})

            for _ in range(2):
                reply = await ask()
                assert (reply.status_code, reply.headers["x-weave-model"]) == (200, "haiku")
            at.simulator.fail(model="haiku", status=400, message="messages.0: odd")
            for _ in range(2):
                assert (await ask()).status_code == 400
            at.simulator.heal()
            told = (await at.client.get("/ready")).json()["rollout"]["canary"]
            assert (told["on"], told["stopped"]) == (False, "stats.error_rate > 0.3")
            assert (told["stats"]["requests"], told["stats"]["errors"]) == (4, 2)
            reply = await ask()
            assert (reply.status_code, reply.headers["x-weave-model"]) == (200, "opus")
            decision = (await at.client.get(f"/v1/decisions/{reply.headers['x-weave-decision']}")).json()
            assert decision["policy"] == "default"
            log = at.log
        assert '"stopped": "stats.error_rate > 0.3"' in log.getvalue().replace('":"', '": "')
        async with house() as at:
            told = (await at.client.get("/ready")).json()["rollout"]["canary"]
            assert (told["on"], told["stopped"]) == (False, "stats.error_rate > 0.3")
            reply = await at.ask("What is a monad?", headers={"x-weave-session": "mine"})
            assert reply.headers["x-weave-model"] == "opus"
        (house._policies / "next.yaml").write_text(NEXT.replace("small", "mid"))
        async with house() as at:
            assert (await at.client.get("/ready")).json()["rollout"]["canary"]["on"]

    asyncio.run(story())


def test_a_shadows_decision_is_kept_beside_the_one_that_served(house: Any) -> None:
    async def story() -> None:
        (house._policies / "next.yaml").write_text(NEXT)
        async with house(serving("{shadow: {policy: next}}")) as at:
            reply = await at.ask("What is a monad?")
            assert reply.headers["x-weave-model"] == "opus"
            decision = (await at.client.get(f"/v1/decisions/{reply.headers['x-weave-decision']}")).json()
            assert (decision["model"], decision["shadow"], decision["policy"]) == ("opus", "haiku", "default")
            step = decision["trace"][-1]
            assert (step["kind"], step["name"], step["values"]["model"]) == ("shadow", "next", "haiku")
            told = (await at.client.get("/ready")).json()["rollout"]
            assert "canary" not in told
            assert (told["shadow"]["decisions"], told["shadow"]["same_model"]) == (1, 0)

            again = await at.client.post("/v1/route", json={"model": "opus", "messages": []})
            assert again.status_code in (200, 400)
            assert (await at.client.get("/ready")).json()["rollout"] == told, "asking is not trying"

    asyncio.run(story())


def test_without_a_rollout_nothing_is_told_of_one(house: Any) -> None:
    async def story() -> None:
        async with house() as at:
            assert (await at.client.get("/ready")).json()["rollout"] is None

    asyncio.run(story())
