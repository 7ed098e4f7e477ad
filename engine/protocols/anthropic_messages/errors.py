"""Faults told to Anthropic clients."""

from collections.abc import Mapping
from typing import Any

from engine.core.errors import Fault
from engine.protocols.anthropic_messages.reading import NAMES

FULL = "prompt is too long"  # the words by which Claude Code knows that it must compact


def write_fault(fault: Fault) -> Mapping[str, Any]:
    message = fault.message
    if fault.kind == "context_exceeded" and FULL not in message.lower():
        message = f"{FULL}: {message}"
    return {"type": "error", "error": {"type": NAMES.errors_write[fault.kind], "message": message}}
