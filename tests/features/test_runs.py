"""Commands that start tools and commands that do not; what outputs say is in `tests/cases/evidence/`."""

import pytest

from engine.core.evidence import Run
from engine.features.actions import command_action
from engine.features.runs import runs_in, shows_others, starts_of


def verdict(command: str, output: str, *, is_error: bool = False) -> str:
    action = command_action(command)
    runs = () if action.quotes else runs_in(action.starts, output, is_error)
    return "".join("failed" if run.failed else "passed" for run in runs)


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
        "cd a\npytest",
        "bash -lc 'cd /r && pytest -q'",
        "cat > a.py <<'EOF'\nx = 1\nEOF\npython3.12 -m pytest",
        "sed -i s/a/b/ a.py && npx vitest run",
        "./gradlew :app:test --info",
        "mvn -q -Dtest=ATest test",
        "php vendor/bin/phpunit",
        "bundle exec rspec spec/a_spec.rb",
        "./scripts/run_tests.sh",
        "npx --yes playwright test",
        "node --test",
        "(cd web; yarn test)",
    ],
)
def test_a_command_that_starts_tests_is_a_test_run(command: str) -> None:
    assert command_action(command).kind == "test"


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("ruff check . && mypy . && pytest", ["lint", "build", "test"]),
        ("npx tsc --noEmit", ["build"]),
        ("npm run build", ["build"]),
        ("npm run lint", ["lint"]),
        ("cargo clippy -- -D warnings; cargo build --release", ["lint", "build"]),
        ("prettier --check src", ["lint"]),
        ("make", ["build"]),
        ("python -m mypy engine", ["build"]),
        ("gcc -o a a.c", ["build"]),
    ],
)
def test_builds_and_lints_are_runs_of_their_kind(command: str, kinds: list[str]) -> None:
    starts = starts_of(command)
    assert starts is not None
    assert [run.kind for run in runs_in(starts, "Exit code 0", is_error=False)] in (kinds, [])
    assert starts.tests == ("test" in kinds)
    assert len(starts.tools) == len(kinds)


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
        'git commit -m "run pytest"',
        'git commit -m "mend\n\npytest passes"',
        'python3 -c "import pytest"',
        "pytest-watch",
        "cat > notes.txt <<'EOF'\npytest\nEOF",
        "pytest --version",
        "npx jest --listTests",
        "which pytest",
        "vim tests/test_a.py",
        "# pytest",
        "prettier --write .",
        "npm run lint:fix",
        "make clean",
    ],
)
def test_a_command_that_only_names_a_tool_starts_none(command: str) -> None:
    assert starts_of(command) is None


def test_only_shells_run_tests() -> None:
    output = "==== 1 failed in 0.1s ===="
    assert verdict("./ci", output) == "failed"
    assert command_action("cat log").kind == "read"
    assert shows_others("gh run view 7 --log")
    assert verdict("gh run view 7 --log", output) == ""


def test_a_run_marked_as_an_error_failed_whatever_it_printed() -> None:
    assert verdict("pytest", "3 passed in 0.1s", is_error=True) == "failed"
    assert verdict("pytest", "", is_error=True) == "failed"
    assert verdict("pytest", "Exit code 0") == "passed"


@pytest.mark.parametrize("command", ["pytest | tail -5", "pytest || true", "pytest; rm -f x", "pytest &"])
def test_an_exit_code_that_is_not_the_tools_own_says_nothing(command: str) -> None:
    assert verdict(command, "Exit code 0") == ""
    assert verdict(command, "", is_error=True) == ""


def test_an_exit_code_that_the_command_prints_itself_is_read() -> None:
    assert verdict("pytest -q > /dev/null 2>&1; echo $?", "1") == "failed"
    assert verdict("pytest -q > /dev/null 2>&1; echo EXIT: $?", "EXIT: 0") == "passed"


def test_the_verdict_stands_at_the_end_of_a_long_output() -> None:
    noise = "INFO 1 failed attempt, will retry\n" * 1_000
    assert verdict("pytest", f"{noise}{'.' * 5_000}\n4 passed in 1s") == "passed"


def test_the_reminders_of_a_client_do_not_hide_the_end() -> None:
    reminder = f"<system-reminder>{'be brief ' * 1_000}</system-reminder>"
    assert verdict("pytest", f"4 passed in 1s\n\n{reminder}") == "passed"


def test_a_chain_that_goes_on_has_passed_what_it_left_behind() -> None:
    runs = runs_in(starts_of("tsc --noEmit && pytest -q"), "1 failed, 2 passed in 0.1s", is_error=True)
    assert runs == (Run("build", "tsc", False), Run("test", "pytest", True, 2, 1))


def test_a_chain_that_ends_silently_failed_at_its_first_tool() -> None:
    assert runs_in(starts_of("tsc --noEmit && pytest -q"), "", is_error=True) == (Run("build", "tsc", True),)
