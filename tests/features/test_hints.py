from typing import Any

import pytest

from engine.core.errors import RequestError
from engine.features import hints


def test_hints_are_typed_and_absent_where_not_sent() -> None:
    assert hints({"user-agent": "x"}) == {}
    assert hints({"x-weave-task": " Debug ", "x-weave-max-cost": "0.05", "x-weave-session": "s-1"}) == {
        "task": "debug",
        "max_cost": 0.05,
        "session": "s-1",
    }
    sent = {
        "x-weave-phase": "plan",
        "x-weave-agent": "Explore",
        "x-weave-latency": "fast",
        "x-weave-model": "opus",
    }
    assert hints(sent) == {"phase": "plan", "agent": "Explore", "latency": "fast", "model": "opus"}


@pytest.mark.parametrize("value", ["true", "1", "yes", "", "maybe", "nope"])
def test_any_private_value_but_a_clear_no_counts_as_private(value: str) -> None:
    assert hints({"x-weave-private": value}) == {"private": True}


@pytest.mark.parametrize("value", ["false", "False", "0", "no", " off "])
def test_a_clear_no_to_private_is_like_silence(value: str) -> None:
    assert hints({"x-weave-private": value}) == {}


@pytest.mark.parametrize(
    ("header", "value", "says"),
    [
        ("x-weave-task", "cooking", "one of context, plan"),
        ("x-weave-phase", "architecture", "one of context, plan"),
        ("x-weave-latency", "now", "fast, normal, slow"),
        ("x-weave-max-cost", "-1", "US dollars"),
        ("x-weave-max-cost", "nan", "US dollars"),
        ("x-weave-max-cost", "inf", "US dollars"),
        ("x-weave-max-cost", "cheap", "US dollars"),
        ("x-weave-session", "", "1 to 200"),
        ("x-weave-session", "x" * 201, "1 to 200"),
        ("x-weave-model", "a\nb", "printable"),
    ],
)
def test_a_hint_that_makes_no_sense_is_refused_with_its_header_value_and_range(
    header: str, value: str, says: str
) -> None:
    with pytest.raises(RequestError) as refused:
        hints({header: value})
    message = refused.value.fault.message
    assert header in message
    assert says in message
    assert repr(value)[1:20].rstrip("'") in message


def test_a_refused_hint_is_a_bad_request() -> None:
    with pytest.raises(RequestError) as refused:
        hints({"x-weave-task": "cooking"})
    fault: Any = refused.value.fault
    assert (fault.http_status, fault.origin) == (400, "client")
