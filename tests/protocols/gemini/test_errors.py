"""Errors in Google's form."""

from typing import Any

import orjson
import pytest

from engine.core.errors import Fault
from engine.protocols.gemini.errors import fault_in_stream, read_fault, write_fault

RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


def body(status: str, code: int, *details: Any, message: str = "m") -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message, "status": status, "details": details}})


@pytest.mark.parametrize(
    ("code", "sent", "kind"),
    [
        (429, body("RESOURCE_EXHAUSTED", 429, RETRY), "rate_limit"),
        (400, body("INVALID_ARGUMENT", 400, KEY), "authentication"),
        (400, body("INVALID_ARGUMENT", 400), "invalid_request"),
        (400, body("INVALID_ARGUMENT", 400,
                   message="The input token count (9) exceeds the maximum number of tokens allowed (8)."),
         "context_exceeded"),
        (503, body("UNAVAILABLE", 503), "overloaded"),
        (500, body("INTERNAL", 500), "server_error"),
        (404, body("NOT_FOUND", 404), "not_found"),
        (403, body("PERMISSION_DENIED", 403), "permission"),
        (504, body("DEADLINE_EXCEEDED", 504), "timeout"),
        (429, b"[" + body("RESOURCE_EXHAUSTED", 429) + b"]", "rate_limit"),
        (502, b"<html><title>Bad</title></html>", "server_error"),
        (429, b'{"error": "slow down"}', "rate_limit"),
    ],
)  # fmt: skip
def test_an_error_is_read(code: int, sent: bytes, kind: str) -> None:  # G70
    fault = read_fault(code, {}, sent)
    assert (fault.kind, fault.http_status) == (kind, code)
    assert fault.message


def test_how_long_to_wait_is_told_both_ways() -> None:
    fault = read_fault(429, {}, body("RESOURCE_EXHAUSTED", 429, KEY | {"reason": "x"}, RETRY))
    assert fault.retry_after_seconds == 34.5
    assert read_fault(429, {"retry-after": "7"}, body("X", 429, RETRY)).retry_after_seconds == 7
    told = write_fault(fault)["error"]
    assert (told["status"], told["code"], told["details"]) == ("RESOURCE_EXHAUSTED", 429, [RETRY])
    assert read_fault(429, {}, orjson.dumps({"error": told})).retry_after_seconds == 34.5
    for odd in ("soon", "-3s", "infs", 7):
        assert read_fault(429, {}, body("X", 429, {"retryDelay": odd})).retry_after_seconds is None


def test_an_error_inside_a_stream_has_the_status_it_names() -> None:
    fault = fault_in_stream({"code": 503, "status": "UNAVAILABLE", "message": "busy"})
    assert (fault.kind, fault.http_status) == ("overloaded", 503)
    assert fault_in_stream("odd").message == "odd"


def test_a_full_context_is_told_in_googles_words() -> None:
    told = write_fault(Fault("context_exceeded", "no room"))["error"]
    assert "exceeds the maximum number of tokens" in told["message"]
    assert write_fault(Fault("context_exceeded", told["message"]))["error"]["message"] == told["message"]
