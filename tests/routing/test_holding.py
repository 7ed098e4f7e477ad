"""A session's sealed data holds its provider."""

from dataclasses import replace

import pytest

from engine.core.catalog import Binding, Catalog
from engine.core.lineage import Lineage, Tie
from engine.routing.eligible import Pool
from engine.routing.holding import (
    MemoryLineages,
    foreign_before,
    held,
    holders,
    known_origin,
    lineage_after,
    lineage_key,
    reply_key,
    serves,
)

TIE = Tie("anthropic-messages", "messages.1.content.0", "an open loop")
WORK = {"phase": "execute", "first_user_hash": "abc"}


@pytest.fixture
def two(catalog: Catalog) -> Catalog:
    """Two providers of one protocol: `opus` is at the first alone, `gpt` at the second."""
    one = catalog.endpoints["one"]
    endpoints = {
        "one": one,
        "two": replace(one, name="two", base_url="http://127.0.0.1:2"),
        "same": replace(one, name="same"),
        "other": replace(one, name="other", protocol="gemini"),
    }
    gpt = replace(catalog.models["gpt"], served_by=(Binding("two", "gpt-id"),))
    return Catalog(endpoints, {**catalog.models, "gpt": gpt}, {})


def test_where_nothing_is_remembered_every_provider_of_the_protocol_may_be_the_one(two: Catalog) -> None:
    assert holders(TIE, None, two) == ("one", "two", "same")


def test_what_is_remembered_is_the_address_and_the_key(two: Catalog) -> None:  # G53
    known = Lineage(two.endpoints["one"].origin, "opus")
    assert holders(TIE, known, two) == ("one", "same")
    keyed = replace(two.endpoints["one"], api_key_env="OTHER_KEY")
    assert keyed.origin != two.endpoints["one"].origin
    assert holders(TIE, Lineage(keyed.origin, "opus"), two) == ()


def test_only_models_of_the_holder_are_left(two: Catalog) -> None:
    pool = held(Pool(tuple(two.models.values()), {}), ("two",), TIE)
    assert [model.name for model in pool.models] == ["gpt"]
    assert pool.excluded["opus"] == "is not served where messages.1.content.0 came from"
    assert serves(two.models["gpt"], ("two",))
    assert not serves(two.models["opus"], ("two",))


def test_that_a_session_ever_changed_its_provider_is_never_forgotten(two: Catalog) -> None:  # W33
    one, two_ = two.endpoints["one"], two.endpoints["two"]
    first = lineage_after(None, one, "opus", 3)
    assert first == Lineage(one.origin, "opus", 0)
    assert foreign_before(first, one, 5) == 0
    assert foreign_before(first, two_, 5) == 5  # nothing in it is theirs
    moved = lineage_after(first, two_, "gpt", 5)
    assert foreign_before(moved, two_, 9) == 5  # what came before they took over
    stays = lineage_after(moved, two_, "gpt", 9)
    assert stays.since == 5
    back = lineage_after(stays, one, "opus", 11)
    assert foreign_before(back, one, 13) == 11
    assert foreign_before(None, one, 13) == 0


def test_conversations_beside_each_other_are_told_apart_and_chores_are_none() -> None:  # W53
    key = lineage_key("s", WORK, "gemini")
    assert key != lineage_key("s", {**WORK, "first_user_hash": "other"}, "gemini")
    assert key != lineage_key("s", WORK, "anthropic-messages")
    assert lineage_key("s", {**WORK, "phase": "title"}, "gemini") == ""
    assert lineage_key("", WORK, "gemini") == ""


def test_a_stored_reply_is_known_by_its_id_to_the_one_who_got_it() -> None:
    store = MemoryLineages()
    store.put(reply_key({"name": "ann"}, "resp_1"), Lineage("here", "gpt"))
    tie = Tie("openai-responses", "previous_response_id", "stored", True, "resp_1")
    assert known_origin(tie, "s", WORK, {"name": "ann"}, store) == Lineage("here", "gpt")
    assert known_origin(tie, "s", WORK, {"name": "bob"}, store) is None


def test_lineages_are_forgotten_only_when_there_are_too_many() -> None:
    store = MemoryLineages(most=2)
    for name in ("a", "b"):
        store.put(name, Lineage(name, "m"))
    assert store.get("a") == Lineage("a", "m")
    store.put("c", Lineage("c", "m"))
    assert store.get("b") is None
    assert store.get("a") == Lineage("a", "m")
