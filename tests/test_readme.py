"""What the README shows is held to be so."""

import re
import shlex
from pathlib import Path

import pytest

from engine.cli import main
from engine.core.errors import InvalidDocumentsError
from engine.snapshot import build

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")
FILES = {"my-policies/catalog.yaml": (HOUSE / "policies" / "catalog.yaml").read_text(encoding="utf-8")}


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_policy_of_the_readme_holds() -> None:
    snapshot = build({**FILES, "my-policies/first.yaml": example()})
    assert snapshot.policy.name == "first"
    assert not snapshot.problems


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the first page needs of a checkout, after its first commands and its file."""
    for name in ("policies", "examples", "schemas"):
        (tmp_path / name).symlink_to(HOUSE / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "my-policies").mkdir()
    for name, text in {**FILES, "my-policies/first.yaml": example()}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def commands() -> list[list[str]]:
    section = README[README.index("## Your first policy") : README.index("## Hints")]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[0] == "weave-engine"]


@pytest.mark.parametrize("words", commands(), ids=lambda words: str(words[0]))
def test_what_the_first_page_says_to_run_runs(words: list[str], clone: Path) -> None:
    assert main(words) == 0


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("features.context_tokens >", "features.contxt_tokens >", 3),
        ("    - {name: what is private stays, with", "    # - {name: what is private stays, with", 5),
        ("rule: chores, model: haiku", "rule: chores, model: opus", 4),
    ],
)
def test_what_the_first_page_breaks_breaks_as_it_says(old: str, new: str, code: int, clone: Path) -> None:
    assert f"ends with {code}" in README or code == 3
    file = clone / "my-policies/first.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert main(["test", "my-policies/"]) == code


def test_the_mistake_the_readme_makes_is_told_as_it_says() -> None:
    broken = example().replace("features.context_tokens > ", "features.contxt_tokens > ")
    with pytest.raises(InvalidDocumentsError) as caught:
        build({**FILES, "my-policies/first.yaml": broken})
    assert all(str(problem) in README for problem in caught.value.problems)
