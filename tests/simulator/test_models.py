import pytest

from engine.simulator.models import MODELS, PROVIDERS, find, solves

KINDS = ("fix", "feature", "refactor", "rename", "docs", "debug", "architecture")


def test_every_model_is_served_by_a_provider_that_is_played() -> None:
    assert {model.provider for model in MODELS} <= PROVIDERS.keys()


@pytest.mark.parametrize("id", ["claude-opus-4-5", "claude-opus-4-5-20251101"])
def test_a_model_is_found_with_and_without_the_date_in_its_id(id: str) -> None:
    model = find(MODELS, "anthropic", id)
    assert model is not None
    assert model.name == "opus"


def test_a_model_is_not_found_at_another_provider() -> None:
    assert find(MODELS, "openai", "claude-opus-4-5") is None


def test_the_frontier_solves_everything_and_small_models_only_some() -> None:
    tasks = [(kind, f"task-{number}") for kind in KINDS for number in range(40)]
    solved = {
        name: sum(solves(name, *task, 0, MODELS) for task in tasks) for name in ("opus", "deepseek", "haiku")
    }
    assert solved["opus"] == len(tasks)
    assert solved["haiku"] < solved["deepseek"] < solved["opus"]


def test_what_a_weaker_model_solves_a_stronger_one_solves_too() -> None:
    for number in range(200):
        if solves("haiku", "fix", f"t{number}", 3, MODELS):
            assert solves("deepseek", "fix", f"t{number}", 3, MODELS)


def test_a_model_nobody_knows_solves_nothing() -> None:
    assert not solves("nobody", "fix", "t", 0, MODELS)
