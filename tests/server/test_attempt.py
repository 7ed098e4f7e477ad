"""One call of one provider: what it is sent, what may still be thrown away, how long it is waited for."""

from typing import Any

from tests.server.hostile.acting import run


def test_a_vendor_s_word_about_its_own_protocol_is_passed_on_unchanged(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            it.simulator.fail("anthropic", status=400, message="messages.0: odd")
            reply = await it.ask("hello")
            assert reply.status_code == 400
            assert reply.json()["error"]["message"] == "messages.0: odd"
            assert len(it.simulator.received) == 1

    run(play())


def test_credentials_of_the_client_do_not_reach_a_provider(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            headers = {
                "x-api-key": "client-secret",
                "authorization": "Bearer client-secret",
                "cookie": "a=b",
                "x-secret": "c",
            }
            await it.ask("hello", headers=headers)
            sent = {name.lower(): value for name, value in dict(it.simulator.received[0].headers).items()}
            assert "client-secret" not in str(sent)
            assert "cookie" not in sent
            assert "x-secret" not in sent
            assert "x-weave-session" not in sent

    run(play())
