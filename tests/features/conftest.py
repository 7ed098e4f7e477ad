"""Real requests for the tests of features: captures and recordings, read where the environment names their folders."""

import gzip
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.core.conversation import Request
from engine.protocols import PROTOCOLS

PATHS = {
    "/v1/messages": "anthropic-messages",
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
}


@dataclass(frozen=True, slots=True)
class Capture:
    """One captured request, as a proxy sees it."""

    id: str
    path: str
    headers: Mapping[str, str]
    request: Request


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded call: what was asked, and the prompt tokens the provider charged for it."""

    id: str
    host: str
    request: Request
    prompt_tokens: int


def _lines(variable: str, file: str) -> Iterator[Any]:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} does not name a folder")
    with gzip.open(Path(folder) / file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _request(path: str, body: Mapping[str, Any]) -> Request:
    protocol = PROTOCOLS[PATHS[path.removesuffix("/count_tokens")]]
    return protocol.read_request(body, json.dumps(body).encode())


@pytest.fixture(scope="session")
def captures() -> Callable[[str], tuple[Capture, ...]]:
    """The captured requests of a client in the protocols that can be read."""

    def read(client: str) -> tuple[Capture, ...]:
        return tuple(
            Capture(
                entry["id"],
                entry["path"],
                {name.lower(): value for name, value in entry["headers"]},
                _request(entry["path"], entry["body"]),
            )
            for entry in _lines("WEAVE_CAPTURES", f"{client}.jsonl.gz")
            if entry["method"] == "POST" and entry["path"].removesuffix("/count_tokens") in PATHS
        )

    return read


@pytest.fixture(scope="session")
def recordings() -> Callable[[str], tuple[Recording, ...]]:
    """The recorded calls of a file that succeeded and whose usage is known."""

    def read(file: str) -> tuple[Recording, ...]:
        return tuple(
            Recording(entry["id"], entry["host"], _request(_path(entry["path"]), entry["request"]), tokens)
            for entry in _lines("WEAVE_RECORDINGS", f"{file}.jsonl.gz")
            if entry["status"] == 200 and (tokens := _prompt_tokens(entry))
        )

    return read


def _path(path: str) -> str:
    return next(known for known in PATHS if known.removeprefix("/v1") in path)


def _prompt_tokens(entry: Mapping[str, Any]) -> int:
    """Prompt tokens whatever the vendor's convention, cached ones included; the largest a stream reports."""
    usages: list[Mapping[str, Any]] = []
    response = entry.get("response")
    if isinstance(response, dict):
        usages.append(response.get("usage") or {})
    for line in str(entry.get("sse") or "").splitlines():
        if line.startswith("data:") and '"usage"' in line:
            event = json.loads(line[5:])
            usages.append(event.get("usage") or (event.get("message") or {}).get("usage") or {})
    return max(map(_tokens, usages), default=0)


def _tokens(usage: Mapping[str, Any]) -> int:
    if "prompt_tokens" in usage:
        return usage["prompt_tokens"] or 0
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(usage.get(name) or 0 for name in names)
