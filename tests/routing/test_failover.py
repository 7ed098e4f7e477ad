from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.core.catalog import Binding, Catalog
from engine.core.decision import AttemptEnd, Failed, Served
from engine.core.errors import Fault, FaultKind, LossError
from engine.core.policy import Breaker, Failover
from engine.routing.failover import FREE, AllWell, Hold, failover

RULES = Failover()


def fault(kind: FaultKind, message: str = "") -> Fault:
    return Fault(kind, message or kind, origin="provider")


def transcript(
    catalog: Catalog,
    targets: Sequence[str],
    ends: Sequence[AttemptEnd],
    rules: Failover = RULES,
    most: int = 3,
    seconds_each: float = 1.0,
) -> tuple[list[str], Fault | None]:
    """Which models were tried, given how each attempt ended, and the fault that was shown."""
    attempts = failover(targets, catalog, rules, most, 0.0)
    tried: list[str] = []
    now = 0.0
    try:
        attempt = next(attempts)
        for end in ends:
            tried.append(f"{attempt.model.name}@{attempt.endpoint.name}")
            now += seconds_each
            attempt = attempts.send((end, now))
    except StopIteration as stop:
        return tried, stop.value
    raise AssertionError(f"wants another attempt after {tried}: {attempt}")


def test_an_attempt_that_serves_is_the_last(catalog: Catalog) -> None:
    assert transcript(catalog, ["opus", "sonnet"], [Served()]) == (["opus@one"], None)


@pytest.mark.parametrize("kind", ["connection", "timeout", "rate_limit", "server_error", "overloaded"])
def test_a_provider_in_trouble_is_followed_by_the_next_target(catalog: Catalog, kind: FaultKind) -> None:
    # G69: 529 counts as overload
    assert transcript(catalog, ["opus", "sonnet"], [Failed(fault(kind)), Served()]) == (
        ["opus@one", "sonnet@one"],
        None,
    )


@pytest.mark.parametrize("kind", ["authentication", "billing", "permission", "not_found"])
def test_an_account_s_trouble_is_tried_elsewhere(catalog: Catalog, kind: FaultKind) -> None:
    tried, shown = transcript(catalog, ["opus", "sonnet"], [Failed(fault(kind)), Served()])
    assert tried == ["opus@one", "sonnet@one"]
    assert shown is None


def test_a_client_s_own_mistake_is_told_at_once(catalog: Catalog) -> None:
    wrong = fault("invalid_request", "max_tokens: required")
    assert transcript(catalog, ["opus", "sonnet"], [Failed(wrong)]) == (["opus@one"], wrong)


def test_after_content_nothing_else_is_tried(catalog: Catalog) -> None:
    broke = fault("overloaded")
    assert transcript(catalog, ["opus", "sonnet"], [Failed(broke, committed=True)]) == (["opus@one"], broke)


def test_the_fault_shown_is_the_chosen_model_s(catalog: Catalog) -> None:
    first, second = fault("rate_limit", "the first"), fault("connection", "the second")
    _, shown = transcript(catalog, ["opus", "sonnet"], [Failed(first), Failed(second)])
    assert shown == first


def test_attempts_are_bounded_by_number_and_by_time(catalog: Catalog) -> None:
    targets, broke = ["opus", "gpt", "sonnet", "haiku"], Failed(fault("overloaded"))
    assert transcript(catalog, targets, [broke] * 4, most=2)[0] == ["opus@one", "gpt@one"]
    short = Failover(deadline_seconds=1.5)
    assert transcript(catalog, targets, [broke] * 4, rules=short, most=9)[0] == ["opus@one", "gpt@one"]


def test_what_an_operator_leaves_out_of_retry_on_is_not_retried(catalog: Catalog) -> None:
    only_timeouts = Failover(retry_on=frozenset({"timeout"}))
    assert transcript(catalog, ["opus", "sonnet"], [Failed(fault("overloaded"))], rules=only_timeouts)[0] == [
        "opus@one"
    ]


def test_a_full_context_goes_only_to_a_larger_one(catalog: Catalog) -> None:
    tried, _ = transcript(catalog, ["opus", "sonnet", "gpt"], [Failed(fault("context_exceeded")), Served()])
    assert tried == ["opus@one", "gpt@one"]


def test_a_model_is_tried_at_each_of_its_homes_the_heaviest_first(catalog: Catalog) -> None:
    opus = replace(catalog.models["opus"], served_by=(Binding("one", "a", 1), Binding("two", "b", 3)))
    endpoints = {**catalog.endpoints, "two": replace(catalog.endpoints["one"], name="two")}
    homes = Catalog(endpoints, {**catalog.models, "opus": opus}, {})
    broke = Failed(fault("overloaded"))
    assert transcript(homes, ["opus", "sonnet"], [broke, broke, Served()])[0] == [
        "opus@two",
        "opus@one",
        "sonnet@one",
    ]


class Closed(AllWell):
    """Ways of which some are closed, for so many seconds."""

    def __init__(self, limited: bool = False, **seconds: float) -> None:
        self._limited, self._seconds = limited, seconds

    def limited(self, binding: Binding, now: float) -> bool:
        return self._limited

    def admits(self, binding: Binding, rules: Breaker, now: float) -> bool:
        return not self.waits(binding, now)

    def waits(self, binding: Binding, now: float) -> float:
        return self._seconds.get(binding.id.removesuffix("-id"), 0.0)


def test_a_closed_way_is_passed_over_and_costs_no_attempt(catalog: Catalog) -> None:
    attempts = failover(["opus", "gpt", "sonnet"], catalog, RULES, 2, 0.0, Closed(opus=9.0, gpt=9.0))
    assert next(attempts).model.name == "sonnet"


def test_where_every_way_is_closed_nothing_is_called_and_the_client_is_told_when(catalog: Catalog) -> None:
    attempts = failover(["opus", "gpt"], catalog, RULES, 3, 0.0, Closed(opus=9.0, gpt=4.0))
    with pytest.raises(StopIteration) as stopped:
        next(attempts)
    shown = stopped.value.value
    assert (shown.kind, shown.http_status, shown.retry_after_seconds) == ("overloaded", 503, 4.0)
    assert "opus at one, gpt at one" in shown.message


def test_where_only_limits_are_used_up_the_client_is_told_of_a_limit(catalog: Catalog) -> None:
    attempts = failover(["opus"], catalog, RULES, 3, 0.0, Closed(limited=True, opus=9.0))
    with pytest.raises(StopIteration) as stopped:
        next(attempts)
    shown = stopped.value.value
    assert (shown.kind, shown.http_status, shown.retry_after_seconds) == ("rate_limit", 429, 9.0)


def test_a_provider_that_could_not_carry_the_request_was_not_tried(catalog: Catalog) -> None:
    unfit = Failed(LossError("opus cannot carry this request: messages[0].content[1]").fault)
    assert transcript(catalog, ["opus", "sonnet"], [unfit, Served()], most=1) == (
        ["opus@one", "sonnet@one"],
        None,
    )
    assert transcript(catalog, ["opus", "sonnet"], [unfit, unfit])[1] == unfit.fault
    busy = fault("overloaded")
    assert transcript(catalog, ["opus", "sonnet"], [unfit, Failed(busy)])[1] == busy


def homes(catalog: Catalog, hold: Hold) -> list[str]:
    """Every way that is tried, in order, where each fails. `opus` is served at two places, `sonnet` at one."""
    opus = replace(catalog.models["opus"], served_by=(Binding("one", "a", 3), Binding("two", "b", 1)))
    endpoints = {**catalog.endpoints, "two": replace(catalog.endpoints["one"], name="two")}
    both = Catalog(endpoints, {**catalog.models, "opus": opus}, {})
    attempts = failover(["opus", "sonnet"], both, RULES, 9, 0.0, hold=hold)
    tried: list[str] = []
    try:
        attempt = next(attempts)
        while True:
            tried.append(f"{attempt.model.name}@{attempt.endpoint.name}")
            attempt = attempts.send((Failed(fault("overloaded")), 1.0))
    except StopIteration:
        return tried


def test_who_can_read_what_is_sealed_is_tried_first(catalog: Catalog) -> None:
    assert homes(catalog, FREE) == ["opus@one", "opus@two", "sonnet@one"]
    assert homes(catalog, Hold(("two",))) == ["opus@two", "opus@one", "sonnet@one"]


def test_nobody_else_is_tried_where_nobody_else_knows_what_was_said(catalog: Catalog) -> None:
    assert homes(catalog, Hold(("two",), fast=True)) == ["opus@two"]
