"""Directives a test writes into a prompt, and what they make the model say or suffer.

    [[sim: text=Hello there]]                 say this, to the closing brackets
    [[sim: tool=get_weather {"city": "Oslo"}]]  call a tool; text that is no JSON is sent as it is
    [[sim: tools=2]]                          call that many of the tools offered, in parallel
    [[sim: thinking]]  [[sim: thinking=why]]  think first
    [[sim: stop_sequence]]  [[sim: refusal]]  [[sim: image]]  [[sim: words=500]]  [[sim: gzip]]
    [[sim: status=429 retry_after=7]]         and the other troubles: html_502, drop, slow_headers=2,
                                              slow_first_token=2, stall, cut=3, error_in_stream=before,
                                              first_event_error, malformed, unended, empty; what comes in
                                              mid-stream comes `seconds=0.2` late if told so

`@call` in any of them stands for the name of the call that is answered, `<seed>-<number>`, so that what is said tells
which call said it.

Any directive may name `provider=` or `model=` and is then heard by that one alone. Directives count in the
newest turn and in the system prompt, so that a second round is not told to do the first one's work again.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.simulator.faults import Trouble

CALL = "@call"

_OPEN = re.compile(r"\[\[sim:\s*")
_TOOL = re.compile(r"tool=([^\s\]]+)\s*")
_QUALIFIED = re.compile(r"^(provider|model)=(\S+)\s+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tool call a script asks for; arguments are the text the model writes."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Script:
    text: str | None = None
    calls: tuple[Wanted, ...] = ()
    parallel: int = 0
    thinking: str | None = None
    stop_sequence: bool = False
    refusal: bool = False
    image: bool = False
    words: int = 0
    gzip: bool = False
    troubles: tuple[Trouble, ...] = ()

    @property
    def speaks(self) -> bool:
        """Whether it says what the model answers, as opposed to only how."""
        return (
            self.text is not None
            or bool(self.calls)
            or self.parallel > 0
            or self.stop_sequence
            or self.refusal
            or self.image
            or self.words > 0
        )


def parse(text: str, provider: str, model: str) -> Script:
    """What the directives in a text ask of a model at a provider. What cannot be read is passed over."""
    script = Script()
    for directive in _directives(text):
        script = _apply(script, directive, provider, model)
    return script


def _directives(text: str) -> Iterator[str]:
    position = 0
    while match := _OPEN.search(text, position):
        end = _end(text, match.end())
        if end < 0:
            return
        yield text[match.end() : end].strip()
        position = end + 2


def _end(text: str, start: int) -> int:
    """Where the closing brackets are. Brackets inside a tool's JSON arguments do not count."""
    body = _QUALIFIED.sub("", text[start : start + 200])
    offset = start + len(text[start : start + 200]) - len(body)
    if tool := _TOOL.match(text, offset):
        try:
            _, after = json.JSONDecoder().raw_decode(text, tool.end())
        except ValueError:
            after = tool.end()
        return text.find("]]", after)
    return text.find("]]", start)


def _apply(script: Script, directive: str, provider: str, model: str) -> Script:
    while qualified := _QUALIFIED.match(directive + " "):
        if qualified[2] != (provider if qualified[1] == "provider" else model):
            return script
        directive = directive[qualified.end() :].strip()
    if directive.startswith("text="):
        return replace(script, text=(script.text or "") + directive.removeprefix("text="))
    if tool := _TOOL.match(directive):
        wanted = Wanted(tool[1], directive[tool.end() :] or "{}")
        return replace(script, calls=(*script.calls, wanted))
    if directive.startswith("thinking="):
        return replace(script, thinking=directive.removeprefix("thinking="))
    return _apply_words(script, directive, provider, model)


def _apply_words(script: Script, directive: str, provider: str, model: str) -> Script:
    try:
        pairs = [word.partition("=") for word in shlex.split(directive)]
    except ValueError:
        return script
    options = {key: value for key, _, value in pairs}
    if options.get("provider", provider) != provider or options.get("model", model) != model:
        return script
    try:
        for key, value in options.items():
            script = _apply_word(script, key, value, options)
    except ValueError:
        return script
    return script


def _apply_word(script: Script, key: str, value: str, options: dict[str, str]) -> Script:
    match key:
        case "tools":
            return replace(script, parallel=int(value or 1))
        case "thinking":
            return replace(script, thinking="Let me think about this step by step.")
        case "stop_sequence":
            return replace(script, stop_sequence=True)
        case "refusal":
            return replace(script, refusal=True)
        case "image":
            return replace(script, image=True)
        case "words":
            return replace(script, words=int(value))
        case "gzip":
            return replace(script, gzip=True)
        case _:
            trouble = _trouble(key, value, options)
            return script if trouble is None else replace(script, troubles=(*script.troubles, trouble))


def _trouble(key: str, value: str, options: dict[str, str]) -> Trouble | None:
    after = int(options.get("after", 2))
    message, seconds = options.get("message", ""), float(options.get("seconds", 0))
    retry_after = float(options["retry_after"]) if "retry_after" in options else None
    match key:
        case "status" if not options.keys() & {"error_in_stream", "first_event_error"}:
            return Trouble("status", status=int(value), retry_after=retry_after, message=message)
        case "html_502":
            return Trouble("html", status=502)
        case "drop" | "empty":
            return Trouble(key)
        case "slow_headers" | "slow_first_token":
            return Trouble(key, seconds=float(value or 1))
        case "stall":
            return Trouble("stall", after=int(value or after), seconds=seconds)
        case "cut" | "unended" | "malformed":
            return Trouble(key, after=int(value or after), seconds=seconds)
        case "error_in_stream":
            pieces = {"before": 0, "after": after, "": after}.get(value)
            pieces = int(value) if pieces is None else pieces
            status = int(options.get("status", 529))
            return Trouble("error", status=status, after=pieces, message=message, seconds=seconds)
        case "first_event_error":
            return Trouble("first_event_error", status=int(options.get("status", 529)), message=message)
        case _:
            return None
