import asyncio
import socket
from dataclasses import replace
from io import StringIO
from pathlib import Path

import httpx
import pytest

from engine.app import listen, running, serving
from engine.core.errors import InvalidDocumentsError
from engine.server.log import Log
from engine.settings import DEFAULTS

POLICIES = Path(__file__).parent.parent / "policies"


def test_an_engine_serves_on_a_socket_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    async def run() -> None:
        log = Log(StringIO(), json=True)
        settings = replace(DEFAULTS, policies=POLICIES, journal=str(tmp_path / "weave.db"))
        async with running(settings, {}, log) as engine:
            async with serving(engine) as url, httpx.AsyncClient() as client:
                assert (await client.get(f"{url}/ready")).json()["policy"] == "coding-agents"
            with pytest.raises(httpx.ConnectError):
                async with httpx.AsyncClient() as client:
                    await client.get(f"{url}/ready")
        log.close()

    asyncio.run(run())


def test_an_engine_does_not_start_on_policies_that_do_not_hold(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("apiVersion: weave/v1\nkind: Policy\nrulez: []\n")

    async def run() -> None:
        log = Log(StringIO(), json=True)
        try:
            async with running(replace(DEFAULTS, policies=tmp_path, journal=":memory:"), {}, log):
                raise AssertionError("it started")
        finally:
            log.close()

    with pytest.raises(InvalidDocumentsError) as caught:
        asyncio.run(run())
    assert any("rulez" in problem.message for problem in caught.value.problems)


def test_a_listening_socket_waits_for_no_full_packet() -> None:
    with listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP
        assert sock.getsockname()[1] > 0


def test_an_address_that_is_taken_is_an_error_and_leaks_no_socket() -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", taken.getsockname()[1])
