"""Large sets come back from a process of their own, the same in everything."""

import subprocess
import sys

import pytest

from engine.core.errors import InvalidDocumentsError
from engine.documents import shipped_text
from engine.server import building
from engine.server.building import LARGE_CHARACTERS, build_aside
from engine.snapshot import build

CATALOG = {"catalog.yaml": shipped_text("policies/catalog.yaml")}
HEAD = "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\ndefault: {use: frontier}\n"
VARIABLES = 'variables:\n  - {name: task, expr: "has(hints.task) ? hints.task : features.phase"}\n'
RULE = """\
  - name: rule-{n}
    when: features.turn == {n} && variables.task != 'probe'
    then: {{use: small}}
    reason: "'turn ' + string(features.turn)"
"""


def files(rules: int, **texts: str) -> dict[str, str]:
    ladder = "".join(RULE.format(n=n) for n in range(rules))
    return {**CATALOG, "p.yaml": f"{HEAD}{VARIABLES}rules:\n{ladder}", **texts}


LARGE = files(400)
INPUTS = {"features": {"turn": 399, "phase": "chat"}, "hints": {}, "identity": {}}


@pytest.fixture
def here_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building in this process fails, so that what comes was built elsewhere."""

    def refuse(*_: object) -> None:
        raise AssertionError("built in this process")

    monkeypatch.setattr(building, "build", refuse)


@pytest.mark.usefixtures("here_only")
def test_a_large_set_is_built_by_another_process_and_decides_the_same() -> None:
    assert sum(map(len, LARGE.values())) > LARGE_CHARACTERS
    there, here = build_aside(LARGE), build(LARGE)
    assert there.fingerprint == here.fingerprint
    assert there.catalog == here.catalog
    assert there.policy.judge(INPUTS) == here.policy.judge(INPUTS)
    assert there.policy.judge(INPUTS).reason == "turn 399"


@pytest.mark.usefixtures("here_only")
def test_what_is_wrong_with_a_large_set_comes_back_too() -> None:
    with pytest.raises(InvalidDocumentsError) as refused:
        build_aside({**LARGE, "q.yaml": "kind: Polizy\n"})
    assert [problem.code for problem in refused.value.problems] == ["WV115"]


def test_a_set_as_most_are_is_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert build_aside(files(3)).policy.name == "p"


def test_where_no_process_can_start_the_set_is_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nothing/here")
    assert build_aside(LARGE).policy.name == "p"


def test_a_process_that_dies_is_an_error_and_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_CHILD", "import os; os._exit(3)")
    with pytest.raises(subprocess.SubprocessError):
        build_aside(LARGE)


def test_the_process_sees_none_of_our_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    told = "import os, pickle, sys; sys.stdout.buffer.write(pickle.dumps((None, tuple(os.environ))))"
    monkeypatch.setattr(building, "_CHILD", told)
    _, answered = building._ask_process({}, "")
    names = {str(each) for each in answered}
    assert "PYTHONPATH" in names
    assert "ANTHROPIC_API_KEY" not in names
