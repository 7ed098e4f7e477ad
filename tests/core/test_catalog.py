import pytest

from engine.core.catalog import Binding, Catalog, Endpoint, Model, Price, Tier


def model(name: str, tier: Tier, served_as: str) -> Model:
    return Model(name, tier, 1000, 100, frozenset(), Price(), (Binding("one", served_as),))


CATALOG = Catalog(
    {"one": Endpoint("one", "openai-chat", "http://127.0.0.1:1")},
    {
        each.name: each
        for each in (
            model("opus", "frontier", "claude-opus-4-5"),
            model("haiku", "small", "claude-haiku-4-5"),
            model("mini", "small", "gpt-5-mini"),
        )
    },
    {"claude-opus-*": "opus", "gpt-5*-mini*": "mini", "gpt-5*": "opus"},
)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("haiku", "haiku"),  # our name
        ("claude-haiku-4-5", "haiku"),  # a provider's id
        ("claude-opus-5", "opus"),  # an alias
        ("gpt-5-mini-2026", "mini"),  # the first alias that matches
        ("gpt-5.4", "opus"),
        ("claude-opus-4-5[1m]", "opus"),  # W45: a client's suffix is no part of the name
        ("Haiku", None),
        ("", None),
    ],
)
def test_what_a_client_asks_for_is_found_by_name_alias_or_id(asked: str, meant: str | None) -> None:
    found = CATALOG.resolve(asked)
    assert (found.name if found else None) == meant


def test_a_tier_holds_its_models_in_catalog_order() -> None:
    assert [each.name for each in CATALOG.of_tier("small")] == ["haiku", "mini"]
    assert CATALOG.of_tier("mid") == ()
