import pytest

from engine.core.errors import RequestError
from engine.server.engine import Ids, parse


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = Ids()
    made = [ids.new(1000.0 + number) for number in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert len({ids.new(5.0) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "no body"),
        (b"{", "not valid JSON"),
        (b"nope", "not valid JSON"),
        (b"[]", "a list"),
        (b'"text"', "a str"),
        (b"\xff", "not valid JSON"),
        (b"[" * 5000, "not valid JSON"),
    ],
)
def test_a_body_that_is_no_object_is_told_what_it_is(raw: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        parse(raw)


def test_a_body_that_is_an_object_is_read() -> None:
    assert parse(b'{"a": [1]}') == {"a": [1]}
