"""The top level of a body, held against a vendor's rules one at a time."""

from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning, Request, Tuning
from engine.protocols.dialects import Ask, Rules
from engine.protocols.fitting import ask_for_reasoning, fit, thinks
from engine.protocols.mapping import protocol_map

NAMES = protocol_map("openai-chat")
Json = dict[str, Any]

DROPPED, CONVERTED = "dropped", "converted"
AUTO: Json = {"tool_choice": frozenset({"auto"})}
TEXT: Json = {"formats": frozenset({"text"})}
WARM: Json = {"ranges": {"temperature": (0, 1)}}
JSON: Json = {"response_format": {"type": "json_object"}}
OWN: Json = {"response_format": {"type": "grammar"}}
BUDGET: Json = {"think": {"type": "on"}, "tokens": 99}


def request(**tuning: Any) -> Request:
    return Request("openai-chat", "m", (), (), (), Tuning(**tuning), True, b"", {})


def fitted(top: Json, model: Model, **rules: Any) -> tuple[Json, list[tuple[str, str]]]:
    losses: list[Loss] = []
    fit(top, Rules(**rules), NAMES, request(), model, losses)
    return top, [(loss.path, loss.fate) for loss in losses]


CASES: list[tuple[str, Json, Json, Json, list[tuple[str, str]]]] = [
    ("a field it has another name for", {"seed": 1}, {"renames": {"seed": "random_seed"}}, {"random_seed": 1}, []),
    ("a name that is there already", {"a": 1, "b": 2}, {"renames": {"a": "b"}}, {"b": 2}, []),
    ("a field it refuses", {"stop": ["a"]}, {"refuses": {"stop": "no"}}, {}, [("stop", "dropped")]),
    ("a field that others take", {"seed": 1}, {"takes": frozenset({"stop"})}, {}, [("seed", "dropped")]),
    ("a field that nobody knows", {"new": 1}, {"takes": frozenset({"stop"})}, {"new": 1}, []),
    ("a field that asks for nothing", {"n": 1}, {"takes": frozenset({"stop"})}, {}, []),
    ("what every vendor takes", {"model": "m"}, {"takes": frozenset({"x"})}, {"model": "m"}, []),
    ("a number too large", {"temperature": 2}, WARM, {"temperature": 1}, [("temperature", "converted")]),
    ("a number that is none", {"temperature": "2"}, WARM, {"temperature": "2"}, []),
    ("too many stops", {"stop": ["a", "b"]}, {"stops": 1}, {"stop": ["a"]}, [("stop", "converted")]),
    ("too short an answer", {"max_tokens": 5}, {"least_tokens": 16}, {"max_tokens": 16}, [("max_tokens", "converted")]),
    ("two that exclude each other", {"a": 1, "b": 2}, {"not_both": (("a", "b"),)}, {"a": 1}, [("b", "dropped")]),
    ("one of two", {"b": 2}, {"not_both": (("a", "b"),)}, {"b": 2}, []),
    ("one that needs another", {"a": 1}, {"needs": {"a": "b"}}, {}, [("a", DROPPED)]),
    ("one beside what it needs", {"a": 1, "b": True}, {"needs": {"a": "b"}}, {"a": 1, "b": True}, []),
    ("a field to add", {"a": 1}, {"adds": {"a": 2, "b": 3}}, {"a": 1, "b": 3}, []),
    ("a field to add to streams", {}, {"stream_adds": {"b": 3}}, {"b": 3}, []),
    ("the word for any tool", {"tool_choice": "required"}, {"any_tool": "any"}, {"tool_choice": "any"}, []),
    ("a choice it does not know", {"tool_choice": "required"}, AUTO, {}, [("tool_choice", "dropped")]),
    ("no choice at all", {"tool_choice": "none", "tools": [1]}, AUTO, {}, []),
    ("a format it does not know", JSON, TEXT, {}, [("response_format", "dropped")]),
    ("a format of its own", OWN, TEXT, OWN, []),
]  # fmt: skip


@pytest.mark.parametrize(("what", "top", "rules", "becomes", "lost"), CASES, ids=[case[0] for case in CASES])
def test_a_field_becomes_what_the_vendor_takes(
    what: str, top: Json, rules: Json, becomes: Json, lost: list[tuple[str, str]], model: Model
) -> None:
    assert fitted(dict(top), model, **rules) == (becomes, lost), what


def test_a_schema_is_told_in_words_where_it_cannot_be_sent(model: Model) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    top: Json = {"response_format": form, "messages": [{"role": "user", "content": "hi"}]}
    there, lost = fitted(dict(top), model, formats=frozenset({"text", "json_object"}))
    assert there["response_format"] == {"type": "json_object"}
    assert there["messages"][0]["role"] == "system"
    assert '{"type":"object"}' in there["messages"][0]["content"]
    assert there["messages"][1:] == top["messages"]
    assert top["messages"] == [{"role": "user", "content": "hi"}]
    assert lost == [("output_schema", "converted")]


def test_what_was_lost_of_a_turns_reasoning_has_a_placeholder(model: Model) -> None:
    calls = [
        {"role": "assistant", "tool_calls": [1]},
        {"role": "assistant", "tool_calls": [1], "r": "hm"},
        {"role": "user"},
    ]
    there, _ = fitted({"messages": calls}, model, placeholder=" ", replay_field="r")
    assert [message.get("r") for message in there["messages"]] == [" ", "hm", None]


def test_top_k_goes_to_who_takes_it(model: Model) -> None:
    losses = [Loss("top_k", "this protocol has no such field")]
    top: Json = {}
    fit(top, Rules(takes=frozenset({"top_k"})), NAMES, request(top_k=5), model, losses)
    assert (top, losses) == ({"top_k": 5}, [])


ASK = Ask(
    on={"think": {"type": "on"}},
    off={"think": {"type": "off"}},
    effort="think.effort",
    efforts=("low", "high"),
)


@pytest.mark.parametrize(
    ("ask", "wanted", "says", "lost"),
    [
        (ASK, Reasoning("enabled"), {"think": {"type": "on"}}, []),
        (ASK, Reasoning("disabled"), {"think": {"type": "off"}}, []),
        (ASK, Reasoning(effort="none"), {"think": {"type": "off"}}, []),
        (ASK, Reasoning(effort="low"), {"think": {"type": "on", "effort": "low"}}, []),
        (ASK, Reasoning(effort="max"), {"think": {"type": "on", "effort": "high"}}, ["converted"]),  # W38
        (ASK, Reasoning("enabled", 30_000), {"think": {"type": "on", "effort": "high"}}, []),
        (replace(ASK, off=None), Reasoning("disabled"), {}, ["dropped"]),  # W40
        (replace(ASK, budget="tokens", least_budget=99), Reasoning("enabled", 50), BUDGET, []),
        (Ask(), Reasoning(effort="high"), {}, ["dropped"]),
        (Ask(), Reasoning("enabled"), {}, []),
    ],
)  # fmt: skip
def test_reasoning_is_asked_for_in_the_vendors_words(
    ask: Ask, wanted: Reasoning, says: Json, lost: list[str], model: Model
) -> None:
    top: Json = {"reasoning_effort": "medium", "enable_thinking": True}
    losses: list[Loss] = []
    ask_for_reasoning(top, wanted, ask, NAMES, model, losses)
    assert top == says
    assert [(loss.path, loss.fate) for loss in losses] == [("thinking", fate) for fate in lost]


def test_who_does_not_think_is_not_asked_to(model: Model) -> None:
    plain = replace(model, can=frozenset())
    losses: list[Loss] = []
    top: Json = {}
    ask_for_reasoning(top, Reasoning("enabled"), ASK, NAMES, plain, losses)
    assert top == {}
    assert [loss.path for loss in losses] == ["thinking"]
    assert not thinks(request(reasoning=Reasoning("enabled")), Rules(ask=ASK), plain)


@pytest.mark.parametrize(
    ("wanted", "ask", "answer"),
    [
        (None, ASK, True),
        (None, replace(ASK, unasked=False), False),
        (Reasoning("enabled"), replace(ASK, unasked=False), True),
        (Reasoning("disabled"), ASK, False),
        (Reasoning("disabled"), replace(ASK, off=None), True),
    ],
)
def test_whether_a_model_will_think_is_known_beforehand(
    wanted: Reasoning | None, ask: Ask, answer: bool, model: Model
) -> None:
    assert thinks(request(reasoning=wanted), Rules(ask=ask), model) == answer
