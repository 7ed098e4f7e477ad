"""Every example is loaded, tested and does what its README says; so do the files for CI."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.commands.fmt import formatted
from engine.commands.testing import run_all
from engine.documents.reading import load_trusted
from engine.server.reload import read_policies
from engine.snapshot import check

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
POLICIES = sorted(path for path in EXAMPLES.iterdir() if (path / "policy.yaml").exists())
CI = EXAMPLES / "ci"

WANTED = {
    "first-rule",
    "private-code-stays-local",
    "frontier-only-for-planning",
    "subagents-to-a-local-model",
    "learned-fallback",
    "budgets",
    "canary",
}

# The warnings an example is there to show; its README names them.
WARNED: dict[str, list[str]] = {}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """READMEs write paths as seen from the root; what the engine keeps goes elsewhere."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WEAVE_JOURNAL", str(tmp_path / "weave.db"))
    monkeypatch.setenv("NO_COLOR", "1")


def test_the_examples_are_there_and_listed() -> None:
    assert {path.name for path in POLICIES} >= WANTED
    listed = (EXAMPLES / "README.md").read_text()
    for folder in (*POLICIES, CI):
        assert f"[{folder.name}]({folder.name}/)" in listed


@pytest.mark.parametrize("folder", POLICIES, ids=lambda path: path.name)
def test_an_example_holds_and_its_tests_reach_all_of_it(folder: Path) -> None:
    files = read_policies(folder)
    snapshot, problems = check(files)
    assert snapshot is not None
    warned = [problem.code for problem in problems]
    assert warned == WARNED.get(folder.name, []), "an example has no warnings but those it shows"
    assert all(code in (folder / "README.md").read_text() for code in warned)
    assert snapshot.policy.name in (folder.name, "default")
    for run in run_all(files, snapshot):
        assert run.cases
        assert all(case.passed for case in run.cases)
        assert (run.rules_percent, run.conditions_percent) == (100.0, 100.0)


@pytest.mark.parametrize("folder", POLICIES, ids=lambda path: path.name)
def test_an_example_is_laid_out_and_tells_editors_its_schema(folder: Path) -> None:
    for name, text in read_policies(folder).items():
        assert formatted(text, name) == text
        line = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
        assert line is not None
        assert (folder / line[1]).resolve().is_relative_to(ROOT / "schemas")
        assert (folder / line[1]).exists()


def commands(readme: Path) -> Iterator[list[str]]:
    """What a README's shell blocks call, without their comments."""
    for block in re.findall(r"```sh\n(.*?)```", readme.read_text(), re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


README_COMMANDS = [
    pytest.param(words, id=f"{readme.parent.name}: {' '.join(words[1:3])}")
    for readme in sorted(EXAMPLES.rglob("README.md"))
    for words in commands(readme)
]


@pytest.mark.parametrize("words", README_COMMANDS)
def test_what_a_readme_says_to_run_runs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert words[0] == "weave-engine"
    assert main(words[1:]) == 0, capsys.readouterr()


@pytest.mark.parametrize("folder", POLICIES, ids=lambda path: path.name)
def test_an_example_has_commands_to_try(folder: Path) -> None:
    tried = list(commands(folder / "README.md"))
    assert ["weave-engine", "test", f"examples/{folder.name}"] in [words[:3] for words in tried]


# -- CI


def calls(node: Any) -> Iterator[list[str]]:
    """Every call of the engine in a configuration."""
    if isinstance(node, dict):
        for value in node.values():
            yield from calls(value)
    elif isinstance(node, list):
        for value in node:
            yield from calls(value)
    elif isinstance(node, str) and node.startswith("weave-engine "):
        words = shlex.split(node)[1:]
        if len(words) > 1:  # not the name of a hook
            yield words


CALLS = {
    name: list(calls(load_trusted((CI / name).read_text())))
    for name in ("weave-policies.yml", "pre-commit-config.yaml")
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's repository with policies in it."""
    shutil.copytree(ROOT / "policies", tmp_path / "repository" / "policies")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


def test_ci_validates() -> None:
    assert all(any(words[0] == "validate" for words in called) for called in CALLS.values())


@pytest.mark.parametrize("name", CALLS)
def test_what_ci_calls_passes_on_policies_that_hold(
    name: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [main(words) for words in CALLS[name]] == [0] * len(CALLS[name]), capsys.readouterr()


@pytest.mark.parametrize("name", CALLS)
def test_what_ci_calls_fails_on_policies_that_do_not(
    name: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = repository / "policies" / "default.yaml"
    policy.write_text(policy.read_text().replace("features.subagent &&", "features.sub_agent &&"))
    codes = {words[0]: main(words) for words in CALLS[name]}
    assert codes["validate"] == 3
    assert "did you mean 'subagent'?" in capsys.readouterr().out


def test_the_workflow_is_one() -> None:
    workflow = load_trusted((CI / "weave-policies.yml").read_text())
    triggers = workflow.get("on", workflow.get(True))  # YAML 1.1 takes `on` for a truth value
    assert set(triggers) == {"pull_request", "push"}
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        assert all("uses" in step or "run" in step for step in job["steps"])


def test_the_hooks_run_when_a_policy_changes() -> None:
    hooks = load_trusted((CI / "pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        assert re.match(hook["files"], "policies/default.yaml")
        assert not re.match(hook["files"], "src/policies.py")
        assert hook["pass_filenames"] is False, "the files of a set are only right together"
