"""Which task of a session a request works on, and which one it ended."""

from engine.core.evidence import TaskEvidence, Tasks
from engine.routing.tasks import MOST_CONVERSATIONS, Finished, TaskBook


def at(number: int, former: TaskEvidence | None = None, passed: int = 0) -> Tasks:
    return Tasks(TaskEvidence(number, tests_passed=passed), former)


def done(number: int, passed: int = 0, corrected: bool = False) -> TaskEvidence:
    return TaskEvidence(number, tests_passed=passed, corrected=corrected, ended=True)


def test_the_turns_of_one_task_share_its_number() -> None:
    book = TaskBook()
    assert [book.enter("s", "c", at(1), float(now)) for now in range(3)] == [(1, None)] * 3


def test_a_new_task_ends_the_one_before_with_what_the_user_says_of_it() -> None:
    book = TaskBook()
    book.enter("s", "c", at(1, passed=3), 0.0)
    judged = done(1, passed=3, corrected=True)
    assert book.enter("s", "c", at(2, judged), 1.0) == (2, Finished("s", 1, judged))


def test_a_task_its_next_one_does_not_tell_of_ended_as_it_was_last_seen() -> None:
    book = TaskBook()
    book.enter("s", "c", at(2, done(1)), 0.0)
    book.enter("s", "c", at(2, done(1), passed=3), 1.0)
    assert book.enter("s", "c", at(4, done(3)), 2.0) == (4, Finished("s", 2, TaskEvidence(2, tests_passed=3)))


def test_sessions_do_not_end_each_other_s_tasks() -> None:
    book = TaskBook()
    book.enter("s", "c", at(1), 0.0)
    assert book.enter("t", "c", at(1), 1.0) == (1, None)


def test_a_history_that_was_shortened_or_rewound_begins_a_task_with_a_number_of_its_own() -> None:
    book = TaskBook()
    book.enter("s", "c", at(3), 0.0)
    assert book.enter("s", "summary", at(1), 1.0) == (4, None)
    number, finished = book.enter("s", "c", at(1), 2.0)
    assert number == 5
    assert finished is not None
    assert finished.number == 3


def test_sub_agents_under_one_name_take_turns_without_ending_each_other_s_tasks() -> None:
    book = TaskBook()
    assert book.enter("s", "main", at(1), 0.0) == (1, None)
    assert book.enter("s", "sub", at(1), 1.0) == (2, None)
    assert book.enter("s", "main", at(1), 2.0) == (1, None)
    assert book.enter("s", "sub", at(1), 3.0) == (2, None)


def test_after_a_restart_the_next_task_still_ends_the_one_before() -> None:
    assert TaskBook().enter("s", "c", at(5, done(4)), 0.0) == (5, Finished("s", 4, done(4)))


def test_a_silent_session_s_task_ends_once() -> None:
    book = TaskBook()
    book.enter("s", "c", at(1, passed=3), 0.0)
    book.enter("t", "c", at(1), 50.0)
    assert book.idle(before=40.0) == [Finished("s", 1, TaskEvidence(1, tests_passed=3))]
    assert book.idle(before=40.0) == []
    assert len(book) == 1


def test_memory_is_bounded() -> None:
    book = TaskBook(most=10)
    for number in range(100):
        book.enter(f"s{number}", "c", at(1), float(number))
    assert len(book) == 10
    for number in range(100):
        book.enter("s", f"c{number}", at(1), 100.0)
    assert len(book.idle(before=200.0)) == 9 + MOST_CONVERSATIONS
