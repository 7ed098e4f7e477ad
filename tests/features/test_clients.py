"""Captured requests of real clients: who asked, in which session, and what for."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.features import FeatureValue, features, survey

Values = dict[str, FeatureValue]
Captures = Callable[[str], Any]

TITLES = {"claude-code/28", "claude-code/36", "claude-code/51", "opencode/01", "opencode/09"}
CLASSIFIERS = {"claude-code/38", "claude-code/47"}
SUMMARIES = {"claude-code/57"}
AGENTS = {f"claude-code/{number}" for number in (14, 15, 16, 40, 42, 43, 44, 45, 46)} | {
    f"opencode/{number}" for number in (18, 19)
}
WORK = {"context", "execute", "validate", "plan"}


def _features(captures: Captures, client: str) -> dict[str, tuple[Any, Values]]:
    return {
        capture.id: (capture, features(survey(capture.request, capture.headers), None))
        for capture in captures(client)
    }


def test_claude_code_and_opencode_are_recognised_in_every_request(captures: Captures) -> None:
    for client in ("claude-code", "opencode"):
        for name, (_, values) in _features(captures, client).items():
            assert (name, values["client"]) == (name, client)


def test_the_python_sdks_are_recognised_by_protocol(captures: Captures) -> None:
    for capture, values in _features(captures, "sdk-python").values():
        expected = "openai-sdk" if "chat" in capture.path else "anthropic-sdk"
        assert (values["client"], values["client_session"]) == (expected, "")
        assert values["first_user_hash"] != ""


def test_sessions_are_those_the_clients_name(captures: Captures) -> None:
    for header, client in (("x-claude-code-session-id", "claude-code"), ("x-session-id", "opencode")):
        for capture, values in _features(captures, client).values():
            assert str(values["client_session"]).startswith(capture.headers[header])


def test_sub_agents_are_noticed_and_have_sessions_of_their_own(captures: Captures) -> None:
    # W53: all agents of a user send the same user id
    for client in ("claude-code", "opencode"):
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


@pytest.mark.parametrize("client", ["claude-code", "opencode", "sdk-python"])
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
    for client in ("claude-code", "opencode"):
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
