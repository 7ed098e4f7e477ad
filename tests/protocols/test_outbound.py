"""A request on its way to one provider."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import Lossy, Request
from engine.core.errors import LossError, RequestError
from engine.protocols import PROTOCOLS
from engine.protocols.outbound import Outbound, outbound

ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-4-5"


def asked(protocol: str, **fields: Any) -> Request:
    body = {"model": OPUS, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 32_000} | fields
    raw = b" " + orjson.dumps(body, option=orjson.OPT_INDENT_2)
    return PROTOCOLS[protocol].read_request(orjson.loads(raw), raw)


def sent(out: Outbound) -> Any:
    return orjson.loads(out.body)


def fates(out: Outbound) -> dict[str, str]:
    return {loss.path: loss.fate for loss in out.losses}


def test_to_the_same_model_of_the_same_protocol_go_the_very_bytes(model: Model) -> None:
    request = asked("anthropic-messages", thinking={"type": "adaptive"}, temperature=1.0)
    assert outbound(request, ANTHROPIC, model, OPUS, "") == Outbound(request.raw)


def test_another_name_changes_the_name_alone(model: Model) -> None:
    request = asked("anthropic-messages")
    out = outbound(request, ANTHROPIC, model, "other", "")
    assert out.body == request.raw.replace(OPUS.encode(), b"other")
    assert (out.edits, out.losses) == (("model",), ())


def test_a_newer_models_request_is_fitted_to_an_older_one(model: Model) -> None:
    rules = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    request = asked(
        "anthropic-messages",
        thinking={"type": "adaptive", "display": "omitted"},
        output_config={"effort": "high"},
        context_management=rules,
        max_tokens=128_000,
    )
    out = outbound(request, ANTHROPIC, model, HAIKU, "")
    body = sent(out)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 24_000}
    assert body["max_tokens"] == 64_000
    assert "output_config" not in body
    assert body["context_management"] == rules
    assert set(out.edits) == {"model", "thinking", "max_tokens", "output_config"}
    assert fates(out) == {
        "max_tokens": "converted",
        "thinking": "converted",
        "output_config.effort": "dropped",
    }


def test_a_model_that_does_not_think_is_not_asked_to(model: Model) -> None:
    rules = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}
    request = asked("anthropic-messages", thinking={"type": "adaptive"}, context_management=rules)
    out = outbound(request, ANTHROPIC, replace(model, can=frozenset({"tools"})), HAIKU, "")
    assert "thinking" not in sent(out)
    assert sent(out)["context_management"] == {"edits": rules["edits"][1:]}
    assert fates(out) == {"thinking": "dropped", "context_management": "converted"}


def test_an_open_loop_of_unsigned_thinking_is_served_without_thinking(model: Model) -> None:
    history = [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "tool_use", "id": "t", "name": "Read", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]},
    ]
    thinking = {"type": "enabled", "budget_tokens": 2000}
    request = asked("anthropic-messages", messages=history, thinking=thinking, model=HAIKU)
    out = outbound(request, ANTHROPIC, model, HAIKU, "")
    assert "thinking" not in sent(out)
    assert [block["type"] for block in sent(out)["messages"][1]["content"]] == ["tool_use"]
    assert set(fates(out)) == {"messages.1.content.0", "thinking"}


@pytest.mark.parametrize(
    ("model_id", "thinking", "effort"),
    [(OPUS, {"type": "adaptive"}, "high"), (HAIKU, {"type": "enabled", "budget_tokens": 24_000}, None)],
)
def test_a_policys_effort_is_set_in_the_models_own_way(
    model_id: str, thinking: Any, effort: str | None, model: Model
) -> None:
    body = sent(outbound(asked("anthropic-messages"), ANTHROPIC, model, model_id, "high"))
    assert body["thinking"] == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert sent(outbound(asked("openai-chat"), CHAT, model, "o3", "max"))["reasoning_effort"] == "high"
    translated = sent(outbound(asked("openai-chat"), ANTHROPIC, model, model_id, "high"))
    assert translated["thinking"] == thinking


def test_a_chat_stream_is_asked_for_its_usage_which_the_client_may_not_want(model: Model) -> None:
    out = outbound(asked("openai-chat", stream=True), CHAT, model, OPUS, "")
    assert sent(out)["stream_options"] == {"include_usage": True}
    assert out.withhold_usage
    assert fates(out) == {"stream_options": "converted"}
    wanted = asked("openai-chat", stream=True, stream_options={"include_usage": True})
    assert outbound(wanted, CHAT, model, OPUS, "") == Outbound(wanted.raw)


def test_a_translation_names_what_it_dropped(model: Model) -> None:
    request = asked("anthropic-messages", top_k=5, container="c")
    out = outbound(request, CHAT, model, "gpt-4o", "")
    assert sent(out)["model"] == "gpt-4o"
    assert fates(out) == {"top_k": "dropped", "container": "dropped"}
    assert out.edits == ()


def test_a_request_that_nests_too_deeply_is_refused(model: Model) -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    request = asked("openai-chat")
    request = replace(
        request, body={**request.body, "x": deep}, tuning=replace(request.tuning, output_schema=deep)
    )
    with pytest.raises(RequestError, match="cannot be written"):
        outbound(request, ANTHROPIC, model, HAIKU, "")


def test_a_call_whose_arguments_nest_too_deeply_is_refused(model: Model) -> None:
    arguments = '{"a":' * 400 + "1" + "}" * 400
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call]}]
    with pytest.raises(RequestError, match="cannot be written"):
        outbound(asked("openai-chat", messages=turns), ANTHROPIC, model, HAIKU, "")


def test_an_effort_the_policy_sets_is_reported(model: Model) -> None:
    forwarded = outbound(asked("anthropic-messages"), ANTHROPIC, model, OPUS, "high")
    assert fates(forwarded) == {"thinking": "converted", "output_config": "converted"}
    assert "high" in forwarded.losses[0].why
    translated = outbound(asked("openai-chat"), ANTHROPIC, model, OPUS, "high")
    assert fates(translated)["effort"] == "converted"


AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}


def test_content_that_would_be_lost_is_refused_and_named(model: Model) -> None:
    request = asked("openai-chat", messages=[{"role": "user", "content": [AUDIO]}], seed=7)
    with pytest.raises(LossError) as refused:
        outbound(request, ANTHROPIC, model, HAIKU, "")
    assert str(refused.value).startswith(
        "able cannot carry this request: messages[0].content[0] (only openai-chat"
    )
    assert {loss.path: loss.fate for loss in refused.value.losses} == {
        "messages.0.content.0": "refused",
        "seed": "dropped",
    }
    assert refused.value.fault.http_status == 400


def test_a_policy_may_let_content_go_and_hold_on_to_tuning(model: Model) -> None:
    request = asked("openai-chat", messages=[{"role": "user", "content": [AUDIO]}], seed=7)
    assert fates(outbound(request, ANTHROPIC, model, HAIKU, "", Lossy(content="report"))) == {
        "messages.0.content.0": "dropped",
        "seed": "dropped",
    }
    with pytest.raises(LossError, match="seed"):
        outbound(request, ANTHROPIC, model, HAIKU, "", Lossy(content="report", tuning="refuse"))
    limited = asked("openai-chat", temperature=1.7)
    assert fates(outbound(limited, ANTHROPIC, model, HAIKU, "", Lossy(tuning="refuse"))) == {
        "temperature": "converted"
    }
