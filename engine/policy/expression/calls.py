"""Which overload a call means, and whether its arguments are safe to give it."""

from collections.abc import Sequence
from dataclasses import replace

from engine.policy.expression import compare
from engine.policy.expression.judgement import Judgement, together
from engine.policy.expression.notes import Notes
from engine.policy.expression.overloads import Overload
from engine.policy.expression.patterns import PatternError, PatternTooLargeError, pattern
from engine.policy.expression.syntax import Call, Constant, Node
from engine.policy.expression.types import DYN, Type, kind_of, scan_cost
from engine.policy.expression.wording import a, conversion, why_unknown

_SYMBOLS = {"!_": "!", "-_": "-"}


def resolve(notes: Notes, node: Call, overloads: Sequence[Overload], parts: Sequence[Judgement]) -> Judgement:
    kinds = [part.type for part in parts]
    fitting = [each for each in overloads if each.arity_fits(len(kinds))]
    if not fitting:
        wanted = sorted({len(each.parameters) - (node.target is not None) for each in overloads})
        counts = " or ".join(map(str, wanted))
        message = f"{node.function}() takes {counts} argument(s), not {len(node.arguments)}"
        return notes.complain(node.at, "WV208", message)
    candidates = [(each, compare.accepts(each, kinds)) for each in fitting]
    overload = next((each for each, fits in candidates if fits == "yes"), None)
    base = together(parts, DYN)
    if overload is None:
        perhaps = [each for each, fits in candidates if fits == "perhaps"]
        if not perhaps:
            return _no_overload(notes, node, kinds)
        results = {each.result_of(kinds) for each in perhaps if not callable(each.result)}
        result = results.pop() if len(results) == 1 and not any(callable(e.result) for e in perhaps) else DYN
        fallible = any(each.fallible for each in perhaps)
        return notes.unproven(
            node.span,
            why_unknown(kinds),
            base=replace(base, type=result, fallible=fallible or base.fallible),
        )
    overload = _safety(notes, node, overload, parts)
    result = overload.result_of(kinds)
    cost = base.cost + (scan_cost(kinds) if overload.scans else 0)
    judged = replace(
        base, type=result, cost=cost, fallible=base.fallible or overload.fallible, overload=overload
    )
    if not overload.python:
        return notes.unproven(node.at, why_unknown([*kinds, result]), base=replace(judged, fallible=True))
    return judged


def _no_overload(notes: Notes, node: Call, kinds: Sequence[Type]) -> Judgement:
    name = node.function
    if name.startswith("_") or name in _SYMBOLS:
        operator = _SYMBOLS.get(name, name.strip("_"))
        given = " and ".join(a(kind) for kind in kinds)
        message = f"{operator} does not work on {given}"
    else:
        given = ", ".join(str(kind) for kind in kinds)
        message = f"{name}() does not take ({given})"
    hint = conversion(kinds[0], kinds[1]) if len(kinds) == 2 else ""
    return notes.complain(node.at, "WV204", message, hint)


def _safety(notes: Notes, node: Call, overload: Overload, parts: Sequence[Judgement]) -> Overload:
    """What the arguments of matches(), duration() and timestamp() may be."""
    arguments = (*((node.target,) if node.target is not None else ()), *node.arguments)
    match node.function:
        case "matches":
            return _pattern(notes, overload, arguments[1], parts[1])
        case "duration" | "timestamp" if parts[0].tainted and kind_of(parts[0].type) == "string":
            message = f"{node.function}() reads text that a client may choose"
            notes.complain(arguments[0].span, "WV405", message, "use a constant or identity")
        case "duration" if isinstance(arguments[0], Constant):
            if not compare.is_duration(arguments[0].value):
                message = f"{arguments[0].value[:40]!r} is no duration"
                notes.complain(arguments[0].span, "WV210", message, "write it as '90s', '1h30m'")
        case _:
            pass
    return overload


def _pattern(notes: Notes, overload: Overload, node: Node, judged: Judgement) -> Overload:
    if not isinstance(node, Constant):
        if judged.tainted:
            message = "the pattern of matches() is text that a client may choose"
            notes.complain(node.span, "WV404", message, "write the pattern as a constant, or use contains()")
        return overload
    try:
        pattern(node.value)
    except PatternTooLargeError as error:
        notes.complain(node.span, "WV406", f"the pattern is too large: {error}")
    except PatternError as error:
        notes.complain(node.span, "WV210", f"not a pattern that RE2 takes: {error}")
    return replace(overload, python="matches_constant", fallible=False)
