import pytest

from engine.simulator.transcript import BrokenOff, whole

SSE = "text/event-stream; charset=utf-8"


def test_a_whole_reply_is_its_own_json() -> None:
    assert whole("application/json", b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("application/json", b'{"a": '),
        ("application/json", b"[]"),
        (SSE, b'data: {"type": "message_start", "message": {}}\n\n'),
        (SSE, b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'),
        (SSE, b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'),
        (SSE, b"data: {\n\n"),
    ],
)
def test_a_reply_that_is_not_complete_is_broken_off(kind: str, data: bytes) -> None:
    with pytest.raises(BrokenOff):
        whole(kind, data)
