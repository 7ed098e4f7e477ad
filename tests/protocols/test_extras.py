"""Fields without a common meaning."""

from typing import Any

import pytest

from engine.core.catalog import Model
from engine.protocols import PROTOCOLS

ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]


def chat(**fields: Any) -> Any:
    return CHAT.read_request({"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}, b"")


def claude(**fields: Any) -> Any:
    body = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "x"}], **fields}
    return ANTHROPIC.read_request(body, b"")


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": {"1": 2}, "metadata": {"a": "b"}, "prediction": {"type": "content"}},
        {"reasoning": {"effort": "high", "exclude": True}},
        {"thinking": {"type": "enabled", "clear_thinking": False}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {}, "description": "d"},
            }
        },
    ],
)
def test_they_are_verbatim_at_home(fields: dict[str, Any], model: Model) -> None:
    encoded = CHAT.write_request(chat(**fields), model, "gpt-5.4")
    assert {name: encoded.body[name] for name in fields} == fields
    assert encoded.dropped == ()


def test_what_was_understood_in_part_is_whole_again_at_home(model: Model) -> None:
    fields: dict[str, Any] = {
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high", "task_budget": {"tokens": 9}},
        "metadata": {"user_id": "u", "more": 1},
        "container": "c",
    }
    encoded = ANTHROPIC.write_request(claude(**fields), model, "claude-opus-5-5")
    assert {name: encoded.body[name] for name in fields} == fields


def test_elsewhere_each_is_reported_by_its_path(model: Model) -> None:
    request = claude(thinking={"type": "adaptive", "display": "omitted"}, container="c", service_tier="auto")
    lost = {loss.path for loss in CHAT.write_request(request, model, "gpt-5.4").dropped}
    assert lost == {"thinking.display", "container"}


SHARED: dict[str, Any] = {
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "service_tier": "flex",
    "metadata": {"a": "b"},
}


def test_what_two_protocols_of_one_vendor_share_goes_from_one_to_the_other(model: Model) -> None:
    responses = PROTOCOLS["openai-responses"]
    asked = chat(**SHARED, verbosity="low", response_format={"type": "json_object"}, logit_bias={"1": 2})
    encoded = responses.write_request(asked, model, "gpt-5.4")
    assert {name: encoded.body[name] for name in SHARED} == SHARED
    assert encoded.body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert {loss.path for loss in encoded.dropped} == {"logit_bias"}
    text = {"verbosity": "low", "odd": 1}
    back = responses.read_request(
        {"model": "m", "input": "x", **SHARED, "text": text, "truncation": "auto"}, b""
    )
    there = CHAT.write_request(back, model, "gpt-5.4")
    assert {name: there.body[name] for name in SHARED} == SHARED
    assert there.body["verbosity"] == "low"
    assert {loss.path for loss in there.dropped} == {"text.odd", "truncation"}


def test_what_they_share_is_nothing_to_another_vendor(model: Model) -> None:
    encoded = ANTHROPIC.write_request(chat(**SHARED), model, "claude-sonnet-4-5")
    assert {loss.path for loss in encoded.dropped} == SHARED.keys()


def test_a_value_that_asks_for_nothing_is_no_loss(model: Model) -> None:
    request = chat(
        n=1, store=False, logprobs=False, presence_penalty=0, reasoning={"effort": "low"}, user=None
    )
    assert ANTHROPIC.write_request(request, model, "claude-sonnet-4-5").dropped == ()
    assert {loss.path for loss in ANTHROPIC.write_request(chat(n=2), model, "c").dropped} == {"n"}
