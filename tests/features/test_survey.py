"""Small conversations and what they are worth: one row of `tests/cases/features/*.yaml`, one test."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import yaml

from engine.core.catalog import Model, Price
from engine.core.conversation import (
    Document,
    Image,
    Message,
    Part,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Tuning,
)
from engine.documents import shipped_yaml
from engine.features import estimate_tokens, features, survey, warm

CASES = Path(__file__).parent.parent / "cases" / "features"
OPUS = Model("opus", "frontier", 200_000, 64_000, frozenset(), Price(), ())


def rows() -> Iterator[Any]:
    for file in sorted(CASES.glob("*.yaml")):
        for row in yaml.safe_load(file.read_text(encoding="utf-8")):
            yield pytest.param(row, id=f"{file.stem}: {row['name']}")


def request_of(row: dict[str, Any]) -> Request:
    """A row's request. Messages are short: `user: text`, `system: text`, `assistant: text`, `calls: [...]`,
    `results: [...]`; a text may be a list of texts."""
    body = row.get("body", {})
    return Request(
        protocol=row.get("protocol", "anthropic-messages"),
        model=row.get("model", "some-model"),
        system=tuple(Text(text) for text in listed(row.get("system", []))),
        messages=tuple(message_of(message) for message in row.get("messages", [])),
        tools=tuple(Tool(name) for name in row.get("tools", [])),
        tuning=Tuning(
            max_tokens=row.get("max_tokens"),
            stop=tuple(row.get("stop", [])),
            output_schema=row.get("output_schema"),
            json_mode=row.get("json_mode", False),
        ),
        stream=row.get("stream", False),
        raw=b"",
        body={"max_tokens": row.get("max_tokens", 1000), **body} if not row.get("counting") else body,
    )


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def message_of(row: dict[str, Any]) -> Message:
    parts: list[Part] = []
    role: Role = "assistant" if row.keys() & {"assistant", "calls", "thinking"} else "user"
    if "system" in row:
        return Message("system", tuple(Text(text) for text in listed(row["system"])))
    if "thinking" in row:
        parts.append(Thinking(row["thinking"]))
    parts += [result_of(result) for result in row.get("results", [])]
    parts += [Text(text) for text in listed(row.get("user", row.get("assistant", [])))]
    parts += [Image("image/png", "iVBORw0KGgo=") for _ in range(row.get("images", 0))]
    parts += [Document("application/pdf", "JVBERi0=") for _ in range(row.get("documents", 0))]
    for call in row.get("calls", []):
        arguments = call.get("arguments", {})
        parts.append(
            ToolCall(
                str(call["id"]),
                call["tool"],
                arguments if isinstance(arguments, str) else json.dumps(arguments),
            )
        )
    return Message(role, tuple(parts))


def result_of(row: dict[str, Any]) -> ToolResult:
    shown: list[Part] = [Text(row.get("text", ""))]
    shown += [Image("image/png", "iVBORw0KGgo=") for _ in range(row.get("images", 0))]
    return ToolResult(str(row["id"]), tuple(shown), row.get("error", False))


@pytest.mark.parametrize("row", list(rows()))
def test_a_conversation_has_the_features_its_case_tells(row: dict[str, Any]) -> None:
    found = features(survey(request_of(row), row.get("headers", {})), None)
    expected = row["expect"]
    assert {name: found[name] for name in expected} == expected


def test_the_requested_model_is_named_as_the_catalog_names_it() -> None:
    request = request_of({"model": "claude-opus-4-5[1m]", "messages": [{"user": "hello"}]})
    seen = survey(request, {})
    assert features(seen, OPUS)["requested_model"] == "opus"
    assert features(seen, OPUS)["requested_tier"] == "frontier"
    assert features(seen, None)["requested_model"] == "claude-opus-4-5[1m]"
    assert features(seen, None)["requested_tier"] == ""


def test_an_empty_conversation_has_every_feature() -> None:
    assert features(survey(request_of({}), {}), None)["context_tokens"] == estimate_tokens(request_of({}))


HOSTILE = {
    "one huge text": [Message("user", (Text("a" * 20_000_000),))],
    "spaces": [Message("user", (Text(" \n" * 5_000_000),))],
    "reminders that never close": [Message("user", (Text("<system-reminder>" * 500_000),))],
    "fences": [Message("user", (Text("```" * 2_000_000),))],
    "digits": [Message("user", (Text("1\n" * 2_000_000),))],
    "a shell line": [
        Message(
            "assistant", (ToolCall("1", "bash", json.dumps({"command": "npx " * 100_000 + "A=" * 100_000})),)
        ),
        Message("user", (ToolResult("1", (Text("=" * 500_000 + " 1 failed in " * 100_000),)),)),
    ],
    "a path": [
        Message("assistant", (ToolCall("1", "bash", '{"command": "cat ' + "a/" * 500_000 + '.py"}'),)),
    ],
    "arguments without an end": [
        Message("assistant", (ToolCall("1", "edit", '"path": "' + "\\" * 1_000_000),))
    ],
    "blank output": [
        Message("assistant", (ToolCall("1", "bash", '{"command": "npm test"}'),)),
        Message("user", (ToolResult("1", (Text("\n \t" * 1_000_000 + "Tests"),)),)),
    ],
    "lone surrogates": [Message("user", (Text("\ud800" * 100_000),))],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_takes_bounded_time(name: str) -> None:
    request = request_of({})
    hostile = Request(
        request.protocol,
        "m",
        (),
        tuple(HOSTILE[name]),
        (),
        request.tuning,
        request.stream,
        b"",
        {},
    )
    started = perf_counter()
    features(survey(hostile, {}), None)
    assert perf_counter() - started < 2.0


def test_a_schema_nested_a_thousand_deep_is_weighed() -> None:
    schema: dict[str, Any] = {}
    for _ in range(1_000):
        schema = {"items": schema}
    request = request_of({"messages": [{"user": "hello"}]})
    deep = Request(
        "openai-chat", "m", (), request.messages, (Tool("t", "", schema),), request.tuning, False, b"", {}
    )
    assert estimate_tokens(deep) > 500


def test_a_survey_of_sixty_messages_takes_a_fraction_of_a_millisecond() -> None:
    """The bound is generous, for machines that do other things meanwhile; the figure is printed."""
    code = "\n".join(f"{line}\tdef f_{line}(self, value: int) -> str: return 'x'" for line in range(40))
    messages: list[dict[str, Any]] = [
        {"user": "<system-reminder>" + "x " * 3_000 + "</system-reminder>mend it"}
    ]
    for step in range(30):
        path = f"/repo/src/module_{step % 5}.py"
        call = (
            {"tool": "Read", "arguments": {"file_path": path}},
            {"tool": "Bash", "arguments": {"command": "cd /repo && python -m pytest -q 2>&1 | tail -20"}},
            {
                "tool": "Edit",
                "arguments": {"file_path": path, "old_string": "x" * 500, "new_string": "y = 1\n" * 80},
            },
        )[step % 3]
        output = "E   assert 1 == 2\n" * 60 + "=== 1 failed in 0.1s ===" if step % 3 == 1 else code
        messages += [{"calls": [{"id": step, **call}]}, {"results": [{"id": step, "text": output}]}]
    request = request_of({"system": "word " * 5_000, "messages": messages})
    headers = {"user-agent": "claude-cli/2.1", "x-app": "cli", "x-claude-code-session-id": "s"}
    best = min(_seconds(request, headers) for _ in range(50))
    print(f"survey and features of {len(messages)} messages: {best * 1e6:.0f} µs")
    assert best < 0.002


def _seconds(request: Request, headers: dict[str, str]) -> float:
    started = perf_counter()
    features(survey(request, headers), None)
    return perf_counter() - started


def test_once_warm_nothing_is_read_or_compiled() -> None:
    warm()
    before = shipped_yaml.cache_info().misses
    started = perf_counter()
    survey(request_of({"system": "You are a tester", "messages": [{"user": "hello"}]}), {"user-agent": "x/1"})
    assert shipped_yaml.cache_info().misses == before
    assert perf_counter() - started < 0.05
