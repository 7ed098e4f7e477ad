import pytest
from starlette.types import Scope

from engine.server.asking import not_taken, protocol_of


def scope(path: str, *headers: bytes) -> Scope:
    return {"type": "http", "path": path, "method": "PUT", "headers": [(name, b"1") for name in headers]}


@pytest.mark.parametrize(
    ("path", "header", "speaks"),
    [
        ("/v1/messages", b"", "anthropic-messages"),
        ("/nowhere", b"anthropic-version", "anthropic-messages"),
        ("/v1/models", b"x-goog-api-key", "gemini"),
        ("/v1beta/models", b"", "gemini"),
        ("/v1/chat/completions", b"", "openai-chat"),
        ("/nowhere", b"", "openai-chat"),
    ],
)
def test_a_path_or_a_vendor_s_header_tells_whose_words_an_error_is_in(
    path: str, header: bytes, speaks: str
) -> None:
    assert protocol_of(scope(path, header)).name == speaks


def test_a_method_that_is_not_taken_is_named() -> None:
    assert not_taken(scope("/ready")).message == "/ready does not take PUT"
