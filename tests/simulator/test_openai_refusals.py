import pytest

from engine.simulator.openai_refusals import empty, missing, too_long, wrong_type
from engine.simulator.wire import Refused


@pytest.mark.parametrize(
    ("refused", "code", "words"),
    [
        (missing("messages"), "missing_required_parameter", "Missing required parameter: 'messages'."),
        (empty("tools"), "empty_array", "Invalid 'tools': empty array."),
        (
            too_long("id", "x" * 50, 40),
            "string_above_max_length",
            "maximum length 40, but got a string with length 50",
        ),
        (wrong_type("n", "an integer", "1"), "invalid_type", "expected an integer, but got a string instead"),
        (wrong_type("n", "an integer", None), "invalid_type", "but got null instead"),
        (wrong_type("n", "an integer", 1.5), "invalid_type", "but got a decimal instead"),
    ],
)
def test_a_fault_is_named_by_parameter_and_code(refused: Refused, code: str, words: str) -> None:
    assert (refused.status, refused.kind, refused.code) == (400, "invalid_request_error", code)
    assert words in refused.message
    assert refused.param is not None
    assert f"'{refused.param}'" in refused.message
