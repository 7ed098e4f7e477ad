"""Providers' errors, whatever they are wrapped in."""

from typing import Any

import pytest

from engine.protocols import PROTOCOLS
from engine.protocols.faults import fault_in_stream, read_fault, retry_after, wait_of
from engine.protocols.mapping import wire_map

CHAT, CLAUDE = wire_map("openai_chat"), wire_map("anthropic_messages")

CASES: list[tuple[str, int, bytes, str, str]] = [
    ("a code of its own", 404, b'{"error":{"message":"m","code":"model_not_found"}}', "not_found", "m"),
    ("a status", 401, b'{"error":{"message":"m","type":"invalid_request_error"}}', "authentication", "m"),
    ("a quota", 429, b'{"error":{"message":"m","code":"insufficient_quota"}}', "billing", "m"),
    ("a type", 400, b'{"error":{"message":"m","type":"rate_limit_error"}}', "rate_limit", "m"),
    ("overload", 529, b"{}", "overloaded", "{}"),
    ("a string", 500, b'{"error":"boom"}', "server_error", "boom"),
    ("a detail", 422, b'{"detail":[{"loc":["x"]}]}', "invalid_request", '[{"loc":["x"]}]'),
    ("a message", 503, b'{"message":"later"}', "overloaded", "later"),
    ("a list", 400, b'[{"error":{"code":400,"message":"m"}}]', "invalid_request", "m"),
    ("a page", 502, b"<html><title>Bad gateway</title></html>", "server_error", "Bad gateway"),
    ("a page without title", 502, b"<html>", "server_error", "without an API error"),
    ("plain text", 500, b"upstream died", "server_error", "upstream died"),
    ("nothing", 504, b"", "timeout", "without an API error"),
    ("no text at all", 500, b"\xff\xfe\x00", "server_error", "\ufffd"),
    ("null", 500, b'{"error":null}', "server_error", "null"),
    ("a message that is none", 500, b'{"error":{"message":{"a":1}}}', "server_error", '{"a":1}'),
    (
        "a full context",
        400,
        b'{"error":{"message":"exceeds the context window"}}',
        "context_exceeded",
        "context",
    ),
    (
        "no images",
        400,
        b'{"error":{"message":"This model does not support image inputs."}}',
        "incapable",
        "image",
    ),
    (
        "no tools",
        400,
        b'{"error":{"message":"`tools` is not supported with this model","code":"invalid_request_error"}}',
        "incapable",
        "tools",
    ),
    (
        "no calls",
        400,
        b'{"error":{"message":"Function calling is not enabled for models/x"}}',
        "incapable",
        "calling",
    ),
    (
        "a parameter",
        400,
        b'{"error":{"message":"temperature does not support 0.3 here"}}',
        "invalid_request",
        "temperature",
    ),
    ("a broken image", 400, b'{"error":{"message":"Could not process image"}}', "invalid_request", "image"),
    ("another 4xx", 418, b"{}", "invalid_request", "{}"),
]


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_an_error_reply_becomes_a_fault(status: int, body: bytes, kind: str, words: str) -> None:
    fault = read_fault(CHAT, status, {}, body)
    assert (fault.kind, fault.http_status, fault.origin) == (kind, status, "provider")
    assert words in fault.message or words in fault.detail
    assert fault.message


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"type": "overloaded_error", "message": "m"}, "overloaded", 529),
        ({"code": 429, "message": "m"}, "rate_limit", 429),
        ({"code": "502", "message": "m"}, "server_error", 502),
        ("busy", "server_error", 500),
        (None, "server_error", 500),
        (7, "server_error", 500),
    ],
)
def test_an_error_inside_a_stream_becomes_a_fault(error: Any, kind: str, status: int) -> None:
    fault = fault_in_stream(CLAUDE, error)
    assert (fault.kind, fault.http_status) == (kind, status)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_the_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
NOON = 1792567680  # the same moment, since the epoch


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # Anthropic, and its subscriptions
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:30Z",
                "anthropic-ratelimit-tokens-remaining": "40000",
                "anthropic-ratelimit-tokens-reset": "2026-10-21T07:58:00Z",
                "date": DATE,
            },
            30.0,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:30Z",
            },
            None,
        ),
        (
            {
                "anthropic-ratelimit-unified-status": "rejected",
                "anthropic-ratelimit-unified-reset": str(NOON + 7200),
                "date": DATE,
            },
            7200.0,
        ),
        # OpenAI, Groq, Mistral
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            7.66,
        ),
        ({"x-ratelimit-remaining-tokens": "17", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-reset-tokens": "6m0s"}, None),
        # OpenRouter, in milliseconds since the epoch; others in seconds, or as a number of them
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOON + 9}000", "date": DATE}, 9.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOON - 9), "date": DATE}, 0.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
        ({"retry-after": "3", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 3.0),
    ],
)
def test_a_limit_that_is_used_up_says_when_it_is_there_again(
    headers: dict[str, str], seconds: float | None
) -> None:
    # G79
    assert wait_of(headers) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"message": "Rate limit reached. Please try again in 1.2s. Visit us."}, 1.2),
        ({"message": "Please try again in 6m0s."}, 360.0),
        ({"message": "Please try again in 20 seconds"}, 20.0),
        ({"message": "try again in 350ms"}, 0.35),
        ({"message": "You exceeded your quota. Please retry in 34.07s."}, 34.07),
        ({"message": "The usage limit has been reached", "resets_in_seconds": 9000}, 9000.0),
        ({"message": "try again later"}, None),
        ({"message": "slow down", "resets_in_seconds": "soon"}, None),
    ],
)
def test_an_error_says_in_words_when_to_come_back(error: dict[str, Any], seconds: float | None) -> None:
    fault = fault_in_stream(CHAT, {"code": 429, **error})
    assert fault.kind == "rate_limit"
    assert fault.retry_after_seconds == (None if seconds is None else pytest.approx(seconds))
    assert fault_in_stream(CHAT, {"code": 400, **error}).retry_after_seconds is None


@pytest.mark.parametrize("status", [302, 307, 999])
def test_a_status_that_is_no_error_is_told_as_a_bad_gateway(status: int) -> None:
    for protocol in PROTOCOLS.values():
        fault = protocol.read_fault(status, {}, b"")
        assert fault.http_status == 502
        assert str(status) in fault.message
