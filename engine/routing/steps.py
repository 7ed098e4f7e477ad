"""The steps of a plan in a running session: when the next one takes over, and who that is.

Evidence counts for the step that did the work. The figures of a session (`features.session_…`) only ever grow, so a
pin keeps what they were when its step began, and a plan's condition sees what was added since. Otherwise one failed
test run would carry a session through all steps of its plan in as many requests.
"""

from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Catalog, Model
from engine.core.policy import Inputs, Plan
from engine.routing.eligible import Pool
from engine.routing.targets import named, rises

FIGURES = "session_"


def session_figures(features: Mapping[str, Any]) -> dict[str, int]:
    """What is counted over a session, as it stands now."""
    return {name: value for name, value in features.items() if name.startswith(FIGURES) and value}


def since(inputs: Inputs, before: Mapping[str, int]) -> Inputs:
    """The same inputs, with the session's figures counted from where they were `before`.

    A client that shortens its history may show less than there was; nothing is ever counted below none."""
    if not before:
        return inputs
    features = inputs["features"]
    added = {name: max(0, features.get(name, 0) - count) for name, count in before.items()}
    return {**inputs, "features": {**features, **added}}


def next_step(
    plan: Plan, step: int, present: Model, requested: Model | None, pool: Pool, catalog: Catalog
) -> tuple[int, Model] | None:
    """The next step that is done by another model than the `present` one, and by none of a lower tier; None where
    nobody is left."""
    for number, name in enumerate(plan.steps[step + 1 :], start=step + 1):
        model = named(name, requested, pool, catalog)
        if model is not present and not rises(present, model):
            return number, model
    return None
