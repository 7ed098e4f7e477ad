"""What no small conversation shows: calls seen before, and crowds. The rest are rows in `tests/cases/features/`."""

import json
from time import perf_counter

import pytest

from engine.core.conversation import Image, Message, Part, Request, Text, Tool, ToolCall, ToolResult, Tuning
from engine.features import FeatureValue, features, survey
from engine.features.walk import Walk


def values(
    *messages: Message, system: tuple[Text, ...] = (), tools: tuple[Tool, ...] = ()
) -> dict[str, FeatureValue]:
    request = Request("openai-chat", "m", system, messages, tools, Tuning(), False, b"", {})
    return features(survey(request, {}), None)


def call(number: int, tool: str, **arguments: str) -> Message:
    return Message("assistant", (ToolCall(str(number), tool, json.dumps(arguments)),))


def result(number: int, text: str) -> Message:
    return Message("user", (ToolResult(str(number), (Text(text),)),))


def steps(count: int) -> list[Message]:
    """A conversation that reads, edits and tests, over and over."""
    messages = [Message("user", (Text("mend it"),))]
    for step in range(0, count, 3):
        messages += [
            call(step, "Read", file_path=f"/r/m{step}.py"),
            result(step, "1\tx"),
            call(step + 1, "Edit", file_path=f"/r/m{step}.py", old_string="x", new_string="y"),
            result(step + 1, "done"),
            call(step + 2, "Bash", command=f"pytest tests/t{step}.py"),
            result(step + 2, "=== 1 failed in 0.1s ==="),
        ]
    return messages


def test_a_call_seen_in_another_conversation_is_read_the_same() -> None:
    edit = call(1, "Bash", command="sed -i s/a/b/ first.go")
    first, second = values(edit), values(Message("user", (Text("mend it"),)), edit)
    assert first["focus_file"] == second["focus_file"] == "first.go"
    assert first["language"] == second["language"] == "go"


def test_the_same_arguments_mean_what_their_tool_does() -> None:
    assert values(call(1, "Read", path="a.py"), result(1, "x"))["file_chunks"] == 1
    assert values(call(1, "Edit", path="a.py"), result(1, "x"))["file_chunks"] == 0


def test_a_crowd_is_counted_nearly_as_if_walked_whole() -> None:
    few, many = values(*steps(3_000)), values(*steps(30_000))
    for name in ("tools_used", "tool_results", "file_chunks", "session_test_failures", "context_tokens"):
        assert many[name] == pytest.approx(10 * few[name], rel=0.02)
    for name in ("turn", "client", "first_user_hash", "phase", "language", "last_tool", "repeated_calls"):
        assert many[name] == few[name]
    assert many["messages"] == 60_001


def test_many_parts_in_one_place_are_counted_by_samples() -> None:
    shown: tuple[Part, ...] = (
        *[Image("image/png", "iVBORw0KGgo=")] * 3_000,
        *[Text("a line of text")] * 3_000,
    )
    seen = values(Message("user", (ToolResult("1", shown),)))
    assert seen["images"] == pytest.approx(3_000, rel=0.01)
    texts = values(system=(Text("a line of text"),) * 3_000)
    assert texts["context_tokens"] == pytest.approx(3_000 * 2.87, rel=0.05)


def test_many_tools_are_weighed_by_the_first() -> None:
    def offered(count: int) -> float:
        schema = {"type": "object", "properties": {"path": {"type": "string"}}}
        seen = values(tools=tuple(Tool(f"tool_{number:05}", "does this", schema) for number in range(count)))
        return float(seen["context_tokens"])

    assert offered(5_000) == pytest.approx(10 * offered(500), rel=0.05)


def test_of_equally_many_votes_the_latest_language_wins() -> None:
    walk = Walk("openai-chat")
    walk.messages([call(1, "Read", path="a.go"), call(2, "Read", path="b.py")])
    assert walk.language() == "python"
    walk.messages([call(3, "Edit", path="a.go"), call(4, "Read", path="b.rs"), call(5, "Read", path="b.rs")])
    assert walk.language() == "go"
    walk.messages([call(number, "Read", path="b.rs") for number in range(6, 40)])
    assert walk.language() == "rust"


def _calls(count: int) -> list[Message]:
    return [call(at, "Bash", command=f"cd x{at} && make test > out{at}.py | tail") for at in range(count)]


@pytest.mark.parametrize(
    "messages",
    [
        [Message("user", (Text("hi"),))] * 300_000,
        [Message("user", (Text("hi < there"),) * 300_000)],
        [Message("user", (ToolResult("1", (Text("hi"),) * 300_000),))],
        _calls(60_000),
    ],
    ids=["messages", "texts", "texts of a result", "calls"],
)
def test_a_crowd_takes_little_time(messages: list[Message]) -> None:
    started = perf_counter()
    values(*messages)
    assert perf_counter() - started < 0.5
