"""What the latest step tells about the work; chores and plan mode are rows in `tests/cases/features/phases.yaml`."""

import pytest

from engine.core.conversation import Message, Request, Text, Tuning
from engine.features.actions import Kind
from engine.features.markers import Look
from engine.features.phase import phase_of

REQUEST = Request(
    "openai-chat", "m", (), (Message("user", (Text("mend it"),)),), (), Tuning(), False, b"", {}
)


@pytest.mark.parametrize(
    ("step", "edited", "phase"),
    [
        ({"read", "search"}, False, "context"),
        ({"read", "search"}, True, "execute"),
        ({"read", "test"}, False, "validate"),
        ({"edit"}, False, "execute"),
        ({"shell"}, False, "execute"),
        ({"agent"}, False, "execute"),
        ({"plan"}, False, "plan"),
        ({"plan", "edit"}, True, "execute"),
    ],
)
def test_a_step_shows_the_phase(step: set[Kind], edited: bool, phase: str) -> None:
    look = Look(REQUEST, {}, frozenset(), frozenset(), frozenset({"Read", "Edit"}))
    assert phase_of(look, step, edited) == phase


@pytest.mark.parametrize(
    ("tools", "phase"), [(set(), "chat"), ({"Read", "Grep"}, "context"), ({"Read", "Bash"}, "execute")]
)
def test_at_the_beginning_the_tools_show_the_phase(tools: set[str], phase: str) -> None:
    assert phase_of(Look(REQUEST, {}, frozenset(), frozenset(), frozenset(tools)), set(), False) == phase
