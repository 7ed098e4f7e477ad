"""What the rest of a session costs where it stays and where it moves to."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.catalog import Catalog, Model, Price
from engine.core.conversation import Message, Request, Text, Tool, Tuning
from engine.core.ports import Warm
from engine.routing.switching import (
    ADDED_TOKENS,
    FEWEST_TURNS,
    MOST_TURNS,
    TURNS_OF_A_TALK,
    WRITTEN_TOKENS,
    Rest,
    caches,
    is_marked,
    rest_of,
    rest_usd,
    switch,
    turn_usd,
    turns_left,
)

MARK = {"type": "ephemeral"}


def priced(name: str, into: float, out: float, read: float, write: float) -> Model:
    return Model(name, "mid", 200_000, 8_000, frozenset(), Price(into, out, read, write), ())


OPUS = priced("opus", 5.0, 25.0, 0.5, 6.25)  # caches what is marked
SONNET = priced("sonnet", 3.0, 15.0, 0.3, 3.75)
HAIKU = priced("haiku", 1.0, 5.0, 0.1, 1.25)
GPT = priced("gpt", 2.5, 15.0, 0.25, 2.5)  # caches by itself
PLAIN = priced("plain", 1.0, 2.0, 1.0, 1.0)  # caches nothing


def request(
    *parts: Text, system: tuple[Text, ...] = (), tools: tuple[Tool, ...] = (), **body: Any
) -> Request:
    messages = (Message("user", parts),)
    return Request("anthropic-messages", "opus", system, messages, tools, Tuning(), False, b"", body)


def features(**values: Any) -> dict[str, Any]:
    return {"context_tokens": 50_000, "messages": 1, "tool_count": 4, "tool_results": 0, **values}


def test_the_sum_of_two_turns_is_what_the_price_list_says() -> None:
    rest = Rest(10_000, 2.0, written_tokens=100, warm={"opus": 8_000}, marked=True)
    first = 8_000 * 0.5 + 2_000 * 6.25 + 100 * 25
    second = 10_000 * 0.5 + ADDED_TOKENS * 6.25 + 100 * 25
    assert rest_usd(OPUS, rest) == pytest.approx((first + second) / 1e6)
    assert turn_usd(OPUS, rest) == pytest.approx((first + second) / 2e6)


def test_without_marks_a_vendor_that_charges_for_its_cache_is_paid_in_full_each_time() -> None:
    rest = Rest(10_000, 2.0, written_tokens=0)
    assert rest_usd(OPUS, rest) == pytest.approx((10_000 + 10_000 + ADDED_TOKENS) * 5 / 1e6)
    assert rest_usd(GPT, rest) == pytest.approx((10_000 * 2.5 + 10_000 * 0.25 + ADDED_TOKENS * 2.5) / 1e6)


@pytest.mark.parametrize(
    ("model", "marked", "expected"),
    [(OPUS, True, True), (OPUS, False, False), (GPT, False, True), (PLAIN, True, False)],
)
def test_who_caches_is_told_by_the_prices(model: Model, marked: bool, expected: bool) -> None:
    assert caches(model, marked) is expected


def test_a_warm_cache_makes_a_short_move_dear_and_a_long_one_pay() -> None:
    warm = {"opus": 100_000}
    last = switch(OPUS, SONNET, Rest(100_000, 1.0, warm=warm, marked=True))
    assert last.saving_usd < 0
    assert (
        last.told() == "moving from opus to sonnet costs $0.3210 over about 1 turns, 100000 warm tokens lost"
    )
    long = switch(OPUS, SONNET, Rest(100_000, 30.0, warm=warm, marked=True))
    assert long.saving_usd > 0
    assert long.lost_usd == pytest.approx(100_000 * (3.75 - 0.3) / 1e6)
    assert long.values["warm_tokens"] == 100_000


def test_a_cold_cache_costs_nothing_to_leave() -> None:
    cold = switch(OPUS, SONNET, Rest(100_000, 1.0, marked=True))
    assert (cold.warm_tokens, cold.lost_usd) == (0, 0.0)
    assert cold.saving_usd > 0
    assert cold.told().endswith("over about 1 turns, no cache is lost")


def test_no_more_is_warm_than_is_sent() -> None:
    assert Rest(1_000, 1.0, warm={"opus": 9_000}).warm_at(OPUS) == 1_000


@given(
    st.integers(1, 200_000),
    st.floats(1.0, 100.0),
    st.integers(0, 200_000),
    st.booleans(),
    st.sampled_from([OPUS, GPT, PLAIN]),
)
def test_what_is_warm_only_ever_makes_staying_cheaper(
    tokens: int, turns: float, warm: int, marked: bool, stay: Model
) -> None:
    cold = switch(stay, HAIKU, Rest(tokens, turns, marked=marked))
    kept = switch(stay, HAIKU, Rest(tokens, turns, warm={stay.name: warm}, marked=marked))
    assert kept.stay_usd <= cold.stay_usd + 1e-12
    assert kept.move_usd == cold.move_usd
    assert kept.saving_usd <= cold.saving_usd + 1e-12


@given(st.integers(1, 200_000), st.floats(1.0, 100.0), st.integers(0, 200_000))
def test_who_moved_to_save_does_not_save_by_moving_back(tokens: int, turns: float, warm: int) -> None:
    rest = Rest(tokens, turns, warm={"opus": warm}, marked=True)
    if switch(OPUS, HAIKU, rest).saving_usd > 0:
        after = replace(rest, warm={"opus": warm, "haiku": tokens})
        assert switch(HAIKU, OPUS, after).saving_usd < 0


def test_a_session_goes_on_for_as_long_as_it_has_but_no_less_than_most_do() -> None:
    assert turns_left(features()) == FEWEST_TURNS
    assert turns_left(features(messages=120)) == 60.0
    assert turns_left(features(messages=10_000)) == MOST_TURNS
    assert turns_left(features(tool_count=0)) == TURNS_OF_A_TALK


def test_a_cache_is_warm_for_as_long_as_its_endpoint_says(catalog: Catalog) -> None:
    one = catalog.endpoints["one"]
    longer = replace(catalog, endpoints={"one": replace(one, cache_ttl_seconds=3_600.0)})
    warm = {"opus": Warm(40_000, 1_000.0, "one", turns=5, written=1_000)}
    asked = request(Text("hi"))
    in_time = rest_of(asked, features(), warm, catalog, 1_299.0)
    assert in_time.warm == {"opus": 40_000}
    assert in_time.written_tokens == (1_000 + 5 * WRITTEN_TOKENS) / 10
    assert rest_of(asked, features(), warm, catalog, 1_300.0).warm == {}
    assert rest_of(asked, features(), warm, longer, 1_300.0).warm == {"opus": 40_000}
    assert (
        rest_of(asked, features(), {"opus": replace(warm["opus"], endpoint="gone")}, catalog, 1_001.0).warm
        == {}
    )


def test_what_a_vendor_that_charges_for_its_cache_kept_was_marked(catalog: Catalog) -> None:
    kept = {"opus": Warm(40_000, 1_000.0, "one")}
    assert rest_of(request(Text("hi")), features(), kept, catalog, 9_999.0).marked
    assert not rest_of(request(Text("hi")), features(), {}, catalog, 9_999.0).marked


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(Text("hi")), False),
        (request(Text("hi", MARK)), True),
        (request(Text("hi"), system=(Text("s", MARK),)), True),
        (request(Text("hi"), tools=(Tool("a"), Tool("b", cache_control=MARK))), True),
        (request(Text("hi"), cache_control=MARK), True),
    ],
)
def test_a_client_marks_what_is_to_be_cached(asked: Request, expected: bool) -> None:
    assert is_marked(asked) is expected
