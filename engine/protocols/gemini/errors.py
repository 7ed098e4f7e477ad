"""Errors in Google's form: a status word beside the number, and how long to wait among the details."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine import wire
from engine.core.errors import Fault
from engine.protocols import faults
from engine.protocols.gemini.reading import NAMES

FULL = "The input token count exceeds the maximum number of tokens allowed"
_RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def read_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """A stream that was asked for as a list of objects brings its error in a list too."""
    try:
        parsed = wire.loads(body)
    except ValueError:
        return faults.read_fault(NAMES, status, headers, body)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict):
        return faults.read_fault(NAMES, status, headers, body)
    told = faults.read_fault(NAMES, status, headers, wire.dumps({"error": _by_word(error)}))
    wait = told.retry_after_seconds
    return replace(told, retry_after_seconds=_delay(error) if wait is None else wait)


def fault_in_stream(error: Any) -> Fault:
    if not isinstance(error, dict):
        return faults.fault_in_stream(NAMES, error)
    told = faults.fault_in_stream(NAMES, _by_word(error))
    code = error.get("code")
    status = code if type(code) is int and 400 <= code < 600 else told.status
    return replace(told, status=status, retry_after_seconds=_delay(error))


def _by_word(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error with its word where others have one. A key that is wrong is called an invalid argument, and only a
    detail says better."""
    reasons = [detail.get("reason") for detail in _details(error)]
    word = next((reason for reason in reasons if reason in NAMES.errors_read), error.get("status"))
    return {**error, "code": word} if isinstance(word, str) else error


def _details(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = error.get("details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _delay(error: Mapping[str, Any]) -> float | None:
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if not isinstance(delay, str) or not delay.endswith("s"):
            continue
        try:
            seconds = float(delay[:-1])
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def write_fault(fault: Fault) -> Mapping[str, Any]:
    message = fault.message
    if fault.kind == "context_exceeded" and FULL.lower() not in message.lower():
        message = f"{FULL}: {message}"
    error: dict[str, Any] = {
        "code": fault.http_status,
        "message": message,
        "status": NAMES.errors_write[fault.kind],
    }
    if fault.retry_after_seconds is not None:
        delay = f"{max(fault.retry_after_seconds, 0):g}s"
        error["details"] = [{"@type": _RETRY, "retryDelay": delay}]
    return {"error": error}
