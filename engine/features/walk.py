"""The walk over a conversation's messages: what was called, what came of it, where the user's turns begin.

This runs on the request path over every part of every request, so the loops are plain: the commonest parts are
asked for first, texts are only put aside to be weighed together at the end, and what a call of ordinary length
does is remembered, because every step of a session sends all its calls again.
"""

import re
from collections.abc import Mapping, Sequence
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
    command_action,
    fence_language,
    language_of,
    read_action,
    tool_kind,
)
from engine.features.crowd import MANY, crowd_of, stretched
from engine.features.markers import CLIENTS
from engine.features.phase import Step
from engine.features.runs import Reading, exit_code, in_background, reading_of
from engine.features.tasks import TaskLog
from engine.features.tokens import Ruler
from engine.features.wording import (
    Report,
    command_in_text,
    edits_in_text,
    interrupted_result,
    interruption,
    interruption_marks,
    report,
)
from engine.features.words import own_words

LOOKED_AT = 2_048  # characters at each end of a text where marks are looked for
FENCES = 8  # fenced blocks of a text whose labels are read
RECENT = 24  # votes for the language that count, the latest
REMEMBERED = 4_096  # calls whose action is known
LONG = 16 * ORDINARY  # characters of the arguments of longer calls whose action is known
FEWER = 256  # of these
OPENS = 3  # letters by which such beginnings are told apart
BACKGROUND = 8  # runs in the background that are followed

NONE = Action("other")
MARKED = frozenset("[<^EeIOTUa")  # what a client's own text in a user's message begins with
BACKGROUND_ID = re.compile(r"\b(?:ID|id|task_id|shell_id|bash_id)[:= ]{1,3}[\"'<]?([\w-]{1,60})")

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
        "_asked",
        "_background",
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
        "tasks",
        "texts",
        "thinking",
    )

    def __init__(self, protocol: str) -> None:
        self._asked = ""  # the command that a model wrote into its latest text
        self._background: dict[str, Action] = {}
        self._calls: dict[str, Action] = {}
        self._edited = False  # whether anything was edited in the whole conversation
        self._kinds: dict[str, Kind] = {}
        self._openings = _openings()
        self._since_edit: set[tuple[str, str]] = set()
        self._votes: list[str] = []  # for the language, by calls that name a file and labels of fences
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
        self.tasks = TaskLog()
        self.texts = self.ruler.texts
        self.thinking = False
        self.tool_errors = self.tool_results = self.tools_used = self.turn = 0

    def messages(self, messages: Sequence[Message]) -> None:
        crowd = crowd_of(messages)
        if crowd is None:
            self._all(messages)
            return
        self._all(crowd.opening)
        self._standing_for(crowd.middle, crowd.factor)
        self._all(crowd.end)

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
        for vote in reversed(self._votes[-RECENT:]):
            votes[vote] = votes.get(vote, 0) + 1
        return max(votes, key=votes.__getitem__, default="none")

    def _standing_for(self, messages: Sequence[Message], factor: float) -> None:
        before = [getattr(self, name) for name in COUNTS]
        since = len(self.texts)
        self._all(messages)
        for name, count in zip(COUNTS, before, strict=True):
            setattr(self, name, stretched(getattr(self, name), count, factor))
        self.ruler.stretch(since, factor)

    def _all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            role = message.role
            if role == "user":
                parts = message.parts
                if len(parts) == 1 and isinstance(part := parts[0], ToolResult):
                    self.loop_open = True
                    self._result(part)
                else:
                    self._user(parts)
            elif role == "assistant":
                self._assistant(message.parts)
            else:
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
        working, self.loop_open = self.loop_open, False
        words: list[str] = []
        texts: list[str] = []
        for part in parts:
            if isinstance(part, ToolResult):
                self.loop_open = True
                self._result(part)
            elif isinstance(part, Text):
                texts.append(part.text)
                if own := self._own(part.text):
                    words.append(own)
            else:
                self._other(part)
        if texts:
            self.texts += texts
            self.last_user_texts = texts
        if words:
            steering = (working or self.loop_open) and not self.tasks.current.stopped
            self._turn_begins("\n".join(words) if len(words) > 1 else words[0], steering)

    def _own(self, text: str) -> str:
        """The user's own words in a text that may also be a client's: that the agent was stopped, or what a command
        printed."""
        if text[:1] in MARKED:
            if interruption(text):
                self.tasks.current.interrupt()
                return own_words(text) if text[:1] == "<" else text.partition("\n")[2].strip()
            if (told := report(text)) is not None:
                self._reported(told, text)
                return ""
        return own_words(text)

    def _reported(self, told: Report, text: str) -> None:
        """A client without tools tells what the command printed that the model or its user asked for."""
        command = told.command or self._asked
        if not command:
            return
        self.loop_open = True
        self._ran(reading_of(command_action(command[:ORDINARY]).starts, text, is_error=False))

    def _turn_begins(self, words: str, steering: bool) -> None:
        self.turn += 1
        self.tasks.words(words, steering)
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
        text = ""
        for part in parts:
            if isinstance(part, ToolCall):
                step.add(self._call(part))
            elif isinstance(part, Text):
                text = part.text
                self.texts.append(text)
            else:
                self.thinking = self.thinking or isinstance(part, Thinking)
                self._other(part)
        self.loop_open = bool(step)
        if step:
            self.step = step
        elif text:
            self._written(text)

    def _written(self, text: str) -> None:
        """A model without tools writes its edits and commands into its text."""
        self._asked = ""
        if "<" in text and edits_in_text(text):
            self._edited = self.edited_this_turn = True
            self.tasks.current.edited("", None, prose=False)
        if "```" in text or "<execute" in text:
            self._asked = command_in_text(text)
            action = command_action(self._asked[:ORDINARY])
            if action.edits:
                self._edited = self.edited_this_turn = True
                self.tasks.current.edited(action.path, None, action.prose)

    def _call(self, call: ToolCall) -> Kind:
        name, arguments = call.name, call.arguments
        self.texts.append(arguments)
        self.tools_used += 1
        self.last_tool = name
        action = _action(self._kinds.get(name) or self._kind(name), arguments)
        key = (name, arguments)
        if self._background and (followed := self._followed(arguments)) is not None:
            action = followed
        elif key in self._since_edit:
            self.repeated += 1
            self.tasks.current.repeats()
        self._calls[call.id] = action
        if action.edits:
            self._edited = self.edited_this_turn = True
            self._since_edit.clear()
            self.tasks.current.edited(action.path, action.swap, action.prose)
        self._since_edit.add(key)
        if action.path:
            self.focus = action.path
            if language := language_of(action.path):
                self._votes.append(language)
                if action.kind == "edit":
                    self._votes.append(language)
        return action.kind

    def _followed(self, arguments: str) -> Action | None:
        """The run in the background that a call asks about."""
        for name, action in self._background.items():
            if name in arguments[:ORDINARY]:
                return action
        return None

    def _kind(self, name: str) -> Kind:
        kind = self._kinds[name] = tool_kind(name)
        return kind

    def _result(self, result: ToolResult) -> None:
        self.tool_results += 1
        parts = result.parts
        if len(parts) == 1 and isinstance(part := parts[0], Text):
            output = part.text
            self.texts.append(output)
        else:
            output = self._output(parts)
        action = self._calls.get(result.call_id, NONE)
        kind = action.kind
        failed = result.is_error
        marks = self._openings.get(output[:OPENS])
        if marks is not None and output.startswith(marks):
            if interrupted_result(output):
                self._stopped(output)
                self._not_edited(action)
                return
            failed = failed or _tells_failure(kind, output)
        if action.starts is not None or kind == "shell":
            # The verdict is dear, so it is asked for only where it makes a difference.
            if (self._edited or failed or _is_numbered(output)) and not action.quotes:
                reading = reading_of(action.starts, output, result.is_error)
                if reading.runs:
                    if action.undoes is not None:
                        self.tasks.current.undo(action.undoes)
                    self._ran(reading)
                    return
                if action.starts is not None and in_background(output):
                    self._follow(action, output)
                    return
        elif kind == "read" and action.path and not failed:
            self.file_chunks += 1
            return
        if failed:
            self.tool_errors += 1
            self.session_errors += self._edited
            self.tasks.current.errs()
            self._not_edited(action)
        elif action.undoes is not None:
            self.tasks.current.undo(action.undoes)
        elif action.stash:
            self.tasks.current.put_aside(action.stash == "aside")
        elif _is_numbered(output):
            self.file_chunks += 1

    def _stopped(self, output: str) -> None:
        """The user refused a call: with words about it, which steer the task, or to stop the agent."""
        _, told, words = output.partition("the user said:")
        if told:
            self.tasks.words(words.strip(), steering=True)
        else:
            self.tasks.current.interrupt()

    def _not_edited(self, action: Action) -> None:
        if action.edits and not action.prose:
            self.tasks.current.edit_failed(action.path)

    def _ran(self, reading: Reading) -> None:
        if not self._edited:
            return
        self.tasks.current.ran(reading)
        if reading.tests_failed is not None:
            if reading.tests_failed:
                self.failures += 1
            else:
                self.passes += 1

    def _follow(self, action: Action, output: str) -> None:
        found = BACKGROUND_ID.search(output[:LOOKED_AT])
        if found is not None and len(self._background) < BACKGROUND:
            self._background[found[1]] = action

    def _output(self, parts: Sequence[Part]) -> str:
        self.others(parts)
        shown = parts if len(parts) <= MANY else (*parts[: MANY // 2], *parts[-MANY // 2 :])
        return "\n".join([part.text for part in shown if isinstance(part, Text) and part.text])


def _action(kind: Kind, arguments: str) -> Action:
    if len(arguments) <= ORDINARY:
        return _remembered(kind, arguments)
    if len(arguments) <= LONG:
        return _remembered_long(kind, arguments)
    return read_action(kind, arguments)


@lru_cache(maxsize=REMEMBERED)
def _remembered(kind: Kind, arguments: str) -> Action:
    return read_action(kind, arguments)


@lru_cache(maxsize=FEWER)
def _remembered_long(kind: Kind, arguments: str) -> Action:
    return read_action(kind, arguments)


def _tells_failure(kind: Kind, output: str) -> bool:
    """Whether an output that begins as errors do, or as clients' wrappers do, tells of a failure. What only looks, and
    finds nothing, has not failed."""
    if not output.startswith(_wrappers()):
        return True
    code = exit_code(output[:LOOKED_AT], "")
    return bool(code) and (kind not in ("read", "search") or code != 1)


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
def _openings() -> Mapping[str, tuple[str, ...]]:
    """How results begin that need a closer look, by their first letters."""
    marks: dict[str, tuple[str, ...]] = {}
    for mark in (*shipped_yaml(CLIENTS)["error_openings"], *_wrappers(), *interruption_marks()):
        marks[mark[:OPENS]] = (*marks.get(mark[:OPENS], ()), mark)
    return marks


@cache
def _wrappers() -> tuple[str, ...]:
    return tuple(shipped_yaml(CLIENTS)["exit_openings"])
