from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.core.catalog import Binding, Catalog
from engine.core.decision import Attempt, AttemptEnd, Failed, Pause, Served
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
    coming = list(ends)
    try:
        step = next(attempts)
        while True:
            if isinstance(step, Pause):
                now += step.seconds
                step = attempts.send((None, now))
                continue
            if not coming:
                raise AssertionError(f"wants another attempt after {tried}: {step}")
            tried.append(f"{step.model.name}@{step.endpoint.name}")
            now += seconds_each
            step = attempts.send((coming.pop(0), now))
    except StopIteration as stop:
        return tried, stop.value


def test_an_attempt_that_serves_is_the_last(catalog: Catalog) -> None:
    assert transcript(catalog, ["opus", "sonnet"], [Served()]) == (["opus@one"], None)


ANYWHERE, HERE_AGAIN = (
    ["opus@one", "opus@two", "sonnet@one"],
    ["opus@one", "opus@two", "sonnet@one", "opus@one"],
)

# What a fault of the first way says of the others: which of them are tried, where all of them have it.
BY_CAUSE: list[tuple[str, Fault, list[str]]] = [
    ("refused connection", Fault("connection", "m", 0, "provider"), HERE_AGAIN),
    ("silence", Fault("timeout", "m", 0, "provider"), ANYWHERE),  # nobody who was silent is asked again
    ("408", Fault("timeout", "m", 408, "provider"), HERE_AGAIN),
    ("429", Fault("rate_limit", "m", 429, "provider"), HERE_AGAIN),
    ("429 for a second", Fault("rate_limit", "m", 429, "provider", "", 1.0), HERE_AGAIN),
    ("429 for an hour", Fault("rate_limit", "m", 429, "provider", "", 3600.0), ANYWHERE),  # G79
    ("500", Fault("server_error", "m", 500, "provider"), HERE_AGAIN),
    ("503", Fault("overloaded", "m", 503, "provider"), HERE_AGAIN),
    ("529", Fault("overloaded", "m", 529, "provider"), HERE_AGAIN),  # G69: it counts as overload
    (
        "401",
        Fault("authentication", "m", 401, "provider"),
        ["opus@one", "opus@two"],
    ),  # the key is the endpoint's
    ("402", Fault("billing", "m", 402, "provider"), ANYWHERE),
    ("403", Fault("permission", "m", 403, "provider"), ANYWHERE),
    ("404", Fault("not_found", "m", 404, "provider"), ANYWHERE),
    ("a model nobody knows", Fault("not_found", "m", 404, "client"), ["opus@one"]),
    ("400", Fault("invalid_request", "m", 400, "provider"), ["opus@one"]),
    ("413", Fault("request_too_large", "m", 413, "provider"), ["opus@one"]),
    ("a full context", Fault("context_exceeded", "m", 400, "provider"), ["opus@one", "gpt@two"]),
    ("no images", Fault("incapable", "m", 400, "provider"), [*ANYWHERE, "gpt@two"]),
]


@pytest.mark.parametrize(("fault", "tried"), [row[1:] for row in BY_CAUSE], ids=[row[0] for row in BY_CAUSE])
def test_each_cause_has_its_own_consequence(catalog: Catalog, fault: Fault, tried: list[str]) -> None:
    opus = replace(catalog.models["opus"], served_by=(Binding("one", "a", 2), Binding("two", "b", 1)))
    gpt = replace(catalog.models["gpt"], served_by=(Binding("two", "c"),))
    endpoints = {**catalog.endpoints, "two": replace(catalog.endpoints["one"], name="two")}
    homes = Catalog(endpoints, {**catalog.models, "opus": opus, "gpt": gpt}, {})
    targets = ["opus", "sonnet", "gpt"] if "gpt@two" in tried else ["opus", "sonnet"]
    assert transcript(homes, targets, [Failed(fault)] * len(tried), most=4) == (tried, fault)


def paused(
    catalog: Catalog,
    ends: Sequence[AttemptEnd],
    chance: float = 0.0,
    rules: Failover = RULES,
    **closed: float,
) -> list[float | str]:
    """The course of attempts at one model, with the pauses between them."""
    attempts = failover(
        ["opus"], catalog, rules, 4, 0.0, Closed(False, **closed) if closed else AllWell(), chance=chance
    )
    course: list[float | str] = []
    now, coming = 0.0, list(ends)
    try:
        step = next(attempts)
        while True:
            if isinstance(step, Pause):
                course.append(round(step.seconds, 3))
                now += step.seconds
                step = attempts.send((None, now))
            else:
                course.append(step.model.name)
                step = attempts.send((coming.pop(0), now))
    except StopIteration:
        return course


BUSY = Failed(Fault("overloaded", "busy", 529, "provider"))


def test_the_only_way_is_tried_again_after_pauses_that_grow(catalog: Catalog) -> None:
    course = paused(catalog, [BUSY, BUSY, BUSY, Served()])
    assert course[::2] == ["opus"] * 4
    pauses = [each for each in course[1::2] if isinstance(each, float)]
    for pause, longest in zip(pauses, [0.5, 1.0, 2.0], strict=True):
        assert longest / 2 < pause <= longest
    assert pauses != [each for each in paused(catalog, [BUSY] * 4, chance=0.5) if isinstance(each, float)]


def test_a_pause_is_as_long_as_the_provider_says_and_no_longer_than_a_client_would_wait(
    catalog: Catalog,
) -> None:
    # G79
    def limited(seconds: float) -> Failed:
        return Failed(Fault("rate_limit", "later", 429, "provider", "", seconds))

    (first, pause, second) = paused(catalog, [limited(4.0), Served()])
    assert (first, second) == ("opus", "opus")
    assert isinstance(pause, float)
    assert 4.0 < pause <= 4.5
    assert paused(catalog, [limited(60.0)]) == ["opus"]
    assert paused(catalog, [limited(4.0)], rules=Failover(deadline_seconds=4.0)) == ["opus"]


def test_a_way_that_closed_is_waited_for_no_shorter_than_it_is(catalog: Catalog) -> None:
    attempts = failover(["opus", "sonnet"], catalog, RULES, 3, 0.0, Closed(opus=6.0))
    step = next(attempts)
    assert isinstance(step, Attempt)
    assert step.model.name == "sonnet"
    pause = attempts.send((Failed(Fault("rate_limit", "later", 429, "provider", "", 9.0)), 1.0))
    assert pause == Pause(6.0)


def test_a_limit_that_was_waited_for_in_vain_is_told_as_it_is_now(catalog: Catalog) -> None:
    soon, late = (Fault("rate_limit", "later", 429, "provider", "", seconds) for seconds in (1.0, 600.0))
    assert transcript(catalog, ["opus"], [Failed(soon), Failed(late)])[1] == late


def test_an_attempt_knows_what_is_left_of_the_deadline_and_none_begins_without_time(catalog: Catalog) -> None:
    attempts = failover(["opus", "gpt", "sonnet"], catalog, Failover(deadline_seconds=30.0), 9, 100.0)
    step = next(attempts)
    assert isinstance(step, Attempt)
    assert step.left_seconds == 30.0
    step = attempts.send((BUSY, 118.0))
    assert isinstance(step, Attempt)
    assert step.left_seconds == 12.0
    with pytest.raises(StopIteration):
        attempts.send((BUSY, 129.9))


def test_after_content_nothing_else_is_tried(catalog: Catalog) -> None:
    broke = fault("overloaded")
    assert transcript(catalog, ["opus", "sonnet"], [Failed(broke, committed=True)]) == (["opus@one"], broke)


def test_the_fault_shown_is_the_chosen_model_s(catalog: Catalog) -> None:
    first, second = fault("rate_limit", "the first"), fault("connection", "the second")
    _, shown = transcript(catalog, ["opus", "sonnet"], [Failed(first), Failed(second)], most=2)
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
    step = next(attempts)
    assert isinstance(step, Attempt)
    assert step.model.name == "sonnet"


def test_where_every_way_is_closed_nothing_is_called_and_the_client_is_told_when(catalog: Catalog) -> None:
    attempts = failover(["opus", "gpt"], catalog, RULES, 3, 0.0, Closed(opus=9.0, gpt=4.0))
    with pytest.raises(StopIteration) as stopped:
        next(attempts)
    shown = stopped.value.value
    assert (shown.kind, shown.http_status, shown.retry_after_seconds) == ("overloaded", 503, 4.0)
    assert "opus at one, gpt at one" in shown.message


class Returning(Closed):
    """Ways that let nobody through who could go elsewhere."""

    def returns(self, binding: Binding, now: float) -> bool:
        return not self.waits(binding, now)

    def admits(self, binding: Binding, rules: Breaker, now: float) -> bool:
        return binding.id == "sonnet-id"


def test_a_way_that_is_coming_back_is_better_than_none(catalog: Catalog) -> None:
    attempts = failover(["gpt", "opus"], catalog, RULES, 3, 0.0, Returning(gpt=9.0))
    step = next(attempts)
    assert isinstance(step, Attempt)
    assert step.model.name == "opus"


def test_a_way_that_is_coming_back_is_spared_where_there_is_another(catalog: Catalog) -> None:
    attempts = failover(["opus", "sonnet"], catalog, RULES, 3, 0.0, Returning())
    step = next(attempts)
    assert isinstance(step, Attempt)
    assert step.model.name == "sonnet"


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
    assert transcript(catalog, ["opus", "sonnet"], [unfit, Failed(busy)], most=1)[1] == busy


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
            if isinstance(attempt, Attempt):
                tried.append(f"{attempt.model.name}@{attempt.endpoint.name}")
            attempt = attempts.send((Failed(fault("timeout")), 1.0))
    except StopIteration:
        return tried


def test_who_can_read_what_is_sealed_is_tried_first(catalog: Catalog) -> None:
    assert homes(catalog, FREE) == ["opus@one", "opus@two", "sonnet@one"]
    assert homes(catalog, Hold(("two",))) == ["opus@two", "opus@one", "sonnet@one"]


def test_nobody_else_is_tried_where_nobody_else_knows_what_was_said(catalog: Catalog) -> None:
    assert homes(catalog, Hold(("two",), fast=True)) == ["opus@two"]
