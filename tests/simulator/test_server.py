"""The simulator in its three homes: the caller's loop, a thread, a process."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from engine.simulator import Simulator, run_in_process, run_in_thread
from engine.simulator.models import MODELS

BODY: dict[str, Any] = {
    "model": "qwen-coder",
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to hold")


def chat(base: str) -> str:
    return f"{base}/chat/completions"


def test_it_answers_in_the_callers_loop_and_is_gone_after_stop() -> None:
    async def live() -> None:
        simulator = await Simulator.start()
        async with httpx.AsyncClient() as client:
            reply = await client.post(chat(simulator.url("onprem")), json=BODY)
            assert reply.text.endswith("data: [DONE]\n\n")
            await simulator.stop()
            with pytest.raises(httpx.ConnectError):
                await client.post(chat(simulator.url("onprem")), json=BODY)

    asyncio.run(live())


def test_it_leaves_signals_alone() -> None:
    async def live() -> None:
        before = signal.getsignal(signal.SIGINT)
        async with await Simulator.start():
            assert signal.getsignal(signal.SIGINT) is before

    asyncio.run(live())


def test_stopping_breaks_off_what_is_being_answered() -> None:
    async def live() -> float:
        simulator = await Simulator.start()
        simulator.fail(kind="stall")
        async with httpx.AsyncClient() as client:
            asked = asyncio.create_task(client.post(chat(simulator.url("onprem")), json=BODY))
            await _until(lambda: bool(simulator.received) and simulator.received[-1].trouble == "stall")
            began = time.monotonic()
            await simulator.stop()
            with pytest.raises(httpx.HTTPError):
                await asked
        return time.monotonic() - began

    assert asyncio.run(live()) < 10.0


def test_two_simulators_do_not_share_anything() -> None:
    with run_in_thread() as one, run_in_thread() as other, httpx.Client() as client:
        one.fail(status=503)
        assert client.post(chat(one.url("onprem")), json=BODY).status_code == 503
        assert client.post(chat(other.url("onprem")), json=BODY).status_code == 200
        assert (len(one.received), len(other.received)) == (1, 1)


def test_only_the_models_it_is_given_are_served() -> None:
    models = tuple(model for model in MODELS if model.name == "local")
    with run_in_thread(models=models) as simulator, httpx.Client() as client:
        assert client.post(chat(simulator.url("onprem")), json=BODY).status_code == 200
        other = client.post(
            chat(simulator.url("openai")),
            json={**BODY, "model": "gpt-5.4"},
            headers={"authorization": "Bearer k"},
        )
        assert other.status_code == 404


def test_memory_of_requests_is_bounded() -> None:
    with run_in_thread(keep=3) as simulator, httpx.Client() as client:
        for _ in range(5):
            client.post(chat(simulator.url("onprem")), json=BODY)
        assert [record.number for record in simulator.received] == [3, 4, 5]


def test_bites_change_no_byte_of_an_answer() -> None:
    with run_in_thread(bites=True) as bitten, run_in_thread() as whole, httpx.Client() as client:
        texts = [client.post(chat(each.url("onprem")), json=BODY).text for each in (bitten, whole)]
    assert texts[0][:60] == texts[1][:60]
    assert len(texts[0]) == len(texts[1])


def test_pace_takes_a_share_of_the_models_own_time() -> None:
    with run_in_thread(pace=0.5) as simulator, httpx.Client() as client:
        began = time.monotonic()
        client.post(chat(simulator.url("onprem")), json=BODY)
        assert 0.15 < time.monotonic() - began < 10.0


def test_a_thread_that_cannot_listen_says_why() -> None:
    with run_in_thread() as first, pytest.raises(OSError, match="in use"), run_in_thread(port=first.port):
        pass


def test_it_runs_as_a_process_and_ends_with_its_input() -> None:
    with run_in_process("--seed", "3") as elsewhere, httpx.Client() as client:
        reply = client.post(chat(elsewhere.url("onprem")), json={**BODY, "stream": False})
        assert reply.json()["choices"][0]["message"]["content"] == "You said: hello"
    with httpx.Client() as client, pytest.raises(httpx.ConnectError):
        client.post(chat(elsewhere.url("onprem")), json=BODY)
