"""Problems as other programs read them: JSON, GitHub annotations, SARIF for code scanning, JUnit for CI servers."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from engine import __version__, wire
from engine.core.errors import Problem
from engine.policy.codes import CODES

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a JUnit report. `failure` is empty where it passed, `kind` says what failed."""

    suite: str
    name: str
    failure: str = ""
    kind: str = ""
    output: str = ""


def as_json(problems: Iterable[Problem]) -> str:
    return wire.dumps([plain(problem) for problem in problems]).decode()


def plain(problem: Problem) -> dict[str, str | int]:
    return {
        "file": _unicode(problem.file),
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "severity": problem.severity,
        "message": _unicode(problem.message),
        "hint": _unicode(problem.hint),
    }


def as_github(problems: Iterable[Problem]) -> str:
    return "\n".join(_annotation(problem) for problem in problems)


def _unicode(text: str) -> str:
    """Names of files may hold bytes that are no text; nothing but a disk takes them as they are."""
    return text.encode("utf-8", "backslashreplace").decode()


def _from_here(file: str) -> str:
    """CI runs in the repository, and wants names as seen from there."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _annotation(problem: Problem) -> str:
    """A GitHub Actions workflow command: https://docs.github.com/actions, "Workflow commands"."""
    where = f"file={_property(_unicode(_from_here(problem.file)))},line={problem.line},col={problem.column}"
    return f"::{problem.severity} {where},title={_property(problem.code)}::{_escaped(_text(problem))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(problems: Sequence[Problem]) -> str:
    """SARIF 2.1.0, section 3: one run; columns count characters, as ours do. GitHub's code scanning asks for more
    than the standard: descriptions and help for each rule, both ends of a place, names relative to the repository."""
    levels = {problem.code: problem.severity for problem in problems}
    codes = sorted(levels)
    driver = {
        "name": "weave-engine",
        "version": __version__,
        "rules": [_sarif_rule(code, levels[code]) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(problem, codes, mark) for problem, mark in _marked(problems)],
    }
    report = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return wire.dumps(report).decode()


def _sarif_rule(code: str, level: str) -> dict[str, Any]:
    text = {"text": CODES.get(code, code)}
    return {
        "id": code,
        "shortDescription": text,
        "fullDescription": text,
        "help": {
            "text": f"{text['text']} The policy reference, policies/README.md, has an example of {code}."
        },
        "defaultConfiguration": {"level": level},
    }


def _marked(problems: Iterable[Problem]) -> Iterator[tuple[Problem, str]]:
    """Each with a mark that stays when lines move: what it says, and which of those that say so it is."""
    before: Counter[str] = Counter()
    for problem in problems:
        said = hashlib.sha256(f"{problem.file}|{problem.code}|{problem.message}".encode("utf-8", "replace"))
        mark = said.hexdigest()[:16]
        before[mark] += 1
        yield problem, f"{mark}:{before[mark]}"


def _sarif_result(problem: Problem, codes: Sequence[str], mark: str) -> dict[str, Any]:
    region = {
        "startLine": problem.line,
        "startColumn": problem.column,
        "endLine": problem.line,
        "endColumn": problem.column + 1,
    }
    place = {"artifactLocation": {"uri": _uri(problem.file)}, "region": region}
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.severity,
        "message": {"text": _text(problem)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"weaveProblem/v1": mark},
    }


def _uri(file: str) -> str:
    path = _unicode(_from_here(file)).replace("\\", "/")
    return f"file://{quote(path)}" if path.startswith("/") else quote(path)


def as_junit(problems: Iterable[Problem], files: Mapping[str, str]) -> str:
    """A file is a case, and fails with its errors; warnings are its output."""
    by_file: dict[str, list[Problem]] = {name: [] for name in files}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    return junit("weave-engine validate", [_file_case(name, found) for name, found in by_file.items()])


def _file_case(name: str, found: Sequence[Problem]) -> Case:
    errors = [problem for problem in found if problem.severity == "error"]
    warnings = [str(problem) for problem in found if problem.severity != "error"]
    failure = "\n".join(str(problem) for problem in errors)
    return Case("policies", name, failure, errors[0].code if errors else "", "\n".join(warnings))


def junit(title: str, cases: Sequence[Case]) -> str:
    """JUnit's XML as CI servers agree on it: suites, cases, failures."""
    root = Element("testsuites", _counts(title, cases))
    for name in dict.fromkeys(case.suite for case in cases):
        within = [case for case in cases if case.suite == name]
        suite = SubElement(root, "testsuite", _counts(name, within))
        for case in within:
            _add_case(suite, case)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=False)


def _add_case(suite: Element, case: Case) -> None:
    element = SubElement(suite, "testcase", {"classname": _xml(case.suite), "name": _xml(case.name)})
    if case.failure:
        first = case.failure.partition("\n")[0]
        failure = SubElement(element, "failure", {"type": case.kind, "message": _xml(first)})
        failure.text = _xml(case.failure)
    if case.output:
        SubElement(element, "system-out").text = _xml(case.output)


def _counts(name: str, cases: Sequence[Case]) -> dict[str, str]:
    failed = Counter(bool(case.failure) for case in cases)[True]
    return {"name": _xml(name), "tests": str(len(cases)), "failures": str(failed), "errors": "0"}


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _text(problem: Problem) -> str:
    return _unicode(f"{problem.message}; {problem.hint}" if problem.hint else problem.message)
