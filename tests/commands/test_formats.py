import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from engine.commands.formats import Case, as_github, as_json, as_junit, as_sarif, junit
from engine.core.errors import Problem
from engine.policy.codes import CODES

FIRST = Problem("policies/a b.yaml", 3, 7, "WV201", "no field 'x'", "did you mean 'y'?")
SECOND = Problem("/etc/weave/b.yaml", 9, 1, "WV305", "no request reaches this rule", severity="warning")


def test_json_is_a_list_of_plain_objects() -> None:
    told = json.loads(as_json([FIRST, SECOND]))
    assert [one["code"] for one in told] == ["WV201", "WV305"]
    assert told[1]["hint"] == ""


def test_what_ends_a_line_or_a_property_is_escaped_for_github() -> None:
    nasty = Problem("odd,name: 1.yaml", 1, 2, "WV101", "50 %\r\nof it ::error::")
    assert as_github([nasty]) == (
        "::error file=odd%2Cname%3A 1.yaml,line=1,col=2,title=WV101::50 %25%0D%0Aof it ::error::"
    )


def test_sarif_names_every_code_once_and_points_at_characters() -> None:
    report = json.loads(as_sarif([FIRST, SECOND, FIRST]))
    assert report["version"] == "2.1.0"
    (run,) = report["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["WV201", "WV305"]
    assert rules[0]["shortDescription"]["text"] == CODES["WV201"]
    assert run["columnKind"] == "unicodeCodePoints"
    first, second, _ = run["results"]
    assert (first["level"], second["level"]) == ("error", "warning")
    assert rules[second["ruleIndex"]]["id"] == second["ruleId"] == "WV305"
    assert first["message"]["text"] == "no field 'x'; did you mean 'y'?"
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "policies/a%20b.yaml"
    assert place["region"] == {"startLine": 3, "startColumn": 7, "endLine": 3, "endColumn": 8}
    elsewhere = second["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert elsewhere == "file:///etc/weave/b.yaml"


def text(longest: int) -> dict[str, Any]:
    value = {"type": "string", "minLength": 1, "maxLength": longest}
    return {"type": "object", "required": ["text"], "properties": {"text": value}}


def objects(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


# What GitHub's page on SARIF says code scanning requires, and its limits.
RULE = objects(
    "id shortDescription fullDescription help",
    id={"type": "string", "maxLength": 255},
    shortDescription=text(1024),
    fullDescription=text(1024),
    help=text(10_000),
    defaultConfiguration=objects("level", level={"enum": ["note", "warning", "error"]}),
)
FROM_1 = {"type": "integer", "minimum": 1}
PLACE = objects(
    "artifactLocation region",
    artifactLocation=objects("uri", uri={"pattern": r"^[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+$"}),
    region=objects(
        "startLine startColumn endLine endColumn",
        startLine=FROM_1, startColumn=FROM_1, endLine=FROM_1, endColumn=FROM_1,
    ),
)  # fmt: skip
RESULT = objects(
    "ruleId message locations partialFingerprints",
    level={"enum": ["note", "warning", "error"]},
    message=text(10_000),
    locations={"type": "array", "minItems": 1, "items": objects("physicalLocation", physicalLocation=PLACE)},
    partialFingerprints={"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
)
DRIVER = objects("name rules", rules={"type": "array", "maxItems": 25_000, "items": RULE})
RUN = objects(
    "tool results",
    tool=objects("driver", driver=DRIVER),
    results={"type": "array", "maxItems": 25_000, "items": RESULT},
)
SARIF = objects(
    "$schema version runs", version={"const": "2.1.0"}, runs={"type": "array", "maxItems": 20, "items": RUN}
)


@pytest.mark.parametrize("code", CODES)
def test_sarif_has_all_that_github_requires(code: str) -> None:
    odd = [
        Problem(name, 1, 1, code, "a <b> & \x1b \ud800")
        for name in ("a b%.yaml", "ü.yaml", "\udcff", "C:\\x", "a\nb")
    ]
    Draft202012Validator(SARIF).validate(json.loads(as_sarif([FIRST, *odd, FIRST])))


def test_sarif_marks_a_problem_alike_when_its_line_moves_and_two_that_say_the_same_apart() -> None:
    def marks(*problems: Problem) -> list[str]:
        results = json.loads(as_sarif(problems))["runs"][0]["results"]
        return [result["partialFingerprints"]["weaveProblem/v1"] for result in results]

    first, again = marks(FIRST, replace(FIRST, line=9))
    assert first != again
    assert marks(replace(FIRST, line=40), FIRST) == [first, again]
    assert marks(replace(FIRST, message="other")) != [first]


def test_files_below_the_working_directory_are_named_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = replace(FIRST, file=str(tmp_path / "policies" / "a.yaml"))
    assert as_github([inside]).startswith("::error file=policies/a.yaml,line=3,col=7,")
    assert '"uri":"policies/a.yaml"' in as_sarif([inside])


def test_sarif_without_problems_is_a_run_without_results() -> None:
    assert json.loads(as_sarif([]))["runs"][0]["results"] == []


def test_junit_has_a_case_for_each_file_and_a_failure_where_one_has_errors() -> None:
    root = ElementTree.fromstring(as_junit([FIRST, SECOND], {"policies/a b.yaml": "", "fine.yaml": ""}))
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    cases = {case.get("name"): case for case in root.iter("testcase")}
    failure = cases["policies/a b.yaml"].find("failure")
    assert failure is not None
    assert failure.get("type") == "WV201"
    assert failure.text == str(FIRST)
    assert cases["fine.yaml"].find("failure") is None
    warned = cases["/etc/weave/b.yaml"]
    assert warned.find("failure") is None
    assert warned.findtext("system-out") == str(SECOND)


def test_junit_counts_each_suite_and_all_of_them() -> None:
    root = ElementTree.fromstring(junit("t", [Case("a", "1"), Case("a", "2", "no", "X"), Case("b", "3")]))
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("a", "2", "1"),
        ("b", "1", "0"),
    ]


def test_what_xml_cannot_hold_does_not_break_it() -> None:
    text = junit("t", [Case("s", "<a> & \x00\x1b[31m", "\ud800 ]]> \ufffe", "X")])
    case = next(ElementTree.fromstring(text).iter("testcase"))
    assert case.get("name") == "<a> & \ufffd\ufffd[31m"
