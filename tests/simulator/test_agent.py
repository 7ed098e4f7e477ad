"""The scripted agent against the simulator itself, without an engine between."""

from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest

from engine.simulator import Simulator
from engine.simulator.agent import MOST_TRIES, AgentReply, AgentRequest, Finished, work
from engine.simulator.agent_tasks import Task, tasks

MIX = tasks(12, seed=4)


def send(simulator: Simulator, http: httpx.Client, ask: AgentRequest, model: str) -> AgentReply:
    """Ask a model, whatever the agent wanted, as an engine might."""
    body: dict[str, Any] = {**ask.body, "model": model}
    body.pop("reasoning_effort", None)
    provider = "anthropic" if ask.protocol == "anthropic-messages" else "openai"
    path = ask.path if provider == "anthropic" else ask.path.removeprefix("/v1")
    headers = {**ask.headers, "x-simulator-key": "none needed"}
    reply = http.post(simulator.url(provider) + path, json=body, headers=headers)
    return AgentReply(reply.status_code, dict(reply.headers), reply.content)


def run(
    simulator: Simulator, http: httpx.Client, task: Task, protocol: str, model: str, stream: bool = True
) -> tuple[Finished, list[AgentRequest]]:
    session = drive(work(task, protocol, seed=4, stream=stream))
    asked: list[AgentRequest] = []
    reply: AgentReply | None = None
    while isinstance(step := session(reply), AgentRequest):
        asked.append(step)
        reply = send(simulator, http, step, model)
    return step, asked


def drive(
    session: Generator[AgentRequest, AgentReply, Finished],
) -> Callable[[AgentReply | None], AgentRequest | Finished]:
    """The session as a function from each reply to what comes next."""

    def step(reply: AgentReply | None) -> AgentRequest | Finished:
        try:
            return next(session) if reply is None else session.send(reply)
        except StopIteration as end:
            finished: Finished = end.value
            return finished

    return step


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("protocol", "model"), [("anthropic-messages", "claude-opus-4-5"), ("openai-chat", "gpt-5.4")]
)
def test_the_frontier_finishes_every_task(
    simulator: Simulator, http: httpx.Client, protocol: str, model: str, stream: bool
) -> None:
    for task in MIX:
        finished, _ = run(simulator, http, task, protocol, model, stream)
        assert finished.error == ""
        assert finished.solved
        assert (finished.tests_failed, finished.tests_passed > 0) == (0, True)
    assert {record.status for record in simulator.received} == {200}


def test_a_small_model_finishes_what_it_is_able_to(simulator: Simulator, http: httpx.Client) -> None:
    solved = {}
    for task in MIX:
        finished, _ = run(simulator, http, task, "anthropic-messages", "claude-haiku-4-5")
        solved[task.id] = finished.solved
        assert finished.error == ""
    assert solved == {task.id: task.solved_by("haiku", 4) for task in MIX}
    assert 0 < sum(solved.values()) < len(MIX)


def test_a_task_that_is_planned_and_explored_has_every_step(simulator: Simulator, http: httpx.Client) -> None:
    task = next(task for task in MIX if task.plans)
    finished, asked = run(simulator, http, task, "anthropic-messages", "claude-opus-4-5")
    steps = list(dict.fromkeys(turn.step for turn in finished.turns))
    assert steps == ["title", "context", "plan", "work"]
    context = [ask for ask in asked if ask.step == "context"]
    assert all("x-claude-code-agent-id" in ask.headers for ask in context)
    assert len({ask.headers["x-claude-code-session-id"] for ask in asked}) == 1


def test_the_context_grows_from_turn_to_turn_and_stays_bounded(
    simulator: Simulator, http: httpx.Client
) -> None:
    _, asked = run(simulator, http, MIX[0], "openai-chat", "gpt-4.1")
    sizes = [len(ask.content) for ask in asked if ask.step == "work"]
    assert sizes == sorted(sizes)
    assert sizes[0] > 5_000
    assert sizes[-1] < 200_000


def test_a_session_is_the_same_each_time(simulator: Simulator, http: httpx.Client) -> None:
    def shapes() -> list[tuple[str, int]]:
        _, asked = run(simulator, http, MIX[1], "anthropic-messages", "claude-opus-4-5")
        return [(ask.step, len(ask.body["messages"])) for ask in asked]

    assert shapes() == shapes()


def test_hints_say_what_a_request_is_for_where_they_are_wanted() -> None:
    ask = next(work(MIX[0], "openai-chat", hints=True))
    assert ask.headers["x-weave-task"] == "title"
    assert "x-weave-task" not in next(work(MIX[0], "openai-chat")).headers


def test_the_agent_tries_again_while_a_provider_has_trouble(simulator: Simulator, http: httpx.Client) -> None:
    simulator.fail(status=529, times=1)
    simulator.fail(kind="error", times=1)
    finished, asked = run(simulator, http, MIX[0], "anthropic-messages", "claude-opus-4-5")
    assert finished.solved
    assert len(asked) == len(finished.turns) + 2


@pytest.mark.parametrize(("status", "tries"), [(529, MOST_TRIES), (400, 1)])
def test_the_agent_gives_up_and_says_why(
    simulator: Simulator, http: httpx.Client, status: int, tries: int
) -> None:
    simulator.fail(status=status)
    finished, asked = run(simulator, http, MIX[0], "anthropic-messages", "claude-opus-4-5")
    assert len(asked) == tries
    assert finished.error.startswith(f"title: {status}")
    assert not finished.solved
    assert finished.turns == ()


def test_turns_remember_what_the_engine_said_of_them() -> None:
    session = drive(work(MIX[0], "openai-chat", stream=False))
    headers = {"content-type": "application/json", "x-weave-model": "haiku", "x-weave-decision": "d1"}
    reply = AgentReply(200, headers, b'{"model": "x", "choices": [{"message": {"content": "hi"}}]}')
    step = session(None)
    while isinstance(step, AgentRequest):
        step = session(reply)
    assert {(turn.model, turn.decision) for turn in step.turns} == {("haiku", "d1")}
    assert step.decision == "d1"
