"""Providers' errors become faults, whatever they are wrapped in: JSON of any shape, a page, or nothing.

A provider's word for an error is trusted before its status where it is a code of its own
("model_not_found" with a 404), and after it where it is a broad type ("invalid_request_error" with a
401). A full context is recognised by what the message says, because vendors have no code for it in
common.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from engine import wire
from engine.core.errors import Fault, FaultKind
from engine.protocols.mapping import WireMap

_BY_STATUS: dict[int, FaultKind] = {
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "request_too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_LATER_THAN_SPANS = 1e8  # seconds; what is larger is no span, but a moment since the epoch
_DETAIL = 2000  # characters of a provider's own words that the log keeps
_TRY_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)? ?(?:ms|[hms])[a-z]* ?)+)", re.IGNORECASE
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|[dhms])")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

# How vendors say that a model cannot do what a request needs, and what that may be. Both have to be said: that a
# parameter is not supported is the client's business.
_UNABLE = (
    "does not support", "doesn't support", "do not support", "not supported by this model", "not supported with this",
    "not supported for this model", "not enabled for", "is not a multimodal model", "requires --enable",
)  # fmt: skip
_ABILITIES = (
    "image", "vision", "multimodal", "audio", "video", "document", "pdf", "file", "tool", "function call", "thinking",
    "reasoning", "json_schema", "structured output", "response_format",
)  # fmt: skip
_TITLE = re.compile(r"<title[^>]*>\s*([^<]{1,200}?)\s*</title>", re.IGNORECASE)


def read_fault(names: WireMap, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """The fault behind an error reply. `headers` have lower-case names."""
    text = body[: _DETAIL * 4].decode("utf-8", "replace")
    try:
        parsed = wire.loads(body)
    except ValueError:
        parsed = None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else {"message": _plain(status, text)}
    return _fault(names, error, status, wait_of(headers), text[:_DETAIL])


def fault_in_stream(names: WireMap, error: Any) -> Fault:
    """The fault behind an error that came inside a 200 reply."""
    return _fault(names, error, 0, None, _as_text(error)[:_DETAIL])


def _fault(names: WireMap, error: Any, status: int, wait: float | None, detail: str) -> Fault:
    fields = error if isinstance(error, dict) else {"message": error}
    code, kind_word = fields.get("code"), fields.get("type")
    if status < 400 and isinstance(code, (int, str)) and str(code).isdigit() and 400 <= int(code) < 600:
        status = int(code)
    message = _as_text(fields.get("message") or fields.get("detail") or fields.get("error") or "")
    message = message or f"the provider answered {status} without a word"
    kind = _kind(names, str(code), str(kind_word), status)
    if kind in ("invalid_request", "server_error", "request_too_large") and _tells_of_full_context(
        names, message
    ):
        kind = "context_exceeded"
    elif kind == "invalid_request" and _tells_of_inability(message):
        kind = "incapable"
    if wait is None and kind in ("rate_limit", "overloaded"):
        wait = _wait_told(fields, message)
    if status and not 400 <= status < 600:
        status = 502  # providers answer with redirects, and with statuses that do not exist; neither is for a client
    word = str(code if isinstance(code, str) and code else kind_word or code or "")
    return Fault(kind, message, status, "provider", word, wait, detail)


def _kind(names: WireMap, code: str, kind_word: str, status: int) -> FaultKind:
    if code in names.errors_read:
        return names.errors_read[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if kind_word in names.errors_read:
        return names.errors_read[kind_word]
    return "invalid_request" if 400 <= status < 500 else "server_error"


def _tells_of_full_context(names: WireMap, message: str) -> bool:
    text = message.lower()
    return any(phrase in text for phrase in names.context_phrases)


def _tells_of_inability(message: str) -> bool:
    text = message.lower()
    return any(phrase in text for phrase in _UNABLE) and any(word in text for word in _ABILITIES)


def _wait_told(error: Mapping[str, Any], message: str) -> float | None:
    """How long to wait, as the error's body says it: OpenAI's subscriptions in a field, others in a sentence."""
    told = error.get("resets_in_seconds")
    if isinstance(told, int | float) and 0 <= told < math.inf:
        return float(told)
    found = _TRY_AGAIN.search(message)
    return span(found[1]) if found else None


def _plain(status: int, text: str) -> str:
    """What to say of an error that is no JSON: a page's title, or short text as it is."""
    title = _TITLE.search(text)
    if title:
        return f"the provider answered {status} with a page: {title.group(1)}"
    if "<" in text[:200] or not text.strip():
        return f"the provider answered {status} without an API error"
    return text.strip()[:500]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return wire.dumps(value).decode()
    except ValueError:
        return str(value)


def wait_of(headers: Mapping[str, str]) -> float | None:
    """How long to wait, in seconds: what the vendor says outright, else until the last of its used-up limits is there
    again. Limits of which something is left say nothing: they refill long before they are whole."""
    told = retry_after(headers)
    if told is not None:
        return told
    waits = [_reset(headers, name) for name in headers if _is_used_up(headers, name)]
    return max((wait for wait in waits if wait is not None), default=None)


def _is_used_up(headers: Mapping[str, str], name: str) -> bool:
    """Whether a header tells when a limit resets of which nothing is left. Beside it there is one of the same name
    that says what remains; Anthropic's subscriptions have a status instead."""
    if "ratelimit" not in name or "reset" not in name:
        return False
    if headers.get(name.replace("reset", "status"), "").strip().lower() == "rejected":
        return True
    remaining = headers.get(name.replace("reset", "remaining"), "").strip()
    return remaining != "" and not remaining.strip("0.")


def _reset(headers: Mapping[str, str], name: str) -> float | None:
    """Vendors write it as a span (`6m0s`), in seconds, as a date, or in seconds or milliseconds since the epoch; a
    moment counts from the reply's own `date`."""
    value = headers[name].strip()
    try:
        number = float(value)
    except ValueError:
        return (
            span(value)
            if value[-1:].isalpha() and value[:1].isdigit() and "T" not in value
            else _until(value, headers)
        )
    if not 0 <= number < math.inf:
        return None
    if number < _LATER_THAN_SPANS:
        return number
    now = _moment(headers.get("date", ""))
    return None if now is None else max(0.0, (number / 1000.0 if number > 1e11 else number) - now)


def _until(value: str, headers: Mapping[str, str]) -> float | None:
    then, now = _moment(value), _moment(headers.get("date", ""))
    return None if then is None or now is None else max(0.0, then - now)


def _moment(text: str) -> float | None:
    """Seconds since the epoch, of a date as HTTP or as RFC 3339 writes it."""
    try:
        if "T" in text and text[:1].isdigit():
            return datetime.fromisoformat(text).timestamp()
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def span(text: str) -> float | None:
    """Seconds, as in `1h2m`, `6m0s`, `7.66s` and `120ms`."""
    found = _SPAN.findall(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in found) if found else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long to wait, in seconds: from `retry-after-ms`, or from `retry-after` as seconds or as a date.

    A date counts from the reply's own `date` header, since this room has no clock; without one it is ignored.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return _until(headers.get("retry-after", ""), headers)
