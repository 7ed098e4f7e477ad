import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import main

ROOT = Path(__file__).parent.parent
COMMANDS = ["serve", "demo", "validate", "test", "explain", "simulate", "features", "fmt"]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main([command, "--help"])
    assert exited.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_a_command_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["serv"])
    assert exited.value.code == 2
    assert "invalid choice: 'serv'" in capsys.readouterr().err


def test_a_setting_that_makes_no_sense_is_a_sentence_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEAVE_PORT", "http")
    assert main(["validate"]) == 2
    assert (
        capsys.readouterr().err
        == "weave-engine: WEAVE_PORT is 'http'; it takes a whole number, such as 8484\n"
    )


def test_the_command_is_installed_under_its_name() -> None:
    command = Path(sys.executable).parent / "weave-engine"
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    ran = subprocess.run(
        [command, "--version"], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    assert ran.stdout.startswith("weave-engine ")
