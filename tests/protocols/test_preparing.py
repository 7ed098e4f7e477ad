"""What a vendor refuses leaves the canonical form, and is reported; what it takes stays the very same object."""

from typing import Any

import pytest

from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Message,
    Part,
    Request,
    Sealed,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Tuning,
)
from engine.protocols.dialects import Rules
from engine.protocols.mapping import protocol_map
from engine.protocols.preparing import has_strange_ids, prepared, without_keywords

LIMITS = protocol_map("openai-chat").limits
MARK = {"type": "ephemeral"}


def asked(*messages: Message, tools: tuple[Tool, ...] = (), system: tuple[Part, ...] = ()) -> Request:
    return Request("openai-chat", "m", system, messages, tools, Tuning(), False, b"", {})


def fitted(request: Request, **rules: Any) -> tuple[Request, list[str]]:
    losses: list[Loss] = []
    return prepared(request, Rules(**rules), LIMITS, losses), [loss.path for loss in losses]


def test_a_request_with_nothing_to_change_is_the_same_object() -> None:
    request = asked(Message("user", (Text("hi"),)), tools=(Tool("Read"),))
    every: dict[str, Any] = {
        "cache_control": False,
        "replay": "never",
        "carries": frozenset(),
        "strict_tools": False,
    }
    assert fitted(request, **every) == (request, [])
    assert prepared(request, Rules(**every), LIMITS, []) is request


def test_cache_marks_are_taken_out_wherever_they_are() -> None:  # G63
    result = ToolResult("c", (Text("in", MARK),), cache_control=MARK)
    request = asked(
        Message("user", (result,)), tools=(Tool("R", cache_control=MARK),), system=(Text("s", MARK),)
    )
    there, lost = fitted(request, cache_control=False)
    assert there.system == (Text("s"),)
    assert there.messages == (Message("user", (ToolResult("c", (Text("in"),)),)),)
    assert there.tools == (Tool("R"),)
    assert lost == [
        "tools.0.cache_control",
        "system.0.cache_control",
        "messages.0.content.0.content.0.cache_control",
        "messages.0.content.0.cache_control",
    ]


def test_what_cannot_be_carried_leaves_a_word_behind() -> None:
    parts = (Image(url="u"), Document("application/pdf", base64="x", name="a.pdf"), Document(text="t"))
    there, lost = fitted(asked(Message("user", (ToolResult("c", parts),))), carries=frozenset())
    (result,) = there.messages[0].parts
    assert isinstance(result, ToolResult)
    assert result.parts == (
        Text("[an image that could not be carried]"),
        Text("[a document that could not be carried: a.pdf]"),
        Document(text="t"),
    )
    assert lost == ["messages.0.content.0.content.0", "messages.0.content.0.content.1"]


def thought(field: str = "reasoning_content") -> Thinking:
    return Thinking("hm", Sealed("openai-chat", {"field": field}))


TURNS = (
    Message("user", (Text("a"),)),
    Message("assistant", (thought(), Text("b"))),
    Message("user", (Text("c"),)),
    Message("assistant", (thought(), ToolCall("1", "f", "{}"))),
    Message("user", (ToolResult("1", ()),)),
    Message("assistant", (thought(), Text("d"))),
)


@pytest.mark.parametrize(
    ("replay", "kept"),
    [("as_it_came", [1, 3, 5]), ("always", [1, 3, 5]), ("tool_turns", [3, 5]), ("never", [])],
)
def test_reasoning_goes_back_as_the_vendor_wants_it(replay: str, kept: list[int]) -> None:  # G65
    there, lost = fitted(asked(*TURNS), replay=replay, replay_field="reasoning_content")
    found = [at for at, one in enumerate(there.messages) if any(isinstance(p, Thinking) for p in one.parts)]
    assert found == kept
    assert lost == [f"messages.{at}.content.0" for at in (1, 3, 5) if at not in kept]


@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("reasoning", {"field": "reasoning"}),
        ("content", {"content": {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}}),
    ],
)
def test_reasoning_goes_back_where_the_vendor_looks_for_it(field: str, data: dict[str, Any]) -> None:  # G30
    there, lost = fitted(asked(Message("assistant", (thought(),))), replay="always", replay_field=field)
    assert there.messages[0].parts == (Thinking("hm", Sealed("openai-chat", data)),)
    assert lost == []


def test_another_vendors_thinking_is_not_made_the_vendors_own() -> None:
    foreign = Thinking("hm", Sealed("anthropic-messages", {"signature": "s"}))
    request = asked(Message("assistant", (foreign, Text("a"))))
    assert fitted(request, replay="always", replay_field="reasoning_content")[0] is request


def test_more_tools_than_the_vendor_takes_are_reported_as_content() -> None:
    losses: list[Loss] = []
    request = asked(tools=(Tool("a"), Tool("b"), Tool("c")))
    there = prepared(request, Rules(tools=2), LIMITS, losses)
    assert [tool.name for tool in there.tools] == ["a", "b"]
    assert [(loss.path, loss.stake) for loss in losses] == [("tools.2", "content")]


def test_keywords_go_and_properties_of_their_name_stay() -> None:  # W13
    schema = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": "^a", "enum": ["pattern"]}},
        "required": ["pattern"],
        "$defs": {"pattern": {"anyOf": [{"pattern": "b"}, {"type": "string"}]}},
    }
    assert without_keywords(schema, frozenset({"pattern"})) == {
        "type": "object",
        "properties": {"pattern": {"type": "string", "enum": ["pattern"]}},
        "required": ["pattern"],
        "$defs": {"pattern": {"anyOf": [{}, {"type": "string"}]}},
    }


def test_the_same_property_with_two_patterns_goes_without_them() -> None:  # W13
    tools = tuple(Tool(name, schema={"properties": {"p": {"pattern": name}}}) for name in "ab")
    there, lost = fitted(asked(tools=tools), schema_drops=frozenset({"pattern"}))
    assert [tool.schema for tool in there.tools] == [{"properties": {"p": {}}}] * 2
    assert lost == ["tools.0.schema", "tools.1.schema"]


def test_ids_that_a_vendor_refuses_are_noticed() -> None:
    request = asked(Message("assistant", (ToolCall("call.1:a", "f", "{}"),)))  # W18
    assert has_strange_ids(request, LIMITS)
    assert not has_strange_ids(asked(Message("assistant", (ToolCall("call_1", "f", "{}"),))), LIMITS)
