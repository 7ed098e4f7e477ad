"""How a task stands, as its edits and runs and the user's words tell; conversations are rows of cases."""

from engine.core.evidence import Run
from engine.features.runs import Reading
from engine.features.tasks import TaskLog

FAILED = Run("test", "pytest", True, 2, 1)
PASSED = Run("test", "pytest", False, 3)


def swap(path: str, old: int, new: int) -> tuple[int, int]:
    return hash((path, old, new)), hash((path, new, old))


def begun() -> TaskLog:
    log = TaskLog()
    log.words("mend it", steering=False)
    return log


def edited(*runs: Run) -> TaskLog:
    log = begun()
    log.current.edited("a.py", None, prose=False)
    for run in runs:
        log.current.ran(Reading((run,)))
    return log


def verdict(log: TaskLog) -> tuple[str, str]:
    present = log.present(loop_open=True)
    return present.verdict, present.grounds


def test_a_failure_before_the_first_edit_is_no_evidence() -> None:
    log = begun()
    log.current.ran(Reading((FAILED,)))
    assert verdict(log) == ("", "")
    assert log.present(loop_open=True).failed_runs == 0


def test_the_last_run_since_the_last_edit_decides() -> None:
    assert verdict(edited(FAILED)) == ("rejected", "tests")
    assert verdict(edited(FAILED, PASSED)) == ("accepted", "tests")
    log = edited(FAILED)
    log.current.edited("a.py", None, prose=False)
    present = log.present(loop_open=True)
    assert (present.verdict, present.moving, present.tests_failed, present.failed_runs) == ("", True, 0, 1)


def test_a_part_that_passes_takes_no_failure_of_the_whole_back() -> None:
    whole = Run("test", "pytest", True, 40, 1)
    part = Run("test", "pytest", False, 3)
    assert verdict(edited(whole, part)) == ("rejected", "tests")
    assert verdict(edited(whole, Run("test", "pytest", False, 41))) == ("accepted", "tests")
    assert verdict(edited(Run("test", "pytest", True), part)) == ("accepted", "tests")


def test_tests_outrank_builds_and_builds_outrank_lints() -> None:
    build, lint = Run("build", "tsc", True), Run("lint", "eslint", True)
    assert verdict(edited(PASSED, build, lint)) == ("accepted", "tests")
    assert verdict(edited(build, Run("lint", "eslint", False))) == ("rejected", "builds")
    assert verdict(edited(lint)) == ("rejected", "lints")
    present = edited(PASSED, build, lint).present(loop_open=False)
    assert (present.builds_failed, present.lints_failed, present.tests_passed) == (1, 1, 3)


def test_the_user_outranks_every_run() -> None:
    log = edited(PASSED)
    log.words("no, it still fails", steering=False)
    former = log.former()
    assert former is not None
    assert (former.verdict, former.grounds, former.corrected, former.ended) == (
        "rejected",
        "user",
        True,
        True,
    )
    assert log.present(loop_open=False).number == 2


def test_a_correction_in_the_middle_of_the_work_holds_until_the_next_edit() -> None:
    log = edited(PASSED)
    log.words("no, that's wrong", steering=True)
    assert verdict(log) == ("rejected", "user")
    log.current.edited("a.py", None, prose=False)
    log.current.ran(Reading((PASSED,)))
    assert verdict(log) == ("accepted", "tests")
    assert log.present(loop_open=True).corrected


def test_a_nod_goes_on_with_the_same_task() -> None:
    log = edited(FAILED)
    log.words("continue", steering=False)
    assert log.present(loop_open=True).number == 1
    assert log.former() is None


def test_a_task_that_was_stopped_for_another_was_abandoned() -> None:
    log = edited()
    log.current.interrupt()
    log.words("write the docs", steering=False)
    former = log.former()
    assert former is not None
    assert (former.interrupted, former.abandoned) == (True, True)


def test_a_task_that_goes_on_after_an_interruption_was_not_abandoned() -> None:
    log = edited()
    log.current.interrupt()
    log.words("go on", steering=False)
    log.words("write the docs", steering=False)
    former = log.former()
    assert former is not None
    assert (former.interrupted, former.abandoned) == (True, False)


def test_setbacks_are_counted_until_something_gets_better() -> None:
    log = edited(FAILED, FAILED)
    log.current.edited("a.py", None, prose=False)
    log.current.ran(Reading((FAILED,)))
    assert log.present(loop_open=True).setbacks == 3
    log.current.repeats()
    log.current.errs()
    assert log.present(loop_open=True).setbacks == 5
    log.current.ran(Reading((PASSED,)))
    assert log.present(loop_open=True).setbacks == 0


def test_fewer_failures_are_no_setback() -> None:
    assert (
        edited(Run("test", "pytest", True, 0, 5), Run("test", "pytest", True, 3, 2)).present(True).setbacks
        == 0
    )


def test_an_edit_that_takes_an_earlier_one_back_undoes_it() -> None:
    log = begun()
    log.current.edited("a.py", swap("a", 1, 2), prose=False)
    log.current.edited("b.py", swap("b", 2, 1), prose=False)
    assert log.present(loop_open=True).undone_edits == 0
    log.current.edited("a.py", swap("a", 2, 1), prose=False)
    assert log.present(loop_open=True).undone_edits == 1


def test_edits_that_were_thrown_away_are_undone() -> None:
    log = edited(PASSED)
    log.current.edited("/r/b.py", None, prose=False)
    log.current.undo(["b.py"])
    present = log.present(loop_open=True)
    assert (present.undone_edits, present.verdict) == (1, "")
    log.current.undo([])
    assert log.present(loop_open=True).undone_edits == 2


def test_an_edit_that_failed_changed_nothing() -> None:
    log = edited(PASSED)
    log.current.edited("a.py", None, prose=False)
    log.current.edit_failed("a.py")
    present = log.present(loop_open=True)
    assert (present.edits, present.verdict) == (1, "accepted")


def test_what_is_run_while_edits_are_put_aside_says_nothing_of_them() -> None:
    log = edited(PASSED)
    log.current.put_aside(away=True)
    log.current.ran(Reading((FAILED,)))
    assert verdict(log) == ("accepted", "tests")
    log.current.put_aside(away=False)
    log.current.ran(Reading((FAILED,)))
    assert verdict(log) == ("rejected", "tests")
