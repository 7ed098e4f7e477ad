"""JSON Schema checks whose every finding is a Problem: where it is, what is wrong, what was perhaps meant.

One mistake gives one problem. A misspelt key is reported as unknown, not also as missing; a value of the
wrong type is not also out of range. Schemas meant for this use `oneOf` only as a choice between required keys,
and say in `x-problem` what a reader should be told where a keyword cannot say it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from engine.core.errors import Problem
from engine.documents.places import Document, Path
from engine.documents.shipped import shipped_json

# A file with more mistakes than this is no policy; its reader has enough to do.
MOST_PROBLEMS = 1000

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
_BOOLEAN_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing the validator found: the keyword that failed, what it demands, and the value it met."""

    path: Path
    keyword: str
    demand: Any
    value: Any
    schema: Mapping[str, Any]
    of_name: bool  # it is about a key of the mapping at `path`, and that key is `value`
    unknown: Mapping[
        str, str
    ]  # unknown keys of the mapping, and the absent ones they were perhaps meant to be

    @property
    def meant(self) -> frozenset[str]:
        return frozenset(self.unknown.values())

    def said(self, otherwise: str) -> tuple[str, str]:
        """The schema's own words for a reader, or else ours: a message and a hint."""
        words = self.schema.get("x-problem", {})
        return words.get("message", otherwise), words.get("hint", "")


def check_shape(document: Document, schema: str) -> tuple[Any, tuple[Problem, ...]]:
    """The document's data, and what in it does not follow the shipped JSON Schema of this name, sorted.

    What is wrong is left out of the data (an item of a list becomes None), so that the rest can be checked for
    its meaning in the same run; what is required may still be absent. Beyond MOST_PROBLEMS nothing is left.
    """
    findings = list(_findings(document, schema))
    if not findings:
        return document.data, ()
    data = deepcopy(document.data) if len(findings) < MOST_PROBLEMS else {}
    for finding in findings:
        data = _without(data, finding)
    return data, tuple(sorted({problem for finding in findings for problem in _problems(document, finding)}))


def _findings(document: Document, schema: str) -> Iterator[_Finding]:
    errors: list[Any] = list(islice(_validator(schema).iter_errors(document.data), MOST_PROBLEMS))
    unknown = {
        tuple(error.absolute_path): _unknown_keys(error.instance, error.schema["properties"])
        for error in errors
        if error.validator == "additionalProperties"
    }
    for error in errors:
        path = tuple(error.absolute_path)
        yield _Finding(
            path,
            error.validator,
            error.validator_value,
            error.instance,
            error.schema if isinstance(error.schema, Mapping) else {},
            "propertyNames" in error.absolute_schema_path,
            unknown.get(path, {}),
        )


def _without(data: Any, finding: _Finding) -> Any:
    match finding.keyword:
        case "required" | "dependentRequired" | "oneOf" | "anyOf":
            return data
        case _ if finding.of_name:
            return data
        case "additionalProperties":
            for key in finding.unknown:
                data = _cut(data, (*finding.path, key))
            return data
        case _:
            return _cut(data, finding.path)


def _cut(data: Any, path: Path) -> Any:
    if not path:
        return {}
    parent = data
    for step in path[:-1]:
        parent = parent.get(step) if isinstance(parent, dict) else parent[step]
        if parent is None:  # already cut for another reason
            return data
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    else:
        parent[path[-1]] = None
    return data


def _unknown_keys(value: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, str]:
    absent = [name for name in known if name not in value]
    unknown = [key for key in value if key not in known]
    return {key: nearest(key, absent) if number < MOST_PROBLEMS else "" for number, key in enumerate(unknown)}


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint: the known word nearest to this one, or else all of them where they are few, or `otherwise`."""
    names = sorted(set(known))
    near = nearest(word, names)
    if near:
        return f"did you mean {near!r}?"
    if not otherwise and 0 < len(names) <= 12:
        return f"known: {', '.join(names)}"
    return otherwise


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that this one was perhaps meant to be; empty where none is near."""
    folded = {name.casefold().replace("-", "_"): name for name in known}
    near = get_close_matches(word[:100].casefold().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""


@lru_cache(maxsize=16)
def _validator(schema: str) -> Any:
    contents = shipped_json(schema)
    Draft202012Validator.check_schema(contents)
    return _Validator(contents)


def _unique(validator: Any, demanded: bool, value: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ARG001
    """jsonschema's own compares all items with all others where they cannot be sorted, which takes minutes on a
    long list of texts and numbers."""
    if demanded and isinstance(value, list):
        distinct = {(type(item), str(item)) for item in value}
        if len(distinct) < len(value):
            yield ValidationError("items repeat")


def _bounded(keyword: str, most: str) -> Any:
    """A keyword about what is inside, that does not look inside where there is too much: that is told anyway, and
    looking would take seconds."""
    usual: Any = Draft202012Validator.VALIDATORS[keyword]

    def check(validator: Any, demanded: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if not isinstance(value, list | Mapping) or len(value) <= schema.get(most, len(value)):
            yield from usual(validator, demanded, value, schema) or ()

    return check


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "uniqueItems": _unique,
        "items": _bounded("items", "maxItems"),
        "propertyNames": _bounded("propertyNames", "maxProperties"),
        "additionalProperties": _bounded("additionalProperties", "maxProperties"),
    },
)


def _problems(document: Document, finding: _Finding) -> Iterable[Problem]:
    path = finding.path
    if finding.of_name:
        message, hint = finding.said("is not a name that can be used here")
        name = (*path, finding.value)
        return [document.problem(name, "WV114", f"{_show(finding.value)} {message}", hint, at_key=True)]
    match finding.keyword:
        case "additionalProperties":
            return _unknown(document, finding)
        case "required":
            return _missing(document, finding)
        case "dependentRequired":
            return _missing_companions(document, finding)
        case "oneOf" | "anyOf":
            return _no_branch(document, finding)
        case "type":
            return [document.problem(path, "WV112", *_wrong_type(document, finding))]
        case "enum":
            return [document.problem(path, "WV113", *_wrong_value(path, finding.value, finding.demand))]
        case "const":
            return [document.problem(path, "WV113", *_wrong_value(path, finding.value, [finding.demand]))]
        case _:
            message, hint = finding.said(_plain(finding))
            return [document.problem(path, "WV114", f"{_name(path)} {message}", hint)]


def _unknown(document: Document, finding: _Finding) -> Iterator[Problem]:
    known = finding.schema["properties"]
    for key, meant in islice(finding.unknown.items(), MOST_PROBLEMS):
        hint = f"did you mean {meant!r}?" if meant else f"known: {', '.join(known)}"
        message = f"{_name(finding.path)} has no key {_show(key)}"
        yield document.problem((*finding.path, key), "WV110", message, hint, at_key=True)


def _missing(document: Document, finding: _Finding) -> Iterator[Problem]:
    for key in finding.demand:
        if key not in finding.value and key not in finding.meant:
            about = finding.schema.get("properties", {}).get(key, {}).get("description", "")
            message = f"{_name(finding.path)} lacks {key!r}, which is required"
            yield document.problem(finding.path, "WV111", message, about.rstrip("."), at_key=True)


def _missing_companions(document: Document, finding: _Finding) -> Iterator[Problem]:
    for key, companions in finding.demand.items():
        for companion in companions:
            if key in finding.value and companion not in finding.value and companion not in finding.meant:
                message = f"{key!r} needs {companion!r} beside it"
                yield document.problem((*finding.path, key), "WV111", message, at_key=True)


def _no_branch(document: Document, finding: _Finding) -> list[Problem]:
    wanted = {key for branch in finding.demand for key in branch.get("required", [])}
    if wanted & finding.meant:
        return []
    message, hint = finding.said("does not have the right form")
    return [document.problem(finding.path, "WV111", f"{_name(finding.path)} {message}", hint, at_key=True)]


def _wrong_type(document: Document, finding: _Finding) -> tuple[str, str]:
    value, demand = finding.value, finding.demand
    wanted = [demand] if isinstance(demand, str) else demand
    kinds = " or ".join(_TYPES[name] for name in wanted)
    message = f"{_name(finding.path)} must be {kinds}, not {_kind(value)}"
    if value is None:
        return message, "write a value after the ':', or remove the key"
    written = _short(document.source(finding.path))
    if "string" in wanted and isinstance(value, int | float):
        return message, f'put it in quotes: "{written}"'
    if "boolean" in wanted and isinstance(value, str) and value.lower() in _BOOLEAN_WORDS:
        return message, f"write {_BOOLEAN_WORDS[value.lower()]}"
    if "array" in wanted and isinstance(value, str | int | float):
        return message, f"put it in brackets: [{written}]"
    plain = written.replace("_", "").replace(",", "")
    if plain.isdecimal() and ("integer" in wanted or "number" in wanted):
        return message, f"write {plain}"
    return message, ""


def _wrong_value(path: Path, value: Any, known: Sequence[Any]) -> tuple[str, str]:
    names = [str(name) for name in known]
    if not isinstance(value, list | dict) and str(value) in names:
        meant = known[names.index(str(value))]
        message = f"{_name(path)} must be {_kind(meant)} here, not {_kind(value)}"
        return message, f"write {meant} without quotes" if isinstance(value, str) else f'write "{meant}"'
    message = f"{_name(path)} cannot be {_show(value)}"
    hint = did_you_mean(value, names) if isinstance(value, str) and len(names) > 1 else ""
    return message, hint or f"write {'one of ' if len(names) > 1 else ''}{', '.join(names)}"


def _plain(finding: _Finding) -> str:
    demand, shown = finding.demand, _show(finding.value)
    sentences = {
        "minimum": f"is {shown}; it must be at least {demand}",
        "maximum": f"is {shown}; it must be at most {demand}",
        "exclusiveMinimum": f"is {shown}; it must be more than {demand}",
        "exclusiveMaximum": f"is {shown}; it must be less than {demand}",
        "minLength": "is empty",
        "maxLength": f"is longer than {demand} characters",
        "minItems": f"needs at least {demand} item{'' if demand == 1 else 's'}",
        "maxItems": f"has more than {demand} items",
        "minProperties": f"needs at least {demand} entr{'y' if demand == 1 else 'ies'}",
        "maxProperties": f"has more than {demand} entries",
        "uniqueItems": "names the same thing twice",
        "pattern": f"cannot be {shown}",
    }
    return sentences.get(finding.keyword, "does not have the right form")


def _name(path: Path) -> str:
    """What a reader calls the value at a path: its key, and for an item the list it is in."""
    if not path:
        return "the document"
    last = path[-1]
    if isinstance(last, str):
        return repr(_short(last))
    owner = next((step for step in reversed(path) if isinstance(step, str)), "list")
    return f"item {last + 1} of {owner!r}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"


def _show(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return _kind(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(_short(value)) if isinstance(value, str) else str(value)


def _short(text: str) -> str:
    line = " ".join(text[:200].split())
    return line if len(line) <= 60 else line[:59] + "…"
