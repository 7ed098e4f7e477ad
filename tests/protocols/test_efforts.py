import pytest

from engine.core.catalog import Model, Price
from engine.core.conversation import Loss, Reasoning
from engine.protocols.efforts import effort_for
from engine.protocols.openai_responses.names import NAMES

THINKER = Model("gpt", "frontier", 400_000, 128_000, frozenset({"thinking"}), Price(), ())
PLAIN = Model("plain", "small", 400_000, 128_000, frozenset(), Price(), ())


@pytest.mark.parametrize(
    ("wanted", "model", "usual", "expected", "told"),
    [
        (Reasoning(effort="low"), THINKER, "", "low", ""),
        (Reasoning(effort="low"), PLAIN, "", "", "plain does not think"),
        (Reasoning(mode="disabled"), PLAIN, "", "", ""),
        (Reasoning(mode="enabled", budget_tokens=4_000), THINKER, "", "low", ""),
        (Reasoning(mode="enabled"), THINKER, "", "", ""),
        (Reasoning(mode="adaptive"), THINKER, "medium", "medium", ""),
    ],
)
def test_an_effort_is_asked_for_where_the_model_knows_one(
    wanted: Reasoning, model: Model, usual: str, expected: str, told: str
) -> None:
    losses: list[Loss] = []
    assert effort_for(wanted, model, "gpt-5.4", NAMES, losses, usual) == expected
    assert [loss.why for loss in losses] == ([told] if told else [])
