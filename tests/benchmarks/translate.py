"""How fast the protocols are translated into one another: stream events and request bytes, in all directions.

    python tests/benchmarks/translate.py [--seconds 0.3] [--quick] [--json]

A direction is named client>provider: the request goes from left to right, the stream from right to left. Streams
are what the simulator's providers send for an answer that thinks, talks and calls tools with long arguments, some
fifteen hundred events of a few words each (six hundred of Gemini's, whose calls come whole). They are fed as a
network brings them, one event a read, which is the figure, and in reads of 16 KiB. An event is one that the provider
sent, whatever is written for it. Requests are 400 KB of an agent's history: a system prompt, 24 tools, hundreds of
calls and their results.

All is done that the engine does on its way: bytes to frames to events, arguments held against the tools' schemas,
events to the client's bytes; body to JSON to the canonical request to the provider's body. Where both sides speak
one protocol the engine forwards the bytes; here they are translated all the same, and forwarding is told apart.

The share of JSON is measured: what the translation has parsed and written is recorded and done again alone. Cost is
linear where the exponent is about 1: between 100 KB and 1.6 MB, and between a stream and one sixteen times as long
with its texts and arguments sixteen times as long.

Times are CPU times of this process, with the garbage collector set as the engine sets it; of several rounds, in
passes that lie apart, the best counts, for other work on the machine only adds. What the engine remembers from one
request of a session to the next, which is its tools' schemas in another vendor's words, is remembered here too.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine import wire
from engine.app import settle
from engine.core.catalog import Model, Price
from engine.core.conversation import (
    Message,
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
from engine.protocols import PROTOCOLS
from engine.protocols.pipe import Forwarding, Pipe, Translation
from engine.protocols.shape import Protocol, ReplyContext
from engine.protocols.speaking import spoken
from engine.simulator.app import WIRES
from engine.simulator.models import MODELS, PROVIDERS, Provider
from engine.simulator.prompt import Answer, Block, Call, Prompt, Say, Think, Tokens

NAMES = {
    "anthropic_messages": "anthropic-messages",
    "openai_chat": "openai-chat",
    "openai_responses": "openai-responses",
    "gemini": "gemini",
}
# Who is played: of the chat providers one that shows its thinking.
PLAYED = {
    "anthropic_messages": "anthropic",
    "openai_chat": "deepseek",
    "openai_responses": "responses",
    "gemini": "google",
}
CAN = frozenset({"tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"})
MODEL = Model("benchmark", "frontier", 1_000_000, 64_000, CAN, Price(), ())
IDS = {
    "anthropic_messages": "claude-opus-4-5",
    "openai_chat": "gpt-5.4",
    "openai_responses": "gpt-5.5",
    "gemini": "gemini-3-pro",
}
READ_BYTES = 16 * 1024
SIZES = (100_000, 400_000, 1_600_000)
SIZE = SIZES[1]
LONGER = 16  # how many times as long the long stream is
PASSES = 4

PROSE = "The parser drops the last token when a line ends in a comment, so `rest` is empty and nothing is raised. "
SOURCE = 'def step_{n}(state: "State") -> None:\n\tif not state.tokens:  # “empty”\n\t\treturn\n\tstate.at += {n}\n'


@dataclass(frozen=True, slots=True)
class Direction:
    client: str
    provider: str

    @property
    def name(self) -> str:
        return f"{self.client}>{self.provider}"


DIRECTIONS = [Direction(client, provider) for client in NAMES for provider in NAMES]


# ---- what is translated


def tools(count: int) -> tuple[Tool, ...]:
    """Their schemas are of the usual kinds: some whose fields are all required, some with options."""
    text = {"type": "string", "description": "What this is for, in a sentence of the usual length."}
    options = {
        "limit": {"type": "integer", "minimum": 1, "maximum": 2000},
        "mode": {"type": "string", "enum": ["content", "files", "count"]},
        "paths": {"type": "array", "items": {"type": "string"}},
        "deep": {"type": "boolean", "default": False},
    }
    found = []
    for number in range(count):
        fields = {"file_path": text, "content": text} | (options if number % 2 else {})
        schema = {
            "type": "object",
            "properties": fields,
            "required": ["file_path", "content"],
            "additionalProperties": False,
        }
        description = f"Tool {number} does something in the workspace. " + PROSE * 12
        found.append(Tool(f"tool_{number}", description, schema))
    return tuple(found)


TOOLS = tools(24)


def source(lines: int, number: int = 0) -> str:
    return "".join(SOURCE.format(n=number + line) for line in range(lines))


def answer(times: int) -> tuple[Answer, Prompt]:
    """What a model answers: thinking, text, and three calls, each `times` as long as the shortest."""
    edit = json.dumps({"file_path": "src/parser.py", "content": source(60 * times)}, ensure_ascii=False)
    blocks: tuple[Block, ...] = (
        Think(PROSE * 60 * times),
        Say(PROSE * 60 * times),
        *(Call(f"call{number}", f"tool_{number}", edit) for number in range(3)),
    )
    told = Answer("benchmark", 1_700_000_000, blocks, "tools", None, Tokens(90_000, 80_000, 0, 9_000, 2_000))
    prompt = Prompt(
        MODELS[0], "", "", "", (), (), (), (), (), "digest",
        stream=True, thinking=True, include_usage=True, summary=True, encrypted=True,
    )  # fmt: skip
    return told, prompt


@cache
def streamed(name: str, times: int) -> list[bytes]:
    """The provider's stream, an event each."""
    provider: Provider = PROVIDERS[PLAYED[name]]
    told, prompt = answer(times)
    return [frame.data for frame in WIRES[provider.protocol].frames(told, prompt, provider)]


def in_reads(events: Sequence[bytes]) -> list[bytes]:
    whole = b"".join(events)
    return [whole[at : at + READ_BYTES] for at in range(0, len(whole), READ_BYTES)]


def history(origin: str, size: int) -> Request:
    """An agent's conversation of about `size` bytes, as a client of the protocol `origin` tells it. A larger one has
    more of everything."""
    share = size / SIZE
    messages = [Message("user", (Text("Fix the failing test in parser.py, please. " + PROSE),))]
    left, number = int(size * 0.87), 0
    while left > 0:
        calls = [
            ToolCall(
                f"toolu_{number:05d}_{at}",
                f"tool_{(number + at) % 24}",
                wire.dumps({"file_path": f"src/parser_{number}.py", "content": source(2, number)}).decode(),
            )
            for at in range(1 + number % 2)
        ]
        said: tuple[Part, ...] = (Text(PROSE),) if number % 3 else ()
        messages.append(Message("assistant", (*thought(origin, number, calls[0]), *said, *calls)))
        results = [ToolResult(call.id, (Text(source(6 + number % 20, number)),)) for call in calls]
        messages.append(Message("user", tuple(results)))
        left -= 620 + len(calls) * (350 + (6 + number % 20) * len(SOURCE))
        number += 1
    return Request(
        origin, "auto", (Text("You are a coding agent. " + PROSE * int(150 * share)),), tuple(messages),
        tools(int(24 * share)),
        Tuning(max_tokens=32_000, temperature=1.0), True, b"", {},
    )  # fmt: skip


def thought(origin: str, number: int, call: ToolCall) -> tuple[Part, ...]:
    """Every other turn began with thinking, which the client replays as its vendor wants it."""
    signature = "EqQBCkYIARgCKkBLz0" * 16
    data: dict[str, dict[str, Any]] = {
        "anthropic-messages": {"signature": signature},
        "openai-chat": {"field": "reasoning_content"},
        "openai-responses": {"id": f"rs_{number}", "encrypted_content": signature},
        "gemini": {"thoughtSignature": signature, "call": call.id},
    }
    text = "" if origin == "gemini" else PROSE
    return (Thinking(text, Sealed(origin, data[origin])),) if number % 2 else ()


@cache
def asked(name: str, size: int) -> bytes:
    """A client's request body of about `size` bytes."""
    protocol = PROTOCOLS[NAMES[name]]
    body = dict(protocol.write_request(history(protocol.name, size), MODEL, IDS[name]).body)
    return wire.dumps(body | {"model": "auto", "stream": True})


# ---- how it is translated


def context() -> ReplyContext:
    return ReplyContext("auto", "msg_benchmark", 1_700_000_000, True, TOOLS)


def run(pipe: Pipe, reads: Sequence[bytes]) -> int:
    """The bytes written. A stream that breaks is no measure."""
    written = 0
    for read in reads:
        written += len(pipe.feed(read))
    written += len(pipe.close())
    if pipe.fault is not None:
        raise RuntimeError(f"the stream broke: {pipe.fault}")
    return written


def translate_stream(direction: Direction, reads: Sequence[bytes]) -> None:
    client, provider = PROTOCOLS[NAMES[direction.client]], spoken(NAMES[direction.provider])
    run(Translation(client, provider, context()), reads)


def forward_stream(name: str, reads: Sequence[bytes]) -> None:
    run(Forwarding(spoken(NAMES[name]), context(), False), reads)


def translate_request(direction: Direction, raw: bytes) -> bytes:
    client: Protocol = PROTOCOLS[NAMES[direction.client]]
    request = client.read_request(wire.loads(raw), raw)
    encoded = spoken(NAMES[direction.provider]).write_request(request, MODEL, IDS[direction.provider])
    return wire.dumps(encoded.body)


# ---- how it is measured

Work = Callable[[], object]
Key = tuple[str, str]  # what is measured, and of which direction or protocol


def works(longer: int, sizes: Sequence[int]) -> dict[Key, Work]:
    """Everything that is to be measured."""
    short = {name: streamed(name, 1) for name in NAMES}
    long = {name: streamed(name, longer) for name in NAMES}
    raw = {(name, size): asked(name, size) for name in NAMES for size in sizes}
    found: dict[Key, Work] = {}
    for direction in DIRECTIONS:
        events, name = short[direction.provider], direction.name
        found["stream", name] = partial(translate_stream, direction, events)
        found["stream in reads", name] = partial(translate_stream, direction, in_reads(events))
        found["long stream", name] = partial(translate_stream, direction, long[direction.provider])
        found["stream JSON", name] = json_alone(found["stream", name])
        for size in sizes:
            found[f"request {size}", name] = partial(
                translate_request, direction, raw[direction.client, size]
            )
        found["request JSON", name] = json_alone(found[f"request {SIZE}", name])
    for name, events in short.items():
        found["forwarded", name] = partial(forward_stream, name, events)
    return found


def json_alone(work: Work) -> Work:
    """The JSON that is parsed and written while `work` is done, and nothing else."""
    parsed: list[bytes | str] = []
    written: list[object] = []
    loads, dumps = wire.loads, wire.dumps

    def recorded_loads(text: bytes | str) -> Any:
        parsed.append(text)
        return loads(text)

    def recorded_dumps(value: object) -> bytes:
        written.append(value)
        return dumps(value)

    try:
        wire.loads, wire.dumps = recorded_loads, recorded_dumps
        work()
    finally:
        wire.loads, wire.dumps = loads, dumps

    def again() -> None:
        for text in parsed:
            loads(text)
        for value in written:
            dumps(value)

    return again


def measured(found: Mapping[Key, Work], seconds: float, passes: int) -> dict[Key, float]:
    """Seconds of CPU time for one run of each. The passes lie apart in time, so that a bad moment spoils only one."""
    spent = dict.fromkeys(found, math.inf)
    for _ in range(passes):
        for key, work in found.items():
            until = time.perf_counter() + seconds / passes
            first = True
            while first or time.perf_counter() < until:
                started = time.process_time()
                work()
                spent[key] = min(spent[key], time.process_time() - started)
                first = False
    return spent


@dataclass(frozen=True, slots=True)
class Figures:
    events: float  # a second
    events_in_reads: float
    stream_json: float  # share of the time
    stream_exponent: float
    megabytes: float  # a second
    request_json: float
    request_exponent: float


def figures(direction: Direction, spent: Mapping[Key, float], longer: int, sizes: Sequence[int]) -> Figures:
    name, events = direction.name, len(streamed(direction.provider, 1))
    many = len(streamed(direction.provider, longer))
    small, large = (len(asked(direction.client, size)) for size in (sizes[0], sizes[-1]))
    stream, request = spent["stream", name], spent[f"request {SIZE}", name]
    return Figures(
        events=events / stream,
        events_in_reads=events / spent["stream in reads", name],
        stream_json=spent["stream JSON", name] / stream,
        stream_exponent=exponent(stream, spent["long stream", name], many / events),
        megabytes=len(asked(direction.client, SIZE)) / request / 1e6,
        request_json=spent["request JSON", name] / request,
        request_exponent=exponent(
            spent[f"request {sizes[0]}", name], spent[f"request {sizes[-1]}", name], large / small
        ),
    )


def exponent(less: float, more: float, ratio: float) -> float:
    return math.log(more / less) / math.log(ratio)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="how long each figure is measured")
    parser.add_argument("--quick", action="store_true", help="once around, to see that it works")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    longer, sizes = (2, SIZES[:2]) if options.quick else (LONGER, SIZES)

    found = works(longer, sizes)
    settle()
    spent = measured(found, 0.0 if options.quick else options.seconds, 1 if options.quick else PASSES)
    table = {direction.name: figures(direction, spent, longer, sizes) for direction in DIRECTIONS}
    heads = f"{'JSON':>5} {'exp.':>5}"
    print(f"{'client > provider':40} {'events/s':>9} {'16 KiB':>9} {heads}   {'MB/s':>6} {heads}")
    for name, row in table.items():
        print(
            f"{name:40} {row.events:9,.0f} {row.events_in_reads:9,.0f} {row.stream_json:5.0%} "
            f"{row.stream_exponent:5.2f}   {row.megabytes:6.1f} {row.request_json:5.0%} {row.request_exponent:5.2f}"
        )
    forwarded = {name: len(streamed(name, 1)) / spent["forwarded", name] for name in NAMES}
    rates = ", ".join(f"{name} {rate:,.0f} events/s" for name, rate in forwarded.items())
    print(f"\nforwarded as they are: {rates}")
    line = summary(table, forwarded)
    print(
        f"the least: {line['min_events_per_second']:,} events/s (aim 60,000), {line['min_mb_per_second']} MB/s "
        f"(aim 60); exponents at most {line['max_exponent']['stream']} and {line['max_exponent']['request']}"
    )
    if options.json:
        print(json.dumps(line))


def summary(table: Mapping[str, Figures], forwarded: Mapping[str, float]) -> dict[str, Any]:
    rows = table.values()
    return {
        "events_per_second": {name: round(row.events) for name, row in table.items()},
        "events_per_second_16kib": {name: round(row.events_in_reads) for name, row in table.items()},
        "events_per_second_forwarded": {name: round(rate) for name, rate in forwarded.items()},
        "mb_per_second": {name: round(row.megabytes, 1) for name, row in table.items()},
        "json_share": {
            "stream": round(sum(row.stream_json for row in rows) / len(rows), 3),
            "request": round(sum(row.request_json for row in rows) / len(rows), 3),
        },
        "max_exponent": {
            "stream": round(max(row.stream_exponent for row in rows), 2),
            "request": round(max(row.request_exponent for row in rows), 2),
        },
        "min_events_per_second": round(min(row.events for row in rows)),
        "min_mb_per_second": round(min(row.megabytes for row in rows), 1),
    }


if __name__ == "__main__":
    main()
