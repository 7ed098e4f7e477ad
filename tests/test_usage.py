import argparse

import pytest

from engine.cli import COMMANDS
from engine.usage import command_line


def known() -> list[str]:
    """The commands that the help lists."""
    for action in command_line()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices)
    return []


def test_every_command_that_can_be_given_can_be_run() -> None:
    assert known() == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        command_line().parse_args([command, "--help"])
    assert exited.value.code == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["serve", "--port", "http"], "'http' is no port; it takes a number from 0 to 65535"),
        (["serve", "--port", "70000"], "'70000' is no port"),
        (["simulate", "drafts", "--limit", "0"], "'0' is no count; it takes a whole number from 1"),
        (
            ["simulate", "drafts", "--verifier-error", "1.5"],
            "'1.5' is no chance; it takes a number from 0 to 1",
        ),
        (["outcome", "--tests-failed", "-1"], "'-1' is no count"),
        (["outcome", "link", "--expires", "soon"], "'soon' is no time; it takes a number with s, m, h or d"),
    ],
)
def test_a_value_that_makes_no_sense_is_told_with_what_would(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        command_line().parse_args(words)
    assert exited.value.code == 2
    assert complaint in capsys.readouterr().err
