"""The tables of the reference page, made of what the schemas, the checker and its cases say.

`make reference` runs this file and writes them anew; `test_reference.py` holds the page to them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from engine.commands.features import roots, vocabulary
from engine.core.errors import Problem
from engine.documents import shipped_json
from engine.policy.codes import CODES
from engine.policy.expression.overloads import FUNCTIONS, METHODS
from engine.snapshot import SCHEMAS, check
from tests.policy.problems import PROBLEMS, ROOT, files_of

PAGE = ROOT / "policies/README.md"
LONGEST = 90  # characters of an example; the rest is left out
LEAD = 30  # of them, how many stand before the place of a problem far to the right

# What no file can earn, because it is no file's fault.
WITHOUT_FILES = {"WV100": ("error", "", "the policies could not be loaded: …")}

Rows = Iterator[Sequence[str]]


def table(titles: Sequence[str], rows: Rows) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def code(text: str) -> str:
    """As a code span, whatever backticks are in it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


# Keys ---------------------------------------------------------------------------------------------------------------


def resolved(field: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    name = field.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"][name], **field} if name else dict(field)


def keys(field: Mapping[str, Any], schema: Mapping[str, Any], path: str = "") -> Rows:
    """A key, what it takes and what it means, for every key under a field, parents first."""
    whole = resolved(field, schema)
    for name, each in whole.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        inner = resolved(each, schema)
        must = ", required" if name in whole.get("required", ()) else ""
        yield code(below), takes(inner, schema) + must, inner["description"]
        yield from keys(each, schema, below)
    for branch in whole.get("anyOf", ()):
        yield from keys(branch, schema, path)
    items, others = whole.get("items"), whole.get("additionalProperties")
    if items:
        yield from keys(items, schema, f"{path}[]")
    if isinstance(others, Mapping):
        yield from keys(others, schema, f"{path}.NAME")


NAMED = {
    "duration": "a length of time",
    "expression": "an expression",
    "condition": "a condition",
    "name": "a name",
    "value": "a value's name",
}
KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}


def takes(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    named = NAMED.get(field.get("$ref", "").removeprefix("#/$defs/"))
    if named:
        return named
    if "anyOf" in field:
        return " or ".join(takes(resolved(branch, schema), schema) for branch in field["anyOf"])
    values = field.get("enum", [field["const"]] if "const" in field else [])
    if values:
        return ", ".join(code(str(value)) for value in values)
    kind = field["type"]
    if kind == "array":
        items = resolved(field["items"], schema)
        return "a list" if items.get("type") == "object" else f"a list of: {takes(items, schema)}"
    return " or ".join(KINDS[each] for each in ([kind] if isinstance(kind, str) else kind))


def keys_of(kind: str) -> str:
    schema = shipped_json(SCHEMAS[kind])
    return table(("key", "takes", "meaning"), keys(schema, schema))


# Expressions --------------------------------------------------------------------------------------------------------


def functions() -> str:
    called = ", ".join(code(name) for name in sorted(FUNCTIONS))
    methods = ", ".join(code(name) for name in sorted(METHODS))
    return f"Functions: {called}.\n\nMethods, as in `text.contains('x')`: {methods}."


def words() -> str:
    about = roots()
    parts = []
    for root, found in groupby(vocabulary(), lambda word: word.name.partition(".")[0]):
        rows = (
            (code(word.name), word.type if word.always else f"{word.type}, optional", meaning(word))
            for word in found
        )
        parts.append(f"**`{root}`**: {about[root]}\n\n{table(('name', 'type', 'meaning'), rows)}")
    return "\n\n".join(parts)


def meaning(word: Any) -> str:
    values = ", ".join(code(value or "''") for value in word.values)
    return f"{word.description} One of {values}." if values else str(word.description)


# Codes --------------------------------------------------------------------------------------------------------------


def codes() -> str:
    earned = examples()
    rows = ((name, severities(name), about, *earned[name]) for name, about in CODES.items())
    return table(("code", "", "meaning", "for example", "says"), rows)


def severities(name: str) -> str:
    found = {
        match for case in PROBLEMS for match in re.findall(rf"{name} (error|warning)", str(case["problems"]))
    }
    return ", ".join(sorted(found)) or WITHOUT_FILES[name][0]


def examples() -> dict[str, tuple[str, str]]:
    """For each code the first line that earns it, and what is said about it."""
    found = {name: (example, said) for name, (_, example, said) in WITHOUT_FILES.items()}
    for case in PROBLEMS:
        files = files_of(case)
        for problem in check(files, case.get("serve", ""))[1]:
            found.setdefault(problem.code, (example(problem, files), short(told(problem), 2 * LONGEST)))
    return found


def told(problem: Problem) -> str:
    return f"{problem.message}; {problem.hint}" if problem.hint else problem.message


def example(problem: Problem, files: Mapping[str, str]) -> str:
    """The line it is about, or of a long one the part from shortly before the place."""
    line = files[problem.file].splitlines()[problem.line - 1]
    text = line.strip().removeprefix("- ")
    at = problem.column - 1 - line.index(text)
    if at < LONGEST - LEAD:
        return code(short(text, LONGEST))
    start = text.rfind(" ", 0, at - LEAD) + 1
    return code("… " + short(text[start:], LONGEST))


def short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 2].rstrip() + " …"


# The page -----------------------------------------------------------------------------------------------------------


def tables() -> dict[str, str]:
    return {
        "policy": keys_of("Policy"),
        "catalog": keys_of("Catalog"),
        "functions": functions(),
        "vocabulary": words(),
        "codes": codes(),
    }


def renewed(text: str) -> str:
    """The page with its tables made anew; what is between them is written by hand."""
    for name, each in tables().items():
        begin, end = f"<!-- {name}: made by `make reference` -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, name
        text = f"{before}{begin}\n{each}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
