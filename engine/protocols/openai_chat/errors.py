"""Faults told to OpenAI Chat clients."""

from collections.abc import Mapping
from typing import Any

from engine.core.errors import Fault
from engine.protocols.openai_chat.reading import NAMES


def write_fault(fault: Fault) -> Mapping[str, Any]:
    code = NAMES.codes.get(fault.kind) or fault.code or None
    kind = NAMES.errors_write[fault.kind]
    return {"error": {"message": fault.message, "type": kind, "param": None, "code": code}}
