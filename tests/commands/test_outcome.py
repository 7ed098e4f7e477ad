"""Telling a running engine what became of the work, from a shell."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from engine.server.links import SECRET, read_link

Weave = Callable[..., Any]

ROOT = Path(__file__).parent.parent.parent
KEY = "a secret of more than enough characters"

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="a" tests="99" failures="0">
  <testcase name="one"/>
  <testcase name="two"><failure message="no">assert</failure></testcase>
  <testcase name="three"><error/></testcase>
  <testcase name="four"><skipped/></testcase>
  <testsuite name="inner"><testcase name="five"><system-out>failure</system-out></testcase></testsuite>
</testsuite></testsuites>
"""


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Something that answers every POST the same; gives its address and what it was sent."""
    sent: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", sent
        finally:
            server.shutdown()
            thread.join()


ANSWER = {
    "id": "o1",
    "decisions": ["d1", "d2"],
    "worth": -1.0,
    "valued_by": "house@abc",
    "lessons": [{"learner": "picker", "signature": "work", "models": ["little", "large"], "score": 0.0}],
    "repeated": False,
    "outranks": ["o0"],
    "remarks": ["contradicts o0"],
}


def test_it_says_what_was_told_and_shows_what_became_of_it(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    with answering(200, json.dumps(ANSWER).encode()) as (url, sent):
        words = ("--tests-failed", 1, "--junit", "report.xml", "--rating", -0.5, "--label", "ci=main=x")
        ran = weave("outcome", "--decision", "d1", *words, "--url", url)
        assert ran.code == 0, ran.err
        assert sent == [
            {
                "decision": "d1",
                "tests_passed": 2,
                "tests_failed": 3,
                "tool_errors": 0,
                "labels": {"ci": "main=x"},
                "rating": -0.5,
            }
        ]
        assert "o1: about 2 decisions, worth -1 by house@abc" in ran.out
        assert "picker learns of little then large on work" in ran.out
        assert "counts instead of o0" in ran.out
        assert "contradicts o0" in ran.out
        assert (
            json.loads(weave("outcome", "--session", "s", "--rating", 1, "--url", url, "--json").out)
            == ANSWER
        )
    with answering(200, json.dumps({**ANSWER, "repeated": True}).encode()) as (url, _):
        assert "o1 was known already" in weave("outcome", "--decision", "d1", "--url", url).out


def test_where_no_engine_runs_it_says_so(weave: Weave) -> None:
    ran = weave("outcome", "--decision", "d1", "--rating", 1, "--url", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "no engine answers at http://127.0.0.1:1 (" in ran.err
    assert "is 'weave-engine serve' running? name another with --url" in ran.err


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            404,
            b'{"error": {"message": "no decision \'d1\' in the journal"}}',
            "no decision 'd1' in the journal",
        ),
        (404, b"<html>", "no engine, or an older one: HTTP 404"),
        (200, b"<html>", "answers, but not as an engine does"),
    ],
)
def test_what_is_refused_is_told_in_the_engines_words(
    weave: Weave, status: int, body: bytes, says: str
) -> None:
    with answering(status, body) as (url, _):
        ran = weave("outcome", "--decision", "d1", "--rating", 1, "--url", url)
    assert (ran.code, says in ran.err) == (2, True), ran.err


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (BOMB.encode(), "report.xml: a JUnit report with a DOCTYPE is not read"),
        (BOMB.encode("utf-16"), "report.xml: a JUnit report with a DOCTYPE is not read"),
        (b"<testsuite>", "report.xml: not a JUnit report: no element found"),
        (b"passed", "report.xml: not a JUnit report"),
        (b"<testsuite/>", "report.xml: no test case in it"),
    ],
)
def test_a_report_that_is_none_is_told(weave: Weave, tmp_path: Path, report: bytes, says: str) -> None:
    (tmp_path / "report.xml").write_bytes(report)
    ran = weave("outcome", "--decision", "d1", "--junit", "report.xml")
    assert (ran.code, says in ran.err) == (2, True), ran.err


def test_a_link_is_printed_for_one_decision_or_session(weave: Weave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, KEY)
    words = ("outcome", "link", "--session", "my session", "--expires", "2h", "--url", "http://ci:1/")
    address = weave(*words).out.strip()
    assert address.startswith("http://ci:1/v1/outcomes/")
    assert read_link(address.rsplit("/", 1)[1], KEY.encode(), 0.0).session == "my session"
    assert "give --decision or --session" in weave("outcome", "link").err
    assert "it takes a number with s, m, h or d" in weave("outcome", "link", "--expires", "soon").err
    monkeypatch.delenv(SECRET)
    ran = weave("outcome", "link", "--decision", "d1")
    assert (ran.code, f"set {SECRET}" in ran.err) == (2, True)


def started(policies: Path, journal: Path) -> "tuple[subprocess.Popen[str], str]":
    words = [
        "serve",
        "--simulate",
        "--port",
        "0",
        "--log",
        "json",
        "--policies",
        policies,
        "--journal",
        journal,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, SECRET: KEY},
    )
    assert process.stderr is not None
    for line in process.stderr:
        told = json.loads(line)
        if told["event"] == "serving":
            return process, told["url"]
    raise AssertionError("it did not start")


def killed(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    assert process.stderr is not None
    process.stderr.close()
    process.wait(timeout=30)


def test_a_killed_engine_starts_again_with_what_it_was_told_and_taken_back(
    weave: Weave, policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped policies, told from the command line and by a link, rolled back while it runs, killed."""
    monkeypatch.setenv(SECRET, KEY)
    shipped = ROOT / "policies"
    journal = tmp_path / "weave.db"

    def ask(url: str) -> str:
        tool = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}
        asked = {"role": "user", "content": "Rename it."}
        body = {"model": "claude-opus-4-5", "max_tokens": 50, "messages": [asked], "tools": [tool]}
        with urlopen(Request(f"{url}/v1/messages", json.dumps(body).encode()), timeout=30) as reply:
            return str(reply.headers["x-weave-decision"])

    def state() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            weave("learn", "show", "--json", "--policies", shipped, "--journal", journal).out
        )
        return {name: found[name] for name in ("lessons", "withdrawn", "state", "beliefs", "rollbacks")}

    process, url = started(shipped, journal)
    try:
        first = ask(url)
        assert weave("outcome", "--decision", first, "--tests-passed", 1, "--url", url).code == 0
        assert weave("outcome", "--decision", first, "--tests-failed", 1, "--url", url).code == 0
        assert weave("learn", "rollback", "--to", 1, "--policies", shipped, "--journal", journal).code == 0
        link = weave("outcome", "link", "--decision", ask(url), "--url", url).out.strip()
        with urlopen(Request(f"{link}?result=passed", b""), timeout=30) as reply:
            assert json.loads(reply.read())["worth"] == 1.0
        before = state()
    finally:
        killed(process)
    old = url
    assert (before["lessons"], before["withdrawn"]) == (3, 2)  # the link speaks of the same task
    process, url = started(shipped, journal)
    try:
        assert state() == before
        with urlopen(Request(link.replace(old, url) + "?result=passed", b""), timeout=30) as reply:
            assert json.loads(reply.read())["repeated"]
    finally:
        killed(process)
    assert state() == before


def test_an_engine_that_needs_a_key_is_shown_the_one_in_the_environment(
    weave: Weave, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            shown.append(self.headers["x-weave-key"])
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(ANSWER).encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            told = ("outcome", "--decision", "d1", "--rating", "1", "--url", url)
            assert weave(*told).code == 0
            monkeypatch.setenv("WEAVE_KEY", "wk_one")
            assert weave(*told).code == 0
        finally:
            server.shutdown()
            thread.join()
    assert shown == [None, "wk_one"]
