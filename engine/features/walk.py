"""The walk over a conversation's messages: what was called, what came of it, where the user's turns begin.

This runs on the request path over every part of every request, so the loops are plain: the commonest parts are
asked for first, texts are only put aside to be weighed together at the end, and what a call of ordinary length
does is remembered, because every step of a session sends all its calls again.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import assert_never

from engine.core.conversation import (
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from engine.documents import shipped_yaml
from engine.features.actions import (
    LOOKED_AT as ORDINARY,
)
from engine.features.actions import (
    Action,
    Kind,
    fence_language,
    language_of,
    read_action,
    tool_kind,
)
from engine.features.crowd import MANY, crowd_of, stretched
from engine.features.evidence import as_test_run, test_verdict
from engine.features.markers import CLIENTS
from engine.features.phase import Step
from engine.features.tokens import Ruler
from engine.features.words import own_words

LOOKED_AT = 2_048  # characters at each end of a text where marks are looked for
FENCES = 8  # fenced blocks of a text whose labels are read
RECENT = 24  # votes for the language that count, the latest
REMEMBERED = 4_096  # calls whose action is known

NONE = Action("other")

# What may be counted in a part of a conversation and multiplied, where that part stands for more like it.
COUNTS = (
    "documents",
    "failures",
    "file_chunks",
    "images",
    "passes",
    "repeated",
    "session_errors",
    "tool_errors",
    "tool_results",
    "tools_used",
    "turn",
)


class Walk:
    """The state of the walk: counts so far, and what the latest call, step and turn were."""

    __slots__ = (
        *COUNTS,
        "_calls",
        "_edited",
        "_kinds",
        "_openings",
        "_since_edit",
        "_votes",
        "edited_this_turn",
        "first_words",
        "focus",
        "last_tool",
        "last_user_texts",
        "last_words",
        "loop_open",
        "ruler",
        "step",
        "texts",
        "thinking",
    )

    def __init__(self, protocol: str) -> None:
        self._calls: dict[str, Action] = {}
        self._edited = False  # whether anything was edited in the whole conversation
        self._kinds: dict[str, Kind] = {}
        self._openings = _error_openings()
        self._since_edit: set[tuple[str, str]] = set()
        self._votes: list[Action | str] = []  # for the language: calls that name a file, labels of fences
        self.documents = self.images = 0
        self.edited_this_turn = False
        self.failures = self.passes = self.session_errors = 0
        self.file_chunks = 0
        self.first_words = self.last_words = ""
        self.focus = self.last_tool = ""
        self.last_user_texts: list[str] = []
        self.loop_open = False
        self.repeated = 0
        self.ruler = Ruler(protocol)
        self.step: Step = set()
        self.texts = self.ruler.texts
        self.thinking = False
        self.tool_errors = self.tool_results = self.tools_used = self.turn = 0

    def messages(self, messages: Sequence[Message]) -> None:
        crowd = crowd_of(messages)
        if crowd is None:
            for message in messages:
                self._message(message)
            return
        for message in crowd.opening:
            self._message(message)
        self._standing_for(crowd.middle, crowd.factor)
        for message in crowd.end:
            self._message(message)

    def others(self, parts: Sequence[Part]) -> None:
        """Parts that say nothing about the course of the work; they only take room."""
        if len(parts) <= MANY:
            for part in parts:
                self._other(part)
            return
        images, documents, since = self.images, self.documents, len(self.texts)
        for part in (*parts[: MANY // 2], *parts[-MANY // 2 :]):
            self._other(part)
        factor = len(parts) / MANY
        self.images = stretched(self.images, images, factor)
        self.documents = stretched(self.documents, documents, factor)
        self.ruler.stretch(since, factor)

    def language(self) -> str:
        """The language named most often lately; of equals the latest. An edited file counts twice."""
        votes: dict[str, int] = {}
        left = RECENT
        for vote in reversed(self._votes):
            language = vote if isinstance(vote, str) else language_of(vote.path)
            if not language:
                continue
            weight = min(left, 2 if isinstance(vote, Action) and vote.kind == "edit" else 1)
            votes[language] = votes.get(language, 0) + weight
            left -= weight
            if not left:
                break
        return max(votes, key=votes.__getitem__, default="none")

    def _standing_for(self, messages: Sequence[Message], factor: float) -> None:
        before = [getattr(self, name) for name in COUNTS]
        since = len(self.texts)
        for message in messages:
            self._message(message)
        for name, count in zip(COUNTS, before, strict=True):
            setattr(self, name, stretched(getattr(self, name), count, factor))
        self.ruler.stretch(since, factor)

    def _message(self, message: Message) -> None:
        match message.role:
            case "user":
                self._user(message.parts)
            case "assistant":
                self._assistant(message.parts)
            case _:
                self.others(message.parts)

    def _other(self, part: Part) -> None:
        match part:
            case Text() | Thinking() | Opaque():
                self.texts.append(part.text)
            case Image():
                self.images += 1
            case Document():
                self.documents += 1
                self.ruler.document(part)
            case ToolCall() | ToolResult():
                pass
            case _:
                assert_never(part)

    def _user(self, parts: Sequence[Part]) -> None:
        self.loop_open = False
        words: list[str] = []
        texts: list[str] = []
        for part in parts:
            if isinstance(part, ToolResult):
                self.loop_open = True
                self._result(part)
            elif isinstance(part, Text):
                texts.append(part.text)
                if own := own_words(part.text):
                    words.append(own)
            else:
                self._other(part)
        if texts:
            self.texts += texts
            self.last_user_texts = texts
        if words:
            self._turn_begins("\n".join(words) if len(words) > 1 else words[0])

    def _turn_begins(self, words: str) -> None:
        self.turn += 1
        self.last_words = words
        self.first_words = self.first_words or words
        if not self.loop_open:
            self.step = set()
            self.edited_this_turn = False
        if "```" in words[:LOOKED_AT]:
            self._fences(words[: 4 * LOOKED_AT])
        self.file_chunks += words.count("<file path=", 0, 64 * LOOKED_AT) + _is_numbered(words)

    def _fences(self, text: str) -> None:
        """Fenced blocks: each second piece between fences; its first line may name a language or a path."""
        for block in text.split("```", 2 * FENCES)[1::2]:
            label = block.partition("\n")[0].strip()[:200]
            if "." in label or "/" in label:
                self.file_chunks += 1
            if language := fence_language(label.lower()) or language_of(label):
                self._votes.append(language)

    def _assistant(self, parts: Sequence[Part]) -> None:
        step: Step = set()
        for part in parts:
            if isinstance(part, ToolCall):
                step.add(self._call(part))
            elif isinstance(part, Text):
                self.texts.append(part.text)
            else:
                self.thinking = self.thinking or isinstance(part, Thinking)
                self._other(part)
        self.loop_open = bool(step)
        if step:
            self.step = step

    def _call(self, call: ToolCall) -> Kind:
        name, arguments = call.name, call.arguments
        self.texts.append(arguments)
        self.tools_used += 1
        self.last_tool = name
        action = _action(self._kinds.get(name) or self._kind(name), arguments)
        self._calls[call.id] = action
        key = (name, arguments)
        if key in self._since_edit:
            self.repeated += 1
        if action.kind == "edit":
            self._edited = self.edited_this_turn = True
            self._since_edit.clear()
        self._since_edit.add(key)
        if action.path:
            self.focus = action.path
            self._votes.append(action)
        return action.kind

    def _kind(self, name: str) -> Kind:
        kind = self._kinds[name] = tool_kind(name)
        return kind

    def _result(self, result: ToolResult) -> None:
        self.tool_results += 1
        output = self._output(result.parts)
        action = self._calls.get(result.call_id, NONE)
        kind = action.kind
        failed = result.is_error or output.startswith(self._openings)
        if kind in ("shell", "test"):
            # The verdict is dear, so it is asked for only where it makes a difference.
            if (self._edited or failed or _is_numbered(output)) and (
                verdict := test_verdict(action, output, result.is_error)
            ):
                if self._edited:
                    self.failures += verdict == "failed"
                    self.passes += verdict == "passed"
                return
        elif kind == "read" and action.path and not failed:
            self.file_chunks += 1
            return
        if failed:
            self.tool_errors += 1
            self.session_errors += self._edited
        elif _is_numbered(output):
            self.file_chunks += 1

    def _output(self, parts: Sequence[Part]) -> str:
        if len(parts) == 1:
            part = parts[0]
            if isinstance(part, Text):
                self.texts.append(part.text)
                return part.text
        self.others(parts)
        shown = parts if len(parts) <= MANY else (*parts[: MANY // 2], *parts[-MANY // 2 :])
        return "\n".join([part.text for part in shown if isinstance(part, Text) and part.text])


def _action(kind: Kind, arguments: str) -> Action:
    if len(arguments) <= ORDINARY:
        return _remembered(kind, arguments)
    return as_test_run(read_action(kind, arguments))


@lru_cache(maxsize=REMEMBERED)
def _remembered(kind: Kind, arguments: str) -> Action:
    return as_test_run(read_action(kind, arguments))


def _is_numbered(text: str) -> bool:
    """Whether a text looks like a file shown with line numbers: its first lines are numbered in order."""
    if not text[:1].isdecimal() and not text[:1].isspace():
        return False
    first, _, rest = text[:400].lstrip().partition("\n")
    number = _line_number(first)
    return number >= 0 and _line_number(rest.lstrip(" ").partition("\n")[0]) == number + 1


def _line_number(line: str) -> int:
    """The number a line begins with, if a mark follows that editors and agents put there; otherwise -1."""
    digits = 0
    while digits < 7 and line[digits : digits + 1].isdecimal():
        digits += 1
    return int(line[:digits]) if digits and line[digits : digits + 1] in ("\t", "→", "|", ":") else -1


@cache
def _error_openings() -> tuple[str, ...]:
    return tuple(shipped_yaml(CLIENTS)["error_openings"])
