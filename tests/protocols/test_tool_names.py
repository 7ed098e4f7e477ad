"""Names that a vendor refuses go under others and come back."""

from dataclasses import replace

import pytest

from engine.core.conversation import Message, Request, Text, Tool, ToolCall, ToolChoice, Tuning
from engine.core.reply import Reply, Stop, Usage
from engine.core.stream import Event, PartGrew, PartOpened
from engine.protocols.mapping import Limits, protocol_map
from engine.protocols.tool_names import aliases, clients_names, offered, renamed, told_events, told_reply

CHAT = protocol_map("openai-chat").limits
GEMINI = protocol_map("gemini").limits


def request() -> Request:
    calls = (ToolCall("c", "a.b", "{}"), ToolCall("d", "Read", "{}"))
    return Request(
        "anthropic-messages",
        "m",
        (),
        (Message("user", (Text("hi"),)), Message("assistant", calls)),
        (Tool("a.b"), Tool("Read"), Tool("web.search", kind="web_search_20250305")),
        Tuning(tool_choice=ToolChoice("tool", "a.b")),
        False,
        b"",
        {},
    )


@pytest.mark.parametrize("limits", [CHAT, GEMINI], ids=["chat", "gemini"])
@pytest.mark.parametrize("name", ["a b", "x" * 65, "x" * 500, "名前", "7/up", "", "\ud800"])  # W18, W19
def test_an_alias_is_valid_and_always_the_same(name: str, limits: Limits) -> None:
    (alias,) = aliases([name], limits).values()
    assert limits.tool_name.fullmatch(alias)
    assert len(alias) <= limits.tool_name_length
    assert aliases([name], limits) == {name: alias}


def test_names_that_would_be_alike_stay_apart() -> None:
    found = aliases(["a.b", "a/b", "a b", "x" * 70 + "1", "x" * 70 + "2"], CHAT)
    assert len(set(found.values())) == 5


def test_valid_names_stay() -> None:
    assert aliases(["Read", "mcp__a-b_1", "x" * 64], CHAT) == {}
    assert aliases(["a.b:c"], GEMINI) == {}


def test_tools_calls_and_the_choice_are_renamed_alike() -> None:
    (alias,) = aliases(offered(request()), CHAT).values()
    there = renamed(request(), {"a.b": alias})
    assert [tool.name for tool in there.tools] == [alias, "Read", "web.search"]
    assert [part.name for part in there.messages[1].parts if isinstance(part, ToolCall)] == [alias, "Read"]
    assert there.tuning.tool_choice == ToolChoice("tool", alias)
    assert there.messages[0] is not None
    assert clients_names(request(), CHAT) == {alias: "a.b"}


def test_nothing_to_rename_leaves_the_request_itself() -> None:
    one = request()
    assert renamed(one, {}) is one


def test_answers_speak_of_tools_as_the_client_does() -> None:
    call, other = ToolCall("c", "alias", "{}"), ToolCall("d", "Read", "{}")
    reply = Reply("r", "m", (Text("hi"), call, other), Stop("tool_use"), Usage())
    parts = (Text("hi"), replace(call, name="a.b"), other)
    assert told_reply(reply, {"alias": "a.b"}) == replace(reply, parts=parts)
    assert told_reply(reply, {}) is reply
    events: list[Event] = [PartOpened(0, call), PartGrew(0, "{}")]
    assert told_events([*events], {"alias": "a.b"}) == [PartOpened(0, replace(call, name="a.b")), events[1]]
