from dataclasses import fields
from typing import Any

from engine.core.decision import Decision
from engine.core.identity import LOCAL, Identity

NEEDED: dict[str, Any] = {
    "id": "d1",
    "at": 0.0,
    "policy": "p",
    "snapshot": "f",
    "targets": ("opus", "haiku"),
    "rule": "default",
    "source": "default",
    "reason": "",
    "requested_model": "auto",
    "protocol": "openai-chat",
}


def test_the_first_target_is_the_model() -> None:
    assert Decision(**NEEDED).model == "opus"
    assert NEEDED.keys() <= {field.name for field in fields(Decision)}


def test_who_asked_is_told_again_and_was_the_operator_where_nobody_was_recorded() -> None:
    asked = Decision(**NEEDED, identity="ann", team="core", data_class="internal")
    assert asked.asker == Identity("ann", "core", "internal")
    assert Decision(**NEEDED).asker == LOCAL
