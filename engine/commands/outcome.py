"""`weave-engine outcome`: tell a running engine what became of the work, or make a signed link that lets a CI job."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen
from xml.parsers import expat

from engine import wire
from engine.commands import terminal
from engine.core.errors import Fault, RequestError, WeaveError
from engine.server.links import Link, secret_of, sign

TIMEOUT_SECONDS = 30.0
PIECE_BYTES = 1 << 16


class UnreachableError(WeaveError):
    """Nobody answers at the address."""


def outcome(url: str, told: Mapping[str, Any], *, json: bool = False) -> int:
    """Sends it and prints what became of it. Raises RequestError for what the engine refuses, UnreachableError where
    none runs there."""
    answer = _post(f"{url.rstrip('/')}/v1/outcomes", wire.dumps(told))
    if json:
        print(wire.dumps(answer).decode())
    else:
        _show(answer)
    return 0


def link(url: str, decision: str, session: str, seconds: float) -> int:
    """Prints the address that takes the outcome of one decision or session until then. Raises LinkError without a
    secret."""
    if bool(decision) == bool(session):
        raise RequestError("a link is for one decision or one session: give --decision or --session")
    token = sign(Link(decision, session, time.time() + seconds), secret_of(os.environ))
    print(f"{url.rstrip('/')}/v1/outcomes/{quote(token)}")
    return 0


def counted(paths: Sequence[Path]) -> dict[str, int]:
    """How many test cases passed and failed in these JUnit reports. Raises RequestError for what is none."""
    passed = failed = 0
    for path in paths:
        report = _Report()
        with path.open("rb") as file:
            try:
                while piece := file.read(PIECE_BYTES):
                    report.feed(piece)
                report.feed(b"", last=True)
            except expat.ExpatError as error:
                raise RequestError(f"{path}: not a JUnit report: {error}") from error
            except RequestError as error:
                raise RequestError(f"{path}: {error.fault.message}") from error
        if not report.cases:
            raise RequestError(f"{path}: no test case in it; a JUnit report has <testcase> elements")
        passed += report.cases - report.failed - report.skipped
        failed += report.failed
    return {"tests_passed": passed, "tests_failed": failed}


class _Report:
    """Counts as it reads. A document type is refused: reports need none, and what it declares may blow up or read
    files (entities within entities, external ones)."""

    def __init__(self) -> None:
        self.cases = self.failed = self.skipped = 0
        self._within = ""  # what the present case came to
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def feed(self, piece: bytes, last: bool = False) -> None:
        self._parser.Parse(piece, last)

    def _refuse(self, *_: object) -> None:
        raise RequestError("a JUnit report with a DOCTYPE is not read; take it out")

    def _start(self, name: str, _attributes: Mapping[str, str]) -> None:
        if name == "testcase":
            self.cases += 1
            self._within = "passed"
        elif self._within and name in ("failure", "error"):
            self._within = "failed"
        elif self._within == "passed" and name == "skipped":
            self._within = "skipped"

    def _end(self, name: str) -> None:
        if name == "testcase":
            self.failed += self._within == "failed"
            self.skipped += self._within == "skipped"
            self._within = ""


def _post(address: str, body: bytes) -> dict[str, Any]:
    if urlsplit(address).scheme not in ("http", "https"):
        raise RequestError(f"{address} is no address of an engine; it begins with http:// or https://")
    headers = {"content-type": "application/json"}
    if key := os.environ.get("WEAVE_KEY", ""):
        headers["x-weave-key"] = key
    request = Request(address, body, headers)  # noqa: S310 - checked above
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310 - checked above
            answer: dict[str, Any] = wire.loads(reply.read())
            return answer
    except HTTPError as error:
        raise RequestError(_message(error)) from error
    except (URLError, TimeoutError, ConnectionError) as error:
        base = address.removesuffix("/v1/outcomes")
        why = getattr(error, "reason", error)
        message = (
            f"no engine answers at {base} ({why}); is 'weave-engine serve' running? name another with --url"
        )
        raise UnreachableError(Fault("connection", message)) from error
    except ValueError as error:
        raise RequestError(f"{address} answers, but not as an engine does") from error


def _message(error: HTTPError) -> str:
    try:
        told = wire.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError, OSError):
        told = f"what answers there is no engine, or an older one: HTTP {error.code}"
    return str(told)


def _show(answer: Mapping[str, Any]) -> None:
    if answer["repeated"]:
        terminal.say(f"{answer['id']} was known already; nothing changes", "yellow")
        return
    worth = answer["worth"]
    about = f"{len(answer['decisions'])} decision{'s' if len(answer['decisions']) != 1 else ''}"
    value = (
        "which the policy gives no worth" if worth is None else f"worth {worth:+g} by {answer['valued_by']}"
    )
    terminal.say(f"{answer['id']}: about {about}, {value}", "green")
    for lesson in answer["lessons"]:
        models = " then ".join(lesson["models"])
        terminal.say(f"  {lesson['learner']} learns of {models} on {lesson['signature'] or 'every task'}")
    if answer["outranks"]:
        terminal.say(f"  counts instead of {', '.join(answer['outranks'])}")
    for remark in answer["remarks"]:
        terminal.say(f"  {remark}", "yellow")
