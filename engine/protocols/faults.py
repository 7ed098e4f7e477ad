"""Providers' errors become faults, whatever they are wrapped in: JSON of any shape, a page, or nothing.

A provider's word for an error is trusted before its status where it is a code of its own
("model_not_found" with a 404), and after it where it is a broad type ("invalid_request_error" with a
401). A full context is recognised by what the message says, because vendors have no code for it in
common.
"""

import re
from collections.abc import Mapping
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
_DETAIL = 2000  # characters of a provider's own words that the log keeps
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
    return _fault(names, error, status, retry_after(headers), text[:_DETAIL])


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
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (ValueError, TypeError):
        return None
