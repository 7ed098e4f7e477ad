"""How far the estimate is from what providers charged, and what it must not do."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.core.conversation import (
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Text,
    Tool,
    ToolResult,
    Tuning,
)
from engine.features import estimate_tokens
from engine.features.tokens import text_tokens

Recordings = Callable[[str], Any]

PROSE = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep for a while. " * 20
CODE = "def add(first: int, second: int) -> int:\n    return self.total[first] + second * (2 ** 8)\n" * 20
JSON = '{"id": 12345, "name": "widget", "tags": ["a", "b"], "price": 9.99, "in_stock": true}\n' * 20
CHINESE = "敏捷的棕色狐狸跳过了懒狗然后回家睡觉" * 20
RUSSIAN = "Быстрая коричневая лиса прыгает через ленивую собаку и идёт домой спать. " * 20


def _request(*parts: Part) -> Request:
    return Request("openai-chat", "m", (), (Message("user", parts),), (), Tuning(), False, b"", {})


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [(PROSE, 3.8, 5.2), (CODE, 2.4, 3.9), (JSON, 2.0, 3.2), (CHINESE, 0.8, 1.5), (RUSSIAN, 1.8, 3.2)],
)
def test_characters_for_each_token_follow_the_kind_of_text(text: str, low: float, high: float) -> None:
    assert low < len(text) / text_tokens(text) < high


def test_a_long_text_is_weighed_like_its_parts() -> None:
    assert text_tokens(PROSE * 500) == pytest.approx(500 * text_tokens(PROSE), rel=0.1)
    assert estimate_tokens(_request(Text(CODE * 50))) == pytest.approx(50 * text_tokens(CODE), rel=0.1)
    pieces = _request(*[Text(PROSE[:300])] * 200)
    assert estimate_tokens(pieces) == pytest.approx(200 * text_tokens(PROSE[:300]), rel=0.1)


def test_an_image_costs_the_same_however_long_its_base64() -> None:
    # W56
    small = estimate_tokens(_request(Image("image/png", "A" * 100)))
    assert small == estimate_tokens(_request(Image("image/png", "A" * 1_000_000)))
    assert 1_500 < small < 1_700
    inside = _request(ToolResult("1", (Image("image/png", "A" * 100_000),)))
    assert estimate_tokens(inside) == small


def test_a_document_costs_by_its_size() -> None:
    page = estimate_tokens(_request(Document("application/pdf", "A" * 100_000)))
    book = estimate_tokens(_request(Document("application/pdf", "A" * 1_000_000)))
    assert 1_000 < page < 5_000
    assert book == pytest.approx(10 * page, rel=0.1)
    assert estimate_tokens(_request(Document("text/plain", text=PROSE))) > 300


def _ordinary(request: Request) -> bool:
    """Whether all of the request can be seen: no hosted tools, uploads, images or documents."""
    if any(tool.kind not in ("function", "custom") for tool in request.tools):
        return False
    parts = [part for message in request.messages for part in message.parts]
    parts += [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
    return not any(isinstance(part, Image | Document | Opaque) for part in (*parts, *request.system))


@pytest.mark.parametrize(
    ("file", "host", "least", "median", "p90"),
    [
        ("dev_anthropic_messages", "api.anthropic.com", 60, 0.18, 0.40),
        ("dev_openai_chat", "api.openai.com", 60, 0.25, 0.55),
    ],
)
def test_the_estimate_is_near_what_providers_charged(
    recordings: Recordings, file: str, host: str, least: int, median: float, p90: float
) -> None:
    """Over requests of at least 60 tokens: below that a handful of tokens is half of everything."""
    errors = sorted(
        abs(estimate_tokens(recording.request) - recording.prompt_tokens) / recording.prompt_tokens
        for recording in recordings(file)
        if recording.host == host and recording.prompt_tokens >= 60 and _ordinary(recording.request)
    )
    assert len(errors) >= least
    middle, late = errors[len(errors) // 2], errors[len(errors) * 9 // 10]
    print(f"{file}: {len(errors)} requests, relative error median {middle:.1%}, p90 {late:.1%}")
    assert middle < median
    assert late < p90


def _schema(parameters: int) -> dict[str, Any]:
    parameter = {"type": "string", "description": "what this parameter is for, in a sentence"}
    return {"type": "object", "properties": {f"parameter_{at}": parameter for at in range(parameters)}}


def test_a_schema_weighs_the_same_whether_seen_before_or_not() -> None:
    def offered() -> int:
        tools = (Tool("edit", "edits", _schema(7)), Tool("read", "reads", _schema(3)))
        return estimate_tokens(Request("openai-chat", "m", (), (), tools, Tuning(), False, b"", {}))

    assert offered() == offered()


def test_a_huge_schema_is_not_walked_but_weighed_about_as_if_it_were() -> None:
    def offered(parameters: int) -> int:
        tools = (Tool("edit", "edits", _schema(parameters)),)
        return estimate_tokens(Request("openai-chat", "m", (), (), tools, Tuning(), False, b"", {}))

    assert offered(20_000) == pytest.approx(20 * offered(1_000), rel=0.3)
