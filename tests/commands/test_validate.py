import json
from pathlib import Path

import pytest

from engine.cli import main

POLICIES = Path(__file__).parent.parent.parent / "policies"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "catalog.yaml").write_text((POLICIES / "catalog.yaml").read_text())
    text = (POLICIES / "default.yaml").read_text()
    (tmp_path / "default.yaml").write_text(text.replace("features.subagent &&", "features.sub_agent &&"))
    return tmp_path


def test_the_shipped_policies_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(POLICIES)]) == 0
    assert "valid" in capsys.readouterr().out


def test_a_misspelt_feature_is_found_at_its_line_with_a_remedy(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(broken)]) == 3
    out = capsys.readouterr().out
    assert (
        "default.yaml:39:11  WV201 error  features has no field 'sub_agent'; did you mean 'subagent'?" in out
    )


def test_problems_can_be_read_by_programs(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(broken), "--format", "json"]) == 3
    told = json.loads(capsys.readouterr().out)
    problems = told["problems"] if isinstance(told, dict) else told
    assert problems[0]["code"] == "WV201"
    assert problems[0]["line"] == 39


def test_a_folder_without_policies_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(tmp_path)]) == 3
    assert "no policy files here" in capsys.readouterr().out
