"""What vendors' caches hold, as the usage they report tells."""

import json
from dataclasses import asdict

from engine.core.catalog import Catalog, Model, Price
from engine.core.ports import Warm
from engine.core.reply import Usage
from engine.routing.warmth import NOTHING_WARM, MemoryWarmth, conversation_of, warm_after

PAID = Model("paid", "mid", 9, 9, frozenset(), Price(5.0, 25.0, 0.5, 6.25), ())
FREE = Model("free", "mid", 9, 9, frozenset(), Price(2.5, 15.0, 0.25, 2.5), ())


def test_what_was_read_and_written_is_warm() -> None:
    usage = Usage(20_000, 300, cache_read_tokens=15_000, cache_write_tokens=4_000)
    assert warm_after(None, usage, PAID, "one", 7.0) == Warm(19_000, 7.0, "one", 1, 300)


def test_nothing_is_warm_where_a_vendor_that_charges_for_it_wrote_nothing() -> None:
    assert warm_after(None, Usage(20_000, 300), PAID, "one", 7.0).tokens == 0


def test_a_vendor_that_caches_by_itself_keeps_the_whole_prompt_unless_it_is_short() -> None:
    assert warm_after(None, Usage(20_000, 300, cache_read_tokens=9_000), FREE, "one", 7.0).tokens == 20_000
    assert warm_after(None, Usage(1_000, 300), FREE, "one", 7.0).tokens == 0


def test_what_a_model_writes_in_a_session_is_counted() -> None:
    first = warm_after(None, Usage(20_000, 300), PAID, "one", 7.0)
    second = warm_after(first, Usage(21_000, 500), PAID, "two", 9.0)
    assert (second.turns, second.written, second.at, second.endpoint) == (2, 800, 9.0, "two")


def test_a_conversation_is_one_of_a_session_and_chores_are_of_none() -> None:
    work = {"phase": "execute", "first_user_hash": "a"}
    assert conversation_of("s", work) == "s/a"
    assert conversation_of("s", {**work, "first_user_hash": "b"}) != conversation_of("s", work)
    assert conversation_of("", work) == ""
    assert conversation_of("s", {**work, "phase": "title"}) == ""


def test_the_conversations_that_were_silent_longest_make_room() -> None:
    store = MemoryWarmth(most=2)
    for name in ("a", "b"):
        store.put(name, "opus", Warm(1, 0.0, "one"))
    store.of("a")
    store.put("c", "opus", Warm(1, 0.0, "one"))
    assert store.of("b") is NOTHING_WARM
    assert set(store.known) == {"a", "c"}


def test_a_conversation_holds_a_bounded_number_of_models_the_latest() -> None:
    store = MemoryWarmth()
    for number in range(20):
        store.put("a", f"m{number}", Warm(number, 0.0, "one"))
    assert list(store.of("a")) == [f"m{number}" for number in range(12, 20)]


def test_who_decides_holds_what_was_warm_when_it_asked(catalog: Catalog) -> None:
    store = MemoryWarmth()
    store.put("a", "opus", Warm(1, 0.0, "one"))
    held = store.of("a")
    store.put("a", "haiku", Warm(2, 1.0, next(iter(catalog.endpoints))))
    assert set(held) == {"opus"}


def test_what_is_warm_can_be_written_down_and_read_again() -> None:
    warm = Warm(19_000, 7.5, "one", 3, 900)
    assert Warm(**json.loads(json.dumps(asdict(warm)))) == warm
