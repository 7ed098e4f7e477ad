"""A scripted coding agent: a user's task as the requests a real agent would send, one after the other.

It sends nothing itself. `work` yields each request and is sent its reply, so the same script runs against the
engine or a provider, in a test or a demo:

    session = work(task, "anthropic-messages", seed=1)
    ask = next(session)
    while True:
        try:
            ask = session.send(await post(ask))
        except StopIteration as end:
            return end.value    # Finished

What the model answers decides what comes next: its tool calls are run in a workspace whose tests pass only
once a model that is able to solve the task has edited it. The agent stops at the model's last word or after
`MOST_TURNS`.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.simulator.agent_tasks import Task, Workspace
from engine.simulator.agent_voices import BASH, EDIT, GREP, READ, VOICES, Heard, Purpose, Tool, Voice
from engine.simulator.dice import token
from engine.simulator.models import MODELS, SimulatedModel
from engine.simulator.transcript import BrokenOff, whole

MOST_TURNS = 16
MOST_TRIES = 3
_TITLES = "You are a title generator. You output ONLY a thread title. Nothing else."
_PLANS = (
    "<system-reminder>Plan mode is active. You must not change anything yet: look, then say what you "
    "would do.</system-reminder>\n"
)
_RULES = (
    "You help with software engineering in the user's repository. Read before you change, keep changes "
    "small, and run "
    "the tests after each one. When a test fails, find out why before you change more. Never delete a test "
    "to make "
    "a run pass. Follow the names and the layout you find; add a dependency only when asked to. Say in a "
    "sentence "
    "what you do next, and at the end what you did and what you did not."
)
SYSTEM = "\n\n".join([_RULES, *(f"{number}. {_RULES}" for number in range(1, 12))])


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """`step` says in a word what it is for; `path` goes after a base URL without `/v1`."""

    step: str
    protocol: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    task: Task

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class AgentReply:
    """Header names are lower case. `content` is the body, whole or a stream read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Turn:
    """One answered request, and who served it."""

    step: str
    model: str
    decision: str


@dataclass(frozen=True, slots=True)
class Finished:
    """How a task ended. `solved` says its tests passed at the end; `tests_*` are of the last run. `error` is
    what stopped it, where something did."""

    task: Task
    session: str
    solved: bool
    tests_passed: int
    tests_failed: int
    turns: tuple[Turn, ...]
    text: str = ""
    error: str = ""

    @property
    def decision(self) -> str:
        """Of the last turn that worked on the task: what an outcome can be told about."""
        return next((turn.decision for turn in reversed(self.turns) if turn.step == "work"), "")


class _Stopped(Exception):  # noqa: N818  # ends the script from within
    """A request could not be answered."""


@dataclass(slots=True)
class _Agent:
    task: Task
    voice: Voice
    seed: int
    stream: bool
    hints: bool
    models: Sequence[SimulatedModel]
    session: str
    turns: list[Turn] = field(default_factory=list)

    def ask(
        self,
        purpose: Purpose,
        system: str,
        messages: list[Mapping[str, Any]],
        tools: Sequence[Tool],
        subagent: str = "",
    ) -> Generator[AgentRequest, AgentReply, Heard]:
        """One request, tried again as agents do while the provider has trouble."""
        headers = {"content-type": "application/json", **self.voice.headers(self.session, subagent)}
        if self.hints and purpose != "work":
            headers["x-weave-task"] = purpose
        body = self.voice.body(purpose, system, messages, tools, self.stream)
        request = AgentRequest(purpose, self.voice.protocol, self.voice.path, headers, body, self.task)
        trouble = ""
        for _ in range(MOST_TRIES):
            reply = yield request
            if reply.status < 400:
                try:
                    return self._heard(purpose, reply)
                except BrokenOff as broken:
                    trouble = str(broken)
                    continue
            trouble = f"{reply.status} {reply.content[:500].decode(errors='replace')}"
            if reply.status < 500 and reply.status != 429:
                break
        raise _Stopped(f"{purpose}: {trouble}")

    def _heard(self, purpose: Purpose, reply: AgentReply) -> Heard:
        said = whole(reply.headers.get("content-type", ""), reply.content)
        model = reply.headers.get("x-weave-model") or str(said.get("model", ""))
        self.turns.append(Turn(purpose, model, reply.headers.get("x-weave-decision", "")))
        return self.voice.hear(said)

    def loop(
        self, purpose: Purpose, opening: str, tools: Sequence[Tool], workspace: Workspace, subagent: str = ""
    ) -> Generator[AgentRequest, AgentReply, str]:
        """A conversation to the model's last word. Gives that word."""
        messages: list[Mapping[str, Any]] = [self.voice.user(opening)]
        for _ in range(MOST_TURNS):
            heard = yield from self.ask(purpose, SYSTEM, messages, tools, subagent)
            if not heard.calls:
                return heard.text
            results = []
            for wish in heard.calls:
                text, failed = workspace.run(wish.name, wish.arguments, self.turns[-1].model)
                results.append((wish, text, failed))
            messages += [heard.message, *self.voice.results(results)]
        return "I have to stop here."


def work(
    task: Task,
    protocol: str,
    seed: int = 0,
    stream: bool = True,
    hints: bool = False,
    models: Sequence[SimulatedModel] = MODELS,
) -> Generator[AgentRequest, AgentReply, Finished]:
    """A task from its title to its end. With `hints` requests say what they are for in `x-weave-task`."""
    session = _uuid(task.id, seed)
    agent = _Agent(task, VOICES[protocol], seed, stream, hints, models, session)
    workspace = Workspace(task, seed, models)
    text, error = "", ""
    try:
        text = yield from _script(agent, workspace)
    except _Stopped as stopped:
        error = str(stopped)
    passed, failed = workspace.passed, workspace.failed
    return Finished(task, session, workspace.solved, passed, failed, tuple(agent.turns), text, error)


def _script(agent: _Agent, workspace: Workspace) -> Generator[AgentRequest, AgentReply, str]:
    task, voice = agent.task, agent.voice
    yield from agent.ask("title", _TITLES, [voice.user(task.ask)], ())
    known = ""
    if task.explores:
        request = f"Gather what matters for this: {task.ask} Look at {task.file} and who uses it."
        found = yield from agent.loop("context", request, (GREP, READ), workspace, _uuid(task.id, "sub")[:12])
        known = f"\n\nA sub-agent reports: {found}"
    if task.plans:
        plan = yield from agent.ask("plan", SYSTEM, [voice.user(f"{_PLANS}{task.ask}{known}")], ())
        known += f"\n\nThe plan: {plan.text}"
    return (yield from agent.loop("work", f"{task.ask}{known}", (READ, GREP, EDIT, BASH), workspace))


def _uuid(*words: object) -> str:
    text = token(32, *words).lower()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
