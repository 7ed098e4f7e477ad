"""What ties a request to where a part of it came from."""

from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import Loss, Request, Sealed, Thinking
from engine.core.lineage import Tie
from engine.protocols import PROTOCOLS
from engine.protocols.outbound import outbound
from engine.protocols.sealing import to_signature
from engine.protocols.ties import estranged, tie_of

Json = dict[str, Any]
ANTHROPIC, RESPONSES = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-responses"]
HI = {"role": "user", "content": "hi"}
CALL = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
DONE = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}


def thought(signature: str = "c2ln") -> Json:
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def claude(*messages: Json, **fields: Any) -> Request:
    body = {"model": "claude-opus-5-5", "max_tokens": 99, "messages": [HI, *messages], **fields}
    return ANTHROPIC.read_request(body, orjson.dumps(body))


def codex(*items: Json, **fields: Any) -> Request:
    body = {
        "model": "gpt-5.4",
        "input": [{"role": "user", "content": "hi"}, *items],
        "store": False,
        **fields,
    }
    return RESPONSES.read_request(body, orjson.dumps(body))


def place(request: Request) -> tuple[str, str, bool] | None:
    tie = tie_of(request)
    return None if tie is None else (tie.protocol, tie.place, tie.fast)


ASSISTANT = {"role": "assistant", "content": [thought(), CALL]}


def test_an_open_loop_of_signed_thinking_holds_its_provider_until_it_closes() -> None:
    assert place(claude(ASSISTANT, DONE)) == ("anthropic-messages", "messages[1].content[0]", False)
    over = {"role": "assistant", "content": "done"}
    assert place(claude(ASSISTANT, DONE, over, HI)) is None
    assert place(claude(ASSISTANT, DONE, over)) is None
    assert place(claude({"role": "assistant", "content": [thought(""), CALL]}, DONE)) is None


def test_the_loop_is_the_users_whole_turn() -> None:
    again = {"role": "assistant", "content": [{**CALL, "id": "u"}]}
    then = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u", "content": "ok"}]}
    assert place(claude(ASSISTANT, DONE, again, then)) == (
        "anthropic-messages",
        "messages[1].content[0]",
        False,
    )


def test_geminis_signatures_hold_the_turn_in_any_client(  # G84
) -> None:
    sealed = to_signature(Sealed("gemini", {"thoughtSignature": "abc", "call": "t"}))
    loop = {"role": "assistant", "content": [thought(sealed), CALL]}
    assert place(claude(loop, DONE)) == ("gemini", "messages[1].content[0]", False)


ENCRYPTED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"}
ANSWER = {"type": "message", "role": "assistant", "content": "so"}


def test_encrypted_reasoning_holds_its_provider_where_nothing_is_stored() -> None:  # G53
    assert place(codex(ENCRYPTED, ANSWER, {"role": "user", "content": "and?"})) == (
        "openai-responses",
        "messages[1].content[0]",
        False,
    )
    assert place(codex(ENCRYPTED, ANSWER, {"role": "user", "content": "and?"}, store=True)) is None


def test_what_another_vendor_thought_holds_nobody_once_the_loop_is_closed() -> None:  # W33
    sealed = to_signature(Sealed("anthropic-messages", {"signature": "c2ln"}))
    foreign = {**ENCRYPTED, "encrypted_content": sealed}
    assert place(codex(foreign, ANSWER, {"role": "user", "content": "and?"})) is None


def test_a_stored_reply_and_a_compacted_history_leave_no_choice() -> None:
    tie = tie_of(codex(previous_response_id="resp_1"))
    assert tie == Tie(
        "openai-responses",
        "previous_response_id",
        "it names what is stored at the provider that gave it",
        True,
        "resp_1",
    )
    assert place(codex({"type": "compaction", "encrypted_content": "zzz"})) == (
        "openai-responses",
        "messages[1].content[0]",
        True,
    )
    assert place(codex(conversation="conv_1")) == ("openai-responses", "conversation", True)


def test_a_plain_conversation_is_free() -> None:
    assert tie_of(claude()) is None
    assert tie_of(codex(ANSWER)) is None


def test_what_another_provider_of_the_protocol_sealed_leaves_the_history() -> None:  # W33, G65
    request = claude(ASSISTANT, DONE, {"role": "assistant", "content": [thought("b3Ro")]}, HI)
    losses: list[Loss] = []
    fitted = estranged(request, "anthropic-messages", 3, losses)
    assert [loss.place for loss in losses] == ["messages[1].content[0]"]
    assert losses[0].stake == "sealed"
    assert not any(isinstance(part, Thinking) for part in fitted.messages[1].parts)
    assert fitted.messages[3] == request.messages[3]  # what the one that serves wrote itself
    assert estranged(request, "anthropic-messages", 1, []) is request
    assert estranged(request, "gemini", 9, []) is request


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_is_sent_no_signature_of_another_one_of_its_protocol(
    stream: bool, model: Model
) -> None:  # W33
    request = claude(ASSISTANT, DONE, stream=stream, thinking={"type": "enabled", "budget_tokens": 2000})
    kept = outbound(request, ANTHROPIC, model, "claude-opus-5-5", "")
    assert kept.body == request.raw
    out = outbound(request, ANTHROPIC, model, "claude-haiku-4-5", "", before=3)
    body = orjson.loads(out.body)
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert "thinking" not in body  # an open loop that cannot be replayed is served without it
    assert {loss.path for loss in out.losses} == {"messages.1.content.0", "thinking"}
