import pytest

from engine.core.catalog import TIERS
from engine.documents import check_shape, read
from engine.simulator import Simulator, catalog_text
from engine.simulator.catalog import NAMES


def test_the_catalog_is_one_an_operator_could_have_written(simulator: Simulator) -> None:
    document, problems = read(catalog_text(simulator), "simulated.yaml")
    assert problems == ()
    assert document is not None
    _, misfits = check_shape(document, "schemas/catalog.v1.schema.json")
    assert misfits == ()


def test_every_tier_has_a_model_and_every_endpoint_leads_to_the_simulator(simulator: Simulator) -> None:
    document, _ = read(catalog_text(simulator), "simulated.yaml")
    assert document is not None
    assert tuple(document.data["models"]) == NAMES
    assert {model["tier"] for model in document.data["models"].values()} == set(TIERS)
    for name, endpoint in document.data["endpoints"].items():
        assert endpoint["base_url"] == simulator.url(name)


@pytest.mark.parametrize(("name", "endpoints"), [("gpt", ["openai"]), ("opus", ["anthropic", "openrouter"])])
def test_a_catalog_of_some_models_names_only_their_endpoints(
    simulator: Simulator, name: str, endpoints: list[str]
) -> None:
    document, _ = read(catalog_text(simulator, [name]), "simulated.yaml")
    assert document is not None
    assert list(document.data["endpoints"]) == endpoints
    assert list(document.data["models"]) == [name]
