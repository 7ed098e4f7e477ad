"""A folder with a small set of policies, and the command line called the way a shell calls it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.cli import main

CATALOG = """\
apiVersion: weave/v1
kind: Catalog
metadata: {name: small}
endpoints:
  home: {protocol: openai-chat, base_url: "http://127.0.0.1:9/v1"}
models:
  large:
    tier: frontier
    context: 200000
    output: 8000
    can: [tools, vision]
    usd: {in: 10, out: 50}
    served_by: [{endpoint: home, id: large-1}]
  middle:
    tier: mid
    context: 100000
    output: 8000
    can: [tools]
    usd: {in: 2, out: 10}
    served_by: [{endpoint: home, id: middle-1}]
  little:
    tier: small
    context: 50000
    output: 8000
    can: [tools]
    usd: {in: 1, out: 5}
    served_by: [{endpoint: home, id: little-1}]
"""

POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: house}
input: input.v1
rules:
  - name: private
    guard: true
    when: has(hints.private)
    then: {use: little, failover: none, learn: never}
  - name: chores
    when: features.phase == 'title'
    then: {use: small}
  - name: working
    when: features.tool_count > 0
    then: {choose: [small, mid], by: picker}
learners:
  picker:
    algorithm: beta
    signature: [features.phase]
    confidence: {threshold: 0.9, against: frontier, margin: 0.05, min_samples: 3}
default: {use: requested}
pinning: {key: [hints.session], ttl: 30m}
failover: {chains: {small: [small, mid]}, attempts: 2, deadline: 30s}
tests:
  given: {features: {phase: chat, requested_model: large}}
  cases:
    - {name: private stays, with: {hints: {private: true}}, expect: {rule: private, model: little}}
    - {name: a title is a chore, with: {features: {phase: title}}, expect: {rule: chores, model: little}}
    - name: work goes to who is proven
      with: {features: {tool_count: 1}}
      learner: {mid: 0.95}
      expect: {model: middle}
    - {name: the rest is left alone, with: {}, expect: {rule: default, model: large}}
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Weave = Callable[..., Ran]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests, a terminal without colours, and nothing written here."""
    for name in [name for name in os.environ if name.startswith("WEAVE_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "catalog.yaml").write_text(CATALOG)
    (folder / "house.yaml").write_text(POLICY)
    return folder


@pytest.fixture
def weave(capsys: pytest.CaptureFixture[str]) -> Weave:
    """Runs a command in this process: `weave("validate", folder)`."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exited:
            code = exited.code if isinstance(exited.code, int) else 1
        written = capsys.readouterr()
        return Ran(code, written.out, written.err)

    return run
