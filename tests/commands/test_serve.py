import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from engine.commands.serve import cast, has_key
from engine.core.catalog import Catalog
from engine.server.reload import load_from

ROOT = Path(__file__).parent.parent.parent
POLICIES = ROOT / "policies"
START_SECONDS = 60


@dataclass(slots=True)
class Serving:
    """`weave-engine serve` in a process of its own, and what it has logged."""

    process: "subprocess.Popen[str]"
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.events["serving"]["url"])

    def until(self, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        assert self.process.stderr is not None
        while event not in self.events:
            line = self.process.stderr.readline()
            assert line, f"ended before it logged {event!r}"
            assert time.monotonic() < deadline
            told = json.loads(line)
            self.events[told["event"]] = told
        return self.events[event]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=20) as reply:
            return json.loads(reply.read())

    def ask(self, model: str, text: str = "Hello", **fields: Any) -> tuple[Message, bytes]:
        asked = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(asked).encode())
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.headers, reply.read()


def command(policies: Path, journal: Path, *more: str) -> list[str]:
    fixed = [sys.executable, "-m", "engine.cli", "serve", "--port", "0", "--log", "json"]
    return [*fixed, "--policies", str(policies), "--journal", str(journal), *more]


def environment(**more: str) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    return {**kept, **more}


@contextmanager
def serving(policies: Path, tmp_path: Path, *more: str, **keys: str) -> Iterator[Serving]:
    process = subprocess.Popen(
        command(policies, tmp_path / "weave.db", *more),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**keys),
    )
    served = Serving(process)
    try:
        served.until("serving")
        yield served
    finally:
        process.kill()
        process.communicate()


def run(*arguments: str, **keys: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=START_SECONDS, env=environment(**keys), check=False
    )


def test_without_a_key_it_says_loudly_that_nothing_is_real_and_ends_when_told(tmp_path: Path) -> None:
    with serving(POLICIES, tmp_path) as served:
        told = served.events["SIMULATED"]
        assert told["level"] == "warning"
        assert told["why"] == "no provider key is set"
        assert "NO REAL MODEL ANSWERS" in told["meaning"]
        assert "ANTHROPIC_API_KEY" in told["remedy"]
        assert served.events["serving"]["policy"] == "coding-agents"
        assert served.get("/health")["status"] == "ok"
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=30) == 0


def test_with_a_key_nothing_is_simulated_unless_asked_for(policies: Path, tmp_path: Path) -> None:
    text = (policies / "catalog.yaml").read_text()
    (policies / "catalog.yaml").write_text(text.replace('/v1"}', '/v1", api_key_env: HOUSE_KEY}'))
    with serving(policies, tmp_path, HOUSE_KEY="k") as served:
        assert "SIMULATED" not in served.events
    with serving(policies, tmp_path, "--simulate", HOUSE_KEY="k") as served:
        assert served.events["SIMULATED"]["why"] == "asked for with --simulate"


def test_the_simulator_plays_the_operators_own_models(policies: Path, tmp_path: Path) -> None:
    """Their catalog stays, with its names, prices and the tests that speak of them; only the wires lead elsewhere."""
    with serving(policies, tmp_path) as served:
        assert [model["id"] for model in served.get("/v1/models")["data"]][:3] == [
            "large",
            "middle",
            "little",
        ]
        for model in ("large", "middle", "little"):
            headers, body = served.ask(model)
            assert headers["x-weave-model"] == model
            assert json.loads(body)["choices"][0]["message"]["content"]
        assert served.ask("large-1")[0]["x-weave-model"] == "large", "providers' own ids are known too"


def test_a_model_that_comes_with_a_reload_is_played_too(policies: Path, tmp_path: Path) -> None:
    with serving(policies, tmp_path) as served:
        before = served.get("/ready")["snapshot"]
        text = (policies / "catalog.yaml").read_text()
        new = "  newest: {tier: frontier, context: 9000, output: 800, can: [tools], usd: {in: 1, out: 1}, "
        (policies / "catalog.yaml").write_text(
            f"{text}{new}served_by: [{{endpoint: home, id: newest-1}}]}}\n"
        )
        deadline = time.monotonic() + 20
        while served.get("/ready")["snapshot"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert served.ask("newest")[0]["x-weave-model"] == "newest"


def streaming(served: Serving, seconds: float, received: list[bytes]) -> threading.Thread:
    """A stream under way whose first token takes so long."""
    text = f"[[sim: slow_first_token={seconds}]] [[sim: text=all of it]]"

    def read() -> None:
        with suppress(OSError, http.client.HTTPException):
            received.append(served.ask("gpt", text, stream=True)[1])

    reading = threading.Thread(target=read)
    reading.start()
    while not served.get("/ready")["running"]:
        time.sleep(0.02)
    return reading


def test_a_stream_under_way_ends_before_the_process_does_and_who_comes_meanwhile_is_told_to_come_back(
    tmp_path: Path,
) -> None:
    with serving(POLICIES, tmp_path) as served:
        received: list[bytes] = []
        reading = streaming(served, 2, received)
        served.process.send_signal(signal.SIGTERM)
        assert served.until("draining")["running"] == 1
        assert served.get("/health")["status"] == "ok"
        for path, status in (("/ready", 503), ("/v1/models", 503), ("/metrics", 200)):
            with closing(
                http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)
            ) as client:
                client.request("GET", path)
                reply = client.getresponse()
                assert reply.status == status, path
                if path == "/v1/models":
                    assert reply.headers["retry-after"] == "2"
                    assert reply.headers["connection"] == "close"
                    assert b"shutting down" in reply.read()
        assert served.process.wait(timeout=30) == 0
        reading.join(10)
        assert received[0].rstrip().endswith(b"data: [DONE]")
        assert b"finish_reason" in received[0]


def test_who_is_told_twice_to_stop_stops_at_once(tmp_path: Path) -> None:
    with serving(POLICIES, tmp_path) as served:
        received: list[bytes] = []
        reading = streaming(served, 20, received)
        served.process.send_signal(signal.SIGTERM)
        served.until("draining")
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=30) == 0
        assert time.monotonic() - began < 8
        assert served.until("result")["fault"] == "overloaded"
        reading.join(10)
    with closing(sqlite3.connect(tmp_path / "weave.db")) as journal:
        assert journal.execute("SELECT count(*) FROM results").fetchone() == (1,)


def test_policies_that_do_not_hold_are_told_with_their_places(policies: Path, tmp_path: Path) -> None:
    text = (policies / "house.yaml").read_text()
    (policies / "house.yaml").write_text(text.replace("features.phase ==", "features.phse =="))
    ran = run(*command(policies, tmp_path / "weave.db"))
    assert ran.returncode == 3
    assert f"{policies}/house.yaml:11:11  WV201 error" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_that_is_taken_is_a_sentence(policies: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run(*command(policies, tmp_path / "weave.db", "--port", str(port)))
    assert ran.returncode == 1
    assert ran.stderr == (
        f"weave-engine: cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port\n"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--host", "256.1.1.1"], "cannot listen on 256.1.1.1"),
        (["--port", "99999"], "'99999' is no port; it takes a number from 0 to 65535"),
        (["--port", "-1"], "-1"),
        (["--port", "http"], "'http' is no port"),
        (["--journal", "/nowhere/at/all/weave.db"], "the journal /nowhere/at/all/weave.db cannot be used"),
        (["--policies", "/nowhere"], "/nowhere:1:1  WV101 error  no policy files here"),
        (["--policy", "hous"], "did you mean 'house'?"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    policies: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    ran = run(*command(policies, tmp_path / "weave.db", *more))
    assert ran.returncode in (1, 2, 3)
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


# -- keys and roles


@pytest.fixture
def catalog() -> Catalog:
    return load_from(POLICIES, "")().catalog


def test_a_key_that_any_endpoint_takes_is_enough(catalog: Catalog) -> None:
    assert not has_key(catalog, {})
    assert not has_key(catalog, {"OPENAI_API_KEY": ""})
    assert not has_key(catalog, {"SOME_OTHER_KEY": "k"})
    assert has_key(catalog, {"DEEPSEEK_API_KEY": "k"})


def test_every_model_is_cast_as_itself_under_each_of_its_names(catalog: Catalog) -> None:
    played = cast(catalog)
    ids = [binding.id for model in catalog.models.values() for binding in model.served_by]
    assert [one.id for one in played] == ids
    for one in played:
        model = catalog.models[one.name]
        assert (one.tier, one.context_tokens, set(one.can)) == (
            model.tier,
            model.context_tokens,
            set(model.can),
        )
