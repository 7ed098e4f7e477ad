"""Which endpoint is tried first: by weight, by speed, by what is left of a limit, and first of all where a session is
at home."""

from collections import Counter
from dataclasses import replace
from typing import Literal

import pytest

from engine.core.catalog import Binding, Catalog, Model
from engine.routing.balance import Balance

ONE, TWO, THREE = Binding("one", "m", 1.0), Binding("two", "m", 3.0), Binding("three", "m", 1.0)


def model(
    catalog: Catalog, *served_by: Binding, balance: Literal["weighted", "latency", "headroom"] = "weighted"
) -> Model:
    return replace(catalog.models["opus"], served_by=served_by, balance=balance)


def firsts(balance: Balance, model: Model, now: float = 0.0, sessions: int = 2000) -> Counter[str]:
    return Counter(balance.order(model, f"s{number}", "", now)[0].endpoint for number in range(sessions))


def test_new_sessions_are_spread_by_weight(catalog: Catalog) -> None:
    spread = firsts(Balance(), model(catalog, ONE, TWO))
    assert spread["two"] / spread["one"] == pytest.approx(3.0, rel=0.2)


def test_every_way_is_there_in_every_order(catalog: Catalog) -> None:
    order = Balance().order(model(catalog, ONE, TWO, THREE), "s", "", 0.0)
    assert {binding.endpoint for binding in order} == {"one", "two", "three"}


def test_a_request_without_a_session_is_balanced_by_its_id(catalog: Catalog) -> None:
    served = model(catalog, ONE, TWO)
    chosen = Counter(Balance().order(served, "", f"d{number}", 0.0)[0].endpoint for number in range(2000))
    assert chosen["two"] / chosen["one"] == pytest.approx(3.0, rel=0.2)


def test_an_endpoint_that_goes_takes_only_its_own_sessions_along(catalog: Catalog) -> None:
    balance, all_three, two_left = Balance(), model(catalog, ONE, TWO, THREE), model(catalog, ONE, TWO)
    for number in range(500):
        before = balance.order(all_three, f"s{number}", "", 0.0)[0]
        after = balance.order(two_left, f"s{number}", "", 0.0)[0]
        assert before.endpoint in ("three", after.endpoint)


@pytest.mark.parametrize("how", ["weighted", "latency", "headroom"])
def test_a_session_stays_where_its_cache_is_warm(
    catalog: Catalog, how: Literal["weighted", "latency", "headroom"]
) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance=how)
    away = balance.order(served, "s", "", 0.0)[1]
    balance.served(served, away, "s", 9.0, 0.0)  # it failed over once, and its cache is there now
    balance.heard(away, {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "1"}, 0.0)
    assert balance.order(served, "s", "", 1.0)[0] is away
    assert balance.order(served, "s", "", 100_000.0)[0] is away


def test_new_sessions_go_where_first_contents_come_sooner(catalog: Catalog) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance="latency")
    balance.served(served, ONE, "", 0.2, 0.0)
    balance.served(served, TWO, "", 2.0, 0.0)
    assert firsts(balance, served, 1.0)["one"] == 2000


def test_a_busy_endpoint_is_a_slow_one(catalog: Catalog) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance="latency")
    balance.served(served, ONE, "", 1.0, 0.0)
    balance.served(served, TWO, "", 1.5, 0.0)
    balance.began(ONE)
    assert firsts(balance, served, 0.1)["two"] == 2000
    balance.ended(ONE)
    assert firsts(balance, served, 0.1)["one"] == 2000


def test_a_peak_counts_at_once_and_fades_slowly(catalog: Catalog) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance="latency")
    for at in (0.0, 1.0, 2.0):
        balance.served(served, ONE, "", 0.5, at)
        balance.served(served, TWO, "", 1.0, at)
    balance.served(served, ONE, "", 8.0, 3.0)
    assert firsts(balance, served, 3.0)["two"] == 2000
    balance.served(served, TWO, "", 1.0, 150.0)
    assert firsts(balance, served, 150.0)["one"] == 2000


LEFT = [
    {"anthropic-ratelimit-requests-limit": "1000", "anthropic-ratelimit-requests-remaining": "100"},
    {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "100"},
    {"ratelimit-limit": "1000", "ratelimit-remaining": "100"},
    {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "999",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "100",
    },
]


@pytest.mark.parametrize("headers", LEFT, ids=["anthropic", "openai", "draft", "the scarcest counts"])
def test_new_sessions_go_where_more_of_a_limit_is_left(catalog: Catalog, headers: dict[str, str]) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance="headroom")
    balance.heard(TWO, headers, 0.0)
    balance.heard(ONE, {"ratelimit-limit": "10", "ratelimit-remaining": "5"}, 0.0)
    assert firsts(balance, served, 1.0)["one"] == 2000


def test_what_was_said_of_limits_a_minute_ago_says_nothing(catalog: Catalog) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance="headroom")
    balance.heard(TWO, {"ratelimit-limit": "10", "ratelimit-remaining": "0"}, 0.0)
    assert firsts(balance, served, 1.0)["one"] == 2000
    assert firsts(balance, served, 61.0)["two"] > 1000


@pytest.mark.parametrize("value", ["", "many", "nan", "inf"])
def test_headers_that_say_nothing_are_passed_over(catalog: Catalog, value: str) -> None:
    balance, served = Balance(), model(catalog, ONE, TWO, balance="headroom")
    balance.heard(TWO, {"ratelimit-limit": value, "ratelimit-remaining": value}, 0.0)
    balance.heard(TWO, {"x-ratelimit-remaining-requests": "3"}, 0.0)
    assert firsts(balance, served, 1.0)["two"] > 1000
