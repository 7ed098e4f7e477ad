"""The markers' files follow their schemas, and each condition holds exactly where it should."""

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.core.conversation import Message, Request, Text, Tuning
from engine.documents import shipped_json, shipped_yaml
from engine.features.markers import Look, clients, find, holds, phase_markers
from engine.features.markers import _condition as condition
from engine.features.markers import _source as source


def look(body: Mapping[str, Any] | None = None, tools: frozenset[str] = frozenset()) -> Look:
    request = Request(
        "openai-chat",
        "m",
        (),
        (Message("user", (Text("hello"),)),),
        (),
        Tuning(max_tokens=5, stop=("</block>",), output_schema={"properties": {"title": {}}}),
        False,
        b"",
        body or {},
    )
    return Look(
        request,
        {"user-agent": "claude-cli/2", "empty": ""},
        frozenset({"a tester"}),
        frozenset({"there"}),
        tools,
    )


@pytest.mark.parametrize(
    "file", ["schemas/clients.v1", "schemas/evidence/runs.v1", "schemas/evidence/words.v1"]
)
def test_a_file_of_markers_follows_its_schema(file: str) -> None:
    schema = shipped_json(f"{file}.schema.json")
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(shipped_yaml(f"{file}.yaml"))


def test_no_client_is_identified_by_a_single_marker() -> None:
    assert all(client.needs >= 2 for client in clients())


def test_every_phase_marker_has_conditions() -> None:
    assert all(marker.when for marker in phase_markers())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"header": "user-agent"}, True),
        ({"header": "empty"}, False),
        ({"header": "x-missing"}, False),
        ({"header": "user-agent", "is": "claude-cli"}, False),
        ({"header": "user-agent", "starts": "claude-cli/"}, True),
        ({"header": "user-agent", "contains": "cli/2"}, True),
        ({"header": "x-missing", "contains": "x"}, False),
        ({"body": "metadata.user"}, True),
        ({"body": "metadata.user", "is": "me"}, True),
        ({"body": "metadata.count", "is": "3"}, False),
        ({"body": "metadata.user.name"}, False),
        ({"body": "missing", "absent": True}, True),
        ({"body": "metadata", "absent": True}, False),
        ({"system": "a tester"}, True),
        ({"system": "a teacher"}, False),
        ({"user": "there"}, True),
        ({"tools": ["Bash"]}, True),
        ({"tools": ["Bash", "Edit"]}, False),
        ({"tools": []}, False),
        ({"stop": "</block>"}, True),
        ({"stop": "x"}, False),
        ({"schema": ["title"]}, True),
        ({"schema": ["title", "more"]}, False),
        ({"max_tokens": 5}, True),
        ({"max_tokens": 4}, False),
        ({"messages": 1}, True),
        ({"messages": 0}, False),
        ({"protocol": "openai-chat"}, True),
        ({"protocol": "gemini"}, False),
    ],
)
def test_a_condition_holds_where_it_should(written: dict[str, Any], expected: bool) -> None:
    body = {"metadata": {"user": "me", "count": 3}}
    assert holds(condition(written), look(body, frozenset({"Bash"}))) is expected


def test_the_first_source_that_has_a_text_gives_it() -> None:
    body = {"user": '{"session":"s-1","n":1}', "key": "qwen-code:abc", "long": "x" * 1_000}
    sources = [source({"header": "x-missing"}), source({"body": "user", "json": "session"})]
    assert find(sources, look(body)) == "s-1"
    assert find([source({"body": "key", "after": "qwen-code:"})], look(body)) == "abc"
    assert find([source({"body": "key", "after": "nothing"})], look(body)) == ""
    assert find([source({"body": "user", "json": "n"})], look(body)) == ""
    assert len(find([source({"body": "long"})], look(body))) == 300


@pytest.mark.parametrize("held", ['{"session":', "[1]", "{" * 5_000, 7, None, ["s"]])
def test_a_source_of_the_wrong_shape_gives_nothing(held: object) -> None:
    assert find([source({"body": "user", "json": "session"})], look({"user": held})) == ""
