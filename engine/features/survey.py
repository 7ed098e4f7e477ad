"""One walk over a conversation, and what it saw.

Everything a policy or a learner may ask is gathered here in a single pass, so that a request of sixty
messages costs a fraction of a millisecond however many features are read. The walk looks at long texts only
where they begin and end, and does a bounded amount of work for each part, so hostile input costs what
honest input does.

The traps it knows:

* Clients write reminders into user messages and tool results; a turn begins only with the user's own words.
* Agents reproduce a bug before they mend it, so `session_*` figures count what came after the first edit.
* A test run that fails is a failed test, not a tool error, though clients mark it as one.
* A message may be huge or one of a million; neither is copied, except the texts the sizes of which are
  weighed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from engine.core.conversation import (
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from engine.documents import shipped_yaml
from engine.features.actions import Action, fence_language, language_of, read_action
from engine.features.clients import caller
from engine.features.evidence import as_test_run, output_of, test_verdict
from engine.features.markers import CLIENTS, Look
from engine.features.phase import Step, phase_of
from engine.features.tokens import (
    CALL,
    IMAGE,
    MESSAGE,
    REQUEST,
    Ruler,
)
from engine.features.words import own_words, word_count

HASHED = 16_384  # characters of the first user text that name a conversation
LOOKED_AT = 2_048  # characters at each end of a text where marks are looked for
SYSTEM_TEXTS = 4  # of which the openings are looked at
FENCES = 8  # fenced blocks of a text whose labels are read
RECENT = 24  # votes for the language that count, the latest

NONE = Action("other")


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk saw. `engine.features.registry` gives each value its name and meaning."""

    request: Request
    context_tokens: int
    file_chunks: int
    turn: int
    tools_used: int
    tool_results: int
    tool_errors: int
    tool_loop_open: bool
    last_tool: str
    images: int
    documents: int
    thinking: bool
    prompt_words: int
    client: str
    agent: str
    subagent: bool
    client_session: str
    parent_session: str
    first_user_hash: str
    phase: str
    language: str
    focus_file: str
    session_test_failures: int
    session_test_passes: int
    session_tool_errors: int
    repeated_calls: int


def survey(request: Request, headers: Mapping[str, str]) -> Survey:
    """Header names are lower-case."""
    walk = _Walk(request.protocol)
    ruler = walk.ruler
    ruler.add(REQUEST)
    for part in request.system:
        walk.other(part)
    ruler.tools(request.tools)
    if request.tuning.output_schema is not None:
        ruler.answer(request.tuning.output_schema)
    for message in request.messages:
        walk.message(message)
    return _seen(request, headers, walk)


def estimate_tokens(request: Request) -> int:
    """About how many tokens the request has."""
    return survey(request, {}).context_tokens


def _seen(request: Request, headers: Mapping[str, str], walk: "_Walk") -> Survey:
    look = Look(
        request,
        headers,
        _system_openings(request),
        _ends(walk.last_user_text),
        frozenset([tool.name for tool in request.tools]),
    )
    first = walk.first_words
    first_hash = (
        blake2b(first[:HASHED].encode("utf-8", "replace"), digest_size=8).hexdigest() if first else ""
    )
    who = caller(look, first_hash)
    return Survey(
        request=request,
        context_tokens=walk.ruler.total(),
        file_chunks=walk.file_chunks,
        turn=walk.turn,
        tools_used=walk.tools_used,
        tool_results=walk.tool_results,
        tool_errors=walk.tool_errors,
        tool_loop_open=walk.loop_open,
        last_tool=walk.last_tool,
        images=walk.images,
        documents=walk.documents,
        thinking=walk.thinking,
        prompt_words=word_count(walk.last_words),
        client=who.client,
        agent=who.agent,
        subagent=who.subagent,
        client_session=who.session,
        parent_session=who.parent_session,
        first_user_hash=first_hash,
        phase=phase_of(look, walk.step, walk.edited_this_turn),
        language=_most_voted(walk.votes[-RECENT:]),
        focus_file=walk.focus,
        session_test_failures=walk.failures,
        session_test_passes=walk.passes,
        session_tool_errors=walk.session_errors,
        repeated_calls=walk.repeated,
    )


class _Walk:
    """The state of the walk: counts so far, and what the latest call, step and turn were."""

    __slots__ = (
        "_calls",
        "_edited",
        "_since_edit",
        "documents",
        "edited_this_turn",
        "failures",
        "file_chunks",
        "first_words",
        "focus",
        "images",
        "last_tool",
        "last_user_text",
        "last_words",
        "loop_open",
        "passes",
        "repeated",
        "ruler",
        "session_errors",
        "step",
        "thinking",
        "tool_errors",
        "tool_results",
        "tools_used",
        "turn",
        "votes",
    )

    def __init__(self, protocol: str) -> None:
        self._calls: dict[str, Action] = {}
        self._edited = False  # whether anything was edited in the whole conversation
        self._since_edit: set[tuple[str, str]] = set()
        self.documents = self.images = 0
        self.edited_this_turn = False
        self.failures = self.passes = self.session_errors = 0
        self.file_chunks = 0
        self.first_words = self.last_words = self.last_user_text = ""
        self.focus = self.last_tool = ""
        self.loop_open = False
        self.repeated = 0
        self.ruler = Ruler(protocol)
        self.step: Step = set()
        self.thinking = False
        self.tool_errors = self.tool_results = self.tools_used = self.turn = 0
        self.votes: list[str] = []

    def message(self, message: Message) -> None:
        self.ruler.add(MESSAGE)
        match message.role:
            case "user":
                self._user(message)
            case "assistant":
                self._assistant(message)
            case _:
                for part in message.parts:
                    self.other(part)

    def other(self, part: Part) -> None:
        """A part that says nothing about the course of the work; it only takes room."""
        match part:
            case Text() | Thinking() | Opaque():
                self.ruler.text(part.text)
            case Image():
                self.images += 1
                self.ruler.add(IMAGE)
            case Document():
                self.documents += 1
                self.ruler.document(part)
            case ToolCall() | ToolResult():
                pass

    def _user(self, message: Message) -> None:
        self.loop_open = False
        words: list[str] = []
        texts: list[str] = []
        for part in message.parts:
            match part:
                case ToolResult():
                    self.loop_open = True
                    self._result(part)
                case Text(text=text):
                    self.ruler.text(text)
                    texts.append(text)
                    if own := own_words(text):
                        words.append(own)
                case _:
                    self.other(part)
        if texts:
            self.last_user_text = "\n".join(texts) if len(texts) > 1 else texts[0]
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
                self.votes.append(language)

    def _assistant(self, message: Message) -> None:
        step: Step = set()
        for part in message.parts:
            match part:
                case ToolCall():
                    self._call(part, step)
                case Text(text=text):
                    self.ruler.text(text)
                case Thinking(text=text):
                    self.thinking = True
                    self.ruler.text(text)
                case _:
                    self.other(part)
        self.loop_open = bool(step)
        if step:
            self.step = step

    def _call(self, call: ToolCall, step: Step) -> None:
        self.ruler.add(CALL)
        self.ruler.text(call.arguments)
        self.tools_used += 1
        self.last_tool = call.name
        action = as_test_run(read_action(call))
        self._calls[call.id] = action
        step.add(action.kind)
        key = (call.name, call.arguments)
        if key in self._since_edit:
            self.repeated += 1
        if action.kind == "edit":
            self._edited = self.edited_this_turn = True
            self._since_edit.clear()
        self._since_edit.add(key)
        if action.path:
            self.focus = action.path
            if language := language_of(action.path):
                self.votes.extend((language, language) if action.kind == "edit" else (language,))

    def _result(self, result: ToolResult) -> None:
        self.tool_results += 1
        for part in result.parts:
            self.other(part)
        action = self._calls.get(result.call_id, NONE)
        output = output_of(result)
        if action.kind in ("test", "shell") and (verdict := test_verdict(action, output, result.is_error)):
            if self._edited:
                self.failures += verdict == "failed"
                self.passes += verdict == "passed"
            return
        if result.is_error or output.startswith(_error_openings()):
            self.tool_errors += 1
            self.session_errors += self._edited
        elif (action.kind == "read" and action.path) or _is_numbered(output):
            self.file_chunks += 1


def _is_numbered(text: str) -> bool:
    """Whether a text looks like a file shown with line numbers: its first lines are numbered in order."""
    first, _, rest = text[:400].lstrip().partition("\n")
    number = _line_number(first)
    return number >= 0 and _line_number(rest.lstrip(" ").partition("\n")[0]) == number + 1


def _line_number(line: str) -> int:
    """The number a line begins with, if a mark follows that editors and agents put there; otherwise -1."""
    digits = 0
    while digits < 7 and line[digits : digits + 1].isdecimal():
        digits += 1
    return int(line[:digits]) if digits and line[digits : digits + 1] in ("\t", "→", "|", ":") else -1


def _system_openings(request: Request) -> str:
    texts = [part.text[:LOOKED_AT] for part in request.system[:SYSTEM_TEXTS] if isinstance(part, Text)]
    if not texts:
        for message in request.messages[:SYSTEM_TEXTS]:
            if message.role == "system":
                texts += [part.text[:LOOKED_AT] for part in message.parts[:2] if isinstance(part, Text)]
    return "\n".join(texts)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * LOOKED_AT else f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"


def _most_voted(votes: list[str]) -> str:
    """The language named most often; of equals the latest."""
    return max(reversed(votes), key=votes.count, default="none")


@cache
def _error_openings() -> tuple[str, ...]:
    return tuple(shipped_yaml(CLIENTS)["error_openings"])
