"""Levels, budgets, and room for the answer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.core.catalog import Model
from engine.core.conversation import Reasoning, Request
from engine.protocols.gemini.thinking import plan
from engine.protocols.shape import Encoded

FLASH, PRO, THREE = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash-preview"
CASES: list[tuple[str, Reasoning, dict[str, Any] | None]] = [
    (FLASH, Reasoning("enabled", 5_000), {"includeThoughts": True, "thinkingBudget": 5_000}),
    (FLASH, Reasoning("enabled", 99_000), {"includeThoughts": True, "thinkingBudget": 24_576}),
    (PRO, Reasoning("enabled", 99_000), {"includeThoughts": True, "thinkingBudget": 32_768}),
    (FLASH, Reasoning("enabled", 10), {"includeThoughts": True, "thinkingBudget": 128}),
    (FLASH, Reasoning("adaptive"), {"includeThoughts": True, "thinkingBudget": -1}),
    (FLASH, Reasoning(effort="low"), {"includeThoughts": True, "thinkingBudget": 4_096}),
    (FLASH, Reasoning("disabled"), {"thinkingBudget": 0}),
    (PRO, Reasoning("disabled"), {"thinkingBudget": 128}),  # W40
    (THREE, Reasoning("enabled", 5_000), {"includeThoughts": True, "thinkingLevel": "medium"}),  # W39
    (THREE, Reasoning("adaptive"), {"includeThoughts": True}),
    (THREE, Reasoning("adaptive", None, "xhigh"), {"includeThoughts": True, "thinkingLevel": "high"}),  # W38
    (THREE, Reasoning(effort="minimal"), {"includeThoughts": True, "thinkingLevel": "minimal"}),
    (THREE, Reasoning(effort="none"), {"thinkingLevel": "minimal"}),
    ("gemini-3-pro-preview", Reasoning(effort="medium"), {"includeThoughts": True, "thinkingLevel": "high"}),
    ("gemini-3.1-pro", Reasoning(effort="minimal"), {"includeThoughts": True, "thinkingLevel": "low"}),
]


@pytest.mark.parametrize(("model_id", "wanted", "config"), CASES)
def test_a_model_is_asked_to_think_in_its_own_way(
    model_id: str, wanted: Reasoning, config: Any, model: Model
) -> None:
    found = plan(wanted, 60_000, model, model_id)
    assert found.thinking == config
    assert not {"thinkingLevel", "thinkingBudget"} <= (found.thinking or {}).keys()


def test_a_model_that_does_not_think_is_not_asked_to(model: Model) -> None:
    mute = replace(model, can=frozenset({"tools"}))
    found = plan(Reasoning("enabled", 5_000), 10, mute, THREE)
    assert (found.thinking, found.max_tokens) == (None, 10)
    assert [loss.path for loss in found.losses] == ["thinking"]
    assert plan(Reasoning("disabled"), 10, mute, THREE).losses == []


def test_thoughts_leave_room_for_the_answer(model: Model) -> None:  # G91, W42
    found = plan(Reasoning("enabled", 4_000), 4_000, model, FLASH)
    assert (found.max_tokens, found.thinking) == (8_000, {"includeThoughts": True, "thinkingBudget": 4_000})
    narrow = replace(model, output_tokens=5_000)
    found = plan(Reasoning("enabled", 8_000), 5_000, narrow, FLASH)
    assert found.max_tokens == 5_000
    assert (found.thinking or {})["thinkingBudget"] < 5_000
    tiny = plan(None, 1, model, THREE)
    assert tiny.max_tokens == 1_024
    assert [loss.path for loss in tiny.losses] == ["max_tokens"]
    assert plan(Reasoning("disabled"), 1, model, FLASH).max_tokens == 1
    assert plan(None, 1, model, "gemini-2.0-flash").max_tokens == 1


def test_a_budget_of_another_vendor_arrives(
    claude: Callable[..., Request], to_gemini: Callable[..., Encoded]
) -> None:
    request = claude(thinking={"type": "enabled", "budget_tokens": 2_000}, max_tokens=9_000)
    config = to_gemini(request, FLASH).body["generationConfig"]
    assert config == {
        "maxOutputTokens": 9_000,
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2_000},
    }
