"""What stands for content that is let go."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import Loss, Lossy, Request, Text, ToolResult
from engine.protocols import PROTOCOLS
from engine.protocols.outbound import outbound
from engine.protocols.placeholders import placeheld

AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def said(*content: Any) -> Request:
    parts = [{"type": "text", "text": "hear"}, *content]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}], "max_tokens": 99}
    return PROTOCOLS["openai-chat"].read_request(body, orjson.dumps(body))


def test_a_visible_word_stands_for_content_that_is_let_go(model: Model) -> None:  # G58
    blind = replace(model, can=frozenset({"tools"}))
    losses: list[Loss] = []
    request = placeheld(said(PICTURE, AUDIO), "gemini", blind, losses)
    assert request.messages[0].parts == (
        Text("hear"),
        Text("[an image that could not be carried]"),
        Text("[content of the kind input_audio that could not be carried]"),
    )
    assert [(loss.place, loss.stake) for loss in losses] == [
        ("messages[0].content[1]", "content"),
        ("messages[0].content[2]", "content"),
    ]


def test_a_word_stands_inside_a_result_too_and_the_rest_is_the_very_same(model: Model) -> None:
    request = said(PICTURE)
    assert placeheld(request, "openai-chat", model, []) is request
    blind = replace(model, can=frozenset({"tools"}))
    inner = ToolResult("t", (Text("shot"), *request.messages[0].parts[1:]))
    message = replace(request.messages[0], parts=(inner,))
    held = placeheld(replace(request, messages=(message,)), "openai-chat", blind, [])
    (result,) = held.messages[0].parts
    assert isinstance(result, ToolResult)
    assert result.parts[1] == Text("[an image that could not be carried]")


@pytest.mark.parametrize("target", list(PROTOCOLS))
def test_a_request_whose_content_is_let_go_is_sent_and_reported(target: str, model: Model) -> None:
    blind = replace(model, can=frozenset({"tools"}))
    out = outbound(said(PICTURE), PROTOCOLS[target], blind, "m", "", Lossy(content="report"))
    assert b"[an image that could not be carried]" in out.body
    assert b"AAAA" not in out.body
    assert [(loss.path, loss.fate, loss.stake) for loss in out.losses] == [
        ("messages.0.content.1", "dropped", "content")
    ]
