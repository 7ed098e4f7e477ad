"""Requests that the real vendors took are taken by the simulator too, so that its refusals can be believed."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.simulator.app import WIRES
from engine.simulator.models import MODELS, PROVIDERS
from engine.simulator.wire import Asked, Refused

# What a stand-in model rightly refuses: seals of other models' thoughts, and knobs it does not have.
RIGHTLY = (
    "Invalid `signature` in `thinking` block",
    "Unrecognized request argument supplied: reasoning_effort",
    "Unsupported parameter: 'stop' is not supported with this model.",
    "Thought signature is not valid.",
)
BETAS = {
    "anthropic-beta": "context-management-x,mcp-client-x,structured-x",
    "anthropic-version": "2023-06-01",
}


def rows(variable: str, pattern: str) -> Iterator[dict[str, Any]]:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set: it names the folder of recorded traffic")
    for path in sorted(Path(folder).glob(pattern)):
        with gzip.open(path) as lines:
            yield from map(json.loads, lines)


def refusals(requests: Iterator[tuple[dict[str, str], Any]], provider: str, model: str) -> Counter[str]:
    """What the simulator says against these requests, asked of one of its models. `""` counts all of them."""
    wire = WIRES[PROVIDERS[provider].protocol]
    said: Counter[str] = Counter()
    for headers, body in requests:
        said[""] += 1
        try:
            asked = body if "@model" in body else {**body, "model": model}
            wire.read(Asked(PROVIDERS[provider], headers, asked, MODELS), "answer")
        except Refused as refused:
            if not refused.message.endswith(RIGHTLY):
                said[refused.message] += 1
    return said


@pytest.mark.parametrize(
    ("file", "host", "provider", "model"),
    [
        ("dev_anthropic_messages.jsonl.gz", "api.anthropic.com", "anthropic", "claude-opus-5-5"),
        ("dev_openai_chat.jsonl.gz", "api.openai.com", "openai", "gpt-4.1"),
        ("dev_openai_chat.jsonl.gz", "api.openai.com", "openai", "gpt-5.4"),
        ("dev_openai_chat.jsonl.gz", "openrouter.ai", "openrouter", "anthropic/claude-opus-4.5"),
        ("dev_openai_chat.jsonl.gz", "api.deepseek.com", "deepseek", "deepseek-chat"),
    ],
)
def test_what_a_vendor_took_is_taken(file: str, host: str, provider: str, model: str) -> None:
    taken = (
        (BETAS, row["request"])
        for row in rows("WEAVE_RECORDINGS", file)
        if row["host"] == host
        and row["status"] == 200
        and isinstance(row["request"], dict)
        and row["path"].endswith(("/messages", "/chat/completions"))
    )
    said = refusals(taken, provider, model)
    assert said.pop("") > 0
    assert said == Counter()


@pytest.mark.parametrize("model", ["gemini-3-flash-preview", "gemini-2.5-flash"])
def test_what_google_took_is_taken(model: str) -> None:
    taken: Iterator[tuple[dict[str, str], Any]] = (
        ({}, {**row["request"], "@model": model, "@stream": False})
        for row in rows("WEAVE_RECORDINGS", "dev_gemini.jsonl.gz")
        if row["status"] == 200 and model in row["path"]
    )
    said = refusals(taken, "google", model)
    assert said.pop("") > 50
    assert said == Counter()


@pytest.mark.parametrize("client", ["claude-code", "opencode", "sdk-python"])
def test_what_agents_send_to_anthropic_is_taken(client: str) -> None:
    sent = (
        ({name.lower(): value for name, value in row["headers"]}, row["body"])
        for row in rows("WEAVE_CAPTURES", f"{client}.jsonl.gz")
        if row["path"].endswith("/messages") and isinstance(row["body"], dict)
    )
    said = refusals(sent, "anthropic", "claude-opus-5-5")
    assert said.pop("") > 0
    assert said == Counter()
