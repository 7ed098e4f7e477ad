"""Breakers and pauses, told as transcripts: what happened at which second, and who may be called then."""

from typing import get_args

import pytest

from engine.core.catalog import Binding
from engine.core.errors import Fault, FaultKind
from engine.core.policy import Breaker
from engine.routing.health import ILLNESSES, LONGEST_PAUSE_SECONDS, Health

HERE, BESIDE, AWAY = Binding("one", "opus"), Binding("one", "haiku"), Binding("two", "opus")
RULES = Breaker(
    failures=3, slow_share=0.5, slower_than_seconds=20.0, window_seconds=30.0, cooldown_seconds=20.0
)


def fault(kind: FaultKind, wait: float | None = None) -> Fault:
    return Fault(kind, kind, origin="provider", retry_after_seconds=wait)


DOWN = fault("server_error")


def call(health: Health, at: float, end: Fault | None, seconds: float = 1.0, binding: Binding = HERE) -> None:
    probes = health.began(binding, at)
    health.ended(binding, end, seconds, RULES, at, probes=probes)


def opened(at: float = 0.0) -> Health:
    health = Health()
    for _ in range(RULES.failures):
        call(health, at, DOWN)
    return health


def state(health: Health, now: float) -> str:
    conditions = health.conditions(now)
    return conditions[0].state if conditions else "closed"


def test_a_breaker_opens_after_so_many_failures_and_the_call_is_skipped() -> None:
    # G77: an open breaker skips the call
    health = Health()
    for _ in range(RULES.failures - 1):
        call(health, 0.0, DOWN)
    assert health.admits(HERE, RULES, 0.0)
    call(health, 0.0, DOWN)
    assert not health.admits(HERE, RULES, 0.0)
    assert health.waits(HERE, 5.0) == 15.0


def test_a_way_that_returns_is_known_from_one_that_is_ill_or_paused() -> None:
    health = opened()
    assert not health.returns(HERE, 10.0)
    call(health, 21.0, None)
    assert health.returns(HERE, 22.0)
    assert not health.returns(BESIDE, 22.0)
    assert not health.returns(HERE, 60.0)  # it is back
    health.ended(HERE, fault("rate_limit", 5.0), 0.1, RULES, 23.0)
    assert not health.returns(HERE, 24.0)


def test_a_way_is_down_while_its_breaker_is_open_and_not_while_it_is_paused() -> None:
    health = opened()
    assert health.is_down(HERE)
    assert not health.is_down(BESIDE)
    call(health, 21.0, None)
    assert not health.is_down(HERE)
    call(health, 22.0, fault("rate_limit", 60.0), binding=AWAY)
    assert not health.is_down(AWAY)


def test_an_open_breaker_says_nothing_about_other_models_or_endpoints() -> None:
    health = opened()
    assert health.admits(BESIDE, RULES, 0.0)
    assert health.admits(AWAY, RULES, 0.0)


def test_failures_older_than_the_window_do_not_count() -> None:
    health = Health()
    for at in (0.0, 20.0, 40.0, 60.0):
        call(health, at, DOWN)
    assert health.admits(HERE, RULES, 60.0)


def test_after_the_cooldown_one_call_at_a_time_goes_through() -> None:
    health = opened()
    assert not health.admits(HERE, RULES, 19.9)
    assert health.admits(HERE, RULES, 20.0)
    health.began(HERE, 20.0)
    assert state(health, 20.0) == "half_open"
    assert not health.admits(HERE, RULES, 20.0)


def test_a_probe_that_fails_opens_the_breaker_for_twice_as_long() -> None:
    health = opened()
    call(health, 20.0, DOWN)
    assert health.waits(HERE, 20.0) == 40.0
    call(health, 60.0, DOWN)
    assert health.waits(HERE, 60.0) == 80.0


def test_a_probe_that_serves_brings_traffic_back_little_by_little() -> None:
    health = opened()
    call(health, 20.0, None)
    assert state(health, 20.0) == "returning"

    def share(start: float) -> float:
        moments = [start + number / 1009 for number in range(1000)]
        return sum(health.admits(HERE, RULES, moment) for moment in moments) / len(moments)

    shares = [share(start) for start in (20.0, 30.0, 40.0)]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.1, abs=0.05)
    assert shares[2] == pytest.approx(0.67, abs=0.07)
    assert share(50.0) == 1.0
    call(health, 51.0, None)
    assert state(health, 51.0) == "closed"


def test_a_breaker_that_breaks_again_while_it_returns_stays_open_longer() -> None:
    health = opened()
    call(health, 20.0, None)
    for _ in range(RULES.failures):
        call(health, 25.0, DOWN)
    assert health.waits(HERE, 25.0) == 40.0


def test_a_probe_whose_client_left_leaves_the_next_call_to_probe() -> None:
    # a client's cancel is neutral
    health = opened()
    health.abandoned(health.began(HERE, 20.0))
    assert health.admits(HERE, RULES, 20.0)


def test_a_call_from_before_the_breaker_opened_decides_nothing_for_the_probe() -> None:
    # G77: one probe at a time, and it alone closes the breaker
    health = Health()
    early = health.began(HERE, 0.0)
    for _ in range(RULES.failures):
        call(health, 0.0, DOWN)
    probe = health.began(HERE, 20.0)
    health.ended(HERE, None, 1.0, RULES, 21.0, probes=early)
    assert state(health, 21.0) == "half_open"
    assert not health.admits(HERE, RULES, 21.0)
    health.ended(HERE, None, 1.0, RULES, 22.0, probes=probe)
    assert state(health, 22.0) == "returning"


def test_a_probe_that_never_reached_its_endpoint_says_nothing_about_the_model() -> None:
    health = opened()
    probe = health.began(HERE, 20.0)
    health.ended(HERE, fault("connection"), 3.0, RULES, 20.0, reached=False, probes=probe)
    states = {each.model: each.state for each in health.conditions(20.0)}
    assert states == {"opus": "half_open", "": "open"}


def test_a_refusal_shows_that_an_endpoint_is_there_again() -> None:
    health = Health()
    probe = health.began(HERE, 0.0)
    health.ended(HERE, fault("connection"), 3.0, RULES, 0.0, reached=False, probes=probe)
    call(health, 1.0, fault("authentication"))
    assert [(each.model, each.state) for each in health.conditions(1.0)] == [("", "returning")]


def test_who_has_returned_for_long_enough_is_well_without_another_call() -> None:
    health = opened()
    call(health, 20.0, None)
    assert state(health, 49.9) == "returning"
    assert state(health, 50.0) == "closed"


@pytest.mark.parametrize("kind", sorted(set(get_args(FaultKind)) - ILLNESSES))
def test_what_is_no_illness_opens_no_breaker(kind: FaultKind) -> None:
    health = Health()
    for _ in range(50):
        call(health, 0.0, fault(kind))
    assert health.admits(HERE, RULES, 10.0)


def test_what_the_client_got_wrong_opens_no_breaker() -> None:
    health = Health()
    for _ in range(50):
        call(health, 0.0, Fault("server_error", "", origin="client"))
    assert health.admits(HERE, RULES, 0.0)


def test_slow_calls_open_a_breaker_once_there_are_enough_of_them() -> None:
    health = Health()
    for number in range(9):
        call(health, number, None, seconds=25.0)
    assert health.admits(HERE, RULES, 9.0)
    call(health, 9.0, None, seconds=25.0)
    assert not health.admits(HERE, RULES, 9.0)


def test_an_address_nobody_answers_at_is_closed_for_all_its_models_at_once() -> None:
    health = Health()
    health.began(HERE, 0.0)
    health.ended(HERE, fault("connection"), 3.0, RULES, 0.0, reached=False)
    assert not health.admits(HERE, RULES, 0.0)
    assert not health.admits(BESIDE, RULES, 0.0)
    assert health.admits(AWAY, RULES, 0.0)
    assert health.waits(BESIDE, 0.0) == 1.0  # it may only be restarting


def test_an_address_that_stays_silent_is_tried_less_and_less_often() -> None:
    health, now, waits = Health(), 0.0, []
    for _ in range(4):
        probes = health.began(HERE, now)
        health.ended(HERE, fault("connection"), 3.0, RULES, now, reached=False, probes=probes)
        waits.append(health.waits(HERE, now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_an_address_that_answers_again_is_used_by_all_within_two_seconds() -> None:
    health = Health()
    for at, end in ((0.0, fault("connection")), (1.0, None)):
        probes = health.began(HERE, at)
        health.ended(HERE, end, 0.1, RULES, at, reached=end is None, probes=probes)
    assert [each.state for each in health.conditions(1.0)] == ["returning"]
    assert health.conditions(3.0) == []


def test_a_connection_lost_in_the_middle_of_an_answer_is_one_failure_of_the_model() -> None:
    health = Health()
    call(health, 0.0, fault("connection"))
    assert health.admits(HERE, RULES, 0.0)
    assert health.admits(BESIDE, RULES, 0.0)


def test_a_rate_limit_pauses_one_model_at_one_endpoint_for_as_long_as_it_says() -> None:
    # G75: a quota of one model cools (key, model), not the whole key
    # G79: how long is what the provider says
    health = Health()
    call(health, 0.0, fault("rate_limit", wait=34.0))
    assert not health.admits(HERE, RULES, 33.9)
    assert health.admits(HERE, RULES, 34.0)
    assert health.admits(BESIDE, RULES, 0.0)
    assert state(health, 40.0) == "closed"


def test_a_second_pause_never_shortens_the_first() -> None:
    # G74: the later of the two deadlines holds
    health = Health()
    call(health, 0.0, fault("rate_limit", wait=60.0))
    call(health, 1.0, fault("rate_limit", wait=5.0))
    assert health.waits(HERE, 1.0) == 59.0


def test_a_pause_without_end_is_bounded() -> None:
    health = Health()
    call(health, 0.0, fault("rate_limit", wait=10.0**9))
    assert health.waits(HERE, 0.0) == LONGEST_PAUSE_SECONDS


def test_a_limit_that_is_used_up_is_told_from_an_illness() -> None:
    health = Health()
    call(health, 0.0, fault("rate_limit", wait=60.0))
    assert health.limited(HERE, 1.0)
    assert not health.limited(HERE, 61.0)
    assert not health.limited(BESIDE, 1.0)
    call(health, 1.0, fault("overloaded", wait=90.0))
    assert not health.limited(HERE, 2.0)


def test_the_longest_pause_says_what_it_is_for() -> None:
    health = Health()
    call(health, 0.0, fault("rate_limit", wait=60.0))
    call(health, 1.0, fault("overloaded", wait=5.0))
    assert health.limited(HERE, 10.0)


def test_a_policy_may_ask_for_as_many_failures_as_its_schema_lets_it() -> None:
    health, patient = Health(), Breaker(failures=1_000)
    for _ in range(1_000):
        assert health.admits(HERE, patient, 0.0)
        health.ended(HERE, DOWN, 1.0, patient, 0.0)
    assert not health.admits(HERE, patient, 0.0)


def test_an_overloaded_provider_is_left_alone_for_as_long_as_it_asks() -> None:
    health = Health()
    call(health, 0.0, fault("overloaded", wait=7.0))
    assert health.waits(HERE, 0.0) == 7.0


def test_only_a_call_that_changes_a_breaker_is_news() -> None:
    health = Health()
    ended = [health.ended(HERE, DOWN, 1.0, RULES, 0.0) for _ in range(RULES.failures)]
    assert [len(news) for news in ended] == [0, 0, 1]
    assert (ended[2][0].endpoint, ended[2][0].model, ended[2][0].state) == ("one", "opus", "open")


def test_what_is_wrong_now_is_told_by_name() -> None:
    health = opened()
    call(health, 0.0, fault("rate_limit", wait=3.0), binding=AWAY)
    assert [
        (each.endpoint, each.model, each.state, each.paused_seconds) for each in health.conditions(1.0)
    ] == [
        ("one", "opus", "open", 0.0),
        ("two", "opus", "closed", 2.0),
    ]
