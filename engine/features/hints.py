"""What a client says of its own call, in `x-weave-*` headers: optional, untrusted, typed.

A hint may tighten what happens to a request, never loosen a guard; so privacy is the one hint whose
doubtful values count as a yes, and all others are refused where they make no sense.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from engine.core.errors import RequestError

PHASES = ("context", "plan", "execute", "validate", "chat", "title", "summary", "probe", "classifier")
TASKS = (*PHASES, "architecture", "debug", "review")
LATENCIES = ("fast", "normal", "slow")
LONGEST = 200
NO = frozenset({"false", "0", "no", "off"})


def hints(headers: Mapping[str, str]) -> dict[str, Any]:
    """Hints by name, absent where not sent. Header names are lower-case. Raises RequestError naming the header."""
    found: dict[str, Any] = {}
    for name, (header, read) in HINTS.items():
        value = headers.get(header)
        if value is not None and (hint := read(header, value.strip())) is not None:
            found[name] = hint
    return found


def _task(header: str, value: str) -> str:
    return _one_of(header, value, TASKS)


def _phase(header: str, value: str) -> str:
    return _one_of(header, value, PHASES)


def _latency(header: str, value: str) -> str:
    return _one_of(header, value, LATENCIES)


def _private(_header: str, value: str) -> bool | None:
    """Anything but a clear no asks for privacy. A no is the same as silence: `has(hints.private)` is the test."""
    return None if value.lower() in NO else True


def _name(header: str, value: str) -> str:
    if not value or len(value) > LONGEST or not value.isprintable():
        raise _refused(header, value, f"1 to {LONGEST} printable characters")
    return value


def _usd(header: str, value: str) -> float:
    try:
        usd = float(value)
    except ValueError:
        usd = -1.0
    if not (math.isfinite(usd) and usd > 0):
        raise _refused(header, value, "US dollars above 0, such as 0.05")
    return usd


def _one_of(header: str, value: str, allowed: tuple[str, ...]) -> str:
    chosen = value.lower()
    if chosen not in allowed:
        raise _refused(header, value, f"one of {', '.join(allowed)}")
    return chosen


def _refused(header: str, value: str, allowed: str) -> RequestError:
    shown = value if len(value) <= 60 else f"{value[:60]}…"
    return RequestError(f"header {header} is {shown!r}; it takes {allowed}")


HINTS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "task": ("x-weave-task", _task),
    "phase": ("x-weave-phase", _phase),
    "session": ("x-weave-session", _name),
    "agent": ("x-weave-agent", _name),
    "latency": ("x-weave-latency", _latency),
    "private": ("x-weave-private", _private),
    "model": ("x-weave-model", _name),
    "max_cost": ("x-weave-max-cost", _usd),
}
