from engine.core.conversation import Loss
from engine.core.decision import Lesson, Outcome, Result, StepRun
from engine.core.errors import Fault
from engine.core.reply import Usage
from engine.server.rows import LESSONS, OUTCOMES, RESULTS, Table, event_of, row_of


def again(table: Table, event: object) -> object:
    return event_of(table.of, table.columns, row_of(event))


def test_what_becomes_a_row_comes_back_as_it_was() -> None:
    steps = (StepRun("a", 0.5, 0.25, accepted=False), StepRun("b", 0.5, score=0.75))
    lesson = Lesson("o", 1.0, "picker", "x/y", steps, None, 0.5, "ann", 0.1, {"n": 1.5}, (3, 4), 0.25)
    outcome = Outcome("o", 2.0, session="s", rating=-0.5, labels={"ci": "main"}, remarks=("late",))
    result = Result(
        "d", 3.0, 200, "m", "e", 1, None, Usage(1, 2), 0.5, 1.0, None, dropped=(Loss("top_k", ""),)
    )
    assert again(LESSONS, lesson) == lesson
    assert again(OUTCOMES, outcome) == outcome
    assert again(RESULTS, result) == result


def test_a_field_that_an_older_row_lacks_has_its_default() -> None:
    row = [
        None if name in ("remarks", "subject", "work_at") else cell
        for name, cell in zip(OUTCOMES.columns, row_of(Outcome("o", 1.0, tests_passed=1)), strict=True)
    ]
    assert event_of(Outcome, OUTCOMES.columns, tuple(row)) == Outcome("o", 1.0, tests_passed=1)


def test_what_a_newer_engine_wrote_beside_is_passed_over() -> None:
    cells = dict(zip(LESSONS.columns, row_of(Lesson("o", 1.0, "p", "", (), 1.0)), strict=True))
    cells["steps"] = '[{"model":"a","mood":"good"}]'
    read = event_of(Lesson, LESSONS.columns, tuple(cells.values()))
    assert read.steps == (StepRun("a"),)


def test_a_providers_words_are_not_kept_and_the_engines_own_are() -> None:
    fault = Fault("overloaded", "your prompt said …", 529, "provider", detail="secret")
    result = Result("d", 3.0, 529, "", "", 1, None, Usage(), 0.0, 1.0, None, fault=fault)
    assert "prompt" not in repr(row_of(result))
    own = Fault("server_error", "no key", origin="engine", detail="secret")
    kept = again(RESULTS, Result("d", 3.0, 500, "", "", 1, None, Usage(), 0.0, 1.0, None, fault=own))
    assert isinstance(kept, Result)
    assert kept.fault == Fault("server_error", "no key", origin="engine")
