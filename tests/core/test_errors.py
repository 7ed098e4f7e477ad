import pytest

from engine.core.conversation import Loss
from engine.core.errors import (
    STATUS,
    Fault,
    InvalidDocumentsError,
    LossError,
    Problem,
    RequestError,
    StreamOrderError,
)


def test_a_fault_has_the_status_of_its_kind_unless_it_has_its_own() -> None:
    assert Fault("overloaded", "busy").http_status == 529
    assert Fault("overloaded", "busy", status=503).http_status == 503
    assert all(400 <= status < 600 for status in STATUS.values())


def test_a_problem_reads_as_one_line_with_its_place_and_hint() -> None:
    problem = Problem(
        "a.yaml", 12, 11, "WV201", "features has no field 'tool_cuont'", "did you mean 'tool_count'?"
    )
    line = "a.yaml:12:11  WV201 error  features has no field 'tool_cuont'; did you mean 'tool_count'?"
    assert str(problem) == line


def test_problems_are_told_together_and_in_order() -> None:
    later, sooner = Problem("b.yaml", 1, 1, "WV1", "x"), Problem("a.yaml", 9, 1, "WV1", "y")
    warning = Problem("a.yaml", 2, 1, "WV3", "z", severity="warning")
    error = InvalidDocumentsError([later, sooner, warning])
    assert error.problems == (warning, sooner, later)
    assert "2 problem(s)" in error.fault.message


def test_an_exception_carries_what_the_client_is_told() -> None:
    with pytest.raises(RequestError) as caught:
        raise RequestError("no such thing", "not_found")
    assert (caught.value.fault.origin, caught.value.fault.http_status) == ("client", 404)
    assert "out of order" in StreamOrderError("twice").fault.message


def test_a_loss_that_is_not_allowed_is_the_clients_to_mend_and_says_what() -> None:
    refused = LossError("no", [Loss("a", "b")])
    assert (refused.fault.origin, refused.fault.http_status, refused.losses) == (
        "client",
        400,
        (Loss("a", "b"),),
    )
