"""Commands that start test runners and commands that do not; outputs are rows in `tests/cases/features/`."""

import pytest

from engine.features.actions import Action
from engine.features.evidence import as_test_run
from engine.features.evidence import test_verdict as verdict_of


@pytest.mark.parametrize(
    "command",
    [
        "pytest",
        "cd /r && python -m pytest -q 2>&1 | tail -5",
        "FOO=1 uv run --with x pytest -q",
        "./node_modules/.bin/jest --ci",
        "pnpm test",
        "npm run test:unit",
        "go test ./...",
        "cargo +nightly test --all",
        "timeout 100 .venv/bin/python -m pytest tests",
        "make -j4 check",
        "python manage.py test app",
        "coverage run -m unittest discover",
        "docker compose exec web pytest -x",
        "if pytest; then echo ok; fi",
        r"cd a\npytest",
    ],
)
def test_a_command_that_starts_a_runner_is_a_test_run(command: str) -> None:
    assert as_test_run(Action("shell", command=command)).kind == "test"


@pytest.mark.parametrize(
    "command",
    [
        "",
        "grep -rn pytest .",
        "cat tests/pytest.ini",
        "echo test",
        "npm install pytest",
        "poetry add pytest",
        "pip install tox",
        r"git commit -m \"run pytest\"",
        r"python3 -c \"import pytest\"",
        "pytest-watch",
    ],
)
def test_a_command_that_only_names_a_runner_is_none(command: str) -> None:
    assert as_test_run(Action("shell", command=command)).kind == "shell"


def test_only_shells_run_tests() -> None:
    output = "==== 1 failed in 0.1s ===="
    assert verdict_of(Action("shell", command="./ci"), output, is_error=False) == "failed"
    assert verdict_of(Action("read", command="cat log"), output, is_error=False) == ""


def test_a_run_marked_as_an_error_failed_whatever_it_printed() -> None:
    action = Action("test", command="pytest")
    assert verdict_of(action, "3 passed in 0.1s", is_error=True) == "failed"
    assert verdict_of(action, "", is_error=True) == "failed"
    assert verdict_of(action, "Exit code 0", is_error=False) == "passed"


def test_the_verdict_stands_at_the_end_of_a_long_output() -> None:
    noise = "INFO 1 failed attempt, will retry\n" * 1_000
    assert (
        verdict_of(Action("test", command="pytest"), f"{noise}{'.' * 5_000}\n4 passed in 1s", is_error=False)
        == "passed"
    )
