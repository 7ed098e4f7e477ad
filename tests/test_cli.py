import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import main

ROOT = Path(__file__).parent.parent


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
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


def test_a_disk_that_refuses_is_a_sentence_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(_from: str, to: Path) -> None:
        raise PermissionError(13, "Permission denied", str(to))

    file = tmp_path / "a.yaml"
    file.write_text("kind:   Policy\n")
    monkeypatch.setattr(os, "replace", refuse)
    assert main(["fmt", str(file)]) == 1
    assert capsys.readouterr().err == f"weave-engine: {file}: Permission denied\n"
    assert file.read_text() == "kind:   Policy\n"
    assert os.listdir(tmp_path) == ["a.yaml"]


def test_who_reads_only_the_beginning_gets_no_complaint() -> None:
    command = f"{sys.executable} -m engine.cli features | head -1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    assert (ran.stdout, ran.stderr) == ("features\n", "")


def test_the_command_is_installed_under_its_name() -> None:
    command = Path(sys.executable).parent / "weave-engine"
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    ran = subprocess.run(
        [command, "--version"], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    assert ran.stdout.startswith("weave-engine ")
