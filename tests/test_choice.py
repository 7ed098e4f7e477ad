"""What a verdict comes to where nothing outranks it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.choice import Bench, Choice, choose, expected_cost_usd, signature_of, task_of
from engine.core.catalog import Catalog
from engine.core.errors import UnservableError
from engine.core.policy import Action, Learner, Verdict
from engine.core.ports import Belief, Option, Task
from engine.documents import shipped_text
from engine.routing.eligible import eligible
from engine.routing.switching import Rest, turn_usd
from engine.snapshot import Snapshot, build

SNAPSHOT: Snapshot = build(
    {name: shipped_text(name) for name in ("policies/catalog.yaml", "policies/default.yaml")}
)
CATALOG: Catalog = SNAPSHOT.catalog
PICKER = "tier-picker"


class Believes:
    """Trust that knows some models well and the others not at all."""

    def __init__(self, **confidence: float) -> None:
        self._confidence = confidence

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        known = [self._confidence.get(option.name) for option in options]
        return [Belief(0.5, 0.0) if sure is None else Belief(sure, 1_000.0) for sure in known]


def inputs(**features: Any) -> dict[str, dict[str, Any]]:
    usual = {
        "context_tokens": 1_000,
        "context_bucket": "small",
        "phase": "execute",
        "language": "python",
        "tool_count": 0,
        "images": 0,
        "documents": 0,
        "structured_output": False,
        "tool_loop_open": False,
    }
    return {"features": {**usual, **features}, "hints": {}, "identity": {}}


def verdict(source: Any, **action: Any) -> Verdict:
    return Verdict("some-rule", source, Action(**action), "a reason")


def chosen(
    said: Verdict, requested: str = "opus", trust: Believes | None = None, draw: float = 1.0, **features: Any
) -> Choice:
    asked = inputs(**features)
    pool = eligible(CATALOG.models.values(), asked["features"])
    bench = Bench(CATALOG, SNAPSHOT.policy, trust or Believes())
    return choose(said, asked, CATALOG.models.get(requested), pool, bench, draw)


LEARNED = verdict("rule", choose=("small", "mid", "frontier"), by=PICKER)


def test_a_rule_may_cost_more_than_what_was_asked_for() -> None:
    choice = chosen(verdict("rule", use="frontier"), "haiku")
    assert (choice.model.name, choice.source, choice.reason) == ("opus", "rule", "a reason")


def test_the_default_never_costs_more_than_what_was_asked_for() -> None:
    choice = chosen(verdict("default", use="frontier"), "haiku")
    assert (choice.model.name, choice.source) == ("haiku", "default")
    assert choice.reason == "opus costs more than haiku, which the client asked for"
    assert choice.capped == "opus"


def test_the_default_may_cost_less_than_what_was_asked_for() -> None:
    assert chosen(verdict("default", use="small"), "opus").model.name == "haiku"


def test_what_cannot_carry_the_request_caps_nothing() -> None:
    choice = chosen(verdict("default", use="frontier"), "local", images=1)
    assert choice.model.name == "opus"


def test_nobody_asked_for_anything_and_nothing_is_capped() -> None:
    assert chosen(verdict("default", use="frontier"), "auto").model.name == "opus"


def test_a_guards_target_is_not_negotiable() -> None:
    assert chosen(verdict("guard", use="local")).source == "guard"
    with pytest.raises(UnservableError, match="a guard rule allows only local"):
        chosen(verdict("guard", use="local"), images=1)


def test_a_learner_that_is_sure_of_a_cheaper_model_chooses_it() -> None:
    choice = chosen(LEARNED, trust=Believes(haiku=0.97, opus=0.5))
    assert (choice.model.name, choice.source) == ("haiku", "learner")
    assert choice.gate is not None
    assert choice.gate.because == "proven"
    assert choice.gate.confidence == 0.97


def test_a_learner_that_knows_nothing_leaves_it_to_what_it_compares_with() -> None:
    choice = chosen(LEARNED)
    assert (choice.model.name, choice.source) == ("opus", "default")
    assert choice.gate is not None
    assert {candidate.model for candidate in choice.gate.candidates} >= {"opus", "haiku"}


def test_what_a_learner_falls_back_to_is_capped_too() -> None:
    choice = chosen(LEARNED, "haiku")
    assert choice.model.name == "haiku"


def test_a_learner_explores_only_with_chance_and_where_its_condition_holds() -> None:
    tried = chosen(LEARNED, draw=0.0)
    assert tried.gate is not None
    assert tried.gate.because == "explored"
    assert tried.model.name != "opus"
    forbidden = chosen(LEARNED, draw=0.0, tool_loop_open=True)
    assert forbidden.model.name == "opus"
    assert forbidden.gate is not None
    assert forbidden.gate.propensity == 1.0
    assert chosen(LEARNED, draw=1.0).model.name == "opus"


def test_a_signature_joins_the_values_that_make_tasks_alike() -> None:
    names = ("features.phase", "hints.task", "features.context_bucket")
    task = task_of(Learner("l", "beta", names), inputs())
    assert (task.signature, signature_of(task)) == (("execute", "", "small"), "execute//small")
    sliced = task_of(Learner("l", "beta", names), inputs(phase="a/b"))
    assert sliced.signature == ("a|b", "", "small")


def test_a_learner_is_told_the_inputs_it_names_and_words_only_where_it_asks() -> None:
    reader = Learner("l", "logistic", (), inputs=("features.context_tokens",), text=True)
    task = task_of(reader, inputs(), "Rename the parser")
    assert task.inputs == {"features.context_tokens": 1_000}
    assert len(task.grams) == 5
    assert task_of(replace(reader, text=False), inputs(), "Rename the parser").grams == ()


def test_expected_cost_grows_with_the_context_and_is_nothing_where_it_is_free() -> None:
    opus, local = CATALOG.models["opus"], CATALOG.models["local"]
    assert expected_cost_usd(opus, inputs(context_tokens=100_000)) > expected_cost_usd(opus, inputs()) > 0
    assert expected_cost_usd(local, inputs()) == 0


def test_a_warm_cache_makes_its_model_cheaper_and_what_leaves_it_pays_over_all_turns_that_are_left() -> None:
    opus, sonnet = CATALOG.models["opus"], CATALOG.models["sonnet"]
    asked = inputs(context_tokens=100_000)
    rest = Rest(100_000, 5.0, warm={"opus": 100_000}, marked=True)
    assert expected_cost_usd(sonnet, asked) < expected_cost_usd(opus, asked)
    assert expected_cost_usd(opus, asked, rest) < expected_cost_usd(sonnet, asked, rest)
    assert expected_cost_usd(sonnet, asked, rest) == turn_usd(sonnet, rest)
    long = replace(rest, turns=40.0)
    assert expected_cost_usd(sonnet, asked, long) < expected_cost_usd(opus, asked, long)
    cold = replace(rest, warm={})
    assert expected_cost_usd(opus, asked, cold) == expected_cost_usd(opus, asked)


def test_a_learner_is_told_the_cache_that_leaving_its_model_would_lose() -> None:
    said = verdict("rule", choose=("mid", "frontier"), by=PICKER)
    asked = inputs(context_tokens=100_000)
    pool = eligible(CATALOG.models.values(), asked["features"])
    rest = Rest(100_000, 5.0, warm={"opus": 100_000}, marked=True)

    def told(rest: Rest | None) -> tuple[str, dict[str, float | None]]:
        bench = Bench(CATALOG, SNAPSHOT.policy, Believes(sonnet=0.99), rest)
        choice = choose(said, asked, CATALOG.models["opus"], pool, bench)
        assert choice.gate is not None
        return choice.model.name, {one.model: one.expected_cost_usd for one in choice.gate.candidates}

    assert told(None)[0] == "sonnet"
    model, usd = told(rest)
    assert model == "opus"
    assert usd == {
        "opus": pytest.approx(turn_usd(CATALOG.models["opus"], rest)),
        "sonnet": pytest.approx(turn_usd(CATALOG.models["sonnet"], rest)),
    }
