"""Random conversations to every provider: nothing is raised but a sentence for the client, no word is lost without
being named, no vendor sees another's seals, and every call has its one result.

A machine speaks the conversation turn by turn, with everything in it that agents do; every word it says is new, so
that each can be looked for. It runs the same each time; `make fuzz` runs it longer.
"""

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from engine.core.catalog import Model, Price
from engine.core.conversation import (
    Document,
    Image,
    Loss,
    Message,
    Opaque,
    Part,
    Request,
    Sealed,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Tuning,
)
from engine.core.errors import RequestError
from engine.core.reply import Reply, Stop, Usage
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Encoded, Protocol, ReplyContext

EXAMPLES = int(os.environ.get("WEAVE_FUZZ_EXAMPLES", "90"))
CAN = frozenset({"tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"})
MODEL = Model("able", "frontier", 200_000, 64_000, CAN, Price(), ())
MODEL_IDS = {
    "anthropic-messages": ["claude-sonnet-4-5", "claude-opus-5-5"],
    "openai-chat": ["gpt-4o", "gpt-5.4"],
    "openai-responses": ["gpt-5.4"],
    "gemini": ["gemini-2.5-pro", "gemini-3-flash-preview"],
}
TOOLS = tuple(Tool(name, f"does {name}", {"type": "object", "properties": {}}) for name in ("Read", "Grep"))
MARK = {"type": "ephemeral"}
HI = {"role": "user", "content": "hi"}
CONTEXT = ReplyContext(model="m", id="r1")
WORD = re.compile(r"w\d+w")

origins = st.sampled_from([*PROTOCOLS, ""])
marks = st.sampled_from([None, None, MARK])
call_ids = st.sampled_from(["a", "b", "call.with:dots", "x" * 70, "", "toolu_1", "ünï"])
kinds = st.lists(
    st.sampled_from(["text", "image", "picture", "pdf", "notes", "file"]), min_size=1, max_size=3
)


def seal_of(origin: str, word: str) -> Sealed | None:
    """A seal as its vendor makes it, with a word in it that only the vendor may see."""
    match origin:
        case "anthropic-messages":
            return Sealed(origin, {"signature": f"sig-{word}"})
        case "gemini":
            return Sealed(origin, {"thoughtSignature": f"sig-{word}"})
        case "openai-responses":
            return Sealed(origin, {"id": f"rs_{word}", "encrypted_content": f"sig-{word}"})
        case "openai-chat":
            return Sealed(origin, {"field": "reasoning_content"})
    return None


def note_of(origin: str, word: str) -> Sealed | None:
    """What a vendor says about a text, for its own clients."""
    match origin:
        case "anthropic-messages":
            cited = {"type": "char_location", "cited_text": word, "document_index": 0}
            return Sealed(origin, {"citations": [cited]})
        case "openai-responses":
            found = {
                "type": "url_citation",
                "title": word,
                "url": "https://host",
                "start_index": 0,
                "end_index": 1,
            }
            return Sealed(origin, {"annotations": [found]})
    return None


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._said = 0
        self._system: tuple[Part, ...] = ()
        self._messages: list[Message] = []
        self._open: list[str] = []  # ids of calls without a result, in order

    def word(self) -> str:
        self._said += 1
        return f"w{self._said}w"

    def content(self, kind: str, mark: Any) -> Part:
        word = self.word()
        data = b64encode(f"{word} and more".encode()).decode()
        match kind:
            case "image":
                return Image("image/png", data, cache_control=mark)
            case "picture":
                return Image(url=f"https://host/{word}.png", detail="low", cache_control=mark)
            case "pdf":
                return Document("application/pdf", data, name="a.pdf", cache_control=mark)
            case "notes":
                return Document("text/plain", text=f"{word} and more", name="notes.txt", cache_control=mark)
            case "file":
                return Document(url=f"https://host/{word}.pdf", media_type="application/pdf")
            case _:
                return Text(word, mark)

    @initialize(mark=marks, parts=st.integers(0, 2))
    def begin(self, mark: Any, parts: int) -> None:
        self._system = tuple(Text(self.word(), mark) for _ in range(parts))

    @rule(kinds=kinds, mark=marks)
    def user_speaks(self, kinds: list[str], mark: Any) -> None:
        self._messages.append(Message("user", tuple(self.content(kind, mark) for kind in kinds)))

    @rule(mark=marks)
    def system_speaks(self, mark: Any) -> None:
        self._messages.append(Message("system", (Text(self.word(), mark),)))

    @rule(origin=origins, ids=st.lists(call_ids, max_size=3), spoken=st.booleans(), first=st.booleans())
    def assistant_speaks(self, origin: str, ids: list[str], spoken: bool, first: bool) -> None:
        parts: list[Part] = [Text(self.word(), None, note_of(origin, self.word()))] if spoken else []
        for call_id in ids:
            parts.append(ToolCall(call_id, "Read", orjson.dumps({"path": self.word()}).decode()))
            self._open.append(call_id)
        thought = Thinking(self.word(), seal_of(origin, self.word()))
        parts = [thought, *parts] if first or not parts else [parts[0], thought, *parts[1:]]
        self._messages.append(Message("assistant", tuple(parts)))

    @rule(origin=st.sampled_from(list(PROTOCOLS)))
    def assistant_used_a_hosted_tool(self, origin: str) -> None:
        word = self.word()
        data: dict[str, Any] = {"type": "web_search_call", "id": "ws_1", "status": "completed", "query": word}
        if origin == "anthropic-messages":
            data = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": word}}
        if origin == "gemini":
            data = {"executableCode": {"language": "PYTHON", "code": word}}
        if origin == "openai-chat":
            data = {"type": "annotations", "text": word}
        self._messages.append(
            Message("assistant", (Opaque(data.get("type", "x"), Sealed(origin, data)), Text("k")))
        )

    @rule(
        picks=st.lists(st.integers(0, 5), min_size=1, max_size=3),
        kinds=kinds,
        failed=st.booleans(),
        after=st.booleans(),
    )
    def tools_answer(self, picks: list[int], kinds: list[str], failed: bool, after: bool) -> None:
        """Results in any order, some late, some never, and sometimes text before them."""
        parts: list[Part] = []
        for pick in picks:
            if self._open:
                call_id = self._open.pop(pick % len(self._open))
                said = tuple(self.content(kind, None) for kind in kinds)
                parts.append(ToolResult(call_id, said, failed))
        said_too = [Text(self.word())] if after or not parts else []
        self._messages.append(Message("user", (*said_too, *parts) if len(picks) > 1 else (*parts, *said_too)))

    @rule(
        ids=st.lists(call_ids, min_size=1, max_size=3),
        kinds=kinds,
        failed=st.booleans(),
        turned=st.booleans(),
    )
    def agent_works(self, ids: list[str], kinds: list[str], failed: bool, turned: bool) -> None:
        """Calls made together and answered together, in their order or the other way round."""
        calls = [ToolCall(one, "Grep", orjson.dumps({"of": self.word()}).decode()) for one in ids]
        self._messages.append(Message("assistant", (Text(self.word()), *calls)))
        told = [ToolResult(one, tuple(self.content(kind, None) for kind in kinds), failed) for one in ids]
        self._messages.append(Message("user", tuple(reversed(told) if turned else told)))

    @rule(kind=st.sampled_from(["text", "image", "pdf"]))
    def nobodys_call_is_answered(self, kind: str) -> None:
        self._messages.append(Message("user", (ToolResult("nobody", (self.content(kind, None),)),)))

    def teardown(self) -> None:
        for home in PROTOCOLS.values():
            for message in self._messages:
                if message.role == "assistant":
                    replayed(message, home)
            asked = self._request(home)
            for away in PROTOCOLS.values():
                for model_id in MODEL_IDS[away.name]:
                    held(asked, away, model_id)

    def _request(self, home: Protocol) -> Request:
        """The conversation as a client of `home` sends it."""
        tuning = Tuning(max_tokens=2000)
        spoken = Request(home.name, "m", self._system, tuple(self._messages), TOOLS, tuning, False, b"", {})
        body = held(spoken, home, "m").body
        return home.read_request(parsed(home, body), orjson.dumps(body))


def replayed(message: Message, home: Protocol) -> None:
    """What a client of `home` was told by any vendor's model, and sends back: each vendor sees what is its own."""
    told = home.write_reply(Reply("r", "m", message.parts, Stop("end_turn"), Usage()), CONTEXT)
    body = orjson.loads(orjson.dumps(told.body))
    match home.name:
        case "anthropic-messages":
            spoken: dict[str, Any] = {"messages": [HI, {"role": "assistant", "content": body["content"]}]}
        case "openai-chat":
            spoken = {"messages": [HI, body["choices"][0]["message"]]}
        case "openai-responses":
            spoken = {"input": [HI, *body["output"]]}
        case _:
            said = {"role": "user", "parts": [{"text": "hi"}]}
            spoken = {"contents": [said, body["candidates"][0]["content"]]}
    request = home.read_request({"model": "m", "stream": False, "max_tokens": 9, **spoken}, b"")
    shown = orjson.dumps(told.body).decode()
    for at, part in enumerate(message.parts):
        for word in words_of(part):
            assert word in shown or named(f"content.{at}", told.dropped), (part, shown)
    for away in PROTOCOLS.values():
        held(request, away, MODEL_IDS[away.name][0])


def parsed(protocol: Protocol, body: Any) -> dict[str, Any]:
    told = {"model": "m", "stream": False} if protocol.model_in_path else {}
    return {**orjson.loads(orjson.dumps(body)), **told}


def held(request: Request, away: Protocol, model_id: str) -> Encoded:
    """Write the request and hold what is written against what was said."""
    if not request.messages:
        with suppress(RequestError):
            away.write_request(request, MODEL, model_id)
        return Encoded({"model": "m", "messages": [], "contents": [], "input": []})
    encoded = away.write_request(request, MODEL, model_id)
    written = orjson.dumps(encoded.body).decode()
    for path, part in placed(request):
        for word in words_of(part):
            inside = b64encode(f"{word} and more".encode()).decode()
            assert word in written or inside in written or named(path, encoded.dropped), (path, part, written)
        strangers = sealed_words(part, away.name)
        assert not any(word in written for word in strangers), (path, part)
    pairs_match(away.read_request(parsed(away, encoded.body), b""))
    return encoded


def placed(request: Request) -> Iterator[tuple[str, Part]]:
    for at, part in enumerate(request.system):
        yield f"system.{at}", part
    for place, message in enumerate(request.messages):
        for at, part in enumerate(message.parts):
            path = f"messages.{place}.content.{at}"
            yield path, part
            if isinstance(part, ToolResult):
                for inner_at, inner in enumerate(part.parts):
                    yield f"{path}.content.{inner_at}", inner


def words_of(part: Part) -> list[str]:
    match part:
        case Text(text=text) | Thinking(text=text):
            return WORD.findall(text)
        case Image(url=url, base64=data):
            return WORD.findall(url) or data_words(data)
        case Document(url=url, base64=data, text=text):
            return WORD.findall(url + text) or data_words(data)
        case ToolCall(arguments=arguments):
            return WORD.findall(arguments)
        case Opaque(sealed=sealed):
            return WORD.findall(orjson.dumps(sealed.data).decode())
        case ToolResult():
            return []


def data_words(data: str) -> list[str]:
    return WORD.findall(b64decode(data).decode())


def sealed_words(part: Part, reader: str) -> list[str]:
    """The words in a seal that is not this reader's."""
    sealed = getattr(part, "sealed", None)
    if sealed is None or sealed.origin == reader or isinstance(part, Opaque):
        return []
    return WORD.findall(orjson.dumps(sealed.data).decode())


def named(path: str, losses: tuple[Loss, ...]) -> bool:
    """Whether a loss names this place, something in it, or what it is in."""
    return any(f"{path}.".startswith(f"{loss.path}.") or loss.path.startswith(f"{path}.") for loss in losses)


def pairs_match(request: Request) -> None:
    """Every call is answered once, and nothing is answered that was not called."""
    parts = [part for message in request.messages for part in message.parts]
    calls = [part.id for part in parts if isinstance(part, ToolCall)]
    results = [part.call_id for part in parts if isinstance(part, ToolResult)]
    assert len(set(calls)) == len(calls)
    assert sorted(results) == sorted(calls)


Conversation.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=9,
    deadline=None,
    derandomize="WEAVE_FUZZ_EXAMPLES" not in os.environ,
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestNoWordIsLostInSilence = Conversation.TestCase
