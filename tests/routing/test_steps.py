"""The steps of a plan: what counts as evidence for the present one, and who is next."""

import pytest

from engine.core.catalog import Catalog
from engine.core.policy import Inputs, Plan
from engine.routing.eligible import Pool
from engine.routing.steps import next_step, session_figures, since

FEATURES = {"session_test_failures": 3, "session_tool_errors": 0, "turn": 4, "phase": "execute"}
INPUTS: Inputs = {"features": FEATURES, "hints": {"task": "plan"}, "identity": {}}


def test_only_what_a_session_counts_is_kept_of_it() -> None:
    assert session_figures(FEATURES) == {"session_test_failures": 3}


@pytest.mark.parametrize(("before", "left"), [(0, 3), (2, 1), (3, 0), (5, 0)])
def test_figures_count_from_where_a_step_began(before: int, left: int) -> None:
    seen = since(INPUTS, {"session_test_failures": before})
    assert seen["features"] == {**FEATURES, "session_test_failures": left}
    assert seen["hints"] == INPUTS["hints"]
    assert INPUTS["features"]["session_test_failures"] == 3


LADDER = Plan("ladder", ("small", "haiku", "mid", "local", "frontier"))


@pytest.mark.parametrize(
    ("at", "present", "found"),
    [
        (0, "haiku", (2, "sonnet")),  # the second step is the same model
        (0, "local", (1, "haiku")),
        (2, "sonnet", (4, "opus")),  # never down again
        (4, "opus", None),
        (9, "opus", None),  # a plan was shortened while a session was on it
    ],
)
def test_the_next_step_is_another_model_and_no_lesser_one(
    catalog: Catalog, at: int, present: str, found: tuple[int, str] | None
) -> None:
    pool = Pool(tuple(catalog.models.values()), {})
    step = next_step(LADDER, at, catalog.models[present], None, pool, catalog)
    assert (step and (step[0], step[1].name)) == found
