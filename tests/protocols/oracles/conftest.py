"""Everything recorded, whichever protocol it was spoken in, read once for all tests."""

import gzip
import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.core.conversation import Request
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol, ReplyContext

Json = dict[str, Any]

FILES = {
    "dev_anthropic_messages": "anthropic-messages",
    "dev_openai_chat": "openai-chat",
    "dev_openai_responses": "openai-responses",
    "dev_gemini": "gemini",
    "dev_vercel_responses": "",
}
# What tells one protocol's replies and events from another's: a field of the first of them.
SIGNS = {
    "choices": "openai-chat",
    "candidates": "gemini",
    "output": "openai-responses",
    "content": "anthropic-messages",
}
GEMINIS_PATH = re.compile(r"/models/([^:]+):(\w+)")


@dataclass(frozen=True)
class Recorded:
    """One interaction. `request` is none where only the reply was kept; one of `body` and `stream` is there."""

    id: str
    home: Protocol
    status: int
    asked: Json | None
    body: Any
    stream: bytes

    def __repr__(self) -> str:
        return f"{self.home.name}: {self.id}"

    @property
    def model_id(self) -> str:
        return str((self.asked or {}).get("model") or "m")

    @property
    def request(self) -> Request:
        assert self.asked is not None
        return self.home.read_request(self.asked, b"")

    @property
    def context(self) -> ReplyContext:
        """What a client would be told if the engine took no name of its own for anything."""
        return ReplyContext(model="shown", id="msg_weave_1", created=1_700_000_000)


@pytest.fixture(scope="session")
def recorded() -> list[Recorded]:
    folder = os.environ.get("WEAVE_RECORDINGS")
    if not folder:
        pytest.skip("WEAVE_RECORDINGS names no folder of recordings")
    return _read(folder)


@cache
def _read(folder: str) -> list[Recorded]:
    rows: list[Recorded] = []
    for name, protocol in FILES.items():
        with gzip.open(Path(folder) / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            found = [_row(json.loads(line), protocol) for line in lines]
        rows += [row for row in found if row is not None]
    return rows


def _row(row: Json, protocol: str) -> Recorded | None:
    """None where it is traffic of another kind: embeddings, pictures, voices."""
    name = protocol or _protocol_of(row)
    if not name:
        return None
    stream = row.get("sse", "").encode()
    if "events" in row:
        stream = b"".join(b"data: " + orjson.dumps(event) + b"\r\n\r\n" for event in row["events"])
        stream += b"data: [DONE]\n\n" if name == "openai-chat" else b""
    return Recorded(
        row["id"], PROTOCOLS[name], row.get("status", 200), _asked(row, name), row.get("response"), stream
    )


def _asked(row: Json, name: str) -> Json | None:
    if "request" not in row:
        return None
    asked: Json = row["request"]
    if name == "gemini":  # whose model is in the path, and whether it streams
        found = GEMINIS_PATH.search(row["path"])
        assert found is not None
        asked = {**asked, "model": found[1], "stream": found[2] == "streamGenerateContent"}
    return asked


def _protocol_of(row: Json) -> str:
    events = row.get("events")
    sample: Any = row.get("response") if events is None else next(iter(events), {})
    if not isinstance(sample, dict) or sample.get("object") == "text_completion":
        return ""
    kind = str(sample.get("type", ""))
    if events is not None and kind.startswith("response."):
        return "openai-responses" if kind == "response.created" else ""
    if events is not None and kind == "message_start":
        return "anthropic-messages"
    if kind not in ("", "message"):
        return ""
    return next((name for sign, name in SIGNS.items() if sign in sample), "")
