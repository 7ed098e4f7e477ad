from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from engine.commands.why_not import Obstacle, why_not
from engine.core.decision import Candidate, Decision, Source, Step
from engine.core.errors import RequestError
from engine.core.identity import LOCAL
from engine.server.reload import load_from
from engine.snapshot import Snapshot

FEATURES = {"tool_count": 0, "images": 0, "documents": 0, "structured_output": False, "context_tokens": 900}
DECISION = Decision(
    id="d1", at=1.0, policy="house", snapshot="s", targets=("large", "middle"), rule="chores", source="rule",
    reason="chores", requested_model="large", protocol="openai-chat", features={**FEATURES, "phase": "chat"},
)  # fmt: skip
JUDGED = (
    Candidate("large", True, "the default", None, 9, 0.02),
    Candidate("little", False, "confidence 0.71 is below 0.9", 0.7123, 9, 0.001),
)
ASKED = {"source": "default", "rule": "working", "learner": "picker", "candidates": JUDGED}


@pytest.mark.parametrize(
    ("model", "changes", "because", "said"),
    [
        ("large", {}, "none", "large is what was chosen: chores"),
        (
            "little",
            {"trace": (Step("eligible", "little", "skipped", "cannot do vision"),), "source": "guard"},
            "eligible",
            "little cannot do vision",
        ),
        ("little", {"source": "guard"}, "guard", "the guard chores allows only large here"),
        ("little", {"source": "forced"}, "forced", "the client forced large"),
        ("little", {"source": "budget", "reason": "team-day: $50 of $50 is spent"}, "budget", "a budget is used up"),
        ("little", {"source": "escalation", "reason": "3 failed"}, "escalation", "escalated the session to large"),
        ("little", {"source": "pin"}, "pin", "the session keeps large, which the rule chores gave it"),
        ("little", {"source": "rule"}, "rule", "the rule chores matched first, and what it says means large"),
        ("little", ASKED, "gate", "asks the learner picker: little: confidence 0.71 is below 0.9 (confidence 0.712)"),
        ("other", ASKED, "gate", "the rule working leaves the choice to picker, and not of other"),
        ("little", {"source": "default", "reason": "no rule matched"}, "default", "the default means large"),
        (
            "dear",
            {**ASKED, "trace": (Step("cap", "dear", "skipped", "dear costs more than large"),)},
            "cap",
            "dear costs more than large, and nobody wrote down",
        ),
        (
            "dear",
            {"source": "default", "reason": "dear costs more than large, says somebody"},
            "default",
            "the default means large: dear costs more than large, says somebody",
        ),
        ("middle", {}, "rule", "it is number 2 in line, should large fail"),
    ],
)  # fmt: skip
def test_what_stood_in_its_way_is_named(model: str, changes: dict[str, Any], because: str, said: str) -> None:
    told = why_not(model, replace(DECISION, **changes), {}, None)
    assert told.because == because
    assert said in told.sentence
    assert told.ways == ()


@pytest.mark.parametrize("source", get_args(Source))
def test_every_source_has_an_answer(source: Source) -> None:
    assert why_not("little", replace(DECISION, source=source), {}, None).because in get_args(Obstacle)


@pytest.fixture
def snapshot(policies: Path) -> Snapshot:
    return load_from(policies, "")()


def inputs(**features: Any) -> dict[str, dict[str, Any]]:
    return {
        "features": {**FEATURES, "phase": "chat", **features},
        "hints": {},
        "identity": dict(LOCAL.values),
    }


def test_the_rules_that_lead_to_a_model_are_told_with_what_they_ask(snapshot: Snapshot) -> None:
    told = why_not("middle", DECISION, inputs(), snapshot)
    (way,) = told.ways
    assert (way.rule, way.says, way.result) == ("working", "one of small, mid", "passed")
    assert way.condition == "features.tool_count > 0"


def test_a_rule_that_held_too_late_says_who_was_first(snapshot: Snapshot) -> None:
    told = why_not("middle", DECISION, inputs(phase="title", tool_count=2), snapshot)
    (way,) = told.ways
    assert (way.result, way.detail) == ("skipped", "chores matched before it")


def test_a_tier_leads_to_the_model_it_means_for_this_request(snapshot: Snapshot) -> None:
    large = inputs(context_tokens=70_000)  # more than little holds, so `small` means middle
    assert [way.rule for way in why_not("middle", DECISION, large, snapshot).ways] == [
        "private",
        "chores",
        "working",
    ]


def test_a_model_the_catalog_does_not_have_is_refused(snapshot: Snapshot) -> None:
    with pytest.raises(RequestError, match="there is no model 'lage' in the catalog; did you mean 'large'"):
        why_not("lage", DECISION, inputs(), snapshot)
