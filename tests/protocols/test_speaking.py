"""Vendors' dialects, by the rows of cases/protocols/dialects.yaml: what each is sent, and what its answers say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.core.catalog import Model
from engine.core.conversation import Thinking
from engine.core.reply import Reply
from engine.core.stream import Event, fold
from engine.protocols import PROTOCOLS
from engine.protocols.dialects import read_dialect, shipped_dialects
from engine.protocols.outbound import Outbound, outbound
from engine.protocols.pipe import Forwarding, Translation, pipe, told
from engine.protocols.shape import Encoded, Protocol, ReplyContext
from engine.protocols.speaking import speaking, spoken
from engine.protocols.tool_names import clients_names
from engine.simulator.models import Dialect as Simulated
from engine.simulator.models import SimulatedModel, Usd
from engine.simulator.openai_rules import check

Json = dict[str, Any]
Recordings = Callable[[str], list[Json]]
ReadStream = Callable[[Protocol, list[bytes]], list[Event]]

ANTHROPIC, CHAT = PROTOCOLS["anthropic-messages"], PROTOCOLS["openai-chat"]
ROWS: Json = yaml.safe_load((Path(__file__).parents[1] / "cases/protocols/dialects.yaml").read_text())
FORWARDED: list[Json] = ROWS.pop("forwarded")
ABLE = ("tools", "parallel_tools", "vision", "documents", "thinking", "structured_output")

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MARK: Json = {"type": "ephemeral"}
SCHEMA: Json = {"type": "object", "properties": {"path": {"type": "string", "pattern": "^/"}}}
AGENT: Json = {
    "model": "claude-opus-4-5",
    "max_tokens": 32_000,
    "stream": True,
    "system": [{"type": "text", "text": "Be good.", "cache_control": MARK}],
    "thinking": {"type": "enabled", "budget_tokens": 20_000},
    "temperature": 1,
    "top_k": 5,
    "stop_sequences": ["END"],
    "tools": [{"name": "mcp.files/read", "input_schema": SCHEMA, "cache_control": MARK}],
    "tool_choice": {"type": "any"},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl"},
                {
                    "type": "tool_use",
                    "id": "toolu_01ABCDEF",
                    "name": "mcp.files/read",
                    "input": {"path": "/a"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01ABCDEF",
                    "content": "ok",
                    "cache_control": MARK,
                }
            ],
        },
    ],
}


def able(row: Json, model: Model) -> Model:
    return model if row.get("thinks", True) else replace(model, can=model.can - {"thinking"})


def written(name: str, row: Json, model: Model) -> Encoded:
    request = ANTHROPIC.read_request(AGENT, json.dumps(AGENT).encode())
    return spoken("openai-chat", name).write_request(request, able(row, model), row["model"])


by_dialect = pytest.mark.parametrize(("name", "row"), ROWS.items(), ids=ROWS.keys())


@by_dialect
def test_an_agents_request_becomes_what_the_vendor_takes(name: str, row: Json, model: Model) -> None:
    encoded = written(name, row, model)
    assert {field: encoded.body.get(field) for field in row["says"]} == row["says"]
    assert not encoded.body.keys() & set(row["lacks"])
    assert set(row["lost"]) <= {loss.path for loss in encoded.dropped}


@by_dialect
def test_the_simulated_vendor_takes_it(name: str, row: Json, model: Model) -> None:
    dialect: Simulated = row["simulated"]
    quirks = frozenset({"replays_reasoning"}) if dialect == "deepseek" else frozenset()
    if row["model"].startswith("gpt-5"):
        quirks = frozenset({"max_completion_tokens", "long_tool_ids"})
    can = ABLE if row.get("thinks", True) else tuple(each for each in ABLE if each != "thinking")
    usd = Usd(1, 1, 1, 1)
    simulated = SimulatedModel("m", "mid", "p", row["model"], 200_000, 64_000, can, usd, 0, 0, {}, quirks)  # type: ignore[arg-type]  # literals
    check(json.loads(json.dumps(written(name, row, model).body)), simulated, dialect)


@by_dialect
def test_the_vendors_answers_are_read_with_their_reasoning_and_usage(
    name: str, row: Json, recordings: Recordings, read_stream: ReadStream
) -> None:
    protocol = spoken("openai-chat", name)
    if "answer" in row:
        reply = protocol.read_reply(hand_written(row))
        assert gist(reply) == row["read"]
        return
    shown = 0
    for one in recordings("dev_openai_chat"):
        if one["host"] != row["recorded"] or one["status"] != 200:
            continue
        folded = (
            protocol.read_reply(one["response"])
            if "response" in one
            else fold(read_stream(protocol, [one["sse"].encode()]))
        )
        if not isinstance(folded, Reply):
            continue
        assert folded.usage.output_tokens, one["id"]
        shown += any(isinstance(part, Thinking) and part.text for part in folded.parts)
    assert shown >= row["shown"]


def hand_written(row: Json) -> Json:
    choice = {"index": 0, "message": row["answer"]["message"], "finish_reason": "stop"}
    return {"id": "r", "model": row["model"], "choices": [choice], "usage": row["answer"]["usage"]}


def gist(reply: Reply) -> Json:
    usage = reply.usage
    return {
        "text": "".join(getattr(part, "text", "") for part in reply.parts if not isinstance(part, Thinking)),
        "thinking": "".join(part.text for part in reply.parts if isinstance(part, Thinking)),
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cache_read_tokens,
        "reasoning": usage.reasoning_tokens,
    }


def test_every_dialect_of_chat_has_a_row() -> None:
    assert ROWS.keys() == {one.name for one in shipped_dialects().values() if one.protocol == "openai-chat"}


@pytest.mark.parametrize("row", FORWARDED, ids=[row["name"] for row in FORWARDED])
def test_what_a_client_of_the_same_protocol_sends_is_edited_only_where_the_vendor_wants_it(  # G90
    row: Json, model: Model
) -> None:
    sent = {"model": row.get("asked", row["model"]), "messages": row["messages"], **row.get("fields", {})}
    out = forwarded(sent, row["dialect"], row["model"], model)
    gone = set(row.get("gone", ()))
    assert (
        json.loads(out.body)
        == {key: value for key, value in sent.items() if key not in gone} | row["becomes"]
    )
    lost = [
        loss.path
        for loss in out.losses
        if loss.why not in ("fitted to the model", "the model does not take it")
    ]
    assert lost == row["lost"]
    if not row["becomes"] and not gone:
        assert out.body == json.dumps(sent).encode()


def forwarded(sent: Json, dialect: str, model_id: str, model: Model, effort: str = "") -> Outbound:
    request = CHAT.read_request(sent, json.dumps(sent).encode())
    return outbound(request, spoken("openai-chat", dialect), model, model_id, effort)


# ---- what dialects change besides bodies


def test_a_new_dialect_is_a_file_and_nothing_else(model: Model) -> None:
    text = """
    dialect: acme
    protocol: openai-chat
    title: Acme
    sources: [https://acme.example/docs]
    request:
      takes: [max_tokens, stop, acme_mode]
      renames: {max_completion_tokens: max_tokens}
      adds: {acme_mode: fast}
      carries: []
      cache_control: false
    reasoning:
      ask:
        "on": {ponder: {active: true}}
        effort: ponder.depth
        efforts: [low, high]
      replay: never
    auth: {header: x-acme-key}
    path: /v9/{model}/chat
    reply: {errors: {E77: overloaded}}
    """
    acme = speaking(CHAT, read_dialect(yaml.safe_load(text)))
    request = ANTHROPIC.read_request(AGENT, b"")
    body = acme.write_request(request, model, "acme-1").body
    assert (body["max_tokens"], body["acme_mode"], body["ponder"]) == (
        32_000,
        "fast",
        {"active": True, "depth": "high"},
    )
    assert not body.keys() & {"top_k", "temperature", "tool_choice", "reasoning_effort"}
    assert acme.headers("k") == {"x-acme-key": "k"}
    assert acme.address("acme-1", stream=True) == "/v9/acme-1/chat"
    assert acme.read_fault(400, {}, b'{"error": {"code": "E77", "message": "busy"}}').kind == "overloaded"


def test_an_endpoint_without_a_dialect_speaks_as_the_protocols_own_vendor() -> None:
    assert spoken("openai-chat").dialect == "openai"
    assert spoken("anthropic-messages").dialect == "anthropic"
    assert spoken("gemini").dialect == spoken("openai-responses").dialect == ""


def test_azure_has_its_own_header_and_its_own_path() -> None:
    azure, paths = spoken("openai-chat", "azure-openai"), spoken("openai-chat", "azure-openai-deployments")
    assert azure.headers("secret") == {"api-key": "secret"}
    assert azure.headers("") == {}
    assert azure.address("gpt", stream=False) == "/chat/completions"
    assert paths.address("my gpt", stream=True).startswith(
        "/deployments/my%20gpt/chat/completions?api-version=20"
    )
    assert spoken("openai-responses", "azure-openai-responses").headers("s") == {"api-key": "s"}


def test_beta_flags_go_to_anthropic_alone() -> None:  # G94
    assert "anthropic-beta" in spoken("anthropic-messages").forwards
    assert spoken("anthropic-messages", "deepseek-anthropic").forwards == ()
    assert spoken("openai-chat", "openrouter").forwards == ()


UUID = "91cfbb94-554b-4136-8e21-fa02280d56ed"


@pytest.mark.parametrize(("dialect", "kept"), [("deepseek-anthropic", UUID), ("anthropic", "c2lnbmF0dXJl")])
def test_a_signature_returns_to_the_vendor_that_made_it(dialect: str, kept: str, model: Model) -> None:  # G65
    thinking = [{"type": "thinking", "thinking": "hm", "signature": each} for each in (UUID, "c2lnbmF0dXJl")]
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [*thinking, {"type": "text", "text": "hey"}]},
        {"role": "user", "content": "on"},
    ]
    body = {"model": "m", "max_tokens": 5000, "messages": messages}
    request = ANTHROPIC.read_request(body, json.dumps(body).encode())
    protocol = spoken("anthropic-messages", dialect)
    out = outbound(request, protocol, model, "m", "")
    said = json.loads(out.body)["messages"][1]["content"]
    assert [block["signature"] for block in said if block["type"] == "thinking"] == [kept]
    assert len([loss for loss in out.losses if loss.stake == "sealed"]) == 1
    assert protocol.write_request(request, model, "m").body["messages"][1]["content"] == said


def test_an_error_of_the_vendors_own_is_understood_in_a_stream_too(read_stream: ReadStream) -> None:  # G70
    frame = b'data: {"error": {"message": "Insufficient balance", "code": "1113"}}\n\n'
    (event,) = read_stream(spoken("openai-chat", "glm"), [frame])
    assert event.fault.kind == "billing"  # type: ignore[union-attr]  # it broke
    (event,) = read_stream(spoken("openai-chat", "openai"), [frame])
    assert event.fault.kind == "server_error"  # type: ignore[union-attr]  # it broke


def test_a_vendor_whose_replies_clients_cannot_read_is_translated_for_its_own_protocol(
    context: ReplyContext,
) -> None:
    mistral = spoken("openai-chat", "mistral")
    assert isinstance(pipe(CHAT, mistral, context, False), Translation)
    assert isinstance(pipe(CHAT, spoken("openai-chat", "groq"), context, False), Forwarding)
    pieces = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "four"},
    ]
    message = {"role": "assistant", "content": pieces}
    body = {"id": "r", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    said = told(mistral.read_reply(body), CHAT, context).body["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"]) == ("four", "hm")


@pytest.mark.parametrize(
    ("protocol", "dialect"),
    [("openai-chat", "kimi"), ("openai-chat", ""), ("gemini", ""), ("openai-responses", "")],
)
def test_tools_that_cannot_keep_their_name_come_back_under_it(  # W18, W19
    protocol: str, dialect: str, model: Model, context: ReplyContext
) -> None:
    names = ["mcp.files/read", "7up", "x" * 90, "Read"]
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    body = {"model": "m", "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}], "tools": tools}
    request = ANTHROPIC.read_request(body, b"")
    provider = spoken(protocol, dialect)
    sent = json.dumps(provider.write_request(request, model, "m").body)
    back = clients_names(request, provider.limits)
    assert {"x" * 90, "mcp.files/read"} <= set(back.values())
    for alias in back:
        assert f'"{alias}"' in sent
        assert provider.limits.tool_name.fullmatch(alias)
        assert len(alias) <= provider.limits.tool_name_length
    assert '"Read"' in sent
    assert json.dumps("x" * 90) not in sent


def test_of_two_penalties_qwen_on_fireworks_gets_one(model: Model) -> None:  # W31
    sent: Json = {"model": "qwen3p8", "messages": [], "presence_penalty": 0.5, "repetition_penalty": 1.1}
    out = forwarded(sent, "fireworks", "qwen3p8", model)
    assert "repetition_penalty" not in json.loads(out.body)
    assert "repetition_penalty" in {loss.path for loss in out.losses}
    kept = forwarded({**sent, "model": "glm-5"}, "fireworks", "glm-5", model)
    assert "repetition_penalty" in json.loads(kept.body)


def test_usage_is_asked_for_where_it_can_be(model: Model) -> None:
    sent: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    assert forwarded(sent, "groq", "m", model).withhold_usage
    out = forwarded(sent, "mistral", "m", model)
    assert not out.withhold_usage
    assert out.body == json.dumps(sent).encode()


@pytest.mark.parametrize(
    ("dialect", "model_id", "effort", "says"),
    [
        ("openai", "gpt-5.1", "max", {"reasoning_effort": "high"}),  # W38
        ("openai", "gpt-5.2", "max", {"reasoning_effort": "xhigh"}),
        ("xai", "grok-3-mini", "medium", {"reasoning_effort": "high"}),
        (
            "glm",
            "glm-5.3",
            "minimal",
            {"thinking": {"type": "enabled", "clear_thinking": False}, "reasoning_effort": "low"},
        ),
        ("openrouter", "z-ai/glm-4.6", "low", {"reasoning": {"enabled": True, "effort": "low"}}),
        ("qwen", "qwen-plus", "high", {"enable_thinking": True}),
        ("groq", "qwen/qwen3-32b", "high", {"reasoning_effort": "default", "reasoning_format": "parsed"}),
    ],
)
def test_the_policys_effort_is_the_nearest_the_vendor_knows(
    dialect: str, model_id: str, effort: str, says: Json, model: Model
) -> None:
    sent: Json = {"model": model_id, "messages": [{"role": "user", "content": "hi"}]}
    out = forwarded(sent, dialect, model_id, model, effort)
    assert json.loads(out.body) == sent | says


@pytest.mark.parametrize(
    ("dialect", "model_id", "said"),
    [
        ("deepseek", "deepseek-chat", {"thinking": {"type": "disabled"}}),
        ("deepseek", "deepseek-reasoner", None),  # W40
        ("glm", "glm-5.3", None),  # W40
        ("glm", "glm-4.7", {"thinking": {"type": "disabled"}}),
        ("kimi", "kimi-k2-thinking", None),  # W40
        ("qwen", "qwen-plus", {"enable_thinking": False}),
        ("openai", "gpt-5", None),  # W40
        ("openai", "gpt-5.1", {"reasoning_effort": "none"}),
        ("openrouter", "openai/gpt-5", {"reasoning": {"enabled": False}}),
        ("vllm", "qwen3", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("ollama", "qwen3", {"reasoning_effort": "none"}),
    ],
)
def test_who_always_thinks_is_not_told_not_to(
    dialect: str, model_id: str, said: Json | None, model: Model
) -> None:
    body: Json = {"model": "m", "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}]}
    request = ANTHROPIC.read_request(body | {"thinking": {"type": "disabled"}}, b"")
    encoded = spoken("openai-chat", dialect).write_request(request, model, model_id)
    asked = {key: encoded.body[key] for key in said or ()}
    assert asked == (said or {})
    assert ("thinking" in {loss.path for loss in encoded.dropped}) == (said is None)


def test_thinking_is_never_switched_off_because_its_history_is_lost(model: Model) -> None:  # G65
    body = written("deepseek", ROWS["deepseek"], model).body
    assert body["thinking"] == {"type": "enabled"}
    assert body["messages"][2]["reasoning_content"] == " "


def test_cache_marks_reach_who_reads_them(model: Model) -> None:  # G63
    body = written("openrouter", ROWS["openrouter"], model).body
    assert body["messages"][0]["content"][0]["cache_control"] == MARK
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "ok", "cache_control": MARK}]
    assert body["tools"][0]["cache_control"] == MARK


def test_an_assistants_text_keeps_its_cache_mark_where_marks_are_read(model: Model) -> None:  # G63
    said = [{"type": "text", "text": "hey", "cache_control": MARK}]
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "on"},
    ]
    request = ANTHROPIC.read_request({"model": "m", "max_tokens": 5, "messages": messages}, b"")
    encoded = spoken("openai-chat", "openrouter").write_request(request, model, "anthropic/claude-sonnet-4.5")
    assert encoded.body["messages"][1]["content"] == said
    assert encoded.dropped == ()


def test_strict_tools_lose_their_strictness_alone(model: Model) -> None:  # W14
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a"],
    }
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    request = ANTHROPIC.read_request(
        body | {"tools": [{"name": "f", "input_schema": schema, "strict": True}]}, b""
    )
    encoded = spoken("openai-chat", "deepseek").write_request(request, model, "deepseek-chat")
    assert encoded.body["tools"][0]["function"] == {"name": "f", "parameters": schema}
    assert "tools.0.strict" in {loss.path for loss in encoded.dropped}


def test_documents_go_in_the_part_that_the_vendor_knows(model: Model) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "document", "source": source}]}],
    }
    request = ANTHROPIC.read_request(body, b"")
    encoded = spoken("openai-chat", "mistral").write_request(request, model, "mistral-large-latest")
    part = {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERg=="}
    assert encoded.body["messages"][0]["content"] == [part]
