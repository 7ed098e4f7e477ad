"""Who is given up and when, over what providers really send, on a clock that need not be waited for."""

import asyncio
import json
import selectors
from typing import Any

import pytest

from engine.protocols import PROTOCOLS
from engine.protocols.pipe import pipe
from engine.protocols.shape import ReplyContext
from engine.server.watch import Patience, Watch

Script = list[tuple[float, bytes]]


class Skipping(selectors.DefaultSelector):
    """Waits for nothing: the time is later instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


def loop() -> asyncio.AbstractEventLoop:
    selector = Skipping()
    made = asyncio.SelectorEventLoop(selector)
    made.time = lambda: selector.now  # type: ignore[method-assign]  # the clock is the selector's
    return made


def outcome(provider: str, script: Script, reads_slowly: float = 0.0) -> tuple[float, str]:
    """When it was given up and why; the end of the script and nothing where it was not."""

    async def play() -> tuple[float, str]:
        watch = Watch(Patience(silent=60, working=300, speaking=120))
        stream = pipe(PROTOCOLS["anthropic-messages"], PROTOCOLS[provider], ReplyContext("m", "id"), False)
        watch.follow(stream.pulse)
        clock = asyncio.get_running_loop()
        try:
            async with watch:
                for seconds, frames in script:
                    await asyncio.sleep(seconds)
                    stream.feed(frames)
                    watch.heard()
                    watch.held_up = True
                    await asyncio.sleep(reads_slowly)
                    watch.held_up = False
        except TimeoutError:
            return round(clock.time()), watch.fault.message
        return round(clock.time()), ""

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(play())


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events
    )


START = sse({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}})
PING = sse({"type": "ping"})
COMMENT = b": OPENROUTER PROCESSING\n\n"


def block(index: int, kind: str, **fields: object) -> bytes:
    return sse({"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}})


def delta(index: int, **fields: str) -> bytes:
    return sse({"type": "content_block_delta", "index": index, "delta": fields})


def words(index: int, text: str) -> bytes:
    return delta(index, type="text_delta", text=text)


THINKING = block(0, "thinking", thinking="", signature="")
TEXT = block(0, "text", text="")
CALL = block(1, "tool_use", id="t", name="Write", input={})


def chunk(**said: str) -> bytes:
    return sse({"id": "c", "choices": [{"index": 0, "delta": said, "finish_reason": None}]})


REASONING = sse(
    {"type": "response.created", "response": {"id": "r"}},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"type": "reasoning", "id": "rs", "summary": []},
    },
)
KEEPALIVE = sse({"type": "keepalive", "sequence_number": 3})
SPOKEN = sse({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "so"})

ANTHROPIC, CHAT, RESPONSES, GEMINI = "anthropic-messages", "openai-chat", "openai-responses", "gemini"

NEVER = ""
ROWS: list[tuple[str, str, Script, tuple[float, str]]] = [
    ("nothing at all", ANTHROPIC, [(900, b"")], (60, "no content for 60 seconds")),
    ("comments alone", CHAT, [(9, COMMENT)] * 99, (60, "no content for 60 seconds")),
    ("pings alone", ANTHROPIC, [(9, PING)] * 99, (60, "no content for 60 seconds")),
    ("begun in time", ANTHROPIC, [(59, START), (70, TEXT + words(0, "so"))], (129, NEVER)),
    ("begun and gone", ANTHROPIC, [(5, START), (900, b"")], (305, "began its answer and then said nothing")),
    ("begun, pings alone", ANTHROPIC, [(5, START), *[(9, PING)] * 99], (305, "then said nothing for 300")),
    ("silent thought", ANTHROPIC, [(1, START + THINKING), *[(15, PING)] * 18, (5, words(0, ""))], (276, NEVER)),
    (
        "thought aloud, slowly",
        ANTHROPIC,
        [(1, START + THINKING), *[(200, delta(0, type="thinking_delta", thinking="hm"))] * 5],
        (1001, NEVER),
    ),
    ("a call in large pieces", ANTHROPIC, [(1, START + TEXT + words(0, "so")), (1, CALL), (280, PING)], (282, NEVER)),
    ("stalled words", ANTHROPIC, [(1, START + TEXT + words(0, "so")), (900, b"")], (121, "no content for 120 seconds")),
    (
        "stalled words and pings",
        ANTHROPIC,
        [(1, START + TEXT + words(0, "so")), *[(15, PING)] * 99],
        (121, "stalled"),
    ),
    ("empty deltas", ANTHROPIC, [(1, START + TEXT + words(0, "so")), *[(5, words(0, ""))] * 99], (121, "stalled")),
    ("slow words", ANTHROPIC, [(1, START + TEXT), *[(100, words(0, "so"))] * 20], (2001, NEVER)),
    ("a silent reasoning", RESPONSES, [(1, REASONING), *[(30, KEEPALIVE)] * 9, (5, SPOKEN)], (276, NEVER)),
    ("an endless reasoning", RESPONSES, [(1, REASONING), *[(30, KEEPALIVE)] * 99], (301, "then said nothing")),
    ("words, then nothing", RESPONSES, [(1, REASONING), (1, SPOKEN), *[(30, KEEPALIVE)] * 99], (122, "stalled")),
    ("a role, then thought", CHAT, [(1, chunk(role="assistant")), (280, chunk(content="so"))], (281, NEVER)),
    ("words, then comments", CHAT, [(1, chunk(content="so")), *[(9, COMMENT)] * 99], (121, "stalled")),
    ("words, then empty ones", CHAT, [(1, chunk(content="so")), *[(9, chunk(content=""))] * 99], (121, "stalled")),
    ("words, then thoughts", CHAT, [(1, chunk(content="so")), (9, chunk(reasoning="hm")), (280, b"")], (290, NEVER)),
    ("hidden thought", GEMINI, [(900, b"")], (60, "no content for 60 seconds")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "script", "ended"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_provider_is_given_up_by_what_it_says_and_not_by_its_bytes(
    provider: str, script: Script, ended: tuple[float, str]
) -> None:
    # W50
    at, why = outcome(provider, script)
    assert at == ended[0]
    assert ended[1] in why
    assert bool(ended[1]) == bool(why)


def test_a_client_that_does_not_read_is_not_the_providers_fault() -> None:
    script: Script = [(1, START + TEXT + words(0, "so")), (1, words(0, "and so"))]
    assert outcome(ANTHROPIC, script, reads_slowly=500) == (1002, "")


def test_a_watch_that_was_left_goes_on_where_it_was() -> None:
    async def play() -> float:
        watch = Watch(Patience(60, 300, 120))
        async with watch:
            await asyncio.sleep(50)
        with pytest.raises(TimeoutError):
            async with watch:
                await asyncio.sleep(50)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=loop) as runner:
        assert round(runner.run(play())) == 60
