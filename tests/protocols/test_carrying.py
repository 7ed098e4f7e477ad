"""Which models can be given a request whole, and what stands for what is let go."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.core.catalog import Binding, Catalog, Endpoint, Model
from engine.core.conversation import Lossy, Opaque, Request, Text
from engine.protocols import PROTOCOLS
from engine.protocols.carrying import carriers, fragile, unfit

USUAL = Lossy()
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}


def asked(protocol: str = "openai-chat", **fields: Any) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 99} | fields
    return PROTOCOLS[protocol].read_request(body, orjson.dumps(body))


def said(*content: Any) -> Request:
    return asked(messages=[{"role": "user", "content": [{"type": "text", "text": "hear"}, *content]}])


@pytest.fixture
def catalog(model: Model) -> Catalog:
    """A model for each protocol, named like it, and one that is served in two."""
    endpoints = {name: Endpoint(name, name, "http://127.0.0.1:1") for name in PROTOCOLS}
    models = {name: replace(model, name=name, served_by=(Binding(name, "m"),)) for name in PROTOCOLS}
    both = (Binding("anthropic-messages", "m"), Binding("openai-chat", "m"))
    return Catalog(endpoints, {**models, "both": replace(model, name="both", served_by=both)}, {})


def out(request: Request, catalog: Catalog, lossy: Lossy = USUAL) -> dict[str, str]:
    return unfit(request, catalog, lossy, lambda endpoint: PROTOCOLS[endpoint.protocol])


def test_what_every_vendor_takes_excludes_nobody(catalog: Catalog) -> None:
    assert fragile(asked()) is None
    assert out(asked(), catalog) == {}
    assert out(said(PICTURE), catalog) == {}


def test_a_model_without_a_way_for_the_content_is_out_and_the_content_is_named(catalog: Catalog) -> None:
    why = "cannot carry messages[0].content[1] (only openai-chat knows content of the kind input_audio)"
    assert out(said(AUDIO), catalog) == dict.fromkeys(
        ("anthropic-messages", "gemini", "openai-responses"), why
    )


def test_content_inside_a_tools_result_counts_too(catalog: Catalog) -> None:  # G58
    results = [
        {"role": "user", "content": "look"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "shot", "input": {}}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "image", "source": {"type": "file", "file_id": "f1"}}],
                }
            ],
        },
    ]
    assert set(out(asked("anthropic-messages", messages=results), catalog)) == {
        "openai-chat",
        "gemini",
        "openai-responses",
    }


def test_a_request_is_looked_at_without_its_texts_and_media() -> None:
    part = fragile(said(PICTURE, AUDIO))
    assert part is not None
    text, image, audio = part.messages[0].parts
    assert text == Text("")
    assert getattr(image, "base64", "") == "AAAA"
    assert isinstance(audio, Opaque)


def test_a_policy_that_lets_content_go_excludes_nobody_for_it(catalog: Catalog) -> None:
    assert out(said(AUDIO), catalog, Lossy(content="report")) == {}


def test_a_policy_that_holds_on_to_tuning_excludes_who_cannot_take_it(catalog: Catalog) -> None:
    lossy = Lossy(tuning="refuse")
    assert set(out(asked(seed=7), catalog, lossy)) == {"anthropic-messages", "openai-responses"}
    assert out(asked(temperature=1.9), catalog, lossy) == {}  # it is clamped, not lost


def test_a_vendors_own_tools_are_an_offer_unless_nothing_else_is_offered(catalog: Catalog) -> None:
    own = {"type": "function", "function": {"name": "f"}}
    search = {"type": "web_search"}
    assert out(asked(tools=[own, search]), catalog) == {}
    assert set(out(asked(tools=[search]), catalog)) == {"anthropic-messages", "gemini", "openai-responses"}
    assert set(out(asked(tools=[own, search]), catalog, Lossy(offer="refuse"))) == {
        "anthropic-messages",
        "gemini",
        "openai-responses",
    }


def test_a_tool_that_the_client_runs_is_no_offer(catalog: Catalog) -> None:
    tools = [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]
    assert set(out(asked("anthropic-messages", tools=tools), catalog)) == {
        "openai-chat",
        "gemini",
        "openai-responses",
    }


def test_what_would_carry_a_request_can_be_told(model: Model) -> None:
    assert carriers(said(AUDIO), USUAL, PROTOCOLS.values(), model) == ["openai-chat"]
    assert carriers(asked(), USUAL, PROTOCOLS.values(), model) == list(PROTOCOLS)
