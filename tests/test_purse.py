"""What budgets leave of a choice, from the choice to the decision of a whole request."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import turn
from engine.choice import Choice
from engine.core.catalog import Catalog, Model, Price
from engine.core.cost import nanos, usd_of
from engine.core.decision import Decision, Source
from engine.core.errors import BudgetError
from engine.core.identity import Identity
from engine.core.lineage import Lineage
from engine.core.policy import Budget
from engine.core.ports import Pin, Spend, Standing
from engine.learning.state import State
from engine.protocols import PROTOCOLS
from engine.purse import NOTHING_SPENT, Purse, most_it_costs, paid, purse_of, thrifty
from engine.routing.budgets import Ledger
from engine.routing.eligible import eligible
from engine.snapshot import Snapshot, build

POLICIES = Path(__file__).parent.parent / "policies"
IDENTITY = Identity("ann", "core")
DAY = Budget("team-day", "identity.team", 50.0, 86_400.0, use="small")
STOP = Budget("team-stop", "identity.team", 80.0, 86_400.0, reject=429)
HOME = Budget("key-hour", "identity.name", 10.0, 3_600.0, use="local")
FEATURES = {
    "context_tokens": 1_000,
    "max_tokens": 2_000,
    "tool_count": 0,
    "images": 0,
    "documents": 0,
    "structured_output": False,
}
INPUTS: Mapping[str, Mapping[str, Any]] = {"features": FEATURES, "hints": {}, "identity": IDENTITY.values}


@pytest.fixture(scope="module")
def shipped() -> Snapshot:
    return build({path.name: path.read_text() for path in POLICIES.glob("*.yaml")})


@pytest.fixture(scope="module")
def catalog(shipped: Snapshot) -> Catalog:
    return shipped.catalog


class Told:
    """A Spend in which budgets stand as told, in dollars."""

    def __init__(self, reserved: float = 0.0, **spent: float) -> None:
        self._spent = spent
        self._reserved = reserved

    def standing(self, budget: Budget, value: str, now: float) -> Standing:
        return Standing(nanos(self._spent.get(budget.name.replace("-", "_"), 0.0)), nanos(self._reserved))

    def room_in(self, budget: Budget, value: str, need: int, now: float) -> float | None:
        return None if need > nanos(budget.usd) else 0.0 if self._reserved else 7_200.0


def purse(*budgets: Budget, spend: Told | None = None) -> Purse:
    return purse_of(budgets, INPUTS, "", spend or Told(), 0.0)


def priced(price: Price, output_tokens: int = 64_000) -> Model:
    return Model("m", "mid", 200_000, output_tokens, frozenset(), price, ())


@pytest.mark.parametrize(
    ("price", "asked", "thinks", "usd"),
    [
        (Price(input=10), 1_000, False, 2_000 * 10),
        (Price(input=10, cache_write=12.5), 1_000, False, 2_000 * 12.5),
        (Price(input=10, cache_write=1), 1_000, False, 2_000 * 10),
        (Price(output=10), 1_000, False, 1_000 * 10),
        (Price(output=10), 100_000, False, 64_000 * 10),
        (Price(output=10), 0, False, 32_000 * 10),
        (Price(output=10), 1_000, True, 33_000 * 10),
        (Price(output=10), 40_000, True, 40_000 * 10),
    ],
    ids=[
        "input",
        "cache write",
        "dear input",
        "answer",
        "model's limit",
        "unsaid",
        "thinking",
        "room enough",
    ],
)
def test_the_most_a_request_costs(price: Price, asked: int, thinks: bool, usd: float) -> None:
    features = {"context_tokens": 1_000, "max_tokens": asked}
    assert most_it_costs(priced(price), features, thinks) == nanos(usd / 1_000_000)


def chosen(
    catalog: Catalog, model: str, held: Purse, source: Source = "rule", **features: Any
) -> tuple[str, Source, str]:
    pool = eligible(catalog.models.values(), {**FEATURES, **features})
    choice = thrifty(Choice(catalog.models[model], source, "so"), held, INPUTS, None, pool, catalog)
    return choice.model.name, choice.source, choice.reason


def test_a_budget_that_is_used_up_hands_over(catalog: Catalog) -> None:
    assert chosen(catalog, "opus", purse(DAY, spend=Told(team_day=49.99))) == ("opus", "rule", "so")
    reason = "team-day: $55.00 spent of $50.00"
    assert chosen(catalog, "opus", purse(DAY, spend=Told(team_day=55))) == ("haiku", "budget", reason)


def test_what_is_reserved_uses_a_budget_up_too(catalog: Catalog) -> None:
    name, source, reason = chosen(catalog, "opus", purse(DAY, spend=Told(team_day=40, reserved=10)))
    assert (name, source) == ("haiku", "budget")
    assert "$40.00 spent and $10.00 reserved of $50.00" in reason


def test_the_cheapest_of_what_used_up_budgets_name_serves(catalog: Catalog) -> None:
    both = Told(team_day=50, key_hour=10)
    assert chosen(catalog, "opus", purse(DAY, HOME, spend=both))[:2] == ("local", "budget")
    assert chosen(catalog, "opus", purse(HOME, DAY, spend=both))[:2] == ("local", "budget")


def test_what_is_as_cheap_already_stays(catalog: Catalog) -> None:
    assert chosen(catalog, "local", purse(DAY, spend=Told(team_day=55))) == ("local", "rule", "so")


def test_a_guard_is_above_budgets(catalog: Catalog) -> None:
    spent = Told(team_day=55, team_stop=99)
    assert chosen(catalog, "opus", purse(DAY, spend=spent), "guard") == ("opus", "guard", "so")
    assert paid(["opus"], "guard", purse(STOP, spend=spent), FEATURES, False, catalog).targets == ("opus",)


def test_where_nothing_a_budget_names_can_carry_a_request_the_nearest_does_and_says_so(
    catalog: Catalog,
) -> None:
    name, source, reason = chosen(catalog, "opus", purse(HOME, spend=Told(key_hour=99)), images=1)
    assert (name, source) == ("haiku", "budget")
    assert "local cannot carry this request, haiku is the nearest that can" in reason


def test_a_request_without_a_value_is_not_held() -> None:
    nobody = {**INPUTS, "identity": {**IDENTITY.values, "team": ""}}
    assert purse_of([DAY, STOP], nobody, "", Told(team_day=99, team_stop=99), 0.0).held == ()


def test_a_failover_leads_to_nothing_dearer_once_a_budget_is_used_up(catalog: Catalog) -> None:
    left = paid(
        ["haiku", "opus", "local"], "budget", purse(DAY, spend=Told(team_day=50)), FEATURES, False, catalog
    )
    assert left.targets == ("haiku", "local")
    assert [(step.name, step.result) for step in left.steps] == [("team-day", "matched"), ("opus", "skipped")]
    assert left.steps[1].detail == "costs more than haiku, and team-day is used up"


def test_a_failover_goes_without_what_there_is_no_room_for(catalog: Catalog) -> None:
    most = usd_of(most_it_costs(catalog.models["opus"], FEATURES))
    room = purse(STOP, spend=Told(team_stop=80 - most))
    whole = paid(["haiku", "opus"], "rule", room, FEATURES, False, catalog)
    assert (whole.targets, whole.reserved_usd) == (("haiku", "opus"), most)
    tight = purse(STOP, spend=Told(team_stop=80 - most + 0.001))
    left = paid(["haiku", "opus"], "rule", tight, FEATURES, False, catalog)
    assert left.targets == ("haiku",)
    assert left.reserved_usd == usd_of(most_it_costs(catalog.models["haiku"], FEATURES))
    assert re.fullmatch(r"may cost \$0\.0625, and team-stop has \$0\.0615 left", left.steps[0].detail)


@pytest.mark.parametrize(
    ("status", "kind", "wait"),
    [(429, "rate_limit", 7_200.0), (402, "billing", None), (403, "permission", None)],
)
def test_a_request_there_is_no_room_for_is_refused_and_told_why(
    catalog: Catalog, status: int, kind: str, wait: float | None
) -> None:
    held = purse(replace(STOP, reject=status), spend=Told(team_stop=79.99))
    with pytest.raises(BudgetError) as caught:
        paid(["opus"], "rule", held, FEATURES, False, catalog)
    fault = caught.value.fault
    assert (fault.http_status, fault.kind, fault.retry_after_seconds) == (status, kind, wait)
    assert fault.message == (
        "budget 'team-stop' of identity.team 'core' has no room: $79.99 spent of $80.00; this request may cost "
        "$0.0625 on opus, and there is room in 2 h"
    )


@pytest.mark.parametrize(
    ("budget", "spend", "says", "wait"),
    [
        (replace(STOP, usd=0.01), Told(), "which is more than all of it; ask for fewer tokens", None),
        (STOP, Told(reserved=79.99), "there is room once requests under way have ended", 1.0),
    ],
)
def test_a_refusal_says_when_there_is_room(
    catalog: Catalog, budget: Budget, spend: Told, says: str, wait: float | None
) -> None:
    with pytest.raises(BudgetError, match=says) as caught:
        paid(["opus"], "rule", purse(budget, spend=spend), FEATURES, False, catalog)
    assert caught.value.fault.retry_after_seconds == wait


def test_what_costs_nothing_is_never_refused(catalog: Catalog) -> None:
    free = paid(["local"], "rule", purse(STOP, spend=Told(team_stop=99)), FEATURES, False, catalog)
    assert (free.targets, free.reserved_usd) == (("local",), 0.0)


# -- whole requests


def decide(
    snapshot: Snapshot, *budgets: Budget, spend: Spend | None = None, pin: str = "", **fields: Any
) -> Decision:
    headers, lineages = fields.pop("headers", {}), fields.pop("lineages", turn.NOTHING_KNOWN)
    asked = {"role": "user", "content": "Rename the parser module."}
    body = {"model": "claude-opus-4-5", "max_tokens": 100, "messages": [asked], **fields}
    raw = json.dumps(body).encode()
    request = PROTOCOLS["anthropic-messages"].read_request(json.loads(raw), raw)
    snapshot = replace(snapshot, policy=replace(snapshot.policy, budgets=budgets))  # type: ignore[type-var]
    facts = turn.read(request, headers, IDENTITY, snapshot)
    pinned = Pin(pin, "some-rule", 0.0, 10_000.0) if pin else None
    moment = turn.Moment(
        "d1", 1_000.0, 0.99, pinned, State(), lineages=lineages, spend=spend or NOTHING_SPENT
    )
    return turn.decide(facts, snapshot, moment)


def test_a_decision_says_what_it_reserves_where_a_budget_holds_it(shipped: Snapshot) -> None:
    assert decide(shipped).reserved_usd == 0
    assert decide(shipped, HOME).reserved_usd > 0


@pytest.mark.parametrize(
    "fields",
    [{}, {"pin": "opus"}, {"headers": {"x-weave-model": "opus"}}, {"headers": {"x-weave-task": "plan"}}],
    ids=["default", "pin", "forced", "rule"],
)
def test_a_used_up_budget_outranks_all_but_guards(shipped: Snapshot, fields: dict[str, Any]) -> None:
    decision = decide(shipped, DAY, spend=Told(team_day=55), **fields)
    assert (decision.model, decision.source) == ("haiku", "budget")
    assert decision.reason == "team-day: $55.00 spent of $50.00"
    assert "opus" not in decision.targets
    assert ("budget", "team-day", "matched") in [
        (each.kind, each.name, each.result) for each in decision.trace
    ]


def test_a_guard_is_served_when_all_is_spent(shipped: Snapshot) -> None:
    spent = Told(team_day=55, team_stop=99)
    decision = decide(shipped, DAY, STOP, spend=spent, headers={"x-weave-private": "1"})
    assert (decision.model, decision.source) == ("local", "guard")


def test_a_budget_that_refuses_outranks_a_forced_model(shipped: Snapshot) -> None:
    with pytest.raises(BudgetError):
        decide(shipped, STOP, spend=Told(team_stop=80), headers={"x-weave-model": "opus"})


def test_the_ledger_is_what_decisions_ask(shipped: Snapshot) -> None:
    books = Ledger()
    books.follow([DAY])
    books.reserve("d0", (("identity.team", "core"),), nanos(50.0), 1_000.0)
    decision = decide(shipped, DAY, spend=books)
    assert decision.source == "budget"


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
LOOP = [
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": [THOUGHT, {"type": "tool_use", "id": "t", "name": "Edit", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]},
]
TOOL = {"name": "Edit", "description": "edit a file", "input_schema": {"type": "object"}}


def test_what_hands_over_stays_where_sealed_data_can_be_read_and_says_so(shipped: Snapshot) -> None:
    fields: dict[str, Any] = {"messages": LOOP, "tools": [TOOL]}
    inside = decide(shipped, DAY, spend=Told(team_day=55), **fields)
    assert (inside.model, inside.source, inside.held) == ("haiku", "budget", ("anthropic",))
    away = decide(shipped, HOME, spend=Told(key_hour=10), **fields)
    assert (away.model, away.source, away.held) == ("haiku", "budget", ("anthropic",))
    assert "local cannot carry this request, haiku is the nearest that can" in away.reason
    assert "messages[1].content[0] holds the provider" in away.reason


def test_the_model_a_conversation_was_at_does_not_outrank_a_used_up_budget(shipped: Snapshot) -> None:
    fields: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "messages": LOOP,
        "tools": [TOOL],
        "pin": "deepseek",  # as cheap as the budget asks, but not where the thinking was sealed
        "headers": {"x-weave-session": "s"},
        "lineages": At(Lineage(shipped.catalog.endpoints["anthropic"].origin, "opus")),
    }
    free = decide(shipped, **fields)
    assert (free.model, free.source) == ("opus", "sealed")
    kept = decide(shipped, DAY, spend=Told(team_day=55), **fields)
    assert (kept.model, kept.source) == ("haiku", "budget")
    assert "opus" not in kept.targets


class At:
    """A store of lineages in which every conversation was at one provider."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage

    def get(self, key: str) -> Lineage:
        return self._lineage

    def put(self, key: str, lineage: Lineage) -> None:
        raise AssertionError
