"""The YAML files: whole, consistent with core, and read as they are meant."""

from typing import get_args

import pytest

from engine.core.errors import STATUS
from engine.core.reply import StopReason
from engine.protocols.mapping import WireMap, wire_map

FILES = ["anthropic_messages", "openai_chat"]


@pytest.fixture(params=FILES)
def names(request: pytest.FixtureRequest) -> WireMap:
    return wire_map(request.param)


def test_every_stop_reason_and_fault_can_be_told(names: WireMap) -> None:
    assert names.stop_write.keys() == set(get_args(StopReason))
    assert names.errors_write.keys() == STATUS.keys()


def test_what_is_read_is_a_word_of_ours(names: WireMap) -> None:
    assert set(names.stop_read.values()) <= set(get_args(StopReason))
    assert set(names.errors_read.values()) <= STATUS.keys()
    assert set(names.codes) <= STATUS.keys()


def test_a_stop_reason_told_is_read_as_itself_where_the_protocol_knows_it(names: WireMap) -> None:
    for reason, word in names.stop_write.items():
        if list(names.stop_write.values()).count(word) == 1:
            assert names.stop_read[word] == reason


def test_budgets_rise(names: WireMap) -> None:
    assert list(names.budgets.values()) == sorted(names.budgets.values())


@pytest.mark.parametrize(
    ("budget", "effort"), [(1, "minimal"), (4096, "low"), (4097, "medium"), (31999, "high")]
)
def test_a_budget_has_the_effort_that_holds_it(budget: int, effort: str) -> None:
    assert wire_map("openai_chat").effort_of(budget) == effort


@pytest.mark.parametrize(
    ("kind", "model_id", "expected"),
    [
        ("adaptive_thinking", "claude-opus-5-5", True),
        ("adaptive_thinking", "claude-opus-4-6", True),
        ("adaptive_thinking", "claude-opus-4-5-20251101", False),
        ("adaptive_thinking", "claude-haiku-4-5-20251001", False),
        ("effort", "claude-opus-4-5-20251101", True),
        ("xhigh", "claude-opus-4-6", False),
        ("unheard-of", "claude-opus-5-5", False),
    ],
)
def test_models_are_known_by_their_ids(kind: str, model_id: str, expected: bool) -> None:
    assert wire_map("anthropic_messages").is_model(kind, model_id) is expected


def test_a_value_that_asks_for_nothing_is_idle() -> None:
    names = wire_map("openai_chat")
    assert names.is_idle("n", 1)
    assert names.is_idle("anything", None)
    assert not names.is_idle("n", 2)
    assert not names.is_idle("store", 0)
