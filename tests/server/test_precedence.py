from dataclasses import replace
from typing import Any

import pytest

from engine.core.decision import Decision, Lesson, Outcome, StepRun
from engine.server.precedence import LATE_SECONDS, root, settle, subject_of

DECISION = Decision(
    "d1", 100.0, "p", "f", ("m",), "r", "rule", "", "auto", "openai-chat", session="s", task=3
)
GOOD = Outcome("good", 200.0, tests_passed=1, subject="s/3", work_at=100.0, worth=1.0)
BAD = replace(GOOD, id="bad", tests_passed=0, tests_failed=1, worth=-1.0)
READ = replace(BAD, id="read", source="evidence")
SESSION = replace(BAD, id="session", subject="s", session="mine")


def lessons(outcome: Outcome) -> list[Lesson]:
    return [Lesson(outcome.id, outcome.at, "picker", "x", (StepRun("m"),), 1.0)]


@pytest.mark.parametrize(
    ("fields", "whole", "subject"),
    [
        ({}, False, "s/3"),
        ({}, True, "s"),
        ({"session": ""}, False, "d1"),
        ({"task": 0}, False, "d1"),
        ({"source": "forced"}, False, "d1"),
        ({"source": "forced"}, True, "s"),
    ],
)
def test_an_outcome_is_about_a_task_a_session_or_a_decision_alone(
    fields: dict[str, Any], whole: bool, subject: str
) -> None:
    assert subject_of([replace(DECISION, **fields)], whole) == subject
    assert root(subject) in ("s", "d1")


@pytest.mark.parametrize(
    ("outcome", "earlier", "fate", "outranked", "taught", "remark"),
    [
        # of what was said, the latest counts, and a contradiction is named
        (GOOD, [], "new", [], True, ""),
        (GOOD, [BAD], "new", ["bad"], True, "contradicts bad"),
        (replace(GOOD, rating=1.0), [replace(GOOD, id="first")], "new", ["first"], True, ""),
        (GOOD, [replace(BAD, subject="s/2")], "new", [], True, ""),
        (SESSION, [GOOD], "new", [], True, ""),
        # what was said outranks what was read, whichever came first
        (GOOD, [READ], "new", ["read"], True, ""),
        (READ, [GOOD], "new", [], False, "outranked by good"),
        (SESSION, [READ, replace(READ, id="other", subject="s/4")], "new", ["read", "other"], True, ""),
        (READ, [SESSION], "new", [], False, "outranked by session"),
        (replace(READ, subject="s/9", work_at=300.0, at=400.0), [SESSION], "new", [], True, ""),
        (replace(READ, id="later"), [READ], "new", ["read"], True, ""),
        # what counts for nothing outranks nothing
        (replace(GOOD, worth=None, at=201.0), [BAD], "new", [], True, "contradiction aside"),
        (READ, [replace(GOOD, at=100.0 + LATE_SECONDS + 1)], "new", [], True, ""),
        (replace(GOOD, at=100.0 + 8 * 86_400), [BAD], "new", [], False, "late: 8.0 days after the work"),
        # words without an id of their own are a repeat while they stand and nothing has been done since
        (replace(GOOD, id=""), [GOOD], "repeated", [], False, ""),
        (replace(GOOD, id=""), [GOOD, BAD], "new", ["good", "bad"], True, "contradicts bad"),
        (replace(GOOD, id="", work_at=150.0), [GOOD], "new", ["good"], True, ""),
    ],
)
def test_what_becomes_of_an_outcome(
    outcome: Outcome, earlier: list[Outcome], fate: str, outranked: list[str], taught: bool, remark: str
) -> None:
    if remark == "contradiction aside":
        settled = settle(outcome, [], None, earlier)
        assert settled.outranked == ()
        assert settled.outcome.remarks == ("no rule of the policy gives it a worth",)
        return
    settled = settle(outcome, lessons(outcome), None, earlier)
    assert (settled.fate, list(settled.outranked), bool(settled.lessons)) == (fate, outranked, taught)
    assert ", ".join(settled.outcome.remarks) == remark


def test_an_id_that_is_known_is_a_repeat_or_a_conflict() -> None:
    assert settle(replace(GOOD, at=999.0), lessons(GOOD), GOOD, [GOOD]).fate == "repeated"
    assert settle(replace(BAD, id="good"), lessons(BAD), GOOD, [GOOD]).fate == "conflict"


def test_what_comes_without_an_id_is_named_and_its_lessons_with_it() -> None:
    nameless = replace(GOOD, id="")
    first = settle(nameless, lessons(nameless), None, [])
    again = settle(nameless, lessons(nameless), None, [])
    after = settle(nameless, lessons(nameless), None, [GOOD, BAD])
    assert first.outcome.id.startswith("o")
    assert first.outcome.id == again.outcome.id != after.outcome.id
    assert [lesson.outcome for lesson in first.lessons] == [first.outcome.id]
