"""A small catalog: one model a tier and more, enough to choose among."""

import pytest

from engine.core.catalog import Binding, Catalog, Endpoint, Model, Price, Tier

EVERYTHING = frozenset({"tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"})


def model(
    name: str, tier: Tier, usd: float, context: int = 200_000, can: frozenset[str] = EVERYTHING
) -> Model:
    price = Price(usd, usd * 5, usd / 10, usd * 1.25)
    return Model(name, tier, context, 64_000, can, price, (Binding("one", f"{name}-id"),))


@pytest.fixture
def catalog() -> Catalog:
    models = [
        model("opus", "frontier", 5),
        model("gpt", "frontier", 2, context=400_000),
        model("sonnet", "mid", 3),
        model("haiku", "small", 1),
        model("local", "small", 0, context=32_000, can=frozenset({"tools"})),
    ]
    endpoints = {"one": Endpoint("one", "anthropic-messages", "http://127.0.0.1:1")}
    return Catalog(endpoints, {each.name: each for each in models}, {"claude-opus-*": "opus"})
