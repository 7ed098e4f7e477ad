"""How outputs are read; what they say is in `tests/cases/evidence/`."""

from time import perf_counter

import pytest

from engine.core.evidence import Run
from engine.documents import shipped_yaml
from engine.features.actions import command_action
from engine.features.recognisers import RUNS
from engine.features.runs import runs_in
from engine.features.starts import shows_others, starts_of


def verdict(command: str, output: str, *, is_error: bool = False) -> str:
    action = command_action(command)
    runs = () if action.quotes else runs_in(action.starts, output, is_error)
    return "".join("failed" if run.failed else "passed" for run in runs)


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


HOSTILE = {
    "digits": "1" * 5_000,
    "equals signs": "=" * 5_000 + " 1 failed in ",
    "spaces": " " * 5_000 + "Tests",
    "words of all kinds": "Tests: FAIL Found error: passed failed " * 200,
    "one long line": "x" * 4_000 + " failed",
    "colours": "\x1b[3" * 2_000,
    "brackets": "[1;1;1;1" * 800,
    "json": '{"output":' + "[" * 5_000,
    "carriage returns": "\r" * 5_000,
    "reminders": "<system-reminder></system-reminder>" * 5_000,
    "exit codes": "Exit code " * 500,
    "problems": "\u2716 1 problem (" * 400,
    "executed": "Executed 1 " * 500,
    "summaries": "Tests run: 1, Failures: 1, Errors: " * 150,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_output_takes_little_time_whoever_is_said_to_have_printed_it(name: str) -> None:
    everyone = [command for command in COMMANDS if starts_of(command) is not None]
    started = perf_counter()
    for command in everyone:
        runs_in(starts_of(command), HOSTILE[name], is_error=False)
    runs_in(None, HOSTILE[name], is_error=False)
    assert perf_counter() - started < 0.05 * len(everyone)


# One for each tool there is.
COMMANDS = [
    f"{program} test build check lint run -c --check -l analyse compile"
    for tool in shipped_yaml(RUNS)["tools"]
    for program in list(tool["starts"])[:1]
]
