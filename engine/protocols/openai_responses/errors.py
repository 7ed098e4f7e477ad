"""Faults told to Responses clients: as a reply, and inside a stream, where Codex goes by the code alone."""

from collections.abc import Mapping
from typing import Any

from engine.core.errors import Fault
from engine.protocols.openai_responses.names import NAMES


def write_fault(fault: Fault) -> Mapping[str, Any]:
    code = NAMES.codes.get(fault.kind) or fault.code or None
    kind = NAMES.errors_write[fault.kind]
    return {"error": {"message": fault.message, "type": kind, "param": None, "code": code}}


def failure(fault: Fault) -> dict[str, Any]:
    """The `error` of a failed response. A client waits as long as the message says, there being no header."""
    message, wait = fault.message, fault.retry_after_seconds
    if fault.kind == "rate_limit" and wait is not None and "try again in" not in message:
        message = f"{message.rstrip('.')}. Please try again in {wait:g}s."
    plain = "invalid_prompt" if fault.kind in ("invalid_request", "permission") else "server_error"
    return {"code": NAMES.codes.get(fault.kind, plain), "message": message}
