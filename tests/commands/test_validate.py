import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from engine.commands.validate import COVERAGE_CODES, FAILED_CODES, changes, exit_code
from engine.core.errors import Problem
from engine.policy.codes import CODES

Weave = Callable[..., Any]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# -- exit codes


def test_the_shipped_policies_are_valid(weave: Weave) -> None:
    assert weave("validate", Path(__file__).parents[2] / "policies").code == 0


def test_policies_that_hold_are_valid(weave: Weave, policies: Path) -> None:
    ran = weave("validate", policies)
    assert ran.code == 0
    assert ran.out.strip() == f"{policies}/catalog.yaml, {policies}/house.yaml: valid"
    assert ran.err == ""


def test_a_mistake_makes_the_set_invalid(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "features.phase ==", "features.phse ==")
    ran = weave("validate", policies)
    assert ran.code == 3
    assert (
        f"{policies}/house.yaml:11:11  WV201 error  features has no field 'phse'; did you mean 'phase'?"
        in ran.out
    )
    assert "\n    " + "    when: features.phse == 'title'\n    " + " " * 10 + "^\n" in ran.out
    assert "1 error, 0 warnings" in ran.out


def test_a_case_that_fails_is_told_apart_from_a_policy_that_cannot_serve(
    weave: Weave, policies: Path
) -> None:
    edit(
        policies / "house.yaml",
        "expect: {rule: chores, model: little}",
        "expect: {rule: chores, model: large}",
    )
    ran = weave("validate", policies)
    assert ran.code == 4
    assert "a title is a chore: expected model 'large', got 'little'" in ran.out


def test_cases_that_cover_too_little_have_an_exit_code_of_their_own(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "  cases:\n", "  coverage: {rules: 100}\n  cases:\n")
    edit(policies / "house.yaml", "    - {name: private stays", "    # - {name: private stays")
    ran = weave("validate", policies)
    assert ran.code == 5
    assert "never fired: private" in ran.out


def test_a_case_that_cannot_be_run_makes_the_set_invalid(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "expect: {rule: chores, model: little}", "expect: {rule: chore}")
    assert weave("validate", policies).code == 3


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        (["WV502"], 5),
        (["WV501", "WV502"], 4),
        (["WV501", "WV201"], 3),
        (["WV503"], 3),
        (["WV504", "WV502"], 3),
    ],
)
def test_the_worst_problem_gives_the_exit_code(codes: list[str], expected: int) -> None:
    assert exit_code([Problem("a.yaml", 1, 1, code, "x") for code in codes]) == expected


def test_warnings_do_not_fail() -> None:
    assert exit_code([Problem("a.yaml", 1, 1, "WV201", "x", severity="warning")]) == 0


def test_the_codes_that_decide_the_exit_code_are_known() -> None:
    assert CODES.keys() >= COVERAGE_CODES | FAILED_CODES
    assert CODES["WV501"] == "A case does not come out as expected."
    assert "fewer rules" in CODES["WV502"]


@pytest.mark.parametrize("arguments", [["--format", "xml"], ["--nonsense"]])
def test_a_wrong_call_is_a_usage_error(weave: Weave, arguments: list[str]) -> None:
    ran = weave("validate", *arguments)
    assert ran.code == 2
    assert "usage: weave-engine" in ran.err


# -- what is read


def test_a_folder_that_is_not_there_is_a_problem_with_a_hint(weave: Weave, tmp_path: Path) -> None:
    ran = weave("validate", tmp_path / "nowhere")
    assert ran.code == 3
    assert "the file cannot be read: No such file or directory" in ran.out


def test_without_a_path_the_settings_say_where(
    weave: Weave, policies: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert weave("validate").code == 0  # ./policies
    monkeypatch.setenv("WEAVE_POLICIES", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    ran = weave("validate")
    assert ran.code == 3
    assert "no policy files here" in ran.out


def test_every_path_that_cannot_be_read_is_told(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    ran = weave("validate", tmp_path / "binary.yaml", tmp_path / "gone.yaml")
    assert ran.code == 3
    assert "binary.yaml:1:1  WV101" in ran.out
    assert "gone.yaml:1:1  WV101" in ran.out


def test_files_and_folders_load_together(weave: Weave, policies: Path, tmp_path: Path) -> None:
    (policies / "house.yaml").rename(tmp_path / "elsewhere.yaml")
    assert weave("validate", policies).code == 3
    assert weave("validate", policies, tmp_path / "elsewhere.yaml").code == 0


def test_a_file_named_in_two_ways_is_one_file(weave: Weave, policies: Path) -> None:
    (policies / "again").symlink_to(policies / "house.yaml")
    ran = weave("validate", "policies", policies, policies / "again", "policies/../policies/house.yaml")
    assert ran.code == 0
    assert ran.out == "policies/catalog.yaml, policies/house.yaml: valid\n"


HEAD = b"apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\ndefault: {use: frontier}\n"


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "1:1  WV101 error  the file cannot be read: it is not UTF-8 (byte 0)"),
        (
            HEAD.decode().encode("utf-16"),
            "1:1  WV101 error  the file cannot be read: it is not UTF-8 (byte 0)",
        ),
        (b"\x00" * 500, "1:1  WV101 error  a character that YAML does not allow"),
        (HEAD + b"# \x00", "5:3  WV101 error  a character that YAML does not allow"),
        (b"", "1:1  WV105 error  the file is empty"),
        (b"# nothing yet\n", "1:1  WV105 error  the file is empty"),
        (b"hello", "1:1  WV112 error  the file must be a mapping"),
        (HEAD + b"---\n" + HEAD, "5:1  WV105 error  the file holds a second document"),
        (HEAD + b"on: true\n", "5:1  WV103 error  many YAML readers take the key 'on' for a boolean"),
        (HEAD + b"pinning: {ttl: 1:30}\n", "5:16  WV114 error  'ttl' is not a length of time"),
        (
            HEAD + b"failover: {attempts: " + b"9" * 5000 + b"}\n",
            "5:22  WV107 error  this number does not fit",
        ),
        (HEAD + b"rules: !!python/object/apply:os.system [id]\n", "5:8  WV106 error  YAML reads"),
        (
            HEAD.replace(b"\n", b"\r\n") + b"rlues: []\r\n",
            "5:1  WV110 error  the document has no key 'rlues'",
        ),
        (HEAD.replace(b"\n", b"\r") + b"rlues: []\r", "5:1  WV110 error  the document has no key 'rlues'"),
        (HEAD + b'"\\e[31m": 1\n', "5:1  WV110 error  the document has no key '\\x1b[31m'"),
        (HEAD + b"x" * 900_000 + b": 1\n", "5:900001  WV101 error  a ':' is missing after this key"),
        (b"a: &a [" + b"x," * 99 + b"]\n" + b"b: [*a, *a]\n" * 90_000, "1:1  WV104 error  the file has"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else "",
)
def test_whatever_lies_in_a_file_is_refused_in_a_sentence(
    weave: Weave, policies: Path, contents: bytes, said: str
) -> None:
    (policies / "house.yaml").write_bytes(contents)
    ran = weave("validate", policies)
    assert ran.code == 3
    assert f"house.yaml:{said}" in ran.out
    assert len(ran.out) < 2000
    assert ran.err == ""


@pytest.mark.parametrize(
    "text", [b"\xef\xbb\xbf" + HEAD, HEAD.replace(b"\n", b"\r\n"), b"---\n" + HEAD + b"...\n"]
)
def test_what_editors_put_around_a_text_does_no_harm(weave: Weave, policies: Path, text: bytes) -> None:
    (policies / "house.yaml").write_bytes(text)
    assert weave("validate", policies).code == 0


def test_which_policy_serves_can_be_said(weave: Weave, policies: Path) -> None:
    second = (policies / "house.yaml").read_text().replace("name: house", "name: other")
    (policies / "other.yaml").write_text(second)
    assert weave("validate", policies).code == 3
    assert weave("validate", policies, "--policy", "other").code == 0
    ran = weave("validate", policies, "--policy", "othr")
    assert ran.code == 3
    assert "did you mean 'other'?" in ran.out


# -- formats


def test_json_holds_every_field(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "features.phase ==", "features.phse ==")
    ran = weave("validate", policies, "--format", "json")
    assert ran.code == 3
    assert json.loads(ran.out)[0] == {
        "file": f"{policies}/house.yaml",
        "line": 11,
        "column": 11,
        "code": "WV201",
        "severity": "error",
        "message": "features has no field 'phse'",
        "hint": "did you mean 'phase'?",
    }


@pytest.mark.parametrize(("form", "nothing"), [("json", "[]\n"), ("github", "")])
def test_nothing_wrong_is_nothing_to_read(weave: Weave, policies: Path, form: str, nothing: str) -> None:
    assert weave("validate", policies, "--format", form).out == nothing


def test_github_is_given_annotations(weave: Weave, policies: Path) -> None:
    edit(policies / "house.yaml", "features.phase ==", "features.phse ==")
    first = weave("validate", policies, "--format", "github").out.splitlines()[0]
    assert re.fullmatch(
        r"::error file=.*/house\.yaml,line=11,col=11,title=WV201::features has no field 'phse'; did you mean.*",
        first,
    )


@pytest.mark.parametrize("form", ["pretty", "json", "github", "sarif", "junit"])
def test_a_name_that_is_no_text_breaks_no_format(weave: Weave, policies: Path, form: str) -> None:
    (policies / os.fsdecode(b"\xff.yaml")).write_text("hello")
    ran = weave("validate", policies, "--format", form)
    assert ran.code == 3
    assert "the file must be a mapping" in ran.out


@pytest.mark.parametrize("form", ["pretty", "json", "github", "sarif", "junit"])
def test_every_format_tells_the_same_exit_code(weave: Weave, policies: Path, form: str) -> None:
    assert weave("validate", policies, "--format", form).code == 0
    edit(policies / "house.yaml", "features.phase ==", "features.phse ==")
    assert weave("validate", policies, "--format", form).code == 3


# -- watching


def test_a_change_is_told_once_it_has_settled(policies: Path) -> None:
    looks = 0

    def sleep(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            (policies / "house.yaml").write_text("kind: Policy\n")
        if looks == 3:
            (policies / "house.yaml").write_text("kind: Policy\nmetadata: {name: half}\n")

    seen = [looks for _ in islice(changes([policies], sleep), 2)]
    assert seen[0] == 0  # at once
    assert seen[1] == 4  # not at 2 or 3, when it was still being written


def test_a_file_that_goes_and_comes_back_is_a_change(policies: Path) -> None:
    file = policies / "house.yaml"
    looks = 0

    def sleep(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            file.unlink()
        if looks == 5:
            file.write_text("kind: Policy\n")

    assert [looks for _ in islice(changes([file], sleep), 3)] == [0, 2, 6]


def test_watching_validates_again_when_a_file_changes_and_ends_with_an_interrupt(policies: Path) -> None:
    command = [sys.executable, "-m", "engine.cli", "validate", str(policies), "--watch"]
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        assert watching.stdout is not None
        until(watching.stdout.readline, "valid")
        edit(policies / "house.yaml", "features.phase ==", "features.phse ==")
        until(watching.stdout.readline, "did you mean 'phase'?")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
        assert watching.stderr is not None
        assert watching.stderr.read() == ""
    finally:
        watching.kill()
        watching.communicate()


def until(readline: Callable[[], str], words: str) -> None:
    deadline = time.monotonic() + 30
    while words not in (line := readline()):
        assert line, f"ended without {words!r}"
        assert time.monotonic() < deadline
