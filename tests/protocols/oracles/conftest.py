"""Everything recorded, whichever protocol it was spoken in, read once for all tests."""

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import anthropic
import httpx
import httpx2
import openai
import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from google import genai
from google.genai import types as google
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from engine.core.conversation import Request
from engine.core.stream import Event
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
STARTS, ENDS = ("message_start", "response.created"), ("message_stop", "response.completed")
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
    def events(self) -> list[Event]:
        """The stream, read."""
        reader = self.home.event_reader()
        return [*reader.feed(self.stream), *reader.close()]

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
            rows += [
                read for line in lines for row in _single(json.loads(line)) if (read := _row(row, protocol))
            ]
    return rows


def _single(row: Json) -> list[Json]:
    """The row, or a row for each reply where several follow one another in one list of events."""
    replies: list[list[Any]] = [[]]
    for event in row.get("events") or ():
        if isinstance(event, dict) and event.get("type") in STARTS and _ended(replies[-1]):
            replies.append([])
        replies[-1].append(event)
    if len(replies) == 1:
        return [row]
    return [row | {"id": f"{row['id']}#{at}", "events": events} for at, events in enumerate(replies)]


def _ended(events: list[Any]) -> bool:
    return bool(events) and events[-1].get("type") in ENDS


def _row(row: Json, protocol: str) -> Recorded | None:
    """None where it is traffic of another kind: embeddings, pictures, voices."""
    name = protocol or _protocol_of(row)
    if not name:
        return None
    stream = row.get("sse", "").encode()
    if "events" in row:
        stream = b"".join(map(_frame, row["events"])) + (
            b"data: [DONE]\n\n" if name == "openai-chat" else b""
        )
    return Recorded(
        row["id"], PROTOCOLS[name], row.get("status", 200), _asked(row, name), row.get("response"), stream
    )


def _frame(event: Json) -> bytes:
    """An event as its vendor sends it."""
    kind = f"event: {event['type']}\r\n".encode() if isinstance(event.get("type"), str) else b""
    return kind + b"data: " + orjson.dumps(event) + b"\r\n\r\n"


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


# ---- the vendors' own types and accumulators


def frames(stream: bytes) -> Iterator[tuple[str, bytes]]:
    """The name and the data of each frame of a stream that is written properly."""
    for block in stream.replace(b"\r\n", b"\n").split(b"\n\n"):
        name = b""
        for line in block.split(b"\n"):
            if line.startswith(b"event: "):
                name = line[7:]
            elif line.startswith(b"data: "):
                yield name.decode(), line[6:]


class Vendors:
    """The SDKs, fed with bytes instead of a network."""

    def __init__(self) -> None:
        self._bytes = b""
        told = {"content-type": "text/event-stream"}
        older = httpx.Client(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, headers=told, content=self._bytes))
        )
        newer = httpx2.Client(
            transport=httpx2.MockTransport(lambda _: httpx2.Response(200, headers=told, content=self._bytes))
        )
        self._anthropic = anthropic.Anthropic(api_key="k", http_client=newer, max_retries=0)
        self._openai = openai.OpenAI(api_key="k", http_client=newer, max_retries=0)
        self._google = genai.Client(api_key="k", http_options=google.HttpOptions(httpx_client=older))
        self._replies: dict[str, type[BaseModel]] = {
            "anthropic-messages": Message,
            "openai-chat": ChatCompletion,
            "openai-responses": Response,
            "gemini": google.GenerateContentResponse,
        }
        self._events = {
            "anthropic-messages": _by_type(RawMessageStreamEvent),
            "openai-responses": _by_type(ResponseStreamEvent),
        }

    def check_reply(self, protocol: Protocol, body: Any) -> None:
        self._replies[protocol.name].model_validate_json(orjson.dumps(body), strict=True)

    def check_event(self, protocol: Protocol, data: bytes) -> None:
        if protocol.name == "openai-chat":
            ChatCompletionChunk.model_validate_json(data, strict=True)
        elif protocol.name == "gemini":
            google.GenerateContentResponse.model_validate_json(data, strict=True)
        else:
            kind = orjson.loads(data)["type"]
            self._events[protocol.name][kind].model_validate_json(data, strict=True)

    def accumulated(self, protocol: Protocol, stream: bytes) -> Any:
        """The whole reply that the vendor's SDK makes of a stream. Raises whatever it raises."""
        self._bytes = stream
        match protocol.name:
            case "anthropic-messages":
                said: Any = [{"role": "user", "content": "hi"}]
                with self._anthropic.messages.stream(model="m", max_tokens=9, messages=said) as message:
                    return _plain(message.get_final_message())
            case "openai-chat":
                state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
                said = [{"role": "user", "content": "hi"}]
                for chunk in self._openai.chat.completions.create(model="m", messages=said, stream=True):
                    state.handle_chunk(chunk)
                return _plain(state.current_completion_snapshot)
            case "openai-responses":
                with self._openai.responses.stream(model="m", input="hi") as events:
                    ending: Any = list(events)[-1]  # a response may be incomplete too
                    return _plain(ending.response)
            case _:
                chunks = self._google.models.generate_content_stream(model="m", contents="hi")
                return _joined(
                    [chunk.model_dump(by_alias=True, exclude_none=True, mode="json") for chunk in chunks]
                )


def _plain(value: BaseModel) -> Any:
    return value.model_dump(by_alias=True, exclude_none=True, mode="json", warnings=False)


def _joined(chunks: list[Any]) -> Any:
    """Google's SDK leaves joining the chunks to its users."""
    parts: list[Any] = []
    candidate: Json = {}
    whole: Json = {}
    for chunk in chunks:
        for one in chunk.get("candidates") or ():
            content = one.pop("content", None) or {}
            parts += content.get("parts") or ()
            candidate |= one
        whole |= chunk
    return whole | {"candidates": [candidate | {"content": {"role": "model", "parts": parts}}]}


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    """The members of a union of events, by the type they carry."""
    members = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


@pytest.fixture(scope="session")
def vendors() -> Vendors:
    return Vendors()


# ---- the order of events in a written stream


class Order:
    """What a client may rely on, one state machine for each protocol. Raises AssertionError, or returns how the stream
    ends: in `done` or in `error`."""

    def __call__(self, protocol: Protocol, stream: bytes) -> str:
        told = list(frames(stream))
        assert told, "nothing was told"
        follow = {
            "anthropic-messages": self._anthropic,
            "openai-chat": self._chat,
            "openai-responses": self._responses,
            "gemini": self._gemini,
        }[protocol.name]
        return follow(told)

    def _anthropic(self, told: list[tuple[str, bytes]]) -> str:
        events = [orjson.loads(data) for _, data in told]
        assert [name for name, _ in told] == [event["type"] for event in events]
        events = [event for event in events if event["type"] != "ping"]
        if events[-1]["type"] == "error":
            assert events[-1]["error"]["type"]
            assert events[-1]["error"]["message"]
            events.pop()
            ended = "error"
        else:
            assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
            *events, end, _ = events
            assert end["delta"]["stop_reason"]
            assert end["usage"]["output_tokens"] >= 0
            assert end["usage"]["input_tokens"] >= 0
            ended = "done"
        if ended == "done" or events:
            start = events.pop(0)
            assert start["type"] == "message_start"
            assert start["message"]["id"]
            assert start["message"]["content"] == []
            assert "input_tokens" in start["message"]["usage"]
        self._anthropic_blocks(events, ended)
        return ended

    def _anthropic_blocks(self, events: list[Any], ended: str) -> None:
        block: Json | None = None
        blocks = 0
        for event in events:
            kind = event["type"].removeprefix("content_block_")
            if kind == "start":
                assert block is None, "a block opens while another is open"
                assert event["index"] == blocks
                block = event["content_block"]
            elif kind == "delta":
                assert block is not None
                assert event["index"] == blocks
                assert event["delta"]["type"] in DELTAS.get(block["type"], ("input_json_delta",))
            else:
                assert kind == "stop", event
                assert block is not None
                assert event["index"] == blocks
                block, blocks = None, blocks + 1
        assert block is None or ended == "error"

    def _chat(self, told: list[tuple[str, bytes]]) -> str:
        data = [one for _, one in told]
        assert not any(name for name, _ in told)
        ended = "done" if data[-1] == b"[DONE]" else "error"
        if ended == "done":
            data.pop()
        chunks = [orjson.loads(one) for one in data]
        if ended == "error":
            assert chunks.pop()["error"]["message"]
        assert not any("error" in chunk for chunk in chunks)
        assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) <= 1
        usages = [at for at, chunk in enumerate(chunks) if chunk.get("usage")]
        if ended == "done":
            assert usages == [len(chunks) - 1]
            assert chunks.pop()["choices"] == []
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        assert len(choices) == len(chunks)
        assert ["role" in choice["delta"] for choice in choices[:1]] == [True] * bool(choices)
        assert not any("role" in choice["delta"] for choice in choices[1:])
        finished = [at for at, choice in enumerate(choices) if choice["finish_reason"]]
        assert finished == ([len(choices) - 1] if ended == "done" else [])
        self._chat_calls([call for choice in choices for call in choice["delta"].get("tool_calls", ())])
        return ended

    def _chat_calls(self, deltas: list[Any]) -> None:
        opened = 0
        for delta in deltas:
            if delta["index"] == opened:
                assert delta["id"]
                assert delta["type"] == "function"
                assert delta["function"]["name"]
                opened += 1
            else:
                assert 0 <= delta["index"] < opened
                assert delta.keys() <= {"index", "function"}
        ids = [delta["id"] for delta in deltas if "id" in delta]
        assert len(set(ids)) == len(ids) == opened

    def _responses(self, told: list[tuple[str, bytes]]) -> str:
        events = [orjson.loads(data) for _, data in told]
        assert [name for name, _ in told] == [event["type"] for event in events]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        kinds = [event["type"].removeprefix("response.") for event in events]
        end = events[-1]["response"]
        assert kinds[-1] in ("completed", "incomplete", "failed")
        assert end["status"] == kinds[-1]
        assert not {"completed", "incomplete", "failed"} & set(kinds[:-1])
        if kinds[-1] == "failed":
            assert end["error"]["message"]
        else:
            assert end["usage"]["input_tokens_details"].keys() >= {"cached_tokens"}
            assert end["usage"]["output_tokens_details"].keys() >= {"reasoning_tokens"}
            assert (end["incomplete_details"] is not None) == (kinds[-1] == "incomplete")
        if len(events) > 1:
            assert kinds[:2] == ["created", "in_progress"]
        done = self._items(events[2:-1], kinds[2:-1])
        if kinds[-1] == "completed":
            assert [item for _, item in sorted(done.items())] == end["output"]
        return "error" if kinds[-1] == "failed" else "done"

    def _items(self, events: list[Any], kinds: list[str]) -> dict[int, Any]:
        added: dict[int, str] = {}
        done: dict[int, Any] = {}
        texts: dict[tuple[str, int], list[str]] = {}
        for event, kind in zip(events, kinds, strict=True):
            place = event["output_index"]
            if kind == "output_item.added":
                assert place == len(added)
                added[place] = event["item"]["id"]
                continue
            assert place in added
            assert place not in done, f"{kind} comes behind the end of its item"
            if kind == "output_item.done":
                assert event["item"]["id"] == added[place]
                done[place] = event["item"]
                continue
            assert event["item_id"] == added[place]
            of, _, step = kind.rpartition(".")
            at = (added[place], event.get("content_index", event.get("summary_index", 0)))
            if step == "added":
                assert at not in texts
                texts[at] = []
            elif step == "delta":
                assert at in texts or "call" in of, f"{kind} without its part"
                texts.setdefault(at, []).append(event["delta"])
            elif "part" not in of:
                told = event.get("text", event.get("refusal", event.get("arguments", event.get("input"))))
                assert told == "".join(texts[at])
        assert len(set(added.values())) == len(added)
        return done

    def _gemini(self, told: list[tuple[str, bytes]]) -> str:
        chunks = [orjson.loads(data) for _, data in told]
        assert not any(name for name, _ in told)
        if "error" in chunks[-1]:
            assert chunks.pop()["error"]["status"]
            ended = "error"
        else:
            assert chunks[-1]["usageMetadata"]["totalTokenCount"] >= 0
            ended = "done"
        first = [chunk["candidates"][0] for chunk in chunks]
        reasons = ["finishReason" in candidate for candidate in first]
        assert reasons == [False] * (len(first) - (ended == "done")) + [True] * (ended == "done")
        assert all(candidate["content"]["role"] == "model" for candidate in first)
        assert all(candidate["content"]["parts"] for candidate in first)
        assert len({(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks}) <= 1
        return ended


DELTAS = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
    "compaction": ("compaction_delta",),
    "redacted_thinking": (),
}


@pytest.fixture(scope="session")
def order() -> Order:
    return Order()


@pytest.fixture(scope="session")
def written() -> Callable[..., bytes]:
    """Events as a client's stream."""

    def write(protocol: Protocol, events: list[Event], context: ReplyContext) -> bytes:
        writer = protocol.event_writer(context)
        return b"".join([piece for event in events for piece in writer.feed(event)] + writer.close())

    return write


@pytest.fixture(scope="session")
def told(written: Callable[..., bytes]) -> Callable[..., list[bytes]]:
    """The data of each frame of that stream."""
    return lambda *given: [data for _, data in frames(written(*given))]
