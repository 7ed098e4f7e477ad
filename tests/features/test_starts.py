"""Commands that start tools that judge the work, and commands that do not."""

from time import perf_counter

import pytest

from engine.features.actions import command_action
from engine.features.recognisers import recognisers
from engine.features.runs import runs_in
from engine.features.starts import shows_others, starts_of


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


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("pytest", True),
        ("cd a && pytest", True),
        ("pytest && echo done", True),
        ("pytest | tail", False),
        ("set -o pipefail; pytest | tail", True),
        ("pytest || true", False),
        ("pytest; ls", False),
        ("pytest &", False),
        ("pytest\nls", False),
    ],
)
def test_an_exit_code_is_the_tools_own_where_nothing_hides_it(command: str, own: bool) -> None:
    starts = starts_of(command)
    assert starts is not None
    assert starts.own == own


def test_a_chain_and_a_question_for_the_code_are_noticed() -> None:
    chain, both = starts_of("ruff check . && pytest"), starts_of("ruff check .; pytest; echo $?")
    assert chain is not None
    assert both is not None
    assert (chain.chained, chain.asked, both.chained, both.asked) == (True, False, False, True)


def test_each_tool_is_started_by_its_program() -> None:
    """In the order of the file; a program may start several, told apart by the words after it."""
    known = recognisers()
    for starts in known.programs.values():
        assert [tool for _, tool in starts] == sorted(tool for _, tool in starts)


@pytest.mark.parametrize(
    ("command", "quotes"),
    [
        ("gh run view 7 --log", True),
        ("FOO=1 curl -s https://ci", True),
        ("python -c 'print(1)'", True),
        ("python script.py", False),
        ("./ci.sh", False),
    ],
)
def test_what_others_wrote_is_a_quotation(command: str, quotes: bool) -> None:
    assert shows_others(command) == quotes


@pytest.mark.parametrize(
    "command",
    [
        "npx " * 2_000 + "pytest",
        "A=" * 2_000 + " pytest",
        "bash -c '" * 500 + "pytest",
        "pytest " + "-" * 4_000,
    ],
)
def test_a_hostile_command_takes_little_time(command: str) -> None:
    started = perf_counter()
    starts_of(command)
    assert perf_counter() - started < 0.1
