"""Captured requests of real clients: who asked, in which session, and what for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.conversation import Message, Text
from engine.core.policy import Inputs, Pinning
from engine.features import FeatureValue, features, survey
from engine.routing.pins import follows_pin, session_of

Values = dict[str, FeatureValue]
Captures = Callable[[str], Any]

TITLES = {
    *("claude-code/28", "claude-code/36", "claude-code/51", "codex/39"),
    *("opencode/01", "opencode/05", "opencode/09"),
}
CLASSIFIERS = {"claude-code/38", "claude-code/47"}
SUMMARIES = {"claude-code/57", "codex/25", "codex/27"}
AGENTS = {
    *(f"claude-code/{number}" for number in (14, 15, 16, 40, 42, 43, 44, 45, 46)),
    *(f"codex/{number}" for number in (15, 16, 20)),
    *(f"opencode/{number}" for number in (18, 19)),
}
AGENT_CLIENTS = ("claude-code", "codex", "opencode")
WORK = {"context", "execute", "validate", "plan"}


def _features(captures: Captures, client: str) -> dict[str, tuple[Any, Values]]:
    return {
        capture.id: (capture, features(survey(capture.request, capture.headers), None))
        for capture in captures(client)
    }


def test_agents_are_recognised_in_every_request(captures: Captures) -> None:
    for client in AGENT_CLIENTS:
        for name, (_, values) in _features(captures, client).items():
            assert (name, values["client"]) == (name, client)


def test_the_python_sdks_are_recognised_by_protocol(captures: Captures) -> None:
    for capture, values in _features(captures, "sdk-python").values():
        expected = "anthropic-sdk" if "messages" in capture.path else "openai-sdk"
        assert (values["client"], values["client_session"]) == (expected, "")
        assert values["first_user_hash"] != ""


def test_sessions_are_those_the_clients_name(captures: Captures) -> None:
    named = {"x-claude-code-session-id": "claude-code", "thread-id": "codex", "x-session-id": "opencode"}
    for header, client in named.items():
        for capture, values in _features(captures, client).values():
            assert str(values["client_session"]).startswith(capture.headers[header])


def test_sub_agents_are_noticed_and_have_sessions_of_their_own(captures: Captures) -> None:
    # W53: all agents of a user send the same user id
    for client in AGENT_CLIENTS:
        seen = _features(captures, client)
        assert {name for name, (_, values) in seen.items() if values["subagent"]} == AGENTS & set(seen)
        parents = {values["client_session"] for _, values in seen.values() if not values["subagent"]}
        for _, values in seen.values():
            if values["subagent"]:
                assert values["client_session"] not in parents
                assert values["parent_session"] in parents
            else:
                assert values["parent_session"] == ""


def test_the_turns_of_one_agent_share_its_session(captures: Captures) -> None:
    seen = _features(captures, "claude-code")
    for group in ((14, 15, 16), (40, 42, 43, 44, 45, 46), (13, 17, 18), (37, 39, 41, 48)):
        assert len({seen[f"claude-code/{number}"][1]["client_session"] for number in group}) == 1


@pytest.mark.parametrize("client", [*AGENT_CLIENTS, "sdk-python"])
def test_chores_are_told_from_work(captures: Captures, client: str) -> None:
    for name, (capture, values) in _features(captures, client).items():
        if capture.path.endswith("count_tokens"):
            expected = {"probe"}
        elif name in TITLES:
            expected = {"title"}
        elif name in CLASSIFIERS:
            expected = {"classifier"}
        elif name in SUMMARIES:
            expected = {"summary"}
        else:
            expected = WORK
        assert values["phase"] in expected, name


def test_a_conversation_keeps_its_hash_from_turn_to_turn(captures: Captures) -> None:
    # W53: clients change their system text with every turn, so it names no session
    for client in AGENT_CLIENTS:
        hashes: dict[FeatureValue, set[FeatureValue]] = {}
        for name, (_, values) in _features(captures, client).items():
            if values["phase"] in WORK and name not in (
                "claude-code/58",
                "claude-code/59",
            ):  # after compaction
                hashes.setdefault(values["client_session"], set()).add(values["first_user_hash"])
        assert hashes
        assert all(len(each) == 1 for each in hashes.values())


def test_claude_code_posing_qwen_is_not_claude_code(captures: Captures) -> None:
    """Qwen Code sends Claude Code's user-agent over the Anthropic protocol, without its other markers."""
    for capture in captures("opencode"):
        posing = {"user-agent": "claude-cli/0.24.4 (external, cli)", "x-app": "cli"}
        assert features(survey(capture.request, posing), None)["client"] != "claude-code"


def test_no_session_is_named_by_text_that_changes(captures: Captures) -> None:
    # W53, W54: clients rewrite their system text and add to the conversation from turn to turn
    for client in (*AGENT_CLIENTS, "sdk-python"):
        for capture, values in _features(captures, client).values():
            later = Message("user", (Text("And now something else."),))
            changed = replace(
                capture.request,
                system=(*capture.request.system, Text("Today is another day.")),
                messages=(*capture.request.messages, later),
            )
            again = features(survey(changed, capture.headers), None)
            for name in ("client_session", "parent_session", "first_user_hash", "subagent"):
                assert (capture.id, again[name]) == (capture.id, values[name])


def test_a_sub_agent_and_a_chore_never_set_or_follow_the_pin_of_the_work(captures: Captures) -> None:
    # W53, W54: a title is asked for just before the first turn, and agents work beside each other
    keys = Pinning().key
    for client in AGENT_CLIENTS:
        seen = _features(captures, client)
        sessions: dict[str, set[str]] = {"work": set(), "agent": set()}
        for name, (_, values) in seen.items():
            for hints in ({}, {"session": "job"}):
                inputs: Inputs = {"hints": hints, "features": values, "identity": {"name": "ann"}}
                session = session_of(keys, inputs)
                assert session != session_of(keys, {**inputs, "identity": {"name": "bob"}})
                sessions["agent" if values["subagent"] else "work"].add(session)
            assert follows_pin(values) is (name not in TITLES | CLASSIFIERS | SUMMARIES) or (
                values["phase"] == "probe"
            )
        assert sessions["agent"]
        assert sessions["agent"].isdisjoint(sessions["work"])
