import json
from pathlib import Path

import pytest

from engine.cli import main

POLICIES = str(Path(__file__).parent.parent.parent / "policies")


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    path = tmp_path / "request.json"
    asked = [{"role": "user", "content": "Fix it."}]
    path.write_text(json.dumps({"model": "claude-opus-4-5", "max_tokens": 10, "messages": asked}))
    return str(path)


def test_a_request_is_explained_as_a_tree(request_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", request_file, "--policies", POLICIES, "--journal", "none.db"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("opus  by default default")
    assert "confidential-stays-local" in out


def test_a_request_is_explained_as_json_with_every_rule(
    request_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "x-weave-private=1"
    arguments = ["explain", request_file, "--policies", POLICIES, "--journal", "none.db", "--json"]
    assert main([*arguments, "--header", header]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["source"]) == ("local", "guard")
    assert told["trace"][0]["result"] == "matched"


def test_what_is_neither_a_file_nor_a_decision_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nothing", "--journal", "none.db"]) != 0
    assert "'nothing' is no file" in capsys.readouterr().err
