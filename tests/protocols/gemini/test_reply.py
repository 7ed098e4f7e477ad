"""Whole replies of Gemini's, and for its clients."""

from typing import Any

import orjson
import pytest

from engine.core.conversation import Sealed, Text, Thinking, ToolCall
from engine.core.errors import UpstreamError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols import PROTOCOLS
from engine.protocols.gemini.reply import read_reply, write_reply
from engine.protocols.shape import ReplyContext


def body(*parts: Any, reason: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason}
    return {"candidates": [candidate], "responseId": "r", "modelVersion": "m"} | fields


CALL = {"functionCall": {"name": "f", "args": {}}}


@pytest.mark.parametrize(
    ("reason", "parts", "stop"),
    [
        ("STOP", [{"text": "a"}], "end_turn"), ("STOP", [CALL], "tool_use"), ("OTHER", [CALL], "tool_use"),
        ("UNEXPECTED_TOOL_CALL", [CALL], "tool_use"), (None, [{"text": "a"}], "end_turn"),
        ("MAX_TOKENS", [], "max_tokens"), ("SAFETY", [{"text": "a"}], "refusal"), ("RECITATION", [], "refusal"),
        ("A_NEW_ONE", [{"text": "a"}], "end_turn"),
    ],
)  # fmt: skip
def test_why_it_stopped(reason: str, parts: list[Any], stop: str) -> None:  # G25, G40, W24
    assert read_reply(body(*parts, reason=reason)).stop.reason == stop


def test_a_call_the_model_could_not_write_is_a_failure_and_no_empty_answer() -> None:  # W47
    for reason in ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"):
        with pytest.raises(UpstreamError, match=reason):
            read_reply(body(reason=reason))


def test_a_prompt_that_was_blocked_is_a_refusal() -> None:
    feedback = {"blockReason": "SAFETY"}
    reply = read_reply({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}})
    assert (reply.parts, reply.stop.reason, reply.usage) == ((), "refusal", Usage(3))
    assert reply.sealed == Sealed("gemini", {"promptFeedback": feedback})


@pytest.mark.parametrize(
    "sent",
    [{}, {"candidates": 7}, {"candidates": []}, {"candidates": [7]}, body({"text": 7}), body(7),
     {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}],
)  # fmt: skip
def test_what_is_no_reply_is_an_error(sent: Any) -> None:
    with pytest.raises(UpstreamError):
        read_reply(sent)


def test_tokens_are_counted_once(context: ReplyContext) -> None:  # G34
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 15, "thoughtsTokenCount": 5, "totalTokenCount": 130,
             "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 10, "trafficType": "ON_DEMAND"}  # fmt: skip
    reply = read_reply(body({"text": "a"}, usageMetadata=usage))
    assert reply.usage == Usage(110, 20, cache_read_tokens=60, reasoning_tokens=5)
    for protocol in PROTOCOLS.values():
        assert protocol.read_reply(protocol.write_reply(reply, context).body).usage == reply.usage
    written = write_reply(reply, context).body["usageMetadata"]
    assert written == {"promptTokenCount": 110, "candidatesTokenCount": 15, "thoughtsTokenCount": 5,
                       "totalTokenCount": 130, "cachedContentTokenCount": 60}  # fmt: skip


def test_what_the_answer_rests_on_is_kept_for_gemini_and_reported_elsewhere(context: ReplyContext) -> None:
    sent = body({"text": "a"})
    sent["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["q"]}
    sent["candidates"].append({"content": {"parts": [{"text": "b"}]}, "index": 1})
    reply = read_reply(sent)
    again = write_reply(reply, context).body
    assert again["candidates"][0]["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert again["candidates"][1]["index"] == 1
    for name in ("anthropic-messages", "openai-chat"):
        lost = {loss.path for loss in PROTOCOLS[name].write_reply(reply, context).dropped}
        assert lost == {"candidate", "candidates"}


def test_a_reply_of_another_vendor_is_told(context: ReplyContext) -> None:
    claudes = Sealed("anthropic-messages", {"signature": "s"})
    parts = (Thinking("hm", claudes), Text("a"), ToolCall("c", "f", '{"x":1}'))
    reply = Reply("id", "claude", parts, Stop("tool_use"), Usage(10, 5, cache_write_tokens=4))
    encoded = write_reply(reply, context)
    thought, text, call = orjson.loads(orjson.dumps(encoded.body))["candidates"][0]["content"]["parts"]
    assert (thought["text"], thought["thought"]) == ("hm", True)
    assert text == {"text": "a"}
    # The client replays the call, and Gemini may be the next to read it.
    assert call == {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}},
                    "thoughtSignature": "skip_thought_signature_validator"}  # fmt: skip
    assert encoded.body["candidates"][0]["finishReason"] == "STOP"
    assert [loss.path for loss in encoded.dropped] == ["usage.cache_write_tokens"]
    assert read_reply(encoded.body).parts == parts
