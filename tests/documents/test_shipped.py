from pathlib import Path

import pytest

from engine.documents import shipped as room
from engine.documents import shipped_names, shipped_text, shipped_yaml


def test_a_checkout_reads_from_the_root_of_the_repository() -> None:
    assert 'name = "weave-engine"' in shipped_text("pyproject.toml")


def test_a_wheel_reads_what_it_carries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_shipped" / "greetings").mkdir(parents=True)
    (tmp_path / "_shipped" / "greetings" / "hello.yaml").write_text("hello: [wörld]", encoding="utf-8")
    monkeypatch.setattr(room, "_PACKAGE", tmp_path)
    assert shipped_names("greetings") == ("greetings/hello.yaml",)
    assert shipped_yaml("greetings/hello.yaml") == {"hello": ["wörld"]}


def test_a_file_that_is_not_shipped_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        shipped_text("schemas/no-such-file.json")
