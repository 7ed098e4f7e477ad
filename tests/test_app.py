import asyncio
import socket
from dataclasses import replace
from io import StringIO
from pathlib import Path

import httpx
import pytest

from engine.app import SPARE_FILES, allow_files, listen, running, serving
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


@pytest.mark.parametrize(
    ("soft", "hard", "becomes"),
    [
        (1024, 100_000, 2_000 + SPARE_FILES),
        (1024, 2_000, 2_000),
        (5_000, 100_000, None),
        (1024, -1, 2_000 + SPARE_FILES),
    ],
)
def test_as_many_files_are_allowed_as_connections_need(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, becomes: int | None
) -> None:
    resource = pytest.importorskip("resource")
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    allow_files(1_000)
    assert set_to == ([] if becomes is None else [(becomes, hard)])
