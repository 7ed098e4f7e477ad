"""A request's story with the shipped policy: who decides, and what is kept of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import turn
from engine.core.decision import Attempt, Decision, Failed, Outcome, Served
from engine.core.errors import Fault, RequestError, UnservableError
from engine.core.identity import Identity
from engine.core.lineage import Lineage
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Pin, Task
from engine.protocols import PROTOCOLS
from engine.routing.holding import MemoryLineages
from engine.routing.pins import pin_after
from engine.snapshot import Snapshot, build

POLICIES = Path(__file__).parent.parent / "policies"
IDENTITY = Identity("ann", "core", "internal")
TOOL = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build({path.name: path.read_text() for path in POLICIES.glob("*.yaml")})


class Sure:
    """Trust with the same belief in every model, apart from those it is told about."""

    def __init__(self, confidence: float = 0.5, samples: float = 0.0) -> None:
        self._told = confidence, samples

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        reaches = [tuple(0.25**number for number in range(len(option.steps))) for option in options]
        return [Belief(*self._told, reach=reach) for reach in reaches]


def body(**fields: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": "Rename the parser module."}
    return {"model": "claude-opus-4-5", "max_tokens": 100, "messages": [asked], **fields}


def decide(
    snapshot: Snapshot,
    fields: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    pin: str = "",
    trust: Sure | None = None,
    identity: Identity = IDENTITY,
    draw: float = 0.99,
) -> Decision:
    raw = json.dumps(body(**(fields or {}))).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    facts = turn.read(request, headers or {}, identity, snapshot)
    pinned = Pin(pin, "some-rule", 0.0, 10_000.0) if pin else None
    return turn.decide(facts, snapshot, turn.Moment("d1", 1000.0, draw, pinned, trust or Sure()))


def test_a_plain_question_goes_to_the_model_it_asked_for(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    assert (decision.model, decision.source, decision.rule) == ("opus", "default", "default")


def test_the_decision_tells_what_it_rests_on(snapshot: Snapshot) -> None:
    decision = decide(snapshot, headers={"x-weave-task": "plan"})
    assert decision.snapshot == snapshot.fingerprint
    assert decision.policy == "coding-agents"
    assert decision.rule == "planning-and-debugging"
    assert decision.effort == "high"
    assert decision.hints == {"task": "plan"}
    assert (
        decision.features["requested_model"] == "claude-opus-4-5"
        or decision.features["requested_model"] == "opus"
    )
    assert [step.name for step in decision.trace if step.result == "matched"] == ["planning-and-debugging"]


def test_a_guard_outranks_a_forced_model_and_a_pin(snapshot: Snapshot) -> None:
    headers = {"x-weave-private": "1", "x-weave-model": "opus", "x-weave-session": "s"}
    decision = decide(snapshot, headers=headers, pin="opus")
    assert (decision.model, decision.source) == ("local", "guard")
    assert decision.targets == ("local",)
    assert decision.attempts == 1


def test_a_forced_model_outranks_a_pin(snapshot: Snapshot) -> None:
    decision = decide(snapshot, headers={"x-weave-model": "sonnet"}, pin="opus")
    assert (decision.model, decision.source) == ("sonnet", "forced")


def test_a_pin_outranks_rules(snapshot: Snapshot) -> None:
    decision = decide(snapshot, headers={"x-weave-task": "plan"}, pin="haiku")
    assert (decision.model, decision.source, decision.rule) == ("haiku", "pin", "some-rule")
    assert decision.reason.startswith("the session keeps haiku")


FAILING: list[dict[str, Any]] = [
    {"role": "user", "content": "Fix it."},
    *(
        message
        for number in range(3)
        for message in (
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": f"e{number}", "name": "Edit", "input": {"file_path": "a.py"}},
                    {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": "pytest"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": f"e{number}", "content": "updated"},
                    {
                        "type": "tool_result",
                        "tool_use_id": f"t{number}",
                        "content": "=== 2 failed, 3 passed in 0.1s ===",
                    },
                ],
            },
        )
    ),
]


def test_an_escalation_outranks_a_pin_but_only_upwards(snapshot: Snapshot) -> None:
    up = decide(snapshot, {"messages": FAILING, "tools": [TOOL]}, pin="haiku")
    assert (up.model, up.source, up.rule) == ("opus", "escalation", "failing-session")
    level = decide(snapshot, {"messages": FAILING, "tools": [TOOL]}, pin="gpt")
    assert (level.model, level.source) == ("gpt", "pin")


PLANNED = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: planned}
plans:
  cheap-first: {steps: [small, mid, frontier], escalate: {when: features.session_test_failures >= 1}}
  same-twice: {steps: [mid, sonnet, frontier]}
rules:
  - {name: planning, when: has(hints.task), then: {use: same-twice}}
default: {use: cheap-first}
"""


@pytest.fixture(scope="module")
def planned() -> Snapshot:
    return build({"catalog.yaml": (POLICIES / "catalog.yaml").read_text(), "planned.yaml": PLANNED})


def step(planned: Snapshot, failures: int, pin: Pin | None, **fields: Any) -> tuple[Decision, Pin | None]:
    """The decision of a request that shows so many failed runs, and the pin it leaves."""
    messages = FAILING[: 1 + 2 * failures]
    raw = json.dumps(body(messages=messages, tools=[TOOL], **fields)).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    facts = turn.read(request, {"x-weave-session": "s"}, IDENTITY, planned)
    decision = turn.decide(facts, planned, turn.Moment("d1", 1000.0, 0.99, pin, Sure()))
    return decision, pin_after(decision, facts.inputs["features"], planned.policy.pinning, 1000.0, pin)


def test_each_failure_moves_a_session_one_step_up_its_plan_and_no_further(planned: Snapshot) -> None:
    first, pin = step(planned, 0, None)
    assert (first.model, first.source, first.plan, first.step) == ("haiku", "default", "cheap-first", 0)
    held, pin = step(planned, 0, pin)
    assert (held.model, held.source, held.plan, held.step) == ("haiku", "pin", "cheap-first", 0)
    second, pin = step(planned, 1, pin)
    assert (second.model, second.source, second.plan, second.step) == (
        "sonnet",
        "escalation",
        "cheap-first",
        1,
    )
    assert second.reason == "step 2 of cheap-first: the work of haiku failed"
    held, pin = step(planned, 1, pin)  # the same failure is told again with every request
    assert (held.model, held.source, held.step) == ("sonnet", "pin", 1)
    third, pin = step(planned, 2, pin)
    assert (third.model, third.source, third.step) == ("opus", "escalation", 2)
    last, pin = step(planned, 3, pin)
    assert (last.model, last.source, last.step) == ("opus", "pin", 2)


def test_once_up_a_session_stays_up_though_its_history_was_cut(planned: Snapshot) -> None:
    _, pin = step(planned, 0, None)
    _, pin = step(planned, 2, pin)
    cut, pin = step(planned, 0, pin)
    assert (cut.model, cut.source, cut.step) == ("sonnet", "pin", 1)


def test_a_step_that_is_the_same_model_again_is_passed_over(planned: Snapshot) -> None:
    pin = Pin("sonnet", "planning", 0.0, 10_000.0, "same-twice", 0)
    up, _ = step(planned, 1, pin)
    assert (up.model, up.plan, up.step) == ("opus", "same-twice", 2)


def test_a_plan_that_is_gone_leaves_its_model_pinned(planned: Snapshot) -> None:
    held, _ = step(planned, 2, Pin("haiku", "default", 0.0, 10_000.0, "removed", 0))
    assert (held.model, held.source) == ("haiku", "pin")


def test_a_pin_breaks_when_its_model_cannot_carry_images(snapshot: Snapshot) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    fields = {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "What is this?"}]}]}
    decision = decide(snapshot, fields, pin="local")
    assert decision.model != "local"
    assert decision.source == "default"


def test_a_background_call_does_not_follow_the_pin(snapshot: Snapshot) -> None:
    system = "You are a title generator. You output ONLY a thread title. Nothing else."
    decision = decide(snapshot, {"system": system}, pin="opus")
    assert decision.features["phase"] == "title"
    assert (decision.model, decision.source) == ("haiku", "rule")


def test_an_unsure_learner_leaves_it_to_the_frontier(snapshot: Snapshot) -> None:
    decision = decide(snapshot, {"tools": [TOOL]}, trust=Sure(0.94, 500))
    assert (decision.model, decision.rule, decision.source) == ("opus", "routine-agent-turn", "default")
    assert decision.learner == "tier-picker"
    assert decision.signature
    assert any("0.94 is below 0.95" in candidate.why for candidate in decision.candidates)


def test_a_sure_learner_saves_money_and_says_how_sure_it_is(snapshot: Snapshot) -> None:
    decision = decide(snapshot, {"tools": [TOOL]}, trust=Sure(0.97, 500))
    assert decision.source == "learner"
    assert decision.model == "haiku"
    assert decision.confidence == 0.97


def test_what_nobody_asked_for_never_costs_more_than_what_was_asked_for(snapshot: Snapshot) -> None:
    decision = decide(snapshot, {"model": "claude-haiku-4-5"})
    assert decision.model == "haiku"
    assert "costs more than haiku" in decision.reason
    (cap,) = [step for step in decision.trace if step.kind == "cap"]
    assert (cap.name, cap.result, cap.detail) == ("opus", "skipped", decision.reason)


def test_a_client_may_leave_the_choice_to_the_engine(snapshot: Snapshot) -> None:
    assert decide(snapshot, {"model": "auto"}).model == "opus"


def test_a_model_nobody_knows_is_an_error_that_says_what_there_is(snapshot: Snapshot) -> None:
    with pytest.raises(RequestError, match="model 'opuss' is not known here; this engine serves opus, gpt"):
        decide(snapshot, {"model": "opuss"})


def test_a_request_no_model_can_carry_says_why(snapshot: Snapshot) -> None:
    huge = {"messages": [{"role": "user", "content": "word " * 600_000}]}
    with pytest.raises(UnservableError, match="opus holds 200000 tokens, the request has about"):
        decide(snapshot, huge)


def test_content_that_no_model_can_be_given_is_refused_and_named_with_what_would_carry_it(
    snapshot: Snapshot,
) -> None:
    catalog = snapshot.catalog
    claude = {name: model for name, model in catalog.models.items() if name == "haiku"}
    alone = replace(snapshot, catalog=replace(catalog, models=claude, aliases={}))
    audio = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    asked = {"model": "haiku", "messages": [{"role": "user", "content": [audio]}]}
    request = PROTOCOLS["openai-chat"].read_request(asked, json.dumps(asked).encode())
    facts = turn.read(request, {}, IDENTITY, alone)
    with pytest.raises(UnservableError) as refused:
        turn.decide(facts, alone, turn.Moment("d1", 1000.0, 0.99, None, Sure()))
    message = refused.value.fault.message
    assert "haiku cannot carry messages[0].content[0] (only openai-chat knows" in message
    assert message.endswith("an able model behind openai-chat could carry it")
    assert refused.value.fault.http_status == 400


def test_attempts_begin_with_the_choice_and_end_when_one_serves(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    attempts = turn.attempts(decision, snapshot, 0.0)
    first = next(attempts)
    assert isinstance(first, Attempt)
    assert first.model.name == "opus"
    with pytest.raises(StopIteration) as ended:
        attempts.send((Served(), 1.0))
    assert ended.value.value is None


def test_an_outcome_teaches_about_the_model_that_answered(snapshot: Snapshot) -> None:
    decision = decide(snapshot, {"tools": [TOOL]})
    outcome = Outcome("o1", 2000.0, decision="d1", tests_failed=1)
    (lesson,) = turn.lessons([decision], outcome, {"d1": "sonnet"}, snapshot)
    assert (lesson.learner, lesson.signature) == ("tier-picker", decision.signature)
    assert [step.model for step in lesson.steps] == ["sonnet"]
    assert lesson.score == 0.0


def test_an_outcome_of_a_decision_no_learner_was_asked_about_teaches_nothing(snapshot: Snapshot) -> None:
    outcome = Outcome("o1", 2000.0, decision="d1", rating=1.0)
    assert turn.lessons([decide(snapshot)], outcome, {}, snapshot) == ()


def test_an_outcome_the_policy_does_not_value_teaches_nothing(snapshot: Snapshot) -> None:
    decision = decide(snapshot, {"tools": [TOOL]})
    assert (
        turn.lessons([decision], Outcome("o1", 2000.0, decision="d1", labels={"a": "b"}), {}, snapshot) == ()
    )


def test_a_deadline_goes_by_the_moments_clock(snapshot: Snapshot) -> None:
    texts = {path.name: path.read_text() for path in POLICIES.glob("*.yaml")}
    hurried = build({**texts, "default.yaml": texts["default.yaml"] + "\nlimits: {deadline: 1ms}\n"})
    raw = json.dumps(body()).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    facts = turn.read(request, {}, IDENTITY, hurried)
    looks = iter(range(100))
    late = turn.Moment("d1", 1000.0, 0.99, None, Sure(), clock=lambda: float(next(looks)))
    decision = turn.decide(facts, hurried, late)
    assert (decision.rule, decision.source) == ("confidential-stays-local", "guard")
    in_time = turn.Moment("d1", 1000.0, 0.99, None, Sure(), clock=lambda: 0.0)
    assert turn.decide(facts, hurried, in_time).rule == "default"


# -- sealed data: below a guard and a forced model, above everything else

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
LOOP = [
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": [THOUGHT, {"type": "tool_use", "id": "t", "name": "Edit", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]},
]


def test_an_open_loop_of_signed_thinking_outranks_a_pin(snapshot: Snapshot) -> None:
    decision = decide(snapshot, {"messages": LOOP, "tools": [TOOL]}, pin="gpt")
    assert (decision.model, decision.source, decision.held_fast) == ("opus", "sealed", False)
    assert decision.held == ("anthropic",)
    assert decision.reason.startswith("messages[1].content[0] holds the provider")
    assert [step.name for step in decision.trace if step.kind == "sealed"] == ["opus"]
    closed = [*LOOP, {"role": "assistant", "content": "done"}, {"role": "user", "content": "thanks"}]
    assert decide(snapshot, {"messages": closed, "tools": [TOOL]}, pin="gpt").model == "gpt"


def test_an_escalation_within_the_provider_is_an_escalation(snapshot: Snapshot) -> None:
    failing = [
        {**message, "content": [THOUGHT, *message["content"]]} if message["role"] == "assistant" else message
        for message in FAILING
    ]
    up = decide(snapshot, {"messages": failing, "tools": [TOOL]}, pin="haiku")
    assert (up.model, up.source, up.held) == ("opus", "escalation", ("anthropic",))


def test_a_guard_and_a_forced_model_outrank_sealed_data_that_can_be_left_behind(snapshot: Snapshot) -> None:
    fields = {"messages": LOOP, "tools": [TOOL]}
    assert decide(snapshot, fields, headers={"x-weave-model": "gpt"}).source == "forced"
    here = decide(snapshot, fields, headers={"x-weave-private": "1"})
    assert (here.model, here.source, here.held) == ("local", "guard", ())


def codex(
    snapshot: Snapshot,
    lineages: Mapping[str, Lineage],
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Decision:
    asked = {"model": "gpt", "input": [{"role": "user", "content": "and?"}], **fields}
    request = PROTOCOLS["openai-responses"].read_request(asked, json.dumps(asked).encode())
    facts = turn.read(request, headers or {}, IDENTITY, snapshot)
    endpoints = dict(snapshot.catalog.endpoints)
    endpoints["openai"] = replace(endpoints["openai"], protocol="openai-responses")
    snapshot = replace(snapshot, catalog=replace(snapshot.catalog, endpoints=endpoints))
    store = MemoryLineages()
    for key, lineage in lineages.items():
        store.put(key, lineage)
    return turn.decide(facts, snapshot, turn.Moment("d1", 1000.0, 0.99, None, Sure(), lineages=store))


def test_a_stored_reply_goes_to_the_one_who_keeps_it_and_to_nobody_else(snapshot: Snapshot) -> None:
    kept = Lineage(snapshot.catalog.endpoints["openai"].origin, "gpt")
    known = {"reply/ann/resp_1": kept}
    decision = codex(snapshot, known, previous_response_id="resp_1", model="opus")
    assert (decision.model, decision.source) == ("gpt", "sealed")
    assert (decision.held, decision.held_fast) == (("openai",), True)
    assert set(targets_of(decision, snapshot)) == {"openai"}


def targets_of(decision: Decision, snapshot: Snapshot) -> list[str]:
    """Every endpoint that is tried, where each fails."""
    attempts = turn.attempts(decision, snapshot, 0.0)
    tried: list[str] = []
    try:
        attempt = next(attempts)
        while True:
            assert isinstance(attempt, Attempt)
            tried.append(attempt.endpoint.name)
            attempt = attempts.send((Failed(Fault("timeout", "silent", origin="provider")), 1.0))
    except StopIteration:
        return tried


@pytest.mark.parametrize(
    "headers", [{"x-weave-model": "haiku"}, {"x-weave-private": "1"}], ids=["forced", "guard"]
)
def test_a_stored_reply_that_a_higher_rank_sends_elsewhere_is_refused_and_named(
    snapshot: Snapshot, headers: dict[str, str]
) -> None:
    with pytest.raises(RequestError, match=r"previous_response_id: .*send the whole conversation instead"):
        codex(snapshot, {}, headers, previous_response_id="resp_1")


def test_a_reply_that_nobody_keeps_cannot_be_gone_on_from(snapshot: Snapshot) -> None:
    known = {"reply/ann/d0123": Lineage("", "opus")}
    with pytest.raises(RequestError, match=r"previous_response_id: .*no model here"):
        codex(snapshot, known, previous_response_id="d0123")


def test_a_compacted_history_is_refused_where_nobody_can_open_it(snapshot: Snapshot) -> None:
    claude = {name: model for name, model in snapshot.catalog.models.items() if name == "haiku"}
    alone = replace(snapshot, catalog=replace(snapshot.catalog, models=claude, aliases={}))
    loose: dict[str, Any] = {"input": [{"type": "compaction", "encrypted_content": "z"}], "model": "haiku"}
    with pytest.raises((RequestError, UnservableError), match="compaction"):
        codex(alone, {}, **loose)


def test_encrypted_reasoning_keeps_its_address_and_key_whatever_a_rule_says(
    snapshot: Snapshot,
) -> None:  # G53
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"}
    history = [{"role": "user", "content": "hi"}, secret, {"role": "user", "content": "and?"}]
    decision = codex(snapshot, {}, {"x-weave-task": "title"}, input=history, store=False)
    assert decision.held == ("openai",)
    assert snapshot.catalog.models[decision.model].served_by[0].endpoint == "openai"
