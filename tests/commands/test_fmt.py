import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.commands.fmt import formatted
from engine.documents import read
from engine.documents.reading import load_trusted

Weave = Callable[..., Any]

CASES = load_trusted((Path(__file__).parents[1] / "cases" / "commands" / "layout.yaml").read_text())


def data_of(text: str) -> str:
    document, problems = read(text, "x.yaml")
    assert document is not None, problems
    return repr(document.data)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_text_is_laid_out(case: dict[str, str]) -> None:
    before, after = case["before"].replace("→", "\t"), case.get("after", case["before"])
    assert formatted(before, "x.yaml") == after
    assert formatted(after, "x.yaml") == after, "what is laid out stays as it is"
    assert data_of(before) == data_of(after)


def test_other_systems_line_breaks_and_marks_are_taken_away() -> None:
    assert formatted("\ufeffa: 1\r\nb: |\r\n  x\r\n  y\rc: 2\r", "x.yaml") == "a: 1\nb: |\n  x\n  y\nc: 2\n"


@pytest.mark.parametrize("text", ["a:\n\t- b\n", "a: [1, 2\n", "a: 1\na: 2\n", "", "a: *b\n"])
def test_what_cannot_be_read_is_not_touched(text: str) -> None:
    problems = formatted(text, "x.yaml")
    assert isinstance(problems, tuple)
    assert problems


@pytest.mark.parametrize("seed", range(100))
def test_spaces_strewn_anywhere_never_change_what_a_policy_means(seed: int) -> None:
    """Whatever reads as YAML after that is laid out without a change of data or of visible characters."""
    dice = random.Random(seed)
    name = dice.choice(["default.yaml", "catalog.yaml"])
    text = (Path(__file__).parents[2] / "policies" / name).read_text()
    for _ in range(dice.randint(1, 30)):
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice([" ", "  ", "\t", "\n", "\n\n", " # note\n", "\r\n"]) + text[at:]
    document, problems = read(text.replace("\r\n", "\n"), "x.yaml")
    result = formatted(text, "x.yaml")
    if document is None or problems:
        assert isinstance(result, tuple)
        return
    assert isinstance(result, str)
    assert data_of(result) == repr(document.data)
    assert "".join(result.split()) == "".join(text.split())
    assert formatted(result, "x.yaml") == result


def test_the_shipped_policies_are_laid_out(weave: Weave) -> None:
    ran = weave("fmt", "--check", Path(__file__).parents[2] / "policies")
    assert (ran.code, ran.out) == (0, "2 files, nothing to do\n")


# -- the command

UGLY = "kind:   Policy  \nmetadata:  { name:  x }\n\n\n"
NEAT = "kind: Policy\nmetadata: {name: x}\n"


def test_files_are_rewritten_and_named(weave: Weave, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(UGLY)
    file.chmod(0o640)
    ran = weave("fmt", tmp_path)
    assert (ran.code, ran.out) == (0, f"{file} is formatted anew\n")
    assert file.read_text() == NEAT
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.yaml"], "nothing else is left behind"
    assert weave("fmt", file).out == "nothing to do\n"


def test_a_check_writes_nothing_and_fails(weave: Weave, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(UGLY)
    ran = weave("fmt", "--check", tmp_path)
    assert (ran.code, ran.out) == (3, f"{file} would be formatted anew\n")
    assert file.read_text() == UGLY


def test_a_link_stays_a_link(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text(UGLY)
    (tmp_path / "a.yaml").symlink_to("real.txt")
    assert weave("fmt", tmp_path).code == 0
    assert (tmp_path / "a.yaml").is_symlink()
    assert (tmp_path / "real.txt").read_text() == NEAT


def test_one_file_that_cannot_be_read_leaves_all_as_they_are(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(UGLY)
    (tmp_path / "b.yaml").write_text("a:\n\t- b\n")
    ran = weave("fmt", tmp_path)
    assert ran.code == 3
    assert "b.yaml:2:1  WV101 error  YAML allows no tabs here; indent with spaces" in ran.err
    assert (tmp_path / "a.yaml").read_text() == UGLY


@pytest.mark.parametrize(("name", "content"), [("gone.yaml", None), ("latin.yaml", b"a: \xe4\n")])
def test_what_is_no_text_is_a_problem(weave: Weave, tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = weave("fmt", tmp_path / name)
    assert ran.code == 3
    assert f"{name}:1:1  WV101 error  the file cannot be read" in ran.err


def test_editors_are_told_the_schema_where_it_can_be_found(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "policy.v1.schema.json").write_text("{}")
    file = tmp_path / "teams" / "core" / "a.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(UGLY)
    weave("fmt", file)
    assert file.read_text() == f"# yaml-language-server: $schema=../../schemas/policy.v1.schema.json\n{NEAT}"
    file.write_text("# yaml-language-server: $schema=https://example.com/own.json\n" + NEAT)
    assert weave("fmt", file).out == "nothing to do\n", "one that is there already is kept"
