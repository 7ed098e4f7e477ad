"""The judges are judged: an answer that is right passes, and each wrong that is planted in one is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.simulator import Simulator, run_in_thread
from tests.chaos.judges import Answer, judge
from tests.chaos.plan import SPEECHES, Ask, Course, Speech, ask
from tests.chaos.sessions import Told, judged
from tests.chaos.wire import Line, request

COURSE = Course(seed=7, sessions=1, seconds=1.0, rate=1.0, trouble=0.0, leaving=0.0)
PROVIDERS = {"anthropic": "anthropic", "chat": "openai", "responses": "responses", "gemini": "google"}
MODELS = {
    "anthropic": "claude-opus-4-5", "chat": "gpt-4.1", "responses": "gpt-5.5", "gemini": "gemini-2.5-flash"
}  # fmt: skip


def asked(speech: Speech, stream: bool, tool: bool = False) -> Ask:
    plain = ask(COURSE, 0, 0)
    return replace(
        plain,
        speech=speech,
        stream=stream,
        tool=tool,
        model=MODELS[speech],
        words=20,
        padding=0,
        private=False,
    )


@pytest.fixture(scope="module")
def simulator() -> Any:
    with run_in_thread() as one:
        yield one


@pytest.fixture
def answered(simulator: Simulator) -> Callable[[Ask], Answer]:
    """What a well provider answers, taken straight from a simulator."""
    import asyncio

    async def exchange(one: Ask) -> Answer:
        head, body = request(one)
        path = simulator.url(PROVIDERS[one.speech]).removeprefix(f"http://{simulator.host}:{simulator.port}")
        for version in ("/v1beta", "/v1"):
            if path.endswith(version):
                head = head.replace(f"POST {version}/".encode(), b"POST /")
        head = head.replace(b"POST ", f"POST {path}".encode(), 1).replace(
            b"\r\n\r\n", b"\r\nx-simulator-key: k\r\nconnection: close\r\n\r\n"
        )
        line = await Line.open(simulator.host, simulator.port)
        try:
            await line.send(head + body)
            await line.read_head()
            await line.read_body()
        finally:
            line.close()
            await line.writer.wait_closed()
        return line.answer

    return lambda one: asyncio.run(exchange(one))


every = pytest.mark.parametrize("speech", SPEECHES)


@every
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("tool", [True, False])
def test_an_answer_that_is_right_passes(
    speech: Speech, stream: bool, tool: bool, answered: Callable[[Ask], Answer]
) -> None:
    one = asked(speech, stream, tool)
    told = Told(one.nonce, 0, 0, speech, stream)
    judged(one, answered(one), told)
    assert (told.wrongs, told.crossed, told.end) == ([], [], "whole")
    assert len(told.calls) == 1


@every
@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_is_cut_anywhere_is_wrong(
    speech: Speech, stream: bool, answered: Callable[[Ask], Answer]
) -> None:
    answer = answered(asked(speech, stream))
    for end in range(1, len(answer.body.rstrip()), 17):
        seen = judge(speech, stream, replace(answer, body=answer.body[:end]))
        assert seen.wrongs, f"cut at {end}"


@every
def test_a_body_that_is_not_ended_by_http_is_wrong(speech: Speech, answered: Callable[[Ask], Answer]) -> None:
    answer = answered(asked(speech, True))
    assert judge(speech, True, replace(answer, ended=False)).wrongs


@every
def test_a_stream_without_one_of_its_frames_or_with_one_twice_is_wrong_or_lacks_words(
    speech: Speech, answered: Callable[[Ask], Answer]
) -> None:
    one = asked(speech, True)
    answer = answered(one)
    mark = b"\r\n\r\n" if b"\r\n\r\n" in answer.body else b"\n\n"
    frames = [frame for frame in answer.body.split(mark) if frame]
    for place, frame in enumerate(frames):
        if (
            b"ping" in frame
            or b"in_progress" in frame.split(b"\n")[0]
            or b"content_part" in frame.split(b"\n")[0]
        ):
            continue  # which mean nothing to whoever reads on
        twice = [] if b'"role":"assistant","content":""' in frame else [[frame, frame]]
        for others in ([], *twice):
            body = mark.join([*frames[:place], *others, *frames[place + 1 :], b""])
            told = Told(one.nonce, 0, 0, speech, True)
            judged(one, replace(answer, body=body), told)
            assert told.wrongs, f"{frame!r} {'twice' if others else 'missing'}"


@every
@pytest.mark.parametrize("stream", [True, False])
def test_another_s_nonce_is_cross_talk(
    speech: Speech, stream: bool, answered: Callable[[Ask], Answer]
) -> None:
    one = asked(speech, stream)
    answer = answered(one)
    told = Told(one.nonce, 0, 0, speech, stream)
    judged(one, replace(answer, body=answer.body.replace(one.nonce.encode(), b"n0123456789ab", 1)), told)
    assert told.crossed == ["n0123456789ab"]
    assert told.wrongs


@every
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_of_two_calls_is_seen(
    speech: Speech, stream: bool, answered: Callable[[Ask], Answer]
) -> None:
    one = asked(speech, stream)
    answer = answered(one)
    told = Told(one.nonce, 0, 0, speech, stream)
    first = told.nonce
    judged(one, answer, told)
    (call,) = told.calls
    other = answer.body.replace(f"{call}.11".encode(), b"99-9.11")
    told = Told(first, 0, 0, speech, stream)
    judged(one, replace(answer, body=other), told)
    assert told.calls == sorted({call, "99-9"})
    assert told.wrongs


ERRORS: dict[Speech, Any] = {
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
    "chat": {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}},
    "responses": {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}},
    "gemini": {"error": {"code": 529, "message": "busy", "status": "UNAVAILABLE"}},
}


def failed(speech: Speech, status: int = 529, **fields: Any) -> Answer:
    body = json.dumps({**ERRORS[speech], **fields}).encode()
    return Answer(status, {"content-type": "application/json"}, body, True)


@every
def test_an_error_in_the_client_s_protocol_passes_and_any_other_does_not(speech: Speech) -> None:
    assert judge(speech, True, failed(speech)).wrongs == []
    assert judge(speech, True, failed(speech, error={})).wrongs
    assert judge(speech, True, failed(speech, status=302)).wrongs
    assert judge(speech, True, replace(failed(speech), body=b"<html>")).wrongs
    others = {name for name in SPEECHES if judge(speech, True, failed(name)).wrongs}
    assert others == set(SPEECHES) - ({"chat", "responses"} if speech in ("chat", "responses") else {speech})


def test_an_error_says_what_its_status_says() -> None:
    assert judge("anthropic", False, failed("anthropic", status=429)).wrongs
    assert judge("gemini", False, failed("gemini", status=500)).wrongs


@every
def test_a_bug_and_a_refusal_without_a_reason_are_wrong(speech: Speech) -> None:
    one = asked(speech, False)
    bug = json.loads(
        json.dumps(ERRORS[speech]).replace("busy", "the engine made a mistake; its log says which")
    )
    refused = failed(speech, status=404)
    for answer in (failed(speech, **bug), refused):
        told = Told(one.nonce, 0, 0, speech, False)
        judged(one, answer, told)
        assert told.wrongs


def test_who_left_in_the_middle_has_seen_no_wrong_but_may_have_seen_another_s_words(
    answered: Callable[[Ask], Answer], tmp_path: Path
) -> None:
    one = asked("anthropic", True)
    answer = answered(one)
    half = answer.body[: len(answer.body) // 2]
    told = Told(one.nonce, 0, 0, "anthropic", True, left="in_answer")
    judged(one, replace(answer, body=half, ended=False), told)
    assert (told.wrongs, told.crossed, len(told.calls)) == ([], [], 1)
    told = Told(one.nonce, 0, 0, "anthropic", True, left="in_answer")
    judged(one, replace(answer, body=half.replace(one.nonce.encode(), b"n0123456789ab")), told)
    assert told.crossed == ["n0123456789ab"]
