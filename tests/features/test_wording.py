"""What users say of the work; `tests/cases/wording/` holds labelled messages."""

from pathlib import Path
from time import perf_counter

import pytest
import yaml

from engine.features.wording import (
    Wording,
    command_in_text,
    edits_in_text,
    interrupted_result,
    interruption,
    report,
    wording,
)

CORRECTS = Wording(corrects=True)
APPROVES = Wording(approves=True)
CONTINUES = Wording(continues=True)
ABANDONS = Wording(abandons=True)
NOTHING = Wording()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no, that's wrong", CORRECTS),
        ("still fails with the same error", CORRECTS),
        ("Revert that please", CORRECTS),
        ("thanks, works!", APPROVES),
        ("Great, now add a test", APPROVES),
        ("thanks, but it still crashes", CORRECTS),
        ("continue", CONTINUES),
        ("yes", CONTINUES),
        ("never mind, I'll do it myself", ABANDONS),
        ("Add a test for the parser", NOTHING),
        ("No problem, add the other one too", NOTHING),
        ("Fix the failing tests in parser.py", NOTHING),
        ("", NOTHING),
    ],
)
def test_words_judge_the_work_before_them(words: str, said: Wording) -> None:
    assert wording(words) == said


def test_clients_say_that_the_user_stopped_the_agent() -> None:
    assert interruption("[Request interrupted by user for tool use]")
    assert interruption("<turn_aborted>\nThe user interrupted the previous turn on purpose.")
    assert not interruption("Why was the [Request interrupted by user]?")
    assert interrupted_result("aborted")
    assert not interrupted_result("aborted: no such file\n" * 10)


def test_a_client_without_tools_reports_what_a_command_printed() -> None:
    told = report("I ran this command:\n\npytest -q\n\nAnd got this output:\n\n1 failed in 0.1s\n")
    assert told is not None
    assert told.command == "pytest -q"
    assert report("I ran pytest and it failed") is None


def test_a_model_without_tools_writes_edits_and_commands() -> None:
    assert edits_in_text("a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE")
    assert not edits_in_text("a < b")
    assert command_in_text("First:\n```bash\nls\n```\nthen\n```bash\npytest -q\n```") == "pytest -q"
    assert command_in_text("nothing to run") == ""


MESSAGES = Path(__file__).parent.parent / "cases" / "wording" / "messages.yaml"


def said(words: str) -> str:
    wanted = wording(words)
    names = [name for name in ("corrects", "approves", "continues", "abandons") if getattr(wanted, name)]
    return names[0] if names else "none"


def test_corrections_are_told_from_other_messages_with_precision_and_recall() -> None:
    labelled = yaml.safe_load(MESSAGES.read_text(encoding="utf-8"))
    pairs = [(label, said(words), words) for label, messages in labelled.items() for words in messages]
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    found = [pair for pair in pairs if pair[1] == "corrects"]
    right = [pair for pair in found if pair[0] == "corrects"]
    precision, recall = len(right) / len(found), len(right) / len(labelled["corrects"])
    print(f"\ncorrections in {len(pairs)} messages: precision {precision:.3f}, recall {recall:.3f}")
    assert precision >= 0.97, wrong
    assert recall >= 0.97, wrong
    assert len(wrong) <= 0.03 * len(pairs), wrong


@pytest.mark.parametrize(
    "words", ["no " * 200, "it " * 200, "still get " * 50, " " * 400, "ok " * 150, "," * 400]
)
def test_hostile_words_take_little_time(words: str) -> None:
    started = perf_counter()
    wording(words)
    assert perf_counter() - started < 0.05
