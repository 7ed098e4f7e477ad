"""One walk over a conversation, and what it saw.

Everything a policy or a learner may ask is gathered here in a single pass, so that a request of sixty
messages costs a fraction of a millisecond however many features are read. The walk looks at long texts only
where they begin and end, and does a bounded amount of work for each part, so hostile input costs what
honest input does; past ten thousand messages and parts it takes samples (`engine/features/crowd.py`).

The traps it knows:

* Clients write reminders into user messages and tool results; a turn begins only with the user's own words.
* Agents reproduce a bug before they mend it, so `session_*` figures count what came after the first edit.
* A run of tests, a build or a linter that fails is no tool error, though clients mark it as one.
* A message may be huge or one of a million; neither is copied, except the texts the sizes of which are
  weighed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from engine.core.conversation import Message, Request, Text, Tool, ToolCall, ToolResult, Tuning
from engine.core.evidence import TaskEvidence, Tasks
from engine.core.values import quick
from engine.features.clients import caller
from engine.features.markers import Look, system_marks, user_marks
from engine.features.phase import phase_of
from engine.features.tokens import CALL, IMAGE, MESSAGE, REQUEST
from engine.features.walk import LOOKED_AT, Walk
from engine.features.words import word_count

HASHED = 16_384  # characters of the first user text that name a conversation
SYSTEM_TEXTS = 4  # of which the openings are looked at


@quick
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
    task: TaskEvidence
    former_task: TaskEvidence | None


def survey(request: Request, headers: Mapping[str, str]) -> Survey:
    """Header names are lower-case."""
    walk = Walk(request.protocol)
    walk.others(request.system)
    walk.messages(request.messages)
    ruler = walk.ruler
    ruler.tools(request.tools)
    if request.tuning.output_schema is not None:
        ruler.answer(request.tuning.output_schema)
    ruler.add(REQUEST + MESSAGE * len(request.messages) + CALL * walk.tools_used + IMAGE * walk.images)
    return _seen(request, headers, walk)


def tasks(request: Request) -> Tasks:
    """The evidence of the task a conversation is at, and of the one before, which the user's latest words judge."""
    walk = Walk(request.protocol)
    walk.messages(request.messages)
    return Tasks(walk.tasks.present(walk.loop_open), walk.tasks.former())


def estimate_tokens(request: Request) -> int:
    """About how many tokens the request has."""
    return survey(request, {}).context_tokens


def _seen(request: Request, headers: Mapping[str, str], walk: Walk) -> Survey:
    look = Look(
        request,
        headers,
        _system_marks(request),
        user_marks(_ends("\n".join(walk.last_user_texts))),
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
        language=walk.language(),
        focus_file=walk.focus,
        session_test_failures=walk.failures,
        session_test_passes=walk.passes,
        session_tool_errors=walk.session_errors,
        repeated_calls=walk.repeated,
        task=walk.tasks.present(walk.loop_open),
        former_task=walk.tasks.former(),
    )


def _system_marks(request: Request) -> frozenset[str]:
    texts = [part.text for part in request.system[:SYSTEM_TEXTS] if isinstance(part, Text)]
    if not texts:
        for message in request.messages[:SYSTEM_TEXTS]:
            if message.role == "system":
                texts += [part.text for part in message.parts[:2] if isinstance(part, Text)]
    if len(texts) == 1:
        return system_marks(texts[0][:LOOKED_AT])
    return frozenset().union(*[system_marks(text[:LOOKED_AT]) for text in texts])


def _ends(text: str) -> str:
    return text if len(text) <= 2 * LOOKED_AT else f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"


def warm() -> None:
    """Reads and compiles what the first survey needs, so that no request waits for it."""
    call = ToolCall("1", "Bash", '{"command": "git status && pytest > a.py"}')
    result = ToolResult("1", (Text("=== 1 failed, 1 passed in 1s"),))
    messages = (
        Message("user", (Text("<b>mend</b>\n```py\n1\n```"),)),
        Message("assistant", (call,)),
        Message("user", (result,)),
    )
    survey(
        Request("anthropic-messages", "", (), messages, (Tool("Bash"),), Tuning(), False, b"", {}),
        {"user-agent": ""},
    )
