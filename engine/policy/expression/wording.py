"""How complaints say things: which name was meant, what to write instead."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from engine.policy.expression.types import Type, is_number, kind_of


def did_you_mean(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name[:64], list(names), 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def a(kind: Type | str) -> str:
    text = str(kind)
    return f"an {text}" if text[0] in "aeio" else f"a {text}"


def conversion(left: Type, right: Type) -> str:
    if is_number(left) and is_number(right) and left != right:
        return f"convert one side, as in {left}(…) or {right}(…)"
    if "string" in (kind_of(left), kind_of(right)) and (is_number(left) or is_number(right)):
        return "convert one side, as in string(…)"
    return ""


def why_unknown(kinds: Sequence[Type]) -> str:
    if any(kind_of(kind) in ("timestamp", "duration") for kind in kinds):
        return "timestamps and durations are interpreted"
    if any(kind_of(kind) == "type" for kind in kinds):
        return "types as values are interpreted"
    return "the type of an operand is not known"
